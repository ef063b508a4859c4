"""`stroma predict`."""

from stroma.cli.generate import verb_command
from stroma.inference.predict import PredictOptions, predict

command = verb_command("predict", PredictOptions, predict)
