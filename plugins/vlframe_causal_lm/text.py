"""Tokenizers, and chat templates for those without one."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from vlframe import ChatTemplate, ConfigError
from vlframe_causal_lm.architecture import first_line, refuse_absent_folder

HERE = Path(__file__).parent
BUNDLED = {"bundled:tiny": HERE / "tiny_tokenizer"}
TEMPLATES = {path.stem: path for path in sorted((HERE / "templates").glob("*.jinja"))}

# Tokens that a template writes and only some tokenizers have: as plain text they would mean nothing.
NEEDED = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
}


def check_names(tokenizer: str | None, chat_template: str | None) -> None:
    """Refuse invalid names without reading a file."""
    if tokenizer and tokenizer.startswith("bundled:") and tokenizer not in BUNDLED:
        raise ConfigError(f"llm tokenizer is {tokenizer!r}; the plugin brings {', '.join(BUNDLED)}")
    if chat_template is not None and chat_template not in TEMPLATES:
        raise ConfigError(f"llm chat_template is {chat_template!r}; the named templates are {', '.join(TEMPLATES)}")


def load_tokenizer(name: str, chat_template: str | None, gguf_file: str | None) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer with a chat template: its own, or the named one."""
    refuse_absent_folder("tokenizer", name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            BUNDLED.get(name, name), **({"gguf_file": gguf_file} if gguf_file else {})
        )
    except (OSError, ImportError, ValueError) as error:
        raise ConfigError(
            f"llm tokenizer {name!r} cannot be read: {first_line(error)}. It must be a folder, a hub id that is "
            f"reachable or cached, or one of {', '.join(BUNDLED)}"
        ) from error
    tokenizer.clean_up_tokenization_spaces = False  # show an answer exactly as generated
    if chat_template is not None:
        absent = [token for token in NEEDED.get(chat_template, ()) if token not in tokenizer.get_vocab()]
        if absent:
            raise ConfigError(
                f"llm chat_template {chat_template!r} writes {', '.join(absent)}, and tokenizer {name!r} has no such "
                f"token; the named templates are {', '.join(TEMPLATES)}"
            )
        tokenizer.chat_template = TEMPLATES[chat_template].read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise ConfigError(
            f"tokenizer {name!r} has no chat template; set llm.chat_template to one of {', '.join(TEMPLATES)}"
        )
    return tokenizer


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the token that ends an answer in the chat template; None if it writes none there."""
    token = ChatTemplate(tokenizer).facts.end.token
    return tokenizer.encode(token, add_special_tokens=False)[0] if token else None
