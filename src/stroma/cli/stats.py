"""`stroma stats`."""

from stroma.cli.generate import verb_command
from stroma.reports.statistics import StatsOptions, stats

command = verb_command("stats", StatsOptions, stats)
