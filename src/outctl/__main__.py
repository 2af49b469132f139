"""`python -m outctl` is the command line."""

from outctl.cli.main import main

main()
