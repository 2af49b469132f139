import ast
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from outctl.config.registries import CASE_KINDS, LOSSES, SOURCES, VOCABULARIES
from outctl.pipeline import fingerprint as fingerprints
from outctl.stages.dag import STAGES
from outctl.stages.report import page_assets
from outctl.tasks.templates import template_names

SOURCE = fingerprints.ROOT

PACKAGE = {
    "__init__.py": "",
    "stage.py": '''"""What a stage does."""

from outctl import tables
from outctl.letters.words import SIZE, outer as chosen


def run(values):
    """Run the stage."""
    from outctl.late import last

    assert SIZE  # a comment
    return [chosen(value) for value in values] + tables.rows() + last()
''',
    "letters/__init__.py": "",
    "letters/words.py": '''"""Words."""

LIMIT: int = 3
"""How many."""
SIZE = LIMIT * 2
UNUSED = 5
names = []
names.append("first")


class Inner:
    """A class."""

    value: int = 1
    """An attribute."""

    def method(self):
        """A method."""
        return self.value


def outer(value):
    return helper(value) or Inner().method()


def helper(value):
    return value


def lonely():
    return UNUSED
''',
    "tables.py": "def rows():\n    return [1]\n\n\ndef columns():\n    return [2]\n",
    "late.py": "def last():\n    return [3]\n\n\ndef never():\n    return [4]\n",
    "other.py": "from outctl.stage import run\n\nANSWER = run([1])\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Iterator[Path]:
    root = tmp_path / "outctl"
    for name, text in PACKAGE.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(fingerprints, "ROOT", root)
    yield root
    forget()


def forget() -> None:
    fingerprints._module.cache_clear()
    fingerprints.code_of.cache_clear()
    fingerprints.fingerprint.cache_clear()


def fingerprint(module: str = "outctl.stage") -> str:
    forget()
    return fingerprints.fingerprint(module, "run")


def edit(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text()
    assert text.count(old) == 1, f"{old!r} must stand once in {file}"
    (root / file).write_text(text.replace(old, new))


REACHABLE = [
    ("stage.py", "values]", "values if value]"),
    ("stage.py", "import tables", "import late as tables"),
    ("letters/words.py", "helper(value) or", "helper(value) and"),
    ("letters/words.py", "    return value\n\n\ndef lonely", "    return -value\n\n\ndef lonely"),
    ("letters/words.py", "value: int = 1", "value: int = 2"),
    ("letters/words.py", "return self.value", "return 1"),
    ("letters/words.py", "LIMIT: int = 3", "LIMIT: int = 4"),
    ("letters/words.py", "LIMIT * 2", "LIMIT * 3"),
    ("letters/words.py", 'append("first")', 'append("second")'),
    ("tables.py", "return [1]", "return [0]"),
    ("late.py", "return [3]", "return [0]"),
]


@pytest.mark.parametrize(("file", "old", "new"), REACHABLE)
def test_edit_of_reachable_code_changes_the_fingerprint(package, file, old, new):
    before = fingerprint()
    edit(package, file, old, new)
    assert fingerprint() != before


UNREACHABLE = [
    ("letters/words.py", "return UNUSED", "return 0"),
    ("letters/words.py", "UNUSED = 5", "UNUSED = 6"),
    ("late.py", "return [4]", "return [0]"),
    ("other.py", "run([1])", "run([2])"),
]


@pytest.mark.parametrize(("file", "old", "new"), UNREACHABLE)
def test_edit_of_unreachable_code_leaves_the_fingerprint(package, file, old, new):
    before = fingerprint()
    edit(package, file, old, new)
    assert fingerprint() == before


EFFECTS = [
    ("tables.py", "print('imported')"),
    ("letters/__init__.py", "print('imported')"),
    ("aside.py", "print('imported for something that nothing reachable uses')"),
    ("aside.py", "_ = print('for its effect')"),
    ("letters/beside.py", "names = {}; names['first'] = 1"),
]


@pytest.mark.parametrize(("file", "statement"), EFFECTS)
def test_what_an_import_does_counts_wherever_the_stage_imports_it(package, file, statement):
    (package / "aside.py").write_text("def columns():\n    return 5\n")
    (package / "letters/beside.py").write_text("SIZE = 1\n")
    tables = package / "tables.py"
    text = "from outctl.aside import columns as wide\nfrom outctl.letters import beside\n\n\n" + tables.read_text()
    tables.write_text(f"{text}\n\ndef never():\n    return wide() + beside.SIZE\n")
    before = fingerprint()
    with (package / file).open("a") as stream:
        stream.write(f"\n\n{statement}\n")
    assert fingerprint() != before


def test_syntax_trees_are_written_without_what_differs_between_versions_of_python():
    statement = ast.parse("def f(a, *, b=None):\n    return [] if a else {**b}\n").body[0]
    text = fingerprints._written(statement)
    assert "type_params" not in text
    assert "decorator_list" not in text
    (newer,) = ast.parse("def f(a, *, b=None):\n    return [] if a else {**b}\n").body
    newer.type_params = []
    newer._fields = (*ast.FunctionDef._fields, "type_params")
    assert fingerprints._written(newer) == text
    assert text != fingerprints._written(ast.parse("def f(a, *, b=0):\n    return [] if a else {**b}\n").body[0])


WORDING = [
    ("stage.py", "What a stage does.", "What it does."),
    ("stage.py", "Run the stage.", "Run."),
    ("stage.py", "  # a comment", "  # another"),
    ("stage.py", "    return [chosen", "\n\n    # why\n    return [chosen"),
    ("stage.py", "[chosen(value) for value in values]", "[\n        chosen(value)\n        for value in values\n    ]"),
    ("letters/words.py", '"""How many."""', '"""How many, at most."""'),
    ("letters/words.py", '    """An attribute."""\n', ""),
    ("letters/words.py", '    """A class."""\n', '    """A class,\n    explained."""\n'),
    ("letters/words.py", '        """A method."""\n', ""),
    ("letters/words.py", '"first"', "'first'"),
]


@pytest.mark.parametrize(("file", "old", "new"), WORDING)
def test_edit_of_wording_or_layout_leaves_the_fingerprint(package, file, old, new):
    before = fingerprint()
    edit(package, file, old, new)
    assert fingerprint() == before


def test_string_that_is_used_is_code(package):
    before = fingerprint()
    edit(package, "tables.py", "return [1]", 'return ["a"]')
    with_text = fingerprint()
    edit(package, "tables.py", 'return ["a"]', 'return ["b"]')
    assert len({before, with_text, fingerprint()}) == 3


def test_new_definition_counts_once_it_is_used(package):
    before = fingerprint()
    with (package / "late.py").open("a") as file:
        file.write("\n\ndef added():\n    return 5\n")
    assert fingerprint() == before
    edit(package, "late.py", "return [3]", "return [added()]")
    used = fingerprint()
    edit(package, "late.py", "return 5", "return 6")
    assert len({before, used, fingerprint()}) == 3


def test_place_of_definitions_does_not_matter_but_their_module_does(package):
    before = fingerprint()
    rows, columns = PACKAGE["tables.py"].split("\n\n\n")
    (package / "tables.py").write_text(f"{columns}\n\n{rows}\n")
    assert fingerprint() == before
    (package / "charts.py").write_text(PACKAGE["tables.py"])
    edit(package, "stage.py", "from outctl import tables", "from outctl import charts as tables")
    assert fingerprint() != before


def test_modules_that_use_each_other_come_to_an_end(package):
    (package / "tables.py").write_text("from outctl import stage\n\n\ndef rows():\n    return stage.run\n")
    before = fingerprint()
    edit(package, "letters/words.py", "LIMIT * 2", "LIMIT * 3")
    assert fingerprint() != before


def test_fingerprint_is_remembered_within_a_process(package):
    before = fingerprint()
    edit(package, "tables.py", "return [1]", "return [0]")
    assert fingerprints.fingerprint("outctl.stage", "run") == before


def test_missing_module_is_an_error(package):
    edit(package, "stage.py", "from outctl.late import last", "from outctl.early import last")
    with pytest.raises(ModuleNotFoundError, match=r"outctl\.early"):
        fingerprint()


def test_fingerprint_does_not_depend_on_where_the_package_lies(package, tmp_path, monkeypatch):
    before = fingerprint()
    shutil.copytree(package, tmp_path / "elsewhere")
    monkeypatch.setattr(fingerprints, "ROOT", tmp_path / "elsewhere")
    assert fingerprint() == before


def module_names() -> dict[str, Path]:
    """Every module of the package and its file."""
    found = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_names()


def bound_names(path: Path) -> set[str]:
    """Names that a module's top level binds by a definition, an assignment or an import."""
    names: set[str] = set()
    for statement in ast.parse(path.read_text()).body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
    return names


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_runs_what_its_own_module_defines(stage):
    entry = STAGES[stage].entry
    assert entry.__module__ == type(STAGES[stage]).__module__ == f"outctl.stages.{stage.replace('-', '_')}"
    assert entry.__name__ in fingerprints._module(entry.__module__).definitions


@pytest.mark.parametrize("module", sorted(MODULES))
def test_internal_imports_resolve_and_have_the_form_that_fingerprints_follow(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.split(".")[0] == "outctl"]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed"
            if (node.module or "").split(".")[0] == "outctl":
                known = bound_names(MODULES[node.module])
                for alias in node.names:
                    assert alias.name in known or f"{node.module}.{alias.name}" in MODULES


INDIRECT = {
    "fetch-model": {"gguf", "tokenizers"},
    "finetune": {"accelerate", "bitsandbytes"},
    "evaluate": {"accelerate", "bitsandbytes"},
    "fit-temperature": {"accelerate", "bitsandbytes"},
    "evaluate-deviation": {"accelerate", "bitsandbytes"},
    "evaluate-retention": {"accelerate", "bitsandbytes"},
    "evaluate-agreement": {"accelerate", "bitsandbytes"},
}
"""Packages that a stage uses only through others."""
WITHOUT_EFFECT = {"filelock", "huggingface_hub", "psutil", "pydantic", "pydantic_core", "typing_extensions"}
"""Packages that stages import, and whose versions change no result: they check, lock or copy."""
IMPORTED_AS = {"vl-convert-python": "vl_convert"}
"""Packages whose modules have another name."""
ASIDE = {
    "finetune": {"numpy", "safetensors"},
    "evaluate": {"numpy", "safetensors"},
    "fit-temperature": {"numpy", "safetensors"},
    "evaluate-deviation": {"numpy", "safetensors"},
    "evaluate-retention": {"safetensors"},
    "evaluate-agreement": {"safetensors"},
}
"""Packages whose versions change nothing that these stages train or measure: numpy counts tokens, in whole numbers, and fits
a slope for the log of a training; safetensors reads the bytes that are there."""


ENTRIES = {
    "fetch-model": [SOURCES.module_of(name) for name in SOURCES],
    "make-samples": [registry.module_of(name) for registry in (CASE_KINDS, VOCABULARIES) for name in registry],
    "finetune": [LOSSES.module_of(name) for name in LOSSES],
}
"""Modules of the entries that jobs of a stage run beside its own."""


def reached(stage: str, *entries: str) -> set[tuple[str, str]]:
    """What a stage can run, with the registries' entries that its jobs use."""
    reach, entry = fingerprints._Reach(), STAGES[stage].entry
    reach.name(entry.__module__, entry.__name__)
    for module in entries:
        reach.module(module)
    return reach.reached


@cache
def imports_of(module: str) -> list[ast.stmt]:
    """The imports at the top of a module."""
    body = ast.parse(MODULES[module].read_text()).body
    return [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]


def third_party(stage: str, *entries: str) -> set[str]:
    """Packages of others that the code of a stage uses."""
    found = set()
    for place, part in reached(stage, *entries):
        nodes = [node for statement in fingerprints._module(place).statements(part) for node in ast.walk(statement)]
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        at_the_top = [node for node in imports_of(place) if used & bound_by(node)]
        for node in [*nodes, *at_the_top]:
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"outctl"}


PLANNING = ("plan", "setup", "stage", "staleness")
"""Modules of the machinery that plan, and say why a step is stale."""


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_how_a_stage_is_planned_is_no_part_of_its_fingerprint(stage):
    forget()
    planning = {f"outctl.pipeline.{name}" for name in PLANNING} | {"outctl.stages.dag", "outctl.stages.inputs"}
    classes = {(kind.__module__, kind.__name__) for other in STAGES.values() for kind in type(other).__mro__}
    # `Stage` itself is in one of those modules; what they do on import is nothing.
    assert not {place for place in reached(stage) if place in classes or (place[0] in planning and place[1])}


def bound_by(node: ast.AST) -> set[str]:
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return set()
    return {alias.asname or alias.name.partition(".")[0] for alias in node.names}


@pytest.mark.parametrize("stage", STAGES)
def test_packages_of_a_stage_are_those_that_its_code_uses(stage):
    forget()
    expected = {IMPORTED_AS.get(name, name) for name in STAGES[stage].packages} - INDIRECT.get(stage, set())
    assert third_party(stage, *ENTRIES.get(stage, [])) - WITHOUT_EFFECT - ASIDE.get(stage, set()) == expected


FORBIDDEN = {"__import__", "eval", "exec", "globals", "import_module", "reload", "runpy"}
"""Ways to code that no fingerprint follows."""
FOLLOWED = {"outctl.config.registry", "outctl.config.plugins"}
"""Modules that run code by its name, or its text, all of which stands in the specification of the job that uses it."""


@pytest.mark.parametrize("module", sorted(set(MODULES) - FOLLOWED))
def test_code_is_found_only_by_names_that_fingerprints_follow(module):
    tree = ast.parse(MODULES[module].read_text())
    packages_own = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "outctl"
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                assert not {"importlib", "runpy"} & {alias.name for alias in names}
            case ast.ImportFrom(names=names):
                assert not (FORBIDDEN | {"*"}) & {alias.name for alias in names}
            case ast.Name(id=name):
                assert name not in FORBIDDEN
            case ast.Attribute(value=ast.Name(id="sys"), attr=name):
                assert name != "modules"
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id=name), *_]):
                assert name not in packages_own


def test_data_files_of_the_package_are_such_whose_content_stands_in_specifications():
    data = {path for path in SOURCE.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    templates = {SOURCE / "tasks" / "templates" / f"{name}.yaml" for name in template_names()}
    page = {SOURCE / "report" / "assets" / name for name in page_assets()}
    # Snakemake and `outctl init` read these, and no job does.
    workflow = {path for path in data if path.is_relative_to(SOURCE / "workflow")}
    others = {SOURCE / name for name in ("config/models.yaml", "tasks/vocabularies/names.txt", "py.typed")}
    assert data == templates | page | workflow | others


def test_no_stage_reads_files_of_the_package():
    readers = {
        "outctl.config.plugins": "_read",
        "outctl.config.loading": "BUILT_IN",
        "outctl.pipeline.fingerprint": "ROOT",
        "outctl.pipeline.provenance": "_git",
        "outctl.pipeline.workflow": "FOLDER",
        "outctl.stages.report": "page_assets",
        "outctl.tasks.templates": "load_template",
        "outctl.tasks.vocabularies.names": "names",
    }
    assert {
        name
        for name, path in MODULES.items()
        # No stage imports what writes for other tools.
        if not name.startswith("outctl.exchange.")
        and ("__file__" in (text := path.read_text()) or "resources.files(" in text)
    } == set(readers)
    forget()
    for stage in STAGES:
        code = reached(stage)
        assert not {place for place in code if place[0].startswith("outctl.exchange.")}
        # Provenance asks git about the checkout; that is no part of a result.
        assert not {place for place in readers.items() if place[0] != "outctl.pipeline.provenance"} & code
