"""Models that the tests share: the embedded one, and tiny ones of real architectures with random weights."""

import gc
import math
import os
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tests run side by side: threads that wait must not keep a core from those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
import yaml
from hypothesis import settings
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from command_line import ByHand
from outctl.inference.engine_check import choose_engine, prepare
from outctl.models.loading import LoadedModel, load_model
from outctl.models.sources.local import LocalSource
from outctl.pipeline.specs import Spec
from outctl.stages.dag import load_plan
from outctl.stages.fetch_model import FetchSettings
from outctl.stages.fetch_model import run as fetch_model
from outctl.stages.make_samples import run as make_samples

# Tiny models gain nothing from threads, which wait for each other on a busy machine.
torch.set_num_threads(1)

# What is imported stays; looking through it for garbage takes a second each time.
gc.freeze()

ROOT = Path(__file__).parent.parent
REAL_MODEL = "smollm2-135m-instruct"

SPECIAL_TOKENS = ("<unk>", "<s>", "<|end|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>")
CHARACTERS = string.ascii_letters + string.digits + " \n.,:%?'\"-é"
POCKET_CHARACTERS = "Aakmnorst '."
"""What the tokenizer of the smallest models can spell; with the merges that are left it has 32 tokens."""
MERGES = (
    ("r", "k"), ("a", "rk"), ("A", "rk"), ("Ġ", "ark"),  # ark, Ark, " ark"; " Ark" stays two tokens
    ("a", "n"), ("a", "s"), ("s", "as"), ("an", "sas"),  # ansas
    ("k", "an"), ("a", "t"), ("o", "m"), ("at", "om"),  # kan, atom; " atom" stays two tokens
    ("'", "s"), ("Ã", "©"), (":", "om"),  # 's, é, and a piece that reaches across the end of "Answer:"
)  # fmt: skip
"""Merges of the tiny tokenizer, in byte-level spelling: Ġ is a space, Ã© the two bytes of é."""
WORD_SPLIT = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""How text is cut before merging, as the tokenizers of Llama 3 and Qwen2 do: one sign goes with the letters behind it."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2, "tie_word_embeddings": False},
    "qwen2": {"num_key_value_heads": 4, "tie_word_embeddings": True},
    "mistral": {"num_key_value_heads": 1, "sliding_window": 64},
    "gpt2": {},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 64, "tie_word_embeddings": False},
    "gpt_oss": {
        **{"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16},
        **{
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    "bloom": {},
    "mamba": {"state_size": 4},
    "qwen3_5_text": {
        **{"num_hidden_layers": 4, "num_key_value_heads": 2, "head_dim": 8, "linear_num_key_heads": 2},
        **{"linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    },
    "jamba": {
        **{"num_key_value_heads": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4},
        **{"num_experts": 4, "num_experts_per_tok": 2},
    },
}
"""The engine of the first three is the token tree, and of GPT-2; the others take rows, each for a reason of its own."""


settings.register_profile("everyday", max_examples=20)
settings.register_profile("thorough", max_examples=150)
settings.load_profile("everyday")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files of slow tests alone in the everyday tests: their imports take as long as many a test."""
    if "not slow" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    named = any(Path(argument.partition("::")[0]).resolve() == collection_path for argument in config.args)
    slow = "\npytestmark = pytest.mark.slow\n" in collection_path.read_text(encoding="utf-8")
    return True if slow and not named else None


LONGEST = ("workflow", "test_tutorial.py", "stages", "test_cli.py", "report", "models", "config", "evaluation")
"""Files and folders, longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left with it in the end."""

    def place(item: pytest.Item) -> int:
        part = item.path.relative_to(ROOT / "tests").parts[0]
        return LONGEST.index(part) if part in LONGEST else len(LONGEST)

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured is said at the end, whether they passed or not."""
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        # A report of collecting has none.
        for name, value in getattr(report, "user_properties", ()):
            terminalreporter.write_line(f"{name}: {value}")


class FilesTogether(LoadFileScheduling):  # type: ignore[misc]
    """Keeps a file's tests in one process, and all that share a cluster: what one of them sets up is there for the others."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "slurm" if "/slurm/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FilesTogether:
    """Spread tests over processes, where several are asked for."""
    return FilesTogether(config, log)


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """Build the tiny tokenizer: byte-level BPE in which every letter, *ark*, *ansas*, *atom* and a few more are tokens.

    Args of the fixture's value:
        bos: whether `<s>` is the BOS token and begins every text.
        chat_template: the template, None for a base model's tokenizer.
        characters: what it can spell; merges of other characters are left out.
    """

    def make(
        bos: bool = True, chat_template: str | None = CHAT_TEMPLATE, characters: str = CHARACTERS
    ) -> PreTrainedTokenizerFast:
        spelled = [byte_level(character) for character in characters]
        pieces = list(dict.fromkeys(byte for spelling in spelled for byte in spelling))
        merges = [pair for pair in MERGES if set("".join(pair)) <= set(pieces)]
        vocabulary = [*SPECIAL_TOKENS, *pieces, *(left + right for left, right in merges)]
        ids = {piece: number for number, piece in enumerate(vocabulary)}
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORD_SPLIT), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
        if bos:
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", ids["<s>"])]
            )
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token="<s>" if bos else None,
            eos_token="<|end|>",
            unk_token="<unk>",
            additional_special_tokens=list(SPECIAL_TOKENS[3:]),
            chat_template=chat_template,
        )

    return make


def byte_level(text: str) -> str:
    """Text in the spelling of byte-level vocabularies."""
    ((spelling, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return spelling


def random_model(tokenizer: PreTrainedTokenizerFast, architecture: str, seed: int, **options: Any) -> PreTrainedModel:
    """A tiny model of a real architecture, whose random weights are large enough for uneven distributions."""
    sizes = {
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "initializer_range": 0.3, "max_position_embeddings": 512},
    }
    config = AutoConfig.for_model(
        architecture,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        **(sizes | ARCHITECTURES[architecture] | options),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.fixture(scope="session")
def tiny_model_dir(
    tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> Callable[..., Path]:
    """Prepare a tiny model with the tiny tokenizer through the project's own code.

    Args of the fixture's value:
        architecture: a key of `ARCHITECTURES`.
        seed: seed of the weights.
        options: further options of the architecture's configuration.

    Returns of the fixture's value:
        The prepared directory, shared by all tests that ask for the same; do not write to it.
    """

    @cache
    def prepare(architecture: str = "llama", seed: int = 0, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp(architecture)
        tokenizer = make_tokenizer()
        random_model(tokenizer, architecture, seed, **options).save_pretrained(folder / "original")
        tokenizer.save_pretrained(folder / "original")
        source = LocalSource(kind="local", path=str(folder / "original"))
        settings = FetchSettings(source=source).model_dump(mode="json")
        spec = Spec(stage="fetch-model", settings=settings, upstream={}, code="0" * 64, packages={})
        fetch_model(spec, f"tiny-{architecture}", folder / "prepared")
        return folder / "prepared"

    return prepare


@pytest.fixture(scope="session")
def tiny_model(tiny_model_dir: Callable[..., Path]) -> Callable[..., LoadedModel]:
    """Load a tiny model of `tiny_model_dir` in float32, its engine chosen; shared, so leave its weights alone."""

    @cache
    def load(architecture: str = "llama", seed: int = 0, **options: Any) -> LoadedModel:
        loaded = load_model(tiny_model_dir(architecture, seed, **options), "float32", chat=True)
        prepare(loaded)
        return loaded

    return load


@pytest.fixture(scope="session")
def pocket_model(make_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> Callable[..., LoadedModel]:
    """A model with a vocabulary of 32 tokens, so few that a test can go through all its short answers.

    Args of the fixture's value:
        seed: seed of the weights.
        options: further options of the configuration.
    """

    def build(seed: int = 0, **options: Any) -> LoadedModel:
        tokenizer = make_tokenizer(characters=POCKET_CHARACTERS)
        model = random_model(tokenizer, "llama", seed, **options)
        model.set_attn_implementation("sdpa")
        choose_engine(model)
        return LoadedModel(model, tokenizer, chat=True, weights_hash="", description={})

    return build


@pytest.fixture(scope="session")
def bigram_model(
    pocket_model: Callable[..., LoadedModel],
) -> Callable[[Mapping[str, Mapping[str, float]]], LoadedModel]:
    """A model whose next token depends on the last one alone, with probabilities that a test writes down.

    The value's argument gives, for a token, the probabilities of the tokens behind it; what is missing to one goes to
    the end of the turn. The weights are set by hand: each layer adds nothing to a one-hot embedding, so that the output
    projection is the table of log-probabilities.
    """

    def build(table: Mapping[str, Mapping[str, float]]) -> LoadedModel:
        loaded = pocket_model(rms_norm_eps=1e-12)
        model, tokenizer = loaded.model, loaded.tokenizer
        ids = {tokenizer.decode([token]): token for token in range(len(tokenizer))}
        probabilities = torch.zeros(len(ids), len(ids), dtype=torch.float64)
        for last, row in table.items():
            for token, probability in row.items():
                probabilities[ids[last], ids[token]] = probability
        probabilities[:, ids["<|end|>"]] += 1.0 - probabilities.sum(1)
        with torch.no_grad():
            for layer in model.model.layers:
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            model.model.embed_tokens.weight.copy_(torch.eye(len(ids)))
            # The norm in front of the output projection stretches a one-hot vector to the root of its size.
            model.lm_head.weight.copy_(probabilities.clamp_min(1e-30).log().T / math.sqrt(len(ids)))
        return loaded

    return build


@pytest.fixture(scope="session")
def real_model_dir() -> Path:
    """The embedded default model, prepared: OUTCTL_TEST_MODEL, or the checkout's own, fetched if it is not there yet."""
    if given := os.environ.get("OUTCTL_TEST_MODEL"):
        return Path(given)
    directory = ROOT / "resources" / "models" / REAL_MODEL
    if not (directory / "provenance.json").is_file():
        subprocess.run([sys.executable, "-m", "outctl", "fetch-model", REAL_MODEL], cwd=ROOT, check=True)
    return directory


@pytest.fixture(scope="session")
def real_model(real_model_dir: Path) -> LoadedModel:
    """The embedded default model in float32, its engine chosen."""
    loaded = load_model(real_model_dir, "float32", chat=True)
    prepare(loaded)
    return loaded


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 24 MB in memory, to fill or to write-protect; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def by_hand(
    tmp_path: Path, tiny_model_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ByHand]:
    """Make such a directory.

    Args of the fixture's value:
        recipe: changes to the adapter's recipe.
        entry: changes to the model's entry in the registry.
        config: further keys of the experiment.
    """

    def make(recipe: dict[str, Any] | None = None, entry: dict[str, Any] | None = None, **config: Any) -> ByHand:
        source = {"kind": "local", "path": str(tiny_model_dir().parent / "original")}
        model = {"source": source, "chat": True, "parameters": 30_000, "precision": "float32"} | (entry or {})
        steps = {"steps": 60, "batch_size": 4, "held_out_samples": 2, "log_every": 2, "checkpoint_every": 10}
        experiment = {
            "models": ["tiny"],
            "cases": {"given": {"kind": "given_words", "train_samples": 32, "eval_samples": 12}},
            "adapters": {"tuned": {"cases": {"given": 32}} | steps | (recipe or {})},
        }
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "models.yaml").write_text(yaml.safe_dump({"models": {"tiny": model}}))
        file = tmp_path / "config" / "config.yaml"
        file.write_text(yaml.safe_dump(experiment | config))
        monkeypatch.chdir(tmp_path)
        plan = load_plan(yaml.safe_load(file.read_text()), [file])
        fetch_model(plan.spec("fetch-model", "tiny"), "tiny", plan.layout.model("tiny"))
        for _, case, split in plan.jobs("make-samples"):
            make_samples(plan.spec("make-samples", case, split), plan.layout.samples(case, split))
        return ByHand(tmp_path, plan)

    return make
