"""What results and figures compare: variants, and the sweeps that some of them come from."""

from collections.abc import Sequence

from pydantic import Field

from outctl.config.section import Section


class Compared(Section):
    """The variants that results compare.

    Attributes:
        variants: all variants, in the order of the tables.
        trained_on: the cases that each adapter trained on; none for one that was trained elsewhere.
        elsewhere: the adapters that were trained elsewhere, each with the models that it is put on.
        sweeps: of each sweep its adapters, and of those the label of each key that is varied.
    """

    variants: list[str]
    trained_on: dict[str, list[str]]
    elsewhere: dict[str, list[str]] = Field(default={})
    sweeps: dict[str, dict[str, dict[str, str]]]

    @property
    def adapters(self) -> list[str]:
        """The adapters in the order of the tables, which a specification keeps of lists alone."""
        return [variant for variant in self.variants if variant in self.trained_on or variant in self.elsewhere]

    @property
    def trained(self) -> list[str]:
        """Those of them that the experiment trains."""
        return [variant for variant in self.adapters if variant not in self.elsewhere]

    def first_case(self, adapter: str, cases: Sequence[str]) -> str:
        """The first case that an adapter trained on; the first of all for one that was trained elsewhere."""
        return next(iter(self.trained_on.get(adapter) or cases))

    def variants_of(self, model: str) -> list[str]:
        """The variants that a model has."""
        return [variant for variant in self.variants if model in self.elsewhere.get(variant, [model])]

    def ordered_sweeps(self) -> dict[str, dict[str, dict[str, str]]]:
        """The sweeps in that order, as are the adapters of each."""
        own = {name: [adapter for adapter in self.adapters if adapter in found] for name, found in self.sweeps.items()}
        names = sorted(own, key=lambda name: self.adapters.index(own[name][0]))
        return {name: {adapter: self.sweeps[name][adapter] for adapter in own[name]} for name in names}


class Drawn(Compared):
    """The variants that figures show.

    Attributes:
        models, cases: those of the experiment.
        bases: of each sweep the adapter that it varies, with the label of each key that is varied.
    """

    models: list[str]
    cases: list[str]
    bases: dict[str, dict[str, dict[str, str]]]
