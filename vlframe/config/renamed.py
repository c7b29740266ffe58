"""Old names of keys, for hints only: whoever types one is told the present one."""

from __future__ import annotations

RENAMED = {
    "text.context": "text.max_length",
    "media.sampling": "media.sampler",
    "media.fps": "media.sampler.fps",
    "protocol": "processor",
    "layout": "format",  # of convert and export
    "fit": "resize",
    "clip": "max_grad_norm",
    "clip_norm": "max_grad_norm",
    "grad_clip": "max_grad_norm",
    "accumulate": "accumulate_grad_batches",
}


def present_key(key: str) -> str | None:
    """Return the present name of a key, or of its last words; None if it was never called otherwise."""
    for old, new in RENAMED.items():
        if key == old or key.endswith(f".{old}"):
            return key.removesuffix(old) + new
        if key.startswith(f"{old}."):  # keys of a component: protocol.bounds
            return new + key.removeprefix(old)
    return None


def present_hint(key: str) -> str:
    """Return the end of a message about an unknown key that had this name once; "" for any other."""
    now = present_key(key)
    return f". Did you mean {now}?" if now else ""
