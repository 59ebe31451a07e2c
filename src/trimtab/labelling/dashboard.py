"""What the lead sees: how far the project is, who did what, and how far people agree."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from trimtab.evaluation.annotators import Annotator
from trimtab.evaluation.format import estimate_text
from trimtab.evaluation.scales import NORMS, Agreement
from trimtab.evaluation.statistics import Estimate
from trimtab.labelling.analysis import analyse
from trimtab.labelling.store import Store

KEPT_SECONDS = 15.0
"""How long numbers are shown again before they are computed anew: agreement over many labels takes a while."""


class Dashboard:
    """The numbers of a store, computed now and then. Call it with the store."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = -KEPT_SECONDS
        self._found: dict[str, Any] = {}

    def __call__(self, store: Store) -> dict[str, Any]:
        """What `dashboard.html` shows."""
        with self._lock:
            if time.monotonic() - self._at >= KEPT_SECONDS:
                self._found, self._at = summarise(store), time.monotonic()
            return self._found


def summarise(store: Store) -> dict[str, Any]:
    """Counts, people and agreement, the numbers as text with their intervals."""
    found = analyse(store.labelled_items(), first=store.settings.votes_for_agreement)
    numbers = {one.name: one for one in found.annotators}
    rows = store.read(
        "SELECT name, revoked, COUNT(labels.id) AS labels FROM annotators LEFT JOIN labels "
        "ON labels.annotator = annotators.id WHERE NOT is_lead GROUP BY annotators.id ORDER BY annotators.id"
    )
    people = [{**dict(row), "revoked": bool(row["revoked"]), **_person(numbers.get(row["name"]))} for row in rows]
    return {
        "counts": store.counts(),
        "people": people,
        "version": store.guidelines()[0],
        "agreement": [_agreement(row) for row in found.agreement],
        "norms": [
            {"who": norm.who, "agreement": f"{100 * norm.agreement:.1f} %", "source": norm.source} for norm in NORMS
        ],
    }


def _agreement(row: Agreement) -> dict[str, str]:
    return {
        "scale": row.scale,
        "n": f"{row.pairwise.n:,}",
        "pairwise": _share(row.pairwise),
        "alpha": "; ".join(f"{found.value:.2f} ({_ends(found)}) {level}" for level, found in row.alpha.items()),
        "ceiling": _share(row.ceiling),
    }


def _person(one: Annotator | None) -> dict[str, str]:
    names = ("agreement", "gold", "shown_first", "longer", "too_hard")
    if one is None:
        return dict.fromkeys(("seconds", *names), "")
    return {"seconds": f"{one.median_seconds:.0f} s", **{name: _share(getattr(one, name)) for name in names}}


def _share(estimate: Estimate | None) -> str:
    return "" if estimate is None else estimate_text(estimate, "share")


def _ends(estimate: Estimate) -> str:
    return f"{estimate.low:.2f} to {estimate.high:.2f}" if math.isfinite(estimate.low) else "unknown"
