"""Seeds from seeds: every use of randomness gets a stream of its own, named by a tuple of integers."""

from __future__ import annotations


def mix(*seeds: int) -> int:
    """One seed from several, such that different tuples give unrelated streams."""
    mixed = 0x9E3779B97F4A7C15
    for seed in seeds:
        mixed = ((mixed ^ (seed & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 31
    return mixed & 0x7FFFFFFFFFFFFFFF
