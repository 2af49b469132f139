"""What a model's arithmetic comes to, and how fast this machine can do it.

`MatrixRate` is a contender of its own: the rate of the model's own matrix products and nothing else, measured between the
runs of the others. What outctl reaches of it says how much a better implementation could still gain on this machine.
"""

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.nn.functional import linear
from transformers import AutoConfig, AutoModelForCausalLM

ROWS = 2048
"""Rows of the matrix products: enough for the machine to be at its best."""
TRIES = 5
"""Products of each shape and type in a run; the median counts."""


class Shape(NamedTuple):
    """A linear layer's numbers of inputs and outputs."""

    inputs: int
    outputs: int


class TreeSize(NamedTuple):
    """What a token tree asks of a model: distinct nodes, keys attended to by all of them together, positions read."""

    nodes: int
    keys: int
    read: int


class Arithmetic(NamedTuple):
    """What a forward pass of a model consists of.

    Attributes:
        linears: how often each shape of linear layer occurs, without the output projection.
        head: the output projection.
        attention: width of all query heads of a layer together.
        layers: number of layers.
    """

    linears: dict[Shape, int]
    head: Shape
    attention: int
    layers: int

    def forward_flops(self, size: TreeSize) -> float:
        """Floating-point operations of a forward pass that computes every node of a tree once.

        2 for each weight and node; 4 for each number of a query, key and layer (its score and its part of the mean); and
        the output projection at the positions that are read. Normalisation, activation and softmax are left out.
        """
        weights = sum(count * shape.inputs * shape.outputs for shape, count in self.linears.items())
        attention = 4.0 * self.attention * size.keys * self.layers
        return 2.0 * weights * size.nodes + attention + 2.0 * self.head.inputs * self.head.outputs * size.read


def arithmetic(model: Path) -> Arithmetic:
    """Read off a prepared model's configuration what its forward pass consists of; no weights are loaded."""
    config = AutoConfig.from_pretrained(model, local_files_only=True)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    head: Any = empty.get_output_embeddings()
    linears = Counter(
        Shape(module.in_features, module.out_features)
        for module in empty.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Arithmetic(
        dict(linears), Shape(head.in_features, head.out_features), heads * width, config.num_hidden_layers
    )


def _seconds(inputs: torch.Tensor, weight: torch.Tensor) -> float:
    times = []
    linear(inputs, weight)
    for _ in range(TRIES):
        start = time.perf_counter()
        linear(inputs, weight)
        times.append(time.perf_counter() - start)
    return median(times)


class MatrixRate:
    """Rate of the model's linear layers, each with its share of the model's operations."""

    dtypes = (torch.bfloat16, torch.float32)

    def __init__(self, model: Path) -> None:
        linears = arithmetic(model).linears
        self.counts = list(linears.values())
        self.operands = {
            dtype: [
                (torch.randn(ROWS, shape.inputs, dtype=dtype), torch.randn(shape.outputs, shape.inputs, dtype=dtype))
                for shape in linears
            ]
            for dtype in self.dtypes
        }

    def rehearse(self, choice: None) -> None:
        """One run."""
        self.run(choice)

    @torch.inference_mode()
    def run(self, choice: None) -> dict[str, float]:
        """Operations per second in each type."""
        return {str(dtype).removeprefix("torch."): self._rate(self.operands[dtype]) for dtype in self.dtypes}

    def check(self) -> None:
        """There is no answer to compare."""

    def _rate(self, operands: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
        flops = seconds = 0.0
        for (inputs, weight), count in zip(operands, self.counts, strict=True):
            flops += count * 2.0 * ROWS * weight.numel()
            seconds += count * _seconds(inputs, weight)
        return flops / seconds
