"""Figures for a paper, drawn from the models' results."""

import io
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from outctl.files import read_json, write_text
from outctl.layout import Layout, beside
from outctl.provenance import check_outputs, write_provenance
from outctl.results.plots import PLOTS
from outctl.specs import FiguresSettings, Spec

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "outctl",
}


def draw_figures(spec: Spec, layout: Layout) -> None:
    """Draw all figures from the models' results.

    Args:
        spec: the specification of this job.
        layout: where the models' results lie and the figures go.

    Raises:
        OutctlError: a model's results are missing, broken, or from other settings than the current ones.
    """
    settings = spec.settings_as(FiguresSettings)
    results = {}
    for model in settings.models:
        file = layout.model_results(model)
        check_outputs(beside(file), spec.upstream[f"aggregate-model/{model}"])
        results[model] = read_json(file)
    with mpl.rc_context(STYLE):
        for name in settings.figures:
            figure = PLOTS[name](results, settings)
            text = io.StringIO()
            # A date would make equal figures differ.
            figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)
            write_text(layout.figure(name), text.getvalue())
    write_provenance(beside(layout.figure("figures")), spec, [layout.figure(name) for name in settings.figures])
