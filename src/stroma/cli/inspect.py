"""`stroma inspect`."""

from stroma.cli.generate import verb_command
from stroma.support.inspect import InspectOptions, inspect

command = verb_command("inspect", InspectOptions, inspect)
