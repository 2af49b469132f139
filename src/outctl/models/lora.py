"""LoRA layers that compute in the type of their input, whatever type their weights are kept in.

    y = W x + s B A x

A and B stay in float32 for the optimiser, and are rounded to the input's type where they are used; PEFT's own layers would
take the input, and the product of the whole layer, to float32 and back. On processors with bfloat16 arithmetic that costs
more than the frozen layer itself.
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _LowRank(torch.autograd.Function):
    """y + s B A x, where x and y are rows of tokens."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        narrow_down, narrow_up = down.to(x.dtype), (up * scale).to(x.dtype)
        inner = x @ narrow_down.T
        ctx.save_for_backward(x, inner, narrow_down, narrow_up)
        ctx.scale = scale
        return y.addmm(inner, narrow_up.T)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = gradients
        x, inner, down, up = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_inner = grad @ up
        grad_x = grad_inner @ down if ctx.needs_input_grad[1] else None  # type: ignore[attr-defined]
        grad_down = (x.T @ grad_inner).T.float()
        grad_up = (inner.T @ grad).T.float() * ctx.scale  # type: ignore[attr-defined]
        return grad, grad_x, grad_down, grad_up, None


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The layer's answer; the signature is that of PEFT's linear layers."""
    y: Tensor = layer.base_layer(x, *args, **kwargs)
    if layer.disable_adapters or layer.merged:
        return y
    rows = y.reshape(-1, y.shape[-1])
    for name in layer.active_adapters:
        if name in layer.lora_A:
            dropped = layer.lora_dropout[name](x).reshape(-1, x.shape[-1])
            down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
            rows = _LowRank.apply(rows, dropped, down, up, layer.scaling[name])  # type: ignore[no-untyped-call]
    return rows.view(y.shape)


def compute_in_input_type(model: Any) -> None:
    """Let a PEFT model's plain LoRA layers on linear layers compute in the type of their input.

    Layers with more than the two products (DoRA and other variants, biases) are left as they are.
    """
    for layer in model.modules():
        plain = isinstance(layer, LoraLayer) and not isinstance(layer, ParamWrapper)
        linear = plain and isinstance(layer.get_base_layer(), torch.nn.Linear)
        if linear and not any(layer.use_dora.values()) and not any(layer.lora_bias.values()) and not layer.lora_variant:
            layer.forward = MethodType(_forward, layer)
