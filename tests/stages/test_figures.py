"""Figures and the numbers that they show: drawn from those alone, to the same bytes."""

import io
import re
import sys
from math import log
from pathlib import Path

import pandas as pd
import pytest
import vl_convert
from PIL import Image

from outctl.cli.main import main
from outctl.config.names import REFERENCES
from outctl.errors import OutctlError
from outctl.report.drawing import Drawing, draw
from outctl.report.figure import Row
from outctl.report.figure_files import draw_from_tables
from outctl.report.figure_tables import read_figure_table
from outctl.report.looks import THEME
from outctl.report.registry import FILES

MODELS = ("llama-3.1-8b-instruct", "qwen2.5-7b")
CASES = ("given_words", "three_words", "another_case_with_a_long_name")
VARIANTS = ("baseline", "tuned", "rank-4", "rank-16", "rank-64", "early", "late", "shuffled")


def columns_of(name: str) -> list[str]:
    row = FILES[name].row
    assert row is not None
    return list(row.model_fields)


def rows_of(name: str) -> list[Row]:
    """Rows of a figure's table with whatever keys it may have, those of a crowded experiment."""
    rows: list[Row] = []
    for model in MODELS:
        for case in CASES if name in ("calibration", "tvd", "matrix") else CASES[:1]:
            references = list(REFERENCES) if name == "tvd" else []
            trained = ("learning_curves", "sweeps", "retention", "retention_positions")
            adapters = VARIANTS[1:] if name in trained else VARIANTS
            for place, variant in enumerate([*adapters, *references]):
                several = ("calibration", "learning_curves", "retention_positions", "deviation")
                for number in range(6 if name in several else 1):
                    value = abs(log((place + 1) * (number + 2)) % 1)
                    row: Row = {
                        column: value + {"_low": -0.05, "_high": 0.05}.get(column[column.rfind("_") :], 0.0)
                        for column in columns_of(name)
                    }
                    row |= {"model": model, "variant": variant, "case_type": case, "sample_id": f"s-{number}"}
                    row |= {"num_trials": 50, "samples": 100 * number, "sweep": "rank", "setting": f"rank {place}"}
                    row |= {"trained_on": place == 1, "passed": number % 2 == 0}
                    row |= {"source": ("prompts", "texts")[number % 2], "first": number + 1, "last": number + 1}
                    rows.append({key: row[key] for key in columns_of(name)})
    return rows


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    for name in FILES:
        pd.DataFrame(rows_of(name)).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def inches(svg: str) -> float:
    found = re.match(r'<svg [^>]*width="([\d.]+)pt"', svg)
    assert found
    return float(found[1]) / 72


def white_at_its_edges(svg: str) -> bool:
    """Whether no label or marker of a picture leaves its page."""
    with Image.open(io.BytesIO(vl_convert.svg_to_png(svg))) as opened:
        image = opened.convert("L")
    right, bottom = image.width - 1, image.height - 1
    edges = [(0, 0, image.width, 1), (0, bottom, image.width, bottom + 1)]
    edges += [(0, 0, 1, image.height), (right, 0, right + 1, image.height)]
    return all(image.crop(edge).getextrema()[0] == 255 for edge in edges)


@pytest.mark.slow
@pytest.mark.parametrize("width", [3.4, 7.0])
def test_figures_are_no_wider_than_asked_and_nothing_is_cut_off(tables: Path, width: float) -> None:
    files = draw_from_tables(tables, tables / "svg", Drawing("svg", width, 7.0))
    assert [file.stem for file in files] == list(FILES)
    for file in files:
        text = file.read_text()
        assert inches(text) <= width + 1e-6, file
        # Text stays text, and whole.
        assert ">llama-3.1-8b-instruct<" in text, file
        assert "…" not in text, file
        names = re.findall(r' id="([^"]+)"', text)
        assert len(names) == len(set(names)), file
        assert white_at_its_edges(text), file


@pytest.mark.slow
def test_equal_numbers_give_equal_bytes(tables: Path) -> None:
    rows = read_figure_table(tables / "retention_positions.csv", FILES["retention_positions"])
    for drawing in (Drawing("svg"), Drawing("pdf", 3.4, 7.0)):
        assert len({draw(FILES["retention_positions"], rows, drawing) for _ in range(3)}) == 1


def test_references_stand_in_the_legend_once() -> None:
    text = draw(FILES["tvd"], rows_of("tvd"), Drawing()).decode()
    for name in REFERENCES:
        assert text.count(f">reference: {name}<") == 1
        assert f">{name}<" not in text
    for name in VARIANTS:
        assert text.count(f">{name}<") == 1


@pytest.mark.parametrize("count", [1, 11])
def test_nothing_of_many_cases_is_cut_off(count: int) -> None:
    rows = [row for row in rows_of("calibration") if (row["model"], row["case_type"]) == (MODELS[0], CASES[0])]
    cases = [row | {"case_type": f"case_{number}"} for number in range(count) for row in rows]
    text = draw(FILES["calibration"], cases, Drawing()).decode()
    assert text.count(">n = 6<") == count
    assert white_at_its_edges(text)


def test_what_rounds_to_nothing_has_no_sign(tables: Path) -> None:
    table = pd.read_csv(tables / "matrix.csv").assign(control_slope=-0.004)
    table.to_csv(tables / "matrix.csv", index=False)
    (file,) = draw_from_tables(tables, tables, Drawing("svg", 30.0), ["matrix"])
    assert file.read_text().count(">0.00<") == len(MODELS) * len(CASES) * len(VARIANTS)


def test_a_font_size_and_a_format_are_those_asked_for(tables: Path) -> None:
    (tables / "only").mkdir()
    (tables / "only" / "tvd.csv").write_text((tables / "tvd.csv").read_text())
    (file,) = draw_from_tables(tables / "only", tables / "svg", Drawing("svg", 7.0, 11.0))
    width, inside = (
        float(number) for number in re.findall(r'width="([\d.]+)pt".*? viewBox="0 0 ([\d.]+) ', file.read_text())[0]
    )
    (size,) = re.findall(r'font-size="([\d.]+)"[^>]*>llama-3.1-8b-instruct<', file.read_text())
    assert float(size) * width / inside == pytest.approx(11.0, abs=0.01)
    (file,) = draw_from_tables(tables / "only", tables / "pdf", Drawing("pdf", 3.4))
    content = file.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/CreationDate" not in content
    (box,) = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ", content)
    assert float(box) <= 3.4 * 72 + 0.01
    # Texts are drawn in a font that is part of the file.
    assert b"/FontFile2" in content
    (file,) = draw_from_tables(tables / "only", tables / "png", Drawing("png", 3.4))
    with Image.open(file) as image:
        assert image.width <= 3.4 * 300 + 1
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_adapters_differ_in_colour_or_marker() -> None:
    legend = draw(FILES["retention"], rows_of("retention"), Drawing()).decode().rpartition("</svg>")[0]
    uses = re.findall(r'<path d="([^"]+)" fill="(#\w+)"/><text[^>]*>([^<]+)</text>', legend)
    assert [name for *_, name in uses] == list(VARIANTS[1:])
    assert len({look for *look, _ in map(tuple, uses) for look in [tuple(look)]}) == len(VARIANTS) - 1


def test_what_is_untrained_is_grey() -> None:
    text = draw(FILES["tvd"], rows_of("tvd"), Drawing()).decode()
    grey = THEME["series-0"][0]
    assert re.findall(rf'<path d="[^"]+" fill="{grey}"/><text[^>]*>([^<]+)</text>', text) == ["baseline"]
    for name in ("uniform", "majority"):
        assert f">reference: {name}<" in text


def dashed(text: str, height: float) -> list[float]:
    """How high the dotted lines of panels lie, from 0 to 1."""
    found = re.findall(r'<line transform="translate\([^,]*,([\d.]+)\)"[^>]*stroke-dasharray="2,3"', text)
    return [1.0 - float(top) / height for top in found]


def test_an_even_split_is_drawn_where_it_lies_with_so_many_words() -> None:
    even = dict(zip(CASES, (1 / 2, 1 / 3, 1 / 4), strict=True))
    rows = [row | {"even_share": even[str(row["case_type"])]} for row in rows_of("calibration")]
    found = dashed(draw(FILES["calibration"], rows, Drawing()).decode(), 130)
    assert found == pytest.approx([*even.values()] * len(MODELS), abs=0.01)


def scales(name: str, rows: list[Row], *axes: str) -> list[list[float]]:
    """The ends of the axes of a figure's first chart."""
    layers = FILES[name].views(rows, VARIANTS)[0].chart["layer"]
    return [layers[-1]["encoding"][axis]["scale"]["domain"] for axis in axes]


def test_small_distances_fill_the_figure_of_retention_and_no_model_leaves_it() -> None:
    # The second model's are further along both axes than the first one's.
    far = dict(zip(MODELS, (1.0, 2.0), strict=True))
    ends = {"kl_low": 0.1, "kl": 0.2, "kl_high": 0.3, "avg_tvd_low": 0.05, "avg_tvd": 0.06, "avg_tvd_high": 0.07}
    rows = [row | {key: far[str(row["model"])] * value for key, value in ends.items()} for row in rows_of("retention")]
    assert scales("retention", rows, "x", "y") == [[0.0, pytest.approx(0.6)], [0.0, pytest.approx(0.14)]]


def test_the_perplexity_of_texts_is_drawn_with_and_without_each_adapter() -> None:
    text = draw(FILES["retention_positions"], rows_of("retention_positions"), Drawing()).decode()
    panels = text.split(">perplexity of held-out texts<")[1:]
    assert len(panels) == len(MODELS)
    # The baseline is the same beside each adapter, so it is drawn once; 7 adapters share 6 colours.
    for panel in panels:
        lines = re.findall(r'<g class="mark-line[^>]*><path [^>]*stroke="(#\w+)"', panel.partition("KL(baseline")[0])
        assert lines.count(THEME["series-0"][0]) == 1
        assert len(lines) == len(VARIANTS)
        assert len(set(lines)) == 7


def test_undefined_numbers_are_left_out(tables: Path) -> None:
    table = pd.read_csv(tables / "calibration.csv")
    table.loc[table["variant"] == "tuned", "given_share"] = float("nan")
    table.to_csv(tables / "calibration.csv", index=False)
    rows = read_figure_table(tables / "calibration.csv", FILES["calibration"])
    assert {row["variant"] for row in rows if row["given_share"] is None} == {"tuned"}
    text = draw(FILES["calibration"], rows, Drawing()).decode()
    points = re.findall(r'<g class="mark-symbol[^>]*>(.*?)</g>', text)
    assert sum(group.count("<path") for group in points) == sum(row["given_share"] is not None for row in rows)


def test_base_model_deviation_has_its_share_in_the_map_of_distances_and_a_dash_in_the_other(tables: Path) -> None:
    table = pd.read_csv(tables / "matrix.csv")
    broken = table[table["case_type"] == CASES[0]].assign(case_type="base_model_deviation", failing=0.875)
    broken[["avg_tvd", "control_slope", "within_slope"]] = float("nan")
    pd.concat([table, broken]).to_csv(tables / "matrix.csv", index=False)
    (file,) = draw_from_tables(tables, tables, Drawing("svg", 30.0), ["matrix"])
    # Three maps for each model, in each a cell for each variant.
    assert file.read_text().count(">base_model_deviation: failing<") == 3 * len(MODELS)
    assert file.read_text().count(">0.88<") == len(MODELS) * len(VARIANTS)
    assert file.read_text().count(">–<") == 2 * len(MODELS) * len(VARIANTS)


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
        (tmp_path / "tvd.csv").write_text(text.format(head=",".join(columns_of("tvd"))))
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
