from typing import Annotated

from outctl.storage.files import TableRow
from outctl.storage.intervals import Bootstrap, Ends, with_intervals


@with_intervals
class Example(TableRow):
    """A row."""

    model: str
    """The model."""
    kl: Bootstrap
    """Mean divergence."""
    rate: Annotated[float, Ends("interval for pairs")]
    """Share."""


def test_ends_stand_behind_their_column_with_descriptions() -> None:
    assert Example.__doc__ == "A row."
    assert {name: field.description for name, field in Example.model_fields.items()} == {
        "model": "The model.",
        "kl": "Mean divergence.",
        "kl_low": "Lower end of its bootstrap interval.",
        "kl_high": "Upper end of its bootstrap interval.",
        "rate": "Share.",
        "rate_low": "Lower end of its interval for pairs.",
        "rate_high": "Upper end of its interval for pairs.",
    }
    assert list(Example.model_fields) == ["model", "kl", "kl_low", "kl_high", "rate", "rate_low", "rate_high"]
