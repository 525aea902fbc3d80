"""The outcome of a run, or of a comparison in which nothing ran, as one value that merges and travels as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pytest_agentops.errors import PromptError, ReportError
from pytest_agentops.gates import AGAINST_BASE, Decision, Gates, Measured
from pytest_agentops.gates import together as all_gates
from pytest_agentops.history import Commit
from pytest_agentops.regression import VERDICTS, Case, Chance, Take, Verdict, together, weighed
from pytest_agentops.repository import PromptRepository
from pytest_agentops.revision import Revision
from pytest_agentops.trace import ToolCall
from pytest_agentops.trees import is_partial
from pytest_agentops.trials import Pair, Rate, difference

FORMAT = 1
"""The version of the JSON; `report.schema.json` beside this file describes it."""

_MOST_INPUTS = 50
"""Recorded inputs of one prompt that are tried for one that is rendered otherwise."""


@dataclass(frozen=True)
class PromptChange:
    """What became of one prompt, as plain data."""

    name: str
    kind: Literal["changed", "added", "removed", "renamed", "unreadable"]
    old: str = ""
    """Its version at the base; empty where it had none."""
    new: str = ""
    was: str = ""
    """Its name at the base, where it was renamed."""
    level: str = ""
    """The bump that the change owes."""
    contract: tuple[tuple[bool, str], ...] = ()
    """What changed for the programs around it, each with whether it breaks them."""
    old_body: str = ""
    new_body: str = ""
    case: str = ""
    """A test whose recorded inputs are rendered otherwise."""
    rendered: tuple[tuple[str, str, str], ...] = ()
    """The messages of that render that differ: role, text at the base, text now."""


@dataclass(frozen=True)
class Report:
    """What became of the recorded tests of a project, with what is needed to draw and to judge it."""

    base: Commit | None = None
    """What it is compared with; None where there is nothing to compare with."""
    head: Commit | None = None
    """None for the working tree."""
    cases: tuple[Case, ...] = ()
    """In the order in which a reviewer wants to read them."""
    variants: tuple[Case, ...] = ()
    """The tests that ran over several versions of a prompt: the first version as base, each other one as head."""
    unchanged: int = 0
    """How many recordings are the same byte by byte, and were not read."""
    prompts: tuple[PromptChange, ...] = ()
    ran: bool = False
    """Whether the head is a run, and not what is recorded."""
    command: str = ""
    """What to type to get this again."""
    notes: tuple[str, ...] = ()
    """What a reader has to know of how it came about."""
    absent: tuple[str, ...] = ()
    """The recordings at the base whose tests had no part in the run."""
    gates: Gates = field(default_factory=Gates)
    commit: str = ""
    """The newest commit when it was made; empty outside of git."""
    made: str = ""
    """When, in UTC."""
    by: str = ""
    """The version of this package."""

    @classmethod
    def of(cls, cases: Iterable[Case], *, gates: Gates, variants: Iterable[Case] = (), **about: Any) -> Report:
        """A report of these cases, with the chances of those that have several takes."""
        return cls(
            cases=_ordered(weighed(list(cases), gates.confidence)),
            variants=_ordered(weighed(list(variants), gates.confidence)),
            gates=gates,
            made=about.pop("made", "") or datetime.now(UTC).isoformat(timespec="seconds"),
            by=about.pop("by", "") or version("pytest-agentops"),
            **about,
        )

    def count(self, verdict: Verdict) -> int:
        """How many tests have this verdict; `same` counts those whose recordings did not change."""
        return sum(case.verdict == verdict for case in self.cases) + (self.unchanged if verdict == "same" else 0)

    @property
    def left_out(self) -> tuple[Case, ...]:
        """The tests that did not run since nothing they do could have changed."""
        return tuple(case for case in self.cases if case.left_out)

    @cached_property
    def overall(self) -> Chance | None:
        """How likely the difference of all tests together is, if nothing had changed."""
        return together(self.cases, self.gates.confidence)

    @property
    def verdict(self) -> str:
        """The whole of it in a word or two."""
        if self.gated == "failed":
            return "the gate is closed"
        undecided = self.gated == "undecided"
        several = any(case.several for case in self.cases)
        worse = several and self.overall is not None and self.overall.worse <= self.overall.enough
        if self.count("regressed") or worse:
            return "worse"
        if undecided or self.count("not comparable") or self.count("too few runs to tell"):
            return "undecided"
        if self.count("improved"):
            return "better"
        return "changed" if any(self.count(each) for each in ("changed", "new", "gone")) else "the same"

    # --- gates

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """What became of each gate."""
        return tuple(gate.decide(self.measured(gate.figure)) for gate in self.gates.gates)

    @property
    def gated(self) -> Literal["passed", "failed", "undecided", "no gate"]:
        """What all gates come to."""
        return all_gates(list(self.decisions)) if self.gates.gates else "no gate"

    def measured(self, figure: str) -> Measured | str:
        """What a figure of `gates.FIGURES` came to; a text where that is not known."""
        if figure in AGAINST_BASE and self.base is None:
            return "there is no base to compare with"
        if not self.cases and not self.unchanged:
            return "no recorded test was there"
        unfit = any(case.problem for case in self.cases)
        if figure in _OF_HEADS and not self._heads and unfit:
            return "no run fits its recording"
        if figure in _OF_PAIRS and not self._pairs and unfit:
            return "nothing can be compared"
        found: Measured | str = _MEASURES[figure](self)
        return found

    @property
    def _heads(self) -> list[Take]:
        return [take for case in self.cases for take in case.head if not take.problem]

    @property
    def _pairs(self) -> list[Case]:
        return [case for case in self.cases if case.base and case.head and not case.problem]

    # --- as JSON

    def to_json(self) -> str:
        """The report as JSON, with the verdicts for readers that have no other way to get them."""
        data = {
            "$schema": schema()["$id"],
            "format": FORMAT,
            "commit": self.commit,
            "made": self.made,
            "by": self.by,
            "verdict": self.verdict,
            "counts": {each: self.count(each) for each in VERDICTS},
            "base": _commit(self.base),
            "head": _commit(self.head),
            "ran": self.ran,
            "command": self.command,
            "notes": self.notes,
            "absent": self.absent,
            "gate": self.gates.table,
            "gated": self.gated,
            "decisions": [
                {
                    "gate": str(each.gate),
                    "outcome": each.outcome,
                    "measured": each.measured and [each.measured.low, each.measured.high],
                    "reason": each.reason,
                }
                for each in self.decisions
            ],
            "overall": self.overall and asdict(self.overall),
            "unchanged": self.unchanged,
            "prompts": [asdict(each) for each in self.prompts],
            "cases": [_case(each) for each in self.cases],
            "variants": [_case(each) for each in self.variants],
        }
        return json.dumps(data, ensure_ascii=False, indent=1, default=str, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str = "the report") -> Report:
        """The report that `to_json` wrote; verdicts are worked out anew and never believed.

        Raises:
            ReportError: it is no report, or one of a format that is not known.
        """
        try:
            data = json.loads(text, parse_constant=_no_number, parse_int=_number, parse_float=_number)
        except (ValueError, RecursionError) as error:
            raise ReportError(f"{where} is not JSON: {error}") from None
        if isinstance(data, Mapping) and data.get("format", FORMAT) != FORMAT:
            raise ReportError(
                f"{where} has format {data['format']!r}, and this version of pytest-agentops reads {FORMAT}"
            )
        _check(data, where)
        try:
            return cls.of(
                map(_case_of, data["cases"]),
                variants=map(_case_of, data["variants"]),
                gates=Gates.from_table(data["gate"], f"the gates of {where}"),
                base=_commit_of(data["base"]),
                head=_commit_of(data["head"]),
                prompts=tuple(map(_prompt_of, data["prompts"])),
                notes=tuple(data["notes"]),
                absent=tuple(data["absent"]),
                **{name: data[name] for name in ("ran", "command", "commit", "made", "by", "unchanged")},
            )
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise ReportError(f"{where} is no report of pytest-agentops: {error}") from None

    # --- several into one

    @classmethod
    def merged(cls, reports: Sequence[Report]) -> Report:
        """One report of several, as shards of one run make them.

        Raises:
            ReportError: they are not of one change, or two of them hold the same take with different contents.
        """
        first = reports[0]
        for other in reports[1:]:
            for side in ("base", "head"):
                was, now = (getattr(each, side) and getattr(each, side).sha for each in (first, other))
                if was != now:
                    raise ReportError(f"they are not of one change: the {side} is {was} in one and {now} in another")
            if first.commit != other.commit:
                raise ReportError(
                    f"they are not of one change: one was made at {first.commit[:9]}, another at {other.commit[:9]}"
                )
            if first.gates.table != other.gates.table:
                raise ReportError("they were made with different gates")
            if first.ran != other.ran:
                raise ReportError("one is of a run, and another of a comparison in which nothing ran")
        return cls.of(
            _united(report.cases for report in reports),
            variants=_united(report.variants for report in reports),
            gates=first.gates,
            base=first.base,
            head=first.head,
            ran=first.ran,
            command=" && ".join(dict.fromkeys(report.command for report in reports if report.command)),
            notes=tuple(dict.fromkeys(chain.from_iterable(report.notes for report in reports))),
            prompts=tuple({each.name: each for report in reports for each in report.prompts}.values()),
            unchanged=max(report.unchanged for report in reports),
            commit=first.commit,
            absent=tuple(each for each in first.absent if all(each in report.absent for report in reports)),
            made=max(report.made for report in reports),
        )


def _ordered(cases: Iterable[Case]) -> tuple[Case, ...]:
    return tuple(sorted(cases, key=lambda case: (VERDICTS.index(case.verdict), bool(case.left_out), case.name)))


def _united(shards: Iterable[Sequence[Case]]) -> Iterator[Case]:
    found: dict[str, Case] = {}
    for case in chain.from_iterable(shards):
        found[case.name] = _joined(found[case.name], case) if case.name in found else case
    return iter(found.values())


def _joined(one: Case, other: Case) -> Case:
    """One case of two shards; who ran it knows more than who left it out."""
    if bool(one.left_out) != bool(other.left_out):
        return other if one.left_out else one
    sides = []
    for takes, more in zip(one.sides, other.sides, strict=True):
        known = {take.number: take for take in takes}
        for take in more:
            if known.setdefault(take.number, take) != take:
                raise ReportError(f"two of them hold take {take.number} of {one.name}, and it is not the same")
        sides.append(tuple(known[number] for number in sorted(known)))
    return replace(one, base=sides[0], head=sides[1], trouble=one.trouble or other.trouble)


# --- figures ---------------------------------------------------------------------------------------------------------


def _count(verdict: Verdict) -> Any:
    def measure(report: Report) -> Measured:
        return Measured(count := float(report.count(verdict)), count)

    return measure


def _regressed(report: Report) -> Measured:
    """At least those that are; at most those too whose takes or recordings do not tell."""
    sure, why = report.count("regressed"), ""
    several = any(case.several for case in report.cases)
    chance = report.overall
    if several and not sure and chance is not None and chance.worse <= chance.enough:
        sure, why = 1, f"no single test, but all together are worse (p = {chance.worse:.3g})"
    unsure = [
        case
        for case in report.cases
        if case.verdict == "not comparable"
        or (case.verdict == "too few runs to tell" and case.pair is not None and case.pair.difference < 0)
    ]
    of = f"{len(unsure)} cannot be told" if unsure and not why else why
    return Measured(float(sure), float(max(sure, report.count("regressed") + len(unsure))), of)


def _rate(takes: Sequence[Take], confidence: float) -> Measured | str:
    told = [take for take in takes if take.outcome is not None]
    if not told:
        return "no take tells how it ended"
    return _of_rate(Rate(sum(take.outcome == "passed" for take in told), len(told)), "takes", confidence)


def _of_rate(rate: Rate, what: str, confidence: float) -> Measured:
    low, high = rate.interval(confidence)
    return Measured(low, high, f"{rate.passed} of {rate.runs} {what}")


def _exact(measured: Measured | str, of: Rate) -> Measured | str:
    return measured if isinstance(measured, str) else replace(measured, low=of.value, high=of.value)


def _pass_rate(report: Report) -> Measured | str:
    # A test without a recording that fits did not pass, whatever else is not known of it.
    takes = [take for case in report.cases for take in case.head]
    measured = _rate(takes, report.gates.confidence)
    if any(case.several for case in report.cases):
        return measured
    # Of tests with one take each, nothing is a sample of anything.
    told = [take for take in takes if take.outcome is not None]
    return _exact(measured, Rate(sum(take.outcome == "passed" for take in told), len(told)))


def _tool_success(report: Report) -> Measured | str:
    calls = [call for take in report._heads for call in take.calls]
    if not calls:
        return Measured(1.0, 1.0, "no tool was called")
    good = Rate(sum(call.status == "ok" and call.malformed is None for call in calls), len(calls))
    measured = _of_rate(good, "tool calls", report.gates.confidence)
    return measured if any(case.several for case in report.cases) else _exact(measured, good)


def _score(report: Report) -> Measured | str:
    scores = [score for take in report._heads for score in take.scores.values()]
    if not scores:
        return "no judge was asked"
    return Measured(fmean(scores), fmean(scores), f"{len(scores)} verdicts")


def _sum(name: str) -> Any:
    def measure(report: Report) -> Measured | str:
        values = [take.figures.get(name) for take in report._heads if take.figures.get("model calls")]
        if unknown := sum(value is None for value in values):
            return f"{unknown} of {len(values)} runs do not tell their {name}"
        total = sum(value for value in values if value is not None)
        return Measured(total, total, f"{len(values)} runs")

    return measure


def _latency(share: float) -> Any:
    def measure(report: Report) -> Measured | str:
        seconds = sorted(second for take in report._heads for second in take.latencies)
        if not seconds:
            return "no recording has times"
        value = seconds[max(0, ceil(share * len(seconds)) - 1)]
        return Measured(value, value, f"{len(seconds)} model calls")

    return measure


def _increase(name: str) -> Any:
    def measure(report: Report) -> Measured | str:
        figures = [
            (figure.base, figure.head)
            for case in report._pairs
            if any(take.figures.get("model calls") for take in (*case.base, *case.head))
            for figure in case.figures
            if figure.name == name
        ]
        known = [(base, head) for base, head in figures if base is not None and head is not None]
        if len(known) < len(figures):
            return f"{len(figures) - len(known)} of {len(figures)} tests do not tell their {name} on both sides"
        base, head = (sum(side) for side in zip(*known, strict=True)) if known else (0.0, 0.0)
        if not base:
            return Measured(0.0, 0.0, "nothing to compare") if not head else f"the base has no {name}"
        return Measured((head - base) / base, (head - base) / base, f"{len(known)} tests")

    return measure


def _pass_rate_drop(report: Report) -> Measured | str:
    pairs = [case.pair for case in report._pairs if case.pair is not None]
    if not pairs:
        return Measured(0.0, 0.0, "nothing to compare")
    base, head = (
        Rate(sum(side.passed for side in sides), sum(side.runs for side in sides))
        for sides in (([pair.base for pair in pairs]), ([pair.head for pair in pairs]))
    )
    of = f"{base.passed} of {base.runs} takes, then {head.passed} of {head.runs}"
    if not any(case.several for case in report.cases):
        return Measured(base.value - head.value, base.value - head.value, of)
    low, high = difference(Pair(base, head), report.gates.confidence)
    return Measured(-high, -low, of)


def _score_drop(report: Report) -> Measured | str:
    scores = [
        figure for case in report._pairs for figure in case.figures if figure.name.startswith("judged ")
    ]  # fmt: skip
    known = [-figure.change for figure in scores if figure.change is not None]
    if len(known) < len(scores):
        return f"{len(scores) - len(known)} of {len(scores)} criteria have no verdict on both sides"
    if not known:
        return Measured(0.0, 0.0, "nothing to compare")
    return Measured(fmean(known), fmean(known), f"{len(known)} criteria")


def _new_findings(report: Report) -> Measured:
    count = float(sum(len(case.findings[1]) for case in report._pairs))
    return Measured(count, count)


_OF_HEADS = ("tool_success", "score", "cost", "tokens", "p50_latency", "p95_latency")
_OF_PAIRS = (
    "improved changed new_findings pass_rate_drop score_drop cost_increase token_increase latency_increase"
).split()

_MEASURES = {
    "pass_rate": _pass_rate,
    "tool_success": _tool_success,
    "score": _score,
    "cost": _sum("cost"),
    "tokens": _sum("tokens"),
    "p50_latency": _latency(0.5),
    "p95_latency": _latency(0.95),
    "regressed": _regressed,
    "improved": _count("improved"),
    "changed": _count("changed"),
    "too_few_runs": _count("too few runs to tell"),
    "not_comparable": _count("not comparable"),
    "gone": _count("gone"),
    "new_findings": _new_findings,
    "pass_rate_drop": _pass_rate_drop,
    "score_drop": _score_drop,
    "cost_increase": _increase("cost"),
    "token_increase": _increase("tokens"),
    "latency_increase": _increase("seconds"),
}


# --- prompts ---------------------------------------------------------------------------------------------------------


def prompt_changes(
    base: PromptRepository, head: PromptRepository, recorded: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
) -> Iterator[PromptChange]:
    """What became of the prompts; `recorded` gives for each the inputs of tests, with the names of the tests."""
    before, after = ({name for name in side.tree.names() if not is_partial(name)} for side in (base, head))
    moved = head.history.renamed_since(base.head) if hasattr(head, "history") else {}
    renamed = {now: was for now, was in moved.items() if now in after - before and was in before - after}
    for name in sorted(after | (before - set(renamed.values()))):
        was = renamed.get(name, name)
        try:
            old = base[was] if was in before else None
            new = head[name] if name in after else None
        except PromptError as error:
            yield PromptChange(name, "unreadable", contract=((True, str(error).splitlines()[0]),))
            continue
        if old is None or new is None:
            was_version, version_now = ((each.version or "") if each is not None else "" for each in (old, new))
            yield PromptChange(name, "added" if old is None else "removed", was_version, version_now)
        elif old.digest != new.digest or name in renamed:
            revision = Revision(old, new)
            case, rendered = _rendered(revision, recorded.get(name, ()))
            yield PromptChange(
                name,
                "renamed" if name in renamed else "changed",
                old.version or "",
                new.version or "",
                was if name in renamed else "",
                revision.level(),
                tuple((change.breaking, f"{change.path}: {change.message}") for change in revision.contract),
                _whole(old),
                _whole(new),
                case,
                rendered,
            )


def _whole(prompt: Any) -> str:
    partials = "".join(f"\n--- {name}\n{text}" for name, text in sorted(prompt.partials.items()))
    return f"{prompt.body}{partials}"


def _rendered(
    revision: Revision, recorded: Sequence[tuple[str, Mapping[str, Any]]]
) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    for name, inputs in recorded[:_MOST_INPUTS]:
        [twice] = revision.rendered([inputs])
        if twice.same:
            continue
        if isinstance(twice.old, str) or isinstance(twice.new, str):
            return name, (("", *(side if isinstance(side, str) else "" for side in (twice.old, twice.new))),)  # type: ignore[return-value]
        longest = max(len(twice.old), len(twice.new))
        sides = [[*side, *([{}] * (longest - len(side)))] for side in (twice.old, twice.new)]
        return name, tuple(
            (str((now or was)["role"]), _text(was), _text(now)) for was, now in zip(*sides, strict=True) if was != now
        )
    return "", ()


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content", "")
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)


# --- JSON ------------------------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """The JSON schema of a report."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("report.schema.json").read_text(encoding="utf-8"))
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _number(text: str) -> float | int:
    """A number of a size that figures have.

    Raises:
        ValueError: it is larger.
    """
    value = float(text)
    if not abs(value) < 1e15 and "e" not in text and "." not in text:
        raise ValueError(f"{text[:30]}... is no figure")
    if not abs(value) < 1e300:
        raise ValueError(f"{text[:30]} is no figure")
    return int(text) if text.lstrip("-").isdigit() else value


def _check(data: object, where: str) -> None:
    from jsonschema import Draft202012Validator

    problem = next(iter(Draft202012Validator(schema()).iter_errors(data)), None)
    if problem is not None:
        raise ReportError(f"{where} is no report of pytest-agentops: {problem.json_path}: {problem.message[:300]}")


def _commit(commit: Commit | None) -> dict[str, str] | None:
    if commit is None:
        return None
    return {
        "sha": commit.sha,
        "date": commit.date.isoformat(),
        "author": commit.author,
        "message": commit.message,
    }


def _commit_of(data: Mapping[str, str] | None) -> Commit | None:
    if data is None:
        return None
    return Commit(data["sha"], datetime.fromisoformat(data["date"]), data["author"], data["message"])


def _case(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "verdict": case.verdict,
        "problem": case.problem,
        "trouble": case.trouble,
        "left_out": case.left_out,
        "chance": case.chance and asdict(case.chance),
        "base": [take_data(take) for take in case.base],
        "head": [take_data(take) for take in case.head],
    }


def take_data(take: Take) -> dict[str, Any]:
    """A take as JSON."""
    return json.loads(json.dumps(asdict(take), default=str))  # type: ignore[no-any-return]


def _case_of(data: Mapping[str, Any]) -> Case:
    return Case(
        data["name"],
        tuple(map(take_of, data["base"])),
        tuple(map(take_of, data["head"])),
        data["trouble"],
        data["left_out"],
    )


def take_of(data: Mapping[str, Any]) -> Take:
    """The take that `take_data` wrote."""
    lists = {name: tuple(data[name]) for name in ("latencies", "findings", "models")}
    return Take(**{**data, **lists, "calls": tuple(ToolCall(**call) for call in data["calls"])})


def _prompt_of(data: Mapping[str, Any]) -> PromptChange:
    contract = tuple((bool(breaking), str(message)) for breaking, message in data["contract"])
    rendered = tuple((str(role), str(old), str(new)) for role, old, new in data["rendered"])
    return PromptChange(**{**data, "contract": contract, "rendered": rendered})
