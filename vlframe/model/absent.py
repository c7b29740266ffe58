"""What stands for the language model in a run that never uses it."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import nn

from vlframe.errors import ConfigError


class AbsentLanguageModel(nn.Module):
    """The width and the context of a language model, without weights and tokenizer: enough to build its neighbours."""

    tokenizer = None

    def __init__(self, dim: int, context: int) -> None:
        super().__init__()
        self.dim = dim
        self.context = context

    def _refuse(self, *given: Any, **more: Any) -> NoReturn:
        raise ConfigError(
            "this run has no language model: no objective of its stages uses it; train one after it, with init.run"
        )

    embed = forward = loss = logits = generate = _refuse
