"""Similarity of a free text to its references: exact match, token F1, ROUGE-L, BLEU.

Tokens are words in lower case without punctuation, and single characters in scripts without spaces between words. Of
several references the nearest counts.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

ARTICLES = ("a", "an", "the")
ORDER = 4  # the longest n-grams of BLEU
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]+"
)


def tokens(text: str) -> list[str]:
    """Return the words of a text. Punctuation is deleted without leaving a space, as in SQuAD ("don't" is "dont")."""
    kept = (sign for sign in text.casefold() if not (unicodedata.category(sign)[0] == "P" or sign in "$+<=>^`|~"))
    return _WORD.findall("".join(kept))


def content(text: str) -> list[str]:
    """Return the words without articles (SQuAD, Rajpurkar et al. 2016, ``evaluate-v1.1.py``)."""
    return [token for token in tokens(text) if token not in ARTICLES]


def exact_match(answer: str, references: Sequence[str]) -> bool:
    """Return whether the answer has the words of one of the references, ignoring articles (SQuAD)."""
    return any(content(answer) == content(reference) for reference in references)


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Return the harmonic mean of precision and recall of the words, ignoring articles and order (SQuAD)."""
    return max(_token_f1(content(answer), content(reference)) for reference in references)


def _token_f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    return _f1(sum((Counter(said) & Counter(wanted)).values()), len(said), len(wanted))


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """Return the F-measure of the longest common subsequence of words (Lin 2004)."""
    said = tokens(answer)
    return max(_f1(_common(said, wanted), len(said), len(wanted)) for wanted in map(tokens, references))


def _f1(common: int, said: int, wanted: int) -> float:
    return 2 * common / (said + wanted) if common else 0.0


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = row
        row = [0]
        for at, other in enumerate(second, 1):
            row.append(before[at - 1] + 1 if word == other else max(before[at], row[at - 1]))
    return row[-1]


def bleu_counts(said: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, ...]:
    """Return BLEU's counts of one answer, summed over answers later: for n = 1 to 4 the n-grams shared with a reference
    and all n-grams, then the length of the answer and of the reference nearest to it in length (the shorter of two)."""
    matched, there = [], []
    for n in range(1, ORDER + 1):
        mine = _ngrams(said, n)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= _ngrams(reference, n)
        matched.append(sum((mine & most).values()))
        there.append(sum(mine.values()))
    nearest = min((len(reference) for reference in references), key=lambda length: (abs(length - len(said)), length))
    return tuple(map(float, (*matched, *there, len(said), nearest)))


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def bleu(sums: Sequence[float]) -> float:
    """Return corpus BLEU-4 (Papineni et al. 2002), without smoothing: 0 if no n-gram of some length matches."""
    matched, there, (said, wanted) = sums[:ORDER], sums[ORDER : 2 * ORDER], sums[2 * ORDER :]
    if not all(matched):
        return 0.0
    precision = sum(math.log(right / all_) for right, all_ in zip(matched, there, strict=True)) / ORDER
    return math.exp(precision + min(0.0, 1 - wanted / said))
