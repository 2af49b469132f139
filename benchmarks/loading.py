"""Seconds until a model is ready to be asked: `python benchmarks/loading.py`.

Every measurement is a process of its own that imports, loads, and says how long each took. Loaded are

    bfloat16            a prepared model
    nf4, quantised      the same, quantised by transformers while it is loaded, as every start does without snapshots
    nf4, first load     the pipeline's first load, which quantises and writes a snapshot
    nf4, snapshot       the pipeline's every later load

and the evaluations of several cases are run in one process that loads once, and in one process each. Files are read once
before, so they come from the page cache; repeats alternate between the ways, and the medians are reported. `--size 1b`
takes a random Llama with about a thousand million parameters in place of the embedded model.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

ROOT = Path(__file__).parent.parent
EMBEDDED = ROOT / "resources" / "models" / "smollm2-135m-instruct"
WAYS = ("bfloat16", "nf4, quantised", "nf4, first load", "nf4, snapshot")
BILLION = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 18,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "tie_word_embeddings": True,
}


def import_all() -> None:
    """Import what an evaluation imports before it loads its model."""


def load(way: str, directory: Path) -> Any:
    """Load a prepared model in one of `WAYS`."""
    from outctl.models.loading import compute_dtype, load_model
    from outctl.models.snapshots import FOLDER

    if way == "nf4, quantised":
        from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

        quantisation = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype(),
        )
        model = AutoModelForCausalLM.from_pretrained(
            directory, quantization_config=quantisation, device_map="auto", attn_implementation="sdpa"
        )
        return model.eval(), AutoTokenizer.from_pretrained(directory)
    if way == "nf4, first load":
        shutil.rmtree(directory.parent / FOLDER, ignore_errors=True)
    loaded = load_model(directory, "bfloat16" if way == "bfloat16" else "nf4", chat=False)
    return loaded.model, loaded.tokenizer


def evaluate_cases(model: Any, tokenizer: Any, cases: int, questions: int) -> None:
    """Ask the questions of several cases, one case after the other."""
    from outctl.inference.prompts import build_prompts
    from outctl.inference.word_probabilities import answer_questions, word_questions
    from outctl.tasks.samples import Message

    for case in range(cases):
        texts = [f"Case {case}: {share}% ark, {100 - share}% atom" for share in range(questions)]
        prompts = build_prompts(tokenizer, [[Message(role="user", content=text)] for text in texts], chat=False)
        asked = word_questions(tokenizer, prompts, [["ark", "atom"]] * questions)
        list(answer_questions(model, tokenizer, asked))


def load_here(way: str, directory: Path, cases: int, questions: int) -> dict[str, float]:
    """Load in this process and evaluate some cases; seconds of each part, and the peak memory."""
    import resource

    start = time.perf_counter()
    import_all()
    imported = time.perf_counter()
    model, tokenizer = load(way, directory)
    loaded = time.perf_counter()
    from outctl.inference.engine_check import choose_engine

    choose_engine(model)
    ready = time.perf_counter()
    evaluate_cases(model, tokenizer, cases, questions)
    return {
        "imports_s": imported - start,
        "load_s": loaded - imported,
        "check_s": ready - loaded,
        "cases_s": time.perf_counter() - ready,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_process(**request: Any) -> dict[str, float]:
    """Ask a fresh process for `request`, and add what the whole process took."""
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, __file__, "--request", json.dumps(request)], stdout=subprocess.PIPE, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if run.returncode:
        sys.exit(f"loading failed: {request}")
    return {**json.loads(run.stdout.splitlines()[-1] or "{}"), "process_s": seconds}


def answer(request: dict[str, Any]) -> dict[str, float]:
    """What a fresh process does."""
    directory = Path(request["directory"])
    if request["way"] == "write model":
        write_model(directory)
        return {}
    return load_here(request["way"], directory, request["cases"], request["questions"])


def write_model(folder: Path) -> None:
    """Write a random Llama of the size of `BILLION`, and its tokenizer, in the layout of the hub."""
    import torch

    from random_models import make_configuration, make_tokenizer, random_model

    model = random_model(make_configuration("llama", **BILLION), torch.device("cpu"))
    model.save_pretrained(folder)
    make_tokenizer(BILLION["vocab_size"]).save_pretrained(folder)


def prepare_billion(folder: Path) -> Path:
    """Write the random Llama and prepare it with the pipeline's own command."""
    in_process(way="write model", directory=str(folder / "original"))
    source = {"kind": "local", "path": str(folder / "original")}
    entry = {"source": source, "chat": False, "parameters": 1_000_000_000}
    # JSON is YAML too.
    (folder / "models.yaml").write_text(json.dumps({"models": {"random": entry}}), encoding="utf-8")
    cases = {"case": {"kind": "given_words", "eval_samples": 1}}
    experiment = {"models": ["random"], "registry": "models.yaml", "cases": cases}
    (folder / "experiment.yaml").write_text(json.dumps(experiment), encoding="utf-8")
    command = [sys.executable, "-m", "outctl", "fetch-model", "random", "--config", "experiment.yaml"]
    subprocess.run([*command, "--output", "prepared"], cwd=folder, check=True)
    return folder / "prepared"


def medians(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the repeats."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def alternating(ways: dict[str, Callable[[], dict[str, float]]], repeats: int) -> dict[str, dict[str, float]]:
    """Measure every way in turn, several times, so that a slow minute of the machine hits all of them."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, measure in ways.items():
            runs[name].append(measure())
            print(f"{repeat + 1}/{repeats} {name}: {runs[name][-1]['process_s']:.1f} s", file=sys.stderr)
    return {name: medians(found) for name, found in runs.items()}


def measure_all(directory: Path, cases: int, questions: int, repeats: int) -> dict[str, Any]:
    """All figures of one model: each way of loading, and shared against separate loading."""
    for file in directory.glob("*.*"):
        file.read_bytes()

    def load_as(way: str, count: int) -> dict[str, float]:
        return in_process(way=way, directory=str(directory), cases=count, questions=questions)

    def separately() -> dict[str, float]:
        return {"process_s": sum(load_as("bfloat16", 1)["process_s"] for _ in range(cases))}

    ways: dict[str, Callable[[], dict[str, float]]] = {way: partial(load_as, way, 0) for way in WAYS}
    ways["shared"] = lambda: load_as("bfloat16", cases)
    ways["separate"] = separately
    found = alternating(ways, repeats)
    from outctl.models.snapshots import FOLDER

    megabytes = {
        place: sum(file.stat().st_size for file in files) / 1e6
        for place, files in (
            ("model", directory.glob("*.safetensors")),
            ("snapshot", (directory.parent / FOLDER).rglob("*.safetensors")),
        )
    }
    return {"megabytes": megabytes, "cases": cases, "questions": questions, "repeats": repeats, "ways": found}


def table(models: dict[str, dict[str, Any]]) -> str:
    """The tables: ways of loading, and shared loading."""
    lines = [
        "| model | way | imports | loading | check of the architecture | whole process | peak memory | weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in models.items():
        for way in WAYS:
            row = figures["ways"][way]
            weights = figures["megabytes"]["snapshot" if way == "nf4, snapshot" else "model"]
            lines.append(
                f"| {name} | {way} | {row['imports_s']:.1f} s | {row['load_s']:.2f} s | {row['check_s']:.2f} s "
                f"| {row['process_s']:.1f} s | {row['peak_mb']:.0f} MB | {weights:.0f} MB |"
            )
    lines += ["", "| model | cases | one process each | one process for all | saved |", "|---|---|---|---|---|"]
    for name, figures in models.items():
        shared, separate = (figures["ways"][way]["process_s"] for way in ("shared", "separate"))
        lines.append(
            f"| {name} | {figures['cases']} | {separate:.1f} s | {shared:.1f} s | {100 * (1 - shared / separate):.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=["embedded", "1b"], nargs="+", default=["embedded"], help="models to load")
    parser.add_argument("--model-dir", type=Path, default=EMBEDDED, help="the embedded model, prepared")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each way")
    parser.add_argument("--cases", type=int, default=5, help="cases that share a load")
    parser.add_argument("--questions", type=int, default=4, help="questions of a case")
    parser.add_argument("--publish", action="store_true", help="write results/loading.json and README.md")
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.request is not None:
        print(json.dumps(answer(arguments.request)))
        return
    models = {}
    for size in arguments.size:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if size == "embedded":
                # A copy, whose snapshots may be removed.
                directory = Path(shutil.copytree(arguments.model_dir, folder / arguments.model_dir.name))
            else:
                directory = prepare_billion(folder)
            models["SmolLM2-135M" if size == "embedded" else "random Llama, 1 B"] = measure_all(
                directory, arguments.cases, arguments.questions, arguments.repeats
            )
    print(table(models))
    if arguments.publish:
        from report import publish

        publish("loading", {"models": models}, table(models))


if __name__ == "__main__":
    main()
