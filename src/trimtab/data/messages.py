"""Raw values of a row as checked text, messages and prompts. Each function raises `RowError` with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from trimtab.types import Demonstration, Message, Prompt, Role

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
# What may follow what. None stands for the beginning.
_NEXT: dict[Role | None, tuple[Role, ...]] = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant", "user"),
}


class RowError(Exception):
    """Why a row cannot be read. The reader adds file and line."""


def text_of(value: Any, name: str) -> str:
    """A value that must be text and say something."""
    if not isinstance(value, str):
        raise RowError(f"{name} must be text, not {type(value).__name__}")
    if not value.strip():
        raise RowError(f"{name} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowError(f"{name} holds half a surrogate pair at character {error.start + 1}") from error
    return value


def messages_of(value: Any, name: str, *, first: Role | None = None) -> tuple[Message, ...]:
    """A conversation in a sensible order: system first, then the user, then turn by turn.

    `first` is the role of the message before these, for lists that go on with a conversation. Empty system messages
    are left out.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise RowError(f"{name} must be a list of messages, not {type(value).__name__}")
    messages = tuple(m for m in (_message(raw, f"message {n} of {name}") for n, raw in enumerate(value, 1)) if m)
    if not messages:
        raise RowError(f"{name} has no messages")
    previous = first
    for number, message in enumerate(messages, start=1):
        if message.role not in _NEXT[previous]:
            after = f"follow {_who(previous)}" if previous else "come first"
            hint = "; join the two" if message.role == previous else ""
            raise RowError(f"message {number} of {name} is {_who(message.role)}, which cannot {after}{hint}")
        previous = message.role
    return messages


def prompt_of(value: Any, meta: Mapping[str, Any], name: str = "prompt") -> Prompt:
    """A prompt from text (one user message) or from a list of messages that waits for the assistant."""
    if isinstance(value, str):
        messages: tuple[Message, ...] = (Message("user", text_of(value, name)),)
    else:
        messages = messages_of(value, name)
    return prompt_from(messages, meta, name)


def prompt_from(messages: tuple[Message, ...], meta: Mapping[str, Any], name: str) -> Prompt:
    """A prompt from checked messages that wait for the assistant."""
    if messages[-1].role not in ("user", "tool"):
        raise RowError(f"{name} ends with {_who(messages[-1].role)}; a prompt must end with the user's message")
    return Prompt(messages, meta)


def with_system(messages: tuple[Message, ...], system: Any) -> tuple[Message, ...]:
    """The conversation with a system text of its own column put first."""
    if system is None or system == "":
        return messages
    if messages[0].role == "system":
        raise RowError("there is a system message in the conversation and another in the column system")
    return (Message("system", text_of(system, "system")), *messages)


def response_of(value: Any, name: str) -> str:
    """One response, given as text, as one assistant message, or as a list of just that."""
    if isinstance(value, str):
        return text_of(value, name)
    raw = [value] if isinstance(value, Mapping) else value
    messages = messages_of(raw, name, first="user")
    if len(messages) != 1:
        raise RowError(f"{name} has {len(messages)} messages; one message by the assistant is needed")
    return messages[0].content


def demonstrations_of(
    messages: tuple[Message, ...], meta: Mapping[str, Any], name: str, start: int = 0
) -> list[Demonstration]:
    """One demonstration for every assistant turn from message `start` on."""
    turns = [n for n, message in enumerate(messages) if message.role == "assistant" and n >= start]
    if not turns:
        raise RowError(f"{name} has no assistant message to learn from (prompts alone go in a column named prompt)")
    if turns[-1] != len(messages) - 1:
        raise RowError(f"{name} ends with {_who(messages[-1].role)}; the last message must be the assistant's")
    return [Demonstration(Prompt(messages[:n], meta), messages[n].content) for n in turns]


def _message(raw: Any, name: str) -> Message | None:
    if not isinstance(raw, Mapping):
        raise RowError(f"{name} must be an object with role and content, not {type(raw).__name__}")
    keys = ("from", "value") if "from" in raw else ("role", "content")
    missing = [key for key in keys if key not in raw]
    if missing:
        raise RowError(f"{name} has no {missing[0]!r} (it has {', '.join(map(str, raw)) or 'nothing'})")
    role = ROLES.get(cast(str, raw[keys[0]])) if isinstance(raw[keys[0]], str) else None
    if role is None:
        raise RowError(f"{name} has the role {raw[keys[0]]!r}; the roles are system, user, assistant and tool")
    if raw.get("tool_calls"):
        raise RowError(f"{name} has tool_calls, which trimtab does not read; write the call as text in content")
    content = _joined(raw[keys[1]], name)
    if role == "system" and content in (None, ""):
        return None
    return Message(role, text_of(content, f"{name} ({role})"))


def _joined(content: Any, name: str) -> Any:
    """OpenAI's list of content parts as one text."""
    if not isinstance(content, list):
        return content
    if not all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        raise RowError(f"{name} has parts that are not text")
    return "".join(str(part.get("text", "")) for part in content)


def _who(role: Role | None) -> str:
    return {"system": "a system message", "user": "the user's", "assistant": "the assistant's", "tool": "a tool's"}.get(
        role or "", "nothing"
    )
