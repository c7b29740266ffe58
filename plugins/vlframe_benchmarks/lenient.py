"""Read the option that a text chooses if the strict parser cannot, without guessing.

In addition to what ``choices`` reads: an answer in a wrapper (``\\boxed{B}``, ``<answer>B</answer>``), the conclusion
of a chain of reasoning, an ordinal ("the second option"), and phrases before an answer in other languages. A text that
hedges, denies, or gives two answers is no answer.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

from vlframe_benchmarks.choices import CLAIM, letters, match_text, parse_choice, plain

# Wide forms of letters and signs, as East Asian keyboards write them, and what sets a formula's letters.
WIDE = (
    {number: number - 0xFEE0 for number in range(0xFF01, 0xFF5F)}
    | str.maketrans("「」『』【】", "()()[]")
    | str.maketrans({"：": ": ", "，": ", "})
)
SET = re.compile(r"\\(?:text|textbf|textit|mathbf|mathrm|mathit|mathsf)\{([^{}]*)\}")
WRAPPERS = (
    re.compile(r"\\boxed\{\s*([^{}]*?)\s*\}"),
    re.compile(r"<\|begin_of_box\|>\s*(.*?)\s*<\|end_of_box\|>", re.DOTALL),
    re.compile(r'"(?:final_)?(?:answer|choice)"\s*:\s*"([^"]*)"', re.IGNORECASE),
    re.compile(r"<answer>\s*(.*?)\s*</answer>", re.DOTALL | re.IGNORECASE),
    re.compile(r"```\w*\n?\s*(.*?)\s*```", re.DOTALL),
    re.compile(r"####[ \t]*([^#\n]+?)[ \t]*(?=\s*\Z|\n[\s\S]*####)"),  # at the end of the text, or before another
    re.compile(r"\*\*\s*((?:final )?answer\s*:?\s*\*\*\s*.+?|[^*]+?)\s*\*\*\s*\.?\s*$", re.IGNORECASE),
)
# "The answer is", in the languages of the benchmarks; the text after it is read strictly.
LEADS = re.compile(
    r"(?:(?:the|my)\s+)?(?:(?:best|correct|right|final)\s+)*(?:answer|option|choice)"
    r"(?:\s+(?:is|would be|must be))?\s*[:=]?"
    r"|i(?:\s+would|'d|\s+will|'ll)?\s+(?:choose|pick|select|go\s+with)(?:\s+(?:option|choice))?"
    r"|(?:la\s+)?(?:respuesta|opci[óo]n)(?:\s+(?:correcta|final))*(?:\s+es)?(?:\s+la)?(?:\s+(?:letra|opci[óo]n))?\s*:?"
    r"|(?:la\s+)?(?:bonne\s+)?r[ée]ponse(?:\s+(?:correcte|finale))*(?:\s+est)?(?:\s+la\s+lettre)?\s*:?"
    r"|(?:die\s+)?(?:richtige\s+|korrekte\s+)?antwort(?:\s+(?:ist|lautet))?\s*:?"
    r"|(?:a\s+)?resposta(?:\s+(?:correta|certa|final))*(?:\s+[ée])?(?:\s+a\s+letra)?\s*:?"
    r"|(?:la\s+)?risposta(?:\s+(?:corretta|giusta|finale))*(?:\s+[èe])?(?:\s+la\s+lettera)?\s*:?"
    r"|(?:het\s+)?(?:juiste\s+)?antwoord(?:\s+is)?\s*:?|svar(?:et)?(?:\s+[äe]r)?\s*:?"
    r"|(?:poprawna\s+)?odpowied[źz](?:\s+to)?\s*:?|(?:do[ğg]ru\s+)?cevap\s*:?|jawaban(?:nya)?(?:\s+adalah)?\s*:?"
    r"|(?:đáp\s+án|câu\s+trả\s+lời)(?:\s+(?:đúng|là))*\s*:?|(?:правильна\s+)?відповідь\s*[:—-]?"
    r"|(?:सही\s+)?उत्तर(?:\s+है)?\s*:?|คำตอบ(?:ที่ถูกต้อง)?(?:คือ)?\s*:?"
    r"|(?:правильный\s+)?ответ\s*[:—-]?"
    r"|(?:正确|最终)?的?答案(?:是|为|為)?\s*[:：]?|选项|選項|(?:我)?(?:选择?|選擇?)|正解は|答えは|정답은?\s*:?|답은|답\s*:"
    r"|الإجابة(?:\s+الصحيحة)?(?:\s+هي)?\s*:?",
    re.IGNORECASE,
)
TAIL = re.compile(r"(?:\s*(?:です|だ|입니다|이다|。|！|\.))+$")
# "B is the right answer", and no more.
STATED = re.compile(
    r"(?:(?:so|thus|therefore|hence)\s*,?\s*)?(?:(?:the\s+)?(?:option|choice|answer)\s+)?[(\[*]*([A-Z])[)\]*]*\s+is\s+"
    r"(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice|one))?",
    re.IGNORECASE,
)
NAMED = re.compile(r"(.+?)\s*[(\[]([A-Z])[)\]]", re.DOTALL)  # an option's text, and its letter after it
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
# The ordinals of each language, with the words around them.
COUNTED = (
    (r"(?:it is |it's )?(?:the )?({})(?: (?:option|choice|answer|one))", (*ORDINALS, "last")),
    (r"(?:the )?({})(?: (?:option|choice|answer|one))", ("1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th")),
    (r"(?:es )?(?:la )?({})(?: (?:opci[óo]n|respuesta))", ("primera", "segunda", "tercera", "cuarta", "quinta")),
    (r"(?:c'est )?(?:la )?({})(?: (?:option|r[ée]ponse))", ("première", "deuxième", "troisième", "quatrième")),
    (r"(?:es ist )?(?:die )?({})(?: (?:option|antwort))", ("erste", "zweite", "dritte", "vierte", "fünfte")),
    (r"(?:[ée] )?(?:a )?({})(?: (?:opção|opcao|resposta))", ("primeira", "segunda", "terceira", "quarta", "quinta")),
    (r"第({})(?:个|個|项|項)(?:选项|選項|答案)?", "一二三四五六七八"),
    (r"({})番目(?:の選択肢)?", "12345678"),
)
SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+|(?<=[。！？])")
# Words that keep a sentence from stating the right answer.
DOUBT = re.compile(
    r"\b(?:not|no|never|neither|nor|cannot|isn|wasn|doesn|don|didn|or|either|if|unless|unlikely|wrong|incorrect|maybe|"
    r"perhaps|might|could|may|possibly|rather|instead|except|unclear|unsure|nicht|kein|oder|pas|ou|ni|no|nunca|o|non|"
    r"não|nao|не|или|nie|lub|niet|inte|ikke|eller|bukan|tidak|atau|không|hoặc|değil|veya|або)\b|n't|\?|不|非|或|아니|ない|ليس|नहीं|ไม่",
    re.IGNORECASE,
)
TURN = re.compile(r"\b(?:wait|actually|however|but|hmm|on second thought|correction|sorry)\b|但是|不过", re.IGNORECASE)


def parse_leniently(text: str, options: Sequence[str]) -> str | None:
    """Return the letter of the one option that ``text`` chooses, or None."""
    strict = parse_choice(text, options)
    if strict is not None:
        return strict
    text, options = SET.sub(r"\1", _narrow(text)).strip(), [_narrow(option) for option in options]
    for read in (_strictly, _wrapped, _named, _ordinal, _after_a_lead, _conclusion):
        found = read(text, options)
        if found is not None:
            return found
    return None


def _narrow(text: str) -> str:
    return text.translate(WIDE)


def _named(text: str, options: Sequence[str]) -> str | None:
    """Return the letter that stands in brackets after the text of its own option."""
    match = NAMED.fullmatch(text.strip(" .!*"))
    return match[2] if match and match_text(match[1], options) == match[2] else None


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
            and not DOUBT.search(SENTENCE.split(rest)[0])
        ):
            return said.pop()
    return None


def _sentence_before(text: str, match: re.Match[str]) -> str:
    return SENTENCE.split(text[: match.start()])[-1]


def _ordinal(text: str, options: Sequence[str]) -> str | None:
    """Return the option of an ordinal ("the second option"), unless an option's own text has an ordinal."""
    lead = LEADS.match(text)
    said = (text[lead.end() :] if lead else text).strip(" .!*。")
    for around, ordinals in COUNTED:
        match = re.fullmatch(around.format("|".join(ordinals)), said, re.IGNORECASE)
        if not match:
            continue
        if any(_has(option, word) for option in options for word in ordinals):
            return None
        name = match[1].lower()
        at = len(options) - 1 if name == "last" else ordinals.index(name)
        return ascii_uppercase[at] if at < len(options) else None
    return None


def _has(option: str, ordinal: str) -> bool:
    return ordinal in option if len(ordinal) == 1 else ordinal in plain(option).split()


def _after_a_lead(text: str, options: Sequence[str]) -> str | None:
    """Read the whole text except the words before its answer."""
    match = LEADS.match(text)
    return _strictly(text[match.end() :], options) if match and match.end() else None


def _conclusion(text: str, options: Sequence[str]) -> str | None:
    """Return the answer of the sentences that name one, if they agree and nothing after them revokes it."""
    sentences = [sentence for sentence in SENTENCE.split(text) if sentence.strip()]
    said, last = set(), -1
    for number, sentence in enumerate(sentences):
        if stated := STATED.fullmatch(sentence.strip(" .!*")):
            said.add(_strictly(stated[1], options))
            last = number
            continue
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
    return parse_choice(TAIL.sub("", text.strip()).strip(" .*:：$"), options)


def _takes_back(rest: str, said: set[str | None], options: Sequence[str]) -> bool:
    """Return whether the text after an answer revokes it, or names another option."""
    claimed = {claim.upper() for claim in CLAIM.findall(rest)} & set(letters(options))
    folded = f" {plain(rest)} "
    named = {letter for letter, option in zip(ascii_uppercase, options, strict=False) if f" {plain(option)} " in folded}
    return bool(TURN.search(rest) or (claimed | named) - said)
