"""`python -m chatwright`: the same as the `chatwright` command."""

from chatwright.app.cli import main

if __name__ == "__main__":
    main()
