"""Prompty: files of its first edition and of the drafts of its second become ours, which are of the second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from jinja2 import nodes

from pytest_agentops.importing import (
    SCHEMA_KINDS,
    Exported,
    Found,
    Reading,
    Sheet,
    listed,
    mapping,
    model,
    parsed_body,
    said,
    semantic,
    stem,
    without,
)
from pytest_agentops.importing.handlebars import Handlebars
from pytest_agentops.importing.messages import tree_of
from pytest_agentops.kinds import KEYS, KINDS, kind_of
from pytest_agentops.prompt import Prompt

_SCHEMAS = ("inputs", "inputSchema", "outputs", "outputSchema")
_LEFT_OUT = ("$schema", "type", "base", "parser", "response", "environment")
_MOVED = ("sample", "authors", "tags", "inputSchema", "outputSchema", *_LEFT_OUT)
_OLD_KEYS = {"type": "kind", "sample": "example", "enum": "enumValues"}


def read(text: str, path: str) -> Iterator[Found]:
    """The prompt in this file; one that is of the second edition stays as it is written."""
    sheet = Sheet.of(text, path)
    given, body = sheet.front_matter, sheet.body
    reading = Handlebars(path, sheet.line)
    front_matter, inputs, changed = _second_edition(given, reading)
    if _engine(given) == "mustache":
        body, changed = reading.body(body, roles="written"), True
        del front_matter["template"]
        inputs = {reading.variables[name]: value for name, value in inputs.items()}
    else:
        parsed_body(body, path, sheet.line)
    reading.inputs |= inputs
    version = semantic(given.get("version", mapping(given.get("metadata")).get("version")))
    changed = changed or ("version" in given and version != str(given["version"]))
    found = reading.found(given.get("name") or stem(path), body, front_matter if changed else given, version=version)
    yield found if changed else replace(found, verbatim=text)


def _engine(front_matter: Mapping[str, Any]) -> str:
    """The engine of the body, which the editions of Prompty name in several ways."""
    template = front_matter.get("template")
    while isinstance(template, Mapping):
        template = next((template[key] for key in ("format", "kind", "type") if key in template), None)
    return str(template or "jinja2").lower()


def _second_edition(
    given: Mapping[str, Any], reading: Reading
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], bool]:
    """Front matter as Prompty v2 writes it, the inputs it declares, and whether anything had to change."""
    front_matter = without(given, "name", "version", *_SCHEMAS, *_MOVED)
    inputs, changed = _declared(given.get("inputs") or given.get("inputSchema"), reading)
    outputs, outputs_changed = _declared(given.get("outputs") or given.get("outputSchema"), reading)
    front_matter |= {"outputs": outputs} if outputs else {}
    old_model = mapping(given.get("model"))
    if {"configuration", "parameters", "api"} & old_model.keys():
        front_matter = {**front_matter, "model": None, **_first_model(old_model, reading)}
        changed = True
    for name, value in mapping(given.get("sample")).items():
        inputs[name] = {"kind": kind_of(value), **inputs.get(name, {}), "example": value}
    if (sample := given.get("sample")) and not isinstance(sample, Mapping):
        reading.notes.append(f"The sample {said(sample)} was left out.")
    if about := {key: given[key] for key in ("authors", "tags") if key in given}:
        front_matter["metadata"] = {**about, **mapping(given.get("metadata"))}
    reading.notes += [f"{key} was left out." for key in _LEFT_OUT if key in given]
    return front_matter, inputs, changed or outputs_changed or any(key in given for key in _MOVED)


def _declared(given: object, reading: Reading) -> tuple[dict[str, dict[str, Any]], bool]:
    """Inputs or outputs by name, and whether they had to be written anew."""
    # Drafts of the second edition wrapped the list in `properties`.
    wrapped = mapping(given).get("properties")
    given = wrapped if isinstance(wrapped, list) else given
    named: object = given
    if isinstance(given, list):
        named = {str(each["name"]): without(each, "name") for each in map(mapping, given) if each.get("name")}
        if len(named) < len(given):
            reading.notes.append("A declaration without a name, or a second one of the same name, was left out.")
    made = {name: _declaration(name, value, reading) for name, value in mapping(named).items()}
    kept = all(value in (made[name], made[name]["kind"]) for name, value in mapping(named).items())
    return made, isinstance(given, list) or (given is not None and not isinstance(given, Mapping)) or not kept


def _declaration(name: str, given: object, reading: Reading) -> dict[str, Any]:
    if isinstance(given, str) and given in (*KINDS, *SCHEMA_KINDS):
        return {"kind": SCHEMA_KINDS.get(given, given)}
    if not isinstance(given, Mapping) or (given and not {*KEYS, *_OLD_KEYS} & given.keys()):
        return {"kind": kind_of(given), "default": given}
    renamed = {_OLD_KEYS.get(str(key), str(key)): value for key, value in given.items()}
    kind = str(renamed.get("kind") or kind_of(renamed.get("default")))
    if lost := [key for key in renamed if key not in KEYS]:
        reading.notes.append(f"The declaration of {name} lost {listed(lost)}.")
    return {"kind": SCHEMA_KINDS.get(kind, kind), **without(renamed, "kind", *lost)}


def _first_model(given: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    configuration, parameters = mapping(given.get("configuration")), mapping(given.get("parameters"))
    naming = ("azure_deployment", "deployment", "name", "model")
    name = next((configuration[key] for key in naming if configuration.get(key)), None)
    made = model(name, without(parameters, "tools", "response_format", "stream", "tool_choice"))
    if provider := str(configuration.get("type") or ""):
        made["model"] = {**made.get("model", {}), "provider": {"azure_openai": "azure"}.get(provider, provider)}
    if (api := given.get("api")) and made:
        made["model"]["apiType"] = api
    if lost := [key for key in configuration if key not in (*naming, "type")]:
        reading.notes.append(f"Where the model is reached is for the application to say: left out {listed(lost)}.")
    return {
        **made,
        **reading.answer_format(parameters.get("response_format")),
        **reading.tools(parameters.get("tools")),
    }


def write(prompt: Prompt) -> Exported:
    """The file as it is, with what other runtimes of Prompty must know of it."""
    tree = tree_of(prompt)
    included = dict.fromkeys(str(node.template.as_const()) for node in tree.find_all(nodes.Include))
    notes = [f"It includes {name}, which must be beside it." for name in included]
    if any(node.name == "untrusted" for node in tree.find_all(nodes.Filter)):
        notes.append("The filter untrusted is ours: other runtimes of Prompty need one of that name.")
    return Exported(prompt.text, ".prompty", tuple(notes))
