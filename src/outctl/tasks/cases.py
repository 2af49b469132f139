"""The samples of a case, from what its kind draws and how its template asks."""

from collections.abc import Iterator, Sequence
from itertools import islice
from random import Random

from outctl.config.cases import Case, Draw
from outctl.errors import KeyedError, OutctlError
from outctl.tasks.drawing import draw_seeds
from outctl.tasks.samples import Message, Sample
from outctl.tasks.templates import Template, render


def _conversation(template: Template, examples: Sequence[tuple[str, str]], question: str) -> list[Message]:
    messages: list[Message] = []
    if template.system:
        messages.append(Message(role="system", content=template.system.strip()))
    fixed = [(example.user.strip(), example.assistant.strip()) for example in template.examples]
    for user, assistant in (*fixed, *examples):
        messages.append(Message(role="user", content=user))
        messages.append(Message(role="assistant", content=assistant))
    messages.append(Message(role="user", content=question))
    return messages


def _examples(case: Case, template: Template, case_name: str, seed: int) -> Iterator[tuple[str, str]]:
    """Question and answer of each example that the kind draws."""
    try:
        for question, answer in case.example_answers(seed):
            if template.answer is None:
                raise KeyedError(("template",), "the template has no `answer`, which answered examples need")
            yield render(template.question, **question), render(template.answer, **answer)
    except KeyedError as mistake:
        raise OutctlError(f"cases.{case_name}.{mistake}") from None


def try_template(case: Case, template: Template) -> None:
    """Make sure that a template fits a case.

    Raises:
        OutctlError: a text is missing, or names a variable that there is not.
    """
    texts = {"question": template.question} | {name: getattr(template, name) for name in case.needs}
    for name, text in texts.items():
        if text is None:
            raise OutctlError(f"the template has no `{name}`, {case.needs[name]}")
        render(text, **case.variables(name))


def draw_samples(
    case: Case,
    template: Template,
    case_name: str,
    split: str,
    count: int,
    seed: int,
    listed: tuple[str, ...] | None = None,
) -> Iterator[Sample]:
    """Draw the samples of a case and split; a smaller count gives the beginning of a larger one.

    Args:
        case: the case.
        template: how it asks.
        case_name: its name.
        split: `train` or `eval`.
        count: number of samples.
        seed: the experiment's seed.
        listed: the words to draw from, where they are not the most common ones.

    Raises:
        OutctlError: the template does not fit the case, or the vocabulary is too small.
    """
    # Not keyed by the case: cases that differ in their wording alone ask for the same words and shares, so they pair.
    random = Random(f"{seed}/{split}")
    draw = Draw(random, draw_seeds(random, seed, split), seed, split, listed)
    examples = list(_examples(case, template, case_name, seed))
    for number, drawn in enumerate(islice(case.draw(draw), count)):
        free = render(template.free, **drawn.variables) if drawn.at_most and template.free else None
        yield Sample(
            sample_id=f"{case_name}-{split}-{number:05d}",
            case=case_name,
            messages=_conversation(template, examples, render(template.question, **drawn.variables)),
            words=drawn.words,
            answers=drawn.answers,
            target=drawn.target,
            at_most=drawn.at_most,
            free_messages=_conversation(template, examples, free) if free else None,
            tolerance=case.tolerance,
            seed=drawn.seed,
            max_zipf=drawn.max_zipf,
        )
