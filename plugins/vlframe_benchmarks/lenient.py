"""Read the option that a text chooses if the strict parser cannot, without guessing.

In addition to what ``choices`` reads: an answer in a wrapper (``\\boxed{B}``, ``<answer>B</answer>``), the conclusion
of a chain of reasoning, an ordinal ("the second option"), and phrases before an answer in other languages. A text that
hedges, denies, or gives two answers is no answer.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from vlframe_benchmarks.choices import CLAIM, letters, match_text, parse_choice, plain

WRAPPERS = (
    re.compile(r"\\boxed\{\s*(?:\\text\{\s*)?([^{}]*?)\s*\}?\s*\}"),
    re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL | re.IGNORECASE),
    re.compile(r"```\w*\n?\s*(.*?)\s*```", re.DOTALL),
    re.compile(r"\*\*\s*((?:final )?answer\s*:?\s*\*\*\s*.+?|[^*]+?)\s*\*\*\s*\.?\s*$", re.IGNORECASE),
)
# "The answer is", in the languages of the benchmarks; the text after it is read strictly.
LEADS = re.compile(
    r"(?:(?:the|my)\s+)?(?:(?:best|correct|right|final)\s+)*(?:answer|option|choice)"
    r"(?:\s+(?:is|would be|must be))?\s*[:=]?"
    r"|(?:la\s+)?respuesta(?:\s+(?:correcta|final))*(?:\s+es)?\s*:?"
    r"|(?:la\s+)?(?:bonne\s+)?r[ée]ponse(?:\s+(?:correcte|finale))*(?:\s+est)?\s*:?"
    r"|(?:die\s+)?(?:richtige\s+|korrekte\s+)?antwort(?:\s+(?:ist|lautet))?\s*:?"
    r"|(?:a\s+)?resposta(?:\s+(?:correta|certa|final))*(?:\s+[ée])?\s*:?"
    r"|(?:la\s+)?risposta(?:\s+(?:corretta|giusta|finale))*(?:\s+[èe])?\s*:?"
    r"|(?:правильный\s+)?ответ\s*[:—-]?"
    r"|(?:正确|最终)?的?答案(?:是|为|為)?\s*[:：]?|(?:我)?选择?|正解は|答えは|정답은?\s*:?|답은|답\s*:"
    r"|الإجابة(?:\s+الصحيحة)?(?:\s+هي)?\s*:?",
    re.IGNORECASE,
)
TAIL = re.compile(r"(?:\s*(?:です|だ|입니다|이다|。|！|\.))+$")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
ORDINAL = re.compile(
    rf"(?:it is |it's )?(?:the )?({'|'.join(ORDINALS)}|last)(?: (?:option|choice|answer|one))", re.IGNORECASE
)
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+|(?<=[。！？])")
# Words that keep a sentence from stating the right answer.
DOUBT = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|isn|wasn|doesn|don|didn|or|either|if|unless|unlikely|wrong|incorrect|maybe|"
    r"perhaps|might|could|may|possibly|rather|instead|except|unclear|unsure|nicht|kein|oder|pas|ou|ni|no|nunca|o|non|"
    r"não|nao|не|или)\b|n't|\?|不|非|或|아니|ない|ليس",
    re.IGNORECASE,
)
TURN = re.compile(r"\b(?:wait|actually|however|but|hmm|on second thought|correction|sorry)\b|但是|不过", re.IGNORECASE)


def parse_leniently(text: str, options: Sequence[str]) -> str | None:
    """Return the letter of the one option that ``text`` chooses, or None."""
    strict = parse_choice(text, options)
    if strict is not None:
        return strict
    for read in (_wrapped, _ordinal, _after_a_lead, _conclusion):
        found = read(text.strip(), options)
        if found is not None:
            return found
    return None


def _wrapped(text: str, options: Sequence[str]) -> str | None:
    """Return the answer in wrappers, if all of them agree and nothing after them revokes it."""
    for wrapper in WRAPPERS:
        matches = list(wrapper.finditer(text))
        if not matches:
            continue
        said = {parse_choice(match[1], options) for match in matches}
        rest = text[matches[-1].end() :]
        if (
            len(said) == 1
            and not _takes_back(rest, said, options)
            and not DOUBT.search(_sentence_before(text, matches[-1]))
        ):
            return said.pop()
    return None


def _sentence_before(text: str, match: re.Match[str]) -> str:
    return SENTENCE.split(text[: match.start()])[-1]


def _ordinal(text: str, options: Sequence[str]) -> str | None:
    """Return the option of an ordinal ("the second option"), unless an option's own text has an ordinal."""
    words = {word for option in options for word in plain(option).split()}
    if words & {*ORDINALS, "last"}:
        return None
    lead = LEADS.match(text)
    match = ORDINAL.fullmatch((text[lead.end() :] if lead else text).strip(" .!*"))
    if not match:
        return None
    name = match[1].lower()
    at = len(options) - 1 if name == "last" else ORDINALS.index(name)
    return ascii_uppercase[at] if at < len(options) else None


def _after_a_lead(text: str, options: Sequence[str]) -> str | None:
    """Read the whole text except the words before its answer."""
    match = LEADS.match(text)
    return _strictly(text[match.end() :], options) if match and match.end() else None


def _conclusion(text: str, options: Sequence[str]) -> str | None:
    """Return the answer of the sentences that name one, if they agree and nothing after them revokes it."""
    sentences = [sentence for sentence in SENTENCE.split(text) if sentence.strip()]
    said, last = set(), -1
    for number, sentence in enumerate(sentences):
        leads = [lead for lead in LEADS.finditer(sentence) if lead.end() > lead.start()]
        if not leads:
            continue
        rest = sentence[leads[-1].end() :]
        if not (CLAIM.search(rest) or match_text(rest.strip(" .!*:"), options)):
            continue
        said.add(None if DOUBT.search(sentence) else _strictly(rest, options))
        last = number
    if len(said) != 1 or None in said or _takes_back(" ".join(sentences[last + 1 :]), said, options):
        return None
    return said.pop()


def _strictly(text: str, options: Sequence[str]) -> str | None:
    return parse_choice(TAIL.sub("", text.strip()).strip(" .*:："), options)


def _takes_back(rest: str, said: set[str | None], options: Sequence[str]) -> bool:
    """Return whether the text after an answer revokes it, or names another option."""
    claimed = {claim.upper() for claim in CLAIM.findall(rest)} & set(letters(options))
    folded = f" {plain(rest)} "
    named = {letter for letter, option in zip(ascii_uppercase, options, strict=False) if f" {plain(option)} " in folded}
    return bool(TURN.search(rest) or (claimed | named) - said)
