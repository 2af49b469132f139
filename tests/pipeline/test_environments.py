from pathlib import Path

from outctl.pipeline.environments import pinned_versions
from outctl.pipeline.workflow import FOLDER
from outctl.stages.dag import STAGES

ENVIRONMENTS = FOLDER / "envs"


def test_the_environments_pin_every_package_that_may_change_a_result() -> None:
    versions = pinned_versions(ENVIRONMENTS)
    assert {package for stage in STAGES.values() for package in stage.packages} <= versions.keys()


def test_names_are_those_of_the_package_index_and_versions_end_where_markers_begin(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        "dependencies: [python=3.12, {pip: ['--extra-index-url https://example.org', Hugging_Face.Hub==1.2, "
        "'torch==2.9.0+cpu ; sys_platform == \"linux\"']}]"
    )
    (tmp_path / "two.yaml").write_text("dependencies: [{pip: [numpy==2.0, torch==2.9.0+cpu]}]")
    expected = {"hugging-face.hub": "1.2", "torch": "2.9.0+cpu", "numpy": "2.0"}
    assert pinned_versions(tmp_path) == expected
