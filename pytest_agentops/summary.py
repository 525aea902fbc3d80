"""What the end of a pytest run says: the figures of its tests, as plain data that travels, put into lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]
"""What one test hands over, as `plugin` makes it."""

_MOST = 6
"""Mutants of one test that are shown."""


def lines(tests: Sequence[Figures]) -> Iterator[str]:
    """One line for the whole run, and what one test or another gives to think about."""
    used = [each for each in tests if each["model_calls"]]
    if used:
        yield f"agentops: {_totals(used)}"
    for each in tests:
        if each["volatile"]:
            yield f"agentops: {each['test']} sends values that change from run to run; its cassette may not fit again"
            yield from (f"  {line}" for line in each["volatile"])
        for caveat in each["caveats"]:
            yield f"agentops: {each['test']}: {caveat}"
    verified = [each for each in tests if each["drift"] is not None]
    if verified:
        drifted = [each for each in verified if each["drift"]]
        yield f"agentops: {_counted(len(verified), 'recording')} verified, {len(drifted)} drifted"
        for each in drifted:
            yield f"  {each['test']}"
            yield from (f"    {line}" for line in each["drift"])


def _totals(tests: Sequence[Figures]) -> str:
    calls = sum(each["model_calls"] for each in tests)
    live = sum(each["model_calls"] for each in tests if each["source"] == "live")
    unpriced = sorted({model for each in tests for model in each["unpriced"]})
    cost = sum(each["cost"] for each in tests)
    dollars = f"${cost:.4f}" if cost < 1 else f"${cost:.2f}"
    if unpriced:
        dollars = f"no known price for {', '.join(unpriced)}" + (f", {dollars} for the rest" if cost else "")
    where = "live" if live == calls else f"{live} live, {calls - live} replayed" if live else "replayed"
    if written := sum(each["written"] for each in tests):
        where += f", {_counted(written, 'cassette')} written"
    tokens = sum(each["tokens"] for each in tests)
    return f"{_counted(calls, 'model call')}, {tokens:,} tokens, {dollars} ({where})"


def mutation_lines(tests: Sequence[Figures], *, whole: bool = False) -> Iterator[str]:
    """Which changes of what their agents did the passing tests would not have noticed."""
    surveyed = [each for each in tests if each["mutation"] is not None]
    tried = sum(each["mutation"]["tried"] for each in surveyed)
    unnoticed = sum(len(each["mutation"]["unnoticed"]) for each in surveyed)
    if not tried:
        yield "no passing test has a trace that could be changed"
        return
    share = f"{100 * (tried - unnoticed) / tried:.0f} %"
    yield f"{tried - unnoticed} of {_counted(tried, 'change')} to {_counted(len(surveyed), 'trace')} noticed ({share})"
    for each in surveyed:
        if found := each["mutation"]["unnoticed"]:
            yield f"{each['test']}: {len(found)} of {each['mutation']['tried']} not noticed"
            if not each["mutation"]["compared"]:
                yield "  it compared nothing that can be compared again"
            shown = found if whole else found[:_MOST]
            yield from (f"  {line}" for line in shown)
            if len(found) > len(shown):
                yield f"  and {len(found) - len(shown)} more (-v shows them)"
    if unnoticed:
        yield "What a test compares with a trajectory or a response by == or in is compared again. Other checks are not"
        yield "seen (len, usage, cost, findings, re.search, .json()): what only they notice is listed all the same."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
