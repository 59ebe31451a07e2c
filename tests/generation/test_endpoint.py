"""A model behind a server: what is asked, what comes of it, what is paid, and what is never paid twice."""

from __future__ import annotations

import json
import math
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tests.generation.fake_endpoint import (
    Behaviour,
    Handler,
    asked,
    body_of,
    says,
    serving,
    silent,
    status,
    tokens,
    well,
)

from trimtab.errors import EndpointError, SpendingCapError, UserError
from trimtab.generation.endpoint import Endpoint
from trimtab.types import Message, Prompt

QUARTER, HALF = math.log(0.25), math.log(0.5)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.generation.chat_server.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("os.fsync", lambda file: None)  # test_call_log.py is about the disk
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def always(behaviour: Behaviour) -> Any:
    return lambda body, earlier: behaviour


def question(text: str) -> Prompt:
    return Prompt((Message("system", "Be brief."), Message("user", text)))


def questions(number: int) -> list[Prompt]:
    return [question(f"q{i}") for i in range(number)]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_answers_come_in_the_order_of_the_questions_however_they_arrive(tmp_path: Path) -> None:
    def late(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(random.Random(asked(body)).uniform(0, 0.1))
        well(handler, body)

    told: list[tuple[int, int]] = []
    with serving(always(late)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", concurrency=3)
        written = model.write(questions(20), max_new_tokens=7, on_progress=lambda *at: told.append(at))
    assert [one.text for (one,) in written] == [f"echo: q{i}" for i in range(20)]
    assert [one.prompt for (one,) in written] == questions(20)
    assert told == [(i + 1, 20) for i in range(20)]
    assert server.most_under_way == 3
    assert written[0][0].token_ids == () == written[0][0].logprobs
    assert written[0][0].finish_reason == "stop"


def test_the_server_gets_the_whole_conversation_and_the_settings(tmp_path: Path) -> None:
    with serving(always(well)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log")
        model.write([question("q")], max_new_tokens=7, temperature=0.5, top_p=0.9)
    (body,) = server.bodies
    assert body.pop("seed") >= 0
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
    }
    assert "authorization" not in server.headers[0]


def test_members_seeds_and_repeated_prompts_are_calls_of_their_own_and_are_replayed(tmp_path: Path) -> None:
    answers = iter(f"answer {i}" for i in range(100))
    with serving(lambda body, earlier: says(body_of(next(answers)))) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", concurrency=1)
        prompts = [question("a"), question("b"), question("a")]
        first = model.write(prompts, group_size=2, max_new_tokens=5)
        assert len({one.text for group in first for one in group}) == 6
        assert len({body["seed"] for body in server.bodies}) == 4  # a has members 0 to 3, b has 0 and 1
        model.write(prompts, group_size=2, max_new_tokens=5, seed=1)
        assert len(server.bodies) == 12
        again = Endpoint(server.url, "m", log=tmp_path / "log").write(prompts, group_size=2, max_new_tokens=5)
        assert again == first
        assert len(server.bodies) == 12
        Endpoint(server.url, "another", log=tmp_path / "log").write(prompts, group_size=1, max_new_tokens=5)
        assert len(server.bodies) == 15


def test_the_log_has_request_reply_usage_cost_and_time(tmp_path: Path) -> None:
    with serving(always(well)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", price_input=2.0, price_output=10.0)
        model.write([question("q")], max_new_tokens=7)
    (line,) = lines(tmp_path / "log")
    assert line["request"]["base_url"] == server.url
    assert line["request"]["sample"] == {"seed": 0, "member": 0}
    assert line["request"]["messages"][1]["content"] == "q"
    assert line["reply"] == {"text": "echo: q", "finish_reason": "stop", "top_logprobs": None}
    assert line["usage"] == {"prompt_tokens": 1000, "completion_tokens": 10}
    assert line["cost"] == pytest.approx(1000 * 2e-6 + 10 * 10e-6)
    assert line["seconds"] >= 0
    assert line["at"].endswith("+00:00")


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_the_reason_to_stop_is_the_servers(tmp_path: Path, reason: str) -> None:
    with serving(always(says(body_of("text", finish_reason=reason)))) as server:
        ((one,),) = Endpoint(server.url, "m", log=tmp_path / "log").write([question("q")], max_new_tokens=7)
    assert one.finish_reason == reason


# Options ------------------------------------------------------------------------------------------------------------


def weighed(tmp_path: Path, answer: Any, options: tuple[str, ...] = ("A", "B"), **settings: Any) -> Any:
    with serving(always(says(answer))) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", retries=0, **settings)
        (found,) = model.option_logprobs([question("q")], options)
    assert model.malformed == (found is None)
    return found


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        pytest.param([{"A": HALF, "B": QUARTER}], (HALF, QUARTER), id="plain"),
        pytest.param([{" B": HALF, "(A": QUARTER}], (QUARTER, HALF), id="spaces and parentheses"),
        pytest.param([{"A": QUARTER, " A": QUARTER, "B": QUARTER}], (HALF, QUARTER), id="A in two ways: 1/4 + 1/4"),
        pytest.param([{"(": -0.1, "A": -3.0, "B": -3.0}, {"A": HALF, "B": QUARTER}], (HALF, QUARTER), id="after a ("),
        pytest.param([{"I": HALF, "A": -5.0, "B": -6.0}], (-5.0, -6.0), id="another word is likelier"),
        pytest.param([{"A": 1e-6, "B": -20.0}], (0.0, -20.0), id="zero passed by rounding"),
        pytest.param([{"A": HALF, "C": QUARTER}], None, id="B is not offered"),
        pytest.param([{"I": HALF, "As": QUARTER}], None, id="a refusal"),
        pytest.param([{"a": HALF, "b": QUARTER}], None, id="other letters"),
        pytest.param([{" ": -0.1, "A": HALF, "B": QUARTER}], None, id="nothing but space"),
    ],
)
def test_log_probabilities_are_those_of_the_first_word(tmp_path: Path, positions: Any, expected: Any) -> None:
    found = weighed(tmp_path, body_of("whatever", logprobs=tokens(*positions)))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_the_token_that_was_written_counts_although_the_server_does_not_list_it(tmp_path: Path) -> None:
    listed = {"content": [{"token": "A", "logprob": HALF, "top_logprobs": [{"token": "B", "logprob": QUARTER}]}]}
    assert weighed(tmp_path, body_of("A", logprobs=listed)) == pytest.approx((HALF, QUARTER))


def test_options_may_be_written_with_parentheses_and_be_more_than_two(tmp_path: Path) -> None:
    found = weighed(tmp_path, body_of("2", logprobs=tokens({"2": HALF, "3": QUARTER, "1": -3.0})), ("(1)", " 2", "(3)"))
    assert found == pytest.approx((-3.0, HALF, QUARTER))


def test_a_refusal_of_the_servers_own_is_no_answer(tmp_path: Path) -> None:
    refused = body_of(None)
    refused["choices"][0]["message"]["refusal"] = "I cannot help with that."
    assert weighed(tmp_path, refused) is None
    assert lines(tmp_path / "log")[0]["reply"]["text"] == "I cannot help with that."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(None, "content_filter", id="taken by a filter"),
        pytest.param(None, "length", id="used up by thinking"),
        pytest.param("", "stop", id="empty"),
        pytest.param("\u00a0( )\n", "length", id="blank"),
        pytest.param("Sorry", "content_filter", id="a filter's own words"),
    ],
)
def test_an_answer_without_a_word_of_the_models_is_kept_and_has_no_label(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    with serving(always(says(body_of(text, finish_reason=reason)))) as server:
        for _ in range(2):
            model = Endpoint(server.url, "m", log=tmp_path / "log")
            assert model.option_logprobs([question("q")], ["A", "B"]) == [None]
            assert model.malformed == 1
        assert len(server.bodies) == 1
    (line,) = lines(tmp_path / "log")
    assert line["reply"] == {"text": text or "", "finish_reason": reason, "top_logprobs": []}
    assert line["usage"] == {"prompt_tokens": 1000, "completion_tokens": 10}


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_request_that_a_filter_refuses_is_an_answer_without_a_label(tmp_path: Path, code: str) -> None:
    refusal = {"error": {"message": "The prompt was filtered.", "type": None, "param": "prompt", "code": code}}

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        return status(400, json.dumps(refusal).encode()) if "q1" in asked(body) else well

    with serving(script) as server:
        for _ in range(2):
            model = Endpoint(server.url, "m", log=tmp_path / "log", price_input=1e6, price_output=1e6)
            found = model.option_logprobs(questions(3), ["A", "B"])
            assert [one is None for one in found] == [False, True, False]
            assert model.malformed == 1
        assert len(server.bodies) == 3
    (line,) = [one for one in lines(tmp_path / "log") if "q1" in asked(one["request"])]
    assert line["reply"] == {"text": "", "finish_reason": "content_filter", "top_logprobs": []}
    assert line["usage"] is None
    assert line["cost"] == sum(len(one["content"]) + 32 for one in line["request"]["messages"]) + 8


def test_a_server_that_tells_of_fewer_tokens_is_asked_for_fewer(tmp_path: Path) -> None:
    refusal = b'{"error": {"message": "Requested sample Logprobs of 20, which is greater than max allowed: 5"}}'

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        return status(400, refusal) if body.get("top_logprobs", 0) > 5 else well

    with serving(script) as server:
        told = r"max allowed: 5\. Set top_logprobs lower, or to 0 with hard_answers: true\. 0 of 1 calls"
        with pytest.raises(EndpointError, match=told):
            Endpoint(server.url, "m", log=tmp_path / "log").option_logprobs([question("q")], ["A", "B"])
        fewer = Endpoint(server.url, "m", log=tmp_path / "log", top_logprobs=5)
        assert fewer.option_logprobs([question("q")], ["A", "B"]) == [pytest.approx((math.log(0.75), QUARTER))]
    assert server.bodies[-1]["top_logprobs"] == 5


def test_a_refusal_for_another_reason_says_nothing_of_log_probabilities(tmp_path: Path) -> None:
    with serving(always(status(400))) as server, pytest.raises(EndpointError, match="says: no") as error:
        Endpoint(server.url, "m", log=tmp_path / "log").option_logprobs([question("q")], ["A", "B"])
    assert "top_logprobs" not in str(error.value)


def test_a_server_that_takes_no_wish_for_log_probabilities_can_give_hard_answers(tmp_path: Path) -> None:
    with serving(always(says(body_of("B")))) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", top_logprobs=0, hard_answers=True)
        assert model.option_logprobs([question("q")], ["A", "B"]) == [pytest.approx((math.log(0.05), math.log(0.95)))]
    assert not {"logprobs", "top_logprobs"} & set(server.bodies[0])


@pytest.mark.parametrize(
    ("number", "hard", "told"),
    [(0, False, "top_logprobs is 0.*hard_answers"), (1, False, "too few for 2 options"), (1, True, "too few")],
)
def test_settings_that_can_bring_no_label_are_told_before_anything_is_paid(
    tmp_path: Path, number: int, hard: bool, told: str
) -> None:
    with serving(always(well)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", top_logprobs=number, hard_answers=hard)
        with pytest.raises(EndpointError, match=told):
            model.option_logprobs([question("q")], ["A", "B"])
    assert server.bodies == []


def test_the_question_ends_by_asking_for_an_option_alone(tmp_path: Path) -> None:
    with serving(always(well)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log")
        found = model.option_logprobs([question("q"), question("q")], ["(A)", "(B)"], lead="The better one is ")
    (body,) = server.bodies  # the same question is asked once
    assert found == [pytest.approx((math.log(0.75), QUARTER))] * 2
    assert body["messages"][1] == {"role": "user", "content": "q\n\nAnswer with one of these and nothing else: A, B."}
    assert (body["temperature"], body["logprobs"], body["top_logprobs"]) == (0.0, True, 20)


@pytest.mark.parametrize("options", [["A"], ["A", "(A)"], ["A", " "]])
def test_options_that_cannot_be_told_apart_are_a_mistake(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(ValueError, match="must differ"):
        Endpoint("http://localhost:1/v1", "m", log=tmp_path / "log").option_logprobs([question("q")], options)


def test_without_log_probabilities_one_is_told_what_to_do_and_what_was_paid_is_used(tmp_path: Path) -> None:
    with serving(always(says(body_of(" (B)\n")))) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", concurrency=2)
        with pytest.raises(EndpointError, match="hard_answers"):
            model.option_logprobs(questions(10), ["A", "B"])
        paid = len(server.bodies)
        assert paid <= 4  # not all ten are bought before one is told
        assert len(lines(tmp_path / "log")) == paid
        soft = Endpoint(server.url, "m", log=tmp_path / "log", hard_answers=True)
        assert soft.option_logprobs(questions(10), ["A", "B"]) == [pytest.approx((math.log(0.05), math.log(0.95)))] * 10
        assert len(server.bodies) == 10


@pytest.mark.parametrize("text", ["C", "", "A or B", "I would say A", "b"])
def test_a_hard_answer_is_never_guessed(tmp_path: Path, text: str) -> None:
    assert weighed(tmp_path, body_of(text), hard_answers=True) is None


def test_hard_answers_leave_log_probabilities_alone_where_there_are_some(tmp_path: Path) -> None:
    answer = body_of("A", logprobs=tokens({"A": HALF, "B": QUARTER}))
    assert weighed(tmp_path, answer, hard_answers=True) == pytest.approx((HALF, QUARTER))


# Caps ---------------------------------------------------------------------------------------------------------------


def test_the_cap_on_calls_stops_with_what_is_paid_kept_and_counts_it_next_time(tmp_path: Path) -> None:
    with serving(always(well)) as server:
        for cap, paid in ((4, 4), (4, 4), (7, 7)):
            model = Endpoint(server.url, "m", log=tmp_path / "log", max_calls=cap)
            with pytest.raises(SpendingCapError, match=rf"max_calls is {cap}.*{paid} of 10 calls.*other {10 - paid}"):
                model.write(questions(10), max_new_tokens=5)
            assert len(server.bodies) == len(lines(tmp_path / "log")) == paid
        Endpoint(server.url, "m", log=tmp_path / "log", max_calls=10).write(questions(10), max_new_tokens=5)
        assert len(server.bodies) == 10


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_cap_on_spending_is_never_passed(tmp_path: Path, concurrency: int) -> None:
    """A call costs 10 tokens of 0.1 = 1 and may cost 20 of them = 2, so a cap of 7.5 lets six begin one by one.

    After five, 5 + 2 is under 7.5; after six, 6 + 2 is above.
    """
    with serving(always(well)) as server:
        model = Endpoint(
            server.url, "m", log=tmp_path / "log", concurrency=concurrency,
            price_input=0.0, price_output=100_000.0, max_spend=7.5,
        )  # fmt: skip
        with pytest.raises(SpendingCapError, match=r"6 is spent.*max_spend is 7\.5.*6 of 10 calls.*other 4"):
            model.write(questions(10), max_new_tokens=20)
    assert sum(line["cost"] for line in lines(tmp_path / "log")) == pytest.approx(6.0)


@pytest.mark.parametrize(("read", "written"), [(-1, "x"), (10**400, 1), (1, 10**9 + 1)])
def test_a_server_that_tells_no_usage_that_can_be_is_taken_to_have_used_the_most(
    tmp_path: Path, read: int, written: Any
) -> None:
    """q has 1 byte, its system message 9; with 32 tokens around each they are 74 at most, and 5 are asked for."""
    answer = {"choices": body_of("text")["choices"], "usage": {"prompt_tokens": read, "completion_tokens": written}}
    with serving(always(says(answer))) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", price_input=1e6, price_output=1e6)
        model.write([question("q")], max_new_tokens=5)
    (line,) = lines(tmp_path / "log")
    assert line["usage"] is None
    assert line["cost"] == pytest.approx(74 + 5)


def test_answers_that_cannot_be_used_count_and_are_not_replayed(tmp_path: Path) -> None:
    empty = says({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 1}})
    with serving(always(empty)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", retries=9, max_calls=3)
        with pytest.raises(EndpointError, match="no choices"):
            model.write([question("q")], max_new_tokens=5)
        assert len(server.bodies) == 3
        assert [(line["reply"], line["fault"][-10:]) for line in lines(tmp_path / "log")] == [(None, "no choices")] * 3
        server.script = always(well)
        Endpoint(server.url, "m", log=tmp_path / "log", max_calls=4).write([question("q")], max_new_tokens=5)


# Several processes --------------------------------------------------------------------------------------------------


def test_what_another_process_buys_meanwhile_is_not_bought_again(tmp_path: Path) -> None:
    """While q0 is asked, another process buys the other nine; the cap has room for ten calls and no more."""
    told: list[tuple[int, int]] = []

    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        def slow(handler: Handler, body: dict[str, Any]) -> None:
            Endpoint(server.url, "m", log=tmp_path / "log").write(questions(10)[1:], max_new_tokens=5)
            well(handler, body)

        return slow if asked(body) == "q0" else well

    with serving(script) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", concurrency=1, max_calls=10)
        written = model.write(questions(10), max_new_tokens=5, on_progress=lambda *at: told.append(at))
    assert [one.text for (one,) in written] == [f"echo: q{i}" for i in range(10)]
    assert len(server.bodies) == 10
    assert told == [(i + 1, 10) for i in range(10)]


def test_a_call_that_failed_is_not_repeated_when_another_process_has_bought_it(tmp_path: Path) -> None:
    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        def busy(handler: Handler, body: dict[str, Any]) -> None:
            Endpoint(server.url, "m", log=tmp_path / "log").write([question("q")], max_new_tokens=5)
            handler.give(b"{}", 429)

        return well if earlier else busy

    with serving(script) as server:
        ((one,),) = Endpoint(server.url, "m", log=tmp_path / "log").write([question("q")], max_new_tokens=5)
    assert one.text == "echo: q"
    assert len(server.bodies) == 2


def test_what_another_process_bought_since_the_log_was_opened_is_used(tmp_path: Path) -> None:
    with serving(always(well)) as server:
        early, other = (Endpoint(server.url, "m", log=tmp_path / "log") for _ in range(2))
        bought = other.write(questions(5), max_new_tokens=5)
        assert early.write(questions(5), max_new_tokens=5) == bought
    assert len(server.bodies) == 5


# Interruptions ------------------------------------------------------------------------------------------------------


def test_what_was_under_way_is_kept_when_the_caller_fails(tmp_path: Path) -> None:
    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    def rather_slow(handler: Handler, body: dict[str, Any]) -> None:
        if asked(body) == "q1":
            handler.give(b"{}", 429, {"Retry-After": "20"})
        else:
            time.sleep(0.1 if asked(body) == "q0" else 0.4)
            well(handler, body)

    begun = time.monotonic()
    with serving(always(rather_slow)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", concurrency=3)
        with pytest.raises(KeyboardInterrupt):
            model.write(questions(10), max_new_tokens=5, on_progress=fail)
    assert time.monotonic() - begun < 10  # nobody waits for q1 to be tried again
    assert {line["reply"]["text"] for line in lines(tmp_path / "log")} == {"echo: q0", "echo: q2"}
    assert len(server.bodies) == 3


def test_a_failure_keeps_what_else_was_under_way_and_ends_the_waiting_of_others(tmp_path: Path) -> None:
    def script(body: dict[str, Any], earlier: int) -> Behaviour:
        def refused(handler: Handler, body: dict[str, Any]) -> None:
            time.sleep(0.2)
            handler.give(b"{}", 400)

        def busy(handler: Handler, body: dict[str, Any]) -> None:
            handler.give(b"{}", 429, {"Retry-After": "60"})

        def slow(handler: Handler, body: dict[str, Any]) -> None:
            time.sleep(0.4)
            well(handler, body)

        return {"q0": refused, "q1": busy, "q2": slow}[asked(body)]

    begun = time.monotonic()
    with serving(script) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", concurrency=3)
        with pytest.raises(EndpointError, match=r"status 400.*1 of 3 calls are kept.*other 2"):
            model.write(questions(3), max_new_tokens=5)
    assert time.monotonic() - begun < 5
    assert lines(tmp_path / "log")[0]["reply"]["text"] == "echo: q2"


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, data: bytes, place: int) -> None:
        os.pwrite(file, data[:50], place)
        raise OSError(28, "No space left on device")

    with serving(always(well)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log")
        monkeypatch.setattr("trimtab.generation.call_log._write", full)
        with pytest.raises(UserError, match="No space left"):
            model.write(questions(2), max_new_tokens=5)
    assert (tmp_path / "log").read_bytes() == b""


def test_nothing_to_ask_asks_nothing(tmp_path: Path) -> None:
    model = Endpoint("http://127.0.0.1:9/v1", "m", log=tmp_path / "log")
    assert model.write([], max_new_tokens=5) == []
    assert model.write([question("q")], group_size=0, max_new_tokens=5) == [[]]


def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)
    with pytest.raises(UserError, match=r"httpx.*pip install 'trimtab\[endpoint\]'"):
        Endpoint("http://127.0.0.1:9/v1", "m", log=tmp_path / "log")


def test_it_may_be_used_while_an_event_loop_runs_as_in_a_notebook(tmp_path: Path) -> None:
    import asyncio

    async def cell(url: str) -> str:
        return Endpoint(url, "m", log=tmp_path / "log").write([question("q")], max_new_tokens=5)[0][0].text

    with serving(always(well)) as server:
        assert asyncio.run(cell(server.url)) == "echo: q"


def test_a_timeout_ends_a_call_that_no_wait_would_end(tmp_path: Path) -> None:
    begun = time.monotonic()
    with serving(always(silent)) as server:
        model = Endpoint(server.url, "m", log=tmp_path / "log", timeout=0.3, retries=0)
        with pytest.raises(EndpointError, match=r"within 0\.3 s"):
            model.write([question("q")], max_new_tokens=5)
    assert time.monotonic() - begun < 1.5
