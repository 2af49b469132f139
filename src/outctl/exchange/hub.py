"""Pushing a folder to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi, constants, get_token

# Of whichever HTTP library this version of huggingface_hub uses.
from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils._validators import validate_repo_id

from outctl.errors import OutctlError, first_line


def check_repo(option: str, repo: str) -> None:
    """Make sure that a repository's name is `owner/name`, as the hub allows it.

    Args:
        option: the option that gives it.
        repo: the name.

    Raises:
        OutctlError: it is not.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError:
        valid = False
    else:
        valid = repo.count("/") == 1
    if not valid:
        raise OutctlError(f"{option}: {repo!r} is no name of a repository on the hub; give it as USER/NAME")


def check_access() -> None:
    """Make sure that the hub may be used, before anything is made for it.

    Raises:
        OutctlError: offline mode is on, or there is no token.
    """
    if constants.HF_HUB_OFFLINE:
        raise OutctlError(
            "HF_HUB_OFFLINE is set; unset it, or write the files with --dry-run DIR and push them elsewhere"
        )
    if not get_token():
        raise OutctlError("there is no token for the hub; run `hf auth login`, or set HF_TOKEN")


def push_folder(folder: Path, repo: str, private: bool) -> str:
    """Push all files of a folder in one commit, to a repository that is made if it is not there.

    Args:
        folder: the files.
        repo: the repository, `owner/name`.
        private: whether a repository that is made is private; one that is there stays as it is.

    Returns:
        Where the commit can be seen.

    Raises:
        OutctlError: the hub cannot be reached, or refuses.
    """
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(folder_path=folder, repo_id=repo, commit_message="Adapter and model card")
    except (HTTPError, OSError, ValueError) as error:
        raise OutctlError(f"{repo}: the hub cannot be reached, or refuses: {first_line(error)}") from None
    return str(commit.commit_url)
