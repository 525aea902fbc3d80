"""The prompts folder: finds a prompt by name, at a version, a label, a digest or a commit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.body import checked_partial, partial_body
from pytest_agentops.document import FRONT_MATTER
from pytest_agentops.errors import HistoryError, PromptError, PromptNotFound, VersionNotFound, did_you_mean
from pytest_agentops.history import ENDING, Change, History, Ref
from pytest_agentops.prompt import Prompt, normal_name, sha256
from pytest_agentops.revision import Revision
from pytest_agentops.trees import (
    CommitTree,
    EditedTree,
    MappingTree,
    Tree,
    WorkingTree,
    decoded_or_not,
    is_partial,
    read_snapshot,
)
from pytest_agentops.versions import LABELS, LOCK, Locked, Semver, is_range, is_semver, newest, read_labels, read_lock

if TYPE_CHECKING:
    from pytest_agentops.releases import Plan

_VERSION_LINE = re.compile(r"^version:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)


@dataclass(frozen=True)
class Version:
    """One version of a prompt, in its newest state."""

    version: str
    digest: str
    commit: str
    """The name of the commit that has it."""
    date: datetime
    author: str
    message: str
    """The first line of the commit's message."""


overrides: dict[Path, PromptRepository] = {}
"""For a folder, by its whole path, who answers instead of its working tree: while a test runs with other versions."""


class PromptRepository:
    """The prompts of a folder: as they stand in the working tree, or as they were at a commit.

    It may be used from several threads at once.

    Example:
        ```python
        prompts = PromptRepository("prompts")
        prompts["support/agent"].render(company="ACME")
        prompts.get("support/agent@1.2.0"), prompts.get("support/agent@production")
        ```
    """

    def __init__(
        self, folder: str | Path, *, tree: Tree | None = None, pins: Callable[[], Mapping[str, str]] | None = None
    ) -> None:
        """The prompts of this folder; `pins` says which version a name alone means, and is asked each time."""
        self.folder = Path(folder)
        self.tree: Tree = tree if tree is not None else WorkingTree(self.folder)
        self._pins = pins or dict
        self._parsed: dict[str, Prompt] = {}
        self._elsewhere: dict[str, PromptRepository] = {}
        self._snapshot: Mapping[str, Any] = {}

    @classmethod
    def from_snapshot(cls, path: str | Path) -> PromptRepository:
        """The prompts that `pytest-agentops prompts snapshot` has written; git is not needed.

        Raises:
            PromptError: it is no snapshot, or cannot be read.
        """
        try:
            data = read_snapshot(Path(path).read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise PromptError(f"{path} cannot be read: {error}") from error
        texts = {name: data["texts"][digest] for name, digest in data["prompts"].items()}
        made = cls(path, tree=MappingTree(texts, str(path)))
        made._snapshot = data
        return made

    def __getitem__(self, name: str) -> Prompt:
        """The prompt of this name.

        Raises:
            PromptNotFound: there is none; the message names the nearest.
            PromptSyntaxError: its file cannot be understood.
        """
        if "@" in name:
            raise PromptNotFound(f"{name!r} is a reference and no name\n  write get({name!r})")
        name = normal_name(name)
        answering = self._answering()
        pinned = answering._pins().get(name)
        return answering.at_hand(name) if pinned is None else answering.resolve(name, pinned)

    def _answering(self) -> PromptRepository:
        """Who answers for the working tree: itself, or what a test that runs now has put in its place."""
        if not overrides or not isinstance(self.tree, WorkingTree):
            return self
        return overrides.get(self.folder.resolve(), self)

    def get(self, reference: str, *, key: str | None = None) -> Prompt:
        """The prompt that a reference means.

        `support/triage` is the prompt at hand, `@1.3.0` a version, `@^1.2` the newest of several, `@production` where a
        label points, `@git:HEAD~3` a commit, `@sha256:ab12cd34` a digest, `@worktree` the working tree.

        Alternatives stand between bars, each but one with its share: `x@production|x@staging:10%` gives one in ten keys
        the second. Which keys these are depends on the key and the prompts' names alone. Where one alternative has a
        share, those who have it keep it when it grows; of several, the first ones keep theirs.

        Raises:
            PromptNotFound: there is no such prompt.
            VersionNotFound: there is no such version of it; the message names those that there are.
            PromptError: the reference or its shares mean nothing, or alternatives without a `key`.
        """
        chosen = _alternative(reference, key)
        name, at, wanted = chosen.partition("@")
        return self._answering().resolve(normal_name(name), wanted) if at else self[name]

    def at(self, ref: str) -> PromptRepository:
        """The prompts as they were at a commit; the working tree is not touched.

        Raises:
            HistoryError: there is no git repository, or no such commit in it.
        """
        if ref not in self._elsewhere:
            tree = CommitTree(self.history, ref)
            made = self._elsewhere.get(tree.sha) or PromptRepository(self.folder, tree=tree)
            if tree.sha.startswith(ref):  # A branch moves on; a commit stays.
                self._elsewhere[ref] = made
            self._elsewhere[tree.sha] = made
            return made
        return self._elsewhere[ref]

    def edited(self, texts: Mapping[str, str]) -> PromptRepository:
        """The same prompts with these texts, by name, in place of their files, and with those that are new."""
        return PromptRepository(self.folder, tree=EditedTree(self.tree, texts))

    def __iter__(self) -> Iterator[str]:
        """The names of all prompts, sorted; partials, whose folder begins with an underscore, are none."""
        return (name for name in self.tree.names() if not is_partial(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in list(self)

    def __repr__(self) -> str:
        at = f" at {self.tree.ref}" if isinstance(self.tree, CommitTree) else ""
        return f"PromptRepository({str(self.folder)!r}{at})"

    # --- versions ----------------------------------------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The folder in git.

        Raises:
            HistoryError: there is no repository, or no git.
        """
        if isinstance(self.tree, MappingTree):
            raise HistoryError(f"{self.folder} is a snapshot, which has no history")
        return self.tree.history if isinstance(self.tree, CommitTree) else self._history

    @cached_property
    def _history(self) -> History:
        return History(self.folder)

    @property
    def head(self) -> str:
        """The commit whose prompts these are; `HEAD` for the working tree."""
        return self.tree.sha if isinstance(self.tree, CommitTree) else "HEAD"

    def log(self, name: str) -> tuple[Change, ...]:
        """What commits did to a prompt's file, the newest first, those before it was moved here included.

        Raises:
            PromptNotFound: no commit knows of it.
            HistoryError: there is no repository, or no commit in it.
        """
        name = normal_name(name)
        found = tuple(self.history.of(name, self.head))
        if not found:
            known = self.history.changes(self.head)
            raise PromptNotFound(
                f"no commit knows of a prompt {name!r}{did_you_mean(name, known)}{self.history.how_far()}"
            )
        return found

    def versions(self, name: str) -> tuple[Version, ...]:
        """The versions of a prompt that commits know of, the newest first; one that is not committed is none.

        Raises:
            PromptNotFound: no commit knows of it.
            HistoryError: there is no repository, or no commit in it.
        """
        states = self._all_states(normal_name(name)).items()
        found = [(self._then(change), change.commit, version) for version, change in states]
        return tuple(
            Version(version, prompt.digest, commit.sha, commit.date, commit.author, commit.message)
            for prompt, commit, version in sorted(found, key=lambda each: Semver.parse(each[2]), reverse=True)
        )

    def refs(self, *, most: int = 60) -> Iterator[Ref]:
        """What commits of this repository can be called: branches, tags, versions of prompts, the commits before HEAD.

        Raises:
            HistoryError: there is no repository, or no commit in it.
        """
        yield from self.history.refs()
        states = [
            Ref(change.commit.short, "version", change.commit, f"{name} {version}")
            for name in self.history.changes(self.head)
            if not is_partial(name)
            for version, change in self._all_states(name).items()
        ]
        yield from sorted(states, key=lambda ref: ref.commit.date, reverse=True)[:most]

    def references(self, name: str) -> Mapping[str, str]:
        """What can stand behind the `@` of a prompt, each as people call it: labels, versions, branches and the like.

        Where there is no git, or nothing of this prompt in it, the working tree is all there is.
        """
        found = {"worktree": "the working tree"}
        versions = self.states(name)
        if versions:
            found["git:HEAD"] = "the last commit"
        with suppress(PromptError):  # A file of labels that cannot be read is told by `prompts check`.
            found |= {label: f"{label} ({version})" for label, version in self.labels.get(name, {}).items()}
        found |= {version: version for version in versions}
        if versions:
            branches = (ref.name for ref in self.history.refs() if ref.kind == "branch")
            found |= {f"git:{branch}": f"branch {branch}" for branch in branches}
        return found

    def _all_states(self, name: str) -> Mapping[str, Change]:
        """The newest change that has each version."""
        return self._states_by_sha(self.history.commit(self.head), name)

    @lru_cache(maxsize=1024)  # noqa: B019 - a repository lives as long as its program
    def _states_by_sha(self, sha: str, name: str) -> Mapping[str, Change]:
        found: dict[str, Change] = {}
        for change in tuple(self.history.of(name, sha)) or self.log(name):
            if (version := self._version_of(change)) is not None:
                found.setdefault(version, change)
        return found

    def _version_of(self, change: Change) -> str | None:
        """The version that a file claimed, without reading the rest of it."""
        if change.blob is None:
            return None
        head = FRONT_MATTER.match(decoded_or_not(self.history.read(change.blob)[:100_000]))
        if head is None:
            return None
        said = _VERSION_LINE.search(head[1])
        version = said[1] if said else _version_in(head[1])
        return version if version and is_semver(version) else None

    def _then(self, change: Change) -> Prompt:
        """The prompt as this change left it, with the partials of that commit."""
        here = change.path.removeprefix(self.history.prefix)
        if change.path.startswith(self.history.prefix):
            return self.at(change.commit.sha).at_hand(here.removesuffix(ENDING))
        return self._from_elsewhere(change)

    def _from_elsewhere(self, change: Change) -> Prompt:
        """The prompt as it was in another folder; its partials are looked for in the folders above it."""
        commit, path = change.commit.sha, Path(change.path)

        def source(name: str) -> str:
            for folder in path.parents:
                blob = self.history.everything(commit).get((folder / f"{name}{ENDING}").as_posix())
                if blob is not None:
                    return decoded_or_not(self.history.read(blob))
            raise PromptNotFound(f"there is no {name!r} in the folders above {path} at {commit[:9]}")

        assert change.blob is not None
        text = decoded_or_not(self.history.read(change.blob))
        return Prompt.parse(path.stem, text, path=f"{path}@{commit[:9]}", source=source)

    def diff(self, name: str, a: str, b: str = "worktree") -> Revision:
        """What changed of a prompt between two of its states; `a` and `b` are what stands behind an `@`.

        Raises:
            PromptNotFound: one of them is not there.
        """
        return Revision(self.resolve(normal_name(name), a), self.resolve(normal_name(name), b))

    def bump(self, name: str, *, message: str) -> Plan:
        """What gives a prompt the version that its changes owe; `plan.apply()` carries it out.

        Raises:
            PromptError: nothing changed, or there is no message.
        """
        from pytest_agentops.releases import bump

        if not message.strip():
            raise PromptError(f"a bump says why: bump({name!r}, message=...)")
        return bump(self, [normal_name(name)], message)[0]

    # --- what the folder says of itself ------------------------------------------------------------------------------

    @property
    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """Which version each label of each prompt points to.

        Raises:
            LockError: `labels.toml` cannot be understood.
        """
        if self._snapshot:
            return self._snapshot["labels"]  # type: ignore[no-any-return]
        return read_labels(self.tree.file(LABELS), str(self.folder / LABELS))

    @property
    def locked(self) -> Mapping[str, Locked]:
        """What `prompts.lock` says.

        Raises:
            LockError: it cannot be understood.
        """
        return read_lock(self.tree.file(LOCK), str(self.folder / LOCK))

    def current(self) -> dict[str, Locked]:
        """What the lock would say of the files as they are.

        Raises:
            PromptSyntaxError: one of them cannot be understood.
        """
        found = {}
        for name in self.tree.names():
            if is_partial(name):
                found[name] = Locked(
                    None, f"sha256:{sha256(checked_partial(self.tree.text(name), self.tree.place(name)))}"
                )
            else:
                prompt = self.at_hand(name)
                found[name] = Locked(prompt.version or "0.0.0", prompt.digest)
        return found

    # --- finding one -------------------------------------------------------------------------------------------------

    def at_hand(self, name: str) -> Prompt:
        """The prompt of this name, whatever version a test may have named.

        Raises:
            PromptNotFound: there is none; the message names the nearest.
            PromptSyntaxError: its file cannot be understood.
        """
        text = self.tree.text(name)
        known = self._parsed.get(name)
        if known is not None and known.text == text and (self.tree.frozen or self._includes_the_same(known)):
            return known
        made = Prompt.parse(name, text, path=self.tree.place(name), source=self.tree.text)
        made.check_name()
        self._parsed[name] = made
        return made

    def _includes_the_same(self, prompt: Prompt) -> bool:
        try:
            return all(partial_body(self.tree.text(name)) == body for name, body in prompt.partials.items())
        except PromptError:
            return False

    def resolve(self, name: str, wanted: str) -> Prompt:
        """The prompt that a reference means; `wanted` is what stands behind its `@`.

        Raises:
            PromptNotFound: there is no such prompt.
            VersionNotFound: there is no such version of it.
            PromptError: what is wanted means nothing.
        """
        if wanted in ("", "worktree"):
            return self.at_hand(name)
        kind, colon, rest = wanted.partition(":")
        if colon and kind == "git":
            then = self.at(rest)
            return then.at_hand(self.name_at(then, name))
        if colon and kind == "sha256":
            return self._by_digest(name, rest)
        if is_semver(wanted):
            return self._by_version(name, wanted)
        if is_range(wanted):
            return self._by_version(name, self._newest(name, wanted))
        if not re.fullmatch(r"[A-Za-z][\w-]*", wanted):
            raise PromptError(
                f"@{wanted} means nothing: a version is 1.2.0, ^1.2 or ~1.2, a label its name, a commit git:REF, "
                "a digest sha256:..."
            )
        return self._by_version(name, self._labelled(name, wanted))

    def name_at(self, then: PromptRepository, name: str) -> str:
        """What a prompt was called at a commit, where it has been renamed since; its name where it was not."""
        names = then.tree.names()
        if name in names:
            return name
        renamed = {} if isinstance(self.tree, CommitTree) else self.history.renamed_since(then.head)
        if renamed.get(name) in names:
            return renamed[name]
        for change in self.history.of(name, self.head):
            before = change.path.removeprefix(self.history.prefix).removesuffix(ENDING)
            if before in names:
                return before
        return name

    def _by_version(self, name: str, version: str) -> Prompt:
        if self._snapshot:
            return self._from_snapshot(name, version)
        change = self._newest_with(name, version)
        if change is not None:
            return self._then(change)
        at_hand = self.at_hand(name) if name in self.tree.names() else None
        if at_hand is not None and at_hand.version == version:
            return at_hand
        raise VersionNotFound(self._no_version(name, version))

    def _newest_with(self, name: str, version: str) -> Change | None:
        try:
            changes = self.history.of(name, self.head)
            return next((change for change in changes if self._version_of(change) == version), None)
        except HistoryError:
            return None

    def states(self, name: str) -> Mapping[str, Change]:
        """The versions that commits know of; none where there is no git, or nothing of this prompt in it."""
        try:
            return self._all_states(name)
        except (HistoryError, PromptNotFound):
            return {}

    def _no_version(self, name: str, version: str) -> str:
        known = self._snapshot.get("versions", {}).get(name, ()) if self._snapshot else self.states(name)
        if not known and name not in self.tree.names():
            self.tree.text(name)  # It says that there is no such prompt at all.
        there = ", ".join(sorted(known, key=Semver.parse, reverse=True)) or "none that is committed"
        far = "" if self._snapshot else self.reach()
        return f"{name} has no version {version}\n  there are: {there}{far}"

    def reach(self) -> str:
        """The end of a message about a version that is not here: how far the history goes."""
        try:
            return self.history.how_far()
        except HistoryError as error:
            return f"\n  {str(error).splitlines()[0]}"

    def _newest(self, name: str, wanted: str) -> str:
        known = self._snapshot["versions"].get(name, {}) if self._snapshot else self.states(name)
        at_hand = self.at_hand(name).version if name in self.tree.names() else None
        found = newest(wanted, [*known, *([at_hand] if at_hand else [])])
        if found is None:
            raise VersionNotFound(self._no_version(name, wanted))
        return found

    def _labelled(self, name: str, label: str) -> str:
        labels = self.labels.get(name, {})
        if label not in labels:
            where = self.folder if self._snapshot else self.folder / LABELS
            raise VersionNotFound(
                f"{name} has no label {label!r}{did_you_mean(label, labels)}\n"
                f"  {where} has: {', '.join(f'{each} = {version}' for each, version in labels.items()) or 'none'}\n"
                f"  to set it: pytest-agentops prompts label {name} {label} VERSION; a branch is written git:{label}"
            )
        return labels[label]

    def _by_digest(self, name: str, digits: str) -> Prompt:
        if not re.fullmatch(r"[0-9a-f]{8,64}", digits):
            raise PromptError(f"sha256:{digits} is no digest; write at least its first eight digits")
        digest = f"sha256:{digits}"
        if name in self.tree.names() and (at_hand := self.at_hand(name)).digest.startswith(digest):
            return at_hand
        for change in () if self._snapshot else self.log(name):
            if change.blob is not None and (then := self.readable(change)) and then.digest.startswith(digest):
                return then
        raise VersionNotFound(f"no state of {name} has the digest {digest}")

    def readable(self, change: Change) -> Prompt | None:
        """The prompt as a change left it; None where it was broken then."""
        try:
            return self._then(change)
        except PromptError:  # It was broken then.
            return None

    def _from_snapshot(self, name: str, version: str) -> Prompt:
        kept = self._snapshot["versions"].get(name, {}).get(version)
        if kept is None:
            raise VersionNotFound(self._no_version(name, version))
        tree = MappingTree({each: self._snapshot["texts"][digest] for each, digest in kept.items()}, str(self.folder))
        return Prompt.parse(name, tree.text(name), path=tree.place(name), source=tree.text)


def _version_in(front_matter: str) -> str | None:
    """The version in front matter of an unusual form."""
    import yaml

    try:
        data = yaml.safe_load(front_matter) if "version" in front_matter and "<<" not in front_matter else None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    return str(data["version"]) if isinstance(data, dict) and "version" in data else None


def _alternative(reference: str, key: str | None) -> str:
    """The one of several alternatives that a key gets."""
    alternatives = reference.split("|")
    shared = [_share(each) for each in alternatives]
    if len(alternatives) == 1 and shared[0][1] is None:
        return reference
    if key is None:
        raise PromptError(f"{reference!r} has alternatives; say whose prompt it is: get({reference!r}, key=user_id)")
    open_ones = [each for each, share in shared if share is None]
    total = sum(share for _, share in shared if share is not None)
    if len(open_ones) != 1 or total > 100:
        raise PromptError(f"{reference!r}: each alternative but one has a share, such as 10%, and all are 100% at most")
    names = "|".join(sorted({each.partition("@")[0] for each, _ in shared}))
    place = int.from_bytes(hashlib.sha256(f"{names}\0{key}".encode()).digest()[:8], "big") / 2**64 * 100
    for each, share in shared:
        if share is not None:
            if place < share:
                return each
            place -= share
    return open_ones[0]


def _share(alternative: str) -> tuple[str, float | None]:
    found = re.fullmatch(r"(.+):(\d{1,3}(?:\.\d+)?)%", alternative.strip())
    return (found[1], float(found[2])) if found else (alternative.strip(), None)
