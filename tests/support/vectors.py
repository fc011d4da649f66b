"""Distances between vectors, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np


def one_minus_cosine(a: Any, b: Any) -> float:
    """The largest 1 - cosine between two sets of vectors, row by row, without cancellation."""
    left, right = np.atleast_2d(np.asarray(a, np.float64)), np.atleast_2d(np.asarray(b, np.float64))
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    right = right / np.linalg.norm(right, axis=1, keepdims=True)
    return float((((left - right) ** 2).sum(axis=1) / 2).max())


def same_norms(a: Any, b: Any) -> bool:
    """Whether two sets of vectors have the same lengths, within 1e-5."""
    norms = [np.linalg.norm(np.atleast_2d(np.asarray(v, np.float64)), axis=1) for v in (a, b)]
    return bool(np.allclose(*norms, rtol=1e-5, atol=0))
