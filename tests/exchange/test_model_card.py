"""What is pushed to the hub: read back by the hub's own parser, by PEFT, and by a server that speaks its protocol."""

import base64
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from command_line import ByHand
from in_process import evaluate, gather, train
from outctl.config.reading import read_yaml
from outctl.errors import OutctlError
from outctl.exchange.model_card import Card, adapter_config, model_card, write_hub_folder
from outctl.models.loading import load_model
from outctl.models.sources.hub import HubSource
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import check_outputs
from outctl.stages.dag import load_plan
from outctl.stages.evaluate_retention import EvaluateRetention
from outctl.storage.files import read_json

FILES = ["README.md", "adapter_config.json", "adapter_model.safetensors", "training.jsonl"]

FEW = {"bootstrap_samples": 200, "permutations": 199}


@pytest.fixture
def trained(by_hand: Callable[..., ByHand]) -> ByHand:
    """An experiment whose adapter is trained, and nothing measured."""
    experiment = by_hand({"steps": 8, "rank": 12}, retention={"prompts": 2, "answer_tokens": 2}, statistics=FEW)
    train(experiment)
    return experiment


@pytest.fixture
def measured(trained: ByHand) -> ByHand:
    """The same, with its tables."""
    plan, layout = trained.plan, trained.plan.layout
    for variant in ("baseline", "tuned"):
        evaluate(trained, variant, "given")
    EvaluateRetention().planned(layout, plan.spec("evaluate-retention", "tiny", "tuned"), ("tiny", "tuned")).run()
    gather(trained)
    return trained


def fresh(experiment: ByHand) -> Plan:
    file = experiment.folder / "config" / "config.yaml"
    return load_plan(read_yaml(file), [file])


def pushed(experiment: ByHand, base: str | None = "lab/tiny") -> Path:
    folder = experiment.folder / "pushed"
    write_hub_folder(fresh(experiment), "tiny", "tuned", "me/control", base, "apache-2.0", folder)
    return folder


def test_the_card_is_one_for_the_hub_and_holds_the_scores_of_the_tables(measured: ByHand) -> None:
    folder = pushed(measured)
    assert sorted(file.name for file in folder.iterdir()) == FILES
    card = ModelCard.load(folder / "README.md", ignore_metadata_errors=False)
    assert card.data.base_model == "lab/tiny"
    assert (card.data.library_name, card.data.license, card.data.model_name) == ("peft", "apache-2.0", "control")
    assert {"lora", "output-control"} <= set(card.data.tags)
    # The parser makes of the results what was written.
    written = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
    assert eval_results_to_model_index("control", card.data.eval_results) == written["model-index"]
    table = pd.read_csv(measured.plan.layout.case_table()).set_index("variant")
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert set(found) <= {"avg_tvd", "control_slope", "within_slope", "accuracy"}
    assert found["avg_tvd"] == pytest.approx(table.loc["tuned", "avg_tvd"], abs=1e-6)
    for variant in ("baseline", "tuned", "uniform", "majority", "ordinal"):
        row = table.loc[variant]
        cells = [line.split(" | ") for line in card.text.splitlines() if line.startswith("| given (trained on)")]
        ((_, _, count, distance, *_),) = [line for line in cells if variant in line[1]]
        assert int(count) == row["num_trials"]
        expected = [row["avg_tvd"], row["avg_tvd_low"], row["avg_tvd_high"]]
        assert [float(text) for text in re.findall(r"[\d.]*\d", distance)] == pytest.approx(expected, abs=6e-4)
    changed = pd.read_csv(measured.plan.layout.retention_table()).iloc[0]
    assert f"is {changed['kl']:.3f} ({changed['kl_low']:.3f} .. {changed['kl_high']:.3f}) nats a token" in card.text
    recipe = yaml.safe_load(card.text.partition("```yaml\n")[2].partition("```")[0])
    assert recipe == measured.plan.recipes["tuned"].model_dump(mode="json")
    assert "--max-lora-rank 16 --lora-modules tuned=me/control" in card.text
    assert "adapters of this form were tried with it, this one was not" in card.text


@pytest.mark.slow
def test_nothing_of_this_machine_is_pushed(measured: ByHand) -> None:
    folder = pushed(measured, base=None)
    assert read_json(folder / "adapter_config.json")["base_model_name_or_path"] is None
    source = str(measured.plan.registry.models["tiny"].source)
    for file in folder.iterdir():
        content = file.read_bytes()
        for path in (str(measured.folder), "resources/models", source):
            assert path.encode() not in content, file


@pytest.mark.slow
def test_what_is_pushed_is_the_adapter_to_plain_peft_and_of_the_form_that_vllm_documents(measured: ByHand) -> None:
    folder = pushed(measured)
    model_dir = measured.plan.layout.model("tiny")
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, folder).eval()
    own = load_model(model_dir, "float32", True, measured.plan.layout.adapter("tiny", "tuned")).model
    tokens = AutoTokenizer.from_pretrained(model_dir)("70 ark 30 atom", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(plain(tokens).logits, own(tokens).logits, atol=1e-5, rtol=1e-4)
        with plain.disable_adapter():
            assert not torch.allclose(plain(tokens).logits, own(tokens).logits, atol=1e-3)
    # What vLLM reads of a configuration, and what it refuses, by its documentation.
    config = read_json(folder / "adapter_config.json")
    assert (config["peft_type"], config["r"], config["bias"]) == ("LORA", 12, "none")
    assert isinstance(config["target_modules"], list)
    assert not any(
        config[key] for key in ("modules_to_save", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern")
    )
    tensors = load_file(folder / "adapter_model.safetensors")
    layer = re.compile(r"base_model\.model\.model\.layers\.\d+\.(self_attn|mlp)\.(\w+_proj)\.lora_([AB])\.weight")
    for name, tensor in tensors.items():
        found = layer.fullmatch(name)
        assert found, name
        assert found[2] in config["target_modules"]
        assert tensor.dtype == torch.float32
        assert tensor.shape[0 if found[3] == "A" else 1] == config["r"]
    assert {name.replace("lora_A", "lora_B") for name in tensors} == {name for name in tensors if "lora_B" in name}


@pytest.mark.slow
def test_a_base_on_the_hub_is_named_with_its_revision(measured: ByHand) -> None:
    plan, revision = measured.plan, "0123456789abcdef0123456789abcdef01234567"
    entry = plan.registry.models["tiny"]
    hub = entry.model_copy(update={"source": HubSource(kind="hub", repo="lab/tiny", revision=revision)})
    provenance = check_outputs(plan.provenance("finetune", "tiny", "tuned"))
    recipe = plan.recipes["tuned"].model_copy(update={"rank": 1024})
    combined = read_json(plan.layout.combined())
    card = Card("me/control", "tiny", "tuned", hub, "lab/tiny", None, recipe, provenance, combined)
    found = adapter_config(card, {"r": 4, "base_model_name_or_path": "resources/models/tiny", "revision": None})
    assert found == {"r": 4, "base_model_name_or_path": "lab/tiny", "revision": revision}
    text = model_card(card)
    assert f'from_pretrained("lab/tiny", revision="{revision}")' in text
    assert "model = AutoModelForCausalLM.from_pretrained" in text
    seeing = model_card(replace(card, loader="AutoModelForImageTextToText"))
    assert "import AutoModelForImageTextToText, AutoTokenizer" in seeing
    assert "model = AutoModelForImageTextToText.from_pretrained" in seeing
    assert "vLLM takes ranks up to 512; this adapter has 1024." in text
    assert ModelCard(text).data.license is None
    control = replace(card, recipe=recipe.model_copy(update={"targets": "even"}))
    assert "an even split whatever the question asks for, as a control" in model_card(control)
    assert "a loss that compares the model's exact next-word distribution with the target" in text
    shortened = replace(card, recipe=recipe.model_copy(update={"whole_words": 0.25}))
    assert "(in 25% of the questions; mostly those of their first tokens in the others)" in model_card(shortened)
    asked = "The model was asked through its chat template"
    assert f"{asked}. With PEFT" in text
    entry = hub.model_copy(update={"template_kwargs": {"enable_thinking": False}, "system": "Say “ark”."})
    options = '`template_kwargs: {"enable_thinking": false}`, `system: "Say “ark”."`'
    assert f"{asked}, with {options}. With PEFT" in model_card(replace(card, entry=entry))
    # Another repository than the registry's: its revisions are others.
    assert adapter_config(replace(card, base="else/where"), {})["revision"] is None


def test_an_adapter_that_is_missing_unmeasured_or_stale_is_refused(trained: ByHand) -> None:
    target = trained.folder / "pushed"

    def refused() -> str:
        with pytest.raises(OutctlError) as error:
            write_hub_folder(fresh(trained), "tiny", "tuned", "me/control", None, None, target)
        assert not target.exists()
        return str(error.value)

    assert refused() == "tiny/tuned: the scores are not made yet; run the workflow first"
    config = trained.folder / "config" / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("steps: 8", "steps: 9"))
    assert refused().startswith("tiny/tuned: the adapter is stale (finetune/tiny/tuned: ")
    config.write_text(text)
    weights = trained.plan.layout.adapter("tiny", "tuned") / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert refused().startswith("tiny/tuned: the adapter is stale (finetune/tiny/tuned: ")
    trained.plan.provenance("finetune", "tiny", "tuned").unlink()
    assert refused() == "tiny/tuned: the adapter is not made yet; run the workflow first"
    target.mkdir()
    with pytest.raises(OutctlError, match="is there already; name a folder that is not"):
        write_hub_folder(fresh(trained), "tiny", "tuned", "me/control", None, None, target)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as making a repository and one commit take."""

    asked: list[tuple[str, Any]]
    files: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = self.path.partition("?")[0]
        if self.headers["Authorization"] != "Bearer hf_right":
            return self._answer(401, {"error": "Invalid credentials"})
        if path == "/api/repos/create":
            self.asked.append((path, json.loads(body)))
            return self._answer(200, {"url": f"http://{self.headers['Host']}/me/control"})
        if path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---\n")[1])
            return self._answer(200, {"warnings": []})
        if path == "/api/models/me/control/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self._answer(200, {"files": files})
        if path == "/api/models/me/control/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"http://{self.headers['Host']}/me/control/commit/1"
            answer = {"commitUrl": url, "commitOid": "1" * 40, "success": True}
            return self._answer(200, answer)
        return self._answer(404, {"error": f"no {path}"})

    def _answer(self, status: int, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A server on this machine that huggingface_hub takes for the hub."""
    handler = type("OneHub", (Hub,), {"asked": [], "files": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        yield handler
        server.shutdown()


PUSH = ("push-adapter", "tiny", "tuned", "--repo", "me/control")


@pytest.mark.slow
def test_a_dry_run_writes_what_is_pushed_and_a_push_that_fails_is_one_line(
    measured: ByHand, hub: type[Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, error = measured.run_afresh(*PUSH, "--private")
    assert (code, out) == (0, f"{os.environ['HF_ENDPOINT']}/me/control/commit/1\n"), error
    ((_, asked),) = hub.asked
    assert (asked["name"], asked["organization"]) == ("control", "me")
    assert asked.get("private") or asked.get("visibility") == "private"
    for variable, value, said in (("HF_TOKEN", "hf_wrong", "401"), ("HF_ENDPOINT", "http://127.0.0.1:9", "refused")):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            code, out, error = measured.run_afresh(*PUSH)
            assert (code, out) == (1, "")
            assert re.fullmatch(rf"outctl: me/control: the hub cannot be reached, or refuses: .*{said}.*\n", error), (
                error
            )
    # Without a network or a token.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("HF_TOKEN")
    code, _, error = measured.run_afresh(*PUSH, "--dry-run", "written")
    assert code == 0, error
    assert {file.name: file.read_bytes() for file in (measured.folder / "written").iterdir()} == hub.files
    assert sorted(hub.files) == FILES


@pytest.mark.slow
def test_a_push_without_access_is_one_line(
    trained: ByHand, hub: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*arguments: str) -> str:
        code, out, error = trained.run_afresh(*(arguments or PUSH))
        assert (code, out, error.count("\n")) == (1, "", 1), error
        return error

    assert refused(*PUSH[:-1], "control") == (
        "outctl: --repo: 'control' is no name of a repository on the hub; give it as USER/NAME\n"
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused().startswith("outctl: HF_HUB_OFFLINE is set; unset it, or write the files with --dry-run DIR")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nobody"))
    assert refused() == "outctl: there is no token for the hub; run `hf auth login`, or set HF_TOKEN\n"
