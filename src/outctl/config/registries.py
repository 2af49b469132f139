"""The registries of the package: kinds of case, model sources, losses, metrics and vocabularies.

The modules of each folder are its entries; see `outctl.config.registry`.
"""

import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from outctl.config.cases import Case
from outctl.config.registry import ByKind, Mentions, Named, Registry
from outctl.config.source import ModelSource
from outctl.config.vocabulary import Vocabulary

FIXED_METRICS = ("tvd", "conditional_tvd", "mass", "tvd_sad")
"""Measures whose means are columns of every table of cases."""


def _check_kind(name: str, kind: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Case)):
        raise ValueError(f"a kind of case is a class that derives from outctl.config.cases.Case, and {kind!r} is none")
    if typing.get_args(kind.model_fields["kind"].annotation) != (name,):
        raise ValueError(f'{kind.__name__} needs the line `kind: Literal["{name}"]`')


def _check_source(name: str, source: Any) -> None:
    if not (isinstance(source, type) and issubclass(source, ModelSource)):
        raise ValueError(
            f"a model source is a class that derives from outctl.config.source.ModelSource, and {source!r} is none"
        )
    if typing.get_args(source.model_fields["kind"].annotation) != (name,):
        raise ValueError(f'{source.__name__} needs the line `kind: Literal["{name}"]`')


def _check_function(name: str, function: Any) -> None:
    if not callable(function):
        raise ValueError(f"{name!r} must be a function of log-probabilities and targets, and {function!r} is none")


def _check_metric(name: str, function: Any) -> None:
    if name in FIXED_METRICS:
        raise ValueError(f"the metric {name!r} is taken: avg_{name} is a column already; choose another name")
    _check_function(name, function)


def _check_vocabulary(name: str, vocabulary: Any) -> None:
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"{name!r} must be an outctl.config.vocabulary.Vocabulary, and {vocabulary!r} is none")


CASE_KINDS: Registry[type[Case]] = Registry("kind of case", "outctl.tasks.kinds", _check_kind)
SOURCES: Registry[type[ModelSource]] = Registry("model source", "outctl.models.sources", _check_source)
LOSSES: Registry[Callable[..., Any]] = Registry("loss", "outctl.metrics.losses", _check_function)
"""From log-probabilities of the words and targets, tensors of shape (B, K) both, to one value per sample, (B,)."""
METRICS: Registry[Callable[..., Any]] = Registry("metric", "outctl.metrics.columns", _check_metric)
"""As losses, without a gradient. The mean of each stands in a column of its name, beside those that are always there."""
VOCABULARIES: Registry[Vocabulary] = Registry("vocabulary", "outctl.tasks.vocabularies", _check_vocabulary)

CaseConfig = Annotated[Case, ByKind(CASE_KINDS)]
Source = Annotated[ModelSource, ByKind(SOURCES)]
LossName = Annotated[str, Named(LOSSES)]
MetricName = Annotated[str, Named(METRICS)]
FromVocabulary = Mentions(VOCABULARIES)
"""Marks the name of a vocabulary, in whose place a file may stand."""


def metric_names(plugins: Iterable[str]) -> list[str]:
    """Metrics of the package and of an experiment's plug-ins."""
    return [name for name in METRICS if METRICS.plugin_of(name) in (None, *plugins)]
