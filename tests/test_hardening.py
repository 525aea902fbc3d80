"""What a careful breaker found in prompts and their versions: each case once, so that it stays mended."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pytest_agentops import Prompt, PromptRepository
from pytest_agentops.errors import HistoryError, PromptError, PromptInputError, PromptSyntaxError
from pytest_agentops.releases import _with_version, bump, check, label, lock, snapshot
from pytest_agentops.revision import Revision
from tests.test_repository import House, debts, house, three_versions

__all__ = ["house"]


def prompt(front: str, body: str, **partials: str) -> Prompt:
    return Prompt.parse("p", f"---\n{front}\n---\n{body}", path="p.prompty", source=partials.__getitem__)


# --- what was not compared -------------------------------------------------------------------------------------------


def test_a_check_without_a_base_fails_and_says_what_to_fetch(house, tmp_path):
    three_versions(house)
    house.git("checkout", "-q", "-b", "feature")
    house.prompt("2.0.0", "user:\nchanged")
    house.commit()
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", "--branch", "feature", f"file://{house.root}", str(clone)], check=True
    )

    with pytest.raises(HistoryError) as error:
        list(check(PromptRepository(clone / "prompts")))

    assert "name it: --base REF" in str(error.value)
    assert "git fetch --unshallow" in str(error.value)


def test_a_renamed_prompt_owes_what_it_changed(house):
    house.prompt("1.0.0", "user:\none two three four five six seven")
    house.locked()
    house.commit()
    house.git("checkout", "-q", "-b", "work")
    house.git("mv", "prompts/a.prompty", "prompts/b.prompty")
    path = house.folder / "b.prompty"
    text = path.read_text().replace("name: a", "name: b")
    path.write_text(text.replace("version: 1.0.0", "version: 1.0.0\ninputs: {q: string}"))

    assert debts(house, "main")[0] == ("b", "owed bump")
    assert bump(house.prompts, ["b"], "why", base="main")[1][0].new == "2.0.0"
    house.commit()
    assert debts(house, "main")[0] == ("b", "owed bump")
    assert house.prompts.get("b@git:HEAD~1").version == "1.0.0"


def test_a_bump_skips_what_was_released_before(house):
    three_versions(house)
    house.prompt("1.0.0", "user:\none")
    house.locked()
    house.commit("back to the first")
    house.git("checkout", "-q", "-b", "work")
    house.prompt("1.0.0", "user:\nelse")

    plan, [bumped] = bump(house.prompts, ["a"], "why")
    plan.apply()

    assert bumped.new == "1.2.0"
    assert debts(house) == []


def test_the_lock_keeps_what_is_released(house):
    house.prompt("1.0.0", "user:\none")
    house.locked()
    house.commit()
    house.prompt("1.0.0", "user:\ntwo")
    house.commit("not bumped, on the main branch")

    assert debts(house) == [("a", "owed bump")]
    with pytest.raises(PromptError, match=r"a 1\.0\.0 is locked as something else, and a version stays what it is"):
        lock(house.prompts)
    with pytest.raises(PromptError, match="production would get something else"):
        snapshot(house.prompts)
    bump(house.prompts, ["a"], "why")[0].apply()
    assert house.prompts["a"].version == "1.1.0"
    assert debts(house) == []


def test_the_order_of_outputs_and_parameters_is_seen_by_models():
    ordered = [
        prompt(front, "x")
        for front in (
            "outputs: {reason: string, answer: string}",
            "outputs: {answer: string, reason: string}",
            "tools: [{name: t, parameters: {a: string, b: string}}]",
            "tools: [{name: t, parameters: {b: string, a: string}}]",
        )
    ]

    assert len({each.digest for each in ordered}) == 4


def test_a_default_called_description_is_no_description():
    first, other = (
        prompt(f"inputs: {{o: {{kind: object, default: {{description: {text}}}}}}}", "{{ o.description }}")
        for text in ("nice", "evil")
    )
    typed = [
        prompt(f"inputs: {{o: {{kind: object, properties: {{description: {kind}}}}}}}", "{{ o.description }}")
        for kind in ("string", "integer")
    ]

    assert first.digest != other.digest
    assert Revision(*typed).level() == "major"


def test_a_set_of_yaml_has_the_same_digest_in_every_process():
    made = prompt("model: {id: m, options: {stop: !!set {alpha, beta, gamma}}}", "x")

    assert made.digest == prompt("model: {id: m, options: {stop: !!set {gamma, beta, alpha}}}", "x").digest


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        (
            "inputs: {o: object}",
            "inputs: {o: {kind: object, properties: {t: {kind: string, required: false}}}}",
            "major",
        ),
        ("inputs: {o: {kind: array, items: string}}", "inputs: {o: array}", "minor"),
        ("inputs: {o: array}", "inputs: {o: {kind: array, items: string}}", "major"),
    ],
)
def test_levels(old, new, level):
    assert Revision(prompt(old, "x"), prompt(new, "x")).level() == level


def test_the_release_follows_its_prerelease(house):
    house.prompt("2.0.0-rc.1")
    house.locked()
    house.commit()
    house.prompt("2.0.0", "user:\nelse")

    assert bump(house.prompts, ["a"], "why")[1][0].new == "2.0.0"


# --- what wrote something wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "changed"),
    [
        ('"version": 1.0.0\n', '"version": 1.1.0\n'),
        ("version : 1.0.0\n", "version : 1.1.0\n"),
        ("{version: 1.0.0, model: m}\n", "{version: 1.1.0, model: m}\n"),
        ("{model: m}\n", "{version: 1.1.0, model: m}\n"),
        ("version:\n  1.0.0\n", "version:\n  1.1.0\n"),
        ("  name: a\n  version: 1.0.0\n", "  name: a\n  version: 1.1.0\n"),
        ("  name: a\n", "  name: a\n  version: 1.1.0\n"),
        ('d: "x\n\n  version: 9.9.9 y"\nversion: 1.0.0\n', 'd: "x\n\n  version: 9.9.9 y"\nversion: 1.1.0\n'),
        ("# a comment\nversion: 1.0.0  # ours\n", "# a comment\nversion: 1.1.0  # ours\n"),
    ],
)
def test_a_bump_changes_one_value_whatever_the_front_matter_looks_like(tmp_path, front, changed):
    path = tmp_path / "a.prompty"
    path.write_text(f"---\n{front}---\nHi")

    assert _with_version(PromptRepository(path.parent), path.name, "1.1.0").new == f"---\n{changed}---\nHi"


def test_a_version_that_others_refer_to_is_changed_by_hand(tmp_path):
    path = tmp_path / "a.prompty"
    path.write_text("---\nversion: &v 1.0.0\nmetadata: {v: *v}\n---\nHi")

    with pytest.raises(PromptError, match=r"cannot be changed without changing more; write in it: version: 1\.1\.0"):
        _with_version(PromptRepository(path.parent), path.name, "1.1.0")


@pytest.mark.parametrize("name", ["yes", "2024"])
def test_a_name_that_yaml_takes_for_something_else_is_quoted(tmp_path, name):
    path = tmp_path / f"{name}.prompty"
    path.write_bytes("\ufeffHi".encode())

    new = _with_version(PromptRepository(path.parent), path.name, "1.0.0").new

    assert new == f'\ufeff---\nname: "{name}"\nversion: 1.0.0\n---\nHi'


def test_a_partial_has_no_version_to_bump(house):
    house.write("_shared/x.prompty", "Hi")

    with pytest.raises(PromptError, match="_shared/x is a partial, which has no version"):
        bump(house.prompts, ["_shared/x"], "why")


def test_an_include_may_spell_the_ending(house):
    house.write("_shared/x.prompty", "careful\n\n")
    house.prompt("1.0.0", 'user:\n{% include "_shared/x.prompty" %}|')
    house.locked()
    house.commit()
    label(house.prompts, "a", "production", "1.0.0").apply()
    (house.root / "prompts.json").write_text(snapshot(house.prompts))
    deployed = PromptRepository.from_snapshot(house.root / "prompts.json")

    assert house.prompts["a"].render() == "careful\n|"
    assert deployed.get("a@production").render() == deployed["a"].render() == "careful\n|"
    assert deployed.get("a@production").digest == house.prompts["a"].digest


def test_a_changelog_without_a_title_keeps_what_it_says(house):
    house.prompt("1.0.0", "user:\none")
    house.commit()
    house.prompt("1.0.0", "user:\ntwo")
    house.write("CHANGELOG.md", "## a 1.0.0\n\n- the first\n")

    bump(house.prompts, ["a"], "why")[0].apply()

    assert (house.folder / "CHANGELOG.md").read_text().endswith("\n## a 1.0.0\n\n- the first\n")


# --- where text came from --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '{% set y %}{% include "_s" %}{% endset %}{{ y.split("|")[1] }}',
        '{% set y %}{% include "_s" %}{% endset %}{{ y.partition("|")[2] }}',
        '{% block b %}{{ t }}{% endblock %}{{ self.b().split("|")[1] }}',
        '{% macro m() %}{% include "_s" %}{% endmacro %}{{ m().split("|")[1] }}',
        "{% macro m(v) %}{{ caller(v) }}{% endmacro %}{% set f = m %}{% call(u) f(t) %}{{ u }}{% endcall %}",
        '{{ t.split("|")[1] }}',
        '{% set y %}{{ t }}{% endset %}{{ y.split("|")[1] }}',
        "{% filter upper %}{{ t }}{% endfilter %}",
        "{% set y %}{{ t }}{% endset %}{{ y[4:] }}",
        "{% for c in t %}{{ c }}{% endfor %}",
    ],
)
def test_nothing_of_an_input_is_taken_for_the_authors(body):
    made = prompt("inputs: {t: string, other: {default: x}}", f"user:\n{body}", _s="{{ t }}")

    [message] = made.segments(t="AAA|EVIL")

    assert "EVIL" not in "".join(each.text.upper() for each in message.segments if not each.inputs)
    assert message.text == made.messages(t="AAA|EVIL")[0]["content"]


def test_a_boolean_and_a_number_are_told_apart_from_the_text_around_them():
    made = prompt("inputs: {b: boolean, n: float}", "user:\nIt is {{ b }} and {{ n }}.")

    [message] = made.segments(b=True, n=2.0)

    assert [(each.text, each.inputs) for each in message.segments] == [
        ("It is ", ()),
        ("true", ("b",)),
        (" and ", ()),
        ("2", ("n",)),
        (".", ()),
    ]


# --- what hung or broke ----------------------------------------------------------------------------------------------


def merging(levels: int) -> str:
    """A few lines of YAML that merge to ten times as much with each level."""
    lines = [f"a0: &a0 {{{', '.join(f'k{n}: 1' for n in range(9))}}}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        f"---\n{merging(9)}\n---\nHi",
        "<<<<<<< a\n" * 3000 + "=======\n" * 3000,
        "{{" * 40_000,
        "{#" * 40_000,
        "{% raw %}" * 20_000,
        "user:\n{{ range(50000)|map('string')|map('center', 50000)|list|length }}",
        f"---\nversion: 1.0.{'9' * 5000}\n---\nHi",
        f"{{{{ {'9' * 5000} }}}}",
        "{% for a in [1] %}" * 25 + "{% endfor %}" * 25,
        "{% if 1 %}" * 120 + "{% endif %}" * 120,
        "{{ 5 | dictsort }}",
        "---\ntools: {search: x}\n---\nHi",
        "---\nmodel: {id: m, options: {additionalProperties: [1]}}\n---\nHi",
        "{% if 1 < 1e999 %}x{% endif %}",
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_file_is_refused_or_rendered_and_none_of_pythons_own_errors(text):
    try:
        made = Prompt.parse("p", text, path="p.prompty", source=str)
        _ = made.digest, made.messages()
    except PromptError as error:
        told = str(error)
    else:
        told = "p.prompty"
    assert told.startswith("p.prompty")


def test_keys_that_are_no_texts_have_a_digest():
    assert prompt("model: {id: m, options: {1: a, b: c}}", "x").digest.startswith("sha256:")


def test_inputs_that_cannot_be_written_down_are_refused():
    loop: dict[str, object] = {}
    loop["self"] = loop

    with pytest.raises(PromptError):
        prompt("inputs: {o: object}", "{{ o.x is defined }}").messages(o=loop)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"role": "assistant", "tool_calls": [{}]}, r"has a call without id, function\.name and function\.arguments"),
        ({"role": "user", "content": ["a"]}, "has a part that is no mapping"),
    ],
)
def test_messages_of_a_thread_are_whole(message, told):
    with pytest.raises(PromptInputError, match=told):
        prompt("inputs: {h: thread}", "{{ h }}").messages(h=[message])


def test_the_filter_untrusted_is_for_texts():
    made = prompt("inputs: {photo: image}", "user:\n{{ photo | untrusted }}")

    with pytest.raises(PromptSyntaxError, match="the filter untrusted is for texts"):
        made.messages(photo="https://example.org/a.png")


def test_a_role_inside_a_filter_stays_a_role():
    made = prompt("inputs: {h: thread}", "{% filter upper %}\nuser:\nhi {{ h }}{% endfilter %}")

    assert made.messages(h=[{"role": "assistant", "content": "yes"}]) == [
        {"role": "user", "content": "HI "},
        {"role": "assistant", "content": "yes"},
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"prompts": {"a": "zz"}},
        {"prompts": {"a": ["zz"]}},
        {"texts": {"x": 5}},
        {"labels": {"a": 5}},
        {"versions": {"a": []}},
        {"versions": {"a": {"1.0.0": {"a": "zz"}}}},
        {"versions": {"a": {"1.0.0": 5}}},
    ],
)
def test_a_hostile_snapshot_is_refused(tmp_path, change):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"format": 1, "prompts": {}, "labels": {}, "versions": {}, "texts": {}, **change}))

    with pytest.raises(PromptError, match="is no snapshot of prompts"):
        PromptRepository.from_snapshot(path)


def test_partials_are_looked_at_like_prompts(house):
    house.prompt("1.0.0", 'user:\n{% include "_shared/x" %}')
    for text, told in [
        ("<<<<<<< HEAD\na\n=======\nb\n>>>>>>> x\n", "_shared/x:1: it holds the markers of an unresolved merge"),
        ("---\nname: x\nHi", "_shared/x:1: the front matter opens with --- and is never closed"),
        ("---\nname: _shared/x\n---\n\n{% if x", "_shared/x:5: unexpected end of template"),
    ]:
        house.write("_shared/x.prompty", text)
        with pytest.raises(PromptSyntaxError) as error:
            _ = house.prompts["a"]
        assert told in str(error.value)


# --- git -------------------------------------------------------------------------------------------------------------


def test_a_link_is_what_it_leads_to_at_a_commit_too(house):
    house.prompt("1.0.0", "user:\nreal")
    for name, target in {"b": "a.prompty", "c": "../secret", "d": "d.prompty"}.items():
        (house.folder / f"{name}.prompty").symlink_to(target)
    (house.root / "secret").write_text("secret")
    house.commit()
    then = house.prompts.at("HEAD")

    assert then.tree.text("b") == then.tree.text("a")
    for name in ("c", "d"):
        with pytest.raises(PromptError):
            then.tree.text(name)


def test_commits_with_strange_messages_dates_and_settings_are_read(house):
    house.git("config", "log.showRoot", "false")
    house.prompt("1.0.0", "user:\none")
    house.git("add", "-A")
    house.git("commit", "-q", "-m", "a\x01b\x02c")
    house.prompt("1.1.0", "user:\nan\u2028other")
    house.git("add", "-A")
    house.git("commit", "-q", "--date", "@253402300800 +1300", "-m", "far away")

    assert [each.version for each in house.prompts.versions("a")] == ["1.1.0", "1.0.0"]
    assert len(list(house.prompts.history.blame("a.prompty"))) == 6


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('---\n"version": 3.0.0\nname: a\n---\nx', ["3.0.0"]),
        ("---\n{version: 3.0.0, name: a}\n---\nx", ["3.0.0"]),
        ("user:\nversion: 7.0.0\n", []),
    ],
)
def test_a_version_in_history_is_that_of_the_front_matter(house, text, found):
    house.write("a.prompty", text)
    house.commit()

    assert list(house.prompts.states("a")) == found


def test_a_folder_whose_name_git_would_read_as_something_else(tmp_path):
    odd = House(tmp_path / "odd", ":p")
    odd.prompt("1.0.0")
    odd.commit()

    assert [each.version for each in odd.prompts.versions("a")] == ["1.0.0"]


def test_files_around_the_prompts_that_cannot_be_read_are_told(house):
    house.prompt("1.0.0", "user:\none")
    house.commit()
    house.prompt("1.0.0", "user:\ntwo")
    (house.folder / "CHANGELOG.md").write_bytes("Änderung".encode("latin-1"))
    with pytest.raises(PromptError, match=r"CHANGELOG\.md cannot be read"):
        bump(house.prompts, ["a"], "why")
    (house.folder / "labels.toml").mkdir()
    with pytest.raises(PromptError, match=r"labels\.toml cannot be read"):
        _ = house.prompts.labels
    Path(house.folder / "d.prompty").mkdir()
    assert list(house.prompts) == ["a"]


@pytest.mark.parametrize("name", ["my prompt", "a\nb", "#x", "a\u2028b"])
def test_a_name_that_no_lock_could_hold_is_refused(house, name):
    house.write(f"{name}.prompty", "Hi")

    with pytest.raises(PromptError, match="is no name of a prompt"):
        _ = house.prompts[name]
