"""How prompts get new versions: plans that are shown before they are carried out, and the check that none is owed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pytest_agentops.errors import HistoryError, PromptError, PromptNotFound, VersionNotFound
from pytest_agentops.history import ENDING
from pytest_agentops.prompt import Prompt, normal_name
from pytest_agentops.repository import PromptRepository
from pytest_agentops.revision import Revision
from pytest_agentops.tape import write_whole
from pytest_agentops.trees import SNAPSHOT, is_partial
from pytest_agentops.versions import LABELS, LEVELS, LOCK, Level, Locked, Semver, with_label, written_lock

CHANGELOG = "CHANGELOG.md"

Recorded = Callable[[str], Iterable[Mapping[str, Any]]]
"""Gives the inputs with which a prompt of this name was rendered in recorded tests."""


# --- plans -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """One file that a plan changes."""

    path: Path
    old: str | None
    """None where the file is not there yet."""
    new: str


@dataclass(frozen=True)
class Plan:
    """What would be changed, in words and as files."""

    steps: tuple[str, ...]
    edits: tuple[Edit, ...] = ()

    def apply(self) -> None:
        """Carry it out; each file is replaced whole.

        Raises:
            PromptError: a file is no longer as it was when the plan was made; none was changed then.
        """
        for edit in self.edits:
            if _read(edit.path) != edit.old:
                raise PromptError(f"{edit.path} has changed meanwhile; nothing was written")
        for edit in self.edits:
            edit.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(edit.path, edit.new.encode())


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path} cannot be read: {error}") from error


@dataclass(frozen=True)
class Bump:
    """The new version of one prompt."""

    name: str
    old: str | None
    """None where no base knows of it."""
    new: str
    level: Level
    reasons: tuple[str, ...]


def bump(
    prompts: PromptRepository,
    names: Sequence[str],
    message: str,
    *,
    base: str | None = None,
    recorded: Recorded = lambda _name: (),
    level: Level | None = None,
    today: date | None = None,
) -> tuple[Plan, tuple[Bump, ...]]:
    """What gives these prompts the versions that their changes owe: front matter, lock, changelog.

    A version is owed against the base, the commit where this branch left the main one: a second bump on the same branch
    raises no version twice. `level` asks for more than is owed.

    Raises:
        PromptError: nothing changed, or less than is owed was asked for.
    """
    before = base_of(prompts, base)
    taken = _taken(prompts, before)
    bumps, edits, locked = [], [], dict(prompts.locked)
    current = prompts.current()
    for name in names:
        if is_partial(name):
            raise PromptError(f"{name} is a partial, which has no version; bump the prompts that include it")
        prompt = prompts.at_hand(name)
        found = _bumped(prompts, before, prompt, recorded, level, taken)
        bumps.append(found)
        edits.append(_with_version(prompts, f"{name}{ENDING}", found.new))
        locked[name] = Locked(found.new, current[name].digest)
        locked |= {partial: current[partial] for partial in prompt.partials}
    lines = [f"{each.name}: {each.old or 'new'} -> {each.new} ({each.level})" for each in bumps]
    edits.append(_edit(prompts, LOCK, written_lock(locked)))
    edits.append(_noted(prompts, bumps, message, today or date.today()))
    steps = [
        f"{line}{''.join(f'{chr(10)}  {reason}' for reason in each.reasons)}"
        for line, each in zip(lines, bumps, strict=True)
    ]
    return Plan(tuple(steps), tuple(edit for edit in edits if edit.old != edit.new)), tuple(bumps)


def base_of(prompts: PromptRepository, ref: str | None) -> PromptRepository | None:
    """The prompts where this branch left the main one; None where nothing is committed yet.

    Raises:
        HistoryError: a ref that was named is not there, or has nothing in common with this branch.
    """
    try:
        history = prompts.history
        history.commit("HEAD")
    except HistoryError:
        if ref is not None:
            raise
        return None
    found = ref or next(history.branches(), None)
    if found is None:
        if history.alone:
            return prompts.at("HEAD")
        raise HistoryError(
            "nobody says what this branch is compared with, and there is no branch main\n"
            f"  name it: --base REF, or `base` in [tool.agentops]{history.how_far()}"
        )
    return prompts.at(history.merge_base(found, "HEAD"))


def _before(prompts: PromptRepository, base: PromptRepository | None, name: str) -> Prompt | None:
    """A prompt as it was released at the base: as the lock says, where the file says something else."""
    was = prompts.name_at(base, name) if base is not None else name
    if base is None or was not in base.tree.names():
        return None
    prompt, locked = base.at_hand(was), _locked(base).get(was)
    if locked is None or locked.digest == prompt.digest:
        return prompt
    try:
        return base.get(f"{was}@{locked.digest}")
    except PromptError:  # No commit has what was locked.
        return prompt


def _locked(prompts: PromptRepository) -> Mapping[str, Locked]:
    """What a lock says; nothing where it cannot be read, which is told elsewhere."""
    try:
        return prompts.locked
    except PromptError:
        return {}


def _taken(prompts: PromptRepository, base: PromptRepository | None) -> Callable[[Prompt], set[str]]:
    """The versions that are something else already: at the base, and in a branch that is being merged."""
    merged = prompts.at("MERGE_HEAD") if base is not None and prompts.history.merging else None

    def taken(prompt: Prompt) -> set[str]:
        locks = [_locked(each).get(prompt.name) for each in (base, merged) if each is not None]
        found = {each.version for each in locks if each is not None and each.version and each.digest != prompt.digest}
        if base is not None:
            for version, change in base.states(prompt.name).items():
                if version not in found and (then := base.readable(change)) and then.digest != prompt.digest:
                    found.add(version)
        return found

    return taken


def _bumped(
    prompts: PromptRepository,
    base: PromptRepository | None,
    prompt: Prompt,
    recorded: Recorded,
    asked: Level | None,
    taken: Callable[[Prompt], set[str]],
) -> Bump:
    old = _before(prompts, base, prompt.name)
    if old is None:
        return Bump(prompt.name, None, prompt.version or "1.0.0", "none", ("it is new",))
    revision = Revision(old, prompt)
    owed = revision.level(recorded(prompt.name))
    if owed == "none" and asked is None:
        raise PromptError(
            f"{prompt.name} is what it was at {old.version or 'no version'}: there is nothing to bump\n"
            "  descriptions, owners and comments of YAML are nothing that a model sees\n"
            "  to give it a version all the same, ask for one of the level patch"
        )
    if asked is not None and LEVELS.index(asked) < LEVELS.index(owed):
        raise PromptError(f"{prompt.name} owes a {owed} bump, and {asked} is less\n  {_first(reasons(revision, owed))}")
    level = asked or owed
    target = Semver.parse(old.version or "0.0.0").raised(level)
    version = max(target, Semver.parse(prompt.version or "0.0.0"))
    others = taken(prompt)
    while str(version) in others:
        version = version.raised(level)
    return Bump(prompt.name, old.version, str(version), level, tuple(reasons(revision, level)))


def _first(lines: Iterable[str]) -> str:
    return next(iter(lines), "")


def reasons(revision: Revision, level: Level) -> Iterator[str]:
    """Why a change is of this level."""
    breaking = [change for change in revision.contract if change.breaking]
    yield from (f"{change.path}: {change.message}" for change in (breaking if level == "major" else revision.contract))
    if level == "patch":
        yield "what was recorded renders as it did"
    elif not breaking and level != "none":
        if revision.old.body != revision.new.body:
            yield "the body changed"
        yield from (f"{name} changed, which it includes" for name in revision.partials)
        yield from (f"{path} changed" for path, _, _ in revision.settings if path.partition(".")[0] == "model")


def _edit(prompts: PromptRepository, file: str, new: str) -> Edit:
    return Edit(prompts.folder / file, raw_text(prompts, file), new)


def raw_text(prompts: PromptRepository, file: str) -> str | None:
    """The text of a file of the folder to the last byte; None where it is not there.

    Raises:
        PromptError: it cannot be read, or is no UTF-8.
    """
    data = prompts.tree.raw(file)
    try:
        return None if data is None else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PromptError(f"{prompts.folder / file} cannot be read: {error}") from error


def _with_version(prompts: PromptRepository, file: str, version: str) -> Edit:
    """The file with this version in its front matter, and nothing else changed."""
    import yaml

    path, text = prompts.folder / file, raw_text(prompts, file)
    assert text is not None
    ending = "\r\n" if "\r\n" in text else "\n"
    mark = "\ufeff" * text.startswith("\ufeff")
    head = re.match(r"\ufeff?---[ \t]*\r?\n", text)
    if head is None:
        name = json.dumps(path.stem, ensure_ascii=False) if yaml.safe_load(path.stem) != path.stem else path.stem
        added = f"---{ending}name: {name}{ending}version: {version}{ending}---{ending}"
        return Edit(path, text, f"{mark}{added}{text.removeprefix(mark)}")
    end = re.compile(r"^---[ \t]*\r?$", re.MULTILINE).search(text, head.end())
    assert end is not None
    front = text[head.end() : end.start()]
    changed = _versioned(front, version, ending)
    if _read_front(changed) != {**_read_front(front), "version": version}:
        raise PromptError(
            f"the version of {path} cannot be changed without changing more; write in it: version: {version}"
        )
    return Edit(path, text, text[: head.end()] + changed + text[end.start() :])


def _read_front(front: str) -> dict[str, Any]:
    import yaml

    try:
        return dict(yaml.safe_load(front) or {})
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def _versioned(front: str, version: str, ending: str) -> str:
    """Front matter with another version, by the places that the parser tells."""
    import yaml

    node = yaml.compose(front, Loader=yaml.SafeLoader)
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    named = {key.value: (key, value) for key, value in pairs}
    if "version" in named:
        value = named["version"][1]
        return f"{front[: value.start_mark.index]}{version}{front[value.end_mark.index :]}"
    if not pairs:
        return f"version: {version}{ending}{front}"
    first = pairs[0][0].start_mark
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        return f"{front[: first.index]}version: {version}, {front[first.index :]}"
    after = named.get("name", (None, None))[1]
    at = front.find("\n", after.end_mark.index) + 1 if after is not None else first.index - first.column
    return f"{front[:at]}{' ' * first.column}version: {version}{ending}{front[at:]}"


def _noted(prompts: PromptRepository, bumps: Sequence[Bump], message: str, today: date) -> Edit:
    text = raw_text(prompts, CHANGELOG)
    if text is None or text.startswith("# "):
        title, _, rest = (text or "# Changelog of the prompts\n").partition("\n")
    else:
        title, rest = "# Changelog of the prompts", f"\n{text}"
    entries = "".join(f"\n## {each.name} {each.new} ({today.isoformat()})\n\n{_why(each, message)}\n" for each in bumps)
    for each in bumps:  # One that is bumped again on its branch keeps one entry.
        again = re.compile(
            rf"\n## {re.escape(each.name)} {re.escape(each.new)} \([^)]*\)\n\n(.*?)(?=\n## |\Z)", re.DOTALL
        )
        if found := again.search(rest):
            entries = entries.replace(
                f"\n\n{_why(each, message)}\n", f"\n\n{found[1].strip()}\n{_why(each, message)}\n", 1
            )
            rest = rest[: found.start()] + rest[found.end() :]
    return Edit(prompts.folder / CHANGELOG, text, f"{title}\n{entries}{rest}")


def _why(each: Bump, message: str) -> str:
    return f"- {' '.join(message.split())}" + (f" ({each.level})" if each.level != "none" else "")


def lock(prompts: PromptRepository) -> Plan:
    """What makes the lock say what the files are: the first time, and after a merge.

    Raises:
        PromptSyntaxError: a file cannot be understood.
    """
    current = prompts.current()
    _check_released(prompts, current)
    missing = [name for name in current if not is_partial(name) and prompts.at_hand(name).version is None]
    if missing:
        raise PromptError(f"{missing[0]} has no version\n  add to its front matter: version: 1.0.0")
    edit = _edit(prompts, LOCK, written_lock(current))
    try:
        before: Mapping[str, Locked] = prompts.locked
    except PromptError:  # What cannot be read is written anew.
        before = {}
    steps = [
        f"{name}: {_said(before.get(name))} -> {_said(current.get(name))}"
        for name in sorted({*before, *current})
        if before.get(name) != current.get(name)
    ]
    return Plan(tuple(steps), (edit,) if edit.old != edit.new else ())


def _check_released(prompts: PromptRepository, current: Mapping[str, Locked]) -> None:
    """See that no version that is locked becomes something else."""
    known = []
    with suppress(HistoryError):
        base = base_of(prompts, None)
        known = [_locked(base)] if base is not None else []
        known += [_locked(prompts.at("MERGE_HEAD"))] if prompts.history.merging else []
    for name, now in current.items():
        if any(
            now.version and lock.get(name, now).version == now.version and lock.get(name, now).digest != now.digest
            for lock in known
        ):
            raise PromptError(
                f"{name} {now.version} is locked as something else, and a version stays what it is\n"
                f'  to give it another one: pytest-agentops prompts bump {name} -m "why"'
            )


def _said(locked: Locked | None) -> str:
    if locked is None:
        return "nothing"
    return f"{locked.version or 'a partial'} {locked.digest[:15]}"


def label(prompts: PromptRepository, name: str, label: str, version: str | None) -> Plan:
    """What lets a label point to another version, or takes it away where that is None.

    Raises:
        VersionNotFound: there is no such version.
        LockError: the label has a name that none may have.
    """
    if label in ("worktree", "git", "sha256"):
        raise PromptError(f"{label} means something else in a reference; give the label another name")
    if version is not None:
        version = prompts.get(f"{name}@{version}").version
        if version is None:
            raise PromptError(f"{name} has no version there\n  add to its front matter: version: 1.0.0")
    old = prompts.labels.get(name, {}).get(label)
    if old == version:
        return Plan((f"{name}: {label} is {version or 'not there'} already",))
    edit = _edit(prompts, LABELS, with_label(raw_text(prompts, LABELS), name, label, version))
    return Plan((f"{name}: {label} {old or 'nothing'} -> {version or 'nothing'}",), (edit,))


def rolled_back(prompts: PromptRepository, name: str, label: str) -> str:
    """Where a label pointed before it points where it does now.

    Raises:
        VersionNotFound: it has never pointed anywhere else, as far as commits tell.
        HistoryError: there is no repository.
    """
    now = prompts.labels.get(name, {}).get(label)
    before: list[str] = []
    for commit in reversed(prompts.history.commits_of(LABELS)):
        then = prompts.at(commit).labels.get(name, {}).get(label)
        if then == now:
            break  # From here on it was where it is now, or came back to it.
        before += [then] if then is not None else []
    if not before:
        raise VersionNotFound(
            f"as far as commits tell, {label} of {name} pointed nowhere else before {now}{prompts.reach()}\n"
            f"  to let it point elsewhere: pytest-agentops prompts label {name} {label} VERSION"
        )
    return before[-1]


def snapshot(prompts: PromptRepository) -> str:
    """The prompts as one JSON for production: what is at hand, and every version that a label points to.

    Raises:
        PromptError: a label points nowhere.
    """
    texts: dict[str, str] = {}

    def kept(text: str) -> str:
        from pytest_agentops.prompt import sha256

        digest = sha256(text)[:16]
        texts[digest] = text
        return digest

    versions: dict[str, dict[str, dict[str, str]]] = {}
    for name in prompts:
        prompt = prompts.at_hand(name)
        locked = prompts.locked.get(name)
        if locked is not None and locked.version == prompt.version and locked.digest != prompt.digest:
            raise PromptError(
                f"{name} is not what {prompt.version} is locked as, and production would get something else\n"
                f'  to give it a version of its own: pytest-agentops prompts bump {name} -m "why"'
            )
        wanted = {prompt.version, *prompts.labels.get(name, {}).values()} - {None}
        for version in sorted(filter(None, wanted)):
            state = prompt if version == prompt.version else prompts.get(f"{name}@{version}")
            files = {name: state.text, **{partial: state.source(partial) for partial in state.partials}}
            versions.setdefault(name, {})[version] = {each: kept(text) for each, text in files.items()}
    data = {
        "format": SNAPSHOT,
        "prompts": {name: kept(prompts.tree.text(name)) for name in prompts.tree.names()},
        "labels": {name: dict(each) for name, each in prompts.labels.items()},
        "versions": versions,
        "texts": dict(sorted(texts.items())),
    }
    return json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


# --- the check -------------------------------------------------------------------------------------------------------

Kind = Literal["broken", "owed bump", "reused version", "version", "lock", "label", "gone"]


@dataclass(frozen=True)
class Debt:
    """One thing that keeps a change of prompts from being merged."""

    name: str
    kind: Kind
    message: str
    remedy: str = ""
    """What to type."""
    path: str = field(default="", compare=False)


def check(
    prompts: PromptRepository, base: str | None = None, *, recorded: Recorded = lambda _name: ()
) -> Iterator[Debt]:
    """What is owed before this branch may be merged, compared with where it left the main one.

    Raises:
        HistoryError: the base is not there.
    """
    before = base_of(prompts, base)
    found = {name: _readable(prompts, name) for name in prompts}
    debts = [debt for name, prompt in found.items() for debt in _owing(prompts, before, name, prompt, recorded)]
    yield from debts
    owed = {debt.name for debt in debts}
    if not any(isinstance(prompt, str) for prompt in found.values()):
        yield from (debt for debt in _unlocked(prompts, before) if debt.name not in owed)  # A bump writes the lock.
    yield from _unpointed(prompts)


def _owing(
    prompts: PromptRepository, base: PromptRepository | None, name: str, prompt: Prompt | str, recorded: Recorded
) -> Iterator[Debt]:
    if isinstance(prompt, str):
        yield Debt(name, "broken", prompt, path=prompts.tree.place(name))
    elif prompt.version is None:
        yield Debt(name, "version", "it has no version", "add to its front matter: version: 1.0.0", prompt.path)
    else:
        yield from _owed(prompts, base, prompt, recorded)


def _readable(prompts: PromptRepository, name: str) -> Prompt | str:
    try:
        return prompts.at_hand(name)
    except PromptError as error:
        return str(error)


def _owed(
    prompts: PromptRepository, base: PromptRepository | None, prompt: Prompt, recorded: Recorded
) -> Iterator[Debt]:
    remedy = f'pytest-agentops prompts bump {prompt.name} -m "why"'
    version = Semver.parse(prompt.version or "0.0.0")
    old = _before(prompts, base, prompt.name)
    if old is not None and old.version is not None:
        revision = Revision(old, prompt)
        level = revision.level(recorded(prompt.name))
        due = Semver.parse(old.version).raised(level)
        if level != "none" and version < due:
            why = "; ".join(list(reasons(revision, level))[:3])
            claimed = "the version is still" if str(version) == old.version else "it claims"
            message = f"it owes a {level} bump to {due}, and {claimed} {version}: {why}"
            yield Debt(prompt.name, "owed bump", message, remedy, prompt.path)
            return
        if version < Semver.parse(old.version):
            message = f"it claims {version}, which is older than {old.version}"
            yield Debt(prompt.name, "version", message, remedy, prompt.path)
            return
    yield from _reused(base, prompt, remedy)


def _reused(base: PromptRepository | None, prompt: Prompt, remedy: str) -> Iterator[Debt]:
    """A version that the base has released with another digest."""
    if base is None or prompt.name not in base.history.changes(base.head):
        return
    change = base.states(prompt.name).get(str(prompt.version))
    then = base.readable(change) if change is not None else None
    if change is not None and then is not None and then.digest != prompt.digest:
        message = (
            f"{prompt.version} was released in {change.commit.short} of {change.commit.date:%Y-%m-%d} as something else"
        )
        yield Debt(prompt.name, "reused version", message, remedy, prompt.path)


def _unlocked(prompts: PromptRepository, base: PromptRepository | None) -> Iterator[Debt]:
    try:
        locked = prompts.locked
    except PromptError as error:
        yield Debt(LOCK, "lock", str(error).partition("\n")[0], "pytest-agentops prompts lock")
        return
    current = prompts.current()
    released = _locked(base) if base is not None else {}
    for name in sorted({*locked, *current}):
        was, now, then = locked.get(name), current.get(name), released.get(name)
        if then is not None and now is not None and now.version and then.version == now.version and then != now:
            message = f"it is not what {now.version} is locked as, and a version stays what it is"
            yield Debt(name, "owed bump", message, f'pytest-agentops prompts bump {name} -m "why"')
        elif was != now:
            what = (
                "is not in the lock"
                if was is None
                else "is gone, and in the lock"
                if now is None
                else "is not what the lock says"
            )
            yield Debt(name, "lock", what, "pytest-agentops prompts lock", str(prompts.folder / LOCK))


def _unpointed(prompts: PromptRepository) -> Iterator[Debt]:
    try:
        labels = prompts.labels
    except PromptError as error:
        yield Debt(LABELS, "label", str(error))
        return
    for name, each in labels.items():
        for label, version in each.items():
            yield from _pointed(prompts, name, label, version)


def _pointed(prompts: PromptRepository, name: str, label: str, version: str) -> Iterator[Debt]:
    remedy, path = f"pytest-agentops prompts label {name} {label} VERSION", str(prompts.folder / LABELS)
    try:
        prompts.resolve(normal_name(name), version)
    except PromptNotFound as error:
        first, *_, last = str(error).splitlines()
        shallow = "git fetch" in last
        message = f"the label {label} points to {version}, which is not there: {first}"
        yield Debt(name, "label", message + f" ({last.strip()})" * shallow, "" if shallow else remedy, path)
    except PromptError:
        pass  # It is broken, which is told by itself.
    else:
        if name not in prompts.tree.names():
            delete = f"pytest-agentops prompts label {name} {label} --delete"
            yield Debt(name, "label", f"the label {label} points to a prompt that is gone", delete, path)
