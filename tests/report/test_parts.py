"""The page's parts: which stand there, how large it becomes, and what undefined numbers and broken benchmarks lead to."""

import base64
import gzip
import json
import random
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import vl_convert
from fake_run import HOSTILE, Parts, parts

from outctl.config.loading import load_experiment
from outctl.config.names import REFERENCES
from outctl.config.reading import read_yaml
from outctl.errors import OutctlError
from outctl.models.loading import LoadedModel
from outctl.pipeline.layout import Layout
from outctl.pipeline.plan import Plan
from outctl.pipeline.provenance import hardware
from outctl.report.blocks import block, rounded
from outctl.report.looks import GREY, THEME, variant_looks
from outctl.report.registry import FILES
from outctl.report.steps import Machine, Step, duration, machines, read_step, stages
from outctl.stages.dag import STAGES
from outctl.stages.report import run as write_report

MEGABYTE = 1e6
ENVIRONMENT = {
    "code": {"commit": "0" * 40, "dirty": False},
    "python": "3.12",
    "packages": {"torch": "2.0+cpu", "peft": None},
    "scheduler": {"host": "here"},
    "system": "Linux",
    "machine": "x86_64",
    "hardware": {"processor": "Quick 7", "cores": 2, "memory_mb": 8123, "gpus": []},
}


def blocks(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="application/gzip" data-block="([^"]*)">([^<]*)</script>', page)
    return {name: json.loads(gzip.decompress(base64.b64decode(content))) for name, content in found}


def headings(page: str) -> list[str]:
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page.partition("<script")[0])


def test_the_page_has_a_section_for_all_that_was_measured(run: Plan, bare: Plan) -> None:
    always = ["Does it give what it is asked for?", "What carries over to what?"]
    ending = ["What is asked", "Every sample", "Where all of this comes from"]
    whole, little = (plan.layout.report().read_text() for plan in (run, bare))
    assert headings(whole) == [*always, "What did training do?", "Further evaluations", *ending]
    assert headings(little) == [*always, *ending]
    assert '<select id="model">' in whole
    assert "<select id=" in little
    assert '<select id="model">' not in little


def test_the_page_says_what_counts_as_control_and_who_is_not_counted(run: Plan, bare: Plan) -> None:
    whole, little = (plan.layout.report().read_text() for plan in (run, bare))
    for page in (whole, little):
        assert "the interval of the slope within ranks lies between 0.5 and 1.5." in page
    # Eight of the nine adapters of each model.
    assert "all of 16 adapters of 2 models" in whole
    assert "are controls, and not counted: even." in whole
    assert "are controls" not in little


def test_the_page_says_what_a_temperature_does_with_its_intervals(run: Plan) -> None:
    text = re.sub(r"<[^>]+>|\s+", " ", run.layout.report().read_text())
    text = re.sub(r" +", " ", text)
    assert (
        "small: 0.50. Mean divergence of the 2 samples that it was fitted on, in nats: 2.000 1.800 to 2.200 without it, 1.500 "
        "1.400 to 1.600 with it." in text
    )


def test_one_model_has_no_column_of_its_own(run: Plan) -> None:
    assert run.layout.report().read_text().count('<th scope="col">model</th>') == 6
    assert enlarged(parts(run), 1, 2).render().count('<th scope="col">model</th>') == 1


def test_a_block_holds_its_value_and_no_letter_that_html_reads() -> None:
    value = {"words": [HOSTILE, "é", None], "number": 0.25}
    made = block(value)
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", made)
    assert json.loads(gzip.decompress(base64.b64decode(made))) == value
    assert block(value) == made


def test_numbers_are_cut_to_their_significant_digits() -> None:
    assert [rounded(value) for value in (0.123456, 1e-9 / 3, 0.0, None)] == [0.1235, 3.333e-10, 0.0, None]


def test_the_blocks_hold_every_answer_of_every_model(run: Plan) -> None:
    found = blocks(run.layout.report().read_text())
    assert set(found) == {"questions", "figures:", "figures:small", "figures:large", "answers:small", "answers:large"}
    records = json.loads(run.layout.model_results("large").read_text())["records"]
    for variant, own in records.items():
        for case, expected in own.items():
            answers = found["answers:large"][variant][case]
            assert [answer["words"] for answer in answers] == [record["words"] for record in expected]
            assert [answer["tvd"] for answer in answers] == pytest.approx(
                [record["tvd"] for record in expected], rel=1e-3
            )
            assert [question["id"] for question in found["questions"][case]] == [one["sample_id"] for one in expected]


def test_variants_differ_in_colour_or_shape_and_the_baseline_alone_is_grey() -> None:
    adapters = [f"adapter-{number}" for number in range(42)]
    looks = variant_looks(["baseline", "temperature", *adapters])
    assert len(set(looks.values())) == 44
    assert [name for name, look in looks.items() if look.colour == GREY] == ["baseline", "temperature"]
    # What a figure shows of them changes nothing.
    assert variant_looks(["baseline", *adapters]).items() <= looks.items()
    assert variant_looks(adapters).items() <= looks.items()


def colours_of(chart: Any) -> Iterator[dict[str, str]]:
    """The colour of each variant, wherever a chart gives colours to variants."""
    if isinstance(chart, list):
        for part in chart:
            yield from colours_of(part)
    elif isinstance(chart, dict):
        scale = chart.get("scale") or {}
        # Of shapes there are names, of colours variables of the style sheet.
        if chart.get("field") == "variant" and str(scale.get("range", [""])[0]).startswith("var("):
            yield dict(zip(scale["domain"], scale["range"], strict=True))
        for part in chart.values():
            yield from colours_of(part)


def test_a_variant_has_one_colour_in_all_figures_and_their_legends(run: Plan) -> None:
    found = re.search(r'<script type="application/json" id="page">(.*?)</script>', run.layout.report().read_text())
    assert found is not None
    page = json.loads(found[1])
    assert set(page["colours"]) == {page["baseline"], *page["others"]}
    coloured = set()
    for name, figure in page["figures"].items():
        for colours in colours_of([view["chart"] for view in figure["views"]]):
            coloured.add(name)
            assert colours.items() <= page["colours"].items()
        if figure["key"] == "variant":
            entries = {entry["name"]: entry["colour"] for entry in figure["legend"] if not entry["always"]}
            assert entries == page["colours"]
    assert coloured == {
        *("tvd", "calibration", "loss", "learning_curves"),
        *("retention", "retention_positions", "deviation"),
    }


def luminance(colour: str) -> float:
    """Relative luminance of a colour such as `#8a949e`, as WCAG defines it."""
    parts_of = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts_of]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_what_charts_are_drawn_in_stands_out_from_both_papers() -> None:
    drawn = [name for name in THEME if name.startswith("series-") or name in ("elsewhere", "split")]
    assert len(drawn) == 9
    for name in drawn:
        for colour, paper in zip(THEME[name], THEME["paper"], strict=True):
            dark, light = sorted((luminance(colour), luminance(paper)))
            assert (light + 0.05) / (dark + 0.05) >= 3.0, (name, paper)


def drawn(chart: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """A panel of a chart as SVG."""
    return str(
        vl_convert.vegalite_to_svg(chart | {"width": 300, "datasets": {**chart.get("datasets", {}), "rows": rows}})
    )


def heights(svg: str, text: str) -> list[float]:
    """How far down a text stands, wherever it does."""
    found = re.findall(rf'<text [^>]*transform="translate\([^,]*,([-\d.]+)\)[^"]*"[^>]*>{re.escape(text)}</text>', svg)
    return [float(height) for height in found]


def test_panels_of_the_matrix_line_up_and_a_dash_can_be_read() -> None:
    cases = ["given", "limits", "base_model_deviation"]
    variants = ["baseline", "tuned"]
    empty = {"trained_on": False, "avg_tvd": None, "control_slope": None, "within_slope": None, "failing": None}
    rows = [empty | {"variant": name, "case_type": case} for name, case in product(variants, cases)]
    for row in rows:
        row |= {"failing": 0.75} if row["case_type"] == cases[2] else {"avg_tvd": 0.25}
        row |= {"control_slope": 0.75, "within_slope": 0.5} if row["case_type"] == cases[0] else {}
    distances, slopes, within = (drawn(view.chart, rows) for view in FILES["matrix"].views(rows, variants))
    for case in (*cases[:2], f"{cases[2]}: failing"):
        assert heights(distances, case) == heights(slopes, case) == heights(within, case)
        assert len(heights(slopes, case)) == 1
    # White, as on dark cells, would be lost on white paper.
    for svg in (slopes, within):
        assert len(re.findall(r'fill="var\(--muted\)"[^>]*>–</text>', svg)) == 4


def test_the_split_of_next_to_no_mass_is_faded() -> None:
    place = {"case_type": "given", "even_share": 0.5, "words": "ark / atom", "mass": 1.0, "tvd": 0.1}
    rows = [
        place | {"variant": name, "asked_share": asked, "given_share": given, "avg_mass": mass}
        for name, mass in (("baseline", 0.01), ("tuned", 0.9))
        for asked, given in ((0.2, 0.3), (0.8, 0.7))
    ]
    (view,) = FILES["calibration"].views(rows, ["baseline", "tuned"])
    svg = drawn(view.chart, rows)
    # Points and line of the baseline, and points of the other, whose line is drawn in full.
    points = re.findall(r'<path [^>]*opacity="(0\.\d+)"', svg)
    assert sorted(set(points)) == ["0.165", "0.3", "0.55"]
    text = FILES["calibration"].describe(rows, "")
    assert "tuned 0.67" in text
    assert "baseline" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learning_curves", "retention_positions"])
def test_plots_of_a_figure_line_up_whatever_their_numbers(name: str) -> None:
    schema = FILES[name].row
    assert schema is not None

    def top(most: float) -> str:
        numbers = dict.fromkeys(schema.model_fields, most)
        places = ({"samples": place, "first": place, "last": place} for place in (1, 2))
        rows = [numbers | {"variant": "tuned", "source": "texts"} | at for at in places]
        view = FILES[name].views(rows, ["baseline", "tuned"])[0]
        found = re.search(r"translate\([\d.]+,([\d.]+)\)", drawn(view.chart, rows))
        assert found is not None
        return found[1]

    assert len({top(most) for most in (0.65, 0.8, 1.9, 3.0)}) == 1


def test_a_variant_hides_no_other_with_the_same_distance() -> None:
    numbers = {"case_type": "given", "num_trials": 3, "avg_tvd": 1.0, "avg_tvd_low": 1.0, "avg_tvd_high": 1.0}
    rows = [{"variant": name, **numbers} for name in ("baseline", "tuned")]
    svg = drawn(FILES["tvd"].views(rows, ["baseline", "tuned"])[0].chart, rows)
    (marks,) = re.findall(r'<g class="mark-symbol[^>]*>(.*?)</g>', svg)
    tops = [float(top) for top in re.findall(r'transform="translate\([^,]*,([\d.]+)\)"', marks)]
    assert len(tops) == 2
    assert abs(tops[0] - tops[1]) >= 5


def test_equal_results_give_equal_pages(run: Plan) -> None:
    before = run.layout.report().read_bytes()
    write_report(run.spec("report"), STAGES, run.layout.results, run.layout.models)
    assert run.layout.report().read_bytes() == before


def test_no_text_of_a_model_stands_in_the_page_as_it_is(run: Plan) -> None:
    assert HOSTILE not in run.layout.report().read_text()


def test_results_of_other_settings_are_refused(run: Plan, tmp_path: Path) -> None:
    spec = run.spec("report")
    other = spec.model_copy(update={"upstream": spec.upstream | {"aggregate": "0" * 64}})
    with pytest.raises(OutctlError, match="made from other settings or code than the current ones"):
        write_report(other, STAGES, run.layout.results, run.layout.models)


@pytest.mark.slow
def test_undefined_numbers_are_dashes_and_no_error(run: Plan) -> None:
    found = parts(run)
    assert "A dash in place of p" not in found.render()
    for row in [
        *found.combined["summaries"],
        *(row for own in found.results.values() for row in own["summary"]),
        *found.combined["comparisons"],
        *found.combined["retention"],
        *found.combined["agreement"],
    ]:
        for name in row:
            if name.endswith(("_low", "_high")) or name in (
                "control_slope",
                "tvd_difference",
                "kl",
                "perplexity_baseline",
                "log_likelihood_change",
                "p_value_holm",
            ):
                row[name] = None
    for own in found.results.values():
        for records in own["records"]["baseline"].values():
            for record in records:
                record |= {"probabilities": [0.0, 0.0], "other_mass": 1.0, "tvd": 1.0, "conditional_tvd": None}
        for row in own["retention"]["summary"]:
            row |= {"kl": None, "kl_low": None, "kl_high": None}
        for row in own["retention"]["positions"]:
            row |= {"kl": None, "kl_low": None, "kl_high": None}
        for row in own["base_model_deviation"]["summary"]:
            row |= {"pass_rate": None, "pass_rate_low": None, "pass_rate_high": None}
    page = found.render()
    assert "A dash in place of p" in page
    # Scripts hold compressed rows, whose letters mean nothing.
    assert "NaN" not in re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert '<p class="answer undecided"><b>' in page
    # Nobody gave the words anything, so there is no share to show.
    shares = [(row["variant"], row["given_share"]) for row in blocks(page)["figures:small"]["calibration"]["rows"]]
    assert {share for name, share in shares if name == "baseline"} == {None}
    assert None not in {share for name, share in shares if name == "tuned"}


def enlarged(found: Parts, models: int, samples: int, case: str = "given") -> Parts:
    """The same run with more models and samples, all with numbers and tokens of their own, which compress badly."""
    draw = random.Random(0)
    variants = ["baseline", "tuned", "even"]
    questions = [
        found.samples[case][number % len(found.samples[case])].model_copy(update={"sample_id": f"given-{number}"})
        for number in range(samples)
    ]
    first = next(iter(found.results.values()))
    results = {}
    for model in (f"model-{number}" for number in range(models)):
        own = {**first, "model": model, "records": {variant: {} for variant in variants}}
        for variant in variants:
            template = first["records"][variant][case]
            own["records"][variant][case] = [
                varied(template[n % len(template)], n, model, draw) for n in range(samples)
            ]
        own["summary"] = [
            row if row["model"] == "reference" else row | {"model": model}
            for row in first["summary"]
            if row["case_type"] == case and row["variant"] in (*variants, *REFERENCES)
        ]
        own["retention"] = {
            "summary": [row for row in first["retention"]["summary"] if row["variant"] in variants],
            "positions": [row for row in first["retention"]["positions"] if row["variant"] in variants],
            "results": {},
        }
        own["base_model_deviation"] = {
            part: {name: rows for name, rows in found.items() if name in variants}
            if part == "records"
            else [row for row in found if row["variant"] in variants]
            for part, found in first["base_model_deviation"].items()
        }
        results[model] = own
    references = [row for row in found.combined["summaries"] if row["model"] == "reference"]
    measured = [row for own in results.values() for row in own["summary"] if row["model"] != "reference"]
    shown = {"models": list(results), "cases": [case], "variants": variants, "sweeps": {}}
    settings = found.settings.model_copy(update=shown)
    logs = {
        model: {name: log for name, log in next(iter(found.logs.values())).items() if name in variants}
        for model in results
    }
    combined = {**found.combined, "summaries": [*references, *measured], "temperatures": {}}
    return Parts(combined, results, {case: questions}, logs, found.steps, settings)


def varied(record: dict[str, Any], number: int, model: str, draw: random.Random) -> dict[str, Any]:
    first = draw.random()
    tokens = [{"text": f" {draw.getrandbits(20):x}", "probability": draw.random()} for _ in range(20)]
    drawn = {"probabilities": [first, 0.9 * (1.0 - first)], "other_mass": 0.1 * (1.0 - first), "tvd": draw.random()}
    return deepcopy(record) | drawn | {"sample_id": f"given-{number}", "model": model, "top_tokens": tokens}


def default_questions() -> int:
    """How many questions the default experiment asks of each variant."""
    file = Path(__file__).parents[2] / "config" / "config.yaml"
    experiment, _ = load_experiment(read_yaml(file), [file])
    return sum(case.eval_samples for case in experiment.cases.values())


@pytest.mark.slow
def test_twenty_models_of_the_default_size_stay_below_thirty_megabytes(run: Plan) -> None:
    # Each question of the default experiment is asked of a baseline and two adapters here.
    questions = default_questions()
    page = enlarged(parts(run), 20, questions).render()
    assert len(page.encode()) < 30 * MEGABYTE
    assert len(blocks(page)["answers:model-19"]["tuned"]["given"]) == questions


@pytest.mark.slow
def test_one_model_of_the_default_size_stays_below_five_megabytes(run: Plan) -> None:
    assert len(enlarged(parts(run), 1, default_questions()).render().encode()) < 5 * MEGABYTE


GPU = "NVIDIA H200"
"""What PyTorch calls a GPU, which is what provenance holds."""


def step(stage: str, device: str | None, wall: float | None) -> Step:
    provenance = {"environment": ENVIRONMENT, "device": device, "spec": {"settings": {}}}
    return Step(stage, "small", provenance, wall, wall, None if wall is None else 1500.0)


def test_what_a_model_was_loaded_on_is_a_gpu_where_there_is_one(tiny_model: Callable[..., LoadedModel]) -> None:
    found = step("evaluate", tiny_model().description["device"], 30.0)
    assert found.on_gpu == torch.cuda.is_available()


def test_gpu_time_is_the_wall_time_of_jobs_on_a_gpu() -> None:
    found = {
        stage.name: stage
        for stage in stages(
            [
                step("finetune", "cpu", 200.0),
                step("evaluate", GPU, 30.0),
                step("evaluate", "cpu", 50.0),
                step("evaluate", GPU, None),
                step("aggregate", None, None),
            ]
        )
    }
    assert list(found) == ["finetune", "evaluate", "aggregate"]
    evaluate = found["evaluate"]
    assert (evaluate.wall, evaluate.gpu, evaluate.measured, evaluate.memory) == ("80 s", "30 s", 2, "1.5 GB")
    assert (found["finetune"].wall, found["finetune"].gpu) == ("3 min", "0")
    assert (found["aggregate"].wall, found["aggregate"].gpu, found["aggregate"].memory) == ("unknown", "–", "unknown")


def test_little_is_not_shown_as_nothing() -> None:
    assert [duration(seconds) for seconds in (0.0, 0.4, 1.0, 99.4)] == ["< 1 s", "< 1 s", "1 s", "99 s"]
    small = replace(step("evaluate", "cpu", 1.0), memory_mb=42.0)
    assert [stage.memory for stage in stages([small])] == ["< 0.1 GB"]


def test_settings_that_differ_in_more_than_names_are_shown_apart() -> None:
    def asked(model: str, variant: str, chat: bool) -> Step:
        settings = {"model": model, "variant": variant, "case_name": "given", "loading": {"chat": chat}}
        provenance = {"environment": ENVIRONMENT, "spec": {"settings": settings}}
        return Step("evaluate", f"{model} / {variant}", provenance, None, None, None)

    base, *instruct = asked("base", "baseline", False), asked("tuned", "baseline", True), asked("tuned", "lora", True)
    (stage,) = stages([base, *instruct])
    assert stage.alike == [[base], instruct]


def test_the_page_shows_every_setting_once_and_which_jobs_had_it(run: Plan) -> None:
    found = parts(run)
    page = found.render()
    shown = re.findall(r'aria-label="Settings of (\S+) ?[^"]*"', page)
    assert {name: shown.count(name) for name in ("evaluate", "finetune", "aggregate-model", "fetch-model")} == {
        "evaluate": 1,
        # Both models train each of the nine adapters alike, and each is a recipe of its own.
        "finetune": 9,
        "aggregate-model": 1,
        "fetch-model": 1,
    }
    (others,) = re.findall(
        r"<h4>small / baseline / given, and 87 more with other names alone</h4>\s*<p[^>]*>(.*?)</p>", page
    )
    expected = [one.subject for one in found.steps if one.stage == "evaluate"]
    assert others.split(", ") == expected[1:]


def test_machines_are_told_apart_by_what_they_had_for_a_job() -> None:
    gpu = "Fast 1, 80000 MiB"
    other = deepcopy(ENVIRONMENT) | {"scheduler": {"host": "there"}}
    other["hardware"] |= {"gpus": [gpu, "Slow 1, 8000 MiB", gpu]}
    less = deepcopy(other)
    less["hardware"] |= {"cores": 1}
    steps = [
        Step("evaluate", "small", {"environment": own}, 1.0, 1.0, None) for own in (other, ENVIRONMENT, less, other)
    ]
    gpus = f"2 × {gpu}; Slow 1, 8000 MiB"
    assert list(machines(steps).items()) == [
        (Machine("here", "Linux, x86_64", "Quick 7", 2, "8.1 GB", "none"), 1),
        (Machine("there", "Linux, x86_64", "Quick 7", 1, "8.1 GB", gpus), 1),
        (Machine("there", "Linux, x86_64", "Quick 7", 2, "8.1 GB", gpus), 2),
    ]


def table(page: str, name: str) -> list[list[str]]:
    """The rows of a table of the page, without its head."""
    body = re.search(rf'<table id="{name}">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body[1].split("</tr>")[:-1]]


def test_the_page_shows_the_hardware_and_what_every_step_took(run: Plan) -> None:
    found = parts(run)
    (machine,) = table(found.render(), "machines")
    own = hardware()
    assert machine[2:5] == [own["processor"], str(own["cores"]), f"{own['memory_mb'] / 1000:.1f} GB"]
    assert machine[-1] == str(len(found.steps))
    assert {row[3] for row in table(found.render(), "steps")} == {"unknown"}
    found.steps = [replace(step, wall_s=42.0) for step in found.steps]
    rows = {row[0]: row for row in table(found.render(), "steps")}
    made = {job[0] for job in run.jobs()}
    assert list(rows) == [stage for stage in STAGES if stage in made and stage != "report"]
    assert rows["figures"][1:5] == ["1", "1", "42 s", "–"]
    assert "The report cannot time itself" in found.render()


@pytest.mark.parametrize("job", [("fetch-model", "small"), ("make-samples", "given", "eval"), ("figures",)])
def test_steps_are_measured_whether_or_not_they_have_a_name(tmp_path: Path, job: tuple[str, ...]) -> None:
    layout = Layout(tmp_path / "results", tmp_path / "models")
    file = STAGES[job[0]].benchmark(layout, job[1:])
    file.parent.mkdir(parents=True)
    file.write_text("s\n42.5\n")
    assert read_step(job, {"environment": ENVIRONMENT}, file).wall_s == 42.5
    # Of models it lies with them: another experiment shows it too.
    other = replace(layout, results=tmp_path / "others")
    there = STAGES[job[0]].benchmark(other, job[1:])
    assert read_step(job, {"environment": ENVIRONMENT}, there).wall_s == (42.5 if job[0] == "fetch-model" else None)


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("s\th:m:s\tmax_rss\tcpu_time\n42.5\t0:00:42\t1301.04\t25.7\n", 42.5),
        ("s\th:m:s\tmax_rss\tcpu_time\n0.1\t0:00:00\tNA\tNA\n", 0.1),
        ("s\th:m:s\tmax_rss\tcpu_time\n", None),
        ("\x00\xff", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_job_took_is_unknown_where_its_benchmark_is_missing_or_broken(
    tmp_path: Path, text: str | None, wall: float | None
) -> None:
    job = ("evaluate-agreement", "small", "baseline", "given")
    file = tmp_path / "given.tsv"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    found = read_step(job, {"environment": ENVIRONMENT}, file)
    assert found.wall_s == wall
    assert found.memory_mb == (1301.04 if wall == 42.5 else None)
