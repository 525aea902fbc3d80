"""Prompts of Langfuse, as its API and its exports write them in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_agentops.errors import PromptError
from pytest_agentops.importing import (
    Exported,
    Found,
    Reading,
    as_json,
    items,
    listed,
    loaded_json,
    mapping,
    messages_of,
    model,
    option,
    said,
    stem,
    unknown,
    without,
)
from pytest_agentops.importing.messages import Message, lost_defaults, plainly, request_of
from pytest_agentops.prompt import Prompt


def read(text: str, path: str) -> Iterator[Found]:
    """The newest version of each prompt."""
    for name, versions in _versions(loaded_json(text, path), path).items():
        newest, *others = sorted(versions, key=_number, reverse=True)
        found = _prompt(newest, name, path)
        left_out = (f"Version {_number(each)}{_labels(each)} was left out." for each in others)
        yield replace(found, notes=(*found.notes, *left_out))


def _versions(data: Any, path: str) -> dict[str, list[Mapping[str, Any]]]:
    given = data["data"] if isinstance(mapping(data).get("data"), list) else data
    found: dict[str, list[Mapping[str, Any]]] = {}
    for entry in given if isinstance(given, list) else [given]:
        if not isinstance(mapping(entry).get("prompt"), str | list):
            raise _without_text(mapping(entry), data, path)
        found.setdefault(str(entry.get("name") or stem(path)), []).append(entry)
    if not found:
        raise unknown(path, data)
    return found


def _without_text(entry: Mapping[str, Any], data: object, path: str) -> PromptError:
    if not entry.get("versions"):
        return unknown(path, data)
    return PromptError(
        f"{path}: these are names of prompts in Langfuse without their text, such as {entry.get('name')}\n"
        "  ask for each prompt itself: GET /api/public/v2/prompts/NAME"
    )


def _number(entry: Mapping[str, Any]) -> int:
    version = entry.get("version")
    return version if isinstance(version, int) and version > 0 else 1


def _labels(entry: Mapping[str, Any]) -> str:
    words = [str(label) for label in items(entry.get("labels")) if label != "latest"]
    return f" ({'label' if len(words) == 1 else 'labels'} {listed(words)})" if words else ""


def _prompt(entry: Mapping[str, Any], name: str, path: str) -> Found:
    reading = Reading()
    if isinstance(entry["prompt"], str):
        body = reading.text(entry["prompt"])
    else:
        body = "".join(_body(messages_of(entry["prompt"], f"{path}, {name}"), reading))
    front_matter = _front_matter(mapping(entry.get("config")), reading)
    if tags := items(entry.get("tags")):
        front_matter["metadata"] = {"tags": tags, **front_matter.get("metadata", {})}
    number = _number(entry)
    labels = (label for label in items(entry.get("labels")) if label != "latest")
    pointed = (f"Label {label} pointed at version {number}." for label in labels)
    origin = f"{said(name)} version {number}"
    return reading.found(name, body, front_matter, *pointed, version=f"{number}.0.0", origin=origin)


def _body(messages: Iterable[Mapping[str, Any]], reading: Reading) -> Iterator[str]:
    for number, message in enumerate(messages, 1):
        if message.get("type") == "placeholder":
            yield reading.thread(str(message.get("name") or "history"))
        else:
            yield reading.message(message, number)


def _front_matter(config: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    options = {key: value for key, value in config.items() if option(key)}
    others = without(config, "model", "tools", "response_format", *options)
    if others:
        reading.notes.append(f"What the configuration says besides the model is in metadata: {listed(others)}.")
    return {
        **model(config.get("model"), options),
        **reading.answer_format(config.get("response_format")),
        **reading.tools(config.get("tools")),
        **({"metadata": {"config": others}} if others else {}),
    }


def write(prompt: Prompt) -> Exported:
    """The prompt as Langfuse's API takes it."""
    messages, notes = plainly(prompt, "langfuse")
    text = len(messages) == 1 and not messages[0].role
    metadata = mapping(prompt.front_matter.get("metadata"))
    data = {
        "name": prompt.name,
        "type": "text" if text else "chat",
        "prompt": messages[0].text if text else [_message(message) for message in messages],
        "config": {**mapping(metadata.get("config")), **without(request_of(prompt, messages), "messages")},
        "labels": [],
        "tags": items(metadata.get("tags")),
    }
    if prompt.version:
        notes.append(f"Langfuse counts versions itself: {prompt.version} is not kept.")
    return Exported(as_json(data), ".json", (*notes, *lost_defaults(prompt)))


def _message(message: Message) -> dict[str, str]:
    if message.role == "placeholder":
        return {"type": "placeholder", "name": message.text.strip("{}")}
    return message.as_json
