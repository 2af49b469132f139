"""What is checked of a prepared model before any job asks it: that its template takes the questions, and leaves no think block.

Whoever fetches a model checks it, and so does the workflow when it is planned, since `template_kwargs` and the like may have
been edited since. What was found is kept beside the models, so that planning need not load a tokenizer again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from outctl.config.models import ModelEntry
from outctl.errors import NOTE, OutctlError, first_line
from outctl.machine.estimates import host_memory_mb, sized
from outctl.machine.memory import available_memory
from outctl.pipeline.plan import Plan
from outctl.stages.make_samples import first_samples
from outctl.storage.files import read_json, to_json, write_text
from outctl.tasks.samples import Message

KEPT = 1000
"""Models and settings whose notes are kept."""
FIRST_TOKEN_PARAMETERS = 4_000_000_000
"""Up to this size, a model that may think is asked when it is fetched; what larger ones answer is seen in their evaluation."""


def first_questions(plan: Plan) -> dict[str, list[Message]]:
    """The first question of each case; none of a case whose samples cannot be drawn, as its own job says."""
    found: dict[str, list[Message]] = {}
    for name in plan.cases:
        try:
            (sample,) = first_samples(plan, name, 1)
        except OutctlError:
            continue
        found[name] = sample.messages
    return found


def check_template(
    directory: Path, name: str, entry: ModelEntry, questions: Mapping[str, Sequence[Message]], model: Any = None
) -> str | None:
    """Put the first question of each case through a model's chat template.

    Args:
        directory: the prepared model, or what is to become it.
        name: its name in the registry.
        entry: its entry there.
        questions: a question of each case.
        model: the loaded model, if it is to be asked what its likeliest answer begins with.

    Returns:
        One line where words would be measured in a think block, None otherwise.

    Raises:
        OutctlError: the model has no template that is known to be meant, or it refuses or changes a question.
    """
    from transformers import AutoTokenizer

    from outctl.inference.prompts import build_prompts
    from outctl.inference.thinking import QUESTION, knows_thinking, thinking_note

    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    tokenizer.name_or_path = f"model {name}"
    prompts = build_prompts(tokenizer, [QUESTION], entry.chat, entry)
    for case, messages in questions.items():
        try:
            prompts += build_prompts(tokenizer, [messages], entry.chat, entry)
        except OutctlError as error:
            raise OutctlError(f"{error} (case {case})") from None
    return thinking_note(tokenizer, entry, prompts, model if knows_thinking(tokenizer, entry) else None)


class Notes:
    """The notes on prepared models, kept in a file beside them.

    Args:
        plan: the experiment that asks the models.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._file = plan.layout.specs(shared=True) / "fetch-model" / "notes.json"
        self._questions: dict[str, list[Message]] | None = None

    def of(self, model: str) -> str | None:
        """The note on a prepared model, as it was found before or is found now from its template alone.

        Raises:
            OutctlError: its template cannot be used.
        """
        kept, key = self._kept(), self._key(model)
        if key in kept:
            return kept[key]
        note = check_template(self.plan.layout.model(model), model, self.plan.registry.models[model], self.questions())
        self._keep(key, note)
        return note

    def check(self, model: str, directory: Path) -> None:
        """See that the template of a model that is about to be there takes the questions.

        Raises:
            OutctlError: it does not.
        """
        entry = self.plan.registry.models[model]
        if entry.chat:
            check_template(directory, model, entry, self.questions())

    def questions(self) -> dict[str, list[Message]]:
        """The first question of each case."""
        if self._questions is None:
            self._questions = first_questions(self.plan)
        return self._questions

    def ask(self, model: str) -> str | None:
        """The note on a model that was just fetched, from its likeliest answers too if it may think and is small enough."""
        directory, entry = self.plan.layout.model(model), self.plan.registry.models[model]
        note = check_template(directory, model, entry, self.questions())
        if note is None and may_think(directory, entry) and _fits(entry, directory / "provenance.json"):
            from outctl.models.loading import load_model

            try:
                # A snapshot in 4 bits is left to those that need it.
                loaded = load_model(
                    directory, "auto" if entry.precision == "nf4" else entry.precision, entry.chat, options=entry
                )
                note = check_template(directory, model, entry, self.questions(), loaded.model)
            except Exception as error:
                # Whoever asks it next shows it whole; here it must not cost a model that is fetched.
                print(f"{directory}: not asked whether it thinks: {first_line(error)}")
        self._keep(self._key(model), note)
        return note

    def _key(self, model: str) -> str:
        entry = self.plan.registry.models[model]
        provenance = (self.plan.layout.model(model) / "provenance.json").read_bytes()
        cases = {name: case.model_dump(mode="json") for name, case in self.plan.experiment.cases.items()}
        inputs = self.plan.inputs
        asked = [entry.model_dump(mode="json"), cases, inputs.templates, inputs.vocabularies, self.plan.experiment.seed]
        return hashlib.sha256(provenance + to_json(asked, indent=None).encode()).hexdigest()

    def _kept(self) -> dict[str, str | None]:
        try:
            kept = read_json(self._file)
        except OutctlError:
            return {}
        return kept if isinstance(kept, dict) else {}

    def _keep(self, key: str, note: str | None) -> None:
        kept = self._kept()
        # Models may lie where only others write.
        with suppress(OSError):
            write_text(self._file, to_json((kept if len(kept) < KEPT else {}) | {key: note}) + "\n", durable=False)


def fetched_notes(plan: Plan, model: str) -> list[str]:
    """A line on a model that was just fetched, where its words would be measured in a think block."""
    asked = plan.registry.models[model].chat
    return [f"{NOTE}model {model}: {note}"] if asked and (note := Notes(plan).ask(model)) else []


def may_think(directory: Path, entry: ModelEntry) -> bool:
    """Whether a prepared model's tokenizer or template speaks of think blocks."""
    from transformers import AutoTokenizer

    from outctl.inference.thinking import knows_thinking

    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    return knows_thinking(tokenizer, entry)


def _fits(entry: ModelEntry, provenance: Path) -> bool:
    entry = sized(entry, provenance)
    small = entry.parameters is not None and entry.parameters <= FIRST_TOKEN_PARAMETERS
    return small and host_memory_mb(entry, 1, training=False) * 10**6 < available_memory()


def planning_notes(plan: Plan) -> list[str]:
    """A line on each prepared model of an experiment whose words would be measured in a think block.

    Models that are to be fetched, or fetched again, are checked then.

    Raises:
        OutctlError: the template of one of them cannot be used.
    """
    notes = Notes(plan)
    asked = [name for name in plan.models if plan.registry.models[name].chat and _is_current(plan, name)]
    return [f"{NOTE}model {name}: {note}" for name in asked if (note := notes.of(name))]


def _is_current(plan: Plan, model: str) -> bool:
    found = plan.found.get(("fetch-model", model))
    whole = found is not None and not found.changed
    return whole and found is not None and found.spec_hash == plan.spec("fetch-model", model).hash
