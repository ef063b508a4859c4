"""`stroma tile`."""

from stroma.cli.generate import verb_command
from stroma.prepare.tile_options import TileOptions
from stroma.prepare.tiles import tile

command = verb_command("tile", TileOptions, tile)
