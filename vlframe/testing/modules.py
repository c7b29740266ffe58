"""Checks of every component with weights. B batch; the other shapes are those of the contracts."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vlframe.errors import WeightsError, some_of
from vlframe.model.selection import blocks_of
from vlframe.testing.subject import Subject
from vlframe.testing.surroundings import random_states
from vlframe.weights.parts import distinct_tensors
from vlframe.weights.strict import load_strict

TOLERANCE = 1e-4  # float32, small sizes: only rounding


@dataclass(frozen=True)
class Case:
    """One call of ``forward``: its description, its arguments, and the declared shape. The first axis is B = 2."""

    what: str
    inputs: tuple[Tensor, ...]
    shape: tuple[int, ...]
    arguments: Callable[..., tuple[Any, ...]] | None = None  # maps ``inputs`` to forward's arguments; None: unchanged
    keywords: tuple[str, ...] = ()  # names of forward's last arguments

    def call(self, module: Any) -> Any:
        taken = self.inputs if self.arguments is None else self.arguments(*self.inputs)
        positional = len(taken) - len(self.keywords)
        return module(*taken[:positional], **dict(zip(self.keywords, taken[positional:], strict=True)))


def noise(*shape: int) -> Tensor:
    """Return standard normal numbers, the same every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def check_module(
    subject: Subject, planned: Any, neighbours: Mapping[str, Any], cases: Sequence[Case], unused: Sequence[str]
) -> None:
    """Check everything that encoders, connectors and language models have in common."""
    module = subject.build(**neighbours)
    _check_planned(subject, planned, module)
    subject.passed("planned on the meta device it has the same parameters, and no memory")
    awaken(module)
    for case in cases:
        output = check_forward(subject, module, case)
        _check_rows(subject, module, case, output)
        _check_constant(subject, module, case)
    subject.passed("forward: promised shapes, finite, the same twice, input, state and process untouched")
    subject.passed("a row does not depend on the others, their number and their order")
    _check_training(subject, module, cases)
    _check_gradients(subject, module, cases, unused)
    subject.passed("it trains: gradients reach every parameter")
    _check_offers(subject, module, cases[0])
    _check_precision(subject, module, cases[0])
    subject.passed("it runs in bf16, with trained and with frozen weights")
    _check_weights(subject, module, replace(subject, seed=1).build(**neighbours), cases)
    subject.passed("a checkpoint of it restores it in another process")


def awaken(module: nn.Module) -> None:
    """Add noise to parameters whose values are all equal, as those of a map or of a gate that start at zero: it would
    hide what stands before it. Norms, which start at one, hardly change.
    """
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            if not parameter.is_floating_point() or parameter.device.type == "meta" or not parameter.numel():
                continue
            if parameter.min() == parameter.max() and (parameter.numel() > 1 or not parameter.any()):
                generator = torch.Generator().manual_seed(number)
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


def run(subject: Subject, module: nn.Module, case: Case) -> Tensor:
    """Return what ``forward`` gives, which is one tensor."""
    with subject.doing(f"forward of {case.what}"):
        output = case.call(module)
    if not isinstance(output, Tensor):
        subject.fail(f"forward of {case.what} gives a {type(output).__name__}; it must give one tensor")
    return output


def copied(subject: Subject, module: nn.Module) -> nn.Module:
    with subject.doing("copying it with copy.deepcopy, as averaging of weights does,"):
        return copy.deepcopy(module)


def backward(subject: Subject, what: str, total: Tensor) -> None:
    with subject.doing(f"backward of {what}"):
        total.backward()


def check_forward(subject: Subject, module: nn.Module, case: Case) -> Tensor:
    """Check one forward pass in eval mode: shape, finite numbers, the same twice, inputs and random state untouched."""
    module.eval()
    before = [item.clone() for item in case.inputs]
    state = {name: item.clone() for name, item in module.state_dict().items()}
    with torch.no_grad(), _untouched_rng(subject, case.what):
        output = run(subject, module, case)
        _check_untouched(subject, module, case, before, state)  # first: what follows would look like chance
        again = run(subject, module, case)
    if tuple(output.shape) != case.shape:
        subject.fail(f"forward of {case.what} gives shape {tuple(output.shape)} and promises {case.shape}")
    if output.dtype != torch.float32:
        subject.fail(f"forward of {case.what} gives {output.dtype} with float32 weights")
    if not output.isfinite().all():
        subject.fail(f"forward of {case.what} gives NaN or infinity")
    if not torch.equal(output, again):
        subject.fail(f"forward of {case.what} differs from call to call in eval mode (dropout that ignores eval()?)")
    return output


def _check_untouched(
    subject: Subject, module: nn.Module, case: Case, before: Sequence[Tensor], state: Mapping[str, Tensor]
) -> None:
    """Check that a forward pass in eval mode leaves its input, its own state and its mode as they were."""
    if not all(torch.equal(*pair) for pair in zip(before, case.inputs, strict=True)):
        subject.fail(f"forward of {case.what} writes into its input; work on a copy")
    changed = [name for name, item in module.state_dict().items() if not torch.equal(item, state.get(name, item + 1))]
    if changed:
        subject.fail(f"forward of {case.what} changes {some_of(changed)} in eval mode, which a checkpoint holds")
    if switched := [name or "itself" for name, part in module.named_modules() if part.training]:
        subject.fail(f"forward of {case.what} switches {some_of(switched)} to train mode")


@contextmanager
def _untouched_rng(subject: Subject, what: str) -> Iterator[None]:
    """Check that evaluation does not advance the random state of the training around it."""
    before = random_states()
    yield
    moved = [name for name, state in random_states().items() if state != before[name]]
    if moved:
        subject.fail(f"forward of {what} draws from the global random numbers of {' and '.join(moved)} in eval mode")


def _check_planned(subject: Subject, planned: Any, module: Any) -> None:
    for part in (planned, module):
        if not isinstance(part, nn.Module):
            subject.fail(f"is a {type(part).__name__}; it must be a torch.nn.Module")
    real = [name for name, parameter in planned.named_parameters() if parameter.device.type != "meta"]
    if real:
        subject.fail(f"has real memory for {', '.join(real[:4])} on the meta device: none while vlframe.is_meta()")
    expected = {name: tuple(item.shape) for name, item in module.named_parameters()}
    found = {name: tuple(item.shape) for name, item in planned.named_parameters()}
    if found != expected:
        differs = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        subject.fail(f"has other parameters while planning than when built: {', '.join(differs[:4])}")


def _check_rows(subject: Subject, module: nn.Module, case: Case, output: Tensor) -> None:
    """Check that a row is the same alone, in another order, and among more rows."""
    last = len(output) - 1
    others: list[tuple[tuple[int, ...], str]] = [((index,), f"row {index} alone") for index in range(len(output))]
    others += [(tuple(range(last, -1, -1)), "its rows in another order"), ((0, last, last), "three rows")]
    others += [((last, 0, last, 0, 0, last, last), "seven rows")]
    for rows, words in others:
        inputs = tuple(item[list(rows)] for item in case.inputs)
        with torch.no_grad():
            found = run(subject, module, replace(case, what=f"{case.what}, {words}", inputs=inputs, shape=()))
        if found.shape != (len(rows), *output.shape[1:]):
            subject.fail(f"forward of {case.what}, {words}, gives shape {tuple(found.shape)}")
        for place, row in enumerate(rows):
            difference = float((found[place] - output[row]).abs().max())
            if difference > TOLERANCE * max(1.0, float(output.abs().max())):
                subject.fail(
                    f"row {row} of {case.what} depends on the other rows of its batch, or on its place in it "
                    f"(by {difference:.2g}, {words})"
                )


def _check_constant(subject: Subject, module: nn.Module, case: Case) -> None:
    """Check an input without any differences, as black frames and silence have, for which norms may divide by 0."""
    for value in (0.0, 1.0):
        first = torch.full_like(case.inputs[0], value)
        what = f"{case.what} all of them {value:g},"
        with torch.no_grad():
            output = run(subject, module, replace(case, what=what, inputs=(first, *case.inputs[1:])))
        if not output.isfinite().all():
            subject.fail(f"forward of {what} gives NaN or infinity: black frames and silence are such")


def _check_training(subject: Subject, module: nn.Module, cases: Sequence[Case]) -> None:
    module = copied(subject, module).train()
    for case in cases:
        before = [item.clone() for item in case.inputs]
        with torch.random.fork_rng(devices=[]):
            shape = tuple(run(subject, module, replace(case, what=f"{case.what} in train mode")).shape)
        if not all(torch.equal(*pair) for pair in zip(before, case.inputs, strict=True)):
            subject.fail(f"forward of {case.what} writes into its input in train mode; work on a copy")
        if shape != case.shape:
            subject.fail(f"forward of {case.what} gives shape {shape} in train mode and promises {case.shape}")
        _check_training_rows(subject, module, case)


def _check_training_rows(subject: Subject, module: nn.Module, case: Case) -> None:
    """Check that a row can be trained alone, and that others have no part in it, with equal dropout. Batch norms, which
    mix rows by design, are left out.
    """
    one = replace(case, what=f"{case.what} one row in train mode", inputs=tuple(item[:1] for item in case.inputs))
    changed = (torch.cat([case.inputs[0][:1], 2 - case.inputs[0][1:]]), *case.inputs[1:])
    outputs = []
    for trial in (one, case, replace(case, inputs=changed)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            outputs.append(run(subject, module, trial)[0].detach())
    _, plain, beside_another = outputs
    mixing = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    if not mixing and not torch.allclose(plain, beside_another, atol=TOLERANCE * max(1.0, float(plain.abs().max()))):
        subject.fail(f"row 0 of {case.what} depends on the other rows of its batch in train mode")


def _check_gradients(subject: Subject, module: nn.Module, cases: Sequence[Case], unused: Sequence[str]) -> None:
    """Check that every trainable parameter affects the output of some case."""
    module.eval().requires_grad_(True)
    module.zero_grad()
    for case in cases if list(module.parameters()) else ():
        output = run(subject, module, case)
        if not output.requires_grad:
            subject.fail(f"forward of {case.what} is cut off from its parameters (no_grad or detach inside?)")
        backward(subject, case.what, (output * noise(*output.shape)).sum())
    lost = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    undeclared = [name for name in lost if not _declared(name, unused)]
    if undeclared:
        subject.fail(
            f"no gradient reaches {some_of(undeclared)}; drop what is not used, or name it in unused= of a test"
        )
    _check_dead(subject, module, unused)
    vain = [name for name in unused if not any(_declared(key, [name]) for key in lost)]
    if vain:
        subject.fail(f"unused={vain} names parameters that are used, or not there")
    if bad := [name for name, p in module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]:
        subject.fail(f"the gradient of {', '.join(bad[:4])} is NaN or infinite")
    module.zero_grad()


def _check_dead(subject: Subject, module: nn.Module, unused: Sequence[str]) -> None:
    """Check that no direct member learns nothing at all. A layer deep inside may: the last one of a decoder may compute
    text that nobody reads.
    """
    learns: dict[str, bool] = {}
    for name, parameter in module.named_parameters():
        member = name.partition(".")[0]
        if parameter.grad is not None and not _declared(name, unused):
            learns[member] = learns.get(member, False) or bool(parameter.grad.any())
    if dead := [member for member, any_learns in learns.items() if not any_learns]:
        subject.fail(
            f"the gradient of {some_of(dead)} is 0 everywhere, so nothing is learned (round(), sign(), or a factor of "
            "0 on the way?)"
        )


def _declared(name: str, unused: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in unused)


def _check_offers(subject: Subject, module: nn.Module, case: Case) -> None:
    """Check what a part may offer to training: its blocks, recomputation, and the layers that adapters go to."""
    own = [part for part in module.modules() if part is not module]
    if hasattr(module, "blocks"):
        with subject.doing("blocks()"):
            blocks = blocks_of(module)
        if not blocks or not all(any(block is part for part in own) for block in blocks):
            subject.fail(
                "blocks() gives modules that are no parts of it; it must give its layers, from input to output"
            )
    if targets := getattr(module, "lora_targets", ()):
        names = ["." + name for name, _ in module.named_modules()]
        if strange := [target for target in targets if not any(name.endswith("." + target) for name in names)]:
            subject.fail(f"lora_targets names {some_of(strange)}, which it has no layers of")
    if not hasattr(module, "enable_gradient_checkpointing"):
        return
    part: Any = copied(subject, module).train()
    with subject.doing("enable_gradient_checkpointing()"):
        part.enable_gradient_checkpointing()
    with torch.random.fork_rng(devices=[]):
        output = run(subject, part, replace(case, what=f"{case.what} with recomputed activations"))
    backward(subject, f"{case.what} with recomputed activations", (output * noise(*output.shape)).sum())


def check_features(subject: Subject, module: nn.Module, cases: Sequence[Case]) -> None:
    """Check what a connector makes of features that another part computes, and of what it asks for besides."""
    for case in cases:
        with torch.no_grad():
            output = run(subject, module.eval(), case)
        _check_strided(subject, module, case, output)
        _check_read(subject, module, case, output)
    subject.passed("features may lie in memory in any order, and all that is asked for besides is read")


def _check_strided(subject: Subject, module: nn.Module, case: Case, output: Tensor) -> None:
    """Check an input whose axes lie in memory in another order, as what another part has transposed."""
    inputs = tuple(item if item.ndim < 3 else item.mT.contiguous().mT for item in case.inputs)
    with torch.no_grad():
        found = run(subject, module, replace(case, what=f"{case.what} transposed in memory (.view()?),", inputs=inputs))
    if not torch.allclose(found, output, atol=TOLERANCE * max(1.0, float(output.abs().max()))):
        subject.fail(f"forward of {case.what} gives other numbers where its input is transposed in memory")


def _check_read(subject: Subject, module: nn.Module, case: Case, output: Tensor) -> None:
    """Check that what a part asks for besides its features (a question, seconds) changes what it gives."""
    for number in range(1, len(case.inputs)):
        changed = case.inputs[number].flip(0)
        if torch.equal(changed, case.inputs[number]):
            continue
        inputs = (*case.inputs[:number], changed, *case.inputs[number + 1 :])
        with torch.no_grad():
            found = run(subject, module, replace(case, inputs=inputs))
        if torch.equal(found, output):
            asked = ", ".join(case.keywords) or "the instruction"
            subject.fail(f"forward of {case.what} gives the same whatever {asked} is; drop what is asked for in vain")


def check_input_gradient(subject: Subject, module: nn.Module, case: Case) -> None:
    """Check that gradients reach the input, so that earlier parts can be trained."""
    first = case.inputs[0].clone().requires_grad_(True)
    output = run(subject, module.eval(), replace(case, inputs=(first, *case.inputs[1:])))
    if not output.requires_grad:
        subject.fail(f"no gradient reaches the input of {case.what}, so nothing before it could be trained")
    backward(subject, case.what, (output * noise(*output.shape)).sum())
    if first.grad is None or not first.grad.abs().max() > 0:
        subject.fail(f"no gradient reaches the input of {case.what}, so nothing before it could be trained")
    module.zero_grad()


def _check_precision(subject: Subject, module: nn.Module, case: Case) -> None:
    """Check bf16 runs: autocast with float32 weights (trained) or bfloat16 matrices (frozen)."""
    for frozen in (False, True):
        part = copied(subject, module).eval()
        for parameter in part.parameters():
            if frozen and parameter.ndim >= 2:
                parameter.data = parameter.data.bfloat16()
        weights = "frozen bfloat16" if frozen else "float32"
        what = f"{case.what} in a bf16 run with {weights} weights"
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            output = run(subject, part, replace(case, what=what))
        if tuple(output.shape) != case.shape or not output.is_floating_point() or not output.isfinite().all():
            subject.fail(f"forward of {what} gives {output.dtype} of shape {tuple(output.shape)}, or no finite numbers")


def _check_weights(subject: Subject, module: nn.Module, other: nn.Module, cases: Sequence[Case]) -> None:
    """Check that the state dict is complete: a checkpoint restores the module in one with other random weights."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.01)  # different from anything that building could produce
        wanted = [run(subject, module.eval(), case) for case in cases]
        run(subject, other.eval(), cases[0])  # what it computes once, and keeps, is of the weights before
    tensors = distinct_tensors(module)
    with tempfile.TemporaryDirectory() as folder, subject.doing("its checkpoint"):
        file = Path(folder) / "part.safetensors"
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, file)
        try:
            load_strict(other, load_file(file), "its checkpoint", ignore=set(other.state_dict()) - set(tensors))
        except WeightsError as error:
            subject.fail(f"its own checkpoint does not fit it when it is built again: {error}")
    with torch.no_grad():
        found = [run(subject, other.eval(), case) for case in cases]
    if not all(torch.allclose(*pair, atol=TOLERANCE) for pair in zip(found, wanted, strict=True)):
        subject.fail(
            "gives other numbers after saving and loading: something it computes with is not in state_dict(), or was "
            "computed from the weights before and kept"
        )
