"""A contender of the fine-tuning benchmark: outctl's loss as a careful script would have it, without shared beginnings."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from engine import Question
from trainers import Clock, Training, pad


@dataclass(frozen=True)
class Rows:
    """A batch of whole sequences for the loss over all forms of the words.

    Attributes:
        ids, mask: the sequences, padded.
        row, position, token: where each token of each form is predicted, and its id.
        form: the form it belongs to.
        word: (F,) for each form the number of its word, counted through the batch.
        target: share of each word.
    """

    ids: Tensor
    mask: Tensor
    row: Tensor
    position: Tensor
    token: Tensor
    form: Tensor
    word: Tensor
    target: Tensor


def rows_of(items: Sequence[Question]) -> Rows:
    """Lay out prompts: one row for each beginning of a form that a later token of it is read behind."""
    rows: list[tuple[int, ...]] = []
    reads: list[tuple[int, int, int, int]] = []
    words: list[int] = []
    target: list[float] = []
    for item in items:
        bodies = {form[:-1] for forms in item.forms for form in forms}
        # What another row begins with needs no row of its own, and the bare prompt needs one only if it is alone.
        kept = sorted(body for body in bodies if not any(o != body and o[: len(body)] == body for o in bodies))
        first = len(rows)
        rows += [item.prompt + body for body in kept]
        for forms, share in zip(item.forms, item.target, strict=True):
            for form in forms:
                for number, token in enumerate(form):
                    row = next(i for i, body in enumerate(kept) if body[:number] == form[:number])
                    reads.append((first + row, len(item.prompt) - 1 + number, token, len(words)))
                words.append(len(target))
            target.append(share)
    ids, mask = pad(rows, max(map(len, rows)))
    places = torch.tensor(reads).unbind(-1)
    return Rows(ids, mask, *places, torch.tensor(words), torch.tensor(target))


class CarefulScript(Training):
    """outctl's loss without shared beginnings: a loop in PyTorch with PEFT; a choice is the samples of a forward pass.

    A form of one token is read behind its prompt, a longer one from a row of its own. Logits are computed where they are
    read and nowhere else. That a word ends behind its form is not asked, which saves a row for each form.
    """

    def train(self, clock: Clock, folder: str, choice: int) -> None:
        """A loop with accumulated gradients."""
        weights = [value for value in self.adapted.parameters() if value.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=self.plan.learning_rate, weight_decay=0.0)
        batches = self._batches()
        seconds: list[float] = []
        while True:
            start = time.perf_counter()
            batch = next(batches)
            for first in range(0, len(batch), choice):
                part = batch[first : first + choice]
                with torch.autocast("cpu", torch.bfloat16, enabled=self.in_bf16):
                    loss = self._loss(rows_of(part)) / len(batch)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            seconds.append(time.perf_counter() - start)
            clock.seconds = seconds
            if clock.reached(len(seconds), sum(seconds)):
                return

    def _batches(self) -> Iterator[list[Question]]:
        random = Random(self.setting.seed)
        size = self.setting.batch
        while True:
            order = random.sample(self.questions, len(self.questions))
            for start in range(0, len(order) - size + 1, size):
                yield order[start : start + size]

    def _loss(self, rows: Rows) -> Tensor:
        base = self.adapted.get_base_model()
        hidden = base.base_model(input_ids=rows.ids, attention_mask=rows.mask).last_hidden_state
        logits = base.get_output_embeddings()(hidden[rows.row, rows.position]).float()
        steps = logits.log_softmax(-1).gather(1, rows.token[:, None])[:, 0]
        forms = torch.zeros(len(rows.word)).index_add(0, rows.form, steps)
        words = torch.stack([forms[rows.word == word].logsumexp(0) for word in range(len(rows.target))])
        return -(rows.target * words).sum()
