"""`pytest-agentops doctor` tells what is captured of what is installed, and does not say so of anything else."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from pytest_agentops.doctor.clients import CLIENTS, Client, is_installed
from pytest_agentops.doctor.examination import Row, examine
from pytest_agentops.errors import UsageError
from pytest_agentops.testing import TinyProject

OPENAI = [
    "chat: plain",
    "chat: tools",
    "chat: streamed",
    "chat: streamed with usage",
    "chat: parse",
    "chat: .stream() helper",
    "chat: raw response",
    "chat: async plain",
    "chat: async streamed",
    "responses: plain",
    "responses: tools",
    "responses: streamed",
    "responses: parse",
    "responses: .stream() helper",
    "responses: raw response",
    "responses: async plain",
    "responses: async streamed",
    "embeddings",
]


def run(project: TinyProject, *arguments: str, **environment: str):
    return project.command(sys.executable, "-m", "pytest_agentops", "doctor", *arguments, env=environment, timeout=300)


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_shape_of_what_is_installed_is_captured_and_replayed(tiny_project):
    told = run(tiny_project, "--json", OPENAI_API_KEY="sk-not-to-be-shown", HTTPS_PROXY="http://127.0.0.1:9")

    found = json.loads(told.stdout)
    installed = [row for row in found["rows"] if row["status"] != "not installed"]
    assert [row for row in installed if row["status"] != "captured"] == []
    assert all(row["seen"] and row["replayed"] and row["reason"] == "" for row in installed)
    assert {row["shape"] for row in installed if row["decoded"] is not True} == set()
    assert [row["shape"] for row in installed if row["client"] == "openai"] == OPENAI
    assert {row["client"] for row in installed} == {client.name for client in CLIENTS if not client.missing}
    assert "sk-not-to-be-shown" not in told.stdout + told.stderr
    assert (found["captured"], told.exit_code, told.stderr) == (True, 0, "")
    assert {each["module"] for each in found["transports"]} >= {"grpc"} or not is_installed("grpc")
    assert {"websockets", "mcp"}.isdisjoint(each["module"] for each in found["transports"])


def test_people_read_one_line_for_each_shape(tiny_project):
    told = run(tiny_project, "--only", "http.client", "--only", "urllib")

    assert told.stdout == textwrap.dedent("""\
        http.client: of the standard library
          + plain     seen, read, replayed
          + streamed  seen, read, replayed
        urllib: of the standard library
          + plain     seen, read, replayed
          + streamed  seen, read, replayed
        4 of 4 shapes of what is installed are captured and replayed
        """)
    assert (told.exit_code, told.stderr) == (0, "")


def test_a_client_that_breaks_is_told_with_the_reason_and_fails_the_command(tiny_project):
    tiny_project.write("requests.py", "raise RuntimeError('no certificates here')")  # Found before the real one.

    told = run(tiny_project, "--only", "requests", "--only", "urllib")

    assert told.stdout == textwrap.dedent(f"""\
        requests: {version("requests")}
          - failed: it cannot be imported: RuntimeError: no certificates here
        urllib: of the standard library
          + plain     seen, read, replayed
          + streamed  seen, read, replayed
        2 of 3 shapes of what is installed are captured and replayed
        """)
    assert (told.exit_code, told.stderr) == (1, "")


def test_a_client_that_nobody_knows_is_wrong_use(tiny_project):
    told = run(tiny_project, "--only", "urlib")

    assert told.exit_code == 2
    assert told.stderr.startswith("pytest-agentops: no client 'urlib' is known; did you mean 'urllib'?\n  there are: ")


# --- what it does not call captured ----------------------------------------------------------------------------------


Examined = Callable[[str], list[Row]]


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Examined:
    """The rows of a client that this text is the module of."""
    room = f"client_of_{request.node.name.partition('[')[0]}"
    monkeypatch.syspath_prepend(tmp_path)

    def one(text: str) -> list[Row]:
        (tmp_path / f"{room}.py").write_text(IMPORTS + textwrap.dedent(text), encoding="utf-8")
        return list(examine(clients=[Client("mine", ("json",), room)]).rows)

    return one


IMPORTS = """
import json, os, socket, sys
import httpx2
from pytest_agentops.doctor import ASKS, SAYS, TEXT, Heard, Shape
from pytest_agentops.doctor.shapes import CHAT, PATH, STREAMED, completion, events


def plain(url, **more):
    return completion(httpx2.post(f"{url}{PATH}", json={**CHAT, **more}).content)
"""


def test_a_client_that_is_captured(examined):
    assert examined('SHAPES = (Shape("plain", plain),)') == [
        Row("mine", None, "plain", "captured", "", seen=True, decoded=True, replayed=True)
    ]


def test_a_client_that_is_missing_is_one_row_and_no_failure():
    found = examine(clients=[Client("absent", ("json", "a_package.not_there", "nor_this"), "nowhere", "absent")])

    reason = "there is no module a_package.not_there and no module nor_this"
    assert found.rows == (Row("absent", None, None, "not installed", reason),)


def test_nothing_examined_is_not_well():
    absent = Client("absent", ("a_package_that_is_not_there",), "nowhere")
    present = next(client for client in CLIENTS if client.name == "urllib")

    assert not examine(clients=[absent]).is_well
    assert examine(clients=[absent, present]).is_well


@pytest.mark.parametrize("ends", ['raise RuntimeError("no GPU\\nat all")', 'sys.exit("no licence")'])
def test_a_client_that_cannot_be_imported_is_a_row_with_the_reason(examined, ends):
    [row] = examined(ends)

    assert (row.shape, row.status) == (None, "failed")
    assert row.reason in (
        "it cannot be imported: RuntimeError: no GPU at all",
        "it cannot be imported: SystemExit: no licence",
    )


def test_a_client_that_crashes_is_a_row_with_the_reason_and_the_next_shape_is_asked(examined):
    first, second = examined("""
        def crashes(url):
            print("noise")
            raise ZeroDivisionError("by zero")

        SHAPES = (Shape("crashes", crashes), Shape("plain", plain))
    """)

    assert (first.status, first.reason) == ("failed", "it failed: ZeroDivisionError: by zero")
    assert second.status == "captured"


RAW = """
    def raw(url):
        host, _, port = url.removeprefix("http://").partition(":")
        body = json.dumps(CHAT).encode()
        head = f"POST {PATH} HTTP/1.1\\r\\nhost: {host}\\r\\nconnection: close\\r\\ncontent-length: {len(body)}\\r\\n\\r\\n"
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return completion(answer.partition(b"\\r\\n\\r\\n")[2])
"""


def test_a_client_that_opens_sockets_itself_is_not_captured_and_a_replay_refuses_them(examined):
    [row] = examined(RAW + '\n    SHAPES = (Shape("raw", raw),)')

    assert row == Row(
        "mine",
        None,
        "raw",
        "not captured",
        "0 of 1 requests were seen, the others go past every client that is watched; a replay refuses its sockets",
    )


def test_a_client_that_asks_in_another_process_is_not_captured_and_a_replay_does_not_notice(examined):
    """Loopback is not asked of the proxies that keep children from the network, so that this one gets through."""
    [row] = examined("""
        import subprocess

        CODE = '''
        import sys, urllib.request
        asked = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), {"content-type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        sys.stdout.write(opener.open(asked).read().decode())
        '''

        def child(url):
            code = CODE.replace("\\n        ", "\\n")
            asked = [sys.executable, "-c", code, f"{url}{PATH}", json.dumps(CHAT)]
            return completion(subprocess.run(asked, capture_output=True, check=True).stdout)

        SHAPES = (Shape("child", child),)
    """)

    assert row.status == "not captured"
    assert row.reason.endswith("a replay does not notice it, and it goes live")


def test_a_shape_of_which_only_some_requests_are_seen_is_not_captured(examined):
    [row] = examined(RAW + '\n    SHAPES = (Shape("both", lambda url: (raw(url), plain(url))[1], (SAYS, SAYS)),)')

    assert (row.status, row.seen) == ("not captured", False)
    assert row.reason.startswith("1 of 2 requests were seen")


def test_what_is_seen_and_read_otherwise_is_not_captured(examined):
    [row] = examined("""
        def streamed(url):
            asked = {**STREAMED, "stream_options": {}}
            with httpx2.stream("POST", f"{url}{PATH}", json=asked) as answer:
                return events(answer.iter_lines())

        SHAPES = (Shape("streamed", streamed),)
    """)

    assert (row.status, row.seen, row.decoded, row.replayed) == ("not captured", True, False, False)
    assert row.reason == (
        "it was seen and is not read as it was said: the usage (input, output, cached tokens) is None instead of (120, 30, 20)"
    )


def test_what_asks_something_else_each_time_is_not_replayed(examined):
    [row] = examined("""
        from itertools import count

        numbers = count()
        SHAPES = (Shape("restless", lambda url: plain(url, seed=next(numbers))),)
    """)

    assert (row.status, row.decoded, row.replayed) == ("not captured", True, False)
    assert row.reason.startswith(
        "it was recorded and is not replayed: CassetteMiss: no recorded reply for this request"
    )


def test_a_miss_that_a_client_swallows_is_not_replayed_either(examined):
    [row] = examined("""
        from itertools import count

        numbers = count()

        def swallows(url):
            try:
                return plain(url, seed=next(numbers))
            except Exception:
                return Heard(TEXT)

        SHAPES = (Shape("swallows", swallows),)
    """)

    assert row.reason.startswith("it was recorded and is not replayed: CassetteMiss")


def test_another_answer_than_was_scripted_is_a_failure(examined):
    [row] = examined('SHAPES = (Shape("deaf", lambda url: (plain(url), Heard("What?"))[1]),)')

    assert row.status == "failed"
    assert row.reason.startswith("it made Heard(text='What?'")


def test_a_request_beyond_the_script_is_a_failure(examined):
    [row] = examined('SHAPES = (Shape("twice", lambda url: (plain(url), httpx2.post(f"{url}{PATH}", json=CHAT))[0]),)')

    assert row.status == "failed"
    assert row.reason.startswith("it asks what the script does not say: 1 reply was scripted, and request 2 came")


# --- the surroundings ------------------------------------------------------------------------------------------------


def test_clients_see_no_keys_and_the_environment_is_as_it_was_afterwards(examined, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setenv("MY_COMPANYS_TOKEN", "real")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    before = dict(os.environ)

    [row] = examined("""
        def looks(url):
            found = {"OPENAI_API_KEY", "MY_COMPANYS_TOKEN", "HTTPS_PROXY"} & set(os.environ)
            # A replay stands in for the key that is missing.
            assert not found or os.environ["OPENAI_API_KEY"] != "sk-real", found
            assert found <= {"OPENAI_API_KEY"}
            return plain(url)

        SHAPES = (Shape("looks", looks),)
    """)

    assert (row.status, row.reason) == ("captured", "")
    assert dict(os.environ) == before


def test_nothing_leaves_the_machine_while_it_records(examined):
    [row] = examined("""
        def calls_home(url):
            socket.create_connection(("203.0.113.1", 443), timeout=1)

        SHAPES = (Shape("calls home", calls_home),)
    """)

    assert row.status == "failed"
    assert row.reason.startswith("it failed: LiveCallRefused")


def test_what_a_client_prints_and_warns_of_is_not_shown(examined, capfd):
    [row] = examined("""
        import warnings

        def chatty(url):
            print("hello")
            print("hello", file=sys.stderr)
            warnings.warn("old")
            return plain(url)

        SHAPES = (Shape("chatty", chatty),)
    """)

    assert row.status == "captured"
    assert capfd.readouterr() == ("", "")


def test_only_names_must_be_known_and_leave_the_transports_out():
    with pytest.raises(UsageError, match="no client 'opnai' is known; did you mean 'openai'"):
        examine(["opnai"])
    assert examine(["urllib"]).transports == ()
