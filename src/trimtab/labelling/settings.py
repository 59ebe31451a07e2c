"""What a labelling project is set to: `label.yaml` in its folder."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from trimtab.errors import LabellingError
from trimtab.labelling.records import Record

SETTINGS, GUIDELINES, DATABASE = "label.yaml", "guidelines.md", "labels.db"


class Attribute(Record):
    """Something annotators may say of themselves; whoever does not want to, does not."""

    name: str = Field(min_length=1, max_length=60)
    choices: tuple[str, ...] = Field(min_length=2)


class Settings(Record):
    """The settings of a project, with their defaults."""

    title: str = Field("Which answer is better?", min_length=1, max_length=120)
    overlap: int = Field(2, ge=1, le=50, description="Votes every item gets, from different people.")
    extra_vote: bool = Field(True, description="One vote more where those of an item disagree.")
    gold_share: float = Field(0.1, ge=0, le=0.5, description="Share of items with a known answer among a person's.")
    quiz_pass: float = Field(0.7, ge=0, le=1, description="Share of the quiz to get right before labelling.")
    lease_minutes: float = Field(30, gt=0, description="How long an item is kept for whoever opened it.")
    show_critiques: bool = Field(False, description="Show AI critiques after the first vote; keep both votes.")
    attributes: tuple[Attribute, ...] = Field((), description="What annotators may say of themselves.")

    @property
    def votes_for_agreement(self) -> int | None:
        """How many votes of an item count for agreement, None for all: not those asked for as others disagreed."""
        return self.overlap if self.extra_vote and self.overlap > 1 else None


def read_settings(folder: Path) -> Settings:
    """The settings of the project in a folder. Raises `LabellingError` that names what is wrong with them."""
    file = folder / SETTINGS
    try:
        found = yaml.safe_load(file.read_text()) or {}
        return Settings.model_validate(found)
    except OSError as error:
        raise LabellingError(
            f"{folder} is no labelling project: it has no {SETTINGS}. To make one: "
            f"trimtab label {folder} --data comparisons.jsonl --annotators ann,bo"
        ) from error
    except yaml.YAMLError as error:
        raise LabellingError(f"{file} is not YAML: {error}") from error
    except ValidationError as error:
        problems = "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(Settings.model_fields)
        raise LabellingError(f"{file}:\n{problems}\nThe settings are: {known}") from error


def write_settings(folder: Path, settings: Settings) -> None:
    """Write `label.yaml`, each setting with its meaning."""
    lines = ["# A labelling project of trimtab. Changes take effect when `trimtab label` is started again."]
    for name, field in Settings.model_fields.items():
        value = settings.model_dump(mode="json")[name]
        lines += [f"# {field.description}"] if field.description else []
        lines += [yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True).strip()]
    (folder / SETTINGS).write_text("\n".join(lines) + "\n")
