"""``python -m segloss``."""

from segloss.cli import main

if __name__ == "__main__":
    main()
