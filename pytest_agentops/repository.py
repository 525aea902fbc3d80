"""The prompts folder: finds a prompt by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

from pytest_agentops.errors import PromptNotFound, PromptSyntaxError
from pytest_agentops.prompt import Prompt, normal_name

_ENDING = ".prompty"


class PromptRepository:
    """The prompts of a folder, as they stand in the working tree.

    Example:
        ```python
        prompts = PromptRepository("prompts")
        prompts["support/agent"].render(company="ACME")
        ```
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __getitem__(self, name: str) -> Prompt:
        """The prompt of this name.

        Raises:
            PromptNotFound: there is none; the message names the nearest.
            PromptSyntaxError: its file cannot be understood.
        """
        name = normal_name(name)
        return Prompt.parse(name, self._text(name), path=str(self._path(name)), source=self._text)

    def __iter__(self) -> Iterator[str]:
        """The names of all prompts, sorted; partials, whose folder begins with an underscore, are none."""
        names = (path.relative_to(self.folder).with_suffix("") for path in self.folder.rglob(f"*{_ENDING}"))
        return iter(sorted(name.as_posix() for name in names if not any(part.startswith("_") for part in name.parts)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in list(self)

    def __repr__(self) -> str:
        return f"PromptRepository({str(self.folder)!r})"

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"

    def _text(self, name: str) -> str:
        path = self._path(normal_name(name))
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise PromptNotFound(f"{path} leads out of {self.folder}")
        try:
            return path.read_text(encoding="utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise PromptSyntaxError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise PromptNotFound(self._not_found(name)) from None

    def _not_found(self, name: str) -> str:
        if not self.folder.is_dir():
            return f"there is no prompts folder {self.folder}; name it with `prompts` in [tool.agentops]"
        known = list(self)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"no prompt {name!r} in {self.folder}{hint}\n  there are: {', '.join(known) or 'none'}"
