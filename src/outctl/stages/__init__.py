"""The stages of the pipeline: one file per rule."""
