"""The door for pytest: options, the marker, fixtures, the summary. It imports pytest and the standard library alone."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import shlex
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from pytest_agentops.beside import Beside
    from pytest_agentops.capture import AgentTrace
    from pytest_agentops.cassette import Equipment, Session
    from pytest_agentops.expect.budgets import Budget
    from pytest_agentops.guard import Hosts, Refusal
    from pytest_agentops.mutation import Survey
    from pytest_agentops.repository import PromptRepository
    from pytest_agentops.settings import Settings
    from pytest_agentops.trace import Comparison
    from pytest_agentops.trees import CommitTree

_MODES = ("none", "once", "changed", "all", "verify", "live")
_MARKER = (
    "agentops(record=..., cassette=..., ignore=[...], budget={...}, versions={...}): record and replay this test's "
    "model calls; "
    "record is a mode for this test alone, cassette a path from the test file's folder, "
    "ignore a list of JSON paths into requests that do not count, budget what the run may use (usd, tokens, steps, "
    "seconds), versions the prompts' versions to run it with, each in turn"
)
_MARKED = ("record", "cassette", "ignore", "budget", "versions")
_PINNED = "agentops_versions"
"""The parameter that says which versions a run of a test has."""
_TAKE = "agentops_take"
"""The parameter that says which of several takes a run of a test is."""
_LONGEST_NAME = 120
_REFUSED = re.compile(r'[\x00-\x1f\x7f"%*/:<>?\\|]')
"""Characters that one file system or another refuses in a name, and the one that encodes them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Everything we add begins with `--agentops-`."""
    group = parser.getgroup("agentops", "LLM agents: record and replay (pytest-agentops)")
    group.addoption(
        "--agentops-record",
        choices=_MODES,
        default=None,
        help="what may go live: none replays only (the default where CI is set), once records tests that have no "
        "cassette (the default elsewhere), changed replays up to the first request that is no longer recorded and "
        "records from there, all records everything anew, verify goes live and reports what is no longer as "
        "recorded, live uses no cassette",
    )
    group.addoption(
        "--agentops-ref",
        metavar="REF",
        default=None,
        help="take all prompts, and the cassettes that go with them, as of this commit, branch or tag; the working "
        "tree stays as it is",
    )
    group.addoption(
        "--agentops-impacted",
        action="store_true",
        help="leave out the tests that a change of prompts does not touch, whose recorded requests are what they were",
    )
    group.addoption(
        "--agentops-base",
        metavar="REF",
        default=None,
        help="what the change is compared with (default: where this branch left the main one)",
    )
    group.addoption(
        "--agentops-report",
        metavar="FILE",
        action="append",
        default=[],
        help="compare this run with the base and write what became of each recorded test to a file that ends in .html, "
        ".json or .md; may be given several times",
    )
    group.addoption(
        "--agentops-trials",
        metavar="N",
        type=int,
        default=None,
        help="run each test that uses this plugin so many times, each take with a cassette of its own (default: the "
        "setting trials, else once)",
    )
    group.addoption(
        "--agentops-mutate",
        action="store_true",
        help="change the trace of each passing test in one place after another, and say which changes its comparisons "
        "would not have noticed; no model is asked for that, and no agent runs again",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and take what this run is asked for besides."""
    config.addinivalue_line("markers", _MARKER)
    if (trials := _trials(config)) != 1:
        if trials < 1:
            raise pytest.UsageError(f"--agentops-trials={trials}: a test has one take or more")
        from pytest_agentops.beside import Trials

        config.pluginmanager.register(Trials(trials, _TAKE), "agentops-trials")
    if _compares(config):
        from pytest_agentops import beside

        config.stash[_BESIDE] = beside.Beside(config, _settings, several=_trials(config) > 1)
        config.pluginmanager.register(config.stash[_BESIDE], "agentops-beside")


def _compares(config: pytest.Config) -> bool:
    """Whether this run is compared with the base, and decided by gates."""
    given = ("--agentops-report", "--agentops-base", "--agentops-impacted")
    return any(map(config.getoption, given)) or _trials(config) > 1


def _trials(config: pytest.Config) -> int:
    """How many takes of each test there are; a look at one file decides whether the settings have to be read."""
    given: int | None = config.getoption("--agentops-trials")
    if given is not None:
        return given
    return _settings(config).trials if _may_be_set(config.rootpath, "trials") else 1


def _take_of(item: pytest.Item) -> int:
    number: int = (getattr(item, "callspec", None) and item.callspec.params.get(_TAKE, 1)) or 1  # type: ignore[attr-defined]
    return number


def _without_take(name: str, number: int) -> str:
    """The name of a test without what says which take it is."""
    return re.sub(rf"-?take{number}(?=\]$)", "", name).removesuffix("[]") if number > 1 else name


# --- one test --------------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """What we remember of a test while it runs."""

    session: Session
    stack: ExitStack
    failed: bool = False
    skipped: bool = False
    interrupted: bool = False
    ended: bool = False
    xfailed: bool = False
    """Whether it failed and was expected to, which tells nothing of what is expected of the agent."""
    unplayed: bool = False
    """Whether it failed since answers in its cassette were not asked for."""
    budget: Budget | None = None
    caveats: list[str] = field(default_factory=list)
    """What is to be said of comparisons that held."""
    comparisons: list[Comparison] | None = None
    """The comparisons that the test made, where its mutants are to be judged by them."""
    survey: Survey | None = None
    last: Comparison | None = None
    """The last comparison that the test made."""

    @property
    def outcome(self) -> Literal["passed", "failed"] | None:
        """How it ended; None where that was expected to be a failure."""
        return "failed" if self.failed else None if self.xfailed else "passed"

    def compared(self, comparison: Comparison) -> None:
        """Hear of a comparison that the test made."""
        self.last = comparison
        if self.comparisons is not None:
            self.comparisons.append(comparison)
        ask = getattr(comparison.asked, "caveat", None)  # Only an expectation has one.
        if comparison.holds and ask and (caveat := ask(comparison.subject)) and caveat not in self.caveats:
            self.caveats.append(caveat)

    def end(self) -> None:
        """Close the recording and save what the mode asks for, once."""
        if not self.ended:
            self.ended = True
            self.stack.close()
            self.session.recording.close()
            self.session.close(
                "interrupted" if self.interrupted else None if self.skipped else "failed" if self.failed else "passed"
            )


@dataclass
class _WholeSession:
    """What nothing of a session may leave where the setting `scope` says so."""

    config: pytest.Config
    root: Path
    hosts: Hosts
    refusals: list[Refusal]
    told: int = 0
    """How many of them a test has failed for."""

    @property
    def name(self) -> str:
        item = self.config.stash.get(_CURRENT, None)
        return item.nodeid if item is not None else ""

    def refused(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def new(self) -> list[Refusal]:
        """Those that no test has failed for yet."""
        found, self.told = self.refusals[self.told :], len(self.refusals)
        return found


_RUN = pytest.StashKey[_Run]()
_SETTINGS = pytest.StashKey["Settings"]()
_EQUIPMENT = pytest.StashKey["Equipment"]()
_CURRENT = pytest.StashKey[pytest.Item]()
_WHOLE = pytest.StashKey[_WholeSession]()
_OPEN = pytest.StashKey[ExitStack]()
_THEN = pytest.StashKey["CommitTree"]()
_SHARED = pytest.StashKey[list[str]]()
"""The cassettes of shared fixtures so far."""
_ELSEWHERE = pytest.StashKey[int]()
"""How many recordings of a killed run xdist's workers have kept."""
_LEFT = pytest.StashKey[list[tuple[str, str, str, str]]]()
"""The tests that were left out since no change of prompts touches them: id, reason, cassette, id without the take."""
_BESIDE = pytest.StashKey["Beside"]()
_LATE = pytest.StashKey[list[str]]()
"""What happened outside of every test and must not pass in silence, as text."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Keep the whole session from the network where the setting `scope` says so; a look at one file decides that."""
    config = session.config
    config.stash[_LATE] = []
    config.stash[_OPEN] = ExitStack()
    if (beside := _beside(config)) is not None:
        beside.check()
    controls_workers = config.pluginmanager.hasplugin("dsession")  # They would inherit the proxies of a guard here.
    if controls_workers or not _may_be_set(config.rootpath, "scope"):
        return
    if _settings(config).scope != "all" or _settings(config).record == "live":
        return
    from pytest_agentops import capture
    from pytest_agentops.guard import Hosts, protecting

    settings = _settings(config)
    whole = config.stash[_WHOLE] = _WholeSession(config, settings.root, Hosts(settings.allow_hosts), [])
    capture.everything = whole
    config.stash[_OPEN].callback(setattr, capture, "everything", None)
    config.stash[_OPEN].enter_context(protecting(whole, capture.guarded_here))


def _beside(config: pytest.Config) -> Beside | None:
    """What puts this run beside its base; None where nothing asks for that, and in xdist's workers."""
    return None if hasattr(config, "workerinput") else config.stash.get(_BESIDE, None)


def _may_be_set(root: Path, name: str) -> bool:
    """Whether a setting may be given, so that all have to be read before any test of ours is seen."""
    if os.environ.get(f"AGENTOPS_{name.upper()}"):
        return True
    try:
        text = (root / "pyproject.toml").read_bytes()
    except OSError:
        return False
    return b"agentops" in text and name.encode() in text


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test whose marker names versions runs once with each, of several prompts with each combination."""
    markers = [each for each in metafunc.definition.iter_markers("agentops") if "versions" in each.kwargs]
    if not markers:
        return
    pins = _pins(metafunc.definition)
    metafunc.fixturenames.append(_PINNED)
    ids = [",".join(f"{name}@{version}" for name, version in each.items()) for each in pins]
    metafunc.parametrize(_PINNED, pins, ids=ids)


def _pins(item: pytest.Item) -> list[dict[str, str]]:
    """The versions that each run of a test has, in order."""
    from itertools import product

    marker = next(each for each in item.iter_markers("agentops") if "versions" in each.kwargs)
    wanted = _versions(marker.kwargs["versions"], item.nodeid)
    return [dict(zip(wanted, chosen, strict=True)) for chosen in product(*wanted.values())]


def _versions(given: object, where: str) -> dict[str, list[str]]:
    if (
        not isinstance(given, Mapping)
        or not given
        or not all(isinstance(each, list | tuple) and each for each in given.values())
    ):
        raise pytest.fail.Exception(
            f"{where}: versions names prompts with lists of versions, "
            f'such as {{"support/triage": ["1.2.0", "worktree"]}}, not {given!r}',
            pytrace=False,
        )
    return {
        str(name).removesuffix(".prompty"): [str(version) for version in versions] for name, versions in given.items()
    }


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A mistake in the settings or in a marker is told before any test runs."""
    concerned = [item for item in items if _is_ours(item)]
    if concerned:
        _settings(config)
        _check_ref(config)
    for item in concerned:
        _marked(item)
    if config.getoption("--agentops-impacted"):
        if config.getoption("--agentops-ref"):
            raise pytest.UsageError("--agentops-impacted looks at the working tree, and --agentops-ref away from it")
        _leave_out(config, items)


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that the change of prompts does not touch; what is not known counts as touched."""
    from pytest_agentops.errors import PromptError

    try:
        left = _untouched(config, [item for item in items if _is_ours(item)])
    except PromptError as error:
        raise pytest.UsageError(f"--agentops-impacted: {error}") from None
    config.stash[_LEFT] = [
        (item.nodeid, reason, str(_cassette_of(item)), _without_take(item.nodeid, _take_of(item)))
        for item, reason in left.items()
    ]
    config.hook.pytest_deselected(items=list(left))
    items[:] = [item for item in items if item not in left]


def _untouched(config: pytest.Config, items: list[pytest.Item]) -> dict[pytest.Item, str]:
    """The tests that need not run, each with the reason."""
    from pytest_agentops.impact import Impact, RecordedTest
    from pytest_agentops.releases import base_of
    from pytest_agentops.repository import PromptRepository

    settings = _settings(config)
    prompts = PromptRepository(settings.prompts)
    base = base_of(prompts, config.getoption("--agentops-base") or settings.base)
    if base is None:
        raise pytest.UsageError(
            "--agentops-impacted: nothing is committed yet, so that there is nothing to compare with"
        )
    impact = Impact(base, prompts)
    found = {}
    for item in items:
        pins = item.callspec.params.get(_PINNED, {}) if hasattr(item, "callspec") else {}
        test = RecordedTest(item.nodeid, item.path, _cassette_of(item), tuple(_shared_folders(item)), pins)
        if (reason := impact.untouched(test)) is not None:
            found[item] = reason
    return found


def _shared_folders(item: pytest.Item) -> Generator[Path, None, None]:
    """Where the cassettes of the shared fixtures are that a test may use: beside the files that define them."""
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    files = {
        Path(code.co_filename)
        for each in definitions.values()
        for definition in each
        if (code := getattr(inspect.unwrap(definition.func), "__code__", None)) is not None
    }
    for file in sorted({item.path, *files}):
        if _is_under(file, item.config.rootpath):
            yield file.parent / "cassettes" / file.stem / "fixtures"


def _cassette_of(item: pytest.Item) -> Path:
    from pytest_agentops.behaviour import take_path

    return take_path(_first_cassette_of(item), _take_of(item))


def _first_cassette_of(item: pytest.Item) -> Path:
    """The cassette of the test's first take."""
    marked = _marked(item)
    return item.path.parent / marked["cassette"] if "cassette" in marked else cassette_path(item)


def _check_ref(config: pytest.Config) -> None:
    from pytest_agentops.errors import PromptError

    try:
        if config.getoption("--agentops-ref"):
            _as_of(config)
    except PromptError as error:
        raise pytest.UsageError(f"--agentops-ref: {error}") from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the recording before any fixture of the test is set up.

    It is no wrapper: one that fails before it yields keeps the wrappers of other plugins from their own setup.
    """
    whole = item.config.stash.get(_WHOLE, None)
    if whole is not None:
        item.config.stash[_LATE] += _refused_between(whole)
    _pin(item)
    if _is_ours(item):
        session = _opened(item)
        run = item.stash[_RUN] = _Run(session, ExitStack())
        if item.config.getoption("--agentops-mutate"):
            run.comparisons = []
        if "budget" in (marked := _marked(item)):
            from pytest_agentops.expect.budgets import budget

            run.budget = budget(marked["budget"])
            session.recording.limit = run.budget.hold
        run.stack.enter_context(session.open())
    item.config.stash[_CURRENT] = item


def _pin(item: pytest.Item) -> None:
    """Let every repository of the project's prompts, the agent's own too, give the versions that this test names."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    pins, ref = parameters.get(_PINNED, {}), item.config.getoption("--agentops-ref")
    if not pins and not ref:
        if "pytest_agentops.repository" in sys.modules:
            from pytest_agentops.repository import overrides

            overrides.clear()
        return
    from pytest_agentops.repository import PromptRepository, overrides

    folder = _settings(item.config).prompts
    tree = _as_of(item.config) if ref else None
    overrides[folder.resolve()] = pinned = PromptRepository(folder, tree=tree, pins=lambda: pins)
    with _as_failure():
        for name in pins:
            _ = pinned[name]


def _refused_between(whole: _WholeSession) -> list[str]:
    from pytest_agentops.errors import LiveCallRefused

    return [str(LiveCallRefused(refusal)) for refusal in whole.new()]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A miss that the agent swallowed, or an answer that nobody asked for, fails the test."""
    run = item.stash.get(_RUN, None)
    try:
        with _hearing(run):
            result = yield
    finally:
        if run is not None:
            run.session.begin_teardown()
    if run is not None:
        _check(run)
        _check_budget(run)
        if run.comparisons is not None:
            from pytest_agentops.mutation import survey

            run.survey = survey(run.session.recording.freeze(), run.comparisons)
    whole = item.config.stash.get(_WHOLE, None)
    if whole is not None and (refused := _refused_between(whole)):
        raise pytest.fail.Exception(refused[0], pytrace=False)
    return result


@contextmanager
def _hearing(run: _Run | None) -> Generator[None, None, None]:
    """Let this test's run hear of the comparisons made meanwhile."""
    if run is None:
        yield
        return
    from pytest_agentops.trace import observers

    observers.append(run.compared)
    try:
        yield
    finally:
        observers.remove(run.compared)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Close the recording after every fixture of the test is torn down, and save what the mode asks for."""
    run = item.stash.get(_RUN, None)
    if run is None:
        return (yield)
    try:
        result = yield
    except BaseException:
        run.failed = True
        raise
    finally:
        _end(run)
    if not (run.failed or run.skipped):
        _check(run, teardown=True)
    return result


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """After Ctrl-C nobody tears the test down: keep what was paid for, and take the patches back."""
    config = session.config
    item = config.stash.get(_CURRENT, None)
    run = item.stash.get(_RUN, None) if item else None
    if run is not None and not run.ended:
        run.interrupted = True
        run.end()
    late = config.stash.get(_LATE, [])
    if (equipment := config.stash.get(_EQUIPMENT, None)) is not None and equipment.journal is not None:
        from pytest_agentops import prices

        equipment.journal.close()
        prices.memory.close()
    if "pytest_agentops.guard" in sys.modules:
        from pytest_agentops import guard
        from pytest_agentops.errors import LiveCallRefused

        whole = config.stash.get(_WHOLE, None)
        late += _refused_between(whole) if whole is not None else []
        late += [str(LiveCallRefused(refusal)) for refusal in (equipment.late if equipment is not None else ())]
        config.stash[_OPEN].close()
        guard.close()
    if hasattr(config, "workeroutput"):  # xdist carries it to the controller.
        left = config.stash.get(_LEFT, [])
        config.workeroutput["agentops"] = {"late": list(late), "recovered": _recovered(config), "left": list(left)}
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and config.stash.get(_LEFT, []):
        session.exitstatus = pytest.ExitCode.OK  # Nothing had to run, which is what a harmless change is about.
    if (beside := _beside(config)) is not None:
        left_out = [(test, reason, cassette) for _, reason, cassette, test in config.stash.get(_LEFT, [])]
        late += beside.decide(session, left_out)
    if late and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What one of xdist's workers saw outside of every test."""
    seen = getattr(node, "workeroutput", {}).get("agentops", {"late": [], "recovered": 0, "left": []})
    node.config.stash[_LEFT] = seen["left"]  # Each worker collects everything.
    node.config.stash[_LATE] += seen["late"]
    node.config.stash[_ELSEWHERE] = node.config.stash.get(_ELSEWHERE, 0) + seen["recovered"]


def _recovered(config: pytest.Config) -> int:
    """How many recordings of a killed run this one has kept."""
    equipment = config.stash.get(_EQUIPMENT, None)
    here = len(equipment.journal.recovered) if equipment is not None and equipment.journal is not None else 0
    return here + config.stash.get(_ELSEWHERE, 0)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test shows its trajectory; every test hands its figures to the summary."""
    report = yield
    run = item.stash.get(_RUN, None)
    if run is None:
        if report.failed and report.when == "setup" and _is_ours(item) and _compares(item.config):
            why = str(call.excinfo.value).strip().partition("\n")[0] if call.excinfo else ""
            report.__dict__["agentops_ran"] = _ran(item, None, why or "it could not be set up")
        return report
    xfailed = report.skipped and hasattr(report, "wasxfail")
    if xfailed and (run.session.cassette.misses or run.session.refusals):
        # Without a recorded reply the agent did not run; that is not the failure that was expected.
        report.outcome = "failed"
        del report.wasxfail
        report.longrepr = str(call.excinfo.value) if call.excinfo else None
        xfailed = False
    run.failed |= report.failed
    run.skipped |= report.skipped and not xfailed
    run.xfailed |= xfailed
    if report.failed:
        _explain_miss(item, call, report)
        if run.last is not None and call.excinfo is not None and call.excinfo.errisinstance(AssertionError):
            report.sections += [("agentops: the comparison", text)] if (text := _whole_story(run.last)) else []
        report.sections.append(("agentops", "\n".join(_section(item, run))))
    if report.when == "teardown":
        # What stands in a report's dict travels from xdist's workers to the controller.
        report.__dict__["agentops"] = _figures(item, run)
        # A take that was never recorded tells nothing; that it fails says so.
        recorded = _take_of(item) == 1 or run.session.path.exists() or not run.session.cassette.misses
        if _compares(item.config) and recorded:
            report.__dict__["agentops_ran"] = _ran(item, run)
        if item.config.getoption("xmlpath", None):
            report.user_properties += _properties(run)
        # Items live as long as the session; their recordings need not.
        del item.stash[_RUN]
    return report


# --- shared fixtures -------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """What a shared fixture of the project asks belongs to a recording of its own, not to the test that came first."""
    item = request.config.stash.get(_CURRENT, None)
    if fixturedef.scope == "function" or item is None or item.stash.get(_RUN, None) is None:
        return (yield)
    home = _home(fixturedef, request)
    if home is None:
        return (yield)
    session = _opened(item, path=home)
    run = _Run(session, ExitStack())
    request.config.stash.setdefault(_SHARED, []).append(str(home))
    fixturedef.addfinalizer(lambda: _end_shared(run))
    try:
        with session.foreground():
            result = yield
    except BaseException:
        run.failed = True
        raise
    # Finalizers run last in, first out: this one before the fixture's own teardown, the other one after it.
    fixturedef.addfinalizer(lambda: run.stack.enter_context(session.foreground()))
    session.begin_teardown()
    if session.cassette.misses or session.refusals or session.recording.strays:
        run.failed = True
        _check(run)
    return result


def _end_shared(run: _Run) -> None:
    _end(run)
    if not run.failed:
        _check(run, teardown=True)


def _home(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> Path | None:
    """Where the cassette of a shared fixture is: `cassettes/<stem>/fixtures/` beside the file that defines it."""
    function = inspect.unwrap(fixturedef.func)
    code = getattr(function, "__code__", None)
    if code is None or not _is_under(code.co_filename, request.config.rootpath):
        return None
    if function.__module__.partition(".")[0] == __package__:
        return None
    file = Path(code.co_filename)
    index = getattr(request, "param_index", 0)
    name = f"{fixturedef.argname}[{index}]" if hasattr(request, "param") else fixturedef.argname
    return file.parent / "cassettes" / file.stem / "fixtures" / f"{name}.yaml"


# --- one test, continued ---------------------------------------------------------------------------------------------


def _is_ours(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return "agent_trace" in names or item.get_closest_marker("agentops") is not None


def _opened(item: pytest.Item, *, path: Path | None = None) -> Session:
    from pytest_agentops.errors import CassetteUnreadable

    try:
        return _new_session(item, path=path)
    except CassetteUnreadable as error:
        raise pytest.fail.Exception(f"{error}\n  to record it again: {_again(item)}", pytrace=False) from None


def _again(item: pytest.Item) -> str:
    name, option, takes = _command(item).partition(" --agentops-trials=")
    return f"pytest {shlex.quote(name)}{option}{takes} --agentops-record=all"


def _command(item: pytest.Item) -> str:
    """The id of a test as it is typed, with the option that makes its take."""
    number = _take_of(item)
    takes = max(number, _trials(item.config))
    return _without_take(_typed(item), number) + (f" --agentops-trials={takes}" if number > 1 else "")


def _typed(item: pytest.Item) -> str:
    """The id of a test as it is typed where pytest was started."""
    file, colons, name = item.nodeid.partition("::")
    start, root = item.config.invocation_params.dir, item.config.rootpath
    return item.nodeid if start == root else f"{os.path.relpath(root / file, start)}{colons}{name}"


def _end(run: _Run) -> None:
    """End it; where its cassette was refused, that is the test's failure and not a traceback of ours."""
    from pytest_agentops.errors import SecretFound

    try:
        run.end()
    except SecretFound as error:
        run.failed = True
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _check(run: _Run, *, teardown: bool = False) -> None:
    __tracebackhide__ = True
    from pytest_agentops.errors import CassetteUnplayed

    with _as_failure():
        try:
            run.session.check(teardown=teardown)
        except CassetteUnplayed:
            run.unplayed = True
            raise


def _check_budget(run: _Run) -> None:
    __tracebackhide__ = True
    if run.budget is None or not (trace := run.session.recording.freeze()).model_calls:
        return
    from pytest_agentops.errors import BudgetExceeded

    with _as_failure():
        if over := run.budget.judge(trace):
            raise BudgetExceeded(over)


@contextmanager
def _as_failure() -> Generator[None, None, None]:
    """Let an error of ours fail the test with its message alone."""
    __tracebackhide__ = True
    from pytest_agentops.errors import AgentopsError

    try:
        yield
    except AgentopsError as error:
        # From None: pytest shows each exception of a chain, and this one's message is the whole story.
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _explain_miss(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Where a miss surfaced in the test, show the test's own frames and the miss; the client's frames say nothing."""
    from pytest_agentops.errors import BudgetExceeded, CassetteMiss, LiveCallRefused, Unjudged

    told = BudgetExceeded | CassetteMiss | LiveCallRefused | Unjudged
    if call.excinfo is None or not isinstance(call.excinfo.value, told):
        return
    ours = call.excinfo.traceback.filter(lambda entry: _is_under(entry.path, item.config.rootpath))
    call.excinfo.traceback = ours or call.excinfo.traceback
    shown = call.excinfo.getrepr(style="short", tbfilter=False, chain=False)
    if shown.reprcrash is not None:  # The short summary has one line for each test.
        shown.reprcrash.message = str(call.excinfo.value).partition("\n")[0]
    report.longrepr = shown


def _is_under(path: object, root: Path) -> bool:
    place = Path(str(path))
    return place.is_relative_to(root) and "site-packages" not in place.parts


def _whole_story(comparison: Comparison) -> str:
    from pytest_agentops.explain import whole_lines

    return "" if comparison.holds else "\n".join(whole_lines(comparison))


def _section(item: pytest.Item, run: _Run) -> Generator[str, None, None]:
    from pytest_agentops.explain import miss_lines, trace_lines

    misses = run.session.cassette.misses
    trace = run.session.recording.freeze()
    if trace.exchanges or trace.steps or not misses:
        yield from trace_lines(trace)
    else:
        yield "no request was answered"
    for miss in misses[1:]:
        yield from miss_lines(miss)
    if run.session.mode == "once" and not run.session.replays and run.session.recording.exchanges:
        yield "this run is kept as a draft: the next run reuses its replies and pays only for what is new"
        yield f"to ask the model again: {_again(item)}"


def _figures(item: pytest.Item, run: _Run) -> dict[str, Any]:
    """This test's figures as plain data."""
    written = run.session.saved == run.session.path
    source = item.path.read_text("utf-8", "replace") if written and item.path.is_file() else ""
    volatile = run.session.volatile(source) if written else ()
    drift = run.session.drift()
    trace = run.session.recording.tally()
    priced = [call for call in trace.model_calls if call.error is None]
    return {
        "model_calls": len(trace.model_calls),
        "tokens": sum(call.usage.total_tokens for call in trace.model_calls if call.usage),
        "cost": sum(call.cost for call in priced if call.cost is not None),
        "unpriced": sorted({call.model for call in priced if call.cost is None}),
        "source": trace.source,
        "written": written,
        "test": item.nodeid,
        "cassettes": [str(run.session.path), *item.config.stash.get(_SHARED, ())],
        "volatile": _explained("volatile_lines", volatile) if volatile else [],
        "drift": _explained("drift_lines", *drift) if drift else None,
        "caveats": run.caveats,
        "mutation": _surveyed(run.survey) if run.survey is not None and run.survey.tried else None,
    }


def _ran(item: pytest.Item, run: _Run | None, trouble: str = "") -> dict[str, Any]:
    """What this take of the test came to, as plain data; without a run, why nothing is known of it."""
    from pytest_agentops.beside import seen
    from pytest_agentops.report import take_data

    number = _take_of(item)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    pins = parameters.get(_PINNED)
    test = _without_take(item.nodeid, number)
    label = ",".join(f"{name}@{version}" for name, version in (pins or {}).items())
    return {
        "id": item.nodeid,
        "test": test,
        "cassette": str(_first_cassette_of(item)),
        "take": None
        if run is None or run.skipped
        else take_data(seen(run.session, outcome=run.outcome, unplayed=run.unplayed, number=number)),
        "skipped": run is not None and run.skipped,
        "trouble": "it was skipped" if run is not None and run.skipped else trouble,
        "group": test.replace(label, "", 1).replace("[]", "").replace("[-", "[").replace("-]", "]") if pins else "",
        "variant": [_pins(item).index(pins), label] if pins else [0, ""],
    }


def _properties(run: _Run) -> list[tuple[str, str]]:
    from pytest_agentops.beside import seen
    from pytest_agentops.formats.junit import properties

    return list(properties(seen(run.session, outcome=run.outcome, unplayed=run.unplayed)))


def _surveyed(survey: Survey) -> dict[str, Any]:
    from pytest_agentops.explain import mutant_line

    unnoticed = [mutant_line(mutant) for mutant in survey.unnoticed]
    return {"tried": survey.tried, "unnoticed": unnoticed, "compared": survey.compared}


def _explained(what: str, *facts: object) -> list[str]:
    from pytest_agentops import explain

    return list(getattr(explain, what)(*facts))


def _new_session(item: pytest.Item, *, path: Path | None = None) -> Session:
    from pytest_agentops.cassette import Session

    settings = _settings(item.config)
    marked = _marked(item)
    shared = path is None and "cassette" in marked
    path_is_own = path is None  # A shared fixture has one recording, however many takes use it.
    if path is None:
        path = _cassette_of(item)
    option = item.config.getoption("--agentops-record")
    if item.config.getoption("--agentops-ref"):
        path = _cassette_then(item.config, path)
    return Session(
        path,
        mode=option or marked.get("record") or settings.record,
        name=_without_take(item.nodeid, _take_of(item)) if shared else item.nodeid,
        command=_command(item),
        draft=settings.drafts / _inside(path, settings.root),
        ignore=(*settings.ignore, *marked.get("ignore", ())),
        shared=shared,
        sample=path_is_own and _trials(item.config) > 1,
        equipment=_equipment(item.config),
    )


def _as_of(config: pytest.Config) -> CommitTree:
    """The prompts as of `--agentops-ref`."""
    if _THEN not in config.stash:
        from pytest_agentops.history import History
        from pytest_agentops.trees import CommitTree

        config.stash[_THEN] = CommitTree(History(_settings(config).prompts), config.getoption("--agentops-ref"))
    return config.stash[_THEN]


def _cassette_then(config: pytest.Config, path: Path) -> Path:
    """Where a cassette is as it was at `--agentops-ref`: out of git, in a folder that git ignores."""
    from pytest_agentops.journal import ignored_by_git

    tree, root = _as_of(config), _settings(config).root
    inside = path.resolve().relative_to(tree.history.root) if path.resolve().is_relative_to(tree.history.root) else None
    if inside is None:
        return path
    ignored_by_git(root / ".agentops")
    folder = root / ".agentops" / "at" / tree.sha[:12]
    for name, data in tree.history.whole(tree.sha, inside.as_posix(), f"{inside.with_suffix('.bodies').as_posix()}/"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder / inside


def _equipment(config: pytest.Config) -> Equipment:
    """What all sessions of this run share; the first one that asks picks up what a killed run has left."""
    if _EQUIPMENT not in config.stash:
        from pytest_agentops import prices
        from pytest_agentops.cassette import Equipment
        from pytest_agentops.document import Cache
        from pytest_agentops.guard import Hosts
        from pytest_agentops.journal import Journal

        settings = _settings(config)
        journal = Journal(settings.root / ".agentops")
        journal.recover()
        cache = getattr(config, "cache", None)
        if cache is not None:
            prices.memory.open(cache.mkdir("agentops") / "prices.json")
        config.stash[_EQUIPMENT] = Equipment(
            root=settings.root,
            rules=settings.redact,
            hosts=Hosts(settings.allow_hosts),
            pace=settings.timing,
            journal=journal,
            parser=Cache(cache.mkdir("agentops")) if cache is not None else None,
        )
    return config.stash[_EQUIPMENT]


def cassette_path(item: pytest.Item) -> Path:
    """Where the cassette of a test is: `cassettes/<file>/<Class.>test_name[params].yaml` beside the test file.

    Characters that a file system refuses are percent-encoded; an over-long name is shortened and ends in a hash.
    """
    named, bracket, parameters = _without_take(item.nodeid, _take_of(item)).partition("::")[2].partition("[")
    name = named.replace("::", ".") + bracket + parameters
    name = _REFUSED.sub(lambda found: quote(found[0], safe=""), name or item.name).strip()
    if len(name.encode()) > _LONGEST_NAME:
        short = name.encode()[: _LONGEST_NAME - 13].decode(errors="ignore")
        name = f"{short}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return item.path.parent / "cassettes" / item.path.stem / f"{name}.yaml"


def _inside(path: Path, root: Path) -> Path:
    if path.is_relative_to(root):
        return path.relative_to(root)
    return Path(hashlib.sha256(str(path).encode()).hexdigest()[:16]) / path.name


def _marked(item: pytest.Item) -> Mapping[str, Any]:
    """What the marker says, the nearest one first.

    Raises:
        pytest.UsageError: an argument that there is not, or a value that cannot be used.
    """
    found: dict[str, Any] = {}
    for marker in item.iter_markers("agentops"):
        for name, value in marker.kwargs.items():
            found.setdefault(name, value)
        if marker.args:
            raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.agentops takes named arguments: {', '.join(_MARKED)}")
    for name in found:
        if name not in _MARKED:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.agentops has no argument {name!r}; there are: {', '.join(_MARKED)}"
            )
    if found.get("record", "none") not in _MODES:
        raise pytest.UsageError(
            f"{item.nodeid}: record={found['record']!r} is no record mode; there are: {', '.join(_MODES)}"
        )
    if not isinstance(found.get("cassette", ""), str | Path):
        raise pytest.UsageError(f"{item.nodeid}: cassette={found['cassette']!r} is no path")
    if isinstance(found.get("ignore"), str):
        raise pytest.UsageError(f"{item.nodeid}: ignore is a list of JSON paths: ignore=[{found['ignore']!r}]")
    if "budget" in found:
        from pytest_agentops.errors import ExpectationError
        from pytest_agentops.expect.budgets import budget

        try:
            budget(found["budget"])
        except ExpectationError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None
    if "versions" in found and not (hasattr(item, "callspec") and _PINNED in item.callspec.params):
        raise pytest.UsageError(f"{item.nodeid}: versions= needs a function of pytest's; a unittest.TestCase has none")
    if "ignore" in found:
        from pytest_agentops.errors import SettingsError
        from pytest_agentops.settings import json_paths

        try:
            json_paths(found["ignore"], f"{item.nodeid}: ignore={found['ignore']!r}")
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from None
    return found


def _settings(config: pytest.Config) -> Settings:
    if _SETTINGS not in config.stash:
        from pytest_agentops.errors import SettingsError
        from pytest_agentops.settings import read_settings

        option = config.getoption("--agentops-record")
        try:
            config.stash[_SETTINGS] = read_settings(config.rootpath, {"record": option} if option else {})
        except SettingsError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_SETTINGS]


# --- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture
def agent_trace(request: pytest.FixtureRequest) -> AgentTrace:
    """The recording of this test, read as a trace: `trajectory`, `response`, `steps`, `usage`, `cost` and more.

    Each access sees what has happened so far. Model calls through httpx and httpx2 are recorded to a cassette the
    first time and replayed from it ever after.
    """
    from pytest_agentops.capture import AgentTrace

    if _RUN not in request.node.stash:
        pytest.fail(
            "agent_trace was asked for while the test ran, after its recording should have begun\n"
            "  name it among the test's arguments, or mark the test with @pytest.mark.agentops",
            pytrace=False,
        )
    return AgentTrace(request.node.stash[_RUN].session.recording)


@pytest.fixture(scope="session")
def prompts(request: pytest.FixtureRequest) -> PromptRepository:
    """The prompts of the project: `prompts["support/agent"].render(company="ACME")`.

    A name alone is the version that the test's marker names, else the prompt of the working tree, or that of
    `--agentops-ref`.
    """
    from pytest_agentops.repository import PromptRepository

    return PromptRepository(_settings(request.config).prompts)


# --- what people read ------------------------------------------------------------------------------------------------


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Explain a comparison with a trace, with `-vv` at length; nobody else's costs more than a look-up."""
    if "pytest_agentops.trace" not in sys.modules:
        return None
    from pytest_agentops.trace import ResponseText, Trajectory

    if not isinstance(left, Trajectory | ResponseText) and not isinstance(right, Trajectory | ResponseText):
        return None
    from pytest_agentops.explain import explained

    return explained(op, left, right, whole=config.get_verbosity() > 1)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for the whole run, in suites that use us."""
    figures = [
        report.agentops
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "agentops", None)
    ]
    if figures:
        from pytest_agentops import summary

        for line in summary.lines(figures):
            terminalreporter.write_line(line)
    for line in (*_left_out(terminalreporter), *_lately(terminalreporter.config)):
        terminalreporter.write_line(line)
    beside = _beside(terminalreporter.config)
    if beside is not None and beside.report is not None:
        terminalreporter.section(f"agentops: {beside.report.verdict}", sep="-")
        for line in beside.lines():
            terminalreporter.write_line(line)
    if terminalreporter.config.getoption("--agentops-mutate"):
        from pytest_agentops import summary

        terminalreporter.section("agentops: mutation check", sep="-")
        for line in summary.mutation_lines(figures, whole=terminalreporter.verbosity > 0):
            terminalreporter.write_line(line)
    if figures and _is_whole(terminalreporter.config, terminalreporter.stats):
        _remember_run(terminalreporter.config, [path for each in figures for path in each["cassettes"]])


def _is_whole(config: pytest.Config, stats: Mapping[str, Any]) -> bool:
    """Whether nothing narrowed this run, so that a cassette it did not use is one that nobody uses."""
    narrowed = config.args_source is pytest.Config.ArgsSource.ARGS or stats.get("deselected")
    narrowed = narrowed or config.getoption("--agentops-ref")
    return not (narrowed or stats.get("error") or config.getoption("keyword") or config.getoption("markexpr"))


def _remember_run(config: pytest.Config, paths: list[str]) -> None:
    """Leave a note for `cassettes check`; where it cannot be written, nothing is lost."""
    import json
    from contextlib import suppress

    from pytest_agentops.housekeeping import LAST_RUN
    from pytest_agentops.journal import ignored_by_git

    root = config.rootpath
    used = sorted({Path(path).relative_to(root).as_posix() for path in paths if Path(path).is_relative_to(root)})
    with suppress(OSError):
        ignored_by_git(root / ".agentops")
        (root / ".agentops" / LAST_RUN).write_text(json.dumps({"cassettes": used}, indent=1), encoding="utf-8")


def _left_out(terminalreporter: Any) -> Generator[str, None, None]:
    """The tests that need not run, with `-v` each with its reason."""
    left = terminalreporter.config.stash.get(_LEFT, [])
    if left:
        yield f"agentops: left out {len(left)} test{'s' * (len(left) != 1)} that the change of prompts does not touch"
        shown = left if terminalreporter.verbosity > 0 else left[:5]
        yield from (f"  {test}: {reason}" for test, reason, *_ in shown)
        if len(left) > len(shown):
            yield f"  and {len(left) - len(shown)} more (-v shows them)"


def _lately(config: pytest.Config) -> Generator[str, None, None]:
    """What happened outside of every test."""
    for text in config.stash.get(_LATE, ()):
        first, *others = text.splitlines()
        yield f"agentops: outside of every test, {first}"
        yield from others
    if recovered := _recovered(config):
        kept = f"{recovered} recording{'s' * (recovered != 1)}"
        yield f"agentops: what a killed run had recorded was kept: {kept} in .agentops/drafts"
