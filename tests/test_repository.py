"""The prompts folder in a real git repository: versions, references, bumps and the check, as a user meets them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from pytest_agentops import PromptRepository
from pytest_agentops.errors import (
    HistoryError,
    LockError,
    PromptError,
    PromptNotFound,
    PromptSyntaxError,
    VersionNotFound,
)
from pytest_agentops.releases import Debt, bump, check, label, lock, rolled_back, snapshot

DAY = date(2026, 11, 24)


class House:
    """A git repository with a prompts folder."""

    def __init__(self, root: Path, folder: str = "prompts") -> None:
        self.root = root
        self.folder = root / folder
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        who = {
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "a@x",
            "GIT_COMMITTER_EMAIL": "a@x",
        }
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env={**os.environ, **who}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or arguments[0] == "merge", done.stderr
        return done.stdout

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def prompt(self, version: str, body: str = "user:\nHi", *, name: str = "a", more: str = "") -> None:
        self.write(f"{name}.prompty", f"---\nname: {name}\nversion: {version}\n{more}---\n{body}\n")

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    @property
    def prompts(self) -> PromptRepository:
        return PromptRepository(self.folder)

    def locked(self) -> None:
        lock(self.prompts).apply()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    return House(tmp_path / "house")  # type: ignore[return-value]


def three_versions(house: House) -> list[str]:
    commits = []
    for version, body in [("1.0.0", "user:\none"), ("1.1.0", "user:\ntwo"), ("2.0.0", "user:\nthree")]:
        house.prompt(version, body)
        commits.append(house.commit(f"to {version}"))
    return commits


# --- references ------------------------------------------------------------------------------------------------------


def test_what_a_prompt_can_be_referred_to_by_is_told_with_what_it_is(tmp_path):
    house = House(tmp_path)
    three_versions(house)
    house.git("branch", "a-try")
    house.write("labels.toml", '["a"]\nproduction = "1.1.0"\n')

    found = house.prompts.references("a")

    assert list(found) == [
        "worktree", "git:HEAD", "production", "2.0.0", "1.1.0", "1.0.0", "git:a-try", "git:main",
    ]  # fmt: skip
    assert (found["production"], found["git:a-try"]) == ("production (1.1.0)", "branch a-try")
    house.write("labels.toml", "[")
    assert "production" not in house.prompts.references("a")
    assert house.prompts.references("nowhere") == {"worktree": "the working tree"}


def test_every_kind_of_reference_finds_its_state(house):
    first, second, _ = three_versions(house)
    house.prompt("2.1.0", "user:\nfour")
    house.write("labels.toml", '["a"]\nproduction = "1.1.0"\n')
    prompts = house.prompts
    digest = prompts.get("a@1.0.0").digest

    found = {
        reference: prompts.get(reference).render()
        for reference in ["a", "a@worktree", "a@1.0.0", "a@^1", "a@1.0", "a@^2", "a@production", "a@git:HEAD~1",
                          f"a@git:{first}", f"a@{digest[:20]}", "a@2.1.0"]
    }  # fmt: skip

    assert list(found.values()) == [
        "four", "four", "one", "two", "one", "four", "two", "two", "one", "one", "four",
    ]  # fmt: skip
    assert prompts.at(second)["a"].render() == "two"
    assert prompts.at("HEAD").get("a@^1").version == "1.1.0"


def test_versions_are_the_newest_first_with_their_commits(house):
    commits = three_versions(house)

    versions = house.prompts.versions("a")

    assert [(each.version, each.commit, each.author, each.message) for each in versions] == [
        ("2.0.0", commits[2], "Ada", "to 2.0.0"),
        ("1.1.0", commits[1], "Ada", "to 1.1.0"),
        ("1.0.0", commits[0], "Ada", "to 1.0.0"),
    ]
    assert versions[0].digest == house.prompts["a"].digest
    assert versions[0].date.tzinfo is not None


def test_a_version_has_the_partials_of_its_commit(house):
    house.write("_shared/safety.prompty", "Be careful.")
    house.prompt("1.0.0", 'user:\n{% include "_shared/safety" %}')
    house.commit()
    house.write("_shared/safety.prompty", "Be bold.")
    house.prompt("1.1.0", 'user:\n{% include "_shared/safety" %}')
    house.commit()

    assert house.prompts.get("a@1.0.0").render() == "Be careful."
    assert house.prompts.get("a@1.1.0").render() == "Be bold."


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("a@9.9.9", "a has no version 9.9.9\n  there are: 2.0.0, 1.1.0, 1.0.0"),
        ("a@^9", "a has no version ^9\n  there are: 2.0.0, 1.1.0, 1.0.0"),
        ("a@prodution", "a has no label 'prodution'; did you mean 'production'?\n"),
        ("a@git:nope", "there is no commit 'nope' in "),
        ("a@git:--output=x", "'--output=x' is no name of a commit"),
        ("a@sha256:abc", "sha256:abc is no digest; write at least its first eight digits"),
        ("a@sha256:00000000", "no state of a has the digest sha256:00000000"),
        ("b@1.0.0", "no prompt 'b' in "),
        ("../a@1.0.0", "'../a' is no name of a prompt"),
    ],
)
def test_a_reference_to_nothing_says_what_there_is(house, reference, told):
    three_versions(house)
    house.write("labels.toml", '["a"]\nproduction = "1.1.0"\n')

    with pytest.raises(PromptError) as error:
        house.prompts.get(reference)

    assert str(error.value).startswith(told)


def test_a_moved_file_keeps_its_history(house):
    three_versions(house)
    house.git("mv", "prompts/a.prompty", "prompts/b.prompty")
    (house.folder / "b.prompty").write_text((house.folder / "b.prompty").read_text().replace("name: a", "name: b"))
    house.commit("move it")

    assert [each.version for each in house.prompts.versions("b")] == ["2.0.0", "1.1.0", "1.0.0"]
    assert house.prompts.get("b@1.0.0").render() == "one"
    assert house.prompts.log("b")[0].path == "prompts/b.prompty"


def test_a_moved_folder_keeps_its_history_with_its_partials(house):
    old = House(house.root, "assets/texts")
    old.write("_shared/safety.prompty", "Be careful.")
    old.prompt("1.0.0", 'user:\n{% include "_shared/safety" %} one two three four five six')
    old.commit()
    house.git("mv", "assets/texts", "prompts")
    house.commit("move the folder")

    assert house.prompts.get("a@git:HEAD").render().startswith("Be careful.")
    assert [each.version for each in house.prompts.versions("a")] == ["1.0.0"]
    house.prompt("2.0.0")
    house.commit()
    assert house.prompts.get("a@1.0.0").render() == "Be careful. one two three four five six"


def test_a_folder_below_the_root_a_worktree_and_a_submodule_are_no_different(house, tmp_path):
    inner = House(house.root, "services/chat/prompts")
    inner.prompt("1.0.0", "user:\none")
    inner.commit()
    inner.prompt("1.1.0", "user:\ntwo")
    inner.commit()
    house.git("worktree", "add", "-q", str(tmp_path / "tree"), "HEAD")
    outer = House(tmp_path / "outer")
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(house.root), "vendor/house")

    for root in (house.root, tmp_path / "tree", tmp_path / "outer/vendor/house"):
        prompts = PromptRepository(root / "services/chat/prompts")
        assert prompts.get("a@1.0.0").render() == "one"
        assert [each.version for each in prompts.versions("a")] == ["1.1.0", "1.0.0"]


def test_a_bare_repository_and_a_detached_head_are_enough(house, tmp_path):
    first, *_ = three_versions(house)
    subprocess.run(["git", "clone", "-q", "--bare", str(house.root), str(tmp_path / "bare.git")], check=True)
    house.git("checkout", "-q", first)

    assert house.prompts["a"].render() == "one"
    bare = PromptRepository(tmp_path / "bare.git" / "prompts").at("main")
    assert (bare["a"].render(), bare.get("a@1.0.0").render()) == ("three", "one")


def test_a_shallow_clone_says_how_far_it_goes_and_what_to_fetch(house, tmp_path):
    three_versions(house)
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{house.root}", str(tmp_path / "clone")], check=True)
    prompts = PromptRepository(tmp_path / "clone" / "prompts")

    with pytest.raises(VersionNotFound) as error:
        prompts.get("a@1.0.0")

    lines = str(error.value).splitlines()
    assert lines[:2] == ["a has no version 1.0.0", "  there are: 2.0.0"]
    assert lines[2].startswith("  this clone is shallow, back to ")
    assert lines[2].endswith("; to get the rest: git fetch --unshallow (in CI: fetch-depth: 0)")
    assert prompts.get("a@2.0.0").render() == "three"
    with pytest.raises(HistoryError, match="git fetch --unshallow"):
        prompts.at("HEAD~1")


def test_without_git_there_is_what_stands_in_the_files(tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/a.prompty").write_text("---\nversion: 1.0.0\n---\nHi")
    prompts = PromptRepository(tmp_path / "prompts")

    assert prompts.get("a@1.0.0").render() == "Hi"
    with pytest.raises(HistoryError) as error:
        prompts.versions("a")
    assert str(error.value).splitlines()[1] == "  to begin one: git init && git add . && git commit"


def test_four_threads_read_what_they_ask_for(house):
    for number in range(20):
        house.prompt(f"1.{number}.0", f"user:\nnumber {number}", name=f"p{number % 5}")
        house.commit()
    prompts = house.prompts

    def read(index: int) -> bool:
        number = index % 20
        return prompts.get(f"p{number % 5}@1.{number}.0").render() == f"number {number}"

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(1000)))


def test_an_edited_file_is_read_again(house):
    house.write("_shared/x.prompty", "one")
    house.prompt("1.0.0", 'user:\n{% include "_shared/x" %}')
    prompts = house.prompts
    before = prompts["a"]

    assert prompts["a"] is before
    house.write("_shared/x.prompty", "two")
    assert prompts["a"].render() == "two"
    house.prompt("1.0.0", "user:\nthree")
    assert prompts["a"].render() == "three"


# --- alternatives ----------------------------------------------------------------------------------------------------


def test_a_share_of_the_keys_gets_the_other_version_and_keeps_it_when_the_share_grows(house):
    three_versions(house)
    house.write("labels.toml", '["a"]\nproduction = "1.1.0"\nstaging = "2.0.0"\n')
    prompts = house.prompts
    keys = [f"user-{number}" for number in range(2000)]

    def staged(share: int) -> set[str]:
        reference = f"a@production|a@staging:{share}%"
        return {key for key in keys if prompts.get(reference, key=key).version == "2.0.0"}

    ten, twenty = staged(10), staged(20)
    assert 150 < len(ten) < 250
    assert ten < twenty
    assert staged(0) == set()
    assert staged(100) == set(keys)
    assert staged(10) == ten


@pytest.mark.parametrize(
    ("reference", "key", "told"),
    [
        ("a|a@1.0.0:10%", None, "has alternatives; say whose prompt it is: get("),
        ("a|a@1.0.0", "k", "each alternative but one has a share, such as 10%, and all are 100% at most"),
        ("a:50%|a@1.0.0:60%", "k", "each alternative but one has a share"),
        ("a@1.0.0:10%", "k", "each alternative but one has a share"),
    ],
)
def test_alternatives_that_mean_nothing_are_told(house, reference, key, told):
    three_versions(house)

    with pytest.raises(PromptError) as error:
        house.prompts.get(reference, key=key)

    assert told in str(error.value)


# --- a user's story --------------------------------------------------------------------------------------------------


def debts(house: House, base: str | None = None) -> list[tuple[str, str]]:
    return [(each.name, each.kind) for each in check(house.prompts, base)]


def test_from_the_first_prompt_to_production(house):
    """Create, commit, edit, a check that fails and names the bump, bump, a check that passes, label, roll back, snapshot."""
    house.prompt("1.0.0", "system:\nBe brief.\nuser:\n{{ q }}", name="support/triage", more="inputs: {q: string}\n")
    house.locked()
    house.commit("first")
    assert debts(house) == []

    house.git("checkout", "-q", "-b", "kinder")
    house.prompt("1.0.0", "system:\nBe kind.\nuser:\n{{ q }}", name="support/triage", more="inputs: {q: string}\n")
    [owed] = check(house.prompts)
    assert owed == Debt(
        "support/triage",
        "owed bump",
        "it owes a minor bump to 1.1.0, and the version is still 1.0.0: the body changed",
        'pytest-agentops prompts bump support/triage -m "why"',
    )

    plan, [bumped] = bump(house.prompts, ["support/triage"], "Sounds kinder", today=DAY)
    assert plan.steps == ("support/triage: 1.0.0 -> 1.1.0 (minor)\n  the body changed",)
    assert [edit.path.name for edit in plan.edits] == ["triage.prompty", "prompts.lock", "CHANGELOG.md"]
    assert house.prompts["support/triage"].version == "1.0.0", "a plan changes nothing yet"
    plan.apply()
    assert (bumped.old, bumped.new, bumped.level) == ("1.0.0", "1.1.0", "minor")
    assert house.prompts["support/triage"].version == "1.1.0"
    assert (house.folder / "CHANGELOG.md").read_text() == (
        "# Changelog of the prompts\n\n## support/triage 1.1.0 (2026-11-24)\n\n- Sounds kinder (minor)\n"
    )
    assert debts(house) == []
    house.commit("kinder")
    assert debts(house, "main") == []
    house.git("checkout", "-q", "main")
    house.git("merge", "-q", "kinder")

    label(house.prompts, "support/triage", "production", "1.0.0").apply()
    house.commit("label")
    label(house.prompts, "support/triage", "production", "1.1.0").apply()
    house.commit("promote")
    assert house.prompts.get("support/triage@production").version == "1.1.0"
    assert rolled_back(house.prompts, "support/triage", "production") == "1.0.0"
    label(house.prompts, "support/triage", "production", "1.0.0").apply()
    assert house.prompts.get("support/triage@production").version == "1.0.0"

    (house.root / "prompts.json").write_text(snapshot(house.prompts))
    loaded = PromptRepository.from_snapshot(house.root / "prompts.json")
    assert loaded["support/triage"].messages(q="Hi")[0]["content"] == "Be kind."
    assert loaded.get("support/triage@production").messages(q="Hi")[0]["content"] == "Be brief."
    assert loaded.get("support/triage@^1").version == "1.1.0"
    with pytest.raises(VersionNotFound) as error:
        loaded.get("support/triage@3.0.0")
    assert str(error.value) == "support/triage has no version 3.0.0\n  there are: 1.1.0, 1.0.0"


def test_two_branches_that_claim_one_version_conflict_in_the_lock(house):
    house.prompt("1.3.0", "user:\none")
    house.locked()
    house.commit()
    for branch, body in [("left", "user:\nleft"), ("right", "user:\nright")]:
        house.git("checkout", "-q", "-b", branch, "main")
        house.prompt("1.3.0", body)
        bump(house.prompts, ["a"], branch)[0].apply()
        house.commit(branch)
    said = house.git("merge", "left")

    assert "CONFLICT (content): Merge conflict in prompts/prompts.lock" in said
    with pytest.raises(LockError) as error:
        _ = house.prompts.locked
    assert "it holds the markers of an unresolved merge" in str(error.value)
    with pytest.raises(
        PromptSyntaxError, match="it holds the markers of an unresolved merge; resolve it and remove them"
    ):
        _ = house.prompts["a"]
    assert ("a", "broken") in debts(house)


def test_a_second_bump_on_a_branch_raises_nothing_twice(house):
    house.prompt("1.0.0", "user:\none")
    house.locked()
    house.commit()
    house.git("checkout", "-q", "-b", "work")
    house.prompt("1.0.0", "user:\ntwo")
    bump(house.prompts, ["a"], "two", today=DAY)[0].apply()
    house.commit()
    house.prompt("1.1.0", "user:\nthree")
    assert debts(house) == [("a", "lock")]

    bump(house.prompts, ["a"], "three", today=DAY)[0].apply()

    assert house.prompts["a"].version == "1.1.0"
    assert debts(house) == []
    assert (house.folder / "CHANGELOG.md").read_text().count("## a 1.1.0") == 1
    assert "- two (minor)\n- three (minor)" in (house.folder / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    ("old", "new", "to", "reason"),
    [
        ("", "inputs: {q: string}\n", "2.0.0", "inputs.q: added, and required"),
        ("inputs: {q: string}\n", "", "2.0.0", "inputs.q: removed"),
        ("", "inputs: {q: {default: x}}\n", "1.1.0", "inputs.q: added, and optional"),
        ("outputs: {o: string}\n", "outputs: {o: integer}\n", "2.0.0", "outputs.o: is integer now, and was string"),
        ("", "outputs: {o: string}\n", "1.1.0", "outputs.o: added"),
        ("", "tools: [{name: t, parameters: {x: string}}]\n", "2.0.0", "tools.t: added"),
        ("tools: [{name: t, parameters: {x: string}}]\n", "tools: [{name: t, parameters: {y: string}}]\n", "2.0.0",
         "tools.t.parameters.x: removed"),
        ("tools: [{name: t, description: a}]\n", "tools: [{name: t, description: b}]\n", "1.1.0",
         "tools.t: is described otherwise"),
        ("model: gpt-5-mini\n", "model: gpt-5\n", "1.1.0", "model changed"),
    ],
)  # fmt: skip
def test_what_a_change_owes(house, old, new, to, reason):
    house.prompt("1.0.0", more=old)
    house.locked()
    house.commit()
    house.prompt("1.0.0", more=new)

    _, [bumped] = bump(house.prompts, ["a"], "why")

    assert (bumped.new, bumped.reasons[0]) == (to, reason)


def test_a_change_that_renders_what_was_recorded_as_it_was_owes_a_patch(house):
    body = "user:\n{% if late %}Sorry!{% endif %}{{ q }}"
    more = "inputs: {q: string, late: {kind: boolean, default: false}}\n"
    house.prompt("1.0.0", body, more=more)
    house.locked()
    house.commit()
    house.prompt("1.0.0", body.replace("Sorry!", "So sorry!"), more=more)

    def recorded(*inputs):
        return lambda name: inputs

    assert bump(house.prompts, ["a"], "why", recorded=recorded({"q": "x"}))[1][0].new == "1.0.1"
    assert bump(house.prompts, ["a"], "why", recorded=recorded({"q": "x", "late": True}))[1][0].new == "1.1.0"
    assert bump(house.prompts, ["a"], "why")[1][0].new == "1.1.0"


def test_a_changed_partial_owes_a_bump_of_everyone_who_includes_it(house):
    house.write("_shared/safety.prompty", "Be careful.")
    house.prompt("1.0.0", 'user:\n{% include "_shared/safety" %}')
    house.prompt("1.0.0", name="b")
    house.locked()
    house.commit()
    house.write("_shared/safety.prompty", "Be bold.")

    assert debts(house) == [("a", "owed bump"), ("_shared/safety", "lock")]
    plan, [bumped] = bump(house.prompts, ["a"], "bolder")
    assert bumped.reasons == ("_shared/safety changed, which it includes",)
    plan.apply()
    assert debts(house) == []


def test_the_author_may_claim_more_than_is_owed_and_never_less(house):
    house.prompt("1.0.0", "user:\none")
    house.locked()
    house.commit()
    house.prompt("1.0.1", "user:\ntwo")
    [owed] = check(house.prompts)
    assert owed.message == "it owes a minor bump to 1.1.0, and it claims 1.0.1: the body changed"

    house.prompt("3.0.0", "user:\ntwo")
    house.locked()
    assert debts(house) == []
    with pytest.raises(PromptError, match="owes a minor bump, and patch is less"):
        bump(house.prompts, ["a"], "why", level="patch")


def test_a_released_version_is_never_used_again(house):
    three_versions(house)
    house.prompt("1.1.0", "user:\ntwo")  # 2.0.0 was taken back.
    taken_back = house.commit()
    house.prompt("2.0.0", "user:\nsomething else")
    house.locked()

    [debt] = check(house.prompts, taken_back)

    assert (debt.kind, debt.remedy) == ("reused version", 'pytest-agentops prompts bump a -m "why"')
    assert debt.message.startswith("2.0.0 was released in ")
    house.prompt("2.0.0", "user:\nthree")
    house.locked()
    assert list(check(house.prompts, taken_back)) == []


def test_a_version_goes_up_alone(house):
    three_versions(house)
    house.prompt("1.5.0", "user:\nthree")
    house.locked()

    [debt] = check(house.prompts)

    assert debt.message == "it claims 1.5.0, which is older than 2.0.0"


def test_labels_that_point_nowhere_and_prompts_without_versions_are_told(house):
    house.write("a.prompty", "Hi")
    house.write("labels.toml", '["b"]\nproduction = "1.0.0"\n')
    house.commit()

    found = {(each.name, each.kind): each for each in check(house.prompts)}

    assert found["a", "version"].remedy == "add to its front matter: version: 1.0.0"
    assert found["b", "label"].message.startswith(
        "the label production points to 1.0.0, which is not there: no prompt 'b'"
    )


def test_nothing_to_bump_is_told(house):
    house.prompt("1.0.0")
    house.locked()
    house.commit()

    with pytest.raises(PromptError) as error:
        bump(house.prompts, ["a"], "why")
    assert str(error.value).startswith("a is what it was at 1.0.0: there is nothing to bump")


def test_a_plan_for_files_that_changed_meanwhile_writes_nothing(house):
    house.prompt("1.0.0", "user:\none")
    house.commit()
    house.prompt("1.0.0", "user:\ntwo")
    plan, _ = bump(house.prompts, ["a"], "why")
    house.prompt("1.0.0", "user:\nthree")

    with pytest.raises(PromptError, match="has changed meanwhile; nothing was written"):
        plan.apply()

    assert not (house.folder / "prompts.lock").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("---\nversion: 1.0.0  # ours\nname: a\n---\nx", "---\nversion: 1.1.0  # ours\nname: a\n---\nx"),
        ("---\nname: a\n---\nversion: 1.0.0", "---\nname: a\nversion: 1.1.0\n---\nversion: 1.0.0"),
        ("---\r\nversion: '1.0.0'\r\n---\r\nx\r\n", "---\r\nversion: 1.1.0\r\n---\r\nx\r\n"),
        ("Hi", "---\nname: a\nversion: 1.1.0\n---\nHi"),
    ],
)
def test_a_bump_changes_the_version_and_nothing_else_of_a_file(tmp_path, before, after):
    from pytest_agentops.releases import _with_version

    path = tmp_path / "a.prompty"
    path.write_bytes(before.encode())

    assert _with_version(PromptRepository(tmp_path), "a.prompty", "1.1.0").new == after


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "is no snapshot of prompts (TypeError"),
        ("{", "is no snapshot of prompts (JSONDecodeError"),
        ('{"format": 99}', "has format 99; this version reads 1"),
        ('{"format": 1}', "is no snapshot of prompts (KeyError"),
    ],
)
def test_what_is_no_snapshot_is_told(tmp_path, text, told):
    path = tmp_path / "prompts.json"
    path.write_text(text)

    with pytest.raises(PromptError) as error:
        PromptRepository.from_snapshot(path)

    assert told in str(error.value)


def test_a_snapshot_holds_each_text_once(house):
    house.write("_shared/safety.prompty", "Be careful.")
    house.prompt("1.0.0", 'user:\n{% include "_shared/safety" %}')
    house.prompt("1.0.0", 'user:\n{% include "_shared/safety" %}', name="b")

    data = json.loads(snapshot(house.prompts))

    assert sorted(data["prompts"]) == ["_shared/safety", "a", "b"]
    assert len(data["texts"]) == 3


def test_a_name_that_is_not_that_of_its_place_is_told(house):
    house.write("a.prompty", "---\nversion: 1.0.0\nname: b\n---\nHi")

    with pytest.raises(PromptSyntaxError) as error:
        _ = house.prompts["a"]

    assert str(error.value).endswith("a.prompty:3: it calls itself 'b', and its place says 'a'\n  write name: a")


def test_a_commit_knows_of_a_prompt_that_is_gone(house):
    first, *_ = three_versions(house)
    (house.folder / "a.prompty").unlink()
    house.commit()

    assert house.prompts.get("a@1.0.0").render() == "one"
    assert house.prompts.get(f"a@git:{first}").render() == "one"
    with pytest.raises(PromptNotFound):
        house.prompts["a"]


def test_what_commits_can_be_called_is_told_by_kind(house):
    house.prompt("1.0.0")
    house.commit("The first")
    house.git("tag", "-a", "v1", "-m", "released")
    house.git("branch", "topic")
    house.prompt("1.1.0", "user:\nHello")
    house.commit("The second")
    first, second = house.git("rev-parse", "HEAD~1", "HEAD").split()

    told = [(ref.kind, ref.name, ref.commit.sha, ref.about) for ref in PromptRepository(house.folder).refs()]

    assert sorted(told[:2]) == [("branch", "main", second, ""), ("branch", "topic", first, "")]
    assert told[2:5] == [
        ("tag", "v1", first, ""),
        ("commit", second[:9], second, ""),
        ("commit", first[:9], first, ""),
    ]
    assert sorted(told[5:]) == sorted(
        [("version", second[:9], second, "a 1.1.0"), ("version", first[:9], first, "a 1.0.0")]
    )
