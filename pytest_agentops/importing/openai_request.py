"""Requests for chat completions, as OpenAI and its followers take them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_agentops.importing import (
    Exported,
    Found,
    answer_format,
    as_json,
    chat,
    listed,
    literal,
    loaded_json,
    mapping,
    messages_of,
    model,
    stem,
    tools,
    without,
)
from pytest_agentops.importing.messages import Reading, plainly, request_of
from pytest_agentops.prompt import Prompt

_NO_OPTIONS = ("model", "messages", "tools", "response_format", "stream", "stream_options")


def read(text: str, path: str) -> Iterator[Found]:
    """The request as a prompt, all of whose text is literal.

    Raises:
        PromptSyntaxError: it is no JSON, or its messages are none.
    """
    data = mapping(loaded_json(text, path))
    reading = Reading(lambda text, *_: literal(text))
    messages = []
    for number, message in enumerate(messages_of(data.get("messages"), path), 1):
        messages.append(reading.message(message, number))
        if lost := message.keys() - {"role", "content"}:
            reading.notes.append(f"Message {number} lost {listed(sorted(lost))}.")
    front_matter = {
        **model(data.get("model"), without(data, *_NO_OPTIONS)),
        **answer_format(data.get("response_format"), reading.notes),
        **tools(data.get("tools"), reading.notes),
    }
    yield Found(
        stem(path), chat(messages), front_matter=front_matter, inputs=reading.inputs, notes=tuple(reading.notes)
    )


def write(prompt: Prompt) -> Exported:
    """The prompt as a request in which variables stand in double braces.

    Raises:
        PromptError: its body does more than put inputs in their place.
    """
    messages, notes = plainly(prompt, "openai")
    if prompt.inputs:
        notes.append(f"Replace {listed(f'{{{{{name}}}}}' for name in prompt.inputs)} before it is sent.")
    return Exported(as_json(request_of(prompt, messages)), ".json", tuple(notes))
