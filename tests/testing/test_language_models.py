"""The kit for plugin authors: broken language models are caught and told why. Each differs from a sound one, which is
that of `vlframe plugin new llm`, in one thing."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.refusals import refusal
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from vlframe.testing import check_llm
from vlframe.testing.starter import Starter

SIZES = {"hidden_size": 32, "layers": 2, "heads": 2, "context": 64}


def _begun() -> Any:
    source = Starter("llm", "trial_model").files()["src/vlframe_trial_model/llm.py"]
    module = ModuleType("begun_llm")
    sys.modules[module.__name__] = module  # where dataclasses and pickle look
    exec(compile(source, str(Path("llm.py")), "exec"), module.__dict__)
    return module.TrialModel


Model = _begun()


class LayerNormed(Model):
    """Learned positions and LayerNorm, which takes a constant out of every token: sound."""

    def __init__(self, *, hidden_size, layers, heads, context):
        super().__init__(hidden_size=hidden_size, layers=layers, heads=heads, context=context)
        config = GPT2Config(
            vocab_size=self.lm.config.vocab_size, n_embd=hidden_size, n_layer=layers, n_head=heads,
            n_positions=self.positions(context), bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        self.lm = GPT2LMHeadModel(config)
        self.lm.model = self.lm.transformer

    def positions(self, context):
        return context


class TooLongContext(LayerNormed):
    def positions(self, context):
        return context - 8


class SeesTheFuture(LayerNormed):
    def forward(self, embeds_BSE, layout):
        hidden_BSE = super().forward(embeds_BSE, layout)
        following_BSE = hidden_BSE.roll(-1, 1)
        following_BSE[:, -1] = 0
        return hidden_BSE + following_BSE


class NoEnd(Model):
    @property
    def tokenizer(self):
        tokenizer = super().tokenizer
        tokenizer.eos_token = None
        tokenizer.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
        return tokenizer


class DropsSystem(Model):
    @property
    def tokenizer(self):
        tokenizer = super().tokenizer
        tokenizer.chat_template = tokenizer.chat_template.replace(
            "{% for message in messages %}", "{% for message in messages if message.role != 'system' %}"
        )
        return tokenizer


class StaysInEval(Model):
    def generate(self, embeds_BSE, mask_BS, **sampling):
        self.eval()
        return super().generate(embeds_BSE, mask_BS, **sampling)


class GoesOn(Model):
    """Writes words behind the end of a row, while another goes on."""

    def generate(self, embeds_BSE, mask_BS, **sampling):
        ids_BG = super().generate(embeds_BSE, mask_BS, **sampling)
        return torch.where(ids_BG == 0, 77, ids_BG)


class StopsWithTheFirst(Model):
    def generate(self, embeds_BSE, mask_BS, **sampling):
        ids_BG = super().generate(embeds_BSE, mask_BS, **sampling)
        ends = [row.index(2) + 1 for row in ids_BG.tolist() if 2 in row]
        return ids_BG[:, : min(ends, default=ids_BG.shape[1])]


class NeverStops(Model):
    def generate(self, embeds_BSE, mask_BS, **sampling):
        return super().generate(embeds_BSE, mask_BS, min_new_tokens=sampling["max_new_tokens"], **sampling)


CAUGHT = {
    TooLongContext: ["forward of 64 tokens, which its context promises, fails with IndexError"],
    SeesTheFuture: ["sees the future"],
    NoEnd: ["has no end token"],
    DropsSystem: ["drops a system turn"],
    StaysInEval: ["leaves itself in another mode"],
    GoesOn: ["goes on after the end of a row, with [77"],
    StopsWithTheFirst: ["stops a batch after", "when its first row has ended"],
    NeverStops: ["where its end token, 2, is the token number"],
}


@pytest.mark.parametrize("sound", [Model, LayerNormed], ids=lambda cls: cls.__name__)
def test_a_sound_model_passes(sound: type[nn.Module]) -> None:
    check_llm(sound, SIZES)


@pytest.mark.parametrize("broken", CAUGHT, ids=lambda cls: cls.__name__)
def test_a_broken_model_is_caught(broken: type[nn.Module]) -> None:
    message = refusal(check_llm, broken, SIZES)
    for word in (f"llm {broken.__name__!r}", *CAUGHT[broken]):
        assert word in message, message
