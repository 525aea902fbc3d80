"""Semantic versions, the lock and the labels."""

from __future__ import annotations

import pytest

from pytest_agentops.errors import LockError, PromptError
from pytest_agentops.versions import (
    Locked,
    Semver,
    is_range,
    newest,
    read_labels,
    read_lock,
    with_label,
    written_lock,
)

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def test_versions_are_in_the_order_of_the_specification():
    ordered = ["0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
               "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0"]  # fmt: skip

    assert sorted([*ordered[6:], *ordered[:6]], key=Semver.parse) == ordered
    assert [str(Semver.parse(each)) for each in ordered] == ordered


@pytest.mark.parametrize("text", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0.0", "", "1.0.x", "latest"])
def test_what_is_no_version_is_told(text):
    with pytest.raises(PromptError, match=r"is no semantic version; write one such as 1\.3\.0"):
        Semver.parse(text)


def test_a_version_is_raised():
    version = Semver.parse("1.2.3")

    assert [str(version.raised(level)) for level in ("none", "patch", "minor", "major")] == [
        "1.2.3", "1.2.4", "1.3.0", "2.0.0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("^1.2", "1.10.0"),
        ("^1", "1.10.0"),
        ("^1.10.1", None),
        ("^2", "2.0.0"),
        ("^0.2", "0.2.5"),
        ("^0.0.3", "0.0.3"),
        ("~1.2", "1.2.9"),
        ("~1.2.5", "1.2.9"),
        ("~1", "1.10.0"),
        ("1.2", "1.2.9"),
        ("1", "1.10.0"),
        ("1.2.x", "1.2.9"),
        ("1.*", "1.10.0"),
        ("3", None),
    ],
)
def test_a_range_gives_the_newest_that_it_allows(wanted, found):
    there = ["0.0.3", "0.2.1", "0.2.5", "0.3.0", "1.0.0", "1.2.0", "1.2.9", "1.10.0", "2.0.0", "2.1.0-rc.1"]

    assert is_range(wanted)
    assert newest(wanted, there) == found


@pytest.mark.parametrize("text", ["1.2.3", "production", "^", "x", "1.2.3-rc.1", ">=1"])
def test_what_is_no_range(text):
    assert not is_range(text)


def test_a_lock_is_read_as_it_was_written():
    locked = {"b": Locked("1.0.0", A), "a/_x": Locked(None, B)}

    text = written_lock(locked)

    assert text.splitlines()[1:] == [f"a/_x - {B}", f"b 1.0.0 {A}"]
    assert read_lock(text, "prompts.lock") == locked
    assert read_lock(None, "prompts.lock") == {}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a 1.0.0", "prompts.lock:2: 'a 1.0.0' is no line of a lock: it has a name, a version and a digest"),
        (f"a 1.0 {A}", f"prompts.lock:2: 'a 1.0 {A[:73]}' is no line of a lock"),
        (f"a 1.0.0 {A[:-1]}", "prompts.lock:2: 'a 1.0.0 sha256:aaa"),
        (f"b 1.0.0 {A}", "prompts.lock:2: b is there twice"),
        ("<<<<<<< HEAD", "prompts.lock:2: it holds the markers of an unresolved merge"),
        ("=======", "prompts.lock:2: it holds the markers of an unresolved merge"),
        (">>>>>>> other", "prompts.lock:2: it holds the markers of an unresolved merge"),
    ],
)
def test_a_lock_that_cannot_be_read_names_the_line_and_what_to_type(line, told):
    with pytest.raises(LockError) as error:
        read_lock(f"b 1.0.0 {B}\n{line}\n", "prompts.lock")

    assert str(error.value).startswith(told)
    assert "pytest-agentops prompts lock" in str(error.value)


def test_labels_are_moved_and_taken_away_and_comments_stay():
    text = with_label("# who gets what\n", "support/triage", "production", "1.2.0")
    moved = with_label(text, "support/triage", "production", "1.3.0")
    both = with_label(moved, "support/triage", "staging", "1.4.0")

    assert text == '# who gets what\n\n["support/triage"]\nproduction = "1.2.0"\n'
    assert read_labels(both, "labels.toml") == {"support/triage": {"production": "1.3.0", "staging": "1.4.0"}}
    assert both.startswith("# who gets what\n")
    gone = with_label(with_label(both, "support/triage", "staging", None), "support/triage", "production", None)
    assert read_labels(gone, "labels.toml") == {}
    assert gone.startswith("# who gets what\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = [", "labels.toml: it is not TOML:"),
        ('a = "1.0.0"', 'labels.toml: a is no table; write ["a"] and below it: production = "1.3.0"'),
        ('["a"]\nproduction = 1', 'labels.toml: production of a is 1; write a version, such as "1.3.0"'),
        ('["a"]\nproduction = "1.0"', "labels.toml: production of a is '1.0'; write a version"),
        ('["a"]\n"9 lives" = "1.0.0"', "labels.toml: '9 lives' of a is no name of a label"),
    ],
)
def test_labels_that_cannot_be_read_are_told(text, told):
    with pytest.raises(LockError) as error:
        read_labels(text, "labels.toml")

    assert str(error.value).startswith(told)


def test_a_label_has_a_name():
    with pytest.raises(LockError, match="is no name of a label"):
        with_label("", "a", "git:HEAD", "1.0.0")
