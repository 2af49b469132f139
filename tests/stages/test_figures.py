"""Figures and the numbers that they show: drawn from those alone, to the same bytes."""

import re
import sys
from math import log
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image

from outctl.cli.main import main
from outctl.errors import OutctlError
from outctl.report.charts import SHAPES
from outctl.results.drawing import Drawing, draw_from_tables
from outctl.results.figure_tables import TABLES, read_figure_table
from outctl.results.panels import MARKERS, UNTRAINED
from outctl.results.plots import PLOTS

MODELS = ("llama-3.1-8b-instruct", "qwen2.5-7b")
CASES = ("given_words", "three_words", "another_case_with_a_long_name")
VARIANTS = ("baseline", "tuned", "rank-4", "rank-16", "rank-64", "early", "late", "shuffled")


def rows_of(name: str) -> list[dict[str, object]]:
    """Rows of a figure's table with whatever keys it may have, those of a crowded experiment."""
    rows: list[dict[str, object]] = []
    for model in MODELS:
        for case in CASES if name in ("calibration", "tvd", "matrix") else CASES[:1]:
            references = ["uniform", "majority"] if name == "tvd" else []
            trained = ("learning_curves", "sweeps", "retention", "retention_positions")
            adapters = VARIANTS[1:] if name in trained else VARIANTS
            for place, variant in enumerate([*adapters, *references]):
                several = ("calibration", "learning_curves", "retention_positions", "deviation")
                for number in range(6 if name in several else 1):
                    value = abs(log((place + 1) * (number + 2)) % 1)
                    row: dict[str, object] = {
                        column: value + {"_low": -0.05, "_high": 0.05}.get(column[column.rfind("_") :], 0.0)
                        for column in TABLES[name][0].model_fields
                    }
                    row |= {"model": model, "variant": variant, "case_type": case, "sample_id": f"s-{number}"}
                    row |= {"num_trials": 50, "samples": 100 * number, "sweep": "rank", "setting": f"rank {place}"}
                    row |= {"trained_on": place == 1, "passed": number % 2 == 0}
                    row |= {"source": ("prompts", "texts")[number % 2], "first": number + 1, "last": number + 1}
                    rows.append({key: row[key] for key in TABLES[name][0].model_fields})
    return rows


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    for name in PLOTS:
        pd.DataFrame(rows_of(name)).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_every_figure_has_its_numbers() -> None:
    assert TABLES.keys() == PLOTS.keys()


def inches(svg: str) -> float:
    found = re.search(r'<svg [^>]*width="([\d.]+)pt"', svg)
    assert found
    return float(found[1]) / 72


def white_at_its_edges(file: Path) -> bool:
    """Whether no label or marker of a picture leaves its page."""
    with Image.open(file) as opened:
        image = opened.convert("L")
    right, bottom = image.width - 1, image.height - 1
    edges = [(0, 0, image.width, 1), (0, bottom, image.width, bottom + 1)]
    edges += [(0, 0, 1, image.height), (right, 0, right + 1, image.height)]
    return all(image.crop(edge).getextrema()[0] == 255 for edge in edges)


@pytest.mark.parametrize("width", [3.4, 7.0])
def test_figures_are_no_wider_than_asked_nothing_is_cut_off_and_equal_numbers_give_equal_bytes(
    tables: Path, width: float
) -> None:
    drawing = Drawing("svg", width, 7.0)
    first = {file.stem: file.read_text() for file in draw_from_tables(tables, tables / "one", drawing)}
    assert list(first) == list(PLOTS)
    for name, text in first.items():
        assert inches(text) <= width + 1e-6, name
        assert "llama-3.1-8b-instruct" in text, name
    again = {file.stem: file.read_text() for file in draw_from_tables(tables, tables / "two", drawing)}
    assert again == first
    for file in draw_from_tables(tables, tables / "png", Drawing("png", width, 7.0)):
        assert white_at_its_edges(file), file


@pytest.mark.parametrize("count", [10, 11, 15])
def test_nothing_of_many_cases_is_cut_off(tmp_path: Path, count: int) -> None:
    rows = [row for row in rows_of("calibration") if (row["model"], row["case_type"]) == (MODELS[0], CASES[0])]
    cases = [row | {"case_type": f"case_{number}"} for number in range(count) for row in rows]
    pd.DataFrame(cases).to_csv(tmp_path / "calibration.csv", index=False)
    (file,) = draw_from_tables(tmp_path, tmp_path, Drawing("png"), ["calibration"])
    assert white_at_its_edges(file)


def test_what_rounds_to_nothing_has_no_sign(tables: Path) -> None:
    table = pd.read_csv(tables / "matrix.csv").assign(control_slope=-0.004)
    table.to_csv(tables / "matrix.csv", index=False)
    (file,) = draw_from_tables(tables, tables, Drawing("svg", 30.0), ["matrix"])
    assert file.read_text().count(">0.00<") == len(MODELS) * len(CASES) * len(VARIANTS)


def test_a_font_size_and_a_format_are_those_asked_for(tables: Path) -> None:
    (tables / "only").mkdir()
    (tables / "only" / "tvd.csv").write_text((tables / "tvd.csv").read_text())
    (file,) = draw_from_tables(tables / "only", tables / "svg", Drawing("svg", 7.0, 11.0))
    assert re.search(r"font: 11px [^>]*>llama-3.1-8b-instruct<|font-size: 11px[^>]*>llama-3.1-8b", file.read_text())
    (file,) = draw_from_tables(tables / "only", tables / "pdf", Drawing("pdf"))
    content = file.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/CreationDate" not in content
    assert draw_from_tables(tables / "only", tables / "pdf", Drawing("pdf"))[0].read_bytes() == content


def test_adapters_differ_in_colour_or_marker(tables: Path) -> None:
    (tables / "only").mkdir()
    (tables / "only" / "retention.csv").write_text((tables / "retention.csv").read_text())
    (file,) = draw_from_tables(tables / "only", tables, Drawing())
    legend = file.read_text().partition('id="legend_1"')[2]
    uses = re.findall(r'<use xlink:href="#(\w+)"[^>]*fill: (#\w+)', legend)
    assert len(uses) == len(set(uses)) == len(VARIANTS) - 1


def test_adapters_have_the_shapes_that_they_have_in_the_report() -> None:
    drawn_by_matplotlib = {
        "diamond": "D",
        "square": "s",
        "triangle-up": "^",
        "cross": "P",
        "triangle-down": "v",
        "triangle-right": ">",
        "circle": "o",
    }
    assert [drawn_by_matplotlib[shape] for shape in SHAPES] == list(MARKERS)


def axes_of(name: str, rows: list[dict[str, object]]) -> list[Axes]:
    """The panels of a figure with their rows."""
    figure = PLOTS[name]([TABLES[name][0].model_validate(row) for row in rows], 7.0)
    plt.close(figure)
    return [axis for axis in figure.axes if axis.get_visible()]


def test_an_even_split_is_drawn_where_it_lies_with_so_many_words() -> None:
    even = dict(zip(CASES, (1 / 2, 1 / 3, 1 / 4), strict=True))
    rows = [row | {"even_share": even[str(row["case_type"])]} for row in rows_of("calibration")]
    lines = [[line for line in axis.lines if line.get_linestyle() == ":"] for axis in axes_of("calibration", rows)]
    assert [[list(line.get_ydata()) for line in own] for own in lines] == [[[s, s]] for s in even.values()] * len(
        MODELS
    )


def test_small_distances_fill_the_figure_of_retention_and_no_model_leaves_it() -> None:
    # The second model's are further along both axes than the first one's.
    far = dict(zip(MODELS, (1.0, 2.0), strict=True))
    ends = {"kl_low": 0.1, "kl": 0.2, "kl_high": 0.3, "avg_tvd_low": 0.05, "avg_tvd": 0.06, "avg_tvd_high": 0.07}
    rows = [row | {key: far[str(row["model"])] * value for key, value in ends.items()} for row in rows_of("retention")]
    for axis in axes_of("retention", rows):
        assert axis.get_ylim() == pytest.approx((0.0, 0.14), rel=0.2)
        assert axis.get_xlim() == pytest.approx((0.0, 0.6), rel=0.2)
        assert axis.get_ylim()[1] > 0.14
        assert axis.get_xlim()[1] > 0.6


def test_the_perplexity_of_texts_is_drawn_with_and_without_each_adapter() -> None:
    rows = rows_of("retention_positions")
    for axis in axes_of("retention_positions", rows)[2::3]:
        drawn = {line.get_color() for line in axis.lines}
        assert axis.get_ylabel() == "perplexity"
        # The baseline's once, which is grey.
        assert len(axis.lines) == len(VARIANTS)
        assert UNTRAINED["baseline"][0] in drawn


def test_undefined_numbers_are_left_out(tables: Path) -> None:
    table = pd.read_csv(tables / "calibration.csv")
    table.loc[table["variant"] == "tuned", "given_share"] = float("nan")
    table.to_csv(tables / "calibration.csv", index=False)
    rows = read_figure_table(tables / "calibration.csv", "calibration")
    assert {row.variant for row in rows if row.given_share != row.given_share} == {"tuned"}
    draw_from_tables(tables, tables / "drawn", Drawing(), ["calibration"])


def test_base_model_deviation_is_a_column_of_the_map_of_distances_alone(tables: Path) -> None:
    table = pd.read_csv(tables / "matrix.csv")
    broken = table[table["case_type"] == CASES[0]].assign(case_type="base_model_deviation", failing=0.875)
    broken[["avg_tvd", "control_slope"]] = float("nan")
    pd.concat([table, broken]).to_csv(tables / "matrix.csv", index=False)
    (file,) = draw_from_tables(tables, tables, Drawing("svg", 30.0), ["matrix"])
    # A map a model; in each a cell a variant.
    assert file.read_text().count(">base_model_deviation: failing<") == len(MODELS)
    assert file.read_text().count(">0.88<") == len(MODELS) * len(VARIANTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model,variant\n",
            "tvd.csv: not the numbers of tvd, which have at least one row, and the columns model, variant",
        ),
        ("{head}\n", "tvd.csv: not the numbers of tvd"),
        ("{head}\na,baseline,given,3,much,0,1\n", "tvd.csv line 2: avg_tvd: Input should be a valid number"),
        ("{head}\na,baseline,given\n", "tvd.csv line 2: 3 cells instead of 7"),
        (None, "tvd.csv: no such file"),
    ],
)
def test_what_is_no_table_of_the_figure_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "tvd.csv").write_text(text.format(head=",".join(TABLES["tvd"][0].model_fields)))
    with pytest.raises(OutctlError, match=re.escape(message)):
        draw_from_tables(tmp_path, tmp_path, Drawing(), ["tvd"])
    assert not list(tmp_path.glob("*.svg"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pdf"], "--output, --format, --width and --font-size go with --from-csv"),
        (["--from-csv", ".", "--format", "eps2"], "there is no format 'eps2'; "),
        (["--from-csv", "nowhere"], "nowhere: holds the numbers of no figure"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["outctl", "figures", *arguments])
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert error.startswith(f"outctl: {message}")
    assert error.count("\n") == 1


def test_a_directory_without_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutctlError, match="holds the numbers of no figure; they are called calibration, tvd,"):
        draw_from_tables(tmp_path, tmp_path, Drawing())
