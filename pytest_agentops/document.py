"""The text of a cassette as plain data, read fast, and what was read before kept by its content.

PyYAML builds a node for everything it reads and then a value for every node; here the values are built from libyaml's
events as they come. What is rare in cassettes (merge keys, tags of collections, an error to explain) is left to PyYAML,
for the whole document, so that the result is always the one that PyYAML's safe loader gives.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STR, _BINARY = "tag:yaml.org,2002:str", "tag:yaml.org,2002:binary"
_COLLECTIONS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_RESOLVERS: Mapping[str | None, Any] = _Loader.yaml_implicit_resolvers

DEEPEST = 500
"""How deep a document may be nested: PyYAML's C code recurses without a guard, which would end the process."""


class _Rare(Exception):
    """Something that PyYAML should see to."""


def parse(text: str) -> object:
    """The data of a YAML document, as PyYAML's safe loader gives it.

    Raises:
        yaml.YAMLError: it is no YAML, is nested deeper than `DEEPEST`, or holds what a safe loader does not make.
    """
    loader = _Loader(text)
    try:
        return _Builder(loader).build()
    except _Rare:
        return _by_pyyaml(text)
    finally:
        loader.dispose()


def _by_pyyaml(text: str) -> object:
    if (event := _first_too_deep(text)) is not None:
        raise _too_deep(event)
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        raise
    # PyYAML's constructors raise what comes: a ValueError for the date 2024-02-31, a KeyError for `!!bool perhaps`.
    except Exception as error:
        raise yaml.YAMLError(f"a value cannot be made: {error!r}") from error


def _first_too_deep(text: str) -> Any:
    depth = 0
    with suppress(yaml.YAMLError):  # Whatever it is, it is found again in its own turn.
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                return event
    return None


def _too_deep(event: Any) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, f"it is nested deeper than {DEEPEST}", event.start_mark)


class _Builder:
    """Makes data from the events of one document."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._anchors: dict[str, object] = {}
        self._plain: dict[str, object] = {}

    def build(self) -> object:
        next_event = self._loader.get_event
        plain, anchors = self._plain, self._anchors
        documents = 0
        root: list[Any] = []
        stack: list[tuple[Any, Any]] = []
        # Where the next value goes: into a list, or into a mapping under `key`, which is _NO_KEY while one is awaited.
        holder: Any = root
        key: Any = _LIST
        while True:
            event = next_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value: Any = event.value
                tag = event.tag
                if tag is None and event.implicit[0]:
                    value = plain[value] if value in plain else self._resolved(value)
                elif tag is not None and tag != _STR and not (tag == "!" and not event.implicit[0]):
                    value = self._tagged(tag, value)
                if event.anchor is not None:
                    self._name(event.anchor, value)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                if event.tag not in _COLLECTIONS or key is _NO_KEY:  # A collection as a key, for one.
                    raise _Rare
                if len(stack) >= DEEPEST:
                    raise _too_deep(event)
                value = {} if kind is yaml.MappingStartEvent else []
                if event.anchor is not None:
                    self._name(event.anchor, value)
                if key is _LIST:
                    holder.append(value)
                else:
                    holder[key] = value
                    key = _NO_KEY
                stack.append((holder, key))
                holder, key = value, (_NO_KEY if kind is yaml.MappingStartEvent else _LIST)
                continue
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                holder, key = stack.pop()
                continue
            elif kind is yaml.AliasEvent:
                if event.anchor not in anchors:
                    raise _Rare
                value = anchors[event.anchor]
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise _Rare
                continue
            elif kind is yaml.StreamEndEvent:
                return root[0] if root else None
            else:
                continue
            if key is _LIST:
                holder.append(value)
            elif key is _NO_KEY:
                if not isinstance(value, Hashable):
                    raise _Rare
                key = value
            else:
                holder[key] = value
                key = _NO_KEY

    def _resolved(self, text: str) -> object:
        """The value of a plain scalar: YAML 1.1 reads numbers, dates, truth and nothing out of some."""
        value: object = text
        for tag, looks in (*_RESOLVERS.get(text[:1], ()), *_RESOLVERS.get(None, ())):
            if looks.match(text):
                value = self._tagged(tag, text)
                break
        self._plain[text] = value
        return value

    def _tagged(self, tag: str, text: str) -> object:
        if tag == "tag:yaml.org,2002:merge" or not tag.startswith("tag:yaml.org,2002:"):
            raise _Rare
        try:
            if tag == _BINARY:
                return base64.decodebytes(text.encode("ascii"))
            return self._loader.construct_object(yaml.ScalarNode(tag, text), deep=True)
        except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
            raise _Rare from None

    def _name(self, anchor: str, value: object) -> None:
        if anchor in self._anchors:
            raise _Rare
        self._anchors[anchor] = value


_LIST, _NO_KEY = object(), object()


# --- what was read before --------------------------------------------------------------------------------------------

_VERSION = f"1 {yaml.__version__}"
_MOST = 4000
"""Entries that are kept; beyond, the older half goes."""


class Cache:
    """Documents that were parsed before, by their content, in a folder that may vanish at any moment.

    An entry is JSON, since neither a cassette nor this folder is to be trusted. Documents that JSON does not give back
    as they are, such as those with bytes or dates in them, are not kept. Nothing that goes wrong here is an error.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._swept = False

    def parse(self, raw: bytes) -> object:
        """The data of this YAML document.

        Raises:
            yaml.YAMLError: it is no YAML, or holds what a safe loader does not make.
            UnicodeDecodeError: it is not UTF-8.
        """
        path = self._folder / f"{hashlib.blake2b(raw, digest_size=16, key=_VERSION.encode()).hexdigest()}.json"
        with suppress(OSError, ValueError, RecursionError):
            return json.loads(path.read_bytes())
        data = parse(raw.decode("utf-8"))
        with suppress(OSError, ValueError, TypeError, RecursionError):
            if _survives_json(data):
                self._keep(path, json.dumps(data))
        return data

    def _keep(self, path: Path, text: str) -> None:
        if not self._swept:
            self._swept = True
            self._sweep()
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self._folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise

    def _sweep(self) -> None:
        entries = list(self._folder.glob("*.json"))
        if len(entries) > _MOST:
            for old in sorted(entries, key=lambda entry: entry.stat().st_mtime)[: len(entries) - _MOST // 2]:
                old.unlink(missing_ok=True)


def _survives_json(data: object) -> bool:
    """Whether JSON gives this back as it is, and is no larger than what was read: aliases may stand for a lot."""
    stack: list[Any] = [data]
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        kind = type(value)
        if kind is dict or kind is list:
            if id(value) in seen:
                return False
            seen.add(id(value))
            if kind is dict and not all(type(name) is str for name in value):
                return False
            stack.extend(value.values() if kind is dict else value)
        elif kind is not str and kind is not int and kind is not float and kind is not bool and value is not None:
            return False
    return True
