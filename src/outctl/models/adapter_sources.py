"""Where adapters come from that were trained elsewhere: the hub, or a directory."""

from pathlib import Path

from outctl.config.adapters import AdapterInDirectory, AdapterOnHub, AdapterSource
from outctl.errors import OutctlError
from outctl.models.hub_download import download

FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What every adapter has, in the layout of PEFT."""
TOKENIZER = (
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja"),
)
"""What an adapter that resizes the vocabulary has too."""
OWN = "provenance.json"
"""What this program writes beside the adapters that it trains: it names the weights that they were trained on."""


def directory_of(source: AdapterSource, name: str) -> Path:
    """The directory that holds an adapter's files.

    Args:
        source: where the adapter is.
        name: its name in the configuration, for messages.

    Raises:
        OutctlError: it is missing, gated, out of reach, or has no weights in safetensors.
    """
    if isinstance(source, AdapterOnHub):
        directory = download("adapter", name, source.repo, source.revision, (*FILES, *TOKENIZER, OWN), ())
    else:
        directory = _here(source, name)
    if missing := [file for file in FILES if not (directory / file).is_file()]:
        pickled = missing[0] != FILES[0] and (directory / "adapter_model.bin").is_file()
        found = " (only pickled weights, which can run code when they are read)" if pickled else ""
        raise OutctlError(f"adapter {name}: {directory} holds no {missing[0]}{found}; name one in the layout of PEFT")
    return directory


def _here(source: AdapterInDirectory, name: str) -> Path:
    path = Path(source.path)
    if not path.is_dir():
        raise OutctlError(f"adapter {name}: {path} is no directory; correct adapters.{name}.source.path")
    return path
