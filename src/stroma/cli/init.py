"""`stroma init`."""

from stroma.cli.generate import verb_command
from stroma.prepare.index import InitOptions, init

command = verb_command("init", InitOptions, init)
