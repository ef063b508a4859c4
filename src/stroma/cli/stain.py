"""`stroma stain`."""

from stroma.cli.generate import verb_command
from stroma.prepare.tile_stain import StainOptions, stain

command = verb_command("stain", StainOptions, stain)
