"""Where the pipeline keeps its files."""

from dataclasses import dataclass
from pathlib import Path

from outctl.config.names import BASELINE, TEMPERATURE


def beside(output: Path) -> Path:
    """The provenance file beside an output that is one file."""
    return output.with_suffix(".provenance.json")


@dataclass(frozen=True)
class Layout:
    """Paths of one experiment.

    Attributes:
        results: what the pipeline writes, the key `results_dir`.
        models: prepared models, the key `models_dir`.
    """

    results: Path
    models: Path

    def model(self, model: str) -> Path:
        """Directory of a prepared model."""
        return self.models / model

    def samples(self, case: str, split: str) -> Path:
        """Samples of a case and split."""
        return self.results / "samples" / case / f"{split}.jsonl"

    def adapter(self, model: str, adapter: str) -> Path:
        """Directory of an adapter."""
        return self.results / "adapters" / model / adapter

    def variant_adapter(self, model: str, variant: str) -> Path | None:
        """Directory of a variant's adapter; None for the baseline, at whatever temperature."""
        return None if variant in (BASELINE, TEMPERATURE) else self.adapter(model, variant)

    def tensorboard(self, model: str, adapter: str) -> Path:
        """TensorBoard event files of a training."""
        return self.results / "tensorboard" / model / adapter

    def tracking(self) -> Path:
        """What services that trainings report to keep on this machine."""
        return self.results / "tracking"

    def records(self, model: str, variant: str, case: str) -> Path:
        """Records of a model, variant and case."""
        return self.results / "evaluations" / model / variant / f"{case}.jsonl"

    def deviation(self, model: str, variant: str) -> Path:
        """Records of `base_model_deviation` of a model and variant."""
        return self.results / "deviation" / model / f"{variant}.jsonl"

    def retention(self, model: str, variant: str) -> Path:
        """What a variant's training changed elsewhere."""
        return self.results / "retention" / model / f"{variant}.json"

    def agreement(self, model: str, variant: str, case: str) -> Path:
        """Sampled answers of a model, variant and case beside their exact probabilities."""
        return self.results / "agreement" / model / variant / f"{case}.jsonl"

    def temperature(self, model: str) -> Path:
        """The best temperature of a model's baseline."""
        return self.results / "temperatures" / f"{model}.json"

    def model_results(self, model: str) -> Path:
        """Summary and records of one model."""
        return self.results / f"output_control_results_{model}.json"

    def combined(self) -> Path:
        """Summaries and comparisons of all models."""
        return self.results / "output_control_combined_results.json"

    def comparison_table(self) -> Path:
        """Table with a row a model, variant and case: paired with the baseline, and with what `comparisons` names."""
        return self.results / "output_control_comparisons.csv"

    def matrix_table(self) -> Path:
        """Table of what carries over: a row a model and variant, a column a case."""
        return self.results / "output_control_matrix.csv"

    def seed_table(self) -> Path:
        """Table with a row a model, repeated recipe and case: the spread between seeds."""
        return self.results / "output_control_seeds.csv"

    def learning_table(self) -> Path:
        """Table with a row a model, adapter and measurement while training."""
        return self.results / "output_control_learning_curves.csv"

    def agreement_table(self) -> Path:
        """Table with a row a model, variant and case whose answers were sampled."""
        return self.results / "sampling_agreement_results.csv"

    def deviation_table(self) -> Path:
        """Table with a row a model and variant that was asked to break off."""
        return self.results / "base_model_deviation_results.csv"

    def retention_table(self) -> Path:
        """Table with a row a model and adapter: what training changed elsewhere."""
        return self.results / "retention_results.csv"

    def retention_position_table(self) -> Path:
        """Table with a row a model, adapter and position: what training changed elsewhere, and where."""
        return self.results / "retention_by_position.csv"

    def results_table(self) -> Path:
        """Table with a row a model and variant."""
        return self.results / "output_control_results.csv"

    def case_table(self) -> Path:
        """Table with a row a model, variant and case."""
        return self.results / "output_control_simple_metrics.csv"

    def figure(self, name: str) -> Path:
        """A figure."""
        return self.results / "figures" / f"{name}.svg"

    def figure_numbers(self, name: str) -> Path:
        """The numbers that a figure shows, beside it."""
        return self.figure(name).with_suffix(".csv")

    def report(self) -> Path:
        """The report, to be read in a browser."""
        return self.results / "report.html"

    def checksums(self, shared: bool) -> Path:
        """What is known of files' checksums: of those beside the models, which experiments share, or of the results."""
        return self.specs(shared) / "checksums.json"

    def specs(self, shared: bool) -> Path:
        """Where specifications lie; those of models beside the models, which experiments share."""
        # No model can be called `.specs`, and no case or adapter lies directly below the results.
        return self.models / ".specs" if shared else self.results / "specs"

    def benchmarks(self, shared: bool) -> Path:
        """Where it lies what jobs took, as Snakemake measured it."""
        # No model can be called `.benchmarks`.
        return self.models / ".benchmarks" if shared else self.results / "benchmarks"

    def code(self, fingerprint: str) -> Path:
        """What a fingerprint of code was made from: the part of it that lies in each module."""
        return self.results / "specs" / "code" / f"{fingerprint[:16]}.json"

    def plans(self) -> Path:
        """Plans of started workflows, for the jobs that they send elsewhere."""
        return self.results / "specs" / "plans"

    def owner(self) -> Path:
        """Which run of the workflow owns the results."""
        return self.results / "specs" / "run.json"

    def run_lock(self) -> Path:
        """Held by the run of the workflow that is going."""
        return self.results / "specs" / ".run.lock"

    def checkpoints(self) -> Path:
        """Where trainings and evaluations keep what they have done so far, a directory a specification."""
        return self.results / "checkpoints"
