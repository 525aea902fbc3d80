"""Prompts of GitHub Models: `.prompt.yml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_agentops.importing import (
    Exported,
    Found,
    answer_format,
    as_json,
    chat,
    dumped,
    items,
    listed,
    loaded_yaml,
    mapping,
    messages_of,
    model,
    outputs,
    stem,
    unknown,
)
from pytest_agentops.importing.messages import Reading, lost_defaults, plainly, request_of, served
from pytest_agentops.prompt import Prompt

_KEYS = frozenset(
    "name description model modelParameters messages testData evaluators responseFormat jsonSchema".split()
)


def read(text: str, path: str) -> Iterator[Found]:
    """The prompt in this file.

    Raises:
        PromptError: it holds none.
        PromptSyntaxError: it is no YAML, or its messages are none.
    """
    data = loaded_yaml(text, path)
    if not isinstance(data, Mapping) or "messages" not in data:
        raise unknown(path, data)
    reading = Reading()
    notes = reading.notes
    body = chat(
        [reading.message(message, number) for number, message in enumerate(messages_of(data["messages"], path), 1)]
    )
    front_matter = model(data.get("model"), mapping(data.get("modelParameters")), provider=True)
    if description := data.get("description"):
        front_matter["description"] = str(description)
    front_matter |= _outputs(data, path, notes)
    for key in ("testData", "evaluators"):
        if rows := items(data.get(key)):
            notes.append(f"{key} was left out ({len(rows)} in all): write tests for it.")
    if lost := data.keys() - _KEYS:
        notes.append(f"These keys were left out: {listed(sorted(lost))}.")
    yield Found(
        str(data.get("name") or stem(path)),
        body,
        front_matter=front_matter,
        inputs=reading.inputs,
        notes=(*reading.variables.notes, *notes),
    )


def _outputs(data: Mapping[str, Any], path: str, notes: list[str]) -> dict[str, Any]:
    schema = data.get("jsonSchema")
    if isinstance(schema, str):
        schema = loaded_yaml(schema, f"{path}, jsonSchema")  # JSON is YAML, and some write it without quotes.
    if schema:
        return outputs(mapping(schema).get("schema") or schema, notes)
    return answer_format(data.get("responseFormat"), notes)


def write(prompt: Prompt) -> Exported:
    """The prompt as GitHub Models reads it.

    Raises:
        PromptError: its body does more than put inputs in their place.
    """
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
