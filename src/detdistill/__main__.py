"""`python -m detdistill`."""

from detdistill.cli import main

main()
