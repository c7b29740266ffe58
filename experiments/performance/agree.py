"""Compare the outputs of both sides: costs are only reported for equal outputs."""

import numpy as np


def differences(ours: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> list[str]:
    """Describe where the two sides differ; ids must be equal, a loss to a relative 1e-5."""
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
    """Return the tolerance: another order of sums changes numbers in proportion to the largest beside them."""
    return 0.0 if name == "loss" else 1e-4 * float(np.abs(right).max())
