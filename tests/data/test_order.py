"""The order of samples is a pure function of seed and position."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlframe.contracts.sample import Subset
from vlframe.data.order import BatchOrder, SampleOrder
from vlframe.errors import DataError


@given(length=st.integers(1, 50), seed=st.integers(0, 5), cut=st.integers(0, 120))
@settings(max_examples=50, deadline=None)
def test_any_stretch_is_the_same_however_it_is_reached(length: int, seed: int, cut: int) -> None:
    whole = SampleOrder(length, seed).take(0, 120)
    assert SampleOrder(length, seed).take(cut, 120) == whole[cut:]


@given(length=st.integers(1, 40), seed=st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_every_epoch_has_every_sample_once(length: int, seed: int) -> None:
    order = SampleOrder(length, seed)
    epochs = [order.take(epoch * length, (epoch + 1) * length) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(length)) for epoch in epochs)
    assert length < 8 or epochs[0] != epochs[1]


def test_a_mixture_keeps_its_shares_at_every_moment_and_visits_evenly() -> None:
    order = SampleOrder(110, 3, [Subset(0, 10, 1.0), Subset(10, 110, 3.0)])
    drawn = order.take(0, 400)
    for stop in (4, 40, 123, 400):
        assert abs(sum(index < 10 for index in drawn[:stop]) - stop / 4) <= 1
    small = [index for index in drawn if index < 10]
    assert all(small.count(index) == 10 for index in range(10))
    assert len({index for index in drawn if index >= 10}) == 100


@given(batch_size=st.integers(1, 5), total=st.integers(1, 6), world=st.integers(1, 3), start=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_ranks_share_out_the_stream_and_a_resumed_sampler_goes_on(
    batch_size: int, total: int, world: int, start: int
) -> None:
    def batches(rank: int, first: int = 0) -> list[list[int]]:
        order = SampleOrder(17, 1)
        return list(BatchOrder(order, batch_size=batch_size, total=total, start=first, rank=rank, world=world))

    ranks = [batches(rank) for rank in range(world)]
    stream = [index for number in range(total) for rank in range(world) for index, _ in ranks[rank][number]]
    assert stream == SampleOrder(17, 1).take(0, total * world * batch_size)
    assert batches(world - 1, min(start, total)) == ranks[world - 1][min(start, total) :]


@given(length=st.integers(1, 23), epochs=st.integers(1, 3), batch_size=st.integers(1, 4), world=st.integers(1, 4))
@settings(max_examples=80, deadline=None)
def test_ranks_see_every_sample_of_an_epoch_once_whatever_the_batches(
    length: int, epochs: int, batch_size: int, world: int
) -> None:
    draws = length * epochs
    total = -(-draws // (batch_size * world))
    ranks = [
        list(
            BatchOrder(SampleOrder(length, 1), batch_size=batch_size, total=total, draws=draws, rank=rank, world=world)
        )
        for rank in range(world)
    ]
    assert {len(batches) for batches in ranks} == {total}  # none waits for another
    stream = [index for number in range(total) for rank in range(world) for index, _ in ranks[rank][number]]
    for epoch in range(epochs):
        assert sorted(stream[epoch * length : (epoch + 1) * length]) == list(range(length))
    assert len(stream) == draws


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(DataError, match="no samples"):
        SampleOrder(0, 0)
    with pytest.raises(DataError, match="no samples"):
        SampleOrder(3, 0, [Subset(0, 3, 1.0), Subset(3, 3, 1.0)])
