"""Prompts in git: against the git command line doing the same, in a repository of 200 prompts and 1,000 commits.

The history of every prompt against one `git log --raw` of the same files; a warm read of one version and a render in
milliseconds; a thousand reads from four threads, all of which must be what was asked for; and how soon a body that
would grow without bound is refused.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_agentops.errors import PromptError
from pytest_agentops.history import History
from pytest_agentops.prompt import Prompt
from pytest_agentops.repository import PromptRepository

_PROMPTS, _COMMITS = 200, 1_000
_HOSTILE = ("{{ 'a' * 10**9 }}", "{{ ''.__class__.__mro__ }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")


def lines() -> Iterator[str]:
    """The figures, line by line."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        versions = _repository(root)
        raw = ["git", "-C", name, "log", "--raw", "-z", "--no-abbrev", "-M", "HEAD", "--", "prompts"]
        floor = _median(lambda: subprocess.run(raw, capture_output=True, check=True))
        ours = _median(lambda: History(root / "prompts").changes())
        ratio = f"git log --raw {floor * 1000:.1f} ms; {ours / floor:.2f}x"
        yield f"history of every prompt   {ours * 1000:7.1f} ms; {ratio}"

        prompts = PromptRepository(root / "prompts")
        references = [f"p{number}@{version}" for number, version in versions]
        for reference in references:
            prompts.get(reference)
        warm = _each(lambda: [prompts.get(reference) for reference in references[:200]], 200)
        yield f"a warm read of a version  {warm * 1000:7.3f} ms"
        prompt = prompts["p0"]
        render = _each(lambda: [prompt.messages(company="ACME", question="Where is it?") for _ in range(200)], 200)
        yield f"rendering                 {render * 1000:7.3f} ms"

        wanted = random.Random(1).choices(versions, k=1_000)
        fresh = PromptRepository(root / "prompts")
        with ThreadPoolExecutor(4) as pool:
            began = time.perf_counter()
            read = list(pool.map(lambda each: fresh.get(f"p{each[0]}@{each[1]}"), wanted))
            took = time.perf_counter() - began
        right = sum(
            (each.name, each.version) == (f"p{number}", version)
            for each, (number, version) in zip(read, wanted, strict=True)
        )
        yield f"1,000 reads, four threads {took * 1000:7.1f} ms; {right:,} right"

    for body in _HOSTILE:
        yield f"refused in                {_each(lambda body=body: _refused(body), 1) * 1000:7.3f} ms: {body[:40]}"  # type: ignore[misc]


def _repository(root: Path) -> list[tuple[int, str]]:
    """A repository; gives the prompts' numbers with the versions that each has."""
    who = {"GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_EMAIL": "a@x"}
    stream, made = [], []
    for commit in range(_COMMITS):
        number, version = commit % _PROMPTS, f"1.{commit // _PROMPTS}.0"
        made.append((number, version))
        text = (
            f"---\nname: p{number}\nversion: {version}\ninputs: {{company: string, question: string}}\n---\n"
            f"system:\nYou work for {{{{ company }}}}, take {commit}.\nuser:\n{{{{ question | untrusted }}}}\n"
        )
        files = f"M 100644 inline prompts/p{number}.prompty\ndata {len(text)}\n{text}\n"
        stream.append(f"commit refs/heads/main\ncommitter a <a@x> {1_700_000_000 + commit} +0000\ndata 1\nx\n{files}\n")
    run: Callable[..., object] = lambda *arguments, **more: subprocess.run(  # noqa: E731
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, env={**os.environ, **who}, **more
    )
    run("init", "-q", "-b", "main")
    run("fast-import", "--quiet", input="".join(stream).encode())
    run("reset", "-q", "--hard")
    return made


def _refused(body: str) -> None:
    try:
        Prompt.parse("p", f"user:\n{body}", path="p", source=str).messages()
    except PromptError:
        return
    raise AssertionError(body)


def _median(work: Callable[[], object], times: int = 7) -> float:
    return statistics.median(_each(work, 1, 1) for _ in range(times))


def _each(work: Callable[[], object], count: int, times: int = 5) -> float:
    """The shortest time of one of `count` things that the work does."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best / count
