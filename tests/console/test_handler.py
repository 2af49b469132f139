import logging
import os
import pty
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.jobs import GroupJob
from snakemake.jobs import Job as SnakemakesJob
from snakemake.logging import logger
from snakemake.settings.types import OutputSettings
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_outctl.handler import LogHandler, is_capable


@pytest.mark.parametrize(
    ("environment", "capable"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_only_a_terminal_that_can_move_its_cursor_gets_a_display(monkeypatch, environment, capable):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    primary, secondary = pty.openpty()
    with os.fdopen(secondary, "w") as stream:
        assert is_capable(stream) is capable
    os.close(primary)


def test_a_pipe_gets_none(monkeypatch, tmp_path):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with (tmp_path / "file").open("w") as stream:
        assert not is_capable(stream)


def in_a_pipe():
    return LogHandler(OutputSettings(nocolor=True), None)


def test_what_earlier_runs_tell_is_said_with_what_they_do_not_tell(capsys):
    known = {1: ("finetune/a", 60.0, None), 2: ("evaluate/a", None, "a/tuned"), 3: ("make_samples/None", 0.0, None)}
    in_a_pipe().emit(logging.makeLogRecord({"msg": "", "expected": known, "rerun": ["snakemake"]}))
    assert capsys.readouterr().err == "by earlier runs about 1 min, without 1 job of unknown length\n"


class Evaluation:
    """As much of one of Snakemake's jobs as it needs to say what becomes of it, which is said by Snakemake's own code."""

    log_info, log_error = SnakemakesJob.log_info, SnakemakesJob.log_error
    get_log_error_info = SnakemakesJob.get_log_error_info
    rule = SimpleNamespace(name="evaluate", is_checkpoint=False, is_handover=False)
    priority = threads = 1
    input, wildcards_dict, resources = (), {}, {}
    container_img = shellcmd = None

    def __init__(self, number, case):
        self.number, self.message = number, f"evaluating tuned on {case}"
        self.output = [f"{case}.jsonl", f"{case}.provenance.json"]
        self.log, self.benchmark = [f"{case}.log"], f"{case}.tsv"
        workflow = SimpleNamespace(
            dryrun=False,
            is_local=lambda rule: False,
            deployment_settings=SimpleNamespace(deployment_method=set()),
        )
        self.dag = SimpleNamespace(jobid=lambda job: job.number, reason=lambda job: "", workflow=workflow)


def write(*files, seconds_ago=0):
    for file in files:
        Path(file).write_text(f"{file} says\n")
        os.utime(file, (time.time() - seconds_ago,) * 2)


def test_of_a_group_only_jobs_that_failed_are_called_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logger, "handlers", [in_a_pipe()])
    monkeypatch.setattr(logger, "level", logging.INFO)
    done, failed, never_begun = jobs = [Evaluation(n, case) for n, case in enumerate(("one", "two", "three"), 1)]
    group = SimpleNamespace(groupid="evaluate-tuned", jobs=jobs)
    # Of an earlier run.
    write(*failed.log, failed.benchmark, *never_begun.log, never_begun.benchmark, seconds_ago=1000)
    logger.info("Stats", extra={"event": LogEvent.RUN_INFO, "stats": {"evaluate": 3, "total": 3}})
    GroupJob.log_info(group)
    capsys.readouterr()
    # Snakemake deletes the outputs of all jobs of the group; logs and benchmarks stay.
    write(*done.log, done.benchmark, *failed.log, "slurm.log")
    GroupJob.log_error(group, "it failed", aux_logs=["slurm.log"], external_jobid="7")
    said = re.sub(r"\d\d:\d\d:\d\d", "TIME", capsys.readouterr().err).splitlines()
    assert said == [
        "failed: the jobs of evaluate-tuned, which share one; 1 of 3 were done",
        "    last lines of slurm.log:",
        "      slurm.log says",
        "TIME failed  evaluating tuned on two (0 s)",
        "    last lines of two.log:",
        "      two.log says",
        "    this job alone again: snakemake two.provenance.json --cores 1 --resources gpu=1",
    ]
    # The whole group comes back, and counts when all of it is done.
    GroupJob.log_info(group)
    for job in jobs:
        logger.info("Finished", extra={"event": LogEvent.JOB_FINISHED, "job_id": job.number})
    assert re.findall(r"(\d) of 3 jobs", capsys.readouterr().err) == ["1", "2", "3"]
