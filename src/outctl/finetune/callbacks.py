"""What happens between the steps of a training: progress, checkpoints, and an early end where the job is asked to stop."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from outctl.evaluation.records import Progress
from outctl.storage.checkpoints import Stop, seal


class Steps(TrainerCallback):  # type: ignore[misc]
    """Says how many steps are done."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Report the step."""
        if self.progress:
            self.progress(state.global_step, state.max_steps)


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Seals every checkpoint; and when the job is asked to stop, takes one and ends the training there.

    It does so where a line of the log is complete, since the mean loss of a line cannot be resumed in its middle.
    """

    def __init__(self, stop: Stop, log_every: int) -> None:
        self.stop = stop
        self.log_every = log_every

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Ask for a checkpoint and the end, at a step whose line of the log is complete."""
        if self.stop.requested and state.global_step % self.log_every == 0:
            control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seal what was saved."""
        seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
