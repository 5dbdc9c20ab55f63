"""``python -m segloss``."""

from segloss.cli import main

main()
