"""`python -m stroma`, where the `stroma` command is not on the path."""

from stroma.cli.main import main

main()
