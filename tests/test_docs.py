"""The documentation: it builds, and what it shows is so."""

import argparse
import doctest
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib import import_module
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import reference_pages
import structure_picture
import yaml
from pydantic import BaseModel
from result_pages import TRAINING_KEYS
from snakemake.cli import get_argument_parser
from snakemake.utils import update_config
from typer.main import get_command

from documentation import MARKDOWN, PAGES, ROOT, Block, anchors, blocks, links
from outctl.cli.main import app, spread
from outctl.config.loading import BUILT_IN, load_registry
from outctl.config.schemas import SCHEMAS
from outctl.evaluation.agreement import AgreementRow
from outctl.evaluation.records import Record, TopToken
from outctl.evaluation.retention import PromptDivergence, RetentionResult
from outctl.evaluation.temperature import TemperatureFit
from outctl.finetune.trainer import LOGGED
from outctl.inference.prompts import build_prompts
from outctl.inference.word_probabilities import answer_questions, word_questions
from outctl.models.loading import LoadedModel
from outctl.pipeline.layout import Layout
from outctl.report.registry import FILES
from outctl.results.combined import MatrixRow
from outctl.results.comparisons import ComparisonRow, SeedRow
from outctl.results.evaluation_rows import DeviationRow, LearningRow, RetentionPositionRow, RetentionRow
from outctl.results.summary import SummaryRow
from outctl.results.variant_row import VariantRow
from outctl.stages.dag import load_plan
from outctl.tasks.cases import draw_samples
from outctl.tasks.deviation import DeviationSample
from outctl.tasks.kinds.given_words import GivenWords
from outctl.tasks.samples import Sample
from outctl.tasks.templates import load_template

pytestmark = pytest.mark.slow

REFERENCE = ROOT / "docs" / "reference"
OTHER_PROGRAMS = ("tensorboard", "vllm", "ls", "cat", "cd", "cut", "tar", "sudo", ".")
"""Programs of shell blocks that are not this project's."""
OWN_FILES = ("first.yaml", "more-cases.yaml", "my-experiment.yaml", "my-sweep.yaml")
"""Configurations that pages take a reader to have written."""
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


# The site


def build(project: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Build the site as `make docs` builds it."""
    (recipe,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if "mkdocs build" in line]
    options = shlex.split(recipe.partition("mkdocs ")[2])
    command = [sys.executable, "-m", "mkdocs", *options, "--site-dir", str(folder)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site."""
    folder = tmp_path_factory.mktemp("site")
    run = build(ROOT, folder)
    assert run.returncode == 0, run.stderr
    return folder


def test_a_link_to_nowhere_and_a_page_that_nothing_leads_to_fail_the_build(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "docs", project / "docs")
    shutil.copy(ROOT / "mkdocs.yml", project)
    (project / "src").symlink_to(ROOT / "src")
    with (project / "docs" / "index.md").open("a") as page:
        page.write("\n[Nowhere](nowhere.md)\n")
    (project / "docs" / "lonely.md").write_text("# Lonely\n")
    run = build(project, tmp_path / "site")
    assert run.returncode != 0
    assert "'nowhere.md'" in run.stderr
    assert 'not included in the "nav" configuration:\n  - lonely.md' in run.stderr
    assert len(re.findall(r"^WARNING +-", run.stderr, re.MULTILINE)) == 2


class Page(HTMLParser):
    """What a page loads, its anchors, and the terms of its definition lists by the anchors in front of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.terms: dict[str, str] = {}
        self._term = ""
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag loads, and where a term begins."""
        found = dict(attrs)
        address = found.get("href") if tag == "link" else found.get("src")
        # A link to the page itself is what a search engine reads, and nothing that a browser fetches.
        if address and found.get("rel") != "canonical":
            self.loaded.append(address)
        if name := found.get("id"):
            self.anchors.add(name)
            self._term = name if self._inside else ""
        if tag == "dt":
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        """Note where a term ends."""
        if tag == "dt":
            self._inside, self._term = False, ""

    def handle_data(self, data: str) -> None:
        """Note a term."""
        if self._term and data.strip():
            self.terms.setdefault(self._term, data)


def page(site: Path, name: str) -> Page:
    return Page((site / f"{name}.html").read_text())


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    elsewhere = {
        address for file in pages for address in Page(file.read_text()).loaded if re.match(r"(\w+:)?//", address)
    }
    assert elsewhere == set()
    assert "http" not in "".join(
        file.read_text() for file in site.rglob("stylesheets/*.css") if file.name == "outctl.css"
    )


@pytest.mark.parametrize("name", reference_pages.PAGES)
def test_pages_of_the_reference_are_those_that_the_code_makes(name: str) -> None:
    assert (REFERENCE / f"{name}.md").read_text() == reference_pages.page_text(name), "run `make reference`"


def test_the_picture_of_the_package_has_every_folder_and_stage() -> None:
    picture = (ROOT / "docs" / "structure.svg").read_text()
    assert picture == structure_picture.structure_picture(), "run `make reference`"
    page = (ROOT / "docs" / "how-it-is-built.md").read_text()
    folders = {path.parent.name for path in (ROOT / "src" / "outctl").glob("*/__init__.py")}
    assert {name for name in folders if f">{name}/<" not in picture or f"**`{name}/`**" not in page} == set()


@pytest.mark.parametrize("name", FILES)
def test_captions_of_snakemakes_report_are_those_of_the_figures(name: str) -> None:
    assert (ROOT / "src" / "outctl" / "workflow" / "report" / f"{name}.rst").read_text() == reference_pages.caption(
        name
    ), "run `make reference`"


def test_there_is_no_other_page_of_the_reference() -> None:
    assert {path.stem for path in REFERENCE.iterdir()} == {*reference_pages.PAGES, "python"}


@pytest.mark.parametrize(
    ("name", "schema"), [("configuration", "experiment"), ("registry", "models"), ("template", "template")]
)
def test_every_key_of_the_configuration_is_in_the_reference(site: Path, name: str, schema: str) -> None:
    content = json.loads((ROOT / "src" / "outctl" / "workflow" / "schemas" / f"{schema}.schema.json").read_text())
    sections = {content["title"]: content} | content.get("$defs", {})
    keys = {f"{section}.{key}": key for section, own in sections.items() for key in own["properties"]}
    assert page(site, f"reference/{name}").terms == keys
    assert set(SCHEMAS) == {"experiment", "models", "template"}


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    found = page(site, "reference/command-line")
    for name, command in COMMANDS.items():
        assert f"outctl-{name}" in found.anchors
        shown = {
            param.name.upper() if param.param_type_name == "argument" else param.opts[0] for param in command.params
        }
        assert {term for anchor, term in found.terms.items() if anchor.startswith(f"{name}.")} == shown - {"--help"}


def test_every_table_that_an_experiment_may_write_is_in_the_reference(site: Path) -> None:
    layout = Layout(Path("results"), Path("models"))
    tables = {method(layout).name for name, method in vars(Layout).items() if name.endswith("_table")}
    terms = page(site, "reference/columns").terms
    figures = {f"figures/{name}.csv" for name in FILES}
    assert {anchor.partition(".csv.")[0] + ".csv" for anchor in terms if ".csv." in anchor} == tables | figures
    assert {f"results/{table}" for table in tables} <= set(page(site, "reference/files").terms.values())


@pytest.mark.parametrize(
    ("file", "row"),
    [
        ("output_control_results.csv", VariantRow),
        ("output_control_simple_metrics.csv", SummaryRow),
        ("output_control_comparisons.csv", ComparisonRow),
        ("output_control_matrix.csv", MatrixRow),
        ("output_control_seeds.csv", SeedRow),
        ("output_control_learning_curves.csv", LearningRow),
        ("base_model_deviation_results.csv", DeviationRow),
        ("retention_results.csv", RetentionRow),
        ("retention_by_position.csv", RetentionPositionRow),
        ("sampling_agreement_results.csv", AgreementRow),
        ("samples/{case}/{split}.jsonl", Sample),
        ("samples/base_model_deviation/eval.jsonl", DeviationSample),
        ("evaluations/{model}/{variant}/{case}.jsonl", Record),
        ("TopToken", TopToken),
        ("temperatures/{model}.json", TemperatureFit),
        ("retention/{model}/{variant}.json", RetentionResult),
        ("PromptDivergence", PromptDivergence),
        *((f"figures/{name}.csv", figure.row) for name, figure in FILES.items()),
    ],
)
def test_every_column_is_in_the_reference(site: Path, file: str, row: type[BaseModel]) -> None:
    terms = page(site, "reference/columns").terms
    shown = [term for anchor, term in terms.items() if anchor == f"{file}.{term}"]
    assert shown == list(row.model_fields)


def test_every_key_of_a_training_s_log_is_in_the_reference() -> None:
    assert list(TRAINING_KEYS) == ["step", "samples", *LOGGED]


# What pages show


PYCON = {path: blocks(path, "pycon") for path in MARKDOWN}


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path, found in PYCON.items() if found])
def test_worked_numbers_are_what_the_code_gives(path: Path) -> None:
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    scope: dict[str, Any] = {}
    for block in PYCON[path]:
        # The blocks of a page go on from each other.
        example = parser.get_doctest(block.text, {}, str(block), str(path), block.line)
        example.globs = scope
        report: list[str] = []
        failed = runner.run(example, out=report.append, clear_globs=False).failed
        assert not failed, "".join(report)


def test_the_probability_of_a_word_is_worked_out_as_the_pipeline_does(
    bigram_model: Callable[..., LoadedModel],
) -> None:
    (table,) = [block for block in blocks(ROOT / "docs" / "metrics.md", "json") if block.title == "next tokens"]
    loaded = bigram_model(json.loads(table.text))
    prompts = build_prompts(loaded.tokenizer, [[{"role": "user", "content": "or"}]], loaded.chat)
    questions = word_questions(loaded.tokenizer, prompts, [["ark", "atom"]])
    (answer,) = answer_questions(loaded.model, loaded.tokenizer, questions)
    # As in the block of the page that works them out by hand.
    assert [math.exp(value) for value in answer.log_probabilities] == pytest.approx([0.4, 0.1], abs=1e-4)


def whole_experiment(part: dict[str, Any]) -> dict[str, Any]:
    """What a block says, put into the default experiment where it is a part of one."""
    if {"models", "cases"} <= part.keys():
        return part
    whole: dict[str, Any] = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    update_config(whole, part)
    if part.keys() & {"cases", "adapters"}:
        # Where a block changes how much there is to train on, the default's own adapters may find too little.
        whole["adapters"] = part.get("adapters", {})
    return whole


YAML = [block for path in MARKDOWN for block in blocks(path, "yaml")]


@pytest.mark.parametrize("block", [pytest.param(block, id=str(block)) for block in YAML])
def test_every_yaml_block_is_a_valid_file_or_part_of_one(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # A copy, into which a block may be written.
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for other in blocks(block.page, "yaml", "text", "python"):
        if other.title:
            (tmp_path / other.title).write_text(other.text)
    content = yaml.safe_load(block.text)
    if "question" in content:
        case = GivenWords(kind="given_words", eval_samples=1)
        (sample,) = draw_samples(case, load_template(block.title), "shown", "eval", 1, seed=0)
        assert all(word in sample.messages[-1]["content"] for word in sample.words or [])
    elif isinstance(content.get("models"), dict):
        (tmp_path / "registry.yaml").write_text(block.text)
        found = load_registry(tmp_path / "registry.yaml").models.keys()
        assert found == content["models"].keys() | (
            load_registry(BUILT_IN).models.keys() if "extends" in content else set()
        )
    elif "executor" in content:
        # A profile of Snakemake's for a plugin that may not be installed.
        known = {
            option.removeprefix("--") for action in get_argument_parser()._actions for option in action.option_strings
        }
        assert content.keys() <= known
    else:
        if registry := content.get("registry"):
            (tmp_path / registry).symlink_to(ROOT / "config" / "models.yaml")
        assert list(load_plan(whole_experiment(content), [tmp_path / "config" / "config.yaml"]).jobs())


def commands_of(text: str) -> Iterator[list[str]]:
    """The commands of a shell block, without what it writes into files."""
    without_files = re.sub(r"<<'(\w+)'\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in without_files.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


COMMAND_LINES = [
    (f"{block}: {shlex.join(words)}", words)
    for path in MARKDOWN
    for block in blocks(path, "sh")
    for words in commands_of(block.text)
]


def parsed(parser: argparse.ArgumentParser, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """What a program makes of its arguments; fails with what it says where it refuses them."""
    try:
        return parser.parse_args(arguments)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


def check_make(targets: list[str]) -> None:
    known = re.findall(r"^([\w.$()/-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    made = {"$(READY)": ".venv/.ready", "$(READY_DEV)": ".venv/.ready-dev"}
    assert set(targets) <= {made.get(target, target) for target in known}


def check_pip(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for argument in arguments:
        if extra := re.fullmatch(r"\.\[(\w+)\]", argument):
            assert extra[1] in project["optional-dependencies"]
    for option, value in pairwise(arguments):
        assert option not in ("-c", "--constraint") or (ROOT / value).is_file()


def check_script(arguments: list[str]) -> None:
    """A script of the repository, and its options by their names alone: reading them takes what the script compares with."""
    script, *rest = arguments
    if script.endswith(".py"):
        assert (ROOT / script).is_file()
        source = "".join(file.read_text() for file in (ROOT / script).parent.glob("*.py"))
        assert [word for word in rest if word.startswith("--") and f'"{word}"' not in source] == []


def check_inspect(arguments: list[str]) -> None:
    inspect = pytest.importorskip("inspect_ai._cli.main").inspect
    name, *options = arguments
    context = inspect.commands[name].make_context(name, options)
    if name == "eval":
        assert context.params["tasks"] == ("outctl/output_control",)
        given = {option.partition("=")[0] for option in context.params["t"]}
        assert given <= signature(import_module("outctl.exchange.inspect_task").output_control).parameters.keys()


def check_harness(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    # The program puts `run` in front where no subcommand is named.
    found = parsed(pytest.importorskip("lm_eval._cli").HarnessCLI()._parser, ["run", *arguments], capsys)
    cases = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["cases"]
    assert set(found.tasks) <= {"outctl", *(f"outctl_{case}" for case in cases)}


@pytest.mark.parametrize("words", [pytest.param(words, id=name) for name, words in COMMAND_LINES])
def test_every_command_line_can_be_typed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = words
    match program:
        case "outctl":
            name, *options = spread(arguments)
            if name not in ("--help", "-h"):
                # Reads the options as a start would, and stops there.
                COMMANDS[name].make_context(name, options)
        case "snakemake":
            found = parsed(get_argument_parser(), arguments, capsys)
            for file in found.configfile or []:
                assert str(file) in OWN_FILES or (ROOT / file).is_file(), file
            assert set(found.profile or []) <= {"slurm"}
        case "make":
            check_make(arguments)
        case "pip":
            check_pip(arguments)
        case "python" | "python3":
            check_script(arguments)
        case "inspect":
            check_inspect(arguments)
        case "lm_eval":
            check_harness(arguments, capsys)
        case _:
            assert program in OTHER_PROGRAMS


INLINE = [
    (f"{path.relative_to(ROOT)}: {command}", command)
    for path in MARKDOWN
    for command in dict.fromkeys(re.findall(r"`((?:outctl|snakemake|make|pip|python3?) [^`\n]+)`", path.read_text()))
]


@pytest.mark.parametrize("command", [pytest.param(command, id=name) for name, command in INLINE])
def test_every_command_that_is_mentioned_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Behind `&&` stands what is done with another program.
    program, *words = shlex.split(command.partition(" && ")[0])
    match program:
        case "snakemake":
            parsed(get_argument_parser(), words, capsys)
        case "make":
            check_make([word for word in words if "=" not in word])
        case "pip":
            check_pip(words)
        case "python" | "python3":
            check_script(words)
        case "outctl" if words[0] not in ("--help", "COMMAND"):
            options = {option for param in COMMANDS[words[0]].params for option in param.opts}
            assert {word for word in words[1:] if word.startswith("-")} <= options | {"--help"}


def test_every_block_says_what_it_holds() -> None:
    assert [str(block) for path in MARKDOWN for block in blocks(path) if not block.language] == []


LINKS = [(path, target) for path in MARKDOWN for target in dict.fromkeys(links(path)) if "://" not in target]


@pytest.mark.parametrize(
    ("path", "target"), [pytest.param(*link, id=f"{link[0].relative_to(ROOT)}: {link[1]}") for link in LINKS]
)
def test_every_link_leads_somewhere_in_the_repository_too(path: Path, target: str) -> None:
    name, _, anchor = target.partition("#")
    file = path.parent / name if name else path
    assert file.exists()
    assert not anchor or anchor in anchors(file)


def test_links_were_found() -> None:
    """A check of links that finds none would pass."""
    by_page = {path.relative_to(ROOT).as_posix(): target for path, target in LINKS}
    assert {"README.md", "docs/index.md", "docs/tutorial.md", "benchmarks/README.md"} <= by_page.keys()
    assert any("#" in target for _, target in LINKS)
