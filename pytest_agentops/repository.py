"""The prompts folder: finds a prompt by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_agentops.errors import PromptError, PromptNotFound, PromptSyntaxError, did_you_mean
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
        return (name for name in self._files() if not _is_partial(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in list(self)

    def __repr__(self) -> str:
        return f"PromptRepository({str(self.folder)!r})"

    def _files(self) -> list[str]:
        found = self.folder.rglob(f"*{_ENDING}")
        return sorted(path.relative_to(self.folder).as_posix().removesuffix(_ENDING) for path in found)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"

    def _text(self, name: str) -> str:
        path = self._path(normal_name(name))
        try:
            if not path.resolve().is_relative_to(self.folder.resolve()):
                raise PromptNotFound(f"{path} leads out of {self.folder}")
            return path.read_text(encoding="utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise PromptSyntaxError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise PromptNotFound(self._not_found(name)) from None
        except (OSError, RuntimeError) as error:  # A link that leads to itself is a RuntimeError.
            raise PromptError(f"{path} cannot be read: {error}") from error

    def _not_found(self, name: str) -> str:
        if not self.folder.is_dir():
            return f"there is no prompts folder {self.folder}; name it with `prompts` in [tool.agentops]"
        known = [known for known in self._files() if _is_partial(known) == _is_partial(name)]
        return (
            f"no prompt {name!r} in {self.folder}{did_you_mean(name, known)}\n  there are: {', '.join(known) or 'none'}"
        )


def _is_partial(name: str) -> bool:
    return any(part.startswith("_") for part in name.split("/"))
