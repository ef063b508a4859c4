"""`stroma report`."""

from stroma.cli.generate import verb_command
from stroma.reports.report import ReportOptions, report

command = verb_command("report", ReportOptions, report)
