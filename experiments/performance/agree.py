"""Do both sides give the same? Nothing is printed about the cost of two things that differ."""

import numpy as np


def differences(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> list[str]:
    """What the two sides do not agree on, in words; ids must be equal, a loss to 1e-5 of itself."""
    found = [f"only one side has the {name}" for name in sorted(set(ours) ^ set(reference))]
    for name in sorted(set(ours) & set(reference)):
        left, right = ours[name], reference[name]
        if left.shape != right.shape:
            found.append(f"{name}: shapes {left.shape} and {right.shape}")
        elif left.dtype.kind == "i":
            if not np.array_equal(left, right):
                found.append(f"{name}: {left.tolist()} and {right.tolist()}")
        elif not np.allclose(left, right, rtol=1e-5 if name == "loss" else 1e-3, atol=_tolerance(name, right)):
            found.append(f"{name}: they differ by up to {np.abs(left - right).max():.2g} in {np.abs(right).max():.2g}")
    return found


def _tolerance(name: str, right: np.ndarray) -> float:
    """Sums in another order leave small numbers a little different, in proportion to the largest beside them."""
    return 0.0 if name == "loss" else 1e-4 * float(np.abs(right).max())
