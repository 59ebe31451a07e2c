"""The page on which a person reads chains of critique and revision, and filters them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from trimtab.evaluation.format import value_text

Row = Mapping[str, Any]


def write_chains_page(
    rows: Sequence[Row], requests: Mapping[str, str], path: Path, *, title: str, stage: str, constitution: str
) -> None:
    """Write rows of `chains.jsonl` as one HTML page. `requests` are the critique requests of the principles, by id."""
    path.write_text(render_chains(rows, requests, title=title, stage=stage, constitution=constitution), "utf-8")


def render_chains(
    rows: Sequence[Row], requests: Mapping[str, str], *, title: str, stage: str, constitution: str
) -> str:
    """The same page as text. Every text is escaped; the filter is style sheet alone, so nothing runs."""
    places = {name: place for place, name in enumerate(requests, start=1)}
    chains = [_chain(row, places, requests) for row in rows]
    used = [place for chain in chains for place in set(chain["principles"])]
    templates = files("trimtab.evaluation.report") / "templates"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((templates / "chains.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        stage=stage,
        constitution=constitution,
        lead=_lead(rows),
        principles=[{"id": name, "count": used.count(place)} for name, place in places.items()],
        chains=chains,
        style=Markup((templates / "style.css").read_text(encoding="utf-8")),
    )


def _chain(row: Row, places: Mapping[str, int], requests: Mapping[str, str]) -> dict[str, Any]:
    turns = row["prompt"]
    rounds = row["rounds"]
    return {
        "id": row["id"],
        "prompt": turns[0]["content"]
        if len(turns) == 1
        else "\n\n".join(f"{t['role']}: {t['content']}" for t in turns),
        "draft": row["draft"]["text"],
        "score": _score(row["draft_score"]),
        "kept": any(one["kept"] for one in rounds),
        "dropped": any(not one["kept"] for one in rounds),
        "principles": [places[one["principle"]] for one in rounds],
        "rounds": [
            {
                "principle": one["principle"],
                "request": requests[one["principle"]],
                "critique": one["critique"]["text"],
                "revision": one["revision"]["text"],
                "score": _score(one["score"]),
                "kept": one["kept"],
                "dropped": one["dropped"],
            }
            for one in rounds
        ],
    }


def _lead(rows: Sequence[Row]) -> str:
    rounds = [one for row in rows for one in row["rounds"]]
    kept = sum(one["kept"] for one in rounds)
    return (
        f"{len(rows)} requests, each answered, criticised by a principle drawn for it and revised. Of {len(rounds)} "
        f"revisions {kept} were kept to learn from; the others say why not."
    )


def _score(score: float | None) -> str:
    return "" if score is None else value_text(score, "score")
