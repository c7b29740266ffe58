"""Writes ./tokenizer: the small tokenizer that comes with vlframe, with the chat template of this folder."""

import json
import shutil
from pathlib import Path

import vlframe_causal_lm

here, out = Path(__file__).parent, Path("tokenizer")
source = Path(vlframe_causal_lm.__file__).parent / "tiny_tokenizer"
shutil.rmtree(out, ignore_errors=True)
shutil.copytree(source, out, ignore=shutil.ignore_patterns("corpus.txt"))
settings = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
settings["chat_template"] = (here / "template.jinja").read_text(encoding="utf-8")
(out / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
