"""The vocabularies that come with the package, a module each, which bears the name of its vocabulary."""
