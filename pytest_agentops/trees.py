"""Where the files of a prompts folder come from: the working tree, a commit, a snapshot."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from pytest_agentops.errors import PromptError, PromptNotFound, PromptSyntaxError, did_you_mean
from pytest_agentops.history import ENDING, History
from pytest_agentops.prompt import normal_name


class Tree(Protocol):
    """The files of a prompts folder in one state."""

    @property
    def frozen(self) -> bool:
        """Whether they can never change."""

    def names(self) -> list[str]:
        """The names of all prompt files, partials among them, sorted."""

    def text(self, name: str) -> str:
        """The text of one prompt file.

        Raises:
            PromptNotFound: there is none of this name.
            PromptSyntaxError: it is no text.
        """

    def place(self, name: str) -> str:
        """Where it is, for messages."""

    def file(self, name: str) -> str | None:
        """The text of another file in the folder, such as the lock; None where it is not there."""

    def raw(self, path: str) -> bytes | None:
        """The bytes of any file, by its path in the folder; None where it is not there.

        Raises:
            PromptError: it cannot be read.
        """


class WorkingTree:
    """The files as they stand in a folder."""

    frozen = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        found = (path for path in self.folder.rglob(f"*{ENDING}") if not path.is_dir())
        return sorted(path.relative_to(self.folder).as_posix().removesuffix(ENDING) for path in found)

    def place(self, name: str) -> str:
        return str(self._path(name))

    def text(self, name: str) -> str:
        path = self._path(normal_name(name))
        try:
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise PromptNotFound(f"{path} leads out of {self.folder}")
            return decoded(path.read_bytes(), str(path))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise PromptNotFound(self._not_found(name)) from None
        except (OSError, RuntimeError) as error:  # A link that leads to itself is a RuntimeError.
            raise PromptError(f"{path} cannot be read: {error}") from error

    def file(self, name: str) -> str | None:
        data = self.raw(name)
        return None if data is None else decoded(data, str(self.folder / name))

    def raw(self, path: str) -> bytes | None:
        file = self.folder / path
        try:
            return file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise PromptError(f"{file} cannot be read: {error.strerror or error}") from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{ENDING}"

    def _not_found(self, name: str) -> str:
        if not self.folder.is_dir():
            return f"there is no prompts folder {self.folder}; name it with `prompts` in [tool.agentops]"
        return not_found(name, self.names(), str(self.folder))


class CommitTree:
    """The files as they were at a commit."""

    frozen = True

    def __init__(self, history: History, ref: str) -> None:
        """The folder at this ref.

        Raises:
            HistoryError: there is no such commit.
        """
        self.history = history
        self.ref = ref
        self.sha = history.commit(ref)

    def names(self) -> list[str]:
        return sorted(path.removesuffix(ENDING) for path in self.history.files(self.sha) if path.endswith(ENDING))

    def place(self, name: str) -> str:
        return f"{self.history.prefix}{name}{ENDING}@{self.ref if len(self.ref) < 30 else self.ref[:9]}"

    def text(self, name: str) -> str:
        name = normal_name(name)
        data = None if re.search(r"[\x00-\x1f]", name) else self.history.read_at(self.sha, f"{name}{ENDING}")
        if data is None:
            raise PromptNotFound(not_found(name, self.names(), f"{self.history.prefix or '.'} at {self.ref}"))
        return decoded(data, self.place(name))

    def file(self, name: str) -> str | None:
        data = self.raw(name)
        return None if data is None else decoded(data, f"{self.history.prefix}{name}@{self.ref}")

    def raw(self, path: str) -> bytes | None:
        return self.history.read_at(self.sha, path)


class MappingTree:
    """Files that are given as texts by their names."""

    frozen = True

    def __init__(self, texts: Mapping[str, str], where: str, files: Mapping[str, str] | None = None) -> None:
        self.texts = texts
        self.where = where
        self.files = files or {}

    def names(self) -> list[str]:
        return sorted(self.texts)

    def place(self, name: str) -> str:
        return f"{self.where}: {name}"

    def text(self, name: str) -> str:
        name = normal_name(name)
        if name not in self.texts:
            raise PromptNotFound(not_found(name, self.names(), self.where))
        return self.texts[name]

    def file(self, name: str) -> str | None:
        return self.files.get(name)

    def raw(self, path: str) -> bytes | None:
        text = self.texts.get(path.removesuffix(ENDING)) if path.endswith(ENDING) else self.files.get(path)
        return None if text is None else text.encode()


class EditedTree:
    """Another tree in which some prompt files say something else, or are there besides."""

    def __init__(self, tree: Tree, edited: Mapping[str, str]) -> None:
        """The files of `tree` with these bytes, as texts by the names of their prompts, instead of its own."""
        self.tree = tree
        self.edited = edited

    @property
    def frozen(self) -> bool:
        return self.tree.frozen

    def names(self) -> list[str]:
        return sorted({*self.tree.names(), *self.edited})

    def place(self, name: str) -> str:
        return f"{name} (edited)" if name in self.edited else self.tree.place(name)

    def text(self, name: str) -> str:
        name = normal_name(name)
        return decoded(self.edited[name].encode(), self.place(name)) if name in self.edited else self.tree.text(name)

    def file(self, name: str) -> str | None:
        return self.tree.file(name)

    def raw(self, path: str) -> bytes | None:
        name = path.removesuffix(ENDING)
        return self.edited[name].encode() if path.endswith(ENDING) and name in self.edited else self.tree.raw(path)


def decoded(data: bytes, path: str) -> str:
    """The text of a file: UTF-8, with line ends of one kind and no byte order mark.

    Raises:
        PromptSyntaxError: it is no UTF-8.
    """
    try:
        return data.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PromptSyntaxError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}, on line {line}; save it as UTF-8"
        ) from error


def decoded_or_not(data: bytes) -> str:
    """The text of a file of long ago, with stand-ins for what is no UTF-8."""
    return data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")


def not_found(name: str, names: list[str], where: str) -> str:
    """Why there is no prompt of this name."""
    known = [known for known in names if is_partial(known) == is_partial(name)]
    return f"no prompt {name!r} in {where}{did_you_mean(name, known)}\n  there are: {', '.join(known) or 'none'}"


def is_partial(name: str) -> bool:
    """Whether it is there to be included: its name, or a folder above it, begins with an underscore."""
    return any(part.startswith("_") for part in name.split("/"))


# --- snapshots -------------------------------------------------------------------------------------------------------

SNAPSHOT = 1


def read_snapshot(text: str, path: str) -> Mapping[str, Any]:
    """What a snapshot holds.

    Raises:
        PromptError: it is none, or of a newer format.
    """
    try:
        data = json.loads(text)
        if data["format"] != SNAPSHOT:
            raise PromptError(f"{path} has format {data['format']!r}; this version reads {SNAPSHOT}")
        if not _is_whole(data):
            raise ValueError("something in it is not what it should be")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise PromptError(
            f"{path} is no snapshot of prompts ({type(error).__name__}: {error})\n"
            "  to write one: pytest-agentops prompts snapshot"
        ) from error
    return data  # type: ignore[no-any-return]


def _is_whole(data: Mapping[str, Any]) -> bool:
    """Whether everything in a snapshot is of its kind, and every text that it names is there."""
    texts = data["texts"]
    return (
        _are_texts(texts)
        and _are_texts(data["prompts"], texts)
        and isinstance(data["labels"], dict)
        and all(map(_are_texts, data["labels"].values()))
        and isinstance(data["versions"], dict)
        and all(isinstance(each, dict) for each in data["versions"].values())
        and all(_are_texts(files, texts) for each in data["versions"].values() for files in each.values())
    )


def _are_texts(mapping: object, known: Mapping[str, str] | None = None) -> bool:
    return isinstance(mapping, dict) and all(
        isinstance(value, str) and (known is None or value in known) for value in mapping.values()
    )
