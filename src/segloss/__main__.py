"""``segloss`` and ``python -m segloss``."""

import sys


def main() -> int:
    """Run the command line, or describe how to install what it needs."""
    try:
        from segloss.cli import main
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        if package == "segloss":
            raise
        sys.exit(f"segloss's command line needs {package}, which is not installed: pip install 'segloss[bench]'")
    return main()


if __name__ == "__main__":
    sys.exit(main())
