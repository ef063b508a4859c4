"""What every folder stands on: errors, configuration, files, provenance, tables, verbs."""
