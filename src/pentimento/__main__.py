"""``python -m pentimento`` is the command line."""

from pentimento.app.cli import main

if __name__ == "__main__":
    main()
