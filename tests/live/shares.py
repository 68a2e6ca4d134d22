"""Shares of a profile beside those that are known, and how far chance may part the two."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

CONFIDENCE = 0.999


class Wrong(NamedTuple):
    """A part whose share is not explained by chance: its samples, and how many there may be."""

    part: str
    samples: int
    least: int
    most: int


def wrong_shares(counts: Mapping[str, int], truth: Mapping[str, float]) -> list[Wrong]:
    """The parts whose number of samples chance does not explain.

    counts: samples by part. truth: seconds by part. All parts together are right in CONFIDENCE of
    all recordings (Bonferroni: the doubt is divided between them).
    """
    samples, seconds = sum(counts.values()), sum(truth.values())
    doubt = (1 - CONFIDENCE) / len(truth)
    wrong = []
    for part, took in truth.items():
        least, most = binomial_bounds(samples, took / seconds, doubt)
        if not least <= counts.get(part, 0) <= most:
            wrong.append(Wrong(part, counts.get(part, 0), least, most))
    return wrong


def binomial_bounds(trials: int, chance: float, doubt: float) -> tuple[int, int]:
    """The least and the most successes; fewer, and more, are each less likely than doubt / 2."""
    likelihood = [_binomial(trials, k, chance) for k in range(trials + 1)]
    least, below = 0, likelihood[0]
    while below < doubt / 2:
        least += 1
        below += likelihood[least]
    most, above = trials, likelihood[trials]
    while above < doubt / 2:
        most -= 1
        above += likelihood[most]
    return least, most


def _binomial(n: int, k: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == n * p)
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
