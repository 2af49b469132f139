"""The benchmark for machines with a GPU, on tiny models of the same architectures."""

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
NAMED = ("torch", "transformers", "peft", "accelerate", "pydantic", "bitsandbytes")
"""Packages that machines with a GPU need for it; they bring what they need themselves."""
WITHOUT_PACKAGES = """
import runpy, sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {absent!r} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
sys.path.insert(0, {folder!r})
sys.argv[0] = {script!r}
runpy.run_path({script!r}, run_name="__main__")
"""
"""Runs the benchmark as if these packages were not installed: transformers looks for some before it imports them."""

COUNT = """
import json, sys
sys.path.insert(0, {folder!r})
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from asking import Work, ask, make_prompts, make_questions
from gpu import Subject
from random_models import CONFIGURATIONS, configuration, make_tokenizer

def computed(counter, *names):
    by_name = {{str(operation): flops for operation, flops in counter.get_flop_counts()["Global"].items()}}
    return sum(by_name.get(name, 0) for name in names)

found = {{}}
for name in CONFIGURATIONS:
    config = configuration(name, tiny=True)
    tokenizer = make_tokenizer(config.vocab_size)
    subject = Subject(name, "bfloat16", config, tokenizer)
    questions = make_questions(tokenizer, make_prompts(tokenizer, 3))
    work = Work(questions)
    with FlopCounterMode(display=False) as one_pass:
        ask(subject.model, tokenizer, questions, 4 * work.nodes)
    # The counter sees the attention of this implementation, and counts pairs that are masked too.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as plain:
        subject.model(torch.tensor([questions[0].prompt]))
    found[name] = {{
        "computed": computed(one_pass, "aten.mm", "aten.addmm"),
        "useful": subject.flops(work) - subject.attention * work.pairs,
        "plain_attention": computed(plain, "aten.bmm"),
        "attention_of_all_pairs": subject.attention * len(questions[0].prompt) ** 2,
    }}
print(json.dumps(found))
"""
"""Counts what the models' matrix products and attention compute, by operation."""


def brought_by(packages: Iterable[str]) -> set[str]:
    """Installed packages that come with these, themselves included, by their normalised names."""
    found: set[str] = set()
    left = {canonicalize_name(name) for name in packages}
    while left:
        name = left.pop()
        found.add(name)
        try:
            requirements = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        needed = [item.name for item in requirements if item.marker is None or item.marker.evaluate({"extra": ""})]
        left |= {canonicalize_name(name) for name in needed} - found
    return found


def absent() -> set[str]:
    """Modules of installed packages that a machine with `NAMED` alone would not have."""
    brought = brought_by(NAMED) | {"outctl"}
    owners = packages_distributions().items()
    return {module for module, names in owners if brought.isdisjoint(canonicalize_name(name) for name in names)}


def printed_by(program: str, *arguments: str) -> str:
    """What a program prints that ends well, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("gpu")
    program = WITHOUT_PACKAGES.format(absent=absent(), folder=str(SCRIPT.parent), script=str(SCRIPT))
    file = folder / "figures.json"
    printed_by(program, "--tiny", "--json", str(file))
    found: list[dict[str, object]] = json.loads(file.read_text())["rows"]
    return found


def test_every_model_and_precision_is_evaluated_and_trained(rows: list[dict[str, object]]) -> None:
    measured = {(row["model"], row["precision"], row["task"]) for row in rows}
    assert len(measured) == 3 * 2 * 2
    assert [row for row in rows if row["note"]] == []
    # A share is a measured time, so nothing more is known of it.
    assert [row for row in rows if not row["of_measured"]] == []


def test_packages_of_the_pipeline_were_hidden() -> None:
    assert {"snakemake", "pandas", "scipy", "tensorboard", "wordfreq"} <= absent()


@pytest.fixture(scope="module")
def counts() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = json.loads(printed_by(COUNT.format(folder=str(SCRIPT.parent))))
    return found


def test_useful_work_is_what_one_pass_over_the_questions_computes(counts: dict[str, dict[str, float]]) -> None:
    assert len(counts) == 3
    for count in counts.values():
        assert count["computed"] == pytest.approx(count["useful"], rel=0.01)


def test_attention_costs_what_a_plain_pass_computes(counts: dict[str, dict[str, float]]) -> None:
    for count in counts.values():
        assert count["plain_attention"] == count["attention_of_all_pairs"] > 0
