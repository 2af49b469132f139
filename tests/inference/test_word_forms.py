"""Surface forms of words, their tokens behind a prompt, and where a word ends."""

from collections.abc import Callable, Sequence
from functools import cache

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from outctl.errors import OutctlError
from outctl.inference.prompts import Prompt, build_prompts, encode
from outctl.inference.word_forms import continues_word, form_tokens, surface_forms, token_texts, word_continuations
from outctl.models.loading import LoadedModel
from outctl.tasks.samples import Message

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]
QUESTION = [Message(role="user", content="Say")]


def forms_behind(tokenizer: PreTrainedTokenizerBase, text: str, *words: str) -> list[list[list[str]]]:
    """The forms of words behind one prompt, each as the texts of its tokens."""
    prompt = Prompt(text, tuple(encode(tokenizer, [text])[0]))
    (forms,) = form_tokens(tokenizer, [prompt], [words])
    return [[[tokenizer.decode([token]) for token in form] for form in own] for own in forms]


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("ark", ["ark", " ark", "Ark", " Ark"]),
        ("Noah", ["Noah", " Noah"]),
        ("NASA", ["NASA", " NASA"]),
        ("iPhone", ["iPhone", " iPhone", "IPhone", " IPhone"]),
        ("éclair", ["éclair", " éclair", "Éclair", " Éclair"]),
        ("3rd", ["3rd", " 3rd"]),
    ],
)
def test_surface_forms(word: str, forms: list[str]) -> None:
    assert surface_forms(word) == forms
    assert surface_forms(word, "as_written") == [word, f" {word}"]
    assert surface_forms(word, "spaced") == [f" {word}"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ansas",
            "s",
            "S",
            "é",
            "ß",
            "ч",
            "字",
            "7",
            "_",
            "_x",
            "\u0301",
            "'s",
            "’s",
            "-like",
            "-2",
            "'S.",
            "s the",
            "²",
        ),
        *(
            "\u200d",
            "\u200dका",
            "\u200cها",
            "\u00ad",
            "\u00adsas",
            "\u2060",
            "\u2011",
            "\u2011like",
            "·",
            "·lecc",
            "‧",
            "\u093f",
        ),
    ],
)
def test_makes_a_longer_word(text: str) -> None:
    assert continues_word(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", " ansas", "\n", ".", ",", "-", "'", "’", '"', "'.", "- ", "--like", "' s", "(s)", "…", "—", "🙂"),
        *("· ", "·\n", "\u2011 ", "\u200b", "\u2013s", "•", "।", "。", "،", "\u00a0"),
    ],
)
def test_ends_the_word(text: str) -> None:
    assert not continues_word(text)


def test_forms_are_split_as_the_tokenizer_splits_them(make_tokenizer: MakeTokenizer) -> None:
    ark, arkansas, atom = forms_behind(make_tokenizer(), "Say\n", "ark", "arkansas", "atom")
    assert ark == [["ark"], [" ark"], ["Ark"], [" ", "Ark"]]
    assert arkansas == [["ark", "ansas"], [" ark", "ansas"], ["Ark", "ansas"], [" ", "Ark", "ansas"]]
    assert atom == [["atom"], [" ", "atom"], ["A", "t", "om"], [" ", "A", "t", "om"]]


def test_a_word_without_a_capital_of_its_own_has_two_forms(make_tokenizer: MakeTokenizer) -> None:
    assert forms_behind(make_tokenizer(), "Say\n", "Ark", "4th") == [
        [["Ark"], [" ", "Ark"]],
        [["4", "t", "h"], [" ", "4", "t", "h"]],
    ]


def test_forms_that_would_merge_with_the_prompt_are_split_on_their_own(make_tokenizer: MakeTokenizer) -> None:
    """The prompt keeps its own tokens: "Answer:om" would end in one token, ":om"."""
    tokenizer = make_tokenizer()
    assert tokenizer.tokenize("Answer:om") == [*"Answer", ":om"]
    (forms,) = forms_behind(tokenizer, "Answer:", "om")
    assert forms == [["om"], [" ", "om"], ["O", "m"], [" ", "O", "m"]]


def test_forms_with_equal_tokens_are_counted_once() -> None:
    """A tokenizer that writes a space before every text cannot tell "ark" from " ark" at the start of an answer."""
    tokenizer = space_adding_tokenizer()
    (forms,) = form_tokens(tokenizer, [Prompt("", ())], [["ark"]])
    assert [[tokenizer.convert_ids_to_tokens(form) for form in own] for own in forms] == [[["▁ark"], ["▁", "Ark"]]]


@pytest.mark.parametrize("words", [("ark", "Ark"), ("Ark", "ark"), ("atom", "ark", "Ark")])
def test_words_spelt_alike_are_refused(words: Sequence[str], make_tokenizer: MakeTokenizer) -> None:
    with pytest.raises(OutctlError, match=r"words '[Aa]rk' and '[Aa]rk' are spelt alike: 'Ark'"):
        forms_behind(make_tokenizer(), "Say\n", *words)


@pytest.mark.parametrize("words", [("ark", "ark"), ("", "ark")])
def test_repeated_and_empty_words_are_refused(words: Sequence[str], make_tokenizer: MakeTokenizer) -> None:
    with pytest.raises(OutctlError, match="are not distinct, non-empty words"):
        forms_behind(make_tokenizer(), "Say\n", *words)


def test_words_of_one_sample_may_be_those_of_another(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    prompts = build_prompts(tokenizer, [QUESTION, QUESTION, QUESTION], chat=True)
    one, none, other = form_tokens(tokenizer, prompts, [["ark", "atom"], [], ["Ark"]])
    assert none == []
    assert [tokenizer.decode(form) for form in one[0]] == ["ark", " ark", "Ark", " Ark"]
    assert other == [one[0][2:]]


def test_token_texts_and_continuations_of_the_tiny_vocabulary(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    size = len(tokenizer) + 3
    texts = token_texts(tokenizer, size)
    assert len(texts) == size
    spoken = {text for text in texts if text}
    for piece in ["ark", " ark", "Ark", "ansas", "é", "'s", " ", "\n", "-", ":om"]:
        assert tokenizer.decode([texts.index(piece)]) == piece
    assert [texts[token] for token in tokenizer.all_special_ids] == [""] * len(tokenizer.all_special_ids)
    assert texts[-3:] == ("", "", "")
    continuing = {text for text, continues in zip(texts, word_continuations(tokenizer, size), strict=True) if continues}
    assert spoken - continuing == {" ", "\n", ".", ",", ":", "%", "?", "'", '"', "-", " ark", ":om"}
    assert "" not in continuing


def test_token_texts_keep_leading_spaces_that_a_decoder_drops() -> None:
    tokenizer = space_adding_tokenizer()
    assert tokenizer.decode(tokenizer.convert_tokens_to_ids(["▁ark"])) == "ark"
    texts = token_texts(tokenizer, len(tokenizer))
    assert dict(zip(tokenizer.convert_ids_to_tokens(range(len(tokenizer))), texts, strict=True)) == {
        "<unk>": "", "a": "a", "▁": " ", "▁a": " a", "ark": "ark", "▁ark": " ark", "Ark": "Ark", "ansas": "ansas",
    }  # fmt: skip
    assert word_continuations(tokenizer, len(tokenizer)).tolist() == [
        text in ("a", "ark", "Ark", "ansas") for text in texts
    ]


@pytest.mark.parametrize(
    ("text", "continues"),
    [("ansas", True), ("s", True), ("'s", True), ("é", True), ("7", True), (" ark", False), (" the", False)]
    + [(sign, False) for sign in ('"', ".", ",", "'", "\n", '".', "-", "<|im_end|>", "<|endoftext|>")],
)
def test_continuations_of_the_embedded_model(text: str, continues: bool, real_model: LoadedModel) -> None:
    tokenizer = real_model.tokenizer
    size = real_model.model.get_input_embeddings().weight.shape[0]
    (tokens,) = encode(tokenizer, [text])
    assert len(tokens) == 1
    assert word_continuations(tokenizer, size)[tokens[0]].item() is continues


LETTERS = ["é", "ж", "ا", "ह", "字", "한", "か", "ሀ", "ᚠ", "𐎀", "\u0301"]
SIGNS = ["“", "—", "…", "🙂", "€", "«", "¿", "。", "𝄞"]


@pytest.mark.parametrize("character", LETTERS + SIGNS)
def test_first_bytes_make_a_longer_word_where_they_are_those_of_a_letter(character: str) -> None:
    """In both kinds of vocabulary that have tokens of bytes; a sign's first bytes end the word."""
    spelling = character.encode()
    for tokenizer in (byte_level_tokenizer(), byte_fallback_tokenizer()):
        continuing = word_continuations(tokenizer, len(tokenizer))
        if len(spelling) < 4:
            first = tokenizer.convert_tokens_to_ids(spelt(tokenizer, spelling[:1]))
            assert continuing[first].item() or character in SIGNS
        if len(spelling) > 2 and isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
            token = tokenizer.convert_tokens_to_ids(spelt(tokenizer, spelling[:2]))
            assert continuing[token].item() is (character in LETTERS)


@pytest.mark.parametrize("make", ["byte_level_tokenizer", "byte_fallback_tokenizer"])
def test_every_byte_of_a_vocabulary(make: str) -> None:
    tokenizer = globals()[make]()
    continuing = word_continuations(tokenizer, len(tokenizer))
    found = {
        byte for byte in range(128, 256) if continuing[tokenizer.convert_tokens_to_ids(spelt(tokenizer, bytes([byte])))]
    }
    # Bytes within a character, and the first ones of letters; not those of signs (C2, CB, E2), private ones (EE), emoji (F0).
    assert found == {*range(0x80, 0xC0), *range(0xC3, 0xF0)} - {0xCB, 0xE2, 0xEE}


def spelt(tokenizer: PreTrainedTokenizerBase, spelling: bytes) -> str:
    """Bytes as a vocabulary spells them."""
    if "<0x00>" in tokenizer.get_vocab():
        return f"<0x{spelling[0]:02X}>"
    return "".join(bytes_to_unicode()[byte] for byte in spelling)


@cache
def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with all bytes, and the first two of each character of these tests."""
    letters = bytes_to_unicode()
    pairs = [tuple(letters[byte] for byte in character.encode()[:2]) for character in LETTERS + SIGNS]
    merges = list(dict.fromkeys(pairs))
    vocabulary = [*letters.values(), *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(
        models.BPE(vocab={piece: number for number, piece in enumerate(vocabulary)}, merges=merges)  # type: ignore[arg-type]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@cache
def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece's BPE, which writes what it has no piece for in bytes."""
    spelling = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "r", "k"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(spelling)},
            merges=[],
            unk_token="<unk>",
            byte_fallback=True,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def test_words_of_word_pieces_go_on_in_pieces_with_signs() -> None:
    spelling = ["[UNK]", "a", "ark", "##a", "##ns", "##é", "·", "-", "."]
    tokenizer = Tokenizer(
        models.WordPiece(vocab={piece: number for number, piece in enumerate(spelling)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    continuing = word_continuations(made, len(made))
    assert [piece for piece, goes_on in zip(spelling, continuing.tolist(), strict=True) if goes_on] == [
        "##a",
        "##ns",
        "##é",
    ]


def space_adding_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer in the manner of SentencePiece: it puts a space before every text, and its decoder drops it again."""
    pieces = ["<unk>", "a", "▁", "▁a", "ark", "▁ark", "Ark", "ansas"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(8 - len(piece))) for piece in pieces], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")
