"""`python -m mailbridge` is the `mailbridge` command."""

from mailbridge.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
