"""`stroma check`."""

from stroma.cli.generate import verb_command
from stroma.prepare.check import CheckOptions, check

command = verb_command("check", CheckOptions, check)
