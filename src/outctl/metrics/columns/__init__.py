"""Divergences that have columns beside those that are always there, a module each, which bears the name of its metric."""
