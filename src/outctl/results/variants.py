"""What results and figures compare: variants, and the sweeps that some of them come from."""

from outctl.config.section import Section


class Compared(Section):
    """The variants that results compare.

    Attributes:
        variants: all variants, in the order of the tables.
        trained_on: the cases that each adapter trained on.
        sweeps: of each sweep its adapters, and of those the label of each key that is varied.
    """

    variants: list[str]
    trained_on: dict[str, list[str]]
    sweeps: dict[str, dict[str, dict[str, str]]]

    @property
    def adapters(self) -> list[str]:
        """The adapters in the order of the tables, which a specification keeps of lists alone."""
        return [variant for variant in self.variants if variant in self.trained_on]

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
