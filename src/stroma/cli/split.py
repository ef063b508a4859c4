"""`stroma split`."""

from stroma.cli.generate import verb_command
from stroma.prepare.split import SplitOptions, split

command = verb_command("split", SplitOptions, split)
