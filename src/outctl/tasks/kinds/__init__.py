"""The kinds of case, a module each, which bears the name of its kind."""
