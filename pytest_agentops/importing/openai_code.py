"""Programs that use prompts stored at OpenAI: where they do, and a file for each prompt that waits for its text."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pytest_agentops.errors import PromptError, PromptSyntaxError
from pytest_agentops.importing import READ, Found, PromptUse, Variables, chat, listed, loaded_json, mapping, semantic

JAVASCRIPT = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts")

_STORED = re.compile(r"pmpt_\w+")
_LOOKS = (("image", re.compile(r"(?i)(?:image|photo|picture|screenshot)$")), ("file", re.compile(r"(?i)(?:file|pdf)$")))


def read(text: str, path: str) -> Iterator[Found]:
    """For each stored prompt that this source uses a file that waits for its text.

    Raises:
        PromptError: it uses none.
        PromptSyntaxError: it is no Python, though its name says so.
    """
    try:
        found = uses(text, path)
    except PromptSyntaxError:
        if PurePosixPath(path.lower()).suffix == ".py":
            raise
        found = tuple(_in_javascript(text, path))
    if not found:
        raise PromptError(
            f"{path}: it uses no prompt stored at OpenAI, that is no literal id such as pmpt_68b0 in prompt={{...}}\n"
            "  other texts in source are not guessed at: write them to a .prompty file\n"
            f"  {READ}"
        )
    yield from scaffolds(found)


def uses(text: str, path: str) -> tuple[PromptUse, ...]:
    """The places in this source, Python, JavaScript, TypeScript or JSON, that name a prompt on OpenAI's servers.

    Raises:
        PromptSyntaxError: it is no Python or no JSON, though its name says so.
    """
    ending = PurePosixPath(path.lower()).suffix
    if ending == ".json":
        found = in_json(loaded_json(text, path), text, path)
    else:
        found = (_in_javascript if ending in JAVASCRIPT else _in_python)(text, path)
    return tuple(sorted(found, key=lambda use: use.line))


def scaffolds(found: Iterable[PromptUse]) -> Iterator[Found]:
    """For each stored prompt a file that waits for its text."""
    by_id: dict[str, list[PromptUse]] = {}
    for use in found:
        by_id.setdefault(use.id, []).append(use)
    return (_scaffold(id_, where) for id_, where in by_id.items())


def _scaffold(id_: str, where: Sequence[PromptUse]) -> Found:
    variables = Variables()
    inputs = {variables[name]: {"kind": kind} for use in where for name, kind in use.variables.items()}
    versions = sorted({use.version for use in where if use.version}, key=lambda version: (len(version), version))
    newest = versions[-1] if versions else None
    notes = [f"{use.path}:{use.line} uses {use.id}{_asking_for(use)}." for use in where]
    if len(versions) > 1:
        notes.append(f"The versions {listed(versions)} are in use: this file is for {newest}.")
    elif not newest:
        notes.append("No version is asked for: take the one that is current, and give it a version here.")
    written = f", and write its variables as {listed(f'{{{{ {name} }}}}' for name in inputs)}" if inputs else ""
    notes += [
        f"The text is on OpenAI's servers until 2026-11-30: paste it in place of the line in the body{written}.",
        "Then pass what messages() gives as input=... where the program passes prompt={...}.",
    ]
    return Found(
        id_,
        chat("system", f"Paste the instructions of {id_}{f', version {newest}' if newest else ''} here."),
        version=semantic(newest),
        inputs=inputs,
        origin=id_,
        notes=(*variables.notes, *notes),
    )


def _asking_for(use: PromptUse) -> str:
    version = f" version {use.version}" if use.version else ""
    return f"{version} with {listed(use.variables)}" if use.variables else version


def _kind(name: str, says: str) -> str:
    """The kind of a variable by its value as source, or by its name where the value does not tell."""
    if "input_image" in says or "input_file" in says:
        return "image" if "input_image" in says else "file"
    return next((kind for kind, looks in _LOOKS if looks.search(name)), "string")


def _version(given: object) -> str | None:
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) and given != "" else None


# --- JSON ------------------------------------------------------------------------------------------------------------


def in_json(data: Any, text: str, path: str) -> Iterator[PromptUse]:
    """The uses in these data, and where they stand in their text."""
    waiting, at = [data], 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting += reversed(each)
        elif isinstance(each, Mapping):
            waiting += reversed(list(each.values()))
            id_ = each.get("id")
            if isinstance(id_, str) and _STORED.fullmatch(id_):
                at = max(text.find(id_, at), 0)
                values = mapping(each.get("variables"))
                kinds = {name: _kind(name, json.dumps(value)) for name, value in values.items()}
                yield PromptUse(id_, _version(each.get("version")), kinds, path, text.count("\n", 0, at) + 1)
                at += len(id_)


# --- Python ----------------------------------------------------------------------------------------------------------


def _in_python(text: str, path: str) -> Iterator[PromptUse]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except SyntaxError as error:
        raise PromptSyntaxError(f"{path}:{error.lineno or 1}: this is not Python: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise PromptSyntaxError(f"{path}: this Python cannot be read: {error}") from error
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        entries = _entries(node)
        id_ = next(filter(_is_stored, _constants(entries.get("id"), constants)), None)
        if isinstance(node, ast.Dict | ast.Call) and isinstance(id_, str):
            version = next(_constants(entries.get("version"), constants), None)
            values = _entries(entries["variables"]) if "variables" in entries else {}
            kinds = {name: _kind(name, ast.dump(value)) for name, value in values.items()}
            yield PromptUse(id_, _version(version), kinds, path, node.lineno)


def _entries(node: ast.AST) -> dict[str, ast.expr]:
    """The named values of a literal dict, or of a call such as `dict(id=...)`."""
    if isinstance(node, ast.Call):
        return {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
    return {key.value: value for key, value in pairs if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def _constants(node: ast.expr | None, known: Mapping[str, object]) -> Iterator[object]:
    """The values that stand in an expression, such as those of `os.getenv("PROMPT", "pmpt_68b0")`."""
    for each in ast.walk(node) if node else ():
        if isinstance(each, ast.Constant):
            yield each.value
        elif isinstance(each, ast.Name) and each.id in known:
            yield known[each.id]


def _is_stored(value: object) -> bool:
    return isinstance(value, str) and _STORED.fullmatch(value) is not None


# --- JavaScript and TypeScript ---------------------------------------------------------------------------------------

_TEXTS = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*+\"|'(?:\\.|[^'\\\n])*+'|`(?:\\.|[^`\\])*+`", re.DOTALL)
_INNERMOST = r"\{[^{}]*+\}"
_INNER = rf"\{{(?:[^{{}}]|{_INNERMOST})*+\}}"
_OBJECT = re.compile(rf"(?=(\{{(?:[^{{}}]|{_INNER})*+\}}))")
"""An object with variables that are objects, and no deeper one; those around it are no prompts."""
_MEMBER = re.compile(rf"[{{,]\s*[\"'`]?([\w$]+)[\"'`]?\s*(?::((?:[^{{}},]|{_INNER})*+))?(?=[,}}])")


def _in_javascript(text: str, path: str) -> Iterator[PromptUse]:
    source = _TEXTS.sub(_quiet, text)
    constants = dict(re.findall(r"(?<![\w$])([\w$]++)\s*+(?::\s*+\w++\s*+)?=\s*+[\"'`]([\w.-]++)[\"'`]", source))
    for found in _OBJECT.finditer(source):
        members = _members(found[1])
        if id_ := _value(members.get("id", ""), constants, _STORED):
            version = _value(members.get("version", ""), constants, re.compile(r"\d[\w.-]*"))
            values = _members(members.get("variables", "").strip())
            kinds = {name: _kind(name, value) for name, value in values.items()}
            yield PromptUse(id_, version, kinds, path, source.count("\n", 0, found.start()) + 1)


def _quiet(found: re.Match[str]) -> str:
    """The same stretch of source without a comment, or without what means something outside of a text."""
    return re.sub(r"[^\n]" if found[0].startswith("/") else "[{},]", " ", found[0])


def _members(source: str) -> dict[str, str]:
    """The values of an object by name; a shorthand such as `{ city }` has an empty one."""
    return {found[1]: found[2] or "" for found in _MEMBER.finditer(source)}


def _value(source: str, constants: Mapping[str, str], wanted: re.Pattern[str]) -> str | None:
    words: list[str] = re.findall(r"[\w$.-]+", source)
    return next((value for word in words if wanted.fullmatch(value := constants.get(word, word))), None)
