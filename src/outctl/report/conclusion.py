"""The answer to the question, as one sentence computed from the rows of the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from outctl.config.names import BASELINE, REFERENCE_MODEL
from outctl.metrics.statistics import t_interval
from outctl.results.slopes import LEAST_MASS
from outctl.results.variants import Drawn

Row = Mapping[str, Any]
Verdict = Literal["yes", "partly", "no", "undecided"]

NEAR_CONTROL = (0.5, 1.5)
"""A slope within ranks whose interval lies here is nearer to control (1) than to ignoring by how much (0), and no further
beyond it."""
ANSWERING = 0.5
"""Below this mean probability of answering with one of the words, how a model splits the rest is no control."""
PROVEN = 0.95
"""Least share of samples in which the words that a model picked are proven to be its likeliest."""


@dataclass(frozen=True)
class Conclusion:
    """The answer.

    Attributes:
        verdict: whether the trained models control their distribution, or the untrained ones where none is trained.
        sentence: one sentence that says so, with its interval.
        facts: a few numbers with what they mean.
    """

    verdict: Verdict
    sentence: str
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class _Measured:
    """One model and variant on one case.

    Attributes:
        row: its row of the table.
        before: the row of the model's baseline.
        reference: the row of the best reference, the fixed rule that comes nearest.
    """

    row: Row
    before: Row
    reference: Row

    @property
    def verdict(self) -> Verdict:
        return judge(self.row)


def judge(row: Row) -> Verdict:
    """Whether a model and variant controls its distribution on a case.

    It does where its mean distance is reliably below that of the best fixed rule on the same samples, and the interval of its
    slope within ranks lies within `NEAR_CONTROL`. A small distance alone is none: an even split can have one too. Nor is a slope
    over all samples, which fixed shares by rank have. It does so in part where it answers with the words and its shares
    reliably rise with those asked for. Nothing is said where too many of the words that a model picked are not proven to be its
    likeliest.

    Args:
        row: its row of the table; undefined numbers are None.
    """
    low, high, rises = (row[name] for name in ("within_slope_low", "within_slope_high", "control_slope_low"))
    nearest, furthest = row["reference_difference_low"], row["reference_difference_high"]
    proven = row.get("proven")
    if nearest is None or (proven is not None and proven < PROVEN):
        return "undecided"
    partly = rises is not None and rises > 0.0 and row["avg_mass"] >= ANSWERING
    if furthest >= 0.0 or row["avg_mass"] < LEAST_MASS:
        return "partly" if partly else "no"
    if low is None or high is None:
        return "undecided"
    if NEAR_CONTROL[0] <= low and high <= NEAR_CONTROL[1]:
        return "yes"
    return "partly" if partly else "no"


def decimals(value: float, digits: int) -> str:
    """A number for sentences and tables, with a true minus, and none where it rounds to zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def distance(value: float) -> str:
    """A distance for a sentence."""
    return decimals(value, 3)


def _slope(row: Row, name: str) -> str:
    values = (row[name], row[f"{name}_low"], row[f"{name}_high"])
    if any(value is None for value in values):
        return "undefined"
    slope, low, high = (decimals(value, 2) for value in values)
    return f"{slope}, {low} to {high}"


class Tables:
    """The rows of the tables of all models, by what they are of.

    Args:
        summaries: rows a model, variant and case, the references' among them; undefined numbers are None.
        settings: which variants, cases and trainings there are.
        asked: the adapters that trained on the shares asked for; the others are controls, which are not to follow them.
        cases: the cases.
        confidence: level of the intervals.
    """

    def __init__(
        self,
        summaries: Sequence[Row],
        settings: Drawn,
        asked: Sequence[str],
        cases: Sequence[str],
        confidence: float,
    ) -> None:
        self._rows = {(row["model"], row["variant"], row["case_type"]): row for row in summaries}
        self._settings = settings
        self._asked = asked
        self.models = list(dict.fromkeys(row["model"] for row in summaries if row["model"] != REFERENCE_MODEL))
        self.level = f"{100 * confidence:g} %"
        self.confidence = confidence
        limited = {row["case_type"] for row in summaries if row["num_binding"] is not None}
        self.cases = [case for case in cases if case not in limited]
        """The cases that ask for shares; a limit may be kept without following any number."""

    def measured(self, model: str, variant: str, case: str) -> _Measured:
        """What a model and variant scored on a case."""
        references = [row for (of, _, name), row in self._rows.items() if of == REFERENCE_MODEL and name == case]
        best = min(references, key=lambda row: float(row["avg_tvd"]))
        return _Measured(self._rows[model, variant, case], self._rows[model, BASELINE, case], best)

    def headline_case(self, variant: str) -> str | None:
        """The first case that an adapter trained on, or the first of all; of those that ask for shares."""
        trained = self._settings.trained_on.get(variant) or self.cases
        return next((case for case in self.cases if case in trained), None)

    def headlines(self) -> list[_Measured]:
        """Every model and adapter on the adapter's headline case; the baselines where no adapter trained on what is asked."""
        variants = self._asked or [BASELINE]
        cases = {variant: case for variant in variants if (case := self.headline_case(variant)) is not None}
        return [
            self.measured(model, variant, cases[variant])
            for model, variant in product(self.models, cases)
            if variant in self._settings.variants_of(model)
        ]


def conclude(tables: Tables) -> Conclusion:
    """The answer that the tables give."""
    found = tables.headlines()
    if not found:
        return Conclusion("undecided", "Undecided: no case of this experiment asks for shares.", [])
    trained = found[0].row["variant"] != BASELINE
    single = len(found) == 1
    sentence = _of_one(found[0], tables.level, trained) if single else _of_many(found, tables, trained)
    verdicts = {one.verdict for one in found}
    verdict = next(verdict for verdict in ("yes", "partly", "undecided", "no") if verdict in verdicts)
    if verdict == "yes" and verdicts != {"yes"}:
        verdict = "partly"
    return Conclusion(verdict, sentence, _facts(found, tables, trained))


def _of_one(one: _Measured, level: str, trained: bool) -> str:
    row = one.row
    model, case = row["model"], row["case_type"]
    if row["avg_tvd_low"] is None:
        return (
            f"Undecided: {model} is at a mean distance (TVD) of {distance(row['avg_tvd'])} from the shares asked for in "
            f"{case}, but samples are too few ({row['num_trials']}) for an interval."
        )
    at = f"a mean distance (TVD) of {distance(row['avg_tvd'])} ({level} interval {distance(row['avg_tvd_low'])} to "
    at += f"{distance(row['avg_tvd_high'])}) from the shares asked for"
    who = f"{model} with the adapter {row['variant']}" if trained else f"{model}, untrained,"
    best = f"the best fixed rule, {one.reference['variant']}, scores {distance(one.reference['avg_tvd'])}"
    context = _context(one.before["avg_tvd"] if trained else None, best)
    follow = f"follow those asked for (slope {_slope(row, 'control_slope')}, where 1 is control)"
    within = f"how much larger the largest share is (slope within ranks {_slope(row, 'within_slope')})"
    match one.verdict:
        case "yes":
            already = not trained or judge(one.before) == "yes"
            when = "even without training" if already else "once trained for it"
            return f"Yes, {when}: in {case}, {who} comes to {at}, and follows {within}; {context}."
        case "partly" if row["reference_difference_high"] < 0.0:
            return f"In part: in {case}, {who} comes to {at}, but does not reliably follow {within}; {context}."
        case "partly" if judge({**row, "reference_difference_high": -1.0}) == "yes":
            return f"In part: in {case}, {who} follows {within}, but is at {at}; {context}."
        case "partly":
            return f"In part: in {case}, the shares that {who} gives {follow}, at {at}; {context}."
        case "undecided":
            return f"Undecided: in {case}, {who} is at {at}, but the slope within ranks is undefined; {context}."
        case "no" if row["reference_difference_high"] < 0.0 and row["avg_mass"] >= LEAST_MASS:
            return f"No: in {case}, {who} is at {at}, but the shares that it gives do not {follow}; {context}."
    when = "not after this training" if trained else "not without training"
    return f"No, {when}: in {case}, {who} is at {at}; {context}."


def _context(before: float | None, best: str) -> str:
    return best if before is None else f"before training it was {distance(before)}, and {best}"


def _of_many(found: Sequence[_Measured], tables: Tables, trained: bool) -> str:
    count, passed = len(found), sum(one.verdict == "yes" for one in found)
    partly = sum(one.verdict == "partly" for one in found)
    if passed:
        word = ("Yes" if passed == count else "Some can") + (
            ", once trained for it" if trained else ", without training"
        )
    else:
        word = "In part" if partly else "No"
    number = {0: "none", count: "all"}.get(passed, str(passed))
    models = f"{len(tables.models)} models" if len(tables.models) > 1 else tables.models[0]
    if trained and count == len(tables.models):
        what = f"{count} models, each with its adapter,"
    else:
        what = f"{count} adapters of {models}" if trained else f"{count} untrained models"
    control = (
        f"control their distribution in {'the case that they trained on' if trained else found[0].row['case_type']}"
    )
    also = f" ({partly} more in part)" if partly else ""
    mean = t_interval([one.row["avg_tvd"] for one in found], tables.confidence)
    # Distances are between 0 and 1, which Student's t does not know.
    ends = f"{distance(max(0.0, mean.low))} to {distance(min(1.0, mean.high))}"
    at = f"mean distance (TVD) of {distance(mean.value)} ({tables.level} interval over them {ends}) from the shares asked for"
    best = f"the best fixed rule scores {distance(_mean([one.reference['avg_tvd'] for one in found]))}"
    context = _context(_mean([one.before["avg_tvd"] for one in found]) if trained else None, best)
    return f"{word}: {number} of {what} {control}{also}, at a {at}; {context}."


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _facts(found: Sequence[_Measured], tables: Tables, trained: bool) -> list[tuple[str, str]]:
    """Numbers that stand below the sentence: of one model and adapter, or means over all."""
    rows = [one.row for one in found]
    over = "" if len(found) == 1 else f", mean of {len(found)}"
    tvd = distance(_mean([row["avg_tvd"] for row in rows]))
    if trained:
        before = distance(_mean([one.before["avg_tvd"] for one in found]))
        facts = [(f"{before} → {tvd}", f"mean TVD, before and after training{over}; 0 is perfect")]
    else:
        facts = [(tvd, f"mean TVD{over}; 0 is perfect")]
    slopes = {
        "control_slope": "slope of control{}; 1 is control, 0 ignores the number",
        "within_slope": "slope within ranks{}; 0 knows which share is the largest, and ignores by how much",
    }
    for name, meaning in slopes.items():
        values = [row[name] for row in rows if row[name] is not None]
        if values:
            facts.append((decimals(_mean(values), 2), meaning.format(over)))
    mass = 100 * _mean([row["avg_mass"] for row in rows])
    facts.append((f"{mass:.0f} %", f"probability of answering with one of the words{over}"))
    verdicts = [
        tables.measured(row["model"], row["variant"], case).verdict == "yes" for row in rows for case in tables.cases
    ]
    facts.append((f"{sum(verdicts)} of {len(verdicts)}", "cases controlled, of all that ask for shares"))
    return facts
