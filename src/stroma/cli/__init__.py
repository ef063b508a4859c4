"""The command line: one file a verb, generated from the verb's own options model."""
