"""A report as a file; what stands behind the last dot of its name says how it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_agentops.errors import UsageError
from pytest_agentops.report import Report
from pytest_agentops.tape import write_whole


def _html(report: Report) -> str:
    from pytest_agentops.formats import html  # Its templates take a while to import.

    return html.text(report)


def _markdown(report: Report) -> str:
    from pytest_agentops.formats import markdown

    return markdown.text(report)


WAYS: Mapping[str, Callable[[Report], str]] = {".html": _html, ".json": Report.to_json, ".md": _markdown}
"""How a report is written, by the end of the file's name."""


def check(path: Path) -> Path:
    """The same path.

    Raises:
        UsageError: its name does not say how a report is written there.
    """
    if path.suffix.lower() not in WAYS:
        raise UsageError(f"{path} does not say how the report is to be written: let it end in {', '.join(WAYS)}")
    return path


def write(report: Report, path: Path, *, sign: Callable[[str, Path], str] | None = None) -> None:
    """Write it, whole or not at all; `sign` adds to Markdown what vouches for it.

    Raises:
        UsageError: the name says nothing, or nothing can be written there.
    """
    text = WAYS[check(path).suffix.lower()](report)
    if sign is not None and path.suffix.lower() == ".md":
        text = sign(text, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UsageError(f"the report cannot be written to {path}: {error.strerror or error}") from None
