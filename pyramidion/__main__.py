"""`python -m pyramidion` is `pyramidion`."""

from pyramidion.cli import main

main()
