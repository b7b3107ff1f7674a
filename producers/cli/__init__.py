"""The command line: `retouch`, or `python -m producers.cli`."""

from producers.cli.app import main, run

__all__ = ["main", "run"]
