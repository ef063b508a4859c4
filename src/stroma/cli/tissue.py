"""`stroma tissue`."""

from stroma.cli.generate import verb_command
from stroma.prepare.tissue import tissue
from stroma.prepare.tissue_options import TissueOptions

command = verb_command("tissue", TissueOptions, tissue)
