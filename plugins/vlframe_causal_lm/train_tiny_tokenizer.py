"""Train the small tokenizer of the tiny models: byte-level BPE over the corpus beside it.

    python -m vlframe_causal_lm.train_tiny_tokenizer [FOLDER]

A line of the corpus is a question, a tab and its answer, or a plain sentence. Questions are formatted by the chat
template, so that its brackets and the leading space of an answer are learnt too. The same corpus gives the same files.
Every text can be encoded, in bytes at worst.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
FOLDER = HERE / "tiny_tokenizer"
SPECIAL = ("<pad>", "<s>", "</s>")  # ids 0, 1, 2
SIZE = 704


def train(corpus: Path) -> Tokenizer:
    """Train the tokenizer on a corpus file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(corpus), trainer)
    return tokenizer


def _texts(corpus: Path) -> list[str]:
    texts = []
    for line in corpus.read_text(encoding="utf-8").splitlines():
        question, tab, answer = line.partition("\t")
        texts.append(f"[INST] \n{question} [/INST] {answer}" if tab else line)
    return texts


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files that ``AutoTokenizer.from_pretrained(folder)`` needs."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": SPECIAL[0],
        "bos_token": SPECIAL[1],
        "eos_token": SPECIAL[2],
        "clean_up_tokenization_spaces": False,
        "chat_template": (HERE / "templates" / "mistral_instruct.jinja").read_text(encoding="utf-8"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    save(train(FOLDER / "corpus.txt"), Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
