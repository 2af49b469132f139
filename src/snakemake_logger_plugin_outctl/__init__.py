"""What a run of the workflow shows on the terminal: a logger plugin of Snakemake, which `--logger outctl` chooses."""

from snakemake_logger_plugin_outctl.handler import LogHandler

__all__ = ["LogHandler"]
