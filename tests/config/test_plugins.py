"""Plug-ins: what they register, for whom, and what is said of their mistakes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from outctl.config.loading import load_experiment
from outctl.config.plugins import load_plugins, packages_used, run_plugins
from outctl.config.registries import CASE_KINDS, FIXED_METRICS, LOSSES, METRICS, VOCABULARIES
from outctl.errors import OutctlError
from outctl.results.summary import SummaryRow
from plugin_examples import TEXTS, write_plugins

LOSS = (
    "from outctl.config.registries import LOSSES\n\n\n@LOSSES.register({})\ndef own(log_p, target):\n    return log_p\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a registry of models, and no plug-in left behind."""
    monkeypatch.chdir(tmp_path)
    source = {"kind": "hub", "repo": "lab/b", "revision": "0" * 40}
    entry = {"source": source, "chat": True, "parameters": 10}
    Path("models.yaml").write_text(yaml.safe_dump({"models": {"a": entry}}))
    yield tmp_path
    load_plugins([])


def experiment(**changes: Any) -> dict[str, Any]:
    cases = {"given": {"kind": "given_words", "train_samples": 64, "eval_samples": 4}}
    adapters = {"one": {"cases": {"given": 64}, "steps": 2}}
    return {"models": ["a"], "registry": "models.yaml", "cases": cases, "adapters": adapters} | changes


def mistake(text: str, name: str = "own.py") -> str:
    Path(name).write_text(text)
    with pytest.raises(OutctlError) as caught:
        load_experiment(experiment(plugins=[name]), [])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_plugin_registers_can_be_named() -> None:
    plugins = write_plugins(Path(), "weekdays.py", "hellinger.py", "colours.py")
    days = {"kind": "weekdays", "days": 3, "template": "given_words", "eval_samples": 2}
    data = experiment(plugins=plugins)
    data["cases"] |= {"days": days}
    data["adapters"]["one"] |= {"loss": "hellinger"}
    read, _ = load_experiment(data, [])
    assert read.model_dump()["cases"]["days"]["days"] == 3
    assert read.cases["days"].kind == "weekdays"
    assert read.adapters["one"].loss == "hellinger"
    assert "hellinger" in METRICS
    assert VOCABULARIES["colours"].apart


def test_options_of_a_kind_are_checked_as_all_others() -> None:
    data = experiment(plugins=write_plugins(Path(), "weekdays.py"))
    data["cases"]["days"] = {"kind": "weekdays", "eval_samples": 2, "dayz": 3}
    with pytest.raises(OutctlError, match=r"cases\.days\.dayz: unknown key; did you mean 'days'\?"):
        load_experiment(data, [])
    data["cases"]["days"] = {"kind": "weekdays", "eval_samples": 2, "days": 9}
    with pytest.raises(OutctlError, match=r"cases\.days\.days: Input should be less than or equal to 7, not 9"):
        load_experiment(data, [])


def test_an_experiment_knows_its_own_plugins_alone() -> None:
    load_experiment(experiment(plugins=write_plugins(Path(), "weekdays.py", "hellinger.py")), [])
    data = experiment()
    data["adapters"]["one"] |= {"loss": "hellinger"}
    with pytest.raises(OutctlError, match=r"loss: 'hellinger' is not allowed; known: js, kl, reverse_kl, tvd"):
        load_experiment(data, [])
    assert "weekdays" not in CASE_KINDS


def test_an_edited_plugin_takes_the_place_of_what_it_was() -> None:
    Path("own.py").write_text(LOSS.format("'one'"))
    load_experiment(experiment(plugins=["own.py"]), [])
    Path("own.py").write_text(LOSS.format("'two'"))
    load_experiment(experiment(plugins=["own.py"]), [])
    assert [name for name in LOSSES if LOSSES.plugin_of(name)] == ["two"]


MISTAKES = {
    "x = (\n": "own.py line 1: not valid Python: '(' was never closed",
    "\nimport nothing_of_the_kind\n": "own.py line 2: ModuleNotFoundError: No module named 'nothing_of_the_kind'",
    "def f():\n    return 1 / 0\n\n\nf()\n": "own.py line 2: ZeroDivisionError: division by zero",
    "raise SystemExit(3)\n": "own.py line 1: SystemExit: 3",
    "x = 1\n": "own.py: registers nothing; see docs/how-to/own-case.md for what a plug-in looks like",
    "x = '\0'\n": "own.py: not valid Python: source code string cannot contain null bytes",
    LOSS.format("'kl'"): "own.py line 4: the loss 'kl' is taken; choose another name",
    LOSS.format("'a b'"): "own.py line 4: 'a b' cannot be a name; use lower-case letters, digits and underscores",
    LOSS.replace("LOSSES", "METRICS").format("'tvd'"): (
        "own.py line 4: the metric 'tvd' is taken: avg_tvd is a column already; choose another name"
    ),
    LOSS.replace("LOSSES", "VOCABULARIES").format("'own'"): (
        "own.py line 4: 'own' must be an outctl.config.vocabulary.Vocabulary, and"
    ),
    LOSS.replace("LOSSES", "CASE_KINDS").format("'own'"): (
        "own.py line 4: a kind of case is a class that derives from outctl.config.cases.Case, and"
    ),
    TEXTS["weekdays.py"].replace('register("weekdays")', 'register("days")'): (
        'own.py line 16: Weekdays needs the line `kind: Literal["days"]`'
    ),
    "from outctl.config.registries import LOSSES\nLOSSES.register('own')(3)\n": (
        "own.py line 2: 'own' must be a function of log-probabilities and targets, and 3 is none"
    ),
    "\nfrom . import other\n": "own.py line 2: a plug-in is one file and cannot import another beside it",
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_is_one_line_with_file_and_line(text: str, expected: str) -> None:
    assert mistake(text).startswith(expected)
    assert [name for name in LOSSES if LOSSES.plugin_of(name)] == []


@pytest.mark.parametrize("beside", ["helper.py", "helper/__init__.py"])
def test_a_file_beside_a_plugin_cannot_be_imported(folder: Path, beside: str) -> None:
    (folder / beside).parent.mkdir(exist_ok=True)
    (folder / beside).write_text("")
    Path("plugins").mkdir()
    text = "import os\n\n\ndef f():\n    from helper import g\n"
    expected = " line 5: a plug-in is one file and cannot import another beside it; put both into one"
    assert mistake(text) == f"own.py{expected}"
    assert mistake(text, "plugins/own.py") == f"plugins/own.py{expected}"


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        (["no.py"], "--config: plugins.0: 'no.py' cannot be read: No such file or directory"),
        (["models.yaml"], "--config: plugins.0: 'models.yaml' is no Python file; its name must end in .py"),
        (["own.py", "own.py"], "--config: plugins.1: 'own.py' is listed twice"),
        (["latin.py"], "--config: plugins.0: 'latin.py' is no UTF-8"),
        ("own.py", "--config: plugins: Input should be a valid list, not 'own.py'"),
        ([3], "--config: plugins.0: Input should be a valid string, not 3"),
    ],
)
def test_a_file_that_is_no_plugin_is_named_with_its_key(plugins: Any, expected: str) -> None:
    Path("own.py").write_text(LOSS.format("'own'"))
    Path("latin.py").write_bytes(b"# \xff\n")
    with pytest.raises(OutctlError, match=f"^{re.escape(expected)}$"):
        load_experiment(experiment(plugins=plugins), [])


def test_two_plugins_cannot_register_the_same_name() -> None:
    for name in ("one.py", "two.py"):
        Path(name).write_text(LOSS.format("'own'"))
    with pytest.raises(OutctlError, match=r"^two\.py line 4: the loss 'own' is taken"):
        load_experiment(experiment(plugins=["one.py", "two.py"]), [])


def test_a_plugin_runs_once_for_each_text() -> None:
    text = LOSS.format("'own'")
    run_plugins({"own.py": text})
    first = LOSSES["own"]
    run_plugins({"own.py": text})
    assert LOSSES["own"] is first
    run_plugins({"own.py": f"{text}# edited\n"})
    assert LOSSES["own"] is not first


def test_names_of_columns_that_are_always_there_are_all_taken() -> None:
    ends = ("_low", "_high")
    means = {name for name in SummaryRow.model_fields if name.startswith("avg_") and not name.endswith(ends)}
    assert means == {f"avg_{name}" for name in FIXED_METRICS}


def test_packages_of_plugins_are_found_by_what_they_import() -> None:
    text = "import os, yaml\n\n\ndef f():\n    import numpy.linalg\n    from outctl.errors import OutctlError\n"
    assert packages_used({"own.py": text}) == ["numpy", "pyyaml"]


@pytest.mark.parametrize("registry", [CASE_KINDS, LOSSES, METRICS, VOCABULARIES], ids=lambda registry: registry.what)
def test_each_module_of_a_registrys_folder_registers_the_entry_of_its_name(registry: Any) -> None:
    assert [registry[name] for name in registry] == list(registry.values())
    with pytest.raises(KeyError):
        registry["nothing"]
