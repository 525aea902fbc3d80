"""Requests for chat completions, as OpenAI and its followers take them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_agentops.importing import (
    Exported,
    Found,
    Reading,
    as_json,
    listed,
    loaded_json,
    mapping,
    messages_of,
    model,
    stem,
    without,
)
from pytest_agentops.importing.messages import plainly, request_of
from pytest_agentops.prompt import Prompt

_NO_OPTIONS = ("model", "messages", "tools", "response_format", "stream", "stream_options")


def read(text: str, path: str) -> Iterator[Found]:
    """The request as a prompt, all of whose text is literal."""
    data = mapping(loaded_json(text, path))
    reading = Reading(variables=False)
    body = ""
    for number, message in enumerate(messages_of(data.get("messages"), path), 1):
        body += reading.message(message, number)
        if lost := message.keys() - {"role", "content"}:
            reading.notes.append(f"Message {number} lost {listed(sorted(lost))}.")
    front_matter = {
        **model(data.get("model"), without(data, *_NO_OPTIONS)),
        **reading.answer_format(data.get("response_format")),
        **reading.tools(data.get("tools")),
    }
    yield reading.found(stem(path), body, front_matter)


def write(prompt: Prompt) -> Exported:
    """The prompt as a request in which variables stand in double braces."""
    messages, notes = plainly(prompt, "openai")
    if prompt.inputs:
        notes.append(f"Replace {listed(f'{{{{{name}}}}}' for name in prompt.inputs)} before it is sent.")
    return Exported(as_json(request_of(prompt, messages)), ".json", tuple(notes))
