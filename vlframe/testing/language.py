"""Checks of language models. B batch, S sequence, E embedding, V vocabulary, G generated tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vlframe.contracts.language_model import SequenceLayout, padded_layout
from vlframe.errors import UserError, some_of
from vlframe.testing.ending import check_ending
from vlframe.testing.modules import TOLERANCE, Case, check_input_gradient, check_module, noise
from vlframe.testing.subject import Subject

LENGTH = 9  # S of the prompts
NEW_TOKENS = 6
LIKELIEST = 1e-3  # by which the logit of a token may be below the highest: rounding of a cache
LONGEST = 4096  # context of which a whole sequence is tried


def check_llm(
    component: str | type,
    params: Mapping[str, Any] | None = None,
    *,
    unused: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> None:
    """Check a language model. The output head, which ``forward`` does not use, is checked separately and need not be
    named in ``unused``.
    """
    subject = Subject("llm", component, params or {}, plugins)
    planned, built = subject.plan(), subject.build()
    subject.check_source()
    for part in (planned, built):
        subject.attribute(part, "dim", int, "the width of its embeddings")
        subject.attribute(part, "context", int, "the longest sequence it was made for")
    if (planned.dim, planned.context) != (built.dim, built.context):
        subject.fail("has another dim or context while planning than when built")
    embeds_BSE, mask_BS = 0.1 * noise(2, LENGTH, built.dim), torch.ones(2, LENGTH, dtype=torch.bool)
    case = Case(f"{LENGTH} embeddings", (embeds_BSE, mask_BS), (2, LENGTH, built.dim), _arguments)
    whole = _Whole(built)
    check_module(subject, planned, {}, [case], [*unused, *_not_in_forward(whole, case)])
    check_input_gradient(subject, built, case)
    _check_vocabulary(subject, built)
    _check_template(subject, built)
    subject.passed("tokenizer, chat template, embed and logits fit each other")
    _check_loss(subject, built, embeds_BSE)
    subject.passed("the loss is the sum of its own cross-entropies, and teaches")
    _check_order(subject, built, embeds_BSE)
    subject.passed("a token sees what comes before it, and nothing after")
    _check_padding(subject, built, embeds_BSE)
    _check_packed(subject, built, embeds_BSE)
    _check_context(subject, built)
    _check_generate(subject, built, embeds_BSE)
    _check_mode(subject, built, embeds_BSE)
    subject.passed("generate: its own likeliest tokens, the same in a batch as alone, and the model is left as it was")
    check_ending(subject, LENGTH)


def _arguments(embeds_BSE: Tensor, mask_BS: Tensor) -> tuple[Tensor, SequenceLayout]:
    return embeds_BSE, padded_layout(mask_BS)


class _Whole(nn.Module):
    """Embedding, decoder and output head in one call: each parameter must affect its output."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm = llm

    def forward(self, embeds_BSE: Tensor, layout: SequenceLayout) -> Tensor:
        words_BSE = self.llm.embed(torch.arange(embeds_BSE.shape[1]).expand(embeds_BSE.shape[:2]))
        return self.llm.logits(self.llm(embeds_BSE + words_BSE, layout))


def _not_in_forward(whole: _Whole, case: Case) -> list[str]:
    """Return the parameters that only ``embed`` and ``logits`` use."""
    llm = whole.llm.eval()
    llm.requires_grad_(True)

    def reached(module: Any) -> set[str]:
        llm.zero_grad()
        case.call(module).sum().backward()
        return {name for name, parameter in llm.named_parameters() if parameter.grad is not None}

    names = reached(whole) - reached(llm)
    llm.zero_grad()
    return sorted(names)


def _check_vocabulary(subject: Subject, llm: Any) -> None:
    with subject.doing("its tokenizer"):
        tokenizer = llm.tokenizer
        text = tokenizer.apply_chat_template([{"role": "user", "content": "Which way?"}], tokenize=False)
        ids_BS = torch.tensor([tokenizer("Which way?", add_special_tokens=False).input_ids])
    if "Which way?" not in text:
        subject.fail("the chat template of its tokenizer loses what the user says")
    if not tokenizer.is_fast:
        subject.fail("its tokenizer is not a fast one, and label masks need character offsets")
    with torch.no_grad(), subject.doing("embed() and logits()"):
        embeds_BSE = llm.eval().embed(ids_BS)
        hidden_BSE = llm(embeds_BSE, padded_layout(torch.ones_like(ids_BS, dtype=torch.bool)))
        logits_BSV, logits_V = llm.logits(hidden_BSE), llm.logits(hidden_BSE[0, -1])
    if tuple(embeds_BSE.shape) != (*ids_BS.shape, llm.dim):
        subject.fail(f"embed of {tuple(ids_BS.shape)} ids gives {tuple(embeds_BSE.shape)}, with a dim of {llm.dim}")
    if logits_BSV.shape[:2] != ids_BS.shape or logits_BSV.shape[-1] < len(tokenizer):
        subject.fail(f"logits give {tuple(logits_BSV.shape)} for {tuple(ids_BS.shape)} ids of {len(tokenizer)} words")
    if logits_V.shape != logits_BSV.shape[-1:] or not torch.allclose(logits_V, logits_BSV[0, -1], atol=TOLERANCE):
        subject.fail("logits of one hidden state differ from those of the same state inside a batch")


def _check_template(subject: Subject, llm: Any) -> None:
    """Check that every turn is written, or refused, and never dropped."""
    asked = {"role": "user", "content": "Which way?"}
    for role, said, turns in (
        ("a system turn", "Be brief.", [{"role": "system", "content": "Be brief."}, asked]),
        ("the assistant's turn", "To the left.", [asked, {"role": "assistant", "content": "To the left."}]),
    ):
        try:
            text = llm.tokenizer.apply_chat_template(turns, tokenize=False)
        except Exception:  # a template refuses what it has no place for, and vlframe says so to the user
            continue
        if said not in text:
            subject.fail(f"the chat template of its tokenizer drops {role}; it must write it, or refuse it")


def _check_context(subject: Subject, llm: Any) -> None:
    """Check that a sequence may be as long as ``context`` says."""
    if llm.context > LONGEST:
        subject.left_out(f"a sequence of its whole context, {llm.context}: give a context up to {LONGEST} to try one")
        return
    embeds_BSE = 0.1 * noise(1, llm.context, llm.dim)
    mask_BS = torch.ones(1, llm.context, dtype=torch.bool)
    with torch.no_grad(), subject.doing(f"forward of {llm.context} tokens, which its context promises,"):
        hidden_BSE = llm.eval()(embeds_BSE, padded_layout(mask_BS))
    if not hidden_BSE.isfinite().all():
        subject.fail(f"forward of {llm.context} tokens, which its context promises, gives NaN or infinity")
    subject.passed("a sequence may be as long as its context")


def _check_mode(subject: Subject, llm: Any, embeds_BSE: Tensor) -> None:
    """Check that answers in the midst of training leave the model in train mode, and trainable."""
    llm.train().requires_grad_(True)
    before = {name: part.training for name, part in llm.named_modules()}
    mask_BS = torch.ones(embeds_BSE.shape[:2], dtype=torch.bool)
    with torch.random.fork_rng(devices=[]), subject.doing("generate() in train mode"):
        llm.generate(embeds_BSE, mask_BS, max_new_tokens=2)
    if changed := [name or "itself" for name, part in llm.named_modules() if part.training != before[name]]:
        subject.fail(f"generate leaves {changed[0]} in another mode than it was; training would go on without dropout")
    if frozen := [name for name, parameter in llm.named_parameters() if not parameter.requires_grad]:
        subject.fail(f"generate freezes {some_of(frozen)}; training would go on without them")
    llm.eval()


def _check_loss(subject: Subject, llm: Any, embeds_BSE: Tensor) -> None:
    """Check that the loss is the sum of cross-entropies at supervised positions only."""
    taught_L, targets_L = torch.tensor([1, 4, LENGTH + 2]), torch.tensor([3, 0, 5])
    with torch.no_grad(), subject.doing("loss()"):
        hidden_BSE = llm.eval()(embeds_BSE, padded_layout(torch.ones(embeds_BSE.shape[:2], dtype=torch.bool)))
        loss = llm.loss(hidden_BSE, taught_L, targets_L)
        logits_LV = llm.logits(hidden_BSE.flatten(0, 1)[taught_L]).float()
    expected = torch.nn.functional.cross_entropy(logits_LV, targets_L, reduction="sum")
    if loss.tokens != len(targets_L) or not torch.allclose(loss.total, expected, rtol=1e-4, atol=TOLERANCE):
        subject.fail(
            f"loss gives {float(loss.total):.6g} for {loss.tokens} tokens; the sum of the cross-entropies of its own "
            f"logits is {float(expected):.6g} for {len(targets_L)}"
        )
    hidden_BSE.requires_grad_(True)
    with subject.doing("loss() and its gradient"):
        llm.loss(hidden_BSE, taught_L, targets_L).total.backward()
    if hidden_BSE.grad is None or not hidden_BSE.grad.any():
        subject.fail("no gradient of loss reaches the hidden states, so nothing could be trained")
    with subject.doing("loss() of a batch in which nothing is supervised"):
        empty = llm.loss(hidden_BSE, taught_L[:0], targets_L[:0])
    if empty.tokens or float(empty.total.detach()):
        subject.fail(f"loss of nothing is {float(empty.total.detach())} over {empty.tokens} tokens; both must be 0")
    llm.zero_grad()


def _hidden(subject: Subject, llm: Any, embeds_BSE: Tensor, mask_BS: Tensor) -> Tensor:
    with torch.no_grad(), subject.doing("forward with padding"):
        return llm.eval()(embeds_BSE, padded_layout(mask_BS))


def _check_order(subject: Subject, llm: Any, embeds_BSE: Tensor) -> None:
    mask_BS = torch.ones(embeds_BSE.shape[:2], dtype=torch.bool)
    changed_BSE = embeds_BSE.clone()
    changed_BSE[:, -1] += noise(*embeds_BSE[:, -1].shape)  # no constant: a LayerNorm would take it out
    before, after = (_hidden(subject, llm, item, mask_BS) for item in (embeds_BSE, changed_BSE))
    if not torch.allclose(before[:, :-1], after[:, :-1], atol=TOLERANCE):
        subject.fail("sees the future: a change of the last token changes what comes before it")
    if torch.allclose(before[:, -1], after[:, -1], atol=TOLERANCE):
        subject.fail("does not see its input: a change of the last token changes nothing")


def _check_padding(subject: Subject, llm: Any, embeds_BSE: Tensor) -> None:
    plain = _hidden(subject, llm, embeds_BSE, torch.ones(embeds_BSE.shape[:2], dtype=torch.bool))
    padding = 3 + noise(*embeds_BSE[:, :3].shape)
    for side, pieces, place in (
        ("left", (padding, embeds_BSE), slice(3, None)),
        ("right", (embeds_BSE, padding), slice(0, -3)),
    ):
        padded_BSE = torch.cat(pieces, dim=1)
        mask_BS = torch.zeros(padded_BSE.shape[:2], dtype=torch.bool)
        mask_BS[:, place] = True
        if not torch.allclose(_hidden(subject, llm, padded_BSE, mask_BS)[:, place], plain, atol=TOLERANCE):
            subject.fail(f"padding on the {side} changes the hidden states of the tokens (mask or positions ignore it)")


def _check_packed(subject: Subject, llm: Any, embeds_BSE: Tensor) -> None:
    """Check two conversations in one row, each with positions from 0: a token sees its own conversation only."""
    rows, length = embeds_BSE.shape[:2]
    mask_BS = torch.ones(1, rows * length, dtype=torch.bool)
    positions_BS = torch.arange(length).repeat(rows)[None]
    segments_BS = torch.arange(rows).repeat_interleave(length)[None]
    layout = SequenceLayout(mask_BS, positions_BS, segments_BS)
    plain = _hidden(subject, llm, embeds_BSE, mask_BS.view(rows, length))
    try:
        with torch.no_grad(), subject.doing("forward of packed rows", refusals=True):
            packed = llm.eval()(embeds_BSE.flatten(0, 1)[None], layout)
    except UserError as error:
        subject.left_out(f"several conversations in one row: it refuses them ({error})")
        return
    if not torch.allclose(packed.view_as(plain), plain, atol=TOLERANCE):
        subject.fail(
            "a conversation that shares a row with another (layout.segments_BS) has other hidden states than alone; "
            "a token sees its own segment only, from position 0, or such rows are refused with a vlframe.ConfigError"
        )


def _check_generate(subject: Subject, llm: Any, embeds_BSE: Tensor) -> None:
    """Check that a batch with left padding generates the same as each row by itself: what is likeliest."""
    _check_greedy(subject, llm, embeds_BSE)
    short = LENGTH - 4
    mask_BS = torch.ones(embeds_BSE.shape[:2], dtype=torch.bool)
    mask_BS[1, :-short] = False
    with subject.doing("generate()"):
        batch_BG = llm.generate(embeds_BSE, mask_BS, max_new_tokens=NEW_TOKENS)
        alone = [
            llm.generate(embeds_BSE[row : row + 1, start:], mask_BS[row : row + 1, start:], max_new_tokens=NEW_TOKENS)[
                0
            ]
            for row, start in ((0, 0), (1, LENGTH - short))
        ]
    if batch_BG.ndim != 2 or len(batch_BG) != 2 or batch_BG.shape[1] > NEW_TOKENS or batch_BG.is_floating_point():
        subject.fail(f"generate gives {batch_BG.dtype} {tuple(batch_BG.shape)} for 2 rows of {NEW_TOKENS} new tokens")
    for row, ids_G in enumerate(alone):
        common = min(len(ids_G), batch_BG.shape[1])
        rest = [*batch_BG[row, common:].tolist(), *ids_G[common:].tolist()]
        if not torch.equal(batch_BG[row, :common], ids_G[:common]) or len(set(rest)) > 1:
            subject.fail(f"generate gives row {row} other tokens in a batch with left padding than alone")


def _check_greedy(subject: Subject, llm: Any, embeds_BSE: Tensor) -> None:
    """Check that ``generate`` without settings gives, token by token, the likeliest of its own logits."""
    mask_BS = torch.ones(embeds_BSE.shape[:2], dtype=torch.bool)
    with subject.doing("generate()"):
        ids_BG, again_BG = (llm.generate(embeds_BSE, mask_BS, max_new_tokens=NEW_TOKENS) for _ in range(2))
    if ids_BG.shape != again_BG.shape or not torch.equal(ids_BG, again_BG):
        subject.fail("generate differs from call to call; it is greedy by default, and keeps nothing of a call before")
    ends = {*llm.tokenizer.all_special_ids}
    for row, answer in enumerate(ids_BG.tolist()):
        written = next((place + 1 for place, token in enumerate(answer) if token in ends), len(answer))
        if written == len(answer) < NEW_TOKENS and answer[-1:] and answer[-1] not in ends:
            subject.fail(f"generate gives {len(answer)} tokens of {NEW_TOKENS} without an end")
        _check_likeliest(subject, llm, embeds_BSE[row : row + 1], answer[:written])


def _check_likeliest(subject: Subject, llm: Any, embeds_1SE: Tensor, answer: list[int]) -> None:
    """Check each token of an answer against the logits of ``forward``."""
    length = embeds_1SE.shape[1]
    with torch.no_grad(), subject.doing("forward() of an answer of its own"):
        whole_1SE = torch.cat([embeds_1SE, llm.eval().embed(torch.tensor([answer]))], dim=1)
        mask_1S = torch.ones(whole_1SE.shape[:2], dtype=torch.bool)
        logits_GV = llm.logits(llm(whole_1SE, padded_layout(mask_1S)))[0, length - 1 : -1]
    for place, (token, logits_V) in enumerate(zip(answer, logits_GV, strict=True)):
        short_by = float(logits_V.max() - logits_V[token])
        if short_by > LIKELIEST:
            subject.fail(
                f"generate writes {token} as token number {place}, where forward and logits hold "
                f"{int(logits_V.argmax())} for likelier (by {short_by:.2g}); without settings it is greedy, and reads "
                "the whole prompt"
            )
