"""`stroma medians`."""

from stroma.cli.generate import verb_command
from stroma.prepare.medians import MediansOptions, medians

command = verb_command("medians", MediansOptions, medians)
