"""`stroma embed`."""

from stroma.cli.generate import verb_command
from stroma.features.embed import EmbedOptions, embed

command = verb_command("embed", EmbedOptions, embed)
