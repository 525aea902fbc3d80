"""The answers of an experiment side by side, as HTML: drawn in the playground, or whole as one file to pass on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pytest_agentops.accounts import words
from pytest_agentops.datasets import MISSING, Case
from pytest_agentops.expect.calls import differences
from pytest_agentops.experiment import Cell, Outcome, Spread, Trial, Variant
from pytest_agentops.formats import macros, plain, template

_MOST_SHOWN = 1_500
"""Characters of an answer that a cell shows; all of it is in the cell when it is opened, and in the file."""


def grid(
    outcome: Outcome,
    *,
    rows: Sequence[int],
    columns: Sequence[int],
    reference: tuple[int, int | None] | None = None,
    whole: bool = False,
    pickable: bool = True,
) -> str:
    """The table of these cases and variants.

    `reference` names a variant with which the others are compared, in one case only where it names that too. What can
    be clicked says `open:V:C` for a cell, `against:V:C` to compare a row with it, and `against:V` for a column.
    """
    return plain(
        template("grid.html.jinja").render(
            heads=[_head(outcome, each, reference) for each in columns],
            rows=[_row(outcome, case, columns, reference, whole=whole) for case in rows],
            pickable=pickable,
        )
    )


def page(outcome: Outcome, *, rows: Sequence[int], columns: Sequence[int], reference: tuple[int, int | None] | None,
         made: str) -> str:  # fmt: skip
    """One HTML file with everything: it opens from disk, with no network, and runs no script."""
    table = grid(outcome, rows=rows, columns=columns, reference=reference, whole=True, pickable=False)
    told = {"title": "Variants side by side", "made": made, "summary": summary(outcome)}
    return plain(template("page.html.jinja").render(style=style(), body=table, **told))


def answer(trial: Trial, against: Trial | None = None) -> str:
    """One answer whole, with what differs from another one where that is given."""
    return plain(macros("answer.html.jinja").answer(_answer(trial, against, whole=True)))


def question(case: Case, cell: Cell) -> str:
    """What was asked, and what the answers to it took."""
    return plain(template("question.html.jinja").render(asked=list(about(case)), took=list(_figures(cell))))


def summary(outcome: Outcome) -> str:
    """How far an experiment is, in one line."""
    count = outcome.count
    done = count["done"] + count["replayed"]
    said = [f"{done} of {len(outcome.trials)} answered"]
    said += [f"{count[state]} {state}" for state in ("replayed", "running", "failed", "stopped") if count[state]]
    if outcome.spent:
        said.append(f"{dollars(outcome.spent)} spent")
    return ", ".join(said)


@cache
def style() -> str:
    """The style sheet of everything that is drawn."""
    return Path(__file__).with_name("sheet.css").read_text(encoding="utf-8")


# --- figures ---------------------------------------------------------------------------------------------------------


def dollars(value: float) -> str:
    """An amount with as many places as it takes to see it."""
    if value == 0 or value >= 0.995:
        return f"${value:,.2f}"
    return f"${value:.4f}" if value >= 0.0001 else "<$0.0001"


def seconds(value: float) -> str:
    """A duration."""
    return f"{value * 1000:.0f} ms" if value < 0.995 else f"{value:.1f} s"


def _count(value: float) -> str:
    return f"{value:,.0f}"


_FIGURES: Mapping[str, tuple[Any, str]] = {
    "seconds": (seconds, "from the question to the last word"),
    "first": (seconds, "to the first word"),
    "tokens": (_count, "tokens, of question and answer"),
    "cost": (dollars, "US dollars"),
}
_AFTER = {"first": " first", "tokens": " tokens"}


def _figures(cell: Cell) -> Iterator[tuple[str, str]]:
    """What the trials of a cell took, each with what it means."""
    for name, (shown, about) in _FIGURES.items():
        spread: Spread | None = getattr(cell, name)
        if spread is not None:
            said = f"{shown(spread.mean)}{_AFTER.get(name, '')}"
            if shown(spread.least) != shown(spread.most):
                said += f" ({shown(spread.least)} to {shown(spread.most)})"
            yield said, about


# --- the parts -------------------------------------------------------------------------------------------------------


def _head(outcome: Outcome, variant: int, reference: tuple[int, int | None] | None) -> dict[str, Any]:
    column, said = outcome.column(variant), outcome.experiment.variants[variant]
    done = sum(trial.finished for trial in column.trials)
    return {
        "variant": variant,
        "name": said.name,
        "chips": list(_chips(said, outcome.versions[variant] if variant < len(outcome.versions) else "")),
        "reference": reference == (variant, None),
        "figures": list(_figures(column)),
        "scores": _scores(column),
        "done": f"{done} of {len(column.trials)}" if done < len(column.trials) else "",
        "share": round(100 * done / max(1, len(column.trials))),
    }


def _chips(variant: Variant, version: str) -> Iterator[str]:
    yield variant.at if version in ("", variant.at) else f"{variant.at} ({version})"
    if variant.model:
        yield variant.model
    for name, value in variant.options.items():
        yield f"{name} {value}"


def _row(
    outcome: Outcome, case: int, columns: Sequence[int], reference: tuple[int, int | None] | None, *, whole: bool
) -> dict[str, Any]:
    against = None
    if reference is not None and reference[1] in (None, case):
        against = reference[0]
    compared = outcome.cell(against, case).shown if against is not None else None
    return {
        "case": case,
        "about": list(about(outcome.experiment.cases[case])),
        "name": outcome.experiment.cases[case].name,
        "cells": [
            _cell(outcome.cell(variant, case), compared if variant != against else None, whole=whole)
            | {"reference": variant == against}
            for variant in columns
        ],
    }


def about(case: Case) -> Iterator[tuple[str, str]]:
    """What was asked, each part with its name."""
    for name, value in case.inputs.items():
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if case.message:
        yield "user", case.message
    if case.expected is not MISSING:
        yield "expected", case.expected if isinstance(case.expected, str) else json.dumps(case.expected)


def _cell(cell: Cell, against: Trial | None, *, whole: bool) -> dict[str, Any]:
    shown = cell.shown
    finished = sum(trial.finished for trial in cell.trials)
    return {
        "variant": shown.place.variant,
        "case": shown.place.case,
        "state": shown.state,
        "figures": list(_figures(cell)),
        "scores": _scores(cell),
        "repeats": _repeated(cell.different, finished),
        "origin": shown.origin,
        **_answer(shown, against, whole=whole),
    }


def _repeated(different: int, finished: int) -> str:
    """How much the answers to one question, asked several times, differ."""
    if finished < 2:
        return ""
    return f"{finished} times the same" if different == 1 else f"{different} different answers of {finished}"


def _answer(trial: Trial, against: Trial | None, *, whole: bool) -> dict[str, Any]:
    most = None if whole else _MOST_SHOWN
    pretty = _pretty(trial)
    compare = against is not None and against.finished and trial.finished
    same = compare and against is not None and against.content == trial.content
    structural: list[tuple[str, str, str]] = []
    parts: Sequence[tuple[str, str]] = [("same", pretty[:most])]
    if compare and against is not None and not same:
        if trial.value is not None and against.value is not None:
            structural = [
                (each.path, _json(each.expected), _json(each.actual))
                for each in list(differences(against.value, trial.value, "$"))[:50]
            ]
        else:
            parts = _words(_pretty(against)[:most], pretty[:most])
    return {
        "problem": trial.problem,
        "parts": parts,
        "json": trial.value is not None,
        "more": len(pretty) - most if most is not None and len(pretty) > most else 0,
        "calls": [(call, "new" if compare and against and call not in against.calls else "same")
                  for call in trial.calls],
        "missing": [call for call in against.calls if call not in trial.calls] if compare and against else [],
        "same": same,
        "structural": structural,
    }  # fmt: skip


def _pretty(trial: Trial) -> str:
    if trial.value is None:
        return trial.text
    return json.dumps(trial.value, ensure_ascii=False, indent=2)


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return "nothing"


@lru_cache(maxsize=4096)
def _words(old: str, new: str) -> Sequence[tuple[str, str]]:
    """Both texts, cut where they differ; what two differences have between them that is shorter is part of them."""
    found: list[tuple[str, str]] = []
    gone, come, between = "", "", ""
    for kind, text in words(old, new):
        if kind == "same":
            # A lone word that both happen to have, in the middle of what was rewritten, says nothing.
            if (gone or come) and "\n" not in text and (not text.strip() or 2 * len(text) < len(gone) + len(come)):
                between = text
                continue
            found += [("old", gone), ("new", come), ("same", text)]
            gone, come = "", ""
            continue
        gone += between + text if kind == "old" else between
        come += between + text if kind == "new" else between
        between = ""
    found += [("old", gone), ("new", come), ("same", between)]
    return tuple((kind, text) for kind, text in found if text)


def _scores(cell: Cell) -> list[dict[str, Any]]:
    found = []
    for check, (passed, judged) in cell.scores.items():
        said = [score.reason for trial in cell.trials for score in trial.scores if score.check == check]
        state = "split"
        if passed in (0, judged):
            state = "unknown" if not judged else "passed" if passed else "failed"
        rate = f"{passed}/{judged}" if len(cell.trials) > 1 else ""
        found.append({"check": check, "said": rate, "state": state, "reason": next(filter(None, said), "")})
    return found
