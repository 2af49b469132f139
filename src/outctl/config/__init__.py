"""The configuration: sections, reading, messages, schemas."""
