"""The file of a cassette: its end, its errors, bodies with files of their own, and cassettes that tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops.cassette import Session
from pytest_agentops.errors import (
    CassetteConflict,
    CassetteCut,
    CassetteMiss,
    CassetteUnreadable,
    CassetteUsedUp,
    CassetteVersion,
    NothingRecorded,
)
from pytest_agentops.exchange import Exchange, Failure, Request, Response, Timing, parse_json
from pytest_agentops.tape import Tape, bodies_folder, dumps, load, loads, save
from pytest_agentops.testing import PytestRun, Reply, Says, ScriptedModel, ScriptedRequest, TinyProject
from pytest_agentops.trace import Finding, Render, Span, Trace

Start = Callable[..., ScriptedModel]

CHAT = "https://api.openai.com/v1/chat/completions"
JSON = (("content-type", "application/json"),)
RECORDED = datetime(2026, 11, 24, 12, tzinfo=UTC)


def chat(number: int, text: str, answer: str = "fine") -> Exchange:
    asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
    said = {"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}]}
    return Exchange(
        number,
        Request("POST", CHAT, JSON, json.dumps(asked, indent=2).encode()),
        Response(200, "OK", JSON, json.dumps(said, indent=2).encode()),
    )


def ask(text: str, url: str = CHAT) -> str:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
    content: str = httpx2.post(url, json=body).json()["choices"][0]["message"]["content"]
    return content


# --- five situations, five errors ------------------------------------------------------------------------------------


def test_a_cassette_cut_at_any_line_is_an_error(tmp_path: Path) -> None:
    """Also in the middle of the last body, where the number of exchanges is still right."""
    tape = Tape((chat(1, "one\ntwo"), chat(2, "three", "a\nb\nc")), "passed", recorded=RECORDED)
    lines = dumps(tape).splitlines(keepends=True)
    path = tmp_path / "cassette.yaml"
    for count in range(4, len(lines)):
        path.write_text("".join(lines[:count]))
        with pytest.raises(CassetteCut):
            load(path)


def test_a_cassette_of_format_1_has_no_end_and_is_read(tmp_path: Path) -> None:
    tape = Tape((chat(1, "one"),), "passed", recorded=RECORDED)
    old = dumps(tape).replace("format: 2", "format: 1").replace("agentops_end: 1\n", "")
    assert loads(old) == tape

    with pytest.raises(CassetteCut, match="it announces 1 exchanges and holds 0"):
        loads(old.partition("interactions:")[0] + "interactions: []")


def test_a_formatter_may_sort_the_keys_of_a_cassette(tmp_path: Path) -> None:
    import yaml

    tape = Tape((chat(1, "one"), chat(2, "two")), "passed", recorded=RECORDED)
    assert loads(yaml.safe_dump(yaml.safe_load(dumps(tape)))) == tape


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "version: 1\n<<<<<<< HEAD\ninteractions: []\n",
            CassetteConflict,
            "it holds the markers of an unresolved merge",
        ),
        ("interactions: []\n>>>>>>> branch\n", CassetteConflict, "it holds the markers of an unresolved merge"),
        ("agentops: {format: 9}\ninteractions: []", CassetteVersion, "it has format 9, and this version"),
        ("version: 1\nagentops:\n  format: 2\n  exch", CassetteCut, "it is cut: its last line"),
        ("interactions: [", CassetteUnreadable, "it is not YAML"),
        ("hello", CassetteUnreadable, "it is not a cassette"),
        ("# !!python/\n" + "- " * 100_000 + "x", CassetteUnreadable, "it is not YAML: "),
        (b"\xff\xfe\x00", CassetteUnreadable, "it is not"),
        (b"interactions: [\x80]", CassetteUnreadable, "it is not UTF-8"),
    ],
)
def test_a_file_that_cannot_serve_says_why(
    text: str | bytes, error: type[CassetteUnreadable], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "cassette.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CassetteUnreadable) as raised:
        load(path)
    assert type(raised.value) is error
    assert str(raised.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ({"number": "1"}, "span '1' has '1' as number"),
        ({"number": 2}, "there are two spans 2"),
        ({"kind": "spell"}, "span 1 has 'spell' as kind"),
        ({"name": None}, "span 1 has None as name"),
        ({"parent": 1}, "span 1 is inside span 1, which comes no earlier"),
        ({"parent": 2}, "span 1 is inside span 2, which comes no earlier"),
        ({"parent": [1]}, r"span 1 has \[1\] as parent"),
        ({"after": -1}, "span 1 has -1 as after"),
        ({"started": float("nan")}, "span 1 has nan as started"),
        ({"seconds": "long"}, "span 1 has 'long' as seconds"),
        ({"attributes": ["a"]}, r"span 1 has \['a'\] as attributes"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_cassette_with_spans_that_no_run_can_have_told_is_unreadable(tmp_path: Path, damage: dict, why: str) -> None:
    spans = (Span(1, "model", "m", seconds=0.1), Span(2, "model", "m", parent=1, seconds=0.1))
    stored = yaml.safe_load(dumps(Tape((chat(1, "hi"),), "passed", spans=spans)))
    stored["agentops"]["spans"][0] |= damage
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(stored))

    with pytest.raises(CassetteUnreadable, match=rf"c\.yaml: its spans are damaged: .*{why}"):
        load(path)


def test_the_markers_of_a_merge_inside_a_body_are_text() -> None:
    tape = Tape((chat(1, "\n<<<<<<< HEAD\n=======\n>>>>>>> x"),), "passed")
    assert loads(dumps(tape)) == tape


def test_a_cassette_that_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "cassette.yaml").mkdir()
    with pytest.raises(CassetteUnreadable, match=r"cassette\.yaml cannot be read: Is a directory"):
        load(tmp_path / "cassette.yaml")


def test_missing_unmatched_and_used_up_are_three_errors(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"

    def missed(text: str) -> CassetteMiss:
        session = Session(path, mode="none", name="test")
        with session.open():
            if path.exists():
                ask("one")
            with pytest.raises(CassetteMiss) as raised:
                ask(text)
        with pytest.raises(type(raised.value)):
            session.check()
        return raised.value

    absent = missed("one")
    save(Tape((chat(1, "one"),), "passed"), path)

    assert type(absent) is NothingRecorded
    assert type(missed("two")) is CassetteMiss
    assert type(missed("one")) is CassetteUsedUp


# --- what is written is what is read ---------------------------------------------------------------------------------


bodies = st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
awkward = st.sampled_from(
    [
        b"tab\there",
        b"cr\rlf\r\n",
        "\x85 \u2028 \ufeff 🙂".encode(),
        b"\x00\x01\x7f",
        b"  leading\n trailing  \n\n",
        b"- a: b\n#c",
    ]
)


@settings(max_examples=150)
@given(
    bodies | awkward,
    bodies | awkward,
    st.sampled_from(["application/octet-stream", "text/plain", "application/json", ""]),
)
def test_every_body_comes_back_as_it_was(sent: bytes, received: bytes, kind: str) -> None:
    """JSON by its value, since it is indented; anything else to the byte."""
    headers = (("content-type", kind),) if kind else ()
    tape = Tape((Exchange(1, Request("POST", CHAT, headers, sent), Response(200, "OK", headers, received)),), "passed")
    [found] = loads(dumps(tape)).exchanges
    assert found.response is not None
    for was, now in ((sent, found.request.body), (received, found.response.body)):
        assert was == now or (parse_json(was) is not None and parse_json(was) == parse_json(now))


@pytest.mark.parametrize("number", ["1e400", "0.1000000000000000055511151231257827", "1" * 5000, "-0.0", "1E5"])
def test_a_number_that_would_not_come_back_is_kept_as_text(number: str) -> None:
    body = f'{{"n": {number}}}'.encode()
    tape = Tape((Exchange(1, Request("POST", CHAT, JSON, body), Response(200, "OK", JSON, body)),), "passed")
    [found] = loads(dumps(tape)).exchanges
    assert found.request.body == body or json.loads(found.request.body) == json.loads(body)


def test_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    """A checkout of git may turn every line end of the file."""
    tape = Tape((chat(1, "one\ntwo\tthree 🙂 \x85"),), "passed", recorded=RECORDED)
    path = tmp_path / "cassette.yaml"
    path.write_bytes(dumps(tape).encode().replace(b"\n", b"\r\n"))
    assert load(path) == tape


def test_a_cassette_is_utf_8_whatever_the_locale_says(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    script = (
        "import sys; from pathlib import Path; sys.path[:0] = [sys.argv[2]]\n"
        "from tests.test_tape import chat; from pytest_agentops.tape import Tape, load, save\n"
        "tape = Tape((chat(1, 'caf\\xe9 \\U0001f642 \\u65e5\\u672c'),), 'passed')\n"
        "save(tape, Path(sys.argv[1])); [found] = load(Path(sys.argv[1])).exchanges\n"
        "assert found.request.json == tape.exchanges[0].request.json\n"
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": "C"}
    root = str(Path(__file__).resolve().parent.parent)
    subprocess.run([sys.executable, "-c", script, str(path), root], env=env, check=True)
    assert "café" in path.read_text("utf-8")


def test_everything_on_a_tape_is_read_again() -> None:
    tape = Tape(
        (
            Exchange(1, Request("POST", CHAT), None, Failure("ReadTimeout", "too late"), Timing(0.5, 1.0)),
            Exchange(
                3,
                Request("POST", CHAT),
                Response(
                    200, "OK", (("content-type", "text/event-stream"),), b"data: 1\n\ndata: 2\n\n", complete=False
                ),
                timing=Timing(2.0, 1.5, 0.25, (0.25, 0.5)),
                prompts=(0,),
            ),
        ),
        "failed",
        (Render("support", "1.0.0", "sha256:ab", {"a": 1}),),
        RECORDED,
        teardown=3,
        findings=(Finding("child_process", "a child was started"),),
    )
    assert loads(dumps(tape)) == tape
    assert tape.findings[0] in tape.trace().findings


# --- bodies with files of their own ----------------------------------------------------------------------------------


def audio(number: int, size: int, mark: bytes = b"\xff") -> Exchange:
    kind = (("content-type", "audio/mpeg"),)
    return Exchange(number, Request("POST", CHAT, kind, mark * size), Response(200, "OK", kind, b"\xfe" + mark * size))


def test_large_binary_bodies_have_files_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "cassettes" / "test_voice.yaml"
    tape = Tape((audio(1, 100_000), audio(2, 100_000), audio(3, 1000)), "passed")
    save(tape, path)
    assert load(path) == tape
    assert path.stat().st_size < 10_000
    assert len(list(bodies_folder(path).glob("*.bin"))) == 2, "the same body is kept once"
    assert Trace.from_cassette(path).findings

    save(Tape((audio(1, 1000),), "passed"), path)
    assert not bodies_folder(path).exists()


def test_a_body_of_20_mb_survives(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    text = json.dumps({"data": "x" * 20_000_000}).encode()
    tape = Tape((audio(1, 20_000_000), Exchange(2, Request("GET", CHAT), Response(200, "OK", JSON, text))), "passed")
    save(tape, path)
    [first, second] = load(path).exchanges
    assert first == tape.exchanges[0]
    assert second.response is not None
    assert len(second.response.json["data"]) == 20_000_000


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda file: file.unlink(), "a body is missing"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "a body is damaged"),
    ],
)
def test_a_body_that_is_missing_or_damaged_is_an_error(
    harm: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "cassette.yaml"
    save(Tape((audio(1, 100_000),), "passed"), path)
    harm(next(bodies_folder(path).glob("*.bin")))
    with pytest.raises(CassetteUnreadable, match=message):
        load(path)


def test_a_cassette_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "cassette.yaml"
    save(Tape((audio(1, 100_000),), "passed"), path)
    name = next(bodies_folder(path).glob("*.bin")).name
    path.write_text(path.read_text().replace(name, "../../../../etc/passwd"))
    with pytest.raises(CassetteUnreadable, match="is no name of a body"):
        load(path)


# --- cassettes that tests share --------------------------------------------------------------------------------------


def test_each_test_finds_its_own_on_a_shared_tape() -> None:
    tape = Tape().recorded_by("a", Tape((chat(1, "one"),), "passed", recorded=RECORDED))
    tape = tape.recorded_by("b", Tape((chat(1, "two"), chat(2, "three")), "failed", (Render("p", "1", "d"),)))
    found = loads(dumps(tape))

    assert found.of("a") == Tape((chat(1, "one"),), "passed", recorded=RECORDED)
    assert found.of("b") == Tape((chat(1, "two"), chat(2, "three")), "failed", (Render("p", "1", "d"),))
    assert found.of("c") is None
    assert [exchange.number for exchange in found.exchanges] == [1, 2, 3]
    assert found.outcome == "failed"
    assert found.recorded_by("b", Tape((chat(1, "two"),), "passed")).of("b") == Tape((chat(1, "two"),), "passed")


def test_what_another_tool_recorded_stays_for_the_tests_that_have_nothing_of_their_own() -> None:
    tape = Tape((chat(1, "theirs"),)).recorded_by("a", Tape((chat(1, "ours"),), "passed"))
    found = loads(dumps(tape))

    assert found.of("a") == Tape((chat(1, "ours"),), "passed")
    assert found.of("b") == Tape((chat(1, "theirs"),))


SHARING = """
    import os

    import httpx2
    import pytest

    URL = os.environ.get("MODEL_URL", "http://127.0.0.1:9/v1") + "/chat/completions"
    CLIENT = httpx2.Client(verify=False)
    pytestmark = pytest.mark.agentops(cassette="shared.yaml")

    @pytest.mark.parametrize("number", range(24))
    def test_it(agent_trace, number):
        for turn in range(3):
            body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": f"{number}.{turn}"}]}
            CLIENT.post(URL, json=body)
        assert len(agent_trace.model_calls) == 3
"""


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


def run(project: TinyProject, model: ScriptedModel | None, *args: str, **env: Any) -> PytestRun:
    where = {"MODEL_URL": model.base_url} if model else {}
    return project.run("-q", *args, env={**where, **env})


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["load", "worksteal"])
def test_four_workers_that_record_into_one_cassette_keep_every_exchange(
    distribution: str, tiny_project: TinyProject, scripted_model: Start
) -> None:
    tiny_project.write("test_shop.py", SHARING)
    model = scripted_model(echo)

    recorded = run(tiny_project, model, "-p", "xdist", "-n", "4", "--dist", distribution)
    replayed = run(tiny_project, None, "-p", "xdist", "-n", "4", "--agentops-record=none")
    alone = run(tiny_project, None, "--agentops-record=none")

    assert recorded.outcomes == replayed.outcomes == alone.outcomes == {"passed": 24}
    assert len(model.requests) == 72
    said = {
        exchange.request.json["messages"][0]["content"]
        for exchange in load(tiny_project.path / "shared.yaml").exchanges
    }
    assert said == {f"{number}.{turn}" for number in range(24) for turn in range(3)}


def test_one_test_of_a_shared_cassette_is_recorded_again_alone(
    tiny_project: TinyProject, scripted_model: Start
) -> None:
    tiny_project.write("test_shop.py", SHARING)
    model = scripted_model(echo)
    run(tiny_project, model)
    path = tiny_project.path / "shared.yaml"
    before = load(path)

    again = run(tiny_project, model, "test_shop.py::test_it[5]", "--agentops-record=all")

    assert again.outcomes == {"passed": 1}
    assert len(model.requests) == 72 + 3
    assert {test: tape for test, tape in load(path).tests.items() if not test.endswith("[5]")} == {
        test: tape for test, tape in before.tests.items() if not test.endswith("[5]")
    }
