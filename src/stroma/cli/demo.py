"""`stroma demo`."""

from stroma.cli.generate import verb_command
from stroma.support.demo import DemoOptions, demo

command = verb_command("demo", DemoOptions, demo)
