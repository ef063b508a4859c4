"""`stroma parameters`."""

from stroma.cli.generate import verb_command
from stroma.reports.parameter_agreement import AgreementOptions, parameters

command = verb_command("parameters", AgreementOptions, parameters)
