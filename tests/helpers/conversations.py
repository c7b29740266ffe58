"""What the tests of manifests share: rows, files of them, and what is said of a wrong one."""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from vlframe_conversations import vlframe_components
from vlframe_conversations.dataset import Conversations

from vlframe.registry.discovery import Plugin
from vlframe.registry.registry import Registry

REGISTRY = Registry([Plugin("tests:conversations", "tests", "0", tuple(vlframe_components()))])
TAGS = ("<video>", "<image>", "<audio>")


def conversations(path: Path | None = None, **params: Any) -> Conversations:
    values = {**params, **({"path": str(path)} if path else {})}
    return REGISTRY.build("dataset", {"name": "conversations", **values})


def write(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text(lines, encoding="utf-8")
    return path


def llava(text: str = "<video>\nWhy?", reply: str = "Because.", **fields: Any) -> dict[str, Any]:
    return {**fields, "conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": reply}]}


def messages(text: str = "<video>Why?", reply: str = "Because.", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": reply}], **fields}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda text: not {*"<\\"} & {*text})
names = st.text("abcé語 .-_", min_size=1, max_size=8).map(lambda name: f"clips/{name}x.mp4")


@st.composite
def rows(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """A row in either style, and its media paths in the order of the text."""
    tags = draw(st.lists(st.sampled_from(TAGS), max_size=4))
    paths = [draw(names) for _ in tags]
    text = draw(texts) + "".join(tag + draw(texts) for tag in tags)
    style, plural = draw(st.sampled_from([(llava, ""), (messages, "s")]))
    files = {tag: [path for other, path in zip(tags, paths, strict=True) if other == tag] for tag in TAGS}
    fields = {tag.strip("<>") + plural: found for tag, found in files.items() if found}
    if files["<video>"] and not files["<audio>"] and draw(st.booleans()):
        fields["answer"] = draw(texts)
    return style(text, draw(texts), **fields), paths


ROW = llava("Hi")
