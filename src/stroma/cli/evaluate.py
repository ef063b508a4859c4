"""`stroma evaluate`."""

from stroma.cli.generate import verb_command
from stroma.evaluation.evaluate import EvaluateOptions, evaluate

command = verb_command("evaluate", EvaluateOptions, evaluate)
