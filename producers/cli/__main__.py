"""`python -m producers.cli` is `retouch`."""

from producers.cli import main

main()
