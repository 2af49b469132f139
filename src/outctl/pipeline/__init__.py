"""Jobs, their specifications, and which of them are stale."""
