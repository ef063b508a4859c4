"""`python -m stroma`, where the `stroma` command is not on the path."""

from stroma.cli.main import main

if __name__ == "__main__":  # spawned workers import this module, too
    main()
