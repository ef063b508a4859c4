"""`stroma train`."""

from stroma.cli.generate import verb_command
from stroma.training.train import TrainOptions, train_verb

command = verb_command("train", TrainOptions, train_verb)
