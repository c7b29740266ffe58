"""Read the option that a text chooses, strictly: one unambiguous option, or none.

The official evaluation scripts of the video benchmarks take the first capital letter of any word ("Do not know" is D)
and, failing that, a fixed letter (VideoLLaMA 2, ``eval/*.py``). Here such texts are no answer.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

_OPEN, _CLOSE = r"[\(\[\{\"'*]", r"[\)\]\}\"'*]"
# Common phrases before the actual answer. They may be nested: "The answer is option B".
LEAD = re.compile(
    r"(?:(?:so|thus|therefore|hence)\b,?\s*)?"
    r"(?:i (?:think|believe|would say)(?: that)?\s+)?"
    r"(?:(?:it is|it's)\s+|(?:(?:the|my)\s+)?(?:(?:best|correct|right|final)\s+)*"
    r"(?:answer|option|choice)s?\b(?:\s+(?:is|would be)\b)?\s*[:=]?\s*)",
    re.IGNORECASE,
)
CUT_SHORT = re.compile(r"(?:.*\s)?(?i:is|be|it's)\s+a", re.DOTALL)  # "It is a": the article, not the letter
BARE = re.compile(rf"{_OPEN}*([A-Za-z]){_CLOSE}*+\s*[.:,;!]?{_CLOSE}*")
# A letter in brackets; before '.', ')' or ':'; capital before ','; or alone on the first line: then words.
LABELLED = re.compile(
    rf"(?:{_OPEN}+([A-Za-z]){_CLOSE}+[.:,]?|\**([A-Za-z])\**(?:[)\]][.:,]?|[.:](?=\s|$))|([A-Z])(?:,(?=\s)|[ \t]*\n))"
    r"\s*(.+)",
    re.DOTALL,
)
# A letter on its own: a capital other than the article ("A ball") and the pronoun ("I see"), or "b)", "b.".
CLAIM = re.compile(
    r"(?<![\w'])(?:(?!A\s+[a-z]|I(?:'|\s+[a-z]))[A-Z](?![\w'])|[a-z](?=[)\]]|[.:](?!\w)))",
)


def letters(options: Sequence[str]) -> str:
    """Return the letters of the options, ``"ABCD"`` for four."""
    return ascii_uppercase[: len(options)]


def parse_choice(text: str, options: Sequence[str]) -> str | None:
    """Return the letter of the one option that ``text`` chooses, or None.

    It accepts a letter (``B``, ``(B)``, ``B. words``, ``Answer: B``, ``The best option is B.``) or the whole text of
    one option, ignoring case, spaces and punctuation. None for several letters, a letter without an option, a letter
    followed by the text of another option, and everything else.
    """
    whole, answer = text.strip(), _after_lead(text.strip())
    by_text = match_text(whole, options) or match_text(answer, options)
    by_letter = _bare_letter(answer, options) or _labelled_letter(answer, options)
    if CUT_SHORT.fullmatch(whole):
        by_letter = None
    if by_text and by_letter and by_text != by_letter:
        return None
    return by_text or by_letter


def match_text(text: str, options: Sequence[str]) -> str | None:
    """Return the letter of the one option with this text; punctuation counts if only it distinguishes options."""
    for simplify in (_fold, plain):
        wanted = simplify(text)
        found = [letter for letter, option in zip(ascii_uppercase, options, strict=False) if simplify(option) == wanted]
        if wanted and found:
            return found[0] if len(found) == 1 else None
    return None


def plain(text: str) -> str:
    """Convert to lower case, single spaces, no punctuation. Signs that change a value stay, as in ``-1``, ``3.5``,
    ``1:30``, ``C++``.
    """
    text = re.sub(r"(?<=[^\W\d_])[-–—](?=[^\W\d_])", " ", _fold(text))
    text = re.sub(r"[;!?\"'’“”`*()\[\]{}]|[.,:](?!\d)", "", text)
    return _fold(text)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _after_lead(text: str) -> str:
    for _ in range(2):
        match = LEAD.match(text)
        text = text[match.end() :] if match else text
    return text


def _bare_letter(text: str, options: Sequence[str]) -> str | None:
    match = BARE.fullmatch(text)
    return _offered(match[1], options) if match else None


def _labelled_letter(text: str, options: Sequence[str]) -> str | None:
    match = LABELLED.fullmatch(text)
    letter = _offered(match[1] or match[2] or match[3], options) if match else None
    if match is None or letter is None:
        return None
    words = match[4]
    named = match_text(words, options)
    if named:
        return letter if named == letter else None
    others = {_offered(claim, options) for claim in CLAIM.findall(words)} - {letter, None}
    return None if others else letter


def _offered(letter: str, options: Sequence[str]) -> str | None:
    return letter.upper() if letter.upper() in letters(options) else None
