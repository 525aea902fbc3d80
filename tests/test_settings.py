"""The settings of a project: who wins, where each came from, and what a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_agentops.errors import SettingsError
from pytest_agentops.settings import MODES, Settings, read_settings

PYPROJECT, ENVIRONMENT, OPTIONS, CI = "pyproject.toml", "the environment", "the command line", "the environment (CI)"


def project(root: Path, table: str) -> Path:
    (root / "pyproject.toml").write_text(f"[tool.agentops]\n{table}\n", encoding="utf-8")
    return root


def told(root: Path, environment: dict[str, str] | None = None, **options: object) -> str:
    """What a mistake is told."""
    with pytest.raises(SettingsError) as error:
        read_settings(root, options, environment or {})
    return str(error.value)


def test_a_project_that_says_nothing_gets_the_defaults(tmp_path):
    assert read_settings(tmp_path, environment={}) == Settings(
        root=tmp_path, record="once", prompts=tmp_path / "prompts", ignore=(), origins={}
    )


def test_other_tables_of_pyproject_do_not_matter(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nrecord = 3\n")

    assert read_settings(tmp_path, environment={}).origins == {}


def test_drafts_are_kept_inside_the_project(tmp_path):
    assert read_settings(tmp_path, environment={}).drafts == tmp_path / ".agentops" / "drafts"


def test_each_setting_of_pyproject_counts(tmp_path):
    project(tmp_path, 'record = "all"\nprompts = "src/prompts"\nignore = ["$.metadata.id", "$.user"]')

    assert read_settings(tmp_path, environment={}) == Settings(
        root=tmp_path,
        record="all",
        prompts=tmp_path / "src" / "prompts",
        ignore=("$.metadata.id", "$.user"),
        origins={"record": PYPROJECT, "prompts": PYPROJECT, "ignore": PYPROJECT},
    )


def test_each_setting_of_the_environment_counts(tmp_path):
    environment = {
        "AGENTOPS_RECORD": "live",
        "AGENTOPS_PROMPTS": "/elsewhere",
        "AGENTOPS_IGNORE": "$.metadata.id, $.user",
        "AGENTOPS_UNHEARD_OF": "1",
    }

    assert read_settings(tmp_path, environment=environment) == Settings(
        root=tmp_path,
        record="live",
        prompts=Path("/elsewhere"),
        ignore=("$.metadata.id", "$.user"),
        origins={"record": ENVIRONMENT, "prompts": ENVIRONMENT, "ignore": ENVIRONMENT},
    )


@pytest.mark.parametrize(
    ("ci", "pyproject", "environment", "option", "record", "origin"),
    [
        (False, None, None, None, "once", None),
        (True, None, None, None, "none", CI),
        (False, "all", None, None, "all", PYPROJECT),
        (True, "all", None, None, "all", PYPROJECT),
        (True, "all", "live", None, "live", ENVIRONMENT),
        (True, "all", "live", "once", "once", OPTIONS),
        (True, None, None, "all", "all", OPTIONS),
        (False, "all", None, "none", "none", OPTIONS),
        (True, None, "once", None, "once", ENVIRONMENT),
    ],
)
def test_the_nearest_source_wins_and_is_remembered(tmp_path, ci, pyproject, environment, option, record, origin):
    if pyproject:
        project(tmp_path, f'record = "{pyproject}"')
    variables = {"CI": "true"} if ci else {}
    variables |= {"AGENTOPS_RECORD": environment} if environment else {}

    found = read_settings(tmp_path, {"record": option} if option else {}, variables)

    assert (found.record, found.origins.get("record")) == (record, origin)


def test_an_empty_variable_says_nothing(tmp_path):
    found = read_settings(tmp_path, environment={"CI": "", "AGENTOPS_RECORD": "", "AGENTOPS_IGNORE": ""})

    assert (found.record, found.ignore, found.origins) == ("once", (), {})


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_can_be_set(tmp_path, mode):
    assert read_settings(tmp_path, {"record": mode}, {}).record == mode


def test_a_value_that_another_source_overrides_is_checked_all_the_same(tmp_path):
    project(tmp_path, 'record = "always"')

    assert told(tmp_path, record="once") == (
        "record = 'always' in pyproject.toml is no record mode; there are: none, once, changed, all, verify, live"
    )


def test_a_mode_that_there_is_not_is_answered_with_the_nearest(tmp_path):
    assert told(tmp_path, {"AGENTOPS_RECORD": "onec"}) == (
        "record = 'onec' in the environment is no record mode; did you mean 'once'?; there are: none, once, changed, all, verify, live"
    )


def test_a_setting_that_there_is_not_is_answered_with_the_nearest(tmp_path):
    project(tmp_path, 'promts = "src"')

    assert told(tmp_path) == (
        "[tool.agentops] in pyproject.toml has no setting 'promts'; did you mean 'prompts'?; "
        "there are: record, prompts, base, ignore, allow_hosts, redact, scope, timing, models, gate, trials"
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "record = 3",
            "record = 3 in pyproject.toml is no record mode; there are: none, once, changed, all, verify, live",
        ),
        (
            "record = true",
            "record = True in pyproject.toml is no record mode; there are: none, once, changed, all, verify, live",
        ),
        (
            "record = []",
            "record = [] in pyproject.toml is no record mode; there are: none, once, changed, all, verify, live",
        ),
        ("prompts = 3", "prompts = 3 in pyproject.toml must be the path of a folder, as text"),
        ('prompts = ""', "prompts = '' in pyproject.toml must be the path of a folder, as text"),
        (
            'ignore = "$.user"',
            "ignore = '$.user' in pyproject.toml must be a list of JSON paths, such as [\"$.metadata.id\"]",
        ),
        ("ignore = [3]", 'ignore = [3] in pyproject.toml must be a list of JSON paths, such as ["$.metadata.id"]'),
    ],
)
def test_a_value_that_cannot_be_used_says_where_it_stands(tmp_path, table, message):
    assert told(project(tmp_path, table)) == message


def test_a_json_path_that_is_none_says_what_is_wrong_with_it(tmp_path):
    said = told(project(tmp_path, "ignore = ['$.user[']"))

    assert said.startswith("ignore = ['$.user['] in pyproject.toml: '$.user[' is no JSON path: ")
    assert "\n" not in said


def test_a_pyproject_that_is_no_toml_is_an_error_that_says_where(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.agentops\n")

    assert told(tmp_path) == (
        f"{tmp_path}/pyproject.toml is not TOML: Expected ']' at the end of a table declaration (at line 1, column 15)"
    )


def test_a_pyproject_that_is_not_utf_8_is_an_error(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"name = '\xff'\n")

    assert told(tmp_path).startswith(f"{tmp_path}/pyproject.toml is not TOML: 'utf-8' codec can't decode byte 0xff")


@pytest.mark.parametrize("text", ["[tool]\nagentops = 3\n", "[[tool.agentops]]\nrecord = 'all'\n", "tool = 3\n"])
def test_a_table_that_is_none_is_an_error(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)

    assert told(tmp_path) == (
        f"{tmp_path}/pyproject.toml: agentops under [tool] must be a table: write [tool.agentops]"
    )
