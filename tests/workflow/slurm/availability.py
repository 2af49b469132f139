"""A running cluster for tests that need one; where Slurm cannot run they are skipped, or fail if they may not be."""

import os

import pytest
from slurm.cluster import Cluster, ClusterError
from slurm.configuration import Options

REQUIRED = "OUTCTL_REQUIRE_SLURM"
"""Environment variable: with the value 1, tests fail where Slurm cannot run."""


def started(options: Options) -> Cluster:
    """A cluster that runs, for the caller to stop."""
    cluster = Cluster(options)
    try:
        cluster.start()
    except ClusterError as error:
        reason, _, details = str(error).partition("\n")
        message = f"Slurm cannot run here: {reason}"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(f"{message}\n{details}", pytrace=False)
        pytest.skip(message)
    return cluster
