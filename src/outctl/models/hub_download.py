"""Downloads from the Hugging Face hub, whose failures end in one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from outctl.errors import OutctlError
from outctl.machine.hub import refusal


def download(
    kind: Literal["model", "adapter"],
    name: str,
    repo: str,
    revision: str,
    files: Sequence[str],
    left_out: Sequence[str],
) -> Path:
    """Download what is missing of a model or adapter into the hub's cache, and give the directory.

    Args:
        kind: what it is, for messages.
        name: its name there.
        repo: the repository.
        revision: its commit.
        files: patterns of the files that are wanted.
        left_out: patterns of those among them that are not.

    Raises:
        OutctlError: it is missing, gated or out of reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    source = f"{kind}s.{name}.source"
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=[*files], ignore_patterns=[*left_out]))
    except (HFValidationError, OSError) as error:
        elsewhere = (
            f"run `outctl fetch-{kind}` on a machine with network access, or point {source} at a local directory"
        )
        raise OutctlError(f"{kind} {name}: {'; '.join(refusal(error, repo, revision, source, elsewhere))}") from None
