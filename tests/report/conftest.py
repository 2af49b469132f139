"""A real Chromium without a window, and the reports that it opens."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_packages import missing
from fake_run import FURTHER, finished
from page_in_browser import Page, driver

from outctl.pipeline.plan import Plan
from outctl.stages.dag import STAGES
from outctl.stages.report import run as write_report

REQUIRED = "OUTCTL_REQUIRE_BROWSER"
"""Environment variable: with the value 1, tests fail where there is no Chromium."""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A finished run of two models with every part that a report can have, with its report."""
    plan = finished(tmp_path_factory.mktemp("run"))
    write_report(plan.spec("report"), STAGES, plan.layout.results, plan.layout.models)
    return plan


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A finished run of one model without any adapter or further evaluation, with its report."""
    nothing = {"adapters": {}, **dict.fromkeys(FURTHER), "sweeps": {}, "statistics": {}}
    plan = finished(tmp_path_factory.mktemp("bare"), models=["small"], **nothing)
    write_report(plan.spec("report"), STAGES, plan.layout.results, plan.layout.models)
    return plan


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser, which opens one report at a time."""
    if lacking := missing():
        message = f"there is no {' and no '.join(lacking)}; tests/report/browser_packages.py installs them"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    downloads = tmp_path_factory.mktemp("downloads")
    profile: Path = tmp_path_factory.mktemp("profile")
    chromium = driver(profile, downloads)
    try:
        yield Page(chromium, downloads)
    finally:
        chromium.quit()
        shutil.rmtree(profile, ignore_errors=True)
