"""dotprompt: `.prompt`, Handlebars under front matter with picoschema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes

from pytest_agentops.importing import (
    Exported,
    Found,
    Reading,
    Sheet,
    dumped,
    mapping,
    model,
    plain,
    said,
    stem,
    without,
)
from pytest_agentops.importing.handlebars import Handlebars
from pytest_agentops.importing.messages import cannot, included, role_called, served, tree_of
from pytest_agentops.kinds import RICH, kind_of, object_schema
from pytest_agentops.prompt import Prompt

_KEYS = frozenset("name model config input output tools description metadata".split())


def read(text: str, path: str) -> Iterator[Found]:
    """The prompt in this file; one whose name begins with an underscore is a partial."""
    sheet = Sheet.of(text, path)
    given = sheet.front_matter
    partial = stem(path).startswith("_")
    reading = Handlebars(path, sheet.line)
    declared = _inputs(mapping(given.get("input")), reading)
    body = reading.body(sheet.body, roles="none" if partial else "helper")
    inputs = {reading.variables[key]: value for key, value in declared.items()}
    # That a text is an image or a thread shows only where the body uses it.
    reading.inputs = inputs | {key: {**inputs.get(key, {}), **value} for key, value in reading.inputs.items()}
    output = mapping(given.get("output"))
    front_matter = {
        **{key: given[key] for key in ("description", "metadata") if given.get(key)},
        **model(given.get("model"), mapping(given.get("config")), provider=True),
        **reading.outputs(_picoschema(output.get("schema"), reading.notes)),
        **reading.tools(given.get("tools")),
    }
    wanted = output.get("format")
    if wanted not in (None, "text", "json") or (wanted and "schema" not in output):
        reading.notes.append(f"The output format {said(wanted)} was left out: declare outputs instead.")
    reading.left_out(given.keys() - _KEYS)
    own = f"_shared/{stem(path).strip('_')}" if partial else stem(path)
    yield reading.found(given.get("name") or own, body, front_matter)


def _inputs(given: Mapping[str, Any], reading: Reading) -> dict[str, dict[str, Any]]:
    inputs = reading.properties(mapping(_picoschema(given.get("schema"), reading.notes)), "the input")
    for name, value in mapping(given.get("default")).items():
        inputs[name] = {"kind": kind_of(value), **inputs.get(name, {}), "default": value}
    for declaration in inputs.values():
        optional = declaration.pop("required", True) is False
        if optional and "default" not in declaration:
            # A template is given nothing for what is optional, and nothing must render as nothing.
            nothing = {"array": [], "object": {}, "boolean": False, "integer": 0, "float": 0}
            declaration["default"] = nothing.get(declaration["kind"], "")
    return inputs


_PICO_KEY = re.compile(
    r"\s*(?P<name>[^?(]*)(?P<optional>\??)\s*(?:\((?P<type>[^,)]*)(?:,(?P<about>.*))?\))?\s*", re.DOTALL
)


def _picoschema(given: object, notes: list[str]) -> object:
    """The JSON schema that a picoschema stands for."""
    if isinstance(given, str):
        kind, _, about = (part.strip() for part in given.partition(","))
        if kind in ("string", "number", "integer", "boolean", "null", "any"):
            return {"type": kind, **({"description": about} if about else {})}
        notes.append(f"The schema {said(given)} is registered elsewhere and was left out.")
        return {}
    schema = mapping(given)
    if schema.get("type") == "object" or isinstance(schema.get("properties"), Mapping):
        return schema
    made: dict[str, Any] = {}
    required = []
    for key, value in schema.items():
        found = _PICO_KEY.fullmatch(key)
        name = found["name"].strip() if found else ""
        if not found or not name:
            notes.append(f"{said(key)} in a schema was left out.")
            continue
        made[name] = _pico_property((found["type"] or "").strip(), (found["about"] or "").strip(), value, notes)
        if not found["optional"]:
            required.append(name)
    return {"type": "object", "properties": made, "required": required} if made else {}


def _pico_property(kind: str, about: str, value: object, notes: list[str]) -> dict[str, Any]:
    described = {"description": about} if about else {}
    if kind == "array":
        return {"type": "array", "items": _picoschema(value, notes), **described}
    if kind == "enum":
        return {"type": "string", "enum": value if isinstance(value, list) else [value], **described}
    return {**mapping(_picoschema(value, notes)), **described}


# --- and back --------------------------------------------------------------------------------------------------------


def write(prompt: Prompt) -> Exported:
    """The prompt as dotprompt reads it."""
    writer = _Writer(prompt, [])
    body = writer.body()
    options = mapping(prompt.model.get("options"))
    inputs = {name: each for name, each in prompt.inputs.items() if each.kind != "thread"}
    defaults = {name: each.default for name, each in prompt.inputs.items() if each.default is not None}
    schema = object_schema(tuple(inputs.values()), strict=False)
    front_matter: dict[str, Any] = {
        "name": prompt.name,
        "description": prompt.description,
        "model": served(prompt),
        "config": {**without(options, "additionalProperties"), **mapping(options.get("additionalProperties"))},
    }
    if prompt.inputs:
        front_matter["input"] = {"schema": schema, **({"default": defaults} if defaults else {})}
    if prompt.outputs:
        outputs = object_schema(tuple(prompt.outputs.values()), strict=False)
        front_matter["output"] = {"format": "json", "schema": outputs}
    front_matter["tools"] = [tool.name for tool in prompt.tools]
    if prompt.tools:
        writer.notes.append("The tools are only named: define them where the prompt is used.")
    told = plain({key: value for key, value in front_matter.items() if value}, prompt.path)
    return Exported(f"---\n{dumped(told)}---\n{body}", ".prompt", tuple(dict.fromkeys(writer.notes)))


class _Writer:
    """Writes one body as Handlebars; gathers what another reader must know."""

    def __init__(self, prompt: Prompt, notes: list[str]) -> None:
        self.prompt = prompt
        self.notes = notes

    def body(self) -> str:
        written = "".join(self.written(tree_of(self.prompt), ()))
        return re.sub(r"\n?(\{\{role \"\w+\"\}\})", r"\n\1", written).lstrip("\n")

    def written(self, node: nodes.Node, loops: tuple[str, ...]) -> Iterator[str]:
        if isinstance(node, nodes.TemplateData):
            yield self._text(node.data)
        elif isinstance(node, nodes.Const):
            yield self._text(str(node.value))
        elif isinstance(node, nodes.Template | nodes.Output):
            yield from self._all(node.iter_child_nodes(), loops)
        elif role := role_called(node):
            yield f'{{{{role "{self._role(role)}"}}}}'
        elif isinstance(node, nodes.Include):
            partial = _Writer(included(node, self.prompt, self.notes), self.notes)
            yield from partial.written(tree_of(partial.prompt), loops)
        elif isinstance(node, nodes.If):
            yield from self._condition(node, loops)
        elif isinstance(node, nodes.For):
            yield from self._loop(node, loops)
        elif isinstance(node, nodes.Filter) and node.node and node.name in ("untrusted", "tojson"):
            if node.name == "untrusted":
                self.notes.append("What the filter untrusted fenced stands without its delimiters.")
            yield f"{{{{{'json ' if node.name == 'tojson' else ''}{self._path(node.node, loops)}}}}}"
        elif isinstance(node, nodes.Name) and self._kind(node.name) in RICH:
            yield self._place(node.name, loops)
        else:
            yield f"{{{{{self._path(node, loops)}}}}}"

    def _all(self, inside: Iterable[nodes.Node], loops: tuple[str, ...]) -> Iterator[str]:
        for child in inside:
            yield from self.written(child, loops)

    def _kind(self, name: str) -> str:
        return self.prompt.inputs[name].kind if name in self.prompt.inputs else ""

    def _place(self, name: str, loops: tuple[str, ...]) -> str:
        if self._kind(name) != "thread":
            return f"{{{{media url={'../' * len(loops)}{name}}}}}"
        if name != "history":
            self.notes.append(f"The thread {name} is what dotprompt calls history.")
        return "{{history}}"

    def _text(self, text: str) -> str:
        if text.endswith("{"):
            self.notes.append("A brace stands beside an expression: see that Handlebars reads them apart.")
        # A backslash before braces takes their meaning away, and another one that of the backslash.
        return re.sub(r"\\+\Z", lambda found: f"{found[0]}\\", re.sub(r"\{\{", r"\\{{", text))

    def _role(self, role: str) -> str:
        if role == "developer":
            self.notes.append("The role developer became system.")
        return {"assistant": "model", "developer": "system"}.get(role, role)

    def _condition(self, node: nodes.If, loops: tuple[str, ...]) -> Iterator[str]:
        self.notes.append("Handlebars drops the line of a tag that stands alone: blank lines may differ.")
        word, test = ("unless", node.test.node) if isinstance(node.test, nodes.Not) else ("if", node.test)
        yield f"{{{{#{word} {self._tested(test, loops)}}}}}"
        yield from self._all(node.body, loops)
        for branch in node.elif_:
            yield f"{{{{else if {self._tested(branch.test, loops)}}}}}"
            yield from self._all(branch.body, loops)
        if node.else_:
            yield "{{else}}"
            yield from self._all(node.else_, loops)
        yield f"{{{{/{word}}}}}"

    def _tested(self, test: nodes.Node, loops: tuple[str, ...]) -> str:
        # That the steps of a path are there is what Handlebars asks anyway.
        if isinstance(test, nodes.And) and _only_defined(test.left):
            test = test.right
        return self._path(test, loops)

    def _loop(self, node: nodes.For, loops: tuple[str, ...]) -> Iterator[str]:
        if not isinstance(node.target, nodes.Name) or node.test or node.recursive:
            raise cannot(node, self.prompt, "dotprompt")
        yield f"{{{{#each {self._path(node.iter, loops)}}}}}"
        yield from self._all(node.body, (*loops, node.target.name))
        if node.else_:
            yield "{{else}}"
            yield from self._all(node.else_, loops)
        yield "{{/each}}"

    def _path(self, node: nodes.Node, loops: tuple[str, ...]) -> str:
        """The Handlebars path of an input, of the item of a loop or of their fields."""
        steps: list[str] = []
        while isinstance(node, nodes.Getattr | nodes.Getitem):
            if isinstance(node, nodes.Getattr):
                steps.insert(0, node.attr)
            elif isinstance(node.arg, nodes.Const) and re.fullmatch(r"[\w -]+", str(node.arg.value)):
                steps.insert(0, f"[{node.arg.value}]")
            else:
                raise cannot(node, self.prompt, "dotprompt")
            node = node.node
        known = {"index0": "@index", "first": "@first", "last": "@last"}
        if not isinstance(node, nodes.Name) or (loops and node.name == "loop" and "".join(steps) not in known):
            raise cannot(node, self.prompt, "dotprompt")
        if node.name == "loop" and loops:
            return known["".join(steps)]
        if node.name in loops:
            return "../" * loops[::-1].index(node.name) + ".".join(["this", *steps])
        return "../" * len(loops) + ".".join([node.name, *steps])


def _only_defined(test: nodes.Node) -> bool:
    if isinstance(test, nodes.And):
        return _only_defined(test.left) and _only_defined(test.right)
    return isinstance(test, nodes.Test) and test.name == "defined"
