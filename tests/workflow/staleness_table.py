"""What reruns: changes of a finished experiment, each with the jobs that it must make stale, and no others.

Jobs are named as `outctl why` names them, by stage, model, variant and case; `*` stands for any.
"""

from dataclasses import dataclass
from typing import Any

from staleness_changes import (
    Change,
    both,
    copied,
    definition,
    deleted,
    entry,
    environments,
    extended,
    flipped,
    in_checkout,
    key,
    lengthened,
    module,
    moved_checkout,
    nothing,
    only,
    other_build,
    reordered,
    text,
    touched,
    version,
    without,
    wording,
    written,
)

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONFIG: dict[str, Any] = {
    "models": ["local", "hub"],
    "registry": "models.yaml",
    "models_dir": "models",
    "cases": {
        "given": {"kind": "given_words", "train_samples": 12, "eval_samples": 3},
        "own": {"kind": "random_words", "train_samples": 6, "eval_samples": 2, "template": "asking.yaml"},
    },
    "adapters": {
        # So large that its weights have more than the megabyte up to which Snakemake compares checksums.
        "one": {"cases": {"given": 12}, "steps": 2, "batch_size": 2, "held_out_samples": 2, "rank": 48},
        "two": {"cases": {"given": 8, "own": 4}, "steps": 2, "batch_size": 2, "held_out_samples": 2},
    },
    # Two jobs at a time.
    "resources": {"threads": 1},
}
"""The finished experiment."""
ICL: dict[str, Any] = {"kind": "icl_random_words", "eval_samples": 2}
"""A case whose samples alone are drawn."""
TINY = {"chat": True, "parameters": 30_000, "precision": "float32"}
WHEEL = {
    "kind": "wheel",
    "package": "tiny",
    "version": "1.0",
    "sha256": "0" * 64,
    "file": "tiny/model.gguf",
    "file_sha256": "0" * 64,
}
REGISTRY: dict[str, Any] = {
    "models": {
        "local": TINY | {"source": {"kind": "local", "path": "original"}},
        "hub": TINY | {"source": {"kind": "hub", "repo": "lab/tiny", "revision": REVISION}},
        "third": TINY | {"source": {"kind": "local", "path": "original"}},
        "wheel": TINY | {"source": WHEEL},
    }
}
"""Its registry; of the model `wheel` there is nothing but a fetched directory."""

Jobs = tuple[str, ...]

NONE: Jobs = ()
LAST: Jobs = ("aggregate", "figures", "report")
TABLES: Jobs = ("aggregate-model/*", *LAST)
ADAPTED: Jobs = ("evaluate/*/one/*", "evaluate/*/two/*")
AFTER: dict[str, Jobs] = {
    "fetch-model": ("fetch-model/*", "finetune/*", "evaluate/*", *TABLES),
    "make-samples": ("make-samples/*", "finetune/*", "evaluate/*", *TABLES),
    "finetune": ("finetune/*", *ADAPTED, *TABLES),
    "evaluate": ("evaluate/*", *TABLES),
    "aggregate-model": TABLES,
    "aggregate": ("aggregate", "report"),
    "figures": ("figures", "report"),
    "report": ("report",),
}
"""The jobs that are stale with a whole stage."""
LOCAL: Jobs = ("finetune/local/*", "evaluate/local/*", "aggregate-model/local", *LAST)
HUB: Jobs = ("finetune/hub/*", "evaluate/hub/*", "aggregate-model/hub", *LAST)
LOCAL_ONE: Jobs = ("finetune/local/one", "evaluate/local/one/*", "aggregate-model/local", *LAST)
ONE: Jobs = ("finetune/*/one", "evaluate/*/one/*", *TABLES)
TWO: Jobs = ("finetune/*/two", "evaluate/*/two/*", *TABLES)
GIVEN: Jobs = ("make-samples/given/*", "finetune/*", *ADAPTED, "evaluate/*/baseline/given", *TABLES)
GIVEN_EVAL: Jobs = ("make-samples/given/eval", "evaluate/*/*/given", *TABLES)
OWN: Jobs = ("make-samples/own/*", "evaluate/*/*/own", *TWO)
OWN_EVAL: Jobs = ("make-samples/own/eval", "evaluate/*/*/own", *TABLES)


def stages(*names: str) -> Jobs:
    """The jobs that are stale with some stages."""
    return tuple(dict.fromkeys(job for name in names for job in AFTER[name]))


@dataclass(frozen=True)
class Row:
    """A change, the jobs that it must make stale, and the keys of the schema that it changes."""

    change: str
    jobs: Jobs
    make: Change
    keys: tuple[str, ...] = ()


def _recipe(name: str, value: Any) -> Row:
    return Row(f"`adapters.one.{name}`", ONE, key(f"adapters.one.{name}", value), (f"AdapterRecipe.{name}",))


def _plugin(registry: str) -> Change:
    """List a plug-in that registers a function of the name `own`."""
    text = (
        f"from outctl.config.registries import {registry}\n\n\n@{registry}.register('own')\ndef own(log_p, target):\n"
    )
    return both(
        written("own.py", f"{text}    return (log_p.exp() - target).abs().sum(-1)\n"), key("plugins", ["own.py"])
    )


def _icl(name: str, change: Change, jobs: Jobs, *keys: str) -> Row:
    drawn = both(key("cases.icl", dict(ICL)), only("results/samples/icl/eval.provenance.json", "make-samples/icl/eval"))
    return Row(name, jobs, both(drawn, change), keys)


def _wheel(name: str, change: Change, jobs: Jobs, *keys: str) -> Row:
    fetched = both(key("models", ["wheel"]), only("models/wheel/provenance.json", "fetch-model/wheel"))
    return Row(name, jobs, both(fetched, change), keys)


UNCHANGED = [
    Row("nothing", NONE, nothing),
    Row("a checkout that lies elsewhere", NONE, moved_checkout),
    _icl("nothing (samples of an `icl_random_words` case alone)", nothing, NONE),
    _wheel("nothing (a model of a wheel alone)", nothing, NONE),
]
EXPERIMENT = [
    Row(
        "a model is added",
        ("*/third", "*/third/*", *LAST),
        key("models", ["local", "hub", "third"]),
        ("Experiment.models",),
    ),
    Row("a model is removed", LAST, key("models", ["hub"])),
    Row("the models are reordered", LAST, key("models", ["hub", "local"])),
    Row(
        "a case is added",
        ("make-samples/more/eval", "evaluate/*/*/more", *TABLES),
        key("cases.more", {"kind": "given_words", "eval_samples": 2}),
        ("Experiment.cases",),
    ),
    Row(
        "a case is removed, from a recipe too",
        ("finetune/*/two", "evaluate/*/two/given", *TABLES),
        both(without("cases.own"), without("adapters.two.cases.own")),
    ),
    Row("the cases are reordered", TABLES, reordered("cases")),
    Row(
        "a case changes its kind to `icl_random_words`",
        OWN,
        key("cases.own", ICL | {"train_samples": 6}),
        ("RandomWords.kind", "IclRandomWords.kind"),
    ),
    Row(
        "a case changes its kind to `given_words`",
        OWN,
        key("cases.own", {"kind": "given_words", "train_samples": 6, "eval_samples": 2}),
        ("GivenWords.kind",),
    ),
    Row(
        "an adapter is added",
        ("finetune/*/three", "evaluate/*/three/*", *TABLES),
        key("adapters.three", {"cases": {"given": 12}, "steps": 3, "held_out_samples": 2}),
        ("Experiment.adapters",),
    ),
    Row(
        "an adapter from elsewhere is added",
        ("fetch-adapter/local/three", "evaluate/local/three/*", "aggregate-model/local", *LAST),
        key("adapters.three", {"source": {"kind": "local", "path": "elsewhere"}, "models": ["local"], "force": True}),
        (
            *(f"AdapterInDirectory.{name}" for name in ("kind", "path")),
            *(f"ExistingAdapter.{name}" for name in ("source", "models", "force")),
        ),
    ),
    Row(
        "an adapter from the hub is added",
        ("fetch-adapter/*/three", "evaluate/*/three/*", *TABLES),
        key("adapters.three", {"source": {"kind": "hub", "repo": "lab/adapter", "revision": REVISION}}),
        tuple(f"AdapterOnHub.{name}" for name in ("kind", "repo", "revision")),
    ),
    Row("an adapter is removed", TABLES, without("adapters.two")),
    Row("the adapters are reordered", TABLES, reordered("adapters")),
    Row("a plug-in that nothing uses", NONE, _plugin("LOSSES"), ("Experiment.plugins",)),
    Row("a plug-in with a metric", TABLES, _plugin("METRICS")),
    Row("a plug-in's loss in `adapters.one`", ONE, both(_plugin("LOSSES"), key("adapters.one.loss", "own"))),
    Row(
        "`registry`: a copy",
        NONE,
        both(copied("models.yaml", "copy.yaml"), key("registry", "copy.yaml")),
        ("Experiment.registry",),
    ),
    Row(
        "`results_dir`",
        ("make-samples/*", "finetune/*", "evaluate/*", *TABLES),
        key("results_dir", "elsewhere"),
        ("Experiment.results_dir",),
    ),
    Row("`models_dir`", AFTER["fetch-model"], key("models_dir", "elsewhere"), ("Experiment.models_dir",)),
    Row("`seed`", AFTER["make-samples"], key("seed", 1), ("Experiment.seed",)),
    Row(
        "`evaluation.tokens_per_pass`, the batch size",
        AFTER["evaluate"],
        key("evaluation.tokens_per_pass", 512),
        ("Evaluation.tokens_per_pass",),
    ),
    Row(
        "`evaluation.checkpoint_every`, which cuts batches",
        AFTER["evaluate"],
        key("evaluation.checkpoint_every", 50),
        ("Evaluation.checkpoint_every",),
    ),
    Row("`evaluation.top_tokens`", AFTER["evaluate"], key("evaluation.top_tokens", 25), ("Evaluation.top_tokens",)),
    Row("`statistics.confidence`", TABLES, key("statistics.confidence", 0.9), ("Statistics.confidence",)),
    Row(
        "`statistics.bootstrap_samples`",
        TABLES,
        key("statistics.bootstrap_samples", 500),
        ("Statistics.bootstrap_samples",),
    ),
    Row("`statistics.permutations`", TABLES, key("statistics.permutations", 999), ("Statistics.permutations",)),
    Row(
        "a sweep is added",
        ("finetune/*/rank-4", "evaluate/*/rank-4/*", *TABLES),
        key("sweeps.rank", {"base": "one", "vary": {"rank": [4]}}),
        ("Experiment.sweeps", "Sweep.base", "Sweep.vary"),
    ),
    Row(
        "`base_model_deviation` is asked for",
        ("fetch-model/third", "make-deviation-samples", "evaluate-deviation/*", *TABLES),
        both(
            written("text.txt", "word " * 400),
            key(
                "base_model_deviation",
                {"samples": 2, "files": ["text.txt"], "reference": "third", "max_new_tokens": 10},
            ),
        ),
        tuple(f"BaseModelDeviation.{name}" for name in ("samples", "files", "reference", "max_new_tokens")),
    ),
    Row(
        "`retention` is asked for",
        ("evaluate-retention/*", *TABLES),
        both(
            written("text.txt", "word " * 400),
            key("retention", {"prompts": 2, "answer_tokens": 2, "files": ["text.txt"]}),
        ),
        tuple(f"Retention.{name}" for name in ("prompts", "answer_tokens", "files")),
    ),
    Row(
        "`agreement` is asked for",
        ("evaluate-agreement/*/*/own", *TABLES),
        key("agreement", {"cases": ["own"], "samples": 1, "draws": 10}),
        tuple(f"Agreement.{name}" for name in ("cases", "samples", "draws")),
    ),
    Row(
        "`temperature_scaling` is asked for",
        ("fit-temperature/*", "evaluate/*/temperature/*", *TABLES),
        key("temperature_scaling", {"case": "given", "samples": 4}),
        tuple(f"TemperatureScaling.{name}" for name in ("case", "samples")),
    ),
    Row(
        "`comparisons.adapters`",
        TABLES,
        key("comparisons.adapters", {"one": ["two"]}),
        ("Comparisons.adapters",),
    ),
    Row(
        "`comparisons.cases`, with the same questions in other words",
        ("make-samples/more/eval", "evaluate/*/*/more", *TABLES),
        both(
            key("cases.more", {"kind": "given_words", "eval_samples": 3, "template": "given_words_odds"}),
            key("comparisons.cases", {"more": "given"}),
        ),
        ("Comparisons.cases",),
    ),
    Row("`resources.gpu`", NONE, key("resources.gpu", 0), ("Resources.gpu",)),
    Row("`resources.threads`", NONE, key("resources.threads", 2), ("Resources.threads",)),
    Row("`resources.max_runtime`", NONE, key("resources.max_runtime", 60), ("Resources.max_runtime",)),
    Row(
        "`logging.report_to`", NONE, both(key("logging.report_to", ["wandb"]), module("wandb")), ("Logging.report_to",)
    ),
    Row("`logging.project`", NONE, key("logging.project", "another"), ("Logging.project",)),
    Row(
        "a default is written out, and the keys are reordered",
        NONE,
        both(key("adapters.one.loss", "kl"), reordered("adapters.one")),
    ),
    Row("a recipe's cases are reordered", NONE, reordered("adapters.two.cases")),
]
CASES = [
    Row("`cases.given.eval_samples`", GIVEN_EVAL, key("cases.given.eval_samples", 4), ("Case.eval_samples",)),
    Row(
        "`cases.given.train_samples`",
        ("make-samples/given/train", "finetune/*", *ADAPTED, *TABLES),
        key("cases.given.train_samples", 14),
        ("Case.train_samples",),
    ),
    Row("`cases.given.tolerance`", GIVEN_EVAL, key("cases.given.tolerance", 0.2), ("Case.tolerance",)),
    Row("`cases.own.tolerance`", OWN_EVAL, key("cases.own.tolerance", 0.2)),
    Row("`cases.given.template`", GIVEN, key("cases.given.template", "given_words_sentence"), ("Case.template",)),
    Row(
        "`cases.own.template`: a copy",
        NONE,
        both(copied("asking.yaml", "copy.yaml"), key("cases.own.template", "copy.yaml")),
    ),
    Row("a template is edited", OWN, text("asking.yaml", "or", "and")),
    Row("a template is edited and keeps its time", OWN, text("asking.yaml", "or", "and", keep_time=True)),
    Row("a template gets a comment", NONE, text("asking.yaml", "question:", "# A comment.\nquestion:")),
    Row(
        "a template of the package is edited",
        GIVEN,
        in_checkout("src/outctl/tasks/templates/given_words.yaml", "Say", "Tell"),
    ),
    Row(
        "a template of the package that no case uses is edited",
        NONE,
        in_checkout("src/outctl/tasks/templates/given_words_sentence.yaml", "Draw one", "Pick one"),
    ),
    Row("`cases.given.percents.min`", GIVEN, key("cases.given.percents.min", 10), ("Percents.min",)),
    Row("`cases.given.percents.max`", GIVEN, key("cases.given.percents.max", 90), ("Percents.max",)),
    Row("`cases.given.percents.step`", GIVEN, key("cases.given.percents.step", 1), ("Percents.step",)),
    Row(
        "`cases.given.percents.gap`",
        GIVEN,
        key("cases.given.percents.gap", {"min": 40, "max": 60}),
        ("Gap.min", "Gap.max"),
    ),
    Row("`cases.given.vocabulary`", GIVEN, key("cases.given.vocabulary", "phrases"), ("GivenWords.vocabulary",)),
    Row(
        "a case of `successive_words` is added",
        ("make-samples/more/eval", "evaluate/*/*/more", *TABLES),
        key(
            "cases.more", {"kind": "successive_words", "eval_samples": 1, "vocabulary_size": 500, "eval_fraction": 0.1}
        ),
        tuple(f"SuccessiveWords.{name}" for name in ("kind", "vocabulary_size", "eval_fraction")),
    ),
    Row(
        "a case of `suppression` is added",
        ("make-samples/more/eval", "evaluate/*/*/more", *TABLES),
        key("cases.more", {"kind": "suppression", "eval_samples": 1, "limits": [5]}),
        ("Suppression.kind", "Suppression.limits"),
    ),
    Row("`cases.given.num_words`", GIVEN, key("cases.given.num_words", 3), ("GivenWords.num_words",)),
    Row(
        "`cases.given.vocabulary_size`, the word list",
        GIVEN,
        key("cases.given.vocabulary_size", 5000),
        ("GivenWords.vocabulary_size",),
    ),
    Row("`cases.given.eval_fraction`", GIVEN, key("cases.given.eval_fraction", 0.2), ("GivenWords.eval_fraction",)),
    Row(
        "`cases.own.max_zipf`, the bar of rare words",
        OWN_EVAL,
        key("cases.own.max_zipf", 3.0),
        ("OwnWords.max_zipf",),
    ),
    _icl("`cases.icl.max_zipf`", key("cases.icl.max_zipf", 3.0), ("make-samples/icl/eval",), "IclRandomWords.max_zipf"),
    _icl(
        "`cases.icl.num_examples`",
        key("cases.icl.num_examples", 2),
        ("make-samples/icl/eval",),
        "IclRandomWords.num_examples",
    ),
]
RECIPE = [
    Row("`adapters.one.cases`: more samples", ONE, key("adapters.one.cases.given", 11), ("AdapterRecipe.cases",)),
    Row("`adapters.one.cases`: another case", ONE, key("adapters.one.cases.own", 4)),
    *(
        _recipe(name, value)
        for name, value in {
            "targets": "shuffled",
            "loss": "tvd",
            "retention_weight": 0.1,
            "forms": "spaced",
            "whole_words": 0.5,
            "steps": 3,
            "batch_size": 3,
            "gradient_accumulation_steps": 2,
            "learning_rate": 0.002,
            "schedule": "linear",
            "warmup_steps": 1,
            "weight_decay": 0.1,
            "max_grad_norm": 0.5,
            "rank": 8,
            "alpha": 16.0,
            "dropout": 0.1,
            "target_modules": ["q_proj"],
            "layers": [0],
            "seed": 1,
            "held_out_samples": 3,
            "retention_prompts": 2,
            "log_every": 5,
            "measure_every": 20,
            "checkpoint_every": 50,
        }.items()
    ),
]
MODELS = [
    Row(
        "a model's revision", ("fetch-model/hub", *HUB), entry("hub.source.revision", "1" * 40), ("HubSource.revision",)
    ),
    Row("a model's repository", ("fetch-model/hub", *HUB), entry("hub.source.repo", "lab/other"), ("HubSource.repo",)),
    Row(
        "a model's directory",
        ("fetch-model/local", *LOCAL),
        both(copied("original", "other"), entry("local.source.path", "other")),
        ("LocalSource.path",),
    ),
    Row(
        "a model comes from a directory instead of the hub",
        ("fetch-model/hub", *HUB),
        entry("hub.source", {"kind": "local", "path": "original"}),
        ("ModelEntry.source", "HubSource.kind", "LocalSource.kind"),
    ),
    Row("a model's `chat`", LOCAL, entry("local.chat", False), ("ModelEntry.chat",)),
    Row(
        "a model's `template_kwargs`",
        LOCAL,
        entry("local.template_kwargs", {"enable_thinking": False}),
        ("PromptOptions.template_kwargs",),
    ),
    Row("a model's `prefill`", LOCAL, entry("local.prefill", "\n"), ("PromptOptions.prefill",)),
    Row("a model's `system`", LOCAL, entry("local.system", "One word."), ("PromptOptions.system",)),
    Row("a model's `precision`", LOCAL, entry("local.precision", "bfloat16"), ("ModelEntry.precision",)),
    Row("a model's `engine`", LOCAL, entry("local.engine", "rows"), ("ModelEntry.engine",)),
    Row("a model's `precision`: `nf4`", HUB, entry("hub.precision", "nf4")),
    Row("a model's `parameters`", NONE, entry("local.parameters", 40_000), ("ModelEntry.parameters",)),
    Row("the registry extends the built-in one", NONE, extended, ("Registry.extends",)),
    Row("another entry of the registry", NONE, entry("third.precision", "nf4"), ("Registry.models",)),
    *(
        _wheel(
            f"a wheel's `{name}`", entry(f"wheel.source.{name}", value), ("fetch-model/wheel",), f"WheelSource.{name}"
        )
        for name, value in {
            "package": "other",
            "version": "2.0",
            "sha256": "1" * 64,
            "file": "tiny/other.gguf",
            "file_sha256": "1" * 64,
        }.items()
    ),
    _wheel(
        "a wheel's `parts`",
        entry("wheel.source.parts", [{"package": "more", "version": "1.0", "sha256": "1" * 64, "file": "more/part"}]),
        ("fetch-model/wheel",),
        *("WheelPart.package", "WheelPart.version", "WheelPart.sha256", "WheelPart.file"),
    ),
    _wheel(
        "a model comes from a directory instead of a wheel",
        entry("wheel.source", {"kind": "local", "path": "original"}),
        ("fetch-model/wheel",),
        "WheelSource.kind",
    ),
    Row(
        "a byte in a model's directory, old time", ("fetch-model/local", *LOCAL), flipped("original/model.safetensors")
    ),
    Row("the files in a model's directory are touched", NONE, touched("original")),
]
CODE = {
    "outctl": {None: stages(*AFTER)},
    "outctl.__main__": {None: NONE},
    "outctl.storage.checkpoints": {"stopped": stages("finetune", "evaluate"), "seal": AFTER["finetune"]},
    "outctl.storage.checksums": {"Checksums.of": AFTER["fetch-model"]},
    "outctl.cli": {None: NONE},
    "outctl.config": {None: stages(*AFTER)},
    "outctl.machine": {None: stages(*AFTER)},
    "outctl.metrics": {None: stages("finetune", "evaluate")},
    "outctl.pipeline": {None: stages(*AFTER)},
    "outctl.stages": {None: stages(*AFTER)},
    "outctl.storage": {None: stages(*AFTER)},
    "outctl.cli.app": {"plan_of": NONE},
    "outctl.cli.doctor": {"doctor": NONE},
    "outctl.cli.exchange": {"export_inspect": NONE},
    "outctl.cli.init": {"init": NONE},
    "outctl.cli.main": {"spread": NONE},
    "outctl.cli.single_process": {"run_in_one_process": NONE},
    "outctl.cli.interactive": {"why": NONE},
    "outctl.cli.steps": {"run_stage": NONE},
    "outctl.machine.compute_probe": {"quantised": NONE},
    "outctl.config.adapters": {"AdapterRecipe._check": AFTER["finetune"]},
    "outctl.config.cases": {"Percents._check": AFTER["make-samples"]},
    "outctl.config.evaluations": {"Evaluation": AFTER["evaluate"], "Retention": NONE},
    "outctl.config.experiment": {"Experiment._check": NONE},
    "outctl.config.models": {"PromptOptions": stages("finetune", "evaluate"), "ModelEntry": NONE},
    "outctl.config.source": {"ModelSource.opened": AFTER["fetch-model"]},
    "outctl.config.names": {"_check_name": AFTER["finetune"], "_check_case_name": NONE},
    "outctl.config.plugins": {"run_plugins": stages(*AFTER), "load_plugins": NONE},
    "outctl.config.registries": {
        "_check_kind": AFTER["make-samples"],
        "_check_function": AFTER["finetune"],
        "_check_metric": TABLES,
        "_check_vocabulary": GIVEN,
    },
    "outctl.config.command_line": {"typed": NONE},
    "outctl.config.loading": {"load_experiment": NONE},
    "outctl.config.paths": {"as_seen_from_here": NONE},
    "outctl.config.comparisons": {"all_comparisons": NONE, "Compare": TABLES},
    "outctl.config.registry": {"Registry.register": stages(*AFTER), "entries_of": NONE},
    "outctl.config.running": {"Resources": NONE},
    "outctl.config.section": {"Section": stages(*AFTER)},
    "outctl.config.statistics": {"Statistics": TABLES, "Comparisons": NONE},
    "outctl.config.vocabulary": {"Vocabulary.__post_init__": GIVEN},
    "outctl.config.reading": {"validate": NONE, None: stages(*AFTER)},
    "outctl.metrics.columns": {None: NONE},
    "outctl.metrics.divergences": {"tvd": stages("finetune", "evaluate"), "js": NONE},
    "outctl.metrics.losses": {None: AFTER["finetune"]},
    "outctl.metrics.losses.js": {None: NONE},
    "outctl.metrics.losses.kl": {None: AFTER["finetune"]},
    "outctl.metrics.losses.reverse_kl": {None: NONE},
    "outctl.metrics.losses.tvd": {None: NONE},
    "outctl.machine.doctor": {"diagnose": NONE},
    "outctl.pipeline.entries": {"used_by": NONE},
    "outctl.pipeline.workflow": {"job_prefix": NONE},
    "outctl.pipeline.environments": {"pinned_versions": NONE, "check_services": AFTER["finetune"]},
    "outctl.errors": {"ending_in_one_line": NONE, "first_line": stages("fetch-model", "make-samples")},
    "outctl.evaluation": {None: stages("finetune", "evaluate")},
    "outctl.evaluation.agreement": {"summarise_agreement": TABLES},
    "outctl.evaluation.asked": {"asked_of": NONE},
    "outctl.evaluation.first_tokens": {"first_tokens_note": AFTER["evaluate"]},
    "outctl.evaluation.deviation": {"measure_deviation": NONE},
    "outctl.evaluation.deviation_records": {"read_deviation_records": TABLES},
    "outctl.stages.dag": {"jobs_beside": NONE},
    "outctl.stages.evaluate_agreement": {"AgreementJob": NONE},
    "outctl.stages.evaluate_deviation": {"DeviationJob": NONE},
    "outctl.stages.evaluate_retention": {"RetentionJob": NONE},
    "outctl.stages.fit_temperature": {"TemperatureJob": NONE},
    "outctl.stages.inputs": {"read_inputs": NONE},
    "outctl.stages.model_check": {"check_template": NONE},
    "outctl.stages.model_job": {"ModelJob": AFTER["evaluate"], "ModelStage.keys": NONE},
    "outctl.stages.prepared": {"Loading": stages("finetune", "evaluate"), "made_with": NONE},
    "outctl.stages.results": {"read_model_results": LAST, "ResultStage.keys": NONE},
    "outctl.stages.training_check": {"training_notes": NONE},
    "outctl.evaluation.retention": {"measure_retention": NONE},
    "outctl.evaluation.sampling": {"measure_agreement": NONE},
    "outctl.evaluation.temperature": {"fit_temperature": NONE},
    "outctl.stages.evaluate": {"EvaluationJob": AFTER["evaluate"], "Evaluate.upstream": NONE},
    "outctl.evaluation.questions": {"ask_words": NONE, "CaseQuestions": AFTER["evaluate"]},
    "outctl.evaluation.records": {"read_records": AFTER["evaluate"]},
    "outctl.evaluation.references": {"reference_records": TABLES},
    "outctl.metrics.sad": {"sad_score": AFTER["evaluate"]},
    "outctl.evaluation.scoring": {"score": AFTER["evaluate"]},
    "outctl.metrics.paired": {"holm": TABLES},
    "outctl.metrics.references": {"ordinal_shares": TABLES},
    "outctl.metrics.sharing": {"effect_on_mean": TABLES, "Sharing": TABLES},
    "outctl.metrics.statistics": {"rate_interval": TABLES, "slope_interval": AFTER["finetune"]},
    "outctl.exchange": {None: NONE},
    "outctl.exchange.answers": {"answered": NONE},
    "outctl.exchange.inspect_export": {"export_log": NONE},
    "outctl.exchange.inspect_task": {"chat_messages": NONE},
    "outctl.exchange.lm_eval_export": {"export_tasks": NONE},
    "outctl.exchange.lm_eval_functions": {"slope": NONE},
    "outctl.storage.files": {"write_jsonl": AFTER["make-samples"], "whole_directory": AFTER["fetch-model"]},
    "outctl.pipeline.fingerprint": {"fingerprint": NONE},
    "outctl.finetune": {None: AFTER["finetune"]},
    "outctl.finetune.adapter": {"add_adapter": AFTER["finetune"]},
    "outctl.finetune.target_modules": {"find_targets": AFTER["finetune"]},
    "outctl.finetune.callbacks": {"Checkpoints": AFTER["finetune"]},
    "outctl.finetune.collation": {"build_batch": AFTER["finetune"]},
    "outctl.finetune.held_out": {"divided": AFTER["finetune"], "few_left": NONE},
    "outctl.finetune.losses": {"compared": AFTER["finetune"]},
    "outctl.finetune.kl_penalty": {"KlPenalty": AFTER["finetune"]},
    "outctl.finetune.targets": {"with_targets": AFTER["finetune"]},
    "outctl.finetune.tracking": {"Tracking": AFTER["finetune"]},
    "outctl.stages.finetune": {"run": AFTER["finetune"], "Finetune.tokens": NONE},
    "outctl.finetune.training": {"train": AFTER["finetune"]},
    "outctl.finetune.trainer": {"training_log": AFTER["finetune"]},
    "outctl.inference": {None: stages("finetune", "evaluate")},
    "outctl.inference.branches": {"begin": stages("finetune", "evaluate"), "next_token_logits": AFTER["finetune"]},
    "outctl.inference.chat_templates": {"chat_text": stages("finetune", "evaluate")},
    "outctl.inference.engine": {"engine_of": stages("finetune", "evaluate")},
    "outctl.inference.engine_check": {"choose_engine": stages("finetune", "evaluate")},
    "outctl.inference.generation": {"generate": NONE},
    "outctl.inference.literal_text": {"encode_around": stages("finetune", "evaluate")},
    "outctl.inference.own_words": {"own_words": AFTER["finetune"], "answer_freely": AFTER["evaluate"]},
    "outctl.inference.passes": {"split_on_out_of_memory": stages("finetune", "evaluate")},
    "outctl.inference.prompts": {"transcript": stages("finetune", "evaluate")},
    "outctl.inference.row_generation": {"continue_rows": NONE},
    "outctl.inference.rows": {"read_rows": stages("finetune", "evaluate"), "read_next": stages("finetune", "evaluate")},
    "outctl.inference.sampling": {"sample_answers": NONE},
    "outctl.inference.thinking": {"begins_block": AFTER["evaluate"], "thinking_note": NONE},
    "outctl.inference.token_bytes": {"begins_letter": stages("finetune", "evaluate")},
    "outctl.inference.token_tree": {"TokenTree.__init__": stages("finetune", "evaluate")},
    "outctl.inference.tree_attention": {"tree_attention": stages("finetune", "evaluate")},
    "outctl.inference.tree_forward": {"logits_at": stages("finetune", "evaluate")},
    "outctl.inference.word_forms": {"surface_forms": stages("finetune", "evaluate")},
    "outctl.inference.unread_spellings": {"unread_masses": AFTER["evaluate"]},
    "outctl.inference.word_search": {"WordSearch": stages("finetune", "evaluate")},
    "outctl.inference.word_probabilities": {"answer_questions": AFTER["evaluate"]},
    "outctl.pipeline.layout": {"Layout.figure": TABLES, "beside": stages("make-samples")},
    "outctl.storage.outputs": {"read_provenance": AFTER["fetch-model"]},
    "outctl.storage.benchmarks": {"read_benchmark": AFTER["report"], "earlier_seconds": NONE},
    "outctl.storage.intervals": {"with_intervals": TABLES},
    "outctl.storage.links": {"link_file": AFTER["fetch-model"]},
    "outctl.storage.locks": {"only_writer": AFTER["fetch-model"], "writer_of": NONE},
    "outctl.machine.hub": {"hub_access": NONE, "refusal": ("fetch-model/hub", *HUB)},
    "outctl.machine.memory": {"memory_mb": stages(*AFTER), "free_mb": NONE},
    "outctl.models": {None: AFTER["fetch-model"]},
    "outctl.machine.estimates": {"runtime_minutes": NONE},
    "outctl.machine.known_engines": {None: stages("finetune", "evaluate")},
    "outctl.machine.model_types": {"expected_engine": NONE},
    "outctl.machine.fits": {"fit": NONE},
    "outctl.models.loading": {"load_model": stages("finetune", "evaluate"), "keep_differentiable": AFTER["finetune"]},
    "outctl.models.auto_class": {"auto_class": stages("fetch-model", "finetune", "evaluate")},
    "outctl.models.adapter_base": {"check_base": stages("finetune", "evaluate")},
    "outctl.models.adapter_sources": {"directory_of": NONE},
    "outctl.models.adapters": {"attach": stages("finetune", "evaluate")},
    "outctl.models.hub_download": {"download": ("fetch-model/hub", *HUB)},
    "outctl.models.lora": {"compute_in_input_type": stages("finetune", "evaluate")},
    "outctl.stages.fetch_adapter": {"run": NONE},
    "outctl.stages.fetch_model": {"run": AFTER["fetch-model"], "FetchModel.settings": NONE, "FetchModel.start": NONE},
    "outctl.models.preparation": {"prepare": AFTER["fetch-model"]},
    "outctl.models.snapshots": {"snapshot_of": stages("finetune", "evaluate")},
    "outctl.models.checkpoint": {"files_of": AFTER["fetch-model"]},
    "outctl.models.gguf": {"convert": AFTER["fetch-model"]},
    "outctl.models.quantised": {"check_library": AFTER["fetch-model"], "described": stages("finetune", "evaluate")},
    "outctl.models.quiet": {"quietly": AFTER["fetch-model"]},
    "outctl.models.sources": {None: AFTER["fetch-model"]},
    "outctl.models.sources.hub": {"HubSource.opened": ("fetch-model/hub", *HUB)},
    "outctl.models.sources.local": {"LocalSource.opened": ("fetch-model/local", *LOCAL)},
    "outctl.models.sources.wheel": {"WheelSource.opened": NONE},
    "outctl.models.tensors": {
        "check_tensors": AFTER["fetch-model"],
        "refuse_differences": stages("fetch-model", "finetune", "evaluate"),
    },
    "outctl.models.tokenizer": {"check_tokenizer": AFTER["fetch-model"]},
    "outctl.pipeline.plan": {"Plan.spec": NONE},
    "outctl.pipeline.provenance": {"write_provenance": stages(*AFTER), "look_at": NONE},
    "outctl.report": {None: AFTER["figures"]},
    "outctl.report.conclusion": {"judge": AFTER["report"]},
    "outctl.report.blocks": {"block": AFTER["report"]},
    "outctl.report.charts": {"colour": AFTER["figures"]},
    "outctl.report.drawing": {"draw": AFTER["figures"]},
    "outctl.report.figure": {"Figure.arranged": AFTER["figures"]},
    "outctl.report.figure_files": {"draw_from_tables": AFTER["figures"]},
    "outctl.report.figure_tables": {"write_figure_table": AFTER["figures"]},
    "outctl.report.figures": {None: AFTER["figures"]},
    "outctl.report.figures.calibration": {"rows": AFTER["figures"]},
    "outctl.report.figures.deviation": {"rows": AFTER["figures"]},
    "outctl.report.figures.distances": {"rows": AFTER["report"]},
    "outctl.report.figures.learning_curves": {"rows": AFTER["figures"]},
    "outctl.report.figures.loss": {"rows": AFTER["report"]},
    "outctl.report.figures.matrix": {"rows": AFTER["figures"]},
    "outctl.report.figures.retention": {"rows": AFTER["figures"]},
    "outctl.report.figures.retention_positions": {"rows": AFTER["figures"]},
    "outctl.report.figures.sweeps": {"rows": AFTER["figures"]},
    "outctl.report.figures.tvd": {"rows": AFTER["figures"]},
    "outctl.report.looks": {"light": AFTER["figures"], "css_variables": AFTER["report"]},
    "outctl.report.page": {"render": AFTER["report"]},
    "outctl.report.registry": {None: AFTER["figures"]},
    "outctl.stages.report": {"run": AFTER["report"], "page_assets": NONE},
    "outctl.report.examples": {"examples": AFTER["report"]},
    "outctl.report.samples": {"questions": AFTER["report"]},
    "outctl.report.steps": {"read_step": AFTER["report"]},
    "outctl.results": {None: TABLES},
    "outctl.results.csv_tables": {"to_csv": LAST},
    "outctl.stages.aggregate": {"run": AFTER["aggregate"], "table_files": NONE},
    "outctl.results.combined": {"results_table": AFTER["aggregate"]},
    "outctl.results.model_results": {"compared": TABLES},
    "outctl.results.variants": {"Compared": TABLES, "Drawn": AFTER["figures"]},
    "outctl.results.console": {"summary_table": NONE},
    "outctl.results.metric_columns": {"metric_columns": TABLES},
    "outctl.results.comparisons": {"compare": TABLES},
    "outctl.stages.figures": {"run": AFTER["figures"], "figure_names": NONE},
    "outctl.results.evaluation_rows": {"learning_curve": TABLES},
    "outctl.exchange.hub": {"push_folder": NONE},
    "outctl.exchange.model_card": {"model_card": NONE},
    "outctl.stages.aggregate_model": {"run": TABLES, "AggregateModel.upstream": NONE},
    "outctl.results.variant_row": {"variant_row": TABLES},
    "outctl.results.slopes": {"largest_shares": TABLES},
    "outctl.results.summary": {"summarise": TABLES},
    "outctl.pipeline.runs": {"begin": NONE},
    "outctl.config.schemas": {"write_schemas": NONE},
    "outctl.pipeline.setup": {"Setup.contents": NONE},
    "outctl.pipeline.stage": {"Stage.picked": NONE},
    "outctl.pipeline.specs": {"Spec.write": stages(*AFTER), "read_spec": NONE},
    "outctl.pipeline.staleness": {"explain": NONE},
    "outctl.config.strict_yaml": {"load_strictly": NONE, None: stages(*AFTER)},
    "outctl.config.sweeps": {"expand": NONE},
    "outctl.tasks": {None: AFTER["make-samples"]},
    "outctl.tasks.cases": {"draw_samples": AFTER["make-samples"]},
    "outctl.tasks.deviation": {"draw_deviation_samples": NONE},
    "outctl.tasks.drawing": {"draw_percents": AFTER["make-samples"], "draw_words": GIVEN},
    "outctl.tasks.kinds": {None: AFTER["make-samples"]},
    "outctl.tasks.kinds.given_words": {"GivenWords.draw": GIVEN},
    "outctl.tasks.kinds.icl_random_words": {"IclRandomWords.example_answers": NONE},
    "outctl.tasks.kinds.random_words": {"RandomWords.as_drawn": OWN},
    "outctl.tasks.kinds.successive_words": {"SuccessiveWords.draw": NONE},
    "outctl.tasks.kinds.suppression": {"Suppression.draw": NONE},
    "outctl.tasks.lists": {"listed_words": NONE},
    "outctl.tasks.own_words": {"OwnWords.draw": OWN},
    "outctl.tasks.excerpts": {"excerpt_texts": NONE},
    "outctl.stages.make_samples": {"run": AFTER["make-samples"], "first_samples": NONE, "MakeSamples.settings": NONE},
    "outctl.stages.make_deviation_samples": {"run": NONE},
    "outctl.tasks.neutral": {"neutral_prompts": AFTER["finetune"]},
    "outctl.tasks.neutral_data": {None: AFTER["finetune"]},
    "outctl.tasks.samples": {"read_samples": stages("finetune", "evaluate"), "write_samples": AFTER["make-samples"]},
    "outctl.tasks.shares": {"named_shares": GIVEN},
    "outctl.tasks.spelling": {
        "without_capitals": GIVEN,
        "is_letter": stages("finetune", "evaluate"),
        "invisible_character": NONE,
    },
    "outctl.tasks.splits": {"words_of_split": GIVEN, "belongs_to_eval": AFTER["make-samples"]},
    "outctl.tasks.templates": {"render": AFTER["make-samples"], "load_template": NONE},
    "outctl.tasks.topics": {None: NONE},
    "outctl.tasks.vocabularies": {None: GIVEN},
    "outctl.tasks.vocabularies.common": {None: GIVEN},
    "outctl.tasks.vocabularies.digits": {None: NONE},
    "outctl.tasks.vocabularies.letters": {None: NONE},
    "outctl.tasks.vocabularies.names": {"names": NONE},
    "outctl.tasks.vocabularies.phrases": {None: NONE},
    "outctl.tasks.vocabularies.symbols": {None: NONE},
    "outctl.tasks.words": {"common_words": GIVEN, "is_rare_word": AFTER["evaluate"]},
}
"""Every module of the package, with definitions in it (None: what it does on import) and the jobs that an edit makes stale."""
MODULES = [
    *(
        Row(f"`{module}`: {f'`{name}`' if name else 'on import'}", jobs, definition(module, name))
        for module, edits in CODE.items()
        for name, jobs in edits.items()
    ),
    Row(
        "a figure's style",
        AFTER["figures"],
        in_checkout("src/outctl/report/looks.py", '"series-1": ("#0072b2"', '"series-1": ("#0072b3"'),
    ),
    Row(
        "the report's style sheet",
        ("report",),
        in_checkout("src/outctl/report/assets/report.css", "line-height: 1.55", "line-height: 1.6"),
    ),
    Row("comments, docstrings and white space of every module", NONE, wording),
    Row("every file of the checkout is touched", NONE, both(moved_checkout, touched("checkout"))),
]
PACKAGES = [
    Row("version of wordfreq, the word list", AFTER["make-samples"], version("wordfreq", "99.0")),
    Row("version of simplemma, the dictionary", AFTER["make-samples"], version("simplemma", "99.0")),
    Row("version of jinja2", AFTER["make-samples"], version("jinja2", "99.0")),
    Row("version of torch", stages("finetune", "evaluate"), version("torch", "99.0")),
    Row("build of torch", NONE, other_build("torch")),
    Row("version of transformers", AFTER["fetch-model"], version("transformers", "99.0")),
    Row("version of peft", AFTER["finetune"], version("peft", "99.0")),
    Row("version of bitsandbytes, without a model in 4 bits", NONE, version("bitsandbytes", "99.0")),
    Row("version of num2words", AFTER["make-samples"], version("num2words", "99.0")),
    Row("version of scipy", AFTER["finetune"], version("scipy", "99.0")),
    Row("version of pandas", LAST, version("pandas", "99.0")),
    Row("version of altair", AFTER["figures"], version("altair", "99.0")),
    Row("version of vl-convert-python", AFTER["figures"], version("vl-convert-python", "99.0")),
    Row("version of rich", NONE, version("rich", "99.0")),
    Row("version of huggingface-hub", NONE, version("huggingface-hub", "99.0")),
    Row("environments of the same versions, made by Snakemake", NONE, environments()),
    Row("environments with a comment", NONE, environments(comment="# A comment.")),
    Row("pin of wordfreq in the environments", AFTER["make-samples"], environments("wordfreq", "99.0")),
    Row("pin of altair in the environments", AFTER["figures"], environments("altair", "99.0")),
    Row("pin of rich in the environments", NONE, environments("rich", "99.0")),
]
RECORDS = "results/evaluations/local/one/given.jsonl"
OF_RECORDS: Jobs = ("evaluate/local/one/given", "aggregate-model/local", *LAST)
SEALED = "results/evaluations/local/one/given.provenance.json"
ADAPTER = "results/adapters/local/one"
MODEL_RESULTS = "results/output_control_results_local.json"
FILES = [
    Row("every result is touched", NONE, touched("results")),
    Row("every model is touched", NONE, touched("models")),
    *(
        Row(f"{what}: a byte is changed, old time", jobs, flipped(file))
        for what, file, jobs in (
            ("records", RECORDS, OF_RECORDS),
            ("samples for evaluation", "results/samples/given/eval.jsonl", GIVEN_EVAL),
            ("samples for training", "results/samples/own/train.jsonl", ("make-samples/own/train", *TWO)),
            ("an adapter's weights", f"{ADAPTER}/adapter_model.safetensors", LOCAL_ONE),
            ("an adapter's `training.jsonl`", f"{ADAPTER}/training.jsonl", LOCAL_ONE),
            ("a model's weights", "models/local/model.safetensors", ("fetch-model/local", *LOCAL)),
            ("a model's tokenizer", "models/hub/tokenizer.json", ("fetch-model/hub", *HUB)),
            ("a model's results", MODEL_RESULTS, ("aggregate-model/local", *LAST)),
            ("the combined results", "results/output_control_combined_results.json", ("aggregate", "report")),
            ("a table", "results/output_control_results.csv", ("aggregate", "report")),
            ("a figure", "results/figures/tvd.svg", AFTER["figures"]),
            ("the report", "results/report.html", ("report",)),
        )
    ),
    Row("records: a line end is added, old time", OF_RECORDS, lengthened(RECORDS)),
    Row(
        "provenance of records: another commit, old time",
        OF_RECORDS,
        text(SEALED, '"commit": ', '"commit": "other", "was": ', keep_time=True),
    ),
    Row("provenance of records: broken", OF_RECORDS, written(SEALED, "{")),
    *(
        Row(f"{what}: deleted", jobs, deleted(*files))
        for what, files, jobs in (
            ("records", (RECORDS,), OF_RECORDS),
            ("provenance of records", (SEALED,), OF_RECORDS),
            ("samples for evaluation", ("results/samples/given/eval.jsonl",), GIVEN_EVAL),
            ("an adapter's weights", (f"{ADAPTER}/adapter_model.safetensors",), LOCAL_ONE),
            ("an adapter's `training.jsonl`", (f"{ADAPTER}/training.jsonl",), LOCAL_ONE),
            ("an adapter", (ADAPTER,), LOCAL_ONE),
            ("a model's tokenizer", ("models/local/tokenizer.json",), ("fetch-model/local", *LOCAL)),
            ("a model", ("models/local",), ("fetch-model/local", *LOCAL)),
            ("a model's results", (MODEL_RESULTS,), ("aggregate-model/local", *LAST)),
            ("a table", ("results/output_control_simple_metrics.csv",), ("aggregate", "report")),
            ("a figure", ("results/figures/calibration.svg",), AFTER["figures"]),
            ("the report", ("results/report.html",), ("report",)),
            ("benchmarks", ("results/benchmarks", "models/.benchmarks"), NONE),
            ("the specifications", ("results/specs", "models/.specs"), NONE),
        )
    ),
]
OF_SNAKEMAKE = [
    Row("everything is touched, the configuration too", NONE, touched(".")),
    Row(
        "a rule's message, and white space in a rule's command",
        NONE,
        both(
            in_checkout("src/outctl/workflow/rules/finetune.smk", "training {wildcards", "now training {wildcards"),
            in_checkout(
                "src/outctl/workflow/rules/evaluation.smk",
                "exec python -m outctl evaluate {",
                "exec  python  -m  outctl  evaluate {",
            ),
        ),
    ),
    Row(
        "logs, benchmarks and specifications: deleted",
        NONE,
        deleted("results/logs", "results/benchmarks", "models/.benchmarks", "results/specs", "models/.specs"),
    ),
    Row("Snakemake's own records: deleted", NONE, deleted(".snakemake")),
]
"""What no specification depends on, so that only Snakemake could make something stale."""
GROUPS = {
    "Nothing": UNCHANGED,
    "The experiment": EXPERIMENT,
    "A case": CASES,
    "A training": RECIPE,
    "A model": MODELS,
    "Code": MODULES,
    "Packages": PACKAGES,
    "Files": FILES,
}
"""The table, of what the plan is asked about."""
DRY_RUN = (
    "nothing",
    "a model is added",
    "a template is edited and keeps its time",
    "`adapters.one.loss`",
    "a model's revision",
    "`outctl.metrics.divergences`: `tvd`",
    "pin of altair in the environments",
    "records: a byte is changed, old time",
)
"""The rows of each group that Snakemake is asked about too: a new specification is a new job, and nothing else is."""
