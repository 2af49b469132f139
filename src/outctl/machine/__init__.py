"""This machine: memory, processors, GPUs."""
