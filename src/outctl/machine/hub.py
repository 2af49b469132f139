"""The Hugging Face hub from this machine: whether it can be asked, and what its refusals mean. Nothing here raises."""

from pathlib import Path


def hub_access() -> tuple[str, bool]:
    """Why the hub cannot be asked at all, empty where it can; and whether there is a token."""
    from huggingface_hub import constants, get_session, get_token

    has_token = get_token() is not None
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set", has_token
    try:
        get_session().head(constants.ENDPOINT, timeout=3)
    # Whatever the network, a proxy or a broken certificate makes of it.
    except Exception as error:
        return f"{constants.ENDPOINT} does not answer ({type(error).__name__})", has_token
    return "", has_token


def hub_cache() -> Path:
    """Where the hub's files are kept before they are prepared."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def hub_reason(repo: str, revision: str) -> tuple[str, str] | None:
    """Why a model of the hub cannot be fetched, by the user's own settings and token, and what to change; None if it can."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if constants.HF_HUB_OFFLINE:
        cached = try_to_load_from_cache(repo, "config.json", revision=revision)
        advice = "unset HF_HUB_OFFLINE"
        return None if isinstance(cached, str) else ("HF_HUB_OFFLINE is set, and the hub's cache lacks it", advice)
    try:
        get_hf_file_metadata(hf_hub_url(repo, "config.json", revision=revision), timeout=3)
    # Whatever the network, a proxy or a broken certificate makes of it.
    except Exception as error:
        return refusal(error, repo, revision, "source", "check the network and the proxy")
    return None


def refusal(error: Exception, repo: str, revision: str, source: str, elsewhere: str) -> tuple[str, str]:
    """Why a request to the hub failed, and what to do.

    Args:
        error: what the request raised.
        repo: the repository.
        revision: its revision.
        source: the key of the configuration or registry that names both.
        elsewhere: what to do where the hub cannot be reached.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    match error:
        case GatedRepoError():
            return f"{repo} is gated", "accept its licence on its page on the hub, then run `hf auth login`"
        case RepositoryNotFoundError() | HFValidationError():
            advice = f"correct {source}.repo or run `hf auth login`"
            return f"the hub has no repository {repo}, or it is private", advice
        case RevisionNotFoundError():
            return f"{repo} has no revision {revision}", f"correct {source}.revision"
    return f"the hub cannot be reached for {repo} ({type(error).__name__})", elsewhere
