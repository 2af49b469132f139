"""An adapter loaded by vLLM, by its path; left out unless the Python of an environment with vLLM is named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from outctl.config.adapters import AdapterRecipe
from outctl.finetune.adapter import add_adapter
from outctl.models.loading import load_model

pytestmark = pytest.mark.slow

PYTHON = os.environ.get("OUTCTL_VLLM_PYTHON")
"""vLLM is kept apart: it takes other versions of transformers than this program."""
PROMPT = [504, 2644, 9531, 8982, 260, 1421]
ASK = """
import json, sys
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

if __name__ == "__main__":
    model, adapter, prompt, output = sys.argv[1:]
    llm = LLM(model, dtype="float32", enable_lora=True, max_lora_rank=16, max_model_len=256, enforce_eager=True)
    settings = SamplingParams(max_tokens=1, temperature=0.0, logprobs=20)
    asked = {"prompt_token_ids": json.loads(prompt)}
    answers = []
    for lora in (None, LoRARequest("trained", 1, adapter)):
        (answer,) = llm.generate([asked], settings, lora_request=lora)
        answers.append({token: found.logprob for token, found in answer.outputs[0].logprobs[0].items()})
    with open(output, "w") as file:
        json.dump(answers, file)
"""


@pytest.mark.skipif(PYTHON is None, reason="OUTCTL_VLLM_PYTHON names no Python that has vLLM")
def test_vllm_answers_with_an_adapter_as_outctl_does(tmp_path: Path, real_model_dir: Path) -> None:
    loaded = load_model(real_model_dir, "float32", True)
    torch.manual_seed(0)
    adapted = add_adapter(loaded.model, AdapterRecipe(cases={"given": 1}, steps=1))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    adapted.save_pretrained(tmp_path / "adapter")
    (tmp_path / "ask.py").write_text(ASK)
    names = ("HOME", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    # Compilers and the like are looked for beside its Python.
    environment["PATH"] = f"{Path(str(PYTHON)).parent}{os.pathsep}{os.environ['PATH']}"
    arguments = [
        str(real_model_dir.resolve()),
        str(tmp_path / "adapter"),
        json.dumps(PROMPT),
        str(tmp_path / "out.json"),
    ]
    result = subprocess.run(
        [str(PYTHON), str(tmp_path / "ask.py"), *arguments],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    sys.stdout.write(result.stdout[-5000:])
    assert result.returncode == 0
    base, trained = json.loads((tmp_path / "out.json").read_text())
    with torch.no_grad():
        prompt = torch.tensor([PROMPT])
        with_adapter = adapted(input_ids=prompt).logits[0, -1].log_softmax(-1)
        with adapted.disable_adapter():
            without = adapted(input_ids=prompt).logits[0, -1].log_softmax(-1)
    assert (with_adapter - without).abs().max() > 0.1
    for found, expected in ((base, without), (trained, with_adapter)):
        assert len(found) >= 20
        for token, log_probability in found.items():
            assert log_probability == pytest.approx(float(expected[int(token)]), abs=1e-3)
