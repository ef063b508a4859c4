"""Layouts: how the files of a study lie on disk; one file each."""
