"""Talking with tiny random models: what is typed, piped, or given as an option."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.world import CommandLine, Outcome
from tests.training.world import tiny_policy

from trimtab.generation.engine import Engine
from trimtab.generation.text import complete
from trimtab.models import hardware
from trimtab.types import Message, Prompt

Chat = Callable[..., Outcome]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models `one` and `two`."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        tiny_policy(seed).save(folder / name)
    return folder


@pytest.fixture
def chat(trimtab: CommandLine, models: Path, monkeypatch: pytest.MonkeyPatch) -> Chat:
    """`trimtab chat` in the models' folder: greedy, short, in float32 wherever it runs."""
    monkeypatch.chdir(models)
    monkeypatch.setattr(hardware, "has_fast_bfloat16", lambda: False)
    return lambda *arguments: trimtab("chat", *arguments, "--temperature", 0, "--max-new-tokens", 12)


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives `trimtab` this text as standard input."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives `trimtab` a terminal at which these lines are typed, then Ctrl-D. A line may be an exception."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def prepare(*lines: str | BaseException) -> None:
        waiting = iter(lines)

        def read(prompt: str) -> str:
            line = next(waiting, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line

        monkeypatch.setattr("sys.stdin", Terminal())
        monkeypatch.setattr("builtins.input", read)

    return prepare


def expected(seed: int, *messages: Message) -> str:
    """The greedy answer of the model of this seed."""
    policy = tiny_policy(seed)
    engine = Engine(policy.model, stop_ids=policy.template.stop_ids, pad_id=policy.template.pad_id)
    ((one,),) = complete(engine, policy.template, [Prompt(messages)], max_new_tokens=12, temperature=0)
    return one.text


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def test_one_message_is_answered(chat: Chat) -> None:
    ended = chat("one", "--message", "hello")
    assert (ended.code, ended.out) == (0, expected(0, user("hello")) + "\n")


def test_one_message_is_answered_as_json(chat: Chat) -> None:
    answer = json.loads(chat("one", "--message", "hello", "--json").out)
    assert answer == {
        "model": "one",
        "message": "hello",
        "answer": expected(0, user("hello")),
        "tokens": 12,
        "finish_reason": "length",
    }


def test_two_models_answer_one_message(chat: Chat) -> None:
    answers = json.loads(chat("--compare", "one", "two", "--message", "hello", "--json").out)
    assert [answer["model"] for answer in answers] == ["one", "two"]
    assert [answer["answer"] for answer in answers] == [expected(0, user("hello")), expected(1, user("hello"))]


def test_two_answers_are_printed_side_by_side(chat: Chat) -> None:
    lines = chat("--compare", "one", "two", "--message", "hello").out.splitlines()
    assert [cell.strip() for cell in lines[0].split("│")] == ["one", "two"]
    assert all("│" in line or "┼" in line for line in lines if line.strip())


def test_instructions_come_first(chat: Chat) -> None:
    answer = chat("one", "--message", "hello", "--system", "be brief").out
    assert answer == expected(0, Message("system", "be brief"), user("hello")) + "\n"


def test_lines_from_standard_input_are_one_conversation(chat: Chat, piped: Callable[[str], None]) -> None:
    piped("hello\n\nand you?\n")
    first, second = map(json.loads, chat("one", "--json").out.splitlines())
    assert first["answer"] == expected(0, user("hello"))
    assert second["answer"] == expected(0, user("hello"), assistant(first["answer"]), user("and you?"))


def test_each_of_two_models_keeps_its_own_conversation(chat: Chat, piped: Callable[[str], None]) -> None:
    piped("hello\nand you?")
    turns = [json.loads(line) for line in chat("--compare", "one", "two", "--json").out.splitlines()]
    for seed in (0, 1):
        first, second = turns[0][seed]["answer"], turns[1][seed]["answer"]
        assert second == expected(seed, user("hello"), assistant(first), user("and you?"))


def test_commands_work_from_standard_input(chat: Chat, piped: Callable[[str], None]) -> None:
    piped("hello\n/reset\nhello\n/system be brief\nhello\n/reset\nhello\n /slash\n/quit\nnever read\n")
    answers = [json.loads(line) for line in chat("one", "--json").out.splitlines()]
    plain, briefly = expected(0, user("hello")), expected(0, Message("system", "be brief"), user("hello"))
    assert [answer["answer"] for answer in answers[:4]] == [plain, plain, briefly, briefly]
    assert [answer["message"] for answer in answers[4:]] == ["/slash"]


def test_an_unknown_command_in_a_script_is_an_error(chat: Chat, piped: Callable[[str], None]) -> None:
    piped("/rest\nhello\n")
    ended = chat("one")
    assert (ended.code, ended.out) == (1, "")
    assert "there is no command /rest" in ended.err


def test_a_conversation_in_a_terminal(chat: Chat, typed: Callable[..., None]) -> None:
    typed("hello", "", "/help", "/nonsense", KeyboardInterrupt(), "/reset", "hello")
    ended = chat("one")
    assert ended.code == 0
    assert ended.out == 2 * (expected(0, user("hello")) + "\n")
    said = ended.err
    assert "Talking with one. /help lists the commands." in said
    assert "/system TEXT" in said
    assert "error: there is no command /nonsense" in said
    assert "A new conversation." in said


def test_quit_ends_a_conversation(chat: Chat, typed: Callable[..., None]) -> None:
    typed("/quit", "hello")
    ended = chat("one")
    assert (ended.code, ended.out) == (0, "")


def test_ctrl_c_stops_an_answer_and_returns_to_the_prompt(
    chat: Chat, typed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = Engine.stream, []

    def interrupted(self: Engine, *args: Any, **options: Any) -> Iterator[int]:
        calls.append(args)
        for number, token in enumerate(whole(self, *args, **options)):
            if len(calls) == 1 and number == 4:
                raise KeyboardInterrupt
            yield token

    monkeypatch.setattr(Engine, "stream", interrupted)
    typed("hello", "/reset", "hello")
    ended = chat("one")
    assert ended.code == 0
    answer = expected(0, user("hello"))
    assert ended.out.endswith(answer + "\n")
    cut = ended.out.removesuffix(answer + "\n")
    assert cut.strip()
    assert answer.startswith(cut.rstrip("\n"))


def test_a_conversation_too_long_for_the_model_goes_on(chat: Chat, typed: Callable[..., None]) -> None:
    typed("x" * 400, "hello")
    ended = chat("one")
    assert "error: the conversation would be" in ended.err
    assert "the model reads at most 256" in ended.err
    assert ended.out == expected(0, user("hello")) + "\n"


def test_a_message_too_long_for_the_model_ends_a_script(chat: Chat) -> None:
    ended = chat("one", "--message", "x" * 400)
    assert (ended.code, ended.out) == (1, "")
    assert "the model reads at most 256" in ended.err


def test_a_runs_stage_is_a_model(trimtab: CommandLine, models: Path, tmp_path: Path) -> None:
    record = {name: {} for name in ("config", "inputs", "summary", "versions", "machine")}
    for stage, kind in (("sft", "sft"), ("judge", "reward_model")):
        folder = tmp_path / "runs" / "demo" / f"{stage}-0123"
        tiny_policy().save(folder)
        plain = {**record, "name": stage, "kind": kind, "key": "0123", "seconds": 1.0, "created": "2030"}
        (folder / "artifact.json").write_text(json.dumps(plain))
    arguments = ("--message", "hello", "--json", "--max-new-tokens", 4)
    assert json.loads(trimtab("chat", "runs/demo/sft", *arguments).out)["model"] == "runs/demo/sft"
    refused = trimtab("chat", "--compare", "runs/demo/sft", "runs/demo/judge", *arguments)
    assert (refused.code, refused.out) == (1, "")
    assert (
        "a stage of kind reward_model, which writes no text: stages of kind sft, text_tuning, dpo, ppo and grpo do"
        in refused.err
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["chat"], 1, "say which model to talk with"),
        (["chat", "one", "--compare", "one", "two"], 1, "give one model, or two with --compare, not both"),
        (["chat", "smollm2"], 1, "no model is called 'smollm2'"),
        (["chat", "smollm2", "--message", " "], 1, "--message is empty"),
        (["chat", "one", "--temperature", "-1"], 2, "--temperature"),
        (["chat", "one", "--max-new-tokens", "0"], 2, "--max-new-tokens"),
    ],
)
def test_mistakes_are_told(trimtab: CommandLine, arguments: list[str], code: int, told: str) -> None:
    ended = trimtab(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_impossible_sampling_is_an_error(chat: Chat) -> None:
    ended = chat("one", "--message", "hello", "--top-p", "0")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("error: top_p is 0.0; it must be above 0 and at most 1\n")


def test_bytes_that_are_no_text_do_no_harm(chat: Chat) -> None:
    assert json.loads(chat("one", "--message", "caf\udce9", "--json").out)["message"] == "caf?"
