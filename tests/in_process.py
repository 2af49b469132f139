"""The stages of an experiment of one tiny model in this process, where a process of its own for each would prove nothing."""

from command_line import ByHand
from outctl.stages.aggregate import run as aggregate
from outctl.stages.aggregate_model import run as aggregate_model
from outctl.stages.evaluate import EvaluationJob
from outctl.stages.finetune import run as train_adapter
from outctl.stages.finetune import training_files


def train(experiment: ByHand) -> None:
    """Train the adapter."""
    plan, layout = experiment.plan, experiment.plan.layout
    files, adapter = training_files(layout, plan.recipes["tuned"].cases), layout.adapter("tiny", "tuned")
    train_adapter(plan.spec("finetune", "tiny", "tuned"), layout.model("tiny"), files, adapter, layout.checkpoints())


def evaluate(experiment: ByHand, variant: str, case: str) -> None:
    """Evaluate the baseline, or the adapter after it was trained."""
    plan, layout = experiment.plan, experiment.plan.layout
    job = EvaluationJob(
        spec=plan.spec("evaluate", "tiny", variant, case),
        model_dir=layout.model("tiny"),
        adapter_dir=None if variant == "baseline" else layout.adapter("tiny", variant),
        output=layout.records("tiny", variant, case),
        checkpoints=layout.checkpoints(),
        samples=layout.samples(case, "eval"),
    )
    job.run()


def gather(experiment: ByHand) -> None:
    """Make the tables."""
    plan, layout = experiment.plan, experiment.plan.layout
    aggregate_model(plan.spec("aggregate-model", "tiny"), layout.results)
    aggregate(plan.spec("aggregate"), layout.results)
