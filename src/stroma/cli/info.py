"""`stroma info`."""

from stroma.cli.generate import verb_command
from stroma.support.info import InfoOptions, info

command = verb_command("info", InfoOptions, info)
