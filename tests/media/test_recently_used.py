"""What was used last stays in memory, up to a limit; what is larger than the limit is not kept."""

import pickle
from operator import attrgetter

import torch

from vlframe.media.recently_used import RecentlyUsed


def test_what_was_not_used_for_longest_goes_first() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(3, len)
    for key in "abc":
        kept.put(key, key)
    assert kept.get("a") == "a"
    kept.put("b", "another")  # used again, as it was
    kept.put("d", "d")
    assert [kept.get(key) for key in "abcd"] == ["a", "b", None, "d"] and (len(kept), kept.held) == (3, 3)


def test_sizes_count_and_nothing_is_kept_beyond_the_limit() -> None:
    kept: RecentlyUsed[str] = RecentlyUsed(4, len)
    kept.put("whole", "1234")
    kept.put("larger", "12345")
    assert kept.get("whole") == "1234" and kept.get("larger") is None
    kept.put("small", "1")
    assert kept.get("whole") is None and kept.held == 1
    none: RecentlyUsed[str] = RecentlyUsed(0, len)
    none.put("a", "a")
    assert none.get("a") is None and len(none) == 0


def test_it_is_sent_to_data_workers() -> None:
    kept: RecentlyUsed[torch.Tensor] = RecentlyUsed(16, attrgetter("nbytes"))
    kept.put("a", torch.arange(2))
    copy = pickle.loads(pickle.dumps(kept))
    copy.put("b", torch.arange(1))
    assert copy.get("a") is None and copy.held == 8 and kept.held == 16
