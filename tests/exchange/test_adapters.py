"""Adapters as other tools read them: plain PEFT by path, without this program's own layers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from command_line import ByHand
from documentation import ROOT, blocks
from outctl.models.loading import load_model

IDS = torch.tensor([[5, 9, 3, 7, 7, 2, 41]])


@pytest.mark.slow
def test_plain_peft_loads_a_trained_adapter_by_path_to_the_same_logits(by_hand: Callable[..., ByHand]) -> None:
    work = by_hand({"steps": 6, "checkpoint_every": 6})
    code, _, err = work.run("finetune", "tiny", "tuned")
    assert code == 0, err
    model, adapter = work.plan.layout.model("tiny"), work.plan.layout.adapter("tiny", "tuned")
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        untrained = base(input_ids=IDS).logits
        plain = PeftModel.from_pretrained(base, str(adapter)).eval()(input_ids=IDS).logits
        own = load_model(model, "float32", True, adapter).model(input_ids=IDS).logits
    torch.testing.assert_close(own, plain, atol=1e-5, rtol=1e-5)
    assert (plain - untrained).abs().max() > 1e-2

    # The same as the page shows it, at the paths that it names.
    (shown,) = blocks(ROOT / "docs" / "other-tools.md", "python")
    for named, made in zip(re.findall(r'"((?:resources|results)/[^"]+)"', shown.text), (model, adapter), strict=True):
        Path(named).parent.mkdir(parents=True, exist_ok=True)
        Path(named).symlink_to(made.resolve())
    scope: dict[str, Any] = {}
    exec(shown.text, scope)
    with torch.no_grad():
        torch.testing.assert_close(scope["model"].float()(input_ids=IDS).logits, own, atol=1e-5, rtol=1e-5)
