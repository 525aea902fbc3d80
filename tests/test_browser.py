"""The playground in a real browser, as a person uses it: compare, stop, edit, save, vote, look; and hostile text.

The server is the real command on a real git repository; the model is the scripted one of the public kit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_agentops.testing import Says, ScriptedModel, ScriptedRequest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.filterwarnings("default"),  # Playwright's and Streamlit's own.
]

PROMPT = """---
name: support/agent
version: {version}
inputs:
  company: {{kind: string}}
  ticket: {{kind: string, trust: untrusted}}
---
system:
You answer for {{{{ company }}}}. {wording}
user:
{{{{ ticket }}}}
"""
HOSTILE = (
    '<script>window.probed = "script"</script><img src="http://127.0.0.1:9/probe.png" onerror="window.probed=1">'
    '<a href="javascript:window.probed=2">here</a> ![x](http://127.0.0.1:9/probe.png) [l](http://127.0.0.1:9/l) '
    "**bold** :red[red] $x^2$ <svg onload=window.probed=3>"
)


class Playground:
    """The running app, and the page that somebody looks at."""

    def __init__(self, root: Path, url: str, page) -> None:
        self.root, self.url, self.page = root, url, page

    def visit(self, path: str = "/") -> None:
        self.page.goto(self.url + path)
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        self.page.wait_for_timeout(150)

    def press(self, name: str | re.Pattern[str]) -> None:
        self.page.get_by_role("button", name=name).first.click()
        self.settle()

    def says(self, text: str | re.Pattern[str]) -> None:
        self.page.get_by_text(text).first.wait_for()

    def git(self, *words: str) -> str:
        return git(self.root, *words)

    @property
    def answers(self) -> list[str]:
        return self.page.locator(".cell .cell-words").all_inner_texts()


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(["git", *who, *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout


def answer(request: ScriptedRequest) -> Says:
    """Two wordings of the prompt get two kinds of answers; one ticket is answered without an end, another is hostile."""
    system = str(request.body["messages"][0]["content"])
    if "endless" in request.prompt:
        return Says("and on " * 4000, pause=0.05)
    if "hostile" in request.prompt:
        return Says(f"{HOSTILE} to {request.prompt}")
    kind = "Gladly" if "kind" in system else "No"
    return Says(f"{kind}: {request.prompt} is looked into.", input_tokens=20, output_tokens=6, pause=0.01)


@pytest.fixture(scope="module")
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(answer) as model:
        yield model


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@contextmanager
def served(root: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The app on this folder, by the command that people type."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AGENTOPS_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_agentops", "playground", "--no-browser", "--port", str(free_port())],
        cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if "http://127.0.0.1:" in line:
                break
        url = re.findall(r"http://127\.0\.0\.1:\d+", said[-1])[0]
        drain = threading.Thread(target=process.stdout.read, daemon=True)
        drain.start()
        wait_for(url)
        yield url, process
    finally:
        process.terminate()
        process.wait(10)
        drain.join(10)
        process.stdout.close()


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(url: str) -> None:
    import urllib.request

    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the playground did not come up")


@pytest.fixture(scope="module")
def root(tmp_path_factory, model) -> Path:
    """A repository with a prompt in two versions, and a model."""
    root = tmp_path_factory.mktemp("shop")
    prompt = root / "prompts" / "support" / "agent.prompty"
    prompt.parent.mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        f"[tool.pytest.ini_options]\n[tool.agentops.models.local]\nbase_url = '{model.base_url}'\n"
        "price = {input = 10, output = 10}\n"
    )
    git(root, "init", "-q", "-b", "main")
    git(root, "config", "user.name", "Ada")
    git(root, "config", "user.email", "ada@example.org")
    for version, wording in (("1.0.0", "Be brief."), ("1.1.0", "Be kind.")):
        prompt.write_text(PROMPT.format(version=version, wording=wording))
        lock = [sys.executable, "-m", "pytest_agentops", "prompts", "lock"]
        subprocess.run(lock, cwd=root, check=True, capture_output=True)
        git(root, "add", ".")
        git(root, "commit", "-qm", f"support/agent {version}")
    return root


@pytest.fixture(scope="module")
def server(root) -> Iterator[str]:
    with served(root) as (url, _):
        yield url


@pytest.fixture
def app(server, root, browser) -> Iterator[Playground]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(40_000)
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.on("dialog", lambda dialog: elsewhere.append(f"dialog {dialog.message}"))
    yield Playground(root, server, page)
    context.close()
    assert [url for url in elsewhere if not url.startswith((server, "data:", "blob:"))] == []


def plan(
    *tickets: str,
    versions: tuple[str, ...] = ("1.0.0", "1.1.0"),
    model: str = "local",
    tokens: int | None = None,
    **changes: object,
) -> str:
    from pytest_agentops.datasets import Case
    from pytest_agentops.experiment import Experiment, Variant

    options = {"max_completion_tokens": tokens} if tokens else {}
    variants = tuple(Variant(f"support/agent@{version}", model, options) for version in versions)
    cases = tuple(Case({"company": "ACME", "ticket": each}, name=each[:20]) for each in tickets)
    return f"/?plan={Experiment(variants, cases, limit=5.0, **changes).to_link()}"  # type: ignore[arg-type]


def run(app: Playground, *tickets: str, **changes: object) -> None:
    app.visit(plan(*tickets, **changes))
    app.page.get_by_test_id("stBaseButton-primary").click()
    app.says(re.compile(r"^\d+ of \d+ answered"))


def finished(app: Playground, count: int) -> None:
    app.says(re.compile(rf"^{count} of {count} answered"))
    app.settle()


def test_two_versions_on_three_inputs_side_by_side_with_what_differs_and_again_after_a_reload(app):
    run(app, "My parcel", "My bill", "My account")
    finished(app, 6)

    assert app.answers[0] == "No: My parcel is looked into."
    assert app.page.locator(".cell del").first.inner_text() == "No:"
    assert app.page.locator(".cell ins").first.inner_text() == "Gladly:"
    heads = app.page.locator(".grid .column-head").all_inner_texts()
    assert ["1.0.0" in heads[0], "1.1.0" in heads[1], "26 tokens" in heads[0], "$0.0003" in heads[0]] == [True] * 4
    app.page.reload()
    app.settle()
    finished(app, 6)
    assert len(app.answers) == 6


def test_a_click_makes_a_cell_the_reference_and_the_row_is_compared_with_it(app):
    run(app, "My parcel", "My bill")
    finished(app, 4)

    second = app.page.locator('.cell[data-part="cell1-1"]')
    second.hover()
    second.locator(".cell-compare").click()
    app.settle()

    assert app.page.locator('[data-part="cell0-1"] ins').inner_text() == "No:"
    assert app.page.locator('[data-part="cell0-0"] ins').count() == 0


def test_only_what_differs_is_left_and_columns_can_be_hidden(app):
    run(app, "My parcel", versions=("1.1.0", "1.1.0"))
    finished(app, 2)

    app.page.get_by_text("Only what differs").click()
    app.settle()
    app.says("All variants say the same.")


def test_a_run_without_an_end_is_stopped_says_so_and_what_had_arrived_is_there(app):
    run(app, "endless story", "My bill", versions=("1.1.0",))
    app.page.locator(".cell.running .cell-words", has_text="and on and on").wait_for()
    app.press("Stop")

    app.says(re.compile("1 stopped"))
    stopped = app.page.locator(".cell.stopped")
    assert "it was stopped" in stopped.inner_text()
    assert "and on" in stopped.inner_text()
    assert app.page.get_by_role("button", name="Resume").is_visible()


def test_a_click_elsewhere_does_not_end_a_run(app):
    run(app, "endless story", *(f"ticket {number}" for number in range(5)), versions=("1.1.0",), concurrency=2)
    app.page.get_by_role("link", name="Models").click()
    app.settle()
    app.says("What recordings know")
    app.page.go_back()
    app.settle()

    app.page.get_by_text(re.compile(r"^5 of 6 answered, 1 running")).wait_for()
    app.press("Stop")


def test_an_answer_becomes_a_test_that_passes_and_a_case_of_a_dataset(app):
    run(app, "A strange case", versions=("1.1.0",))
    finished(app, 1)

    app.page.locator(".cell .cell-words").first.click()
    app.page.get_by_role("tab", name="Save as test").click()
    app.page.get_by_label("Test", exact=True).fill("test_a_strange_case")
    app.page.get_by_label("Test", exact=True).press("Enter")
    app.settle()
    app.press("Write the test and its cassette")
    app.says("pytest tests/test_support_agent.py::test_a_strange_case")
    app.page.get_by_role("tab", name="Save as case").click()
    app.press("Add it")
    app.says("Added to datasets/support/agent.jsonl")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "tests/test_support_agent.py"],
        cwd=app.root, env={**os.environ, "CI": "true", "OPENAI_API_KEY": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "A strange case" in (app.root / "datasets" / "support" / "agent.jsonl").read_text()


def test_a_prompt_is_edited_beside_its_effects_and_saved_as_a_version_on_a_branch(app):
    app.visit("/edit")
    app.page.get_by_role("textbox", name="company").fill("ACME")
    app.page.get_by_role("textbox", name="ticket").fill(HOSTILE)
    app.page.get_by_role("textbox", name="ticket").press("Tab")
    source = app.page.get_by_label("Source of support/agent")
    source.click()
    source.press("Control+End")
    app.page.keyboard.type("assistant:\nOne moment, {{ ticket")
    app.says("line 13: unexpected end of template, expected 'end of print statement'. Below is what could")
    app.page.keyboard.type(" }}!")
    app.page.locator(".message", has_text="One moment").locator(".untrusted", has_text="<script>").wait_for()
    assert app.page.locator(".editor .line.untidy").count() == 2

    before = app.git("status", "--porcelain")
    app.page.get_by_role("tab", name="Save as version").click()
    app.page.get_by_label("Why").fill(HOSTILE)
    app.press("Show what would be done")
    app.says("support/agent: 1.1.0 -> 1.2.0 (minor)")
    app.press("Commit to prompt/support-agent-1.2.0")
    app.says(re.compile(r"is commit [0-9a-f]+ on prompt/support-agent-1\.2\.0"))

    assert app.git("show", "prompt/support-agent-1.2.0:prompts/support/agent.prompty").endswith(
        "{{ ticket }}\nassistant:\nOne moment, {{ ticket }}!\n"
    )
    assert app.git("log", "-1", "--format=%s", "prompt/support-agent-1.2.0").startswith("support/agent 1.2.0: <script>")
    assert app.git("status", "--porcelain") == before
    assert app.git("branch", "--show-current") == "main\n"
    assert app.page.evaluate("window.probed") is None


def test_votes_are_cast_by_keys_and_stand_in_the_repository(app):
    run(app, "My parcel", "My bill")
    finished(app, 4)
    app.page.get_by_role("link", name="Vote").click()
    app.settle()
    app.says("0 of 2 answered")
    app.page.keyboard.press("ArrowLeft")
    app.says("1 of 2 answered")
    app.page.keyboard.press("ArrowRight")
    app.says("Every pair is answered.")

    votes = (app.root / "votes" / "support" / "agent.jsonl", app.root / "votes" / "support__agent.jsonl")
    (kept,) = [path for path in votes if path.is_file()]
    assert len(kept.read_text().splitlines()) == 2


def test_a_comparison_of_two_commits_opens_a_pair_of_trajectories_and_a_run_its_waterfall(app):
    """The test that was saved before is recorded anew with the older prompt, so that its answer changes."""
    run(app, "A moved case", versions=("1.1.0",))
    finished(app, 1)
    cassette = app.root / "tests" / "cassettes" / "test_moved" / "test_it.yaml"
    cassette.parent.mkdir(parents=True, exist_ok=True)
    newest = max((app.root / ".agentops" / "playground").iterdir())
    shutil.copy(newest / "0-0-1.yaml", cassette)
    app.git("add", "tests/cassettes/test_moved")
    app.git("commit", "-qm", "recorded")
    run(app, "A moved case", versions=("1.0.0",))
    finished(app, 1)
    shutil.copy(max((app.root / ".agentops" / "playground").iterdir()) / "0-0-1.yaml", cassette)

    app.visit("/regression?base=HEAD")
    app.page.locator('[data-pick^="case:"]').first.click()
    app.settle()
    app.page.locator("ins", has_text="No:").first.wait_for()

    app.visit("/traces")
    app.page.locator('[data-pick^="run:"]', has_text="test_it").first.click()
    app.settle()
    app.says("Waterfall")
    assert app.page.locator('[data-pick^="row:"]').count() >= 1
    assert "trace=" in app.page.url


@pytest.mark.skipif("LOCAL_MODEL_URL" not in os.environ, reason="LOCAL_MODEL_URL names no server of a real model")
def test_two_versions_are_answered_by_a_real_model(app):
    """It streams, reports its usage and is slow, which a scripted one only pretends."""
    app.page.set_default_timeout(300_000)
    settings = app.root / "pyproject.toml"
    before = settings.read_text()
    settings.write_text(f"{before}[tool.agentops.models.real]\nbase_url = {os.environ['LOCAL_MODEL_URL']!r}\n")
    try:
        app.visit(plan("Where is my parcel?", "Cancel order 7", "Do you ship abroad?", model="real", tokens=24))
        app.page.get_by_test_id("stBaseButton-primary").click()
        finished(app, 6)
    finally:
        settings.write_text(before)

    assert all(len(each) > 10 for each in app.answers)
    assert "tokens" in app.page.locator(".grid .column-head").first.inner_text()


def test_hostile_text_of_prompts_inputs_and_models_is_text_on_every_page(app):
    """The fixture sees besides that nothing was asked of any other server, and that no dialog opened."""
    run(app, f"hostile {HOSTILE}", versions=("1.0.0", "1.1.0"))
    finished(app, 2)
    assert HOSTILE in app.answers[0]
    app.page.locator(".cell .cell-words").first.click()
    app.settle()
    for tab in ("Trace", "Save as test", "Save as case"):
        app.page.get_by_role("tab", name=tab).click()
        app.settle()
        app.page.wait_for_timeout(300)
    for page in ("edit", "vote", "regression", "traces", "models"):
        app.visit(f"/{page}")
        app.page.wait_for_timeout(400)
        assert app.page.evaluate("window.probed") is None
        assert app.page.locator('[src*="probe.png"], [href*="127.0.0.1:9"], [href^="javascript"]').count() == 0
