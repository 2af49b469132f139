"""Where a training shows its curves while it runs: TensorBoard event files always, and services that are asked for."""

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

EVENTS = "events.out.tfevents.*"
"""Names of TensorBoard's event files."""


@dataclass(frozen=True)
class Tracking:
    """Where a training shows its curves. The adapter does not depend on it.

    Attributes:
        events: directory of the TensorBoard event files of this training, and of nothing else.
        services: further services, by the names that `Trainer` gives them: mlflow, trackio, wandb.
        project: what the services call the experiment.
        folder: where services keep what they keep on this machine.
        run: what the services call this training.
    """

    events: Path
    services: tuple[str, ...]
    project: str
    folder: Path
    run: str

    def prepare(self, identity: str) -> None:
        """Tell the services through their environment variables what this is, and to need no network; the user's win.

        Args:
            identity: the same whenever this training goes on.
        """
        if not self.services:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, value in self._variables(identity).items():
            os.environ.setdefault(name, value)

    def _variables(self, identity: str) -> Mapping[str, str]:
        folder = self.folder.resolve()
        return {
            "WANDB_MODE": "offline",
            "WANDB_DIR": str(folder),
            "WANDB_PROJECT": self.project,
            # A training that goes on is the same run.
            "WANDB_RUN_ID": identity,
            "WANDB_RESUME": "allow",
            "WANDB_SILENT": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
            "MLFLOW_EXPERIMENT_NAME": self.project,
            "TRACKIO_DIR": str(folder / "trackio"),
        }

    def arguments(self) -> dict[str, Any]:
        """What `TrainingArguments` needs to know of it."""
        return {"report_to": list(self.services), "run_name": self.run, "project": self.project}

    def callback(self) -> TrainerCallback:
        """What writes the event files."""
        return _EventFiles(self.events)


class _EventFiles(TensorBoardCallback):  # type: ignore[misc]
    """`Trainer`'s callback for TensorBoard, whose curves have every step once however often the training was cut off.

    What an earlier start wrote may reach beyond the checkpoint, or come from other settings. So each start empties it, and
    begins with the history that the checkpoint holds.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.logging_dir = str(folder)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Trainings that show their curves nowhere need no TensorBoard.
        from torch.utils.tensorboard import SummaryWriter

        for file in Path(self.logging_dir).glob(EVENTS):
            # An open TensorBoard stays for ever at the file that it reads, if that is removed; an empty one it has left.
            os.truncate(file, 0) if file.stat().st_size else file.unlink()
        # It has read what is gone: this tells it to forget every step from here on.
        self.tb_writer = SummaryWriter(self.logging_dir, purge_step=0)
        super().on_train_begin(args, state, control, **kwargs)
        for entry in state.log_history:
            then = copy.copy(state)
            then.global_step = int(entry["step"])
            self.on_log(args, then, control, logs={key: value for key, value in entry.items() if key != "step"})
