import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from slurm import leftovers, packages
from slurm.availability import REQUIRED, started
from slurm.cluster import Cluster, ClusterError, why_not
from slurm.configuration import Options

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent
SUBMIT = ("sbatch", "--parsable", "--mem=10", "--chdir=/", "--output=/dev/null")


def test_a_gpu_job_sees_its_gpu_and_a_cpu_job_none(cluster: Cluster, tmp_path: Path) -> None:
    show = "srun -n1 sh -c 'echo got:$CUDA_VISIBLE_DEVICES'"
    cluster.run("sbatch", "--mem=10", "--comment=see_gpu", "--gpus=1", f"--output={tmp_path / 'gpu'}", "--wrap", show)
    cluster.run("sbatch", "--mem=10", "--comment=see_cpu", f"--output={tmp_path / 'cpu'}", "--wrap", show)
    assert cluster.wait_for_job("see_gpu", "COMPLETED").gpus == "gpu:h200:1"
    assert cluster.wait_for_job("see_cpu", "COMPLETED").gpus is None
    assert (tmp_path / "gpu").read_text() == "got:0\n"
    assert (tmp_path / "cpu").read_text() == "got:\n"


def test_a_cluster_that_knows_no_gpus_flag_refuses_it_and_takes_the_gres() -> None:
    cluster = started(Options(gpus_flag=False))
    with cluster:
        with pytest.raises(ClusterError, match="unsupported"):
            cluster.run(*SUBMIT, "--gpus=1", "--wrap", "true")
        cluster.run(*SUBMIT, "--gres=gpu:h200:1", "--comment=by_gres", "--wrap", "true")
        assert cluster.wait_for_job("by_gres", "COMPLETED").gpus == "gpu:h200:1"


def test_accounting_remembers_jobs(accounting_cluster: Cluster) -> None:
    job = accounting_cluster.run(*SUBMIT, "--comment=counted", "--wrap", "true").strip()
    accounting_cluster.wait_for_job("counted", "COMPLETED")
    for _ in range(600):
        if "COMPLETED" in accounting_cluster.run("sacct", "-X", "--noheader", f"--jobs={job}", "--format=State"):
            return
        time.sleep(0.2)
    pytest.fail("sacct does not know the job")


def test_a_job_outlives_its_slurmd_and_a_new_slurmd_takes_it_over(cluster: Cluster) -> None:
    cluster.run(*SUBMIT, "--comment=orphan", "--wrap", "sleep 2")
    cluster.wait_for_job("orphan", "RUNNING")
    cluster.kill("slurmd")
    cluster.launch("slurmd")
    assert cluster.wait_for_job("orphan", "COMPLETED").fields["Restarts"] == "0"


def test_nothing_is_left_of_a_cluster_whose_starter_was_killed(tmp_path: Path) -> None:
    started(Options()).stop()
    program = (
        "import time; from slurm.cluster import Cluster; cluster = Cluster(); cluster.start();"
        f"cluster.run(*{SUBMIT!r}, '--comment=long', '--wrap', 'srun sleep 600');"
        "cluster.wait_for_job('long', 'RUNNING'); time.sleep(0.5); print(cluster.directory, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    starter = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert starter.stdout is not None
        directory = Path(starter.stdout.readline().strip())
        # slurmctld, its helper, slurmd, munged; the job's two slurmstepd, its shell, srun, and sleep.
        assert len(leftovers.running(directory)) >= 9
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.communicate(timeout=60)
    for _ in range(600):
        if not directory.exists():
            break
        time.sleep(0.1)
    assert not directory.exists()
    assert leftovers.running(directory) == []


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.PACKAGES, "no-such-daemon", "no-such-package")
    assert packages.missing()["no-such-daemon"] == "no-such-package"
    reason = why_not()
    assert reason is not None
    assert "no-such-daemon" in reason
    assert "\n" not in reason


@pytest.mark.parametrize("lacking", [None, "sbatch"])
def test_installing_does_nothing_where_everything_is_there_and_says_why_it_cannot(
    tmp_path: Path, lacking: str | None
) -> None:
    if reason := why_not(accounting=True):
        pytest.skip(reason)
    # A PATH without apt-get.
    for name in packages.PACKAGES | packages.ACCOUNTING_PACKAGES:
        if name != lacking:
            (tmp_path / name).symlink_to(str(packages.find(name)))
    command = [sys.executable, str(FOLDER / "packages.py")]
    environment = {"PATH": str(tmp_path)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if lacking:
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == "cannot install slurm-client: there is no apt-get\n"
    else:
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == f"Slurm {packages.slurm_version()} is installed.\n"


@pytest.mark.parametrize(("value", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_slurm_that_does_not_start_skips_tests_or_fails_them_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, outcome: type[BaseException]
) -> None:
    if reason := why_not():
        pytest.skip(reason)
    # Too long a path for a socket.
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv(REQUIRED, value)
    with pytest.raises(outcome, match="munged has ended"):
        started(Options())
    assert list(folder.iterdir()) == []
