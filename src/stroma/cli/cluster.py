"""`stroma cluster`."""

from stroma.cli.generate import verb_command
from stroma.features.cluster import ClusterOptions, cluster

command = verb_command("cluster", ClusterOptions, cluster)
