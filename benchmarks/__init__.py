"""Side-by-side measurements against the packages that people use today."""
