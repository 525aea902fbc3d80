"""Prompts of GitHub Models: `.prompt.yml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_agentops.importing import (
    Exported,
    Found,
    Reading,
    as_json,
    dumped,
    items,
    loaded_yaml,
    mapping,
    messages_of,
    model,
    stem,
    unknown,
)
from pytest_agentops.importing.messages import lost_defaults, plainly, request_of, served
from pytest_agentops.prompt import Prompt

_KEYS = frozenset(
    "name description model modelParameters messages testData evaluators responseFormat jsonSchema".split()
)


def read(text: str, path: str) -> Iterator[Found]:
    """The prompt in this file."""
    data = loaded_yaml(text, path)
    if not isinstance(data, Mapping) or "messages" not in data:
        raise unknown(path, data)
    reading = Reading()
    messages = messages_of(data["messages"], path)
    body = "".join(reading.message(message, number) for number, message in enumerate(messages, 1))
    front_matter = model(data.get("model"), mapping(data.get("modelParameters")), provider=True)
    if description := data.get("description"):
        front_matter["description"] = str(description)
    schema = data.get("jsonSchema")
    if isinstance(schema, str):
        schema = loaded_yaml(schema, f"{path}, jsonSchema")  # JSON is YAML, and some write it without quotes.
    if schema:
        front_matter |= reading.outputs(mapping(schema).get("schema") or schema)
    else:
        front_matter |= reading.answer_format(data.get("responseFormat"))
    for key in ("testData", "evaluators"):
        if rows := items(data.get(key)):
            reading.notes.append(f"{key} was left out ({len(rows)} in all): write tests for it.")
    reading.left_out(data.keys() - _KEYS)
    yield reading.found(data.get("name") or stem(path), body, front_matter)


def write(prompt: Prompt) -> Exported:
    """The prompt as GitHub Models reads it."""
    messages, notes = plainly(prompt, "github")
    options = mapping(prompt.model.get("options"))
    names = {"maxOutputTokens": "maxTokens", "stopSequences": "stop"}
    parameters = {names.get(key, key): value for key, value in options.items() if key != "additionalProperties"}
    data: dict[str, Any] = {
        "name": prompt.front_matter.get("displayName") or prompt.name,
        "description": prompt.description,
        "model": served(prompt),
        "modelParameters": {**parameters, **mapping(options.get("additionalProperties"))},
        "messages": [message.as_json for message in messages],
    }
    if prompt.outputs:
        data["responseFormat"] = "json_schema"
        data["jsonSchema"] = as_json(request_of(prompt, messages)["response_format"]["json_schema"])
    if prompt.tools:
        notes.append("The tools are not kept.")
    return Exported(
        dumped({key: value for key, value in data.items() if value or key == "messages"}),
        ".prompt.yml",
        (*notes, *lost_defaults(prompt)),
    )
