"""A run of pytest beside its base: takes, what they came to, reports, gates. It is loaded where a run compares."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from pytest_agentops.cassette import Session
    from pytest_agentops.regression import Take
    from pytest_agentops.report import Report
    from pytest_agentops.repository import PromptRepository
    from pytest_agentops.settings import Settings

_MOST_TOLD = 10
"""Tests of which the end of a run tells what became of them."""


class Trials:
    """Runs each test of ours several times; the first take keeps the name of the test."""

    def __init__(self, number: int, parameter: str) -> None:
        self.number, self.parameter = number, parameter

    @pytest.hookimpl(trylast=True)  # So that what says which take it is stands last in the name.
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test of each take."""
        definition = metafunc.definition
        if "agent_trace" in metafunc.fixturenames or definition.get_closest_marker("agentops") is not None:
            metafunc.fixturenames.append(self.parameter)
            ids = [pytest.HIDDEN_PARAM, *(f"take{number}" for number in range(2, self.number + 1))]
            metafunc.parametrize(self.parameter, range(1, self.number + 1), ids=ids)


def seen(session: Session, *, outcome: Literal["passed", "failed"] | None, unplayed: bool, number: int = 1) -> Take:
    """What a test came to, as far as runs are compared; the outcome of one that is expected to fail tells nothing."""
    from pytest_agentops.assembly import judgements
    from pytest_agentops.regression import Take

    recording = session.recording
    judged = judgements(recording.exchanges, recorded=recording.recorded)
    problem = _problem(session, unplayed=unplayed)
    return Take.seen(recording.freeze(), judged, outcome=outcome, number=number, problem=problem)


def _problem(session: Session, *, unplayed: bool) -> str:
    """Why what happened does not tell what the agent does; empty where it does."""
    if session.cassette.misses:
        return f"its recording does not fit: {str(session.cassette.misses[0].error()).splitlines()[0]}"
    if session.refusals:
        return "it wanted to reach the network past its recording"
    if unplayed:
        left = len(session.cassette.unplayed)
        return f"its recording does not fit: {left} recorded answer{'s were' if left != 1 else ' was'} not asked for"
    return ""


class Beside:
    """Gathers what the tests of a run came to, on xdist's controller too, and puts it beside the base at the end."""

    def __init__(self, config: pytest.Config, settings: Callable[[pytest.Config], Settings], *, several: bool) -> None:
        self.config, self._several = config, several
        self.ran: list[Mapping[str, Any]] = []
        """What each take came to, as `plugin` hands it over."""
        self.report: Report | None = None
        self._settings = settings
        self._excused = ""
        self._failed: list[tuple[str, str]] = []
        """The tests that failed, each time they did, with the phase."""
        self._files: Sequence[Path] = [
            config.invocation_params.dir / file for file in config.getoption("--agentops-report")
        ]

    def check(self) -> None:
        """Whether what is asked for can be had.

        Raises:
            pytest.UsageError: it cannot; better told before any test runs than after all of them.
        """
        from pytest_agentops.errors import UsageError
        from pytest_agentops.formats.files import check
        from pytest_agentops.impact import is_report

        try:
            for file, path in zip(self.config.getoption("--agentops-report"), self._files, strict=True):
                check(Path(file))
                if path.exists() and not is_report(path):
                    raise UsageError(f"{file} is there, and it is no report; it stays as it is")
        except UsageError as error:
            raise pytest.UsageError(f"--agentops-report: {error}") from None
        self._base()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Hear of one phase of one test."""
        if report.failed:
            self._failed.append((report.nodeid, str(report.when)))
        if ran := getattr(report, "agentops_ran", None):
            self.ran.append(ran)

    def decide(self, session: pytest.Session, left: Sequence[tuple[str, str, str]]) -> Iterator[str]:
        """Put the run beside the base, write the reports that are asked for, and let the gates decide.

        `left` are the tests that were left out: the name, the reason, the cassette. Yields what went wrong.
        """
        from pytest_agentops.impact import is_report

        if self.config.option.collectonly:
            return
        if session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            for path in filter(is_report, self._files):
                path.unlink()  # It tells of another run, and would be taken for this one's.
                yield f"the run was stopped: there is no new {path.name}, and the old one is gone"
            return
        if not (self.ran or left or self._files):
            return
        report = self.report = self._made(left)
        yield from self._write(report)
        if report.gated == "failed" or (report.gated == "undecided" and report.gates.undecided == "fail"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif (
            self._failed and not (session.shouldstop or session.shouldfail) and self._only_judged_takes_failed(session)
        ):
            session.exitstatus = pytest.ExitCode.OK
            many = len(self._failed) != 1
            told = f"{len(self._failed)} failing take{'s fail' if many else ' fails'} no run"
            self._excused = f"{told}: the gates judge how takes end"

    def _only_judged_takes_failed(self, session: pytest.Session) -> bool:
        """Whether nothing failed but takes, each of which a gate judges by how it ended."""
        assert self.report is not None
        gates = {gate.figure for gate in self.report.gates.gates}
        against_base = bool(gates & {"regressed", "pass_rate_drop"})
        known = {case.name for case in self.report.cases if case.base}
        judged = {
            each["id"]
            for each in self.ran
            if each["take"] is not None
            and not each["take"]["problem"]
            and ("pass_rate" in gates or (against_base and each["test"] in known))
        }
        only = all(when == "call" and test in judged for test, when in self._failed)
        # Whoever else found something wrong counts it too.
        return only and len(self._failed) == session.testsfailed and self._several

    def _made(self, left: Sequence[tuple[str, str, str]]) -> Report:
        from pytest_agentops.behaviour import Ran, of_run
        from pytest_agentops.redaction import Redactor
        from pytest_agentops.report import take_of
        from pytest_agentops.repository import PromptRepository

        ran = [
            Ran(
                each["test"],
                Path(each["cassette"]),
                take_of(each["take"]) if each["take"] is not None else None,
                trouble=each["trouble"],
                skipped=each["skipped"],
                group=each["group"],
                variant=(each["variant"][0], each["variant"][1]),
            )
            for each in self.ran
        ]
        ran += [Ran(test, Path(cassette), None, left_out=reason) for test, reason, cassette in left]
        told = {each["id"] for each in self.ran}
        ran += [
            Ran(test, Path(), None, trouble="the process that ran it died")
            for test, when in self._failed
            if when == "???" and test not in told
        ]
        base, why = self._base()
        settings = self._settings(self.config)
        typed = [each for each in self.config.invocation_params.args if not each.startswith("--agentops-report=")]
        command = Redactor(settings.redact).text(shlex.join(["pytest", *typed]))
        notes = [f"there is nothing to compare with: {why}"] if why else []
        return of_run(ran, PromptRepository(settings.prompts), base, gates=settings.gate, command=command, notes=notes)

    def _base(self) -> tuple[PromptRepository | None, str]:
        """The prompts at the base; where there is none and nobody named one, why."""
        from pytest_agentops.errors import PromptError
        from pytest_agentops.releases import base_of
        from pytest_agentops.repository import PromptRepository

        settings = self._settings(self.config)
        named = self.config.getoption("--agentops-base") or settings.base
        try:
            found = base_of(PromptRepository(settings.prompts), named)
        except PromptError as error:
            if named:
                raise pytest.UsageError(f"--agentops-base: {error}") from None
            return None, str(error).splitlines()[0]
        if found is not None:
            return found, ""
        try:
            _ = PromptRepository(settings.prompts).history
        except PromptError as error:
            return None, str(error).splitlines()[0]
        return None, "nothing is committed yet"

    def _write(self, report: Report) -> Iterator[str]:
        from pytest_agentops.errors import PromptError, UsageError
        from pytest_agentops.formats.files import write
        from pytest_agentops.history import History
        from pytest_agentops.seal import sealed

        def sign(text: str, path: Path) -> str:
            try:
                return sealed(text, path, History(self._settings(self.config).prompts))
            except PromptError:  # Outside of git there is nothing to vouch for.
                return text

        for path in self._files:
            try:
                write(report, path, sign=sign)
            except UsageError as error:
                yield str(error)

    def lines(self) -> Iterator[str]:
        """What the end of the run says of it."""
        from pytest_agentops.formats.terminal import lines

        if self.report is not None:
            yield from lines(self.report, most=None if self.config.get_verbosity() > 0 else _MOST_TOLD)
            if self._excused:
                yield self._excused
            yield from (f"written: {file}" for file in self.config.getoption("--agentops-report"))
