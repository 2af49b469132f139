"""The report in a real browser."""

import json
from pathlib import Path

import pytest
from fake_run import HOSTILE
from page_in_browser import Page
from selenium.webdriver.common.keys import Keys

from outctl.plan import Plan

FIGURES = ("baseline-against-adapter", "calibration", "distances", "matrix")
TRAINED = ("training", "retention", "base-model-deviation")


@pytest.fixture
def report(run: Plan) -> Path:
    return run.layout.report()


@pytest.mark.parametrize("which", ["run", "bare"])
def test_the_page_complains_of_nothing_and_asks_nobody(page: Page, which: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which).layout.report()
    page.open(path)
    assert page.complaints() == []
    requests = page.requests()
    assert requests[0] == path.as_uri()
    assert {address.partition(":")[0] for address in requests[1:]} <= {"data", "blob"}
    drawn = page.run("return [...document.querySelectorAll('[data-figure]')].map((e) => e.id)")
    assert tuple(drawn) == FIGURES + (TRAINED if which == "run" else ())


def test_every_figure_is_drawn_and_says_in_words_what_it_shows(page: Page, report: Path) -> None:
    page.open(report)
    plots = page.run(
        "return [...document.querySelectorAll('.plot')].map((e) => [e.closest('figure').id, e.getAttribute('role'), "
        "e.getAttribute('aria-label'), e.querySelectorAll('svg path').length])"
    )
    assert {figure for figure, *_ in plots} == set(FIGURES + TRAINED)
    for figure, role, description, marks in plots:
        assert role == "img", figure
        assert len(description) > 30, figure
        assert "undefined is" not in description
        assert marks > 2, figure


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("which", ["run", "bare"])
def test_nothing_reaches_beyond_the_window(page: Page, which: str, width: int, request: pytest.FixtureRequest) -> None:
    page.open(request.getfixturevalue(which).layout.report(), width)
    assert page.run("return document.documentElement.scrollWidth") <= width
    beyond = page.run(
        "return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 "
        "&& !e.closest('.scroll, pre')).map((e) => e.outerHTML.slice(0, 100))"
    )
    assert beyond == []


def test_samples_are_found_by_case_result_and_word(page: Page, report: Path, run: Plan) -> None:
    records = json.loads(run.layout.model_results("small").read_text())["records"]
    page.open(report)
    assert page.count() == "42 of 42 samples"
    page.choose("case", "own")
    assert page.count() == "12 of 42 samples"
    page.choose("case", "given")
    passing = [record for record in records["tuned"]["given"] if record["within_tolerance"]]
    page.choose("result", "tuned: yes")
    assert page.count() == f"{len(passing)} of 42 samples"
    page.choose("result", "any")
    word = records["tuned"]["given"][0]["words"][0]
    page.search(word.upper())
    assert page.count() == f"{sum(word in ' '.join(one['words']) for one in records['tuned']['given'])} of 42 samples"
    assert any(word in text for text in page.texts("#list .sample th"))
    page.search("no such word at all")
    assert page.count() == "0 of 42 samples"
    assert page.texts("#list .sample") == []


def test_samples_stand_in_the_order_that_is_asked_for(page: Page, report: Path, run: Plan) -> None:
    records = json.loads(run.layout.model_results("small").read_text())["records"]
    pairs = [
        (new["sample_id"], abs(new["tvd"] - old["tvd"]), new["tvd"])
        for case in ("given", "own")
        for old, new in zip(records["baseline"][case], records["tuned"][case], strict=True)
    ]
    page.open(report)
    first = "return document.querySelector('#list .sample').dataset.sample"
    change = {name: moved for name, moved, _ in pairs}
    assert change[page.run(first)] == pytest.approx(max(change.values()), abs=1e-4)
    page.choose("sort", "smallest TVD of tuned")
    distance = {name: tvd for name, _, tvd in pairs}
    assert distance[page.run(first)] == pytest.approx(min(distance.values()), abs=1e-4)
    page.element("#more").click()
    assert len(page.texts("#list .sample")) == 40


def test_another_variant_and_model_change_figures_and_samples(page: Page, report: Path) -> None:
    page.open(report)
    page.choose("other", "even")
    assert page.run("return document.getElementById('browse-other').value") == "even"
    assert page.texts("#calibration .legend span") == ["baseline", "even"]
    assert "even" in page.texts("#list .bars thead")[0]
    page.choose("model", "large")
    assert {row["model"] for row in page.download("#calibration .csv")} == {"large"}
    assert page.complaints() == []


def test_files_of_numbers_hold_the_numbers(page: Page, report: Path, run: Plan) -> None:
    summary = json.loads(run.layout.combined().read_text())["summaries"]
    page.open(report)
    rows = page.download("#baseline-against-adapter .csv")
    expected = {
        (row["model"], row["variant"], row["case_type"]): row["avg_tvd"]
        for row in summary
        if row["model"] != "reference"
    }
    found = {(row["model"], row["variant"], row["case"]): float(row["avg_tvd"]) for row in rows}
    assert found == pytest.approx(expected)
    for row in page.download("#distances .csv"):
        assert float(row["mass elsewhere"]) + float(row["wrong split"]) == pytest.approx(float(row["tvd"]), abs=1e-5)
    matrix = page.download("#matrix .csv")
    assert len(matrix) == 2 * 2 * 3
    page.choose("case", "given")
    samples = page.download("#samples-csv")
    assert len(samples) == 2 * 30
    assert {row["variant"] for row in samples} == {"baseline", "tuned"}
    steps = page.download("#steps-csv")
    assert {row["stage"] for row in steps} >= {"finetune", "evaluate", "aggregate"}
    assert {row["wall_s"] for row in steps} == {""}


def test_cells_that_a_spreadsheet_would_run_are_shown_as_text(page: Page, report: Path) -> None:
    page.open(report)
    made = page.run("return outctl.csv([{a: '=1+1', b: 'x\"y,z', c: null, d: -0.5}])")
    assert made == 'a,b,c,d\n\'=1+1,"x""y,z",,-0.5\n'


def test_what_a_model_says_is_text_and_never_runs(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('#list .more').open = true")
    page.wait()
    assert json.dumps(HOSTILE) in page.texts("#list .tokens td")
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert "outctl" in page.driver.title


def test_the_theme_follows_the_system_until_one_is_chosen(page: Page, report: Path) -> None:
    shade = "return getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(21, 24, 27)"
    page.open(report, dark=True)
    assert page.run(shade) == dark
    label = "return getComputedStyle(document.querySelector('#calibration svg text')).fill"
    before = page.run(label)
    page.choose("theme", "light")
    assert page.run(shade) == light
    assert page.run(label) != before
    page.open(report)
    assert page.run(shade) == light


def test_the_keyboard_reaches_everything(page: Page, report: Path) -> None:
    page.open(report)
    page.run("scrollTo(0, 0); document.activeElement.blur()")
    body = page.element("body")
    body.send_keys(Keys.TAB)
    assert page.run("return document.activeElement.className") == "skip"
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    unnamed = page.run(
        "return [...document.querySelectorAll('input, select, button, summary')].filter((e) => "
        "!(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label'))).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    outside = page.run("return [...document.querySelectorAll('[tabindex]')].filter((e) => e.tabIndex > 0).length")
    assert outside == 0


def test_numbers_are_shown_as_a_table_too(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('#matrix .numbers').open = true")
    page.wait()
    page.run("return 0")
    assert len(page.texts("#matrix .numbers tbody tr")) == 12
