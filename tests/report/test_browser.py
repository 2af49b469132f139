"""The report in a real browser."""

import json
from pathlib import Path

import pytest
from fake_run import ADAPTERS, HOSTILE
from page_in_browser import Page
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from outctl.config.names import REFERENCES
from outctl.pipeline.plan import Plan

pytestmark = pytest.mark.slow

FIGURES = ("tvd", "calibration", "distances", "matrix")
FURTHER = ("learning_curves", "loss", "sweeps", "retention", "retention_positions", "deviation")
TABLES = {
    "Comparisons by sample": 2 * 10 * 4,
    "Repeats over seeds": 2 * 4,
    "Retention": 2 * 9,
    "base_model_deviation": 2 * 10,
    "Agreement of samples with exact probabilities": 2 * 10,
    "Models": 2,
    "Machines": 1,
    "What each step took": 12,
}
"""The tables of the page, each with its number of rows."""
CROWDED = """
const shown = [...document.querySelectorAll('.plot svg')].map((svg) => [...svg.querySelectorAll('text')]
  .filter((text) => text.textContent.trim() && text.getAttribute('opacity') !== '0')
  .filter((text) => !text.getAttribute('transform').includes('rotate')));
const cut = shown.flat().map((text) => text.textContent).filter((text) => text.endsWith('…'));
const apart = (a, b) => a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 1 || b.bottom <= a.top + 1;
const over = shown.flatMap((texts) => {
  const boxes = texts.map((text) => [text, text.getBoundingClientRect()]);
  return boxes.flatMap(([one, box], index) => boxes.slice(index + 1).filter(([, other]) => !apart(box, other))
    .map(([other]) => [one.closest('figure').id, one.textContent, other.textContent]));
});
return { cut, over };
"""


AWAY = """
const target = document.getElementById(arguments[0]);
const wanted = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop);
// What is too near the end of the page to come to the top is as far up as can be.
const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 1;
const away = target.getBoundingClientRect().top - wanted;
return end ? Math.min(away, 0) : away;
"""
"""How far an element is from where a link to it leads, in pixels."""
SECTIONS = (
    "answer",
    "calibration",
    "distances",
    "carries-over",
    "trainings",
    "further",
    "asked",
    "samples",
    "provenance",
)


@pytest.fixture
def report(run: Plan) -> Path:
    return run.layout.report()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("which", ["run", "bare"])
def test_the_page_complains_of_nothing_asks_nobody_and_fits(
    page: Page, which: str, width: int, dark: bool, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(which).layout.report()
    page.open(path, width, dark)
    assert page.complaints() == []
    requests = page.requests()
    assert requests[0] == path.as_uri()
    assert {address.partition(":")[0] for address in requests[1:]} <= {"data", "blob"}
    drawn = page.run("return [...document.querySelectorAll('[data-figure]')].map((e) => e.id)")
    assert tuple(drawn) == FIGURES + (FURTHER if which == "run" else ())
    assert page.run("return document.documentElement.scrollWidth") <= width
    beyond = page.run(
        "return [...document.querySelectorAll('main *')].map((e) => [e, e.getBoundingClientRect()])"
        ".filter(([e, box]) => box.width && (box.right > innerWidth + 1 || box.left < -1) "
        "&& !e.closest('.scroll, pre')).map(([e]) => e.outerHTML.slice(0, 100))"
    )
    assert beyond == []
    assert page.run(CROWDED) == {"cut": [], "over": []}


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("section", SECTIONS[1:])
def test_a_link_leads_to_its_section_whatever_is_drawn_on_the_way(
    page: Page, report: Path, section: str, width: int
) -> None:
    page.load(report.as_uri(), width, moving=True)
    assert page.run("return [...document.querySelectorAll('.top nav a')].map((a) => a.hash.slice(1))") == [*SECTIONS]
    page.run(f"document.querySelector('.top nav a[href=\"#{section}\"]').click()")
    page.rest()
    assert page.run(AWAY, section) == pytest.approx(0, abs=2)
    assert page.run("return location.hash") == f"#{section}"
    assert page.complaints() == []


@pytest.mark.parametrize("section", ["matrix", "samples", "provenance"])
def test_an_address_with_a_section_leads_there(page: Page, report: Path, section: str) -> None:
    page.load(f"{report.as_uri()}#{section}", 360, moving=True)
    page.rest()
    assert page.run(AWAY, section) == pytest.approx(0, abs=2)


def test_a_point_leads_to_its_sample_past_figures_that_are_still_to_come(page: Page, report: Path) -> None:
    page.load(report.as_uri(), moving=True)
    page.run("document.getElementById('calibration').scrollIntoView()")
    page.wait_for("return document.querySelector('#calibration .mark-symbol path') !== null")
    page.rest()
    ActionChains(page.driver).move_to_element(page.element("#calibration .mark-symbol path")).click().perform()
    page.wait_for("return document.activeElement.classList.contains('sample')")
    page.rest()
    assert page.run("return document.activeElement.querySelector('.more').open")
    assert page.run("return document.activeElement.getBoundingClientRect().top") == pytest.approx(6.5 * 16, abs=2)


def test_the_facts_stand_in_full_rows(page: Page, report: Path) -> None:
    places = "return [...document.querySelectorAll('.facts div')].map((e) => e.getBoundingClientRect().top)"
    for width, in_rows in ((360, [2, 2, 2, 2, 1]), (768, [2, 2, 2, 2, 1]), (1280, [5] * 5)):
        page.open(report, width)
        tops = page.run(places)
        assert [tops.count(top) for top in tops] == in_rows, width


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_a_share_is_one_line(page: Page, report: Path, width: int) -> None:
    page.open(report, width)
    broken = page.run(
        "return [...document.querySelectorAll('.given .n')].filter((e) => { e.textContent = '100.0 %';"
        "const range = document.createRange(); range.selectNodeContents(e);"
        "return range.getClientRects().length !== 1 || e.scrollWidth > e.clientWidth; }).length"
    )
    assert broken == 0


def test_tables_fit_a_page_of_1280_pixels(page: Page, report: Path) -> None:
    page.open(report)
    # Names as long as those of the default experiment.
    cut = page.run(
        "document.querySelectorAll('details.table').forEach((e) => { e.open = true; });"
        "document.querySelectorAll('td').forEach((e) => {"
        "if (['small', 'large'].includes(e.textContent)) e.textContent = 'smollm2-135m-instruct';"
        "if (e.textContent === 'tuned') e.textContent = 'given-words';"
        "if (e.textContent === 'given') e.textContent = 'icl_random_words'; });"
        "return [...document.querySelectorAll('main .scroll[aria-label]')].filter((e) => e.scrollWidth > e.clientWidth)"
        ".map((e) => [e.getAttribute('aria-label'), e.scrollWidth])"
    )
    assert cut == []


def test_words_that_are_not_valid_are_named_beside_the_verdict(page: Page, report: Path) -> None:
    page.load(report.as_uri())
    # What the model of this run says is valid: one of its answers is made wrong before it is shown.
    page.driver.execute_async_script(
        "const done = arguments[0]; outctl.block('answers:small').then((answers) => {"
        "Object.assign(answers.tuned.own[0], {valid: false, ok: false, tvd: 0.031}); done(); });"
    )
    page.wait()
    page.choose("case", "own")
    page.choose("result", "tuned: no")
    assert page.count() == "1 of 66 samples"
    assert page.texts("#list .verdict")[1] == "✗ TVD 0.031, words not valid"


def test_every_figure_is_drawn_and_says_in_words_what_it_shows(page: Page, report: Path) -> None:
    page.open(report)
    plots = page.run(
        "return [...document.querySelectorAll('.plot')].map((e) => [e.closest('figure').id, e.getAttribute('role'), "
        "e.getAttribute('aria-label'), e.querySelectorAll('svg path').length])"
    )
    assert {figure for figure, *_ in plots} == set(FIGURES + FURTHER)
    for figure, role, description, marks in plots:
        assert role == "img", figure
        assert len(description) > 30, figure
        assert "undefined" not in description, figure
        assert marks > 2, figure


def test_every_table_stands_there_with_its_rows(page: Page, report: Path) -> None:
    page.open(report)
    found = page.run(
        "return Object.fromEntries([...document.querySelectorAll('main > section .scroll[aria-label]')]"
        ".filter((e) => !e.closest('figure')).map((e) => [e.getAttribute('aria-label'), e.querySelectorAll('tbody tr').length]))"
    )
    assert found == TABLES
    means = "2.000 1.800 to 2.200 without it, 1.500 1.400 to 1.600 with it."
    fitted = f"0.50. Mean divergence of the 2 samples that it was fitted on, in nats: {means}"
    assert page.texts("#further li") == [f"small: {fitted}", f"large: {fitted}"]


def test_the_recipe_that_a_sweep_varies_stands_beside_its_variations(page: Page, report: Path) -> None:
    page.open(report)
    rows = page.download("#sweeps .csv")
    seeds = [row for row in rows if (row["model"], row["sweep"]) == ("small", "seeds")]
    assert [(row["variant"], row["setting"]) for row in seeds] == [
        ("tuned", "seed 0 (base)"),
        ("seeds-1", "seed 1"),
        ("seeds-2", "seed 2"),
    ]
    size = [row["setting"] for row in rows if (row["model"], row["sweep"]) == ("large", "size")]
    assert size[:2] == ["rank 16, layers all (base)", "rank 4, layers first-half"]
    # A dashed line a model in each panel.
    dashed = page.run("return document.querySelectorAll('#sweeps .mark-rule line[stroke-dasharray]').length")
    assert dashed == 3 * 4


def test_samples_are_found_by_case_result_and_word(page: Page, report: Path, run: Plan) -> None:
    records = json.loads(run.layout.model_results("small").read_text())["records"]
    page.open(report)
    assert page.count() == "66 of 66 samples"
    page.choose("case", "own")
    assert page.count() == "12 of 66 samples"
    page.choose("case", "given")
    passing = [record for record in records["tuned"]["given"] if record["within_tolerance"]]
    page.choose("result", "tuned: yes")
    assert page.count() == f"{len(passing)} of 66 samples"
    page.choose("result", "any")
    word = records["tuned"]["given"][0]["words"][0]
    page.search(word.upper())
    assert page.count() == f"{sum(word in ' '.join(one['words']) for one in records['tuned']['given'])} of 66 samples"
    assert any(word in text for text in page.texts("#list .sample th"))
    page.search("no such word at all")
    assert page.count() == "0 of 66 samples"
    assert page.texts("#list .sample") == []


def test_samples_stand_in_the_order_that_is_asked_for(page: Page, report: Path, run: Plan) -> None:
    records = json.loads(run.layout.model_results("small").read_text())["records"]
    pairs = [
        (new["sample_id"], abs(new["tvd"] - old["tvd"]), new["tvd"])
        for case in ("given", "own", "three", "limits")
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
    assert page.texts("#calibration .legend span") == ["baseline", "even", "control", "even split"]
    assert "even" in page.texts("#list .bars thead")[0]
    page.choose("model", "large")
    assert {row["model"] for row in page.download("#calibration .csv")} == {"large"}
    assert page.complaints() == []


def test_files_of_numbers_hold_the_numbers(page: Page, report: Path, run: Plan) -> None:
    combined = json.loads(run.layout.combined().read_text())
    summary = combined["summaries"]
    page.open(report)
    rows = page.download("#tvd .csv")
    expected = {
        (row["model"], row["variant"], row["case_type"]): row["avg_tvd"]
        for row in summary
        if row["model"] != "reference" and row["variant"] in ("baseline", "temperature", *ADAPTERS)
    }
    found = {
        (row["model"], row["variant"], row["case_type"]): float(row["avg_tvd"])
        for row in rows
        if row["variant"] not in REFERENCES
    }
    assert {row["variant"] for row in rows} >= set(REFERENCES)
    assert found == pytest.approx(expected, rel=1e-5)
    for row in page.download("#distances .csv"):
        assert float(row["mass elsewhere"]) + float(row["wrong split"]) == pytest.approx(float(row["tvd"]), abs=1e-5)
    matrix = page.download("#matrix .csv")
    # A column of base_model_deviation stands among the distances, for all that answer in text.
    assert len(matrix) == 4 * 11 + 10
    failing = {row["variant"]: row for row in matrix if row["case_type"] == "base_model_deviation"}
    assert {row["avg_tvd"] for row in failing.values()} == {""}
    passing = {row["variant"]: row["pass_rate"] for row in combined["base_model_deviation"] if row["model"] == "small"}
    assert {name: float(row["failing"]) for name, row in failing.items()} == pytest.approx(
        {name: 1.0 - rate for name, rate in passing.items()}, rel=1e-5
    )
    trained = {(row["variant"], row["case_type"]) for row in matrix if row["trained_on"] == "true"}
    assert {case for variant, case in trained if variant == "both"} == {"given", "three"}
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
    # A minus that is no hyphen is for readers, as in the tables of the page.
    assert page.run("return outctl.table([{d: -0.5}])[0].querySelector('td').textContent") == "−0.5"


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


def test_everything_that_the_keyboard_reaches_has_a_name(page: Page, report: Path) -> None:
    page.open(report)
    unnamed = page.run(
        "return [...document.querySelectorAll('input, select, button, summary')].filter((e) => "
        "!(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label'))).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    outside = page.run("return [...document.querySelectorAll('[tabindex]')].filter((e) => e.tabIndex > 0).length")
    assert outside == 0


def test_a_reader_without_a_mouse_comes_from_a_point_to_its_sample_and_through_the_list(
    page: Page, report: Path
) -> None:
    page.open(report)
    page.run("scrollTo(0, 0); document.activeElement.blur()")
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.className") == "skip"
    page.show_focus()
    # From the top to the numbers of the first figure that has samples, and along its rows.
    page.press_until(Keys.TAB, "#calibration summary")
    page.press(Keys.ENTER)
    assert page.run("return document.querySelector('#calibration .numbers').open")
    page.wait_for("return document.querySelector('#calibration .numbers a') !== null")
    page.press_until(Keys.TAB, "#calibration .numbers td a")
    page.press(Keys.TAB)
    page.show_focus()
    wanted = page.run("return document.activeElement.textContent")
    assert wanted == page.texts("#calibration .numbers td a")[1]
    # Its link opens the sample, which has the focus then.
    page.press(Keys.ENTER)
    page.wait_for(f"return document.activeElement.dataset.sample === {wanted!r}")
    page.show_focus()
    assert page.run("return document.activeElement.querySelector('.more').open")
    assert page.count() == "1 of 66 samples"
    # From there back to the filters: every sample of a case.
    page.press_until(Keys.SHIFT + Keys.TAB + Keys.NULL, "#search")
    page.press(Keys.CONTROL + "a" + Keys.NULL, Keys.DELETE)
    page.wait_for("return document.getElementById('count').textContent === '30 of 66 samples'")
    page.press_until(Keys.TAB, "#case")
    page.press(Keys.ARROW_DOWN)
    page.wait_for("return document.getElementById('count').textContent === '12 of 66 samples'")
    assert page.run("return document.getElementById('case').value") == "own"
    page.press(Keys.ARROW_UP)
    page.wait_for("return document.querySelectorAll('#list .sample').length === 20")
    # Along the samples, each of which opens, to those that are not shown yet.
    page.press_until(Keys.TAB, "#list .sample:nth-child(1) summary")
    page.press(Keys.TAB)
    assert page.run("return document.activeElement.matches('#list .sample:nth-child(2) summary')")
    page.show_focus()
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.parentElement.open")
    page.press_until(Keys.TAB, "#more")
    page.press(Keys.ENTER)
    assert page.run("return document.activeElement.matches('#list .sample:nth-child(21)')")
    page.show_focus()
    assert page.complaints() == []


def test_a_click_on_a_point_opens_its_sample_and_back_leads_to_the_figure(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('#calibration').scrollIntoView()")
    point = "#calibration .mark-symbol path"
    before = page.run("return scrollY")
    # Several may lie on one another, so the one on top takes the click.
    ActionChains(page.driver).move_to_element(page.element(point)).click().perform()
    page.wait_for("return document.activeElement.classList.contains('sample')")
    assert page.count() == "1 of 66 samples"
    page.driver.back()
    page.wait_for(f"return Math.abs(scrollY - {before}) < 50")


def test_a_long_table_shows_its_rows_in_turn(page: Page, report: Path) -> None:
    page.open(report)
    page.run(
        "const rows = Array.from({length: 1200}, (_, n) => ({sample: n}));"
        "document.querySelector('#matrix .scroll').replaceChildren("
        "...outctl.table(rows, {sample: (row) => outctl.element('a', {href: '#x'}, row.sample)}));"
        "document.querySelector('#matrix .numbers').ontoggle = null; document.querySelector('#matrix .numbers').open = true"
    )
    assert page.texts("#matrix .rows") == ["Show 500 more of 700 rows"]
    more = "document.querySelector('#matrix .rows').click()"
    page.run(more)
    assert page.run("return document.activeElement.textContent") == "500"
    page.run(more)
    assert len(page.texts("#matrix .numbers tbody tr")) == 1200
    assert not page.element("#matrix .rows").is_displayed()


def test_numbers_are_shown_as_a_table_too(page: Page, report: Path) -> None:
    page.open(report)
    page.run("document.querySelector('#matrix .numbers').open = true")
    page.wait()
    page.run("return 0")
    assert len(page.texts("#matrix .numbers tbody tr")) == 4 * 11 + 10
