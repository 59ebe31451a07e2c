from __future__ import annotations

from pathlib import Path

import pytest
from tests.feedback.world import PRINCIPLES, write_constitution, write_examples

from trimtab.errors import DataError
from trimtab.feedback.constitution import read_constitution, read_examples


def test_principles_come_in_order(tmp_path: Path) -> None:
    constitution = read_constitution(write_constitution(tmp_path))
    assert constitution.title == "Ours"
    assert [principle.id for principle in constitution.principles] == ["kind", "honest", "safe"]
    assert constitution["honest"].comparison == "Which answer is more honest?"
    assert read_examples(write_examples(tmp_path))[0].draft == "Mark the aces."


def test_the_version_is_of_what_is_said(tmp_path: Path) -> None:
    version = read_constitution(write_constitution(tmp_path)).version
    assert read_constitution(write_constitution(tmp_path, title="Theirs")).version == version
    changed = [PRINCIPLES[0] | {"revision": "Write it anew."}, *PRINCIPLES[1:]]
    assert read_constitution(write_constitution(tmp_path, principles=changed)).version != version
    assert read_constitution(write_constitution(tmp_path, principles=PRINCIPLES[::-1])).version != version


@pytest.mark.parametrize(
    ("principles", "said"),
    [
        ([], "needs a list under 'principles'"),
        (None, "needs a list under 'principles'"),
        (["be kind"], "principle 1 must have id, source, critique, revision, comparison"),
        ([PRINCIPLES[0] | {"critique": " "}], r"principle 1 \(kind\): critique must be a text"),
        ([PRINCIPLES[0] | {"critic": "x"}], r"principle 1 \(kind\): unknown 'critic'"),
        ([PRINCIPLES[0], PRINCIPLES[0]], "two principles have the id 'kind'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, principles: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_constitution(write_constitution(tmp_path, principles=principles))


def test_a_file_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("principles: [")
    with pytest.raises(DataError, match=r"broken.yaml cannot be read as YAML"):
        read_constitution(tmp_path / "broken.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        read_constitution(tmp_path / "nowhere.yaml")
