"""Draw the folders of the package and the stages of the workflow: `python docs/generate/structure_picture.py docs/structure.svg`.

Folders stand in layers, each above those it imports. Stages stand in columns, each behind those whose files it reads.
"""

import sys
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

from outctl.config.experiment import Experiment
from outctl.config.models import Registry
from outctl.stages.dag import STAGES, plan_of
from outctl.storage.files import write_text

LAYERS = (
    ("outside", ("cli",)),
    ("jobs", ("stages",)),
    ("exchange", ("exchange",)),
    ("science", ("report", "results")),
    ("science", ("finetune", "evaluation")),
    ("science", ("inference",)),
    ("science", ("models", "tasks", "metrics")),
    ("machinery", ("pipeline", "config", "machine", "storage")),
)
"""What each layer belongs to, and its folders, from the top."""
COLOURS = {
    "outside": "#e8e8e8",
    "jobs": "#f7d9a8",
    "exchange": "#e8e8e8",
    "science": "#cfe3f5",
    "machinery": "#d9ead3",
}
EVERYTHING = {
    "models": ["tiny"],
    "cases": {"given": {"kind": "given_words", "train_samples": 8, "eval_samples": 2}},
    "adapters": {
        "tuned": {"cases": {"given": 8}, "steps": 1},
        "found": {"source": {"kind": "local", "path": "found"}, "models": ["tiny"]},
    },
    "temperature_scaling": {"case": "given"},
    "retention": {},
    "agreement": {"cases": ["given"]},
    "base_model_deviation": {},
}
"""An experiment that has jobs of every stage."""
MODEL = {"source": {"kind": "local", "path": "weights"}, "chat": True, "parameters": 1000}
WIDTH, HEIGHT, GAP, LEFT = 168, 30, 14, 24


def stage_edges() -> dict[str, set[str]]:
    """The stages whose files each stage reads, without those that a stage reads by way of another one too."""
    plan = plan_of(Experiment.model_validate(EVERYTHING), Registry.model_validate({"models": {"tiny": MODEL}}))
    edges: dict[str, set[str]] = {stage: set() for stage in STAGES}
    for job in plan.jobs():
        edges[job[0]] |= {upstream.partition("/")[0] for upstream in plan.spec(*job).upstream}
    before: dict[str, set[str]] = {}
    for stage in TopologicalSorter(edges).static_order():
        before[stage] = edges[stage].union(*(before[other] for other in edges[stage]))
    return {
        stage: {other for other in read if not any(other in before[between] for between in read)}
        for stage, read in edges.items()
    }


def columns(edges: dict[str, set[str]]) -> list[list[str]]:
    """The stages by the length of the longest way to them."""
    depth: dict[str, int] = {}
    for stage in TopologicalSorter(edges).static_order():
        depth[stage] = 1 + max((depth[other] for other in edges[stage]), default=-1)
    return [[stage for stage in STAGES if depth[stage] == column] for column in range(max(depth.values()) + 1)]


def box(x: float, y: float, width: float, text: str, colour: str) -> str:
    """A box with its text in the middle."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{HEIGHT}" rx="4" fill="{colour}" stroke="#666"/>'
        f'<text x="{x + width / 2:g}" y="{y + HEIGHT / 2 + 4:g}" text-anchor="middle">{escape(text)}</text>'
    )


def structure_picture() -> str:
    """The picture, as SVG."""
    edges = stage_edges()
    ranks = columns(edges)
    total = LEFT * 2 + len(ranks) * WIDTH + (len(ranks) - 1) * 48
    parts = [
        f'<text x="{LEFT}" y="24" class="head">Folders of src/outctl: each imports only what stands below it</text>'
    ]
    y = 36
    for kind, folders in LAYERS:
        width = (total - 2 * LEFT - 90 - GAP * (len(folders) - 1)) / len(folders)
        parts.append(f'<text x="{LEFT}" y="{y + 19}">{kind}</text>')
        parts += [
            box(LEFT + 90 + number * (width + GAP), y, width, f"{name}/", COLOURS[kind])
            for number, name in enumerate(folders)
        ]
        y += HEIGHT + 6
    y += 40
    parts.append(
        f'<text x="{LEFT}" y="{y - 12}" class="head">Stages of the workflow: each is a file of stages/ and a rule, '
        "and reads what those to its left wrote</text>"
    )
    places = {
        stage: (LEFT + column * (WIDTH + 48), y + row * (HEIGHT + GAP))
        for column, stages in enumerate(ranks)
        for row, stage in enumerate(stages)
    }
    for stage, upstream in edges.items():
        for other in sorted(upstream):
            (x1, y1), (x2, y2) = places[other], places[stage]
            start, end = x1 + WIDTH, x2
            parts.append(
                f'<path d="M{start} {y1 + HEIGHT / 2:g} C{start + 30} {y1 + HEIGHT / 2:g} {end - 30} {y2 + HEIGHT / 2:g} '
                f'{end} {y2 + HEIGHT / 2:g}" fill="none" stroke="#999"/>'
            )
    parts += [box(x, top, WIDTH, stage, COLOURS["jobs"]) for stage, (x, top) in places.items()]
    bottom = max(top for _, top in places.values()) + HEIGHT + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {bottom}" font-family="sans-serif" font-size="13">'
        "<style>.head{font-weight:bold}</style>"
        f'<rect width="{total}" height="{bottom}" fill="white"/>{"".join(parts)}</svg>\n'
    )


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), structure_picture())
