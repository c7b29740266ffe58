"""Tables of tensor names: both directions, fused tensors, and nothing dropped in silence."""

from itertools import product
from typing import Any

import pytest
import torch
from helpers.key_maps import NAMES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vlframe import Concatenated, Fused, Interleaved, NameTable, Repeated, Route, TensorNames, WeightsError
from vlframe.weights.templates import Template

QUICK = settings(max_examples=60, deadline=None)
WORDS = st.sampled_from(["a", "b", "model", "0", "7", "x_y"])


def vectors(names: list[str], generator: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(generator)
    return {name: torch.randn(12) for name in names}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name


# --- any table ---


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """Two sides with the same fields, in any order, between words that are often those of other routes."""
    kinds = draw(st.lists(st.sampled_from(["", ":int", ":path"]), max_size=2))
    fields = [f"{{f{number}{kind}}}" for number, kind in enumerate(kinds)]
    sides = [draw(st.permutations(fields + draw(st.lists(WORDS, min_size=1, max_size=3)))) for _ in range(2)]
    return Route(".".join(sides[0]), draw(st.sampled_from(["encoder", "llm"])), ".".join(sides[1]))


@QUICK
@given(st.lists(routes(), min_size=1, max_size=5), st.lists(st.lists(WORDS, min_size=1, max_size=5), max_size=20))
def test_a_name_returns_is_refused_or_is_unknown(drawn: list[Route], words: list[list[str]]) -> None:
    """Whatever the table: never another name, and never two names in one place."""
    table = NameTable(TensorNames(tuple(drawn)))
    places: dict[Any, str] = {}
    for name in {".".join(item) for item in words}:
        try:
            canonical = table.canonical(name)
        except WeightsError as error:
            assert name in str(error)
            continue
        if canonical is None:
            assert not any(Template(route.theirs).match(name) for route in drawn)
            continue
        place = table.ours(canonical)
        assert canonical == name and place is not None and table.theirs(*place) == (name,)
        assert places.setdefault(place, name) == name


@QUICK
@given(st.lists(routes(), min_size=1, max_size=5), st.lists(st.lists(WORDS, min_size=1, max_size=5), max_size=20))
def test_every_tensor_arrives_or_is_named_in_an_error(drawn: list[Route], words: list[list[str]]) -> None:
    table = NameTable(TensorNames(tuple(drawn)))
    tensors = vectors(sorted({".".join(item) for item in words}))
    try:
        parts = table.join(tensors)
    except WeightsError as error:
        assert any(name in str(error) for name in tensors)
        return
    arrived = [name for part in parts.values() for item in part.values() for name in item.made_of]
    assert sorted(arrived) == sorted(tensors)
    same(table.split({part: {n: item.tensor for n, item in found.items()} for part, found in parts.items()}), tensors)


def test_a_template_that_covers_another_describes_all_its_names() -> None:
    """All pairs of templates of up to three parts; the names of each with values that could be mistaken."""
    parts = ("a", "0", "{f}", "{f:int}", "{f:path}")
    values = {None: ("a", "0"), "int": ("0", "12"), "path": ("a", "0.a", "a.0.12")}
    templates = []
    for length in (1, 2, 3):
        for chosen in product(parts, repeat=length):
            templates.append(Template(".".join(part.replace("f", f"f{n}", 1) for n, part in enumerate(chosen))))
    for special in templates:
        filled = product(*(values[kind] for kind in special.kinds.values()))
        names = [special.fill(dict(zip(special.kinds, item, strict=True))) for item in filled]
        covering = [general for general in templates if general.covers(special)]
        assert special in covering
        assert all(general.match(name) is not None for general in covering for name in names)
    assert Template("{rest:path}").covers(Template("a.{f}.{g:int}")) and not Template("{f}.0").covers(
        Template("a.{n:int}")
    )


# --- systems as data ---


@pytest.mark.parametrize("system", NAMES)
@QUICK
@given(data=st.data())
def test_there_and_back_is_the_identity_over_subsets_of_a_checkpoint(system: str, data: st.DataObject) -> None:
    names, known = NAMES[system]
    table = NameTable(names)
    chosen = data.draw(st.lists(st.sampled_from(known), unique=True))
    pairs = {"q_bias": "v_bias", "v_bias": "q_bias"}  # pieces of one tensor are there together
    chosen += [n[:-6] + pairs[n[-6:]] for n in chosen if n[-6:] in pairs and n[:-6] + pairs[n[-6:]] not in chosen]
    tensors = vectors(chosen, data.draw(st.integers(0, 99)))
    assert [table.canonical(name) for name in tensors] == list(tensors)
    routed = {name: tensor for name, tensor in tensors.items() if table.ours(name) is not None}
    for name in tensors.keys() - routed.keys():
        assert table.is_unused(name) or table.is_buffer(name)
    parts = table.join(routed)
    assert {name for part in parts.values() for item in part.values() for name in item.made_of} == routed.keys()
    same(table.split({part: {n: item.tensor for n, item in found.items()} for part, found in parts.items()}), routed)


def test_the_places_that_the_tested_key_maps_of_the_prior_systems_name() -> None:
    names, known = NAMES["video_llama"]
    parts = NameTable(names).join(vectors([n for n in known if NameTable(names).ours(n) is not None]))
    assert {
        "encoder.layers.38.layer_norm1.weight", "encoder.layers.0.self_attn.qkv.bias",
        "encoder.layers.7.self_attn.projection.bias", "post_layernorm.weight",
    } <= parts["encoder"].keys()  # fmt: skip
    assert {
        "frame.qformer.layernorm.weight", "video.qformer.encoder.layer.11.attention.attention.query.weight",
        "frame.qformer.encoder.layer.0.crossattention.attention.key.weight", "projection.bias",
        "video.qformer.encoder.layer.1.output_query.LayerNorm.weight",
    } <= parts["connector"].keys()  # fmt: skip
    bias = parts["encoder"]["encoder.layers.0.self_attn.qkv.bias"]
    assert bias.made_of == ("visual_encoder.blocks.0.attn.q_bias", "visual_encoder.blocks.0.attn.v_bias")
    assert bias.tensor.shape == (36,) and not bias.tensor[12:24].any() and bias.tensor[:12].all()


def test_wrappers_and_other_spellings_are_read_and_not_written() -> None:
    table = NameTable(NAMES["videochat2"][0])
    plain = "llama_model.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    for written in (plain, plain.replace("llama_model.", "mistral_model.base_model.model.")):
        assert table.canonical(written) == plain
    assert table.canonical("phi_proj.bias") == "llama_proj.bias"
    wrapped = NameTable(NAMES["video_llama"][0])
    assert wrapped.canonical("module.model.module.query_tokens") == "query_tokens"
    assert wrapped.canonical("module.strange") is None


# --- fused tensors ---


@QUICK
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(1, 3),
    st.sampled_from([(), (3,), (2, 2)]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.data(),
)
def test_concatenation_is_exact_both_ways(
    shares: list[int], unit: int, rest: tuple[int, ...], dtype: torch.dtype, data: st.DataObject
) -> None:
    zeros = tuple(data.draw(st.sets(st.integers(0, len(shares) - 1), max_size=len(shares) - 1)))
    pieces = [torch.randn(unit * share, *rest).to(dtype) for place, share in enumerate(shares) if place not in zeros]
    fusion = Concatenated(tuple(shares), tuple(zeros))
    whole = fusion.join(pieces)
    assert whole.shape == (unit * sum(shares), *rest) and whole.dtype == dtype
    back = fusion.split(whole, len(pieces))
    assert all(torch.equal(one, other) for one, other in zip(back, pieces, strict=True))
    assert torch.equal(fusion.join(back), whole)


@QUICK
@given(st.integers(1, 4), st.integers(1, 3), st.integers(2, 3), st.sampled_from([(), (5,)]))
def test_interleaving_is_exact_and_is_that_of_the_reshape(
    heads: int, width: int, count: int, rest: tuple[int, ...]
) -> None:
    pieces = [torch.randn(heads * width, *rest) for _ in range(count)]
    whole = Interleaved(heads).join(pieces)
    for place, piece in enumerate(pieces):  # as mPLUG-Owl reads it: reshape(heads, 3, head width)
        assert torch.equal(whole.reshape(heads, count, width, *rest)[:, place].reshape(piece.shape), piece)
    back = Interleaved(heads).split(whole, count)
    assert all(torch.equal(one, other) for one, other in zip(back, pieces, strict=True))


EXPERTS = TensorNames(
    routes=(Route("{rest:path}", "llm", "lm.{rest:path}"),),
    fused=(
        Fused(
            "llm", ("{l:int}.e.{x:int}.w1", "{l:int}.e.{x:int}.w3"), "lm.{l:int}.gate_up", Concatenated(), stacked="x"
        ),
        Fused("llm", ("{l:int}.e.{x:int}.w2",), "lm.{l:int}.down", Concatenated(), stacked="x"),
    ),
)  # fmt: skip


@QUICK
@given(st.integers(1, 12), st.permutations(["w1", "w2", "w3"]), st.randoms(use_true_random=False))
def test_experts_are_stacked_by_number_whatever_their_order(count: int, matrices: list[str], random: Any) -> None:
    names = [f"{layer}.e.{number}.{matrix}" for layer in (0, 10) for number in range(count) for matrix in matrices]
    random.shuffle(names)
    tensors = {name: torch.randn(3, 2) for name in names}
    table = NameTable(EXPERTS)
    joined = table.join(tensors)["llm"]
    assert joined.keys() == {"lm.0.gate_up", "lm.10.gate_up", "lm.0.down", "lm.10.down"}
    assert joined["lm.10.gate_up"].tensor.shape == (count, 6, 2)
    assert torch.equal(joined["lm.10.gate_up"].tensor[count - 1, 3:], tensors[f"10.e.{count - 1}.w3"])
    same(table.split({"llm": {name: item.tensor for name, item in joined.items()}}), tensors)
    assert table.theirs("llm", "lm.3.gate_up") == ("3.e.{x:int}.w1", "3.e.{x:int}.w3")


@pytest.mark.parametrize(
    ("held", "absent"),
    [
        (["0.e.0.w1", "0.e.1.w1", "0.e.1.w3"], r"no 0\.e\.0\.w3"),
        (["0.e.1.w2"], r"no 0\.e\.0\.w2"),
        (["0.e.999999999999.w2"], r"no 0\.e\.0\.w2, .*0\.e\.7\.w2$"),  # a damaged name must not fill the memory
    ],
)
def test_a_fused_tensor_without_all_its_pieces_is_an_error(held: list[str], absent: str) -> None:
    with pytest.raises(WeightsError, match=absent):
        NameTable(EXPERTS).join(vectors(held))


def test_pieces_that_do_not_fit_each_other_are_an_error() -> None:
    with pytest.raises(WeightsError, match=r"\(4, 2\), \(3, 2\) cannot be joined"):
        Concatenated().join([torch.zeros(4, 2), torch.zeros(3, 2)])
    with pytest.raises(WeightsError, match="cannot be joined"):
        Concatenated().join([torch.zeros(4), torch.zeros(4).half()])
    with pytest.raises(WeightsError, match="cannot be split in shares"):
        Concatenated().split(torch.zeros(5), 2)
    with pytest.raises(WeightsError, match="interleaved by 3 heads"):
        Interleaved(3).join([torch.zeros(4), torch.zeros(4)])


def test_a_trained_bias_that_the_other_format_has_no_place_for_is_not_dropped() -> None:
    with pytest.raises(WeightsError, match=r"section 1 .* is not zero"):
        Concatenated(zeros=(1,)).split(torch.ones(6), 2)


# --- what is refused ---


def test_an_ambiguous_route_is_an_error_and_a_special_case_is_not() -> None:
    ambiguous = (
        Route("a.{x}.{rest:path}", "llm", "one.{x}.{rest:path}"),
        Route("{x}.b.{rest:path}", "llm", "two.{x}.{rest:path}"),
    )
    with pytest.raises(WeightsError, match=r"a\.b\.c is ambiguous: 'a\.\{x\}.*' and '\{x\}\.b"):
        NameTable(TensorNames(ambiguous)).canonical("a.b.c")
    table = NameTable(TensorNames((*ambiguous, Route("a.b.{rest:path}", "connector", "{rest:path}"))))
    assert table.ours("a.b.c") == ("connector", "c") and table.ours("a.c.c") == ("llm", "one.c.c")


def test_two_names_for_one_place_are_an_error() -> None:
    table = NameTable(TensorNames((Route("a.{w}", "llm", "{w}"), Route("b.{w}", "llm", "{w}"))))
    with pytest.raises(WeightsError, match="ambiguous"):
        table.canonical("a.weight")
    renamed = (Route("{rest:path}", "llm", "{rest:path}"), Route("old.{w}", "llm", "new.{w}"))
    with pytest.raises(WeightsError, match=r"new\.x becomes new\.x of the llm, which is called old\.x there"):
        NameTable(TensorNames(renamed)).canonical("new.x")


def test_a_tensor_without_a_route_is_an_error_in_both_directions() -> None:
    table = NameTable(TensorNames((Route("a.{w}", "llm", "{w}.x"),)))
    with pytest.raises(WeightsError, match=r"tensor b\.weight belongs to no part"):
        table.join(vectors(["b.weight"]))
    with pytest.raises(WeightsError, match="llm has the tensor weight, which has no name in the other format"):
        table.split({"llm": vectors(["weight"])})


def test_second_names() -> None:
    repeated = (Repeated("layers.{i:int}.bias", "layers.0.bias"), Repeated("head", "embed"))
    table = NameTable(TensorNames((), repeated=repeated))
    assert table.first_name("layers.3.bias") == "layers.0.bias" and table.first_name("layers.0.bias") is None
    assert table.first_name("head") == "embed" and table.first_name("layers.x.bias") is None


def test_a_table_that_cannot_be_read_backwards_is_refused_when_it_is_made() -> None:
    with pytest.raises(AssertionError, match="same fields"):
        NameTable(TensorNames((Route("a.{x}.{y}", "llm", "{x}"),)))
