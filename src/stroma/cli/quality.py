"""`stroma quality`."""

from stroma.cli.generate import verb_command
from stroma.prepare.tile_quality import QualityOptions, quality

command = verb_command("quality", QualityOptions, quality)
