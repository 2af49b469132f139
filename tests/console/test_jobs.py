import os
import time

import pytest

from snakemake_logger_plugin_outctl.jobs import Expected, Job, Jobs, in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (599.6, "10 min"),
        (3590, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_are_said_in_words(seconds, words):
    assert in_words(seconds) == words


def job(number=1, seconds_ago=0.0, logs=()):
    began, submitted = time.monotonic() - seconds_ago, time.time() - seconds_ago
    return Job(number, "training", [], list(logs), began=began, submitted=submitted)


def jobs(*seconds, kind="finetune/a"):
    """As many jobs as there are times."""
    return Jobs(total=len(seconds), expected={n: Expected(kind, time) for n, time in enumerate(seconds, 1)})


def test_nothing_is_said_where_nothing_is_known():
    assert Jobs(total=3).time_left() == ""
    assert jobs(None, None).time_left() == ""


def test_times_of_jobs_that_wait_add_up():
    assert jobs(60, 120).time_left() == "about 3 min left"
    assert jobs(60, 120, None).time_left() == "about 3 min left, without 1 job of unknown length"


def test_what_runs_has_done_a_part(tmp_path):
    log = tmp_path / "log"
    log.write_text("")
    run = jobs(100)
    run.running[1] = job(seconds_ago=40, logs=[log])
    assert run.time_left() == "about 1 min left"


def test_jobs_side_by_side_share_the_time_but_none_ends_before_its_own():
    run = jobs(100, 100, 100, 100)
    run.running = {n: job(n) for n in (1, 2)}
    assert run.time_left() == "about 3 min 20 s left"
    run = jobs(500, 100)
    run.running = {n: job(n) for n in (1, 2)}
    assert run.time_left() == "about 8 min 20 s left"


def test_jobs_of_a_kind_take_as_long_as_those_that_are_done():
    run = jobs(None, None, None)
    run.running[1] = job(seconds_ago=90)
    run.end(1, succeeded=True)
    assert run.time_left() == "about 3 min left"
    run = jobs(None, None)
    run.running[1] = job(seconds_ago=90)
    run.end(1, succeeded=False)
    assert run.time_left() == ""


def series(*variants, cases=3):
    """Evaluations of which nothing is known, numbered by variant and then by case."""
    names = [variant for variant in variants for _ in range(cases)]
    return {number: Expected("evaluate/a", None, f"a/{name}") for number, name in enumerate(names, 1)}


def ended(run, number, seconds):
    run.running[number] = job(number, seconds_ago=seconds)
    run.end(number, succeeded=True)


def test_an_evaluation_that_did_the_work_of_others_says_nothing_of_how_long_those_take():
    run = Jobs(total=6, expected=series("baseline", "tuned"))
    ended(run, 1, seconds=100)
    # Of the other variant, the first evaluation takes as long; the rest is not known.
    assert run.time_left() == "about 1 min 40 s left, without 4 jobs of unknown length"
    ended(run, 2, seconds=4)
    assert run.time_left() == "about 1 min 52 s left"
    ended(run, 3, seconds=4)
    run.running[4] = job(4)
    assert run.time_left() == "about 1 min 48 s left"
    ended(run, 4, seconds=90)
    assert run.time_left() == "about 8 s left"


def test_the_last_job_of_a_kind_says_how_long_the_next_ones_take():
    run = jobs(None, None, None)
    ended(run, 1, seconds=500)
    ended(run, 2, seconds=60)
    assert run.time_left() == "about 1 min left"


def test_a_job_that_tells_how_far_it_is_is_believed(tmp_path):
    log = tmp_path / "log"
    log.write_text("25 of 100 steps\n")
    run = jobs(5000)
    run.running[1] = job(seconds_ago=60, logs=[log])
    assert run.time_left() == "about 3 min left"
    log.write_text("1 of 100 steps\n")
    run.running[1] = job(seconds_ago=60, logs=[log])
    assert run.time_left() == "about 1 h 22 min left"


def test_a_job_waits_until_its_log_is_written(tmp_path):
    log = tmp_path / "log"
    log.write_text("25 of 100 steps\n")
    # Of an earlier run.
    os.utime(log, (time.time() - 1000, time.time() - 1000))
    submitted = job(seconds_ago=60, logs=[log])
    assert submitted.waiting
    assert submitted.progress() is None
    assert submitted.remaining(100.0) == 100.0
    log.write_text("25 of 100 steps\n")
    # It was looked at a moment ago.
    assert submitted.waiting
    running = job(seconds_ago=60, logs=[log])
    assert not running.waiting
    assert running.progress() == (25, 100, "steps")
