"""`stroma check`."""

from stroma.cli.generate import verb_command
from stroma.prepare.check import CheckOptions
from stroma.reports.check_page import check_study

command = verb_command("check", CheckOptions, check_study)
