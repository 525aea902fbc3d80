"""The prompt files of a folder in git, at any commit: git itself is asked, through GitPython.

One `git log --raw` gives the history of every file, and a process that stays open gives their bytes. Each thread has
one of its own: one that is shared gives a thread what another one asked for.
"""

from __future__ import annotations

import os
import posixpath
import re
import secrets
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING, BinaryIO, Literal

from pytest_agentops.errors import HistoryError, did_you_mean
from pytest_agentops.kinds import ENDING as ENDING

if TYPE_CHECKING:
    import git

_NOTHING = "0" * 40
_ALWAYS = ("--literal-pathspecs", "-c", "log.showRoot=true")
"""So that neither the name of a folder nor somebody's settings change what is told."""
_RECORD = secrets.token_hex(16)
"""Stands before each commit in what git tells; no message has it in it."""
_REF_FORMAT = "%00".join(
    f"%({field})"
    for field in ("refname:short", "objectname", "*objectname", "creatordate:unix", "authorname", "contents:subject")
)
_FORMAT = f"--format={_RECORD}%H%x00%at%x00%an%x00%s"


@dataclass(frozen=True)
class Commit:
    """One commit of a repository."""

    sha: str
    date: datetime
    """When its author wrote it."""
    author: str
    message: str
    """The first line."""

    @property
    def short(self) -> str:
        """The beginning of its name."""
        return self.sha[:9]


@dataclass(frozen=True)
class Ref:
    """What a commit can be called."""

    name: str
    kind: Literal["branch", "tag", "commit", "version"]
    commit: Commit
    about: str = ""
    """For a version, the prompt and its version."""


@dataclass(frozen=True)
class Change:
    """What one commit did to one file."""

    commit: Commit
    path: str
    """Where the file was then, from the root of the repository."""
    blob: str | None
    """Its content then; None where the commit removed it."""
    was_at: str | None = None
    """Where it was before, where the commit moved it."""
    added: bool = False
    """Whether it was not there before, or moved here from outside of the folder."""


class History:
    """The prompts folder in git."""

    def __init__(self, folder: Path) -> None:
        """The history of this folder, which need not be there any more.

        Raises:
            HistoryError: it is in no git repository, or git is not installed.
        """
        self.folder = folder
        self._local = threading.local()
        start = next(parent for parent in (folder, *folder.parents) if parent.is_dir()).resolve()
        self._start = start
        repo = self._repo
        self.root = Path(repo.git_dir if repo.bare else str(repo.working_tree_dir)).resolve()
        missing = folder.resolve().relative_to(self.root) if folder.resolve().is_relative_to(self.root) else None
        if missing is None:
            raise HistoryError(f"{folder} is a link that leads out of its git repository {self.root}")
        self.prefix = "" if missing == Path() else f"{missing.as_posix()}/"
        """The path of the folder in the repository, with a slash at its end."""

    @property
    def _repo(self) -> git.Repo:
        found: git.Repo | None = getattr(self._local, "repo", None)
        if found is None:
            found = self._local.repo = _opened(self._start)
            # The garbage collector finalizes the parts of a cycle in any order, the child process before who ends it.
            weakref.finalize(found, found.git.clear_cache)
        return found

    @cached_property
    def shallow(self) -> bool:
        """Whether the clone has only the newest commits."""
        return (Path(self._repo.common_dir) / "shallow").exists()

    def commit(self, ref: str) -> str:
        """The name of the commit that a ref means.

        Raises:
            HistoryError: there is no such commit here.
        """
        if not ref or ref.startswith("-") or re.search(r"[\x00-\x20\x7f]", ref):
            raise HistoryError(f"{ref!r} is no name of a commit")
        if (sha := self._sha(ref)) is None:
            names = self._git("for-each-ref", "--format=%(refname:short)", or_else="").splitlines()
            raise HistoryError(f"there is no commit {ref!r} in {self.root}{did_you_mean(ref, names)}{self.how_far()}")
        return sha

    def _sha(self, ref: str) -> str | None:
        try:
            sha: object = self._repo.git.get_object_header(f"{ref}^{{commit}}")[0]
        except ValueError:
            return None
        return sha.decode() if isinstance(sha, bytes) else str(sha)

    @property
    def merging(self) -> bool:
        """Whether a merge has begun and is not committed."""
        return (Path(self._repo.git_dir) / "MERGE_HEAD").exists()

    @property
    def user(self) -> str:
        """Whom git takes for the author of the next commit; nobody where it was never told."""
        return self._git("config", "user.name", or_else="")

    def merge_base(self, ref: str, other: str) -> str:
        """The newest commit that both refs come from.

        Raises:
            HistoryError: there is none here, or one of them is no commit.
        """
        both = self.commit(ref), self.commit(other)
        found = self._git("merge-base", *both, or_else="")
        if not found:
            raise HistoryError(f"{ref} and {other} have no commit in common{self.how_far()}")
        return found

    def about(self, ref: str) -> Commit:
        """The commit that a ref means, with its author and date.

        Raises:
            HistoryError: there is no such commit here.
        """
        return _commit(self._git("log", "-1", _FORMAT, self.commit(ref)).removeprefix(_RECORD))

    def files(self, ref: str) -> Mapping[str, str]:
        """The files in the folder at a commit, by their path in it; the values name their contents.

        Raises:
            HistoryError: there is no such commit here.
        """
        return self._files(self.commit(ref))

    @lru_cache(maxsize=256)  # noqa: B019 - a history lives as long as its repository
    def _files(self, sha: str) -> Mapping[str, str]:
        listed = self._git("ls-tree", "-r", "-z", sha, "--", self.prefix or ".")
        found = {}
        for entry in filter(None, listed.split("\0")):
            about, _, path = entry.partition("\t")
            _, kind, blob = about.split(" ")
            if kind == "blob":
                found[path.removeprefix(self.prefix)] = blob
        return found

    @lru_cache(maxsize=4096)  # noqa: B019
    def read_at(self, sha: str, path: str) -> bytes | None:
        """The bytes of a file of the folder at a commit; None where it was not there, or a link out of the folder."""
        for _ in range(8):
            data = self._object_at(sha, path)
            # Only a short line may be the target of a link; what kind of file it is the listing knows.
            if data is None or len(data) > 1024 or b"\n" in data or not self._is_link(sha, path):
                return data
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), data.decode("utf-8", "replace")))
            if path.startswith(("../", "/")):
                return None
        return None

    def _object_at(self, sha: str, path: str) -> bytes | None:
        try:
            found: tuple[object, ...] = self._repo.git.get_object_data(f"{sha}:{self.prefix}{path}")
        except ValueError:
            return None
        _, kind, _, data = found
        return data if kind in (b"blob", "blob") and isinstance(data, bytes) else None

    def _is_link(self, sha: str, path: str) -> bool:
        return self._git("ls-tree", sha, "--", f"{self.prefix}{path}").startswith("120000")

    @lru_cache(maxsize=4096)  # noqa: B019
    def read(self, blob: str) -> bytes:
        """The bytes of a file, to the last one.

        Raises:
            HistoryError: the repository does not have them, as in a partial clone that is offline.
        """
        try:
            _, _, _, data = self._repo.git.get_object_data(blob)
        except ValueError as error:
            raise HistoryError(f"git has no object {blob} in {self.root}: {error}") from None
        return bytes(data)

    def whole(self, ref: str, *paths: str) -> Iterator[tuple[str, bytes]]:
        """The files of the whole repository at a commit that have these paths, or begin with one that ends in a slash.

        Raises:
            HistoryError: there is no such commit here.
        """
        for path, blob in self.everything(self.commit(ref)).items():
            if path in paths or path.startswith(tuple(each for each in paths if each.endswith("/"))):
                yield path, self.read(blob)

    @lru_cache(maxsize=4)  # noqa: B019
    def everything(self, sha: str) -> Mapping[str, str]:
        """All files of the repository at a commit, by their path from its root; the values name their contents."""
        entries = filter(None, self._git("ls-tree", "-r", "-z", sha).split("\0"))
        return {path: about.split(" ")[2] for about, _, path in (entry.partition("\t") for entry in entries)}

    def changes(self, ref: str = "HEAD") -> Mapping[str, tuple[Change, ...]]:
        """For each prompt file that there ever was, by its newest name, what commits did to it, the newest first.

        A file that was moved inside the folder keeps its history; `of` follows those that came from outside.

        Raises:
            HistoryError: there is no such commit here.
        """
        return self._changes(self.commit(ref))

    @lru_cache(maxsize=16)  # noqa: B019
    def _changes(self, sha: str) -> Mapping[str, tuple[Change, ...]]:
        found: dict[str, list[Change]] = {}
        newest: dict[str, str] = {}
        for change in self._logged(sha, self.prefix or "."):
            name = newest.get(change.path, change.path)
            found.setdefault(name, []).append(change)
            if change.was_at is not None:
                newest[change.was_at] = name
        return {
            path.removeprefix(self.prefix).removesuffix(ENDING): tuple(changes)
            for path, changes in found.items()
            if path.endswith(ENDING)
        }

    def of(self, name: str, ref: str = "HEAD") -> Iterator[Change]:
        """What commits did to one prompt, the newest first, before it came into the folder too.

        Raises:
            HistoryError: there is no such commit here.
        """
        last = None
        for last in self.changes(ref).get(name, ()):
            yield last
        while last is not None and last.added and (path := self._came_from(last.commit.sha, last.path)):
            # The commit itself moved it; what is told of it was told already.
            before = [change for change in self._logged(f"{last.commit.sha}^", path) if change.path == path]
            yield from before
            last = before[-1] if before else None

    @lru_cache(maxsize=4096)  # noqa: B019
    def _came_from(self, sha: str, path: str) -> str | None:
        """Where the file was that a commit seems to have added; None where it was nowhere."""
        told = self._git("show", "--raw", "-z", "--no-abbrev", "-M", "--diff-merges=first-parent", "--format=", sha)
        fields = iter(filter(None, told.split("\0")))
        for about in fields:
            status = about.rpartition(" ")[2]
            before = next(fields) if status[0] in "RC" else None
            if next(fields) == path:
                return before
        return None

    def _logged(self, sha: str, path: str) -> Iterator[Change]:
        logged = self._git(
            "log", "--raw", "-z", "--no-abbrev", "-M", "--diff-merges=first-parent", _FORMAT, sha, "--", path
        )
        for record in filter(None, logged.split(_RECORD)):
            head, _, rest = record.partition("\0\n")
            commit = _commit(head)
            fields = iter(filter(None, rest.split("\0")))
            for about in fields:
                *_, blob, status = about.lstrip("\n").split(" ")
                before = next(fields) if status[0] in "RC" else None
                path = next(fields)
                moved = before if status[0] == "R" else None
                yield Change(commit, path, None if blob == _NOTHING else blob, moved, status[0] in "AC")

    def commits_of(self, file: str) -> list[str]:
        """The commits that changed a file of the folder, the newest first."""
        return self._git("log", "--format=%H", "HEAD", "--", f"{self.prefix}{file}").splitlines()

    def changed_since(self, ref: str) -> list[str]:
        """The files that are not as they were at a commit, by their path from the root of the repository; new ones too.

        Raises:
            HistoryError: there is no such commit here.
        """
        changed = self._git("diff", "--name-only", "-z", self.commit(ref), "--")
        new = self._git("ls-files", "--others", "--exclude-standard", "-z")
        return sorted({*filter(None, changed.split("\0")), *filter(None, new.split("\0"))})

    def present(self) -> list[str]:
        """The files of the working tree that git knows of or would take, by their path from the root, sorted."""
        told = self._git("ls-files", "--cached", "--others", "--exclude-standard", "-z")
        return sorted(set(filter(None, told.split("\0"))))

    def renamed_since(self, ref: str) -> Mapping[str, str]:
        """The files of the folder that were elsewhere in it at a commit: their names now, with those of then.

        Raises:
            HistoryError: there is no such commit here.
        """
        told = self._git("diff", "--raw", "-z", "-M", self.commit(ref), "--", self.prefix or ".")
        fields = iter(filter(None, told.split("\0")))
        found = {}
        for about in fields:
            status = about.rpartition(" ")[2]
            path = next(fields)
            if status[0] in "RC":
                found[next(fields).removeprefix(self.prefix).removesuffix(ENDING)] = path.removeprefix(
                    self.prefix
                ).removesuffix(ENDING)
        return found

    def blame(self, path: str, ref: str | None = None) -> Iterator[tuple[Commit, int, str]]:
        """For each line of a file in the folder, the commit that wrote it, its number and its text.

        Raises:
            HistoryError: there is no such file at this commit, or in the working tree where no ref is given.
        """
        at = () if ref is None else (self.commit(ref),)
        told = self._git("blame", "--line-porcelain", *at, "--", f"{self.prefix}{path}")
        about: dict[str, str] = {}
        number = 0
        for line in told.split("\n"):
            if line.startswith("\t"):
                number += 1
                yield (
                    Commit(about["sha"], _date(about["author-time"]), about["author"], about.get("summary", "")),
                    number,
                    line[1:],
                )
                about = {}
            elif not about:
                about["sha"] = line.split(" ")[0]
            else:
                key, _, value = line.partition(" ")
                about[key] = value

    def refs(self, *, most: int = 30) -> Iterator[Ref]:
        """The branches, the tags and the commits before HEAD, of each the newest ones.

        Raises:
            HistoryError: there is no commit here.
        """
        self.commit("HEAD")
        places: tuple[tuple[Literal["branch", "tag"], tuple[str, ...]], ...] = (
            ("branch", ("refs/heads", "refs/remotes")),
            ("tag", ("refs/tags",)),
        )
        for kind, where in places:
            told = self._git(
                "for-each-ref", f"--count={most}", "--sort=-creatordate", f"--format={_REF_FORMAT}", *where
            )
            for line in filter(None, told.split("\n")):
                name, sha, peeled, date, author, subject = line.split("\0", 5)
                if not name.endswith("/HEAD"):
                    yield Ref(name, kind, Commit(peeled or sha, _date(date), author, subject))
        for fields in self._git("log", f"-{most}", _FORMAT, "HEAD").split(_RECORD)[1:]:
            commit = _commit(fields)
            yield Ref(commit.short, "commit", commit)

    @property
    def alone(self) -> bool:
        """Whether there is one branch here and no other repository that it could be compared with."""
        refs = self._git("for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes").splitlines()
        return len(refs) <= 1 and not self.shallow

    def branches(self) -> Iterator[str]:
        """What a change is compared with where nobody says it, the likeliest first; those that are here."""
        names = ["origin/main", "origin/master", "main", "master"]
        here = self._git("rev-parse", "--abbrev-ref", "HEAD", or_else="")
        # A shallow clone of one branch takes that one for the main one.
        if not (self.shallow and self._git("rev-parse", "--abbrev-ref", "origin/HEAD", or_else="") == f"origin/{here}"):
            names.insert(0, "origin/HEAD")
        yield from (ref for ref in names if self._sha(ref) is not None)

    # --- making a commit ---------------------------------------------------------------------------------------------

    @property
    def branch(self) -> str | None:
        """The branch that is checked out; None where a commit is, and no branch."""
        return self._git("symbolic-ref", "--quiet", "--short", "HEAD", or_else="") or None

    @property
    def heads(self) -> list[str]:
        """The names of the branches that are here, sorted."""
        return self._git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").splitlines()

    def check_new(self, branch: str) -> None:
        """See that a branch of this name can be made.

        Raises:
            HistoryError: it is there already, git takes no such name, or another branch is in its way.
        """
        odd = branch == "@" or branch.startswith(("-", "refs/")) or not branch.isprintable()
        if odd or not self._git("check-ref-format", "--branch", branch, or_else=""):
            raise HistoryError(
                f"{branch!r} is no name of a branch\n  write letters, digits, -, . and /, such as prompt/agent-1.3.0"
            )
        here = self.heads
        if branch in here:
            raise HistoryError(
                f"there is a branch {branch} already, and nothing is added to one that is there\n"
                f"  choose another name, or take it away: git branch -D {branch}"
            )
        for other in here:
            if branch.startswith(f"{other}/") or other.startswith(f"{branch}/"):
                raise HistoryError(f"there is a branch {other}, beside which git has no room for {branch}")

    def check_author(self) -> None:
        """See that git knows who commits.

        Raises:
            HistoryError: it does not; the message says what to type.
        """
        for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            if not self._git("-c", "user.useConfigOnly=true", "var", who, or_else=""):
                raise HistoryError(
                    "git does not know whose commit this would be\n"
                    '  tell it: git config user.name "Your Name" && git config user.email you@example.com'
                )

    def commit_to(self, branch: str, files: Mapping[str, bytes], message: str, *, parent: str) -> str:
        """The name of a new commit on `parent` with these files, by their path from the root, and a new branch at it.

        The working tree and the index stay as they are, whatever is in them. Hooks are not run, and nothing is signed.

        Raises:
            HistoryError: there is such a branch meanwhile, nobody is known to git, or a file is a link.
        """
        self.check_new(branch)
        self.check_author()
        with TemporaryDirectory(prefix="agentops-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self._git("read-tree", parent, env=index)
            for path, content in files.items():
                mode = self._git("ls-tree", parent, "--", path).partition(" ")[0] or "100644"
                if not mode.startswith("100"):
                    raise HistoryError(f"{path} is a link in git, and no file; write to what it leads to")
                blob = self._git("hash-object", "-w", "--no-filters", "--stdin", given=content)
                self._git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", env=index)
            tree = self._git("write-tree", env=index)
            written = ("-c", "user.useConfigOnly=true", "-c", "i18n.commitEncoding=utf-8")
            commit = self._git(*written, "commit-tree", tree, "-p", parent, "-F", "-", given=message.encode())
        # Against what has been said to be there, which is nothing: who makes the same branch meanwhile keeps theirs.
        no_hooks = ("-c", f"core.hooksPath={os.devnull}")  # There is one for refs alone.
        self._git(
            *no_hooks, "update-ref", "-m", "branch: made by pytest-agentops", f"refs/heads/{branch}", commit, _NOTHING
        )
        return commit

    def how_far(self) -> str:
        """The end of a message about what is not here: how far a shallow clone reaches, and how to get the rest."""
        if not self.shallow:
            return ""
        oldest = self._git("log", "--format=%h of %as", "HEAD", or_else="").splitlines()[-1:]
        reach = f", back to {oldest[0]}" if oldest else ""
        return f"\n  this clone is shallow{reach}; to get the rest: git fetch --unshallow (in CI: fetch-depth: 0)"

    def _git(
        self,
        command: str,
        *arguments: str,
        or_else: str | None = None,
        given: bytes | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        import git

        try:
            with _as_file(given) as stream:
                # The root of the repository, wherever the folder is: paths are told from there.
                return str(
                    self._repo.git.execute(
                        ["git", "-C", str(self.root), *_ALWAYS, command, *arguments],
                        istream=stream,
                        env=env,
                        strip_newline_in_stdout=False,
                    )
                ).removesuffix("\n")
        except git.GitCommandError as error:
            if or_else is not None:
                return or_else
            said = " ".join(str(error.stderr or error).split()).removeprefix("stderr: ").strip("' ")
            raise HistoryError(f"git {command} failed in {self.root}: {said}") from None


@contextmanager
def _as_file(given: bytes | None) -> Iterator[BinaryIO | None]:
    """What a command reads as its input: a real file, since no pipe holds it all."""
    if given is None:
        yield None
        return
    with TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        yield file


def _opened(start: Path) -> git.Repo:
    try:
        import git
    except ImportError as error:  # GitPython raises it where there is no git.
        raise HistoryError(f"git cannot be used: {str(error).strip().splitlines()[0]}; install git") from None
    try:
        return git.Repo(start, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError):
        raise HistoryError(
            f"{start} is in no git repository, so that there are no versions but that of the files\n"
            "  to begin one: git init && git add . && git commit"
        ) from None


def _commit(fields: str) -> Commit:
    sha, date, author, message = fields.split("\0", 3)
    return Commit(sha, _date(date), author, message.rstrip("\n\0"))


def _date(seconds: str) -> datetime:
    """The moment that git tells; the last one there is where a commit claims a later one."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)
