"""Which format a file has, and prompt files from and for each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

from jinja2 import nodes

from pytest_agentops.errors import PromptError, PromptSyntaxError
from pytest_agentops.importing import (
    FRONT_MATTER,
    Exported,
    Found,
    Imported,
    PromptUse,
    clean,
    dotprompt,
    dumped,
    folder_name,
    github,
    langfuse,
    loaded_json,
    mapping,
    openai_code,
    openai_request,
    parsed_body,
    plain,
    prompty,
    unique,
    unknown,
)
from pytest_agentops.prompt import Prompt

Format = Literal["prompty", "dotprompt", "langfuse", "github", "openai"]
Reader = Callable[[str, str], Iterable[Found]]


def imported(text: str, *, path: str, name: str | None = None) -> tuple[Imported, ...]:
    """The prompts in this file, whatever its format, which its ending and its content tell.

    With `name` a single prompt gets this name; several get it as their folder.

    Raises:
        PromptError: nothing in the file can be imported.
        PromptSyntaxError: the file is broken; the message names the line where it is known.

    Example:
        ```python
        for prompt in imported(Path("langfuse.json").read_text(), path="langfuse.json"):
            print(prompt.name, *prompt.notes)
        ```
    """
    text = clean(text.removeprefix("\ufeff"))
    found = list(_reader(text, path)(text, path))
    return tuple(_written(each, path, into) for each, into in zip(found, _names(found, name), strict=True))


def uses(text: str, path: str) -> tuple[PromptUse, ...]:
    """The places in this source, Python, JavaScript, TypeScript or JSON, that name a prompt on OpenAI's servers.

    Raises:
        PromptSyntaxError: it is no Python or no JSON, though its name says so.
    """
    return openai_code.uses(text, path)


def exported(prompt: Prompt, to: Format) -> Exported:
    """The prompt as the file that another tool reads.

    Raises:
        PromptError: the other format cannot say what the prompt means; the message names the line.
    """
    if to not in _WRITERS:
        raise PromptError(f"there is no format {to!r} to export to\n  there are: {', '.join(_WRITERS)}")
    return _WRITERS[to](replace(prompt, front_matter=plain(prompt.front_matter, prompt.path)))


_WRITERS: Mapping[str, Callable[[Prompt], Exported]] = {
    "prompty": prompty.write,
    "dotprompt": dotprompt.write,
    "langfuse": langfuse.write,
    "github": github.write,
    "openai": openai_request.write,
}


# --- which reader ----------------------------------------------------------------------------------------------------

_DOTPROMPT = re.compile(r"^(?:input|output|config):|\{\{(?:role\b|history\}|media\b|#|>)", re.MULTILINE)


def _reader(text: str, path: str) -> Reader:
    ending = PurePosixPath(path.lower()).suffix
    if ending in _READERS:
        return _READERS[ending]
    if text.lstrip().startswith(("{", "[")):
        return _json
    if FRONT_MATTER.match(text):
        return dotprompt.read if _DOTPROMPT.search(text) else prompty.read
    if "pmpt_" in text:
        return openai_code.read
    if re.search(r"^messages:", text, re.MULTILINE):
        return github.read
    raise unknown(path, text)


def _json(text: str, path: str) -> Iterable[Found]:
    data = loaded_json(text, path)
    if stored := list(openai_code.in_json(data, text, path)):
        return openai_code.scaffolds(stored)
    return openai_request.read(text, path) if "messages" in mapping(data) else langfuse.read(text, path)


_READERS: Mapping[str, Reader] = {
    ".prompty": prompty.read,
    ".prompt": dotprompt.read,
    ".json": _json,
    ".yml": github.read,
    ".yaml": github.read,
    **dict.fromkeys((".py", *openai_code.JAVASCRIPT), openai_code.read),
}
"""By the ending of the file."""


# --- the file --------------------------------------------------------------------------------------------------------

_ORDER = ("description", "model", "inputs", "outputs", "tools", "template", "metadata")


def _names(found: Sequence[Found], given: str | None) -> list[str]:
    names: list[str] = []
    for each in found:
        own = folder_name(each.name, partials=each.name.startswith("_shared/"))
        if given is not None:
            own = f"{given}/{PurePosixPath(own).name}" if len(found) > 1 else given
            own = folder_name(own, partials=True)
        names.append(unique(own, names, "-"))
    return names


def _written(found: Found, path: str, name: str) -> Imported:
    added = {key: {"kind": kind} for key, kind in _kinds(found.body, path).items() if key not in found.inputs}
    text = None if added else _verbatim(found, name)
    if text is None:
        text = _file(found, name, {**found.inputs, **added})
    try:
        Prompt.parse(name, text, path=path, source=_no_text)
    except (SyntaxError, RecursionError, ValueError, TypeError, MemoryError) as error:
        raise PromptSyntaxError(f"{path}: {name} cannot be written as a prompt: {error}") from error
    origin = f"{path}: {found.origin}" if found.origin else path
    return Imported(name, text, clean(origin), tuple(map(clean, dict.fromkeys(found.notes))))


def _file(found: Found, name: str, inputs: Mapping[str, Any]) -> str:
    known = {**found.front_matter, "inputs": inputs}
    front_matter = {"name": name, "version": found.version}
    if found.name not in (name, name.rpartition("/")[2], "") and "displayName" not in known:
        front_matter["displayName"] = found.name
    front_matter |= {key: known[key] for key in _ORDER if known.get(key)}
    front_matter |= {key: value for key, value in known.items() if key not in front_matter and key not in _ORDER}
    # Aliases would stand for what is said twice.
    return f"---\n{dumped(plain(front_matter, name))}---\n{found.body}"


def _verbatim(found: Found, name: str) -> str | None:
    """The file as it was written, with name and version where it has none."""
    opening = re.match(r"---[ \t]*\n", found.verbatim or "")
    if found.verbatim is None or not opening or found.front_matter.get("name", name) != name:
        return None
    own = {"name": name, "version": found.version}
    missing = {key: value for key, value in own.items() if key not in found.front_matter}
    text = f"{opening[0]}{dumped(missing) if missing else ''}{found.verbatim[opening.end() :]}"
    try:
        Prompt.parse(name, text, path=name, source=_no_text)
    except PromptError:  # Front matter in braces takes no lines before it.
        return None
    return text


def _no_text(_: str) -> str:
    return ""


# --- what a body uses ------------------------------------------------------------------------------------------------

_STRONGER = ("boolean", "string", "object", "array")
"""A variable used in several ways has the last of these kinds."""


def _kinds(body: str, path: str) -> dict[str, str]:
    """The kind of each variable that a body uses and does not set itself, in the order in which they come."""
    tree = parsed_body(body, path)
    stored = {node.name for node in tree.find_all(nodes.Name) if node.ctx != "load"}
    kinds: dict[str, str] = {}
    for name, kind in _used(tree, "string"):
        if name not in stored | {"range", "loop", "self"}:
            kinds[name] = max(kinds.get(name, "boolean"), kind, key=_STRONGER.index)
    return kinds


def _used(node: nodes.Node, kind: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, nodes.Name) and node.ctx == "load":
        yield node.name, kind
    for child in node.iter_child_nodes():
        yield from _used(child, _kind_in(node, child, kind))


def _kind_in(node: nodes.Node, child: nodes.Node, kind: str) -> str:
    """The kind that a piece of an expression has where it stands."""
    if isinstance(node, nodes.Not | nodes.And | nodes.Or):
        return kind
    if isinstance(node, nodes.For) and child is node.iter:
        return "array"
    if isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Filter) and child is node.node:
        return "object" if not isinstance(node, nodes.Filter) or node.name == "tojson" else "string"
    if isinstance(node, nodes.If | nodes.CondExpr) and child is node.test:
        return "boolean"
    return "boolean" if isinstance(node, nodes.Test) and child is node.node else "string"
