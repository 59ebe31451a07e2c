"""Round numbers for axes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values in [low, high] to pixels in [start, end], with round tick values in between."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scale(low: float, high: float, start: float, end: float, *, ticks: int, widen: bool = True) -> Scale:
    """A scale over [low, high] with about `ticks` ticks at multiples of 1, 2 or 5 times a power of ten.

    With `widen` the ends move outwards to the next tick. An empty range becomes one around its value.
    """
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    step = _round_step((high - low) / ticks)
    if widen:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Scale(low, high, start, end, tuple(index * step for index in range(first, last + 1)))


def tick_text(value: float, step: float) -> str:
    """A tick's value with just the decimals that its step needs."""
    if step < 1e-4 and value:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}".replace("-", "−")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    text = f"{abs(value):,.{decimals}f}" if abs(value) < 1e6 else f"{abs(value):.3g}"
    return f"−{text}" if value < -step / 2 else text


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))
