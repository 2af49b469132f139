"""The command line: one subcommand per rule of the workflow, and interactive ones."""
