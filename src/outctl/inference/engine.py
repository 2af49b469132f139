"""The engine that computes a model's next-token logits: the token tree where it is proven, rows for all other models.

| engine | how | for |
|---|---|---|
| `tree` | one pass over a token tree with an attention of our own; each shared token is computed once | full attention |
| `rows` | plain passes, one row per sequence, padded on the right | every causal language model |

`outctl.inference.engine_check` chooses one when a model is loaded, and keeps its choice on the model.
"""

from dataclasses import dataclass
from typing import Any, Literal

from outctl.errors import OutctlError

EngineName = Literal["tree", "rows"]


@dataclass(frozen=True)
class Engine:
    """What was proven of a model.

    Attributes:
        name: the engine.
        reason: why it is this one.
        shares: whether rows may continue from a copied cache of what they share.
        steps: whether a cache that grows by one token at a time gives the logits of whole sequences.
        shares_up_to: longest sequence for which `shares` is proven; None for any.
    """

    name: EngineName
    reason: str
    shares: bool = False
    steps: bool = False
    shares_up_to: int | None = None

    def may_share(self, length: int) -> bool:
        """Whether sequences of this length may continue from a copied cache."""
        return self.shares and (self.shares_up_to is None or length <= self.shares_up_to)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def keep_engine(model: Any, engine: Engine) -> None:
    """Keep the choice on the model, where adapters put around it find it too."""
    base_of(model).outctl_engine = engine


def engine_of(model: Any) -> Engine:
    """The engine that was chosen for a model, with or without an adapter.

    Raises:
        OutctlError: none was chosen yet.
    """
    engine = getattr(base_of(model), "outctl_engine", None)
    if engine is None:
        raise OutctlError("the model was not checked: choose_engine(model) must come before the first question")
    found: Engine = engine
    return found


def base_of(model: Any) -> Any:
    """The model of transformers, below an adapter if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def attention_window(model: Any) -> int | None:
    """How many tokens the narrowest layer of a model attends to, by its configuration; None for all."""
    return min(attention_windows(model), default=None)


def attention_windows(model: Any) -> list[int]:
    """How many tokens the layers of a model attend to that do not attend to all, by its configuration."""
    config = model.config.get_text_config()
    # Sparse attention picks so many tokens.
    limits = [getattr(config, name, None) for name in ("index_topk", "indexer_budget")]
    if getattr(config, "use_sliding_window", True):
        limits.append(getattr(config, "sliding_window", None))
    if "chunked_attention" in (getattr(config, "layer_types", None) or ()):
        limits.append(getattr(config, "attention_chunk_size", None))
    return sorted({limit for limit in limits if isinstance(limit, int) and limit > 0})


def check_length(model: Any, longest: int) -> None:
    """Refuse sequences that are longer than the model has positions for.

    Raises:
        OutctlError: one is.
    """
    limit = most_positions(model)
    if limit is not None and longest > limit[1]:
        name, most = limit
        raise OutctlError(
            f"a prompt of {longest} tokens exceeds the model's {name} of {most}; shorten the prompt template"
        )


def most_positions(model: Any) -> tuple[str, int] | None:
    """The key of the configuration that limits the length of a sequence, and the limit."""
    config = model.config.get_text_config()
    for name in ("max_position_embeddings", "max_target_positions", "max_seq_len"):
        limit = getattr(config, name, None)
        if isinstance(limit, int) and limit > 0:
            return name, limit
    return None
