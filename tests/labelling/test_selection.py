"""The most uncertain pairs come first: what is written to the queue, and that it helps where it must."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bench.selection import Pairs, Plan, curve, right, split, table
from tests.labelling.world import gold_pair, graded, number_of, project, question, quiz_pair
from tests.training.world import tiny_policy

from trimtab.errors import LabellingError
from trimtab.evaluation.statistics import paired_difference
from trimtab.labelling.assignment import next_task, record
from trimtab.labelling.records import Answer, Compared, Item, Label, LabelledItem, TooHard
from trimtab.labelling.reward_heads import Array, probability
from trimtab.labelling.selection import BEGUN, FEWEST_PAIRS, prioritise, scaled, seen_by
from trimtab.labelling.store import Store
from trimtab.models.rows import TokenRow
from trimtab.models.scalar_model import ScalarModel

NOON = 1_000_000.0


def pair(name: str, *differences: float) -> Item:
    """A pair that `read_off` sees as these differences."""
    return Item(id=name, kind="compare", prompt=question(" ".join(map(str, differences))), responses=("one", "two"))


def read_off(items: Sequence[Item]) -> Array:
    return np.array([[float(number) for number in item.prompt[0].content.split()] for item in items])


def votes(item: Item, *answers: Answer) -> LabelledItem:
    labels = [Label(annotator=f"person-{n}", answer=answer) for n, answer in enumerate(answers)]
    return LabelledItem(item=item, labels=tuple(labels))


def judged(number: int = FEWEST_PAIRS) -> list[LabelledItem]:
    """Pairs of which two votes say that more of the first feature is better. The second varies and does not matter."""
    rng = np.random.default_rng(0)
    return [
        votes(pair(f"judged-{n}", x, rng.normal() / 4), *[Compared(preference=1 if x > 0 else -1)] * 2)
        for n, x in enumerate(rng.normal(size=number))
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Twenty judged pairs, and of each other kind of item what there can be."""
    others = [pair("clear", 4.0, 0.0), pair("same", 0.0, 0.0), pair("unclear", 0.0, 4.0)]
    store = project(tmp_path, [*others, gold_pair(1), quiz_pair(2), graded(3)], overlap=2, gold_share=0.0)
    store.add_labels(
        [*judged(), votes(pair("begun", 1.0, 1.0), Compared(preference=1)), votes(pair("hard", 1.0, 0.0), TooHard())]
    )
    return store


def priorities(store: Store) -> dict[str, float]:
    return {row["key"]: row["priority"] for row in store.read("SELECT key, priority FROM items")}


def test_what_heads_disagree_about_comes_first(store: Store) -> None:
    found = prioritise(store, lambda items: pad(read_off(items)), by="information", seed=3)
    assert (found.fitted, found.begun, found.by) == (21, 22, "information")
    assert [one.key for one in found.pairs] == ["unclear", "clear", "same"]
    unclear, clear, same = found.pairs
    assert clear.probability > 0.9
    assert (same.probability, same.uncertainty) == (0.5, 0.0)
    assert math.log(2) > unclear.uncertainty > 3 * clear.uncertainty > 0
    written = priorities(store)
    assert [written[one.key] for one in found.pairs] == [one.uncertainty for one in found.pairs]
    assert {written[key] for key in written if key.startswith(("judged", "begun", "hard"))} == {BEGUN}


def test_what_one_head_finds_even_comes_first(store: Store) -> None:
    """Nothing differs in "same", and nothing can be learnt from it: it comes first by this measure, with log 2 nats."""
    found = prioritise(store, read_off, by="even")
    assert [one.key for one in found.pairs] == ["same", "unclear", "clear"]
    for one in found.pairs:
        p, q = one.probability, 1 - one.probability
        assert one.uncertainty == pytest.approx(-p * math.log(p) - q * math.log(q))
    assert found.pairs[0].uncertainty == pytest.approx(math.log(2))
    assert prioritise(store, read_off, by="even", seed=9, heads=3) == found


def pad(differences: Array) -> Array:
    """A feature that is the same in both responses of every pair tells nothing and does no harm."""
    return np.pad(differences, ((0, 0), (0, 1)))


def test_known_answers_the_quiz_and_other_kinds_stay_as_they_are(store: Store) -> None:
    others = {item.key for item in (gold_pair(1), quiz_pair(2), graded(3))}
    with store.write() as db:
        db.executemany("UPDATE items SET priority = 0.125 WHERE key = ?", [(key,) for key in others])
    before = priorities(store)
    prioritise(store, read_off, by="information")
    changed = {key for key, priority in priorities(store).items() if priority != before[key]}
    assert others <= before.keys()
    assert changed.isdisjoint(others)
    assert "unclear" in changed


def test_people_get_what_was_begun_and_then_the_most_uncertain(store: Store) -> None:
    prioritise(store, read_off, by="information")
    ann, order = number_of(store, "ann"), []
    while (task := next_task(store, ann, now=NOON)) is not None:
        record(store, task.lease, ann, task.item.gold or TooHard(), now=NOON)
        order.append(task.item.key)
    assert order[0] == quiz_pair(2).key
    assert set(order[1:3]) == {"begun", "hard"}
    assert order[3:5] == ["unclear", "clear"]


def test_a_second_run_starts_from_the_votes_there_are_by_then(store: Store) -> None:
    first = prioritise(store, read_off, by="information", seed=1)
    assert prioritise(store, read_off, by="information", seed=1) == first
    assert prioritise(store, read_off, by="information", seed=2) != first
    store.add_labels([votes(pair("unclear", 0.0, 4.0), Compared(preference=1))])
    again = prioritise(store, read_off, by="information", seed=1)
    assert (again.fitted, again.begun) == (first.fitted + 1, first.begun + 1)
    assert [one.key for one in again.pairs] == ["clear", "same"]
    assert priorities(store)["unclear"] == BEGUN


def test_votes_after_critiques_and_ties_count_as_they_are_exported(tmp_path: Path) -> None:
    """All first votes say that less of the feature is better; the second ones, which count, say the contrary."""
    store = project(tmp_path, [pair("open", 2.0)])
    late = Label(annotator="ann", answer=Compared(preference=-1), after_aid=Compared(preference=2))
    ties = votes(pair("tie", 5.0), Compared(preference=0))
    store.add_labels([*(LabelledItem(item=pair(f"{n}", 1.0), labels=(late,)) for n in range(FEWEST_PAIRS)), ties])
    (found,) = prioritise(store, read_off).pairs
    assert found.probability > 0.9


def test_too_few_pairs_with_votes(tmp_path: Path) -> None:
    """Votes on known answers and votes that a pair is too hard are none; nothing is written."""
    store = project(tmp_path, [pair("open", 1.0)])
    store.add_labels(judged(FEWEST_PAIRS - 1))
    store.add_labels([votes(gold_pair(1), Compared(preference=1)), votes(pair("hard", 1.0), TooHard())])
    before = priorities(store)
    with pytest.raises(LabellingError, match=f"pairs with votes: {FEWEST_PAIRS - 1}. It takes {FEWEST_PAIRS}"):
        prioritise(store, read_off)
    assert priorities(store) == before


def test_nothing_left_to_choose_and_too_few_heads(tmp_path: Path) -> None:
    store = project(tmp_path, [])
    store.add_labels(judged())
    with pytest.raises(LabellingError, match="every pair has a label already"):
        prioritise(store, read_off)
    with pytest.raises(LabellingError, match="'luck'; it can by information and even"):
        prioritise(store, read_off, by="luck")
    with pytest.raises(LabellingError, match="heads must be 2 or more"):
        prioritise(store, read_off, heads=1)


def test_scaled_by_hand() -> None:
    """Mean squares 2, 50 and 0; two features vary, so the squares of a row are 1 on average."""
    found = scaled(np.array([[2.0, 10.0, 0.0], [0.0, 0.0, 0.0]]))
    assert found == pytest.approx(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert (found**2).sum(1).mean() == pytest.approx(1.0)


def test_a_policy_sees_what_a_reward_model_on_it_reads() -> None:
    """A linear head on the differences gives the difference of the scores."""
    policy = tiny_policy()
    items = [
        Item(kind="compare", prompt=question(f"question {n}"), responses=("yes " * (n + 1), "no")) for n in range(3)
    ]
    model = ScalarModel.fresh(policy.trunk, adapter=None, seed=1)
    template = policy.template
    rows = [
        TokenRow(
            tuple(template.prompt_ids(item.as_prompt())),
            tuple(tuple(template.response_ids(text)) for text in item.responses),
        )
        for item in items
    ]
    scores = model.score_rows(rows, pad_id=template.pad_id, max_tokens=512)
    differences = seen_by(policy)(items)
    margins = differences @ model.head.weight.detach().double().numpy()[0]
    assert margins == pytest.approx([float(two[0] - two[1]) for two in scores], abs=1e-5)


def test_a_pair_that_is_too_long() -> None:
    policy = tiny_policy()
    long = Item(id="epic", kind="compare", prompt=question("q"), responses=("a", "long " * 300))
    with pytest.raises(LabellingError, match=r"the pair epic has \d+ tokens, and the model reads 256"):
        seen_by(policy)([long])


def two_groups(number: int, rare: float, rng: np.random.Generator) -> Pairs:
    """Pairs of two groups that have no feature in common, each with a rule of its own; one group is rare."""
    width = 4
    differences = rng.normal(size=(number, 2 * width))
    is_rare = rng.random(number) < rare
    differences[is_rare, :width] = 0.0
    differences[~is_rare, width:] = 0.0
    p = probability(3.0 * differences.sum(1))
    return Pairs(scaled(differences), (rng.random(number) < p).astype(float), range(number))


def test_it_helps_where_most_pairs_are_alike_and_the_test_is_not() -> None:
    """One pair in ten tells of the rare group, which makes up half of the test: chance asks about it too seldom."""
    plan, runs = Plan(start=20, batch=10, budget=100, heads=8), {"random": [], "information": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        pool, heldout = two_groups(600, 0.1, rng), two_groups(600, 0.5, rng)
        for rule in runs:
            runs[rule].append(curve(rule, pool, heldout, plan, seed)[1:].mean())
    difference = paired_difference(runs["random"], runs["information"])
    assert difference.low > 0.01


def test_even_guesses_are_half_right() -> None:
    assert right(np.array([0.9, 0.5, 0.2]), np.array([1.0, 0.0, 2 / 3])).tolist() == [1.0, 0.5, 0.0]


def test_held_out_pairs_with_even_votes_are_left_out() -> None:
    pool, heldout = split(np.arange(5.0)[:, None], np.array([0.5, 1.0, 0.5, 0.0, 1.0]), "abcde", 2)
    assert (pool.targets.tolist(), list(pool.prompts)) == ([0.5, 1.0], ["a", "b"])
    assert (heldout.targets.tolist(), heldout.prompts) == ([0.0, 1.0], ["d", "e"])


def test_the_table_has_intervals_over_seeds_and_over_prompts() -> None:
    """Two seeds, two sizes, two pairs. After the start the rule is better by 1/2 with one seed, and 0 with the other:
    25 on average, with a standard error of 25; t of one degree of freedom is 12.706. By pair it is 1/2 and 0.
    """
    random = [np.zeros((2, 2)), np.zeros((2, 2))]
    chosen = [np.array([[0.0, 0.0], [1.0, 0.0]]), np.zeros((2, 2))]
    lines = table(
        {"random": random, "even": chosen}, ["a", "b"], Plan(start=10, batch=10, budget=20, heads=2)
    ).splitlines()
    assert lines[2] == "| 10 | 0.0 | 0.0 | +0.0 |"
    assert lines[3] == "| 20 | 0.0 | 25.0 | +25.0 [-292.7, +342.7] |"
    assert lines[4] == "| mean from 20 on, over seeds | 0.0 | 25.0 | +25.0 [-292.7, +342.7] |"
    assert lines[5] == "| mean from 20 on, over prompts | 0.0 | 25.0 | +25.0 [-292.7, +342.7] |"
