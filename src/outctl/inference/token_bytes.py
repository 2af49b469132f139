"""The bytes that a token writes, where they are no whole characters, and whether they begin a letter."""

import re
from functools import lru_cache

from tokenizers.pre_tokenizers import ByteLevel

from outctl.tasks.spelling import is_letter

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""What decoders write for bytes that are no whole character."""
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How vocabularies that fall back to bytes spell one."""
PARTIAL = re.compile(rb"[\xc2-\xf4][\x80-\xbf]{0,2}")
"""The first bytes of a character."""
MOSTLY = 0.6
"""Share of letters among the characters with the same first bytes, above which these are taken for a letter's."""


def bytes_of(token: str, text: str) -> bytes:
    """What a token writes, in UTF-8 as far as it is whole characters.

    Args:
        token: its spelling in the vocabulary.
        text: what the decoder writes for it.
    """
    if UNKNOWN not in text:
        return text.encode()
    if match := BYTE.fullmatch(token):
        return bytes([int(match[1], 16)])
    values = _byte_values()
    return bytes(values[character] for character in token) if set(token) <= set(values) else text.encode()


@lru_cache(maxsize=1)
def _byte_values() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for: printable ones for themselves, the others in order."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(256) if value not in own]
    values = {chr(value): value for value in own} | {chr(256 + number): value for number, value in enumerate(others)}
    if set(values) != set(ByteLevel.alphabet()):
        raise RuntimeError("the package tokenizers has another byte-level alphabet than is known here")
    return values


def first_character(spelling: bytes) -> str:
    """The character that bytes begin with; nothing where they begin with a part of one."""
    text = spelling[:4].decode("utf-8", errors="ignore")[:1]
    return text if spelling.startswith(text.encode()) else ""


def begins_letter(spelling: bytes) -> bool:
    """Whether bytes begin with the first bytes of a letter, as far as can be known: most characters with these are letters."""
    match = PARTIAL.match(spelling)
    return match is not None and not first_character(spelling) and _mostly_letters(match[0])


@lru_cache(maxsize=1024)
def _mostly_letters(first: bytes) -> bool:
    # Most characters of four bytes are rare ideographs, but most that are written are emoji.
    if len(first) == 1 and first >= b"\xf0":
        return False
    missing = (2 if first[0] < 0xE0 else 3 if first[0] < 0xF0 else 4) - len(first)
    low, high = (int.from_bytes(first + fill * missing) for fill in (b"\x80", b"\xbf"))
    characters = [spelt for code in range(low, high + 1) if (spelt := _character(code))]
    letters = sum(map(is_letter, characters))
    return letters > MOSTLY * sum(is_letter(character) or character.isprintable() for character in characters)


def _character(code: int) -> str:
    """The character whose UTF-8 is this number; nothing where there is none."""
    spelling = code.to_bytes((code.bit_length() + 7) // 8)
    try:
        return spelling.decode()
    except UnicodeDecodeError:
        return ""
