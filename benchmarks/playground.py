"""The playground: how long a large run takes beside its ideal, and how long a click takes meanwhile.

4 prompts x 3 models x 25 inputs are 300 questions of 200 ms to a server in a process of its own; the ideal is what they
take at that many at once where nothing else costs anything. The goal is at most 1.3 times that. Then the same run is
watched in Chromium, where it is installed, and somebody clicks: the goal is an answer within 300 ms. At last a list of
10,000 recorded runs and the waterfall of one of 2,000 steps are opened there; the goals are one second and two.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.sessions import cassette, record
from pytest_agentops.datasets import Case
from pytest_agentops.experiment import Experiment, Variant
from pytest_agentops.laboratory import Laboratory
from pytest_agentops.sessions import RunIndex
from pytest_agentops.settings import read_settings

_LATENCY = 0.2
_SERVER = """
import sys, time
from pytest_agentops.testing import Says, ScriptedModel
with ScriptedModel(lambda request: Says("An answer of nine words to " + request.prompt, latency=0.2)) as model:
    print(model.base_url, flush=True)
    sys.stdin.read()
"""

# Clicks the head of a column, and gives the milliseconds until it says that it is the reference. It is measured in the
# page, since who looks from outside looks every now and then only.
_CLICK = """head => new Promise(done => {
  const began = performance.now(), root = head.getRootNode(), name = head.dataset.part;
  const timer = setInterval(() => {
    if (!root.querySelector(`[data-part="${name}"] .chip-on`) && performance.now() - began < 10000) return;
    clearInterval(timer);
    done(performance.now() - began);
  }, 4);
  head.click();
})"""

# Clicks, and gives the milliseconds until something that can be picked is drawn, in whichever sheet of the page.
_SEEN = """([clicked, pick]) => new Promise(done => {
  const began = performance.now();
  const there = (root) => root.querySelector(`[data-pick^="${pick}"]`)
    || [...root.querySelectorAll("*")].some((each) => each.shadowRoot && there(each.shadowRoot));
  const timer = setInterval(() => {
    if (!there(document) && performance.now() - began < 60000) return;
    clearInterval(timer);
    done(performance.now() - began);
  }, 10);
  clicked.click();
})"""


def lines() -> Iterator[str]:
    """The figures, line by line."""
    with tempfile.TemporaryDirectory() as name, _server() as base:
        root = Path(name)
        _project(root, base)
        for at_once in (8, 16):
            yield from measured(root, prompts=4, models=3, inputs=25, at_once=at_once)
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if chromium is None:
            yield "no Chromium is installed: nothing was clicked"
            return
        yield from clicked(root, chromium)
        yield from opened(root, chromium, runs=10_000, steps=2_000)


def measured(root: Path, *, prompts: int, models: int, inputs: int, at_once: int) -> Iterator[str]:
    """How long so many questions take, beside their ideal."""
    laboratory = Laboratory(read_settings(root, environment={}))
    first = laboratory.begin(_experiment(1, 1, 1, 1))
    first.start()
    first.wait()  # The client is imported.
    run = laboratory.begin(_experiment(prompts, models, inputs, at_once))
    began = time.perf_counter()
    run.start()
    run.wait()
    took = time.perf_counter() - began
    count = len(run.outcome().trials)
    assert run.outcome().count["done"] == count
    ideal = math.ceil(count / at_once) * _LATENCY
    yield f"{count} questions, {at_once} at once  {took:.2f} s   ideal {ideal:.2f} s   {took / ideal:.2f}x"


def clicked(root: Path, chromium: str) -> Iterator[str]:
    """How long the page takes to answer clicks while such a run fills it."""
    with _playground(root) as url, _page(chromium) as page:
        page.goto(f"{url}/?plan={_experiment(4, 3, 25, 8).to_link()}")
        page.get_by_test_id("stBaseButton-primary").click()
        page.get_by_text(re.compile(r"^\d+ of 300 answered")).wait_for()
        page.locator(".grid").wait_for()
        took = []
        for number in range(1, 11):
            took.append(page.locator(f'[data-part="head{number}"]').evaluate(_CLICK) / 1000)
            page.wait_for_timeout(150)
        count = page.get_by_text(re.compile(r"^\d+ of 300 answered")).inner_text()
        page.get_by_text("Stop", exact=True).click()
        yield (
            f"a click while it runs  median {1000 * statistics.median(took):,.0f} ms, "
            f"longest {1000 * max(took):,.0f} ms   (at the end: {count.partition(',')[0]})"
        )


def opened(root: Path, chromium: str, *, runs: int, steps: int) -> Iterator[str]:
    """How long it takes to see a list of so many runs, and the waterfall of one with so many steps."""
    record(root, runs)
    long = root / "tests" / "cassettes" / "test_long" / "test_long.yaml"
    long.parent.mkdir(parents=True)
    long.write_text(cassette(1, steps), encoding="utf-8")
    with RunIndex(root) as index:
        for _ in index.refresh():
            pass
    with _playground(root) as url, _page(chromium) as page:
        page.goto(f"{url}/models")
        page.get_by_text("What recordings know").wait_for()
        page.wait_for_timeout(3000)  # What the first visit imports is there.
        for times in ("first", "again"):
            seconds = _until(page, page.get_by_role("link", name="Traces"), "run:")
            yield f"a list of {runs:,} runs, {times}  {seconds:.2f} s from the click"
            page.get_by_role("link", name="Models").click()
            page.get_by_text("What recordings know").wait_for()
        page.goto(f"{url}/traces?q=test_long")
        found = page.locator('[data-pick^="run:"]', has_text="test_long").first
        found.wait_for()
        page.wait_for_timeout(1000)
        yield f"the waterfall of {steps:,} steps  {_until(page, found, 'row:'):.2f} s from the click on its run"


def _until(page: Any, clicked: Any, pick: str) -> float:
    """Seconds from a click until something that can be picked so is on the page."""
    handle = clicked.element_handle()
    return float(page.evaluate(_SEEN, [handle, pick])) / 1000


def _experiment(prompts: int, models: int, inputs: int, at_once: int) -> Experiment:
    variants = tuple(Variant(f"p{p}", f"m{m}") for p in range(prompts) for m in range(models))
    cases = tuple(Case({"question": f"question {number}"}) for number in range(inputs))
    return Experiment(variants, cases, concurrency=at_once, limit=100.0)


def _project(root: Path, base: str) -> None:
    (root / "prompts").mkdir()
    for number in range(4):
        (root / "prompts" / f"p{number}.prompty").write_text(
            f"---\nversion: 1.0.0\ninputs:\n  question: {{kind: string}}\n---\nuser:\n{number}: {{{{ question }}}}\n"
        )
    tables = "".join(
        f"[tool.agentops.models.m{number}]\nbase_url = '{base}'\nprice = {{input = 1, output = 2}}\n"
        for number in range(3)
    )
    (root / "pyproject.toml").write_text(tables)


@contextmanager
def _server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate("")


@contextmanager
def _playground(root: Path) -> Iterator[str]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_agentops", "playground", "--no-browser", "--port", str(port)],
        cwd=root, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _page(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        browser.close()
