"""`stroma prepare`."""

from stroma.cli.generate import verb_command
from stroma.prepare.store_options import PrepareOptions
from stroma.prepare.stores import prepare

command = verb_command("prepare", PrepareOptions, prepare)
