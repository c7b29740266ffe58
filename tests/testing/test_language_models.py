"""The kit for plugin authors: broken language models are caught and told why. Each differs from a sound one, which is
that of `vlframe plugin new llm`, in one thing."""

import sys
from dataclasses import replace
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

    lora_targets = ("c_attn",)

    def positions(self, context):
        return context

    def blocks(self):
        return list(self.lm.transformer.h)


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


class Samples(Model):
    def generate(self, embeds_BSE, mask_BS, **sampling):
        return super().generate(embeds_BSE, mask_BS, **({"temperature": 2.0} | sampling))


class OneShort(Model):
    def generate(self, embeds_BSE, mask_BS, *, max_new_tokens, **sampling):
        return super().generate(embeds_BSE, mask_BS, max_new_tokens=max(1, max_new_tokens - 1), **sampling)


class LosesTheLastToken(Model):
    def generate(self, embeds_BSE, mask_BS, **sampling):
        return super().generate(embeds_BSE[:, :-1], mask_BS[:, :-1], **sampling)


class OneConversation(Model):
    def forward(self, embeds_BSE, layout):
        return super().forward(embeds_BSE, replace(layout, segments_BS=None))


class TeachesNothing(Model):
    def loss(self, hidden_BSE, taught_L, targets_L):
        return super().loss(hidden_BSE.detach(), taught_L, targets_L)


class NeedsATarget(Model):
    def loss(self, hidden_BSE, taught_L, targets_L):
        loss = super().loss(hidden_BSE, taught_L, targets_L)
        return loss._replace(total=loss.total / len(targets_L) * len(targets_L))


class DropsReplies(Model):
    @property
    def tokenizer(self):
        tokenizer = super().tokenizer
        tokenizer.chat_template = (
            "{% for message in messages if message.role != 'assistant' %}{{ message.content }}{% endfor %}</s>"
        )
        return tokenizer


class Freezes(Model):
    def generate(self, embeds_BSE, mask_BS, **sampling):
        self.requires_grad_(False)
        return super().generate(embeds_BSE, mask_BS, **sampling)


class StrangeBlocks(Model):
    def blocks(self):
        return [nn.Linear(2, 2)]


class StrangeTargets(Model):
    lora_targets = ("query",)


class CannotRecompute(Model):
    def enable_gradient_checkpointing(self):
        self.lm.recompute()


CAUGHT = {
    Samples: ["generate differs from call to call; it is greedy by default"],
    OneShort: ["generate gives 5 tokens of 6 without an end"],
    LosesTheLastToken: ["as token number 0, where forward and logits hold", "reads the whole prompt"],
    OneConversation: ["a token sees its own segment only"],
    TeachesNothing: ["no gradient of loss reaches the hidden states"],
    NeedsATarget: ["loss of nothing is nan over 0 tokens"],
    DropsReplies: ["drops the assistant's turn"],
    Freezes: ["generate freezes lm.model.embed_tokens.weight"],
    StrangeBlocks: ["blocks() gives modules that are no parts of it"],
    StrangeTargets: ["lora_targets names query, which it has no layers of"],
    CannotRecompute: ["enable_gradient_checkpointing() fails with AttributeError"],
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
