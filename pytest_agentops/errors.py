"""Everything that pytest-agentops raises.

AgentopsError
├── UsageError                 something was written wrongly; nothing was run
│   ├── SettingsError            an option, an environment variable or [tool.agentops]
│   ├── ExpectationError         an expectation that cannot mean anything
│   ├── ExperimentError          a comparison of variants that cannot be run
│   ├── DatasetError             a dataset, or a table of cases, that cannot be read
│   └── PromptError              a prompt file, or what was passed to it
│       ├── PromptNotFound
│       │   └── VersionNotFound      the prompt is there, this version of it is not
│       ├── HistoryError             git cannot give it
│       ├── LockError                prompts.lock or labels.toml
│       ├── PromptSyntaxError
│       └── PromptInputError
├── CassetteError              a recording cannot serve
│   ├── CassetteMissing          there is no such file
│   ├── CassetteUnreadable       the file is there and cannot be understood
│   │   ├── CassetteCut            its end is missing
│   │   ├── CassetteConflict       it holds the markers of an unresolved merge
│   │   └── CassetteVersion        a newer pytest-agentops wrote it
│   ├── CassetteMiss             a request that the cassette has no answer for
│   │   ├── CassetteUsedUp         it is recorded, and each of its answers was given
│   │   └── NothingRecorded        there is no cassette at all
│   └── CassetteUnplayed         answers in the cassette that nobody asked for
├── SecretFound                a save was refused: a secret stands in what would be written
├── LiveCallRefused            a connection to the network while nothing may go live
├── StrayRequest               a request that belongs to no open recording
├── BudgetExceeded             a run is over the budget of its test, or a call was stopped that would be
├── NothingCaptured            an expectation was asked of an empty recording
├── Unjudged                   a judge gave no verdict
├── VoteError                  a file of votes that cannot be read or written
├── ReportError                a report that cannot be read, merged, or vouched for
├── NeverHeld                  what comes after something that did not happen was asked for
└── UnknownFigure              a figure that the evidence does not give
    ├── UnknownPrice
    ├── UnknownUsage
    └── UnknownDuration
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_agentops.cassette import Miss, Unplayed
    from pytest_agentops.expect.budgets import OverBudget
    from pytest_agentops.guard import Refusal
    from pytest_agentops.redaction import Hit


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or nothing where none is near."""
    near = difflib.get_close_matches(str(name), list(dict.fromkeys(known)), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


class AgentopsError(Exception):
    """The root of all errors raised on purpose by pytest-agentops."""


class UsageError(AgentopsError):
    """Something was written wrongly; the message says what and what would be right."""


class SettingsError(UsageError):
    """An option, an environment variable or a key of `[tool.agentops]` that cannot be used."""


class ExpectationError(UsageError, ValueError):
    """An expectation that cannot mean anything, raised where it is written."""


class ExperimentError(UsageError):
    """A comparison of variants that cannot be run: nothing to ask, too much, or a plan that is none."""


class DatasetError(UsageError):
    """A dataset, or a table of cases, that cannot be read, does not fit its prompt or cannot be added to."""


class PromptError(UsageError):
    """A prompt that cannot be loaded or rendered."""


class PromptNotFound(PromptError, KeyError):
    """There is no prompt of this name; the nearest names are suggested."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show the repr of a message of several lines.


class VersionNotFound(PromptNotFound):
    """The prompt is there, and a version of it that was asked for is not; those that are there are told."""


class HistoryError(PromptError):
    """What git was asked for it cannot give: there is no repository, no such commit, or the clone is shallow."""


class LockError(PromptError):
    """`prompts.lock` or `labels.toml` cannot be read, or says what cannot be."""


class PromptSyntaxError(PromptError):
    """A prompt file that cannot be understood; the message names the file and the line."""


class PromptInputError(PromptError):
    """An input that is missing, unknown or of the wrong kind."""


class CassetteError(AgentopsError):
    """A recording that cannot serve."""


class CassetteMissing(CassetteError, FileNotFoundError):
    """There is no such cassette."""


class CassetteUnreadable(CassetteError):
    """The cassette is there, but is not a cassette or is damaged."""


class CassetteCut(CassetteUnreadable):
    """The end of the cassette is missing: a kill, a full disk or a hand cut it off."""


class CassetteConflict(CassetteUnreadable):
    """The cassette holds the markers of an unresolved merge."""


class CassetteVersion(CassetteUnreadable):
    """The cassette is of a format that this version does not know."""


class CassetteMiss(CassetteError):
    """A request that the cassette has no answer for, while nothing may go live."""

    def __init__(self, miss: Miss) -> None:
        super().__init__(miss)
        self.miss = miss
        """What was asked, of which cassette, and what came closest."""

    def __str__(self) -> str:
        from pytest_agentops.explain import miss_lines

        return "\n".join(miss_lines(self.miss))


class CassetteUsedUp(CassetteMiss):
    """A request that is recorded, and each of its recorded answers was given already."""


class NothingRecorded(CassetteMiss):
    """A request while nothing may go live and there is no cassette at all."""


class CassetteUnplayed(CassetteError):
    """Answers in the cassette that this run never asked for."""

    def __init__(self, unplayed: Unplayed) -> None:
        super().__init__(unplayed)
        self.unplayed = unplayed
        """Which cassette, and the exchanges left over."""

    def __str__(self) -> str:
        from pytest_agentops.explain import unplayed_lines

        return "\n".join(unplayed_lines(self.unplayed))


class SecretFound(AgentopsError):
    """A save was refused: what would be written holds something that looks like a secret."""

    def __init__(self, hits: Sequence[Hit], path: object = None) -> None:
        super().__init__(hits, path)
        self.hits = tuple(hits)
        """Where the secrets stand in what would have been written."""
        self.path = path
        """The file that was not written."""

    def __str__(self) -> str:
        from pytest_agentops.explain import secret_lines

        return "\n".join(secret_lines(self))


class LiveCallRefused(AgentopsError):
    """A connection to the network was attempted while nothing may go live.

    It is no `OSError` on purpose: clients do not retry it, and most of their handlers let it through to the test.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal
        """Who wanted to go where, in which test and line."""

    def __str__(self) -> str:
        from pytest_agentops.explain import refusal_lines

        return "\n".join(refusal_lines(self.refusal))


class StrayRequest(AgentopsError):
    """A request by a thread whose test has ended, or by a child process of a test."""


class NothingCaptured(AgentopsError):
    """An expectation was asked of a recording in which no exchange was captured at all."""

    def __init__(self) -> None:
        super().__init__(
            "nothing was captured, so no expectation can be judged\n"
            "  no HTTP request was seen while this recording was open\n"
            "  if that is what you mean, count: assert len(agent_trace.model_calls) == 0"
        )


class BudgetExceeded(AgentopsError):
    """A run is over the budget of its test, or a model call was stopped that would have been."""

    def __init__(self, over: OverBudget) -> None:
        super().__init__(over)
        self.over = over
        """What was used, and of which budget."""

    def __str__(self) -> str:
        from pytest_agentops.explain import budget_lines

        return "\n".join(budget_lines(self.over))


class Unjudged(AgentopsError):
    """A judge gave no verdict: the response neither meets its criterion nor fails it."""


class VoteError(AgentopsError):
    """A file of votes cannot be read or written."""


class ReportError(AgentopsError):
    """A report cannot be read, does not fit together with another one, or does not tell of what is here."""


class NeverHeld(AgentopsError):
    """What comes after something was asked for, and that never happened."""


class UnknownFigure(AgentopsError):
    """A figure that the recorded evidence does not give."""


class UnknownPrice(UnknownFigure):
    """A cost was asked for, and at least one model call has no known price."""

    def __init__(self, models: Iterable[str]) -> None:
        self.models: Sequence[str] = tuple(dict.fromkeys(models))
        """The models without a price, each once."""
        names = ", ".join(repr(model) for model in self.models)
        super().__init__(
            f"no price is known for {names}\n  the tokens are: assert agent_trace.usage.total_tokens < ..."
        )


class UnknownUsage(UnknownFigure):
    """Token counts were asked for, and at least one model call did not report them."""

    def __init__(self, calls: Iterable[str]) -> None:
        self.calls: Sequence[str] = tuple(calls)
        """The ids of the model calls without token counts."""
        super().__init__(
            f"{len(self.calls)} of the model calls reported no token counts: {', '.join(self.calls)}\n"
            "  a streamed chat completion reports them only with stream_options={'include_usage': True}"
        )


class UnknownDuration(UnknownFigure):
    """A duration was asked for, and the recording has no times."""

    def __init__(self) -> None:
        super().__init__("this recording has no times; cassettes written by other tools do not keep them")
