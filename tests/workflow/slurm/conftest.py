"""Throw-away clusters that the tests share, and a line on whether Slurm runs here."""

from collections.abc import Iterator

import pytest
from slurm.availability import started
from slurm.cluster import Cluster, why_not
from slurm.configuration import Options, Partition
from slurm.packages import slurm_version


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster without accounting, whose partition `urgent` requeues jobs of the others; `brief` ends them after a minute."""
    partitions = (Partition("main"), Partition("brief", max_time="1"), Partition("urgent", priority=10))
    cluster = started(Options(partitions=partitions, preemption=True, over_memory_kill=True))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def accounting_cluster() -> Iterator[Cluster]:
    """A cluster with an accounting database."""
    cluster = started(Options(accounting=True))
    yield cluster
    cluster.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reason = why_not()
    terminalreporter.write_line(f"Slurm: not run, {reason}" if reason else f"Slurm: {slurm_version()}, runs")
