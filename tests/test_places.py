"""Where recordings happen: fixtures of every scope, threads, children, and every way in which pytest can run a test."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_agentops.tape import load
from pytest_agentops.testing import PytestRun, Reply, Says, ScriptedModel, ScriptedRequest, TinyProject

Start = Callable[..., ScriptedModel]

AGENT = """
    import os

    import httpx2

    URL = os.environ.get("MODEL_URL", "http://127.0.0.1:9/v1") + "/chat/completions"
    CLIENT = httpx2.Client(verify=False)

    def ask(text):
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
        return CLIENT.post(URL, json=body).json()["choices"][0]["message"]["content"]

    async def ask_async(text):
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}]}
        async with httpx2.AsyncClient(verify=False) as client:
            return (await client.post(URL, json=body)).json()["choices"][0]["message"]["content"]
"""


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


@pytest.fixture
def project(tiny_project: TinyProject) -> TinyProject:
    tiny_project.write("agent.py", AGENT)
    return tiny_project


def run(project: TinyProject, model: ScriptedModel | None, *args: str, **env: str) -> PytestRun:
    where = {"MODEL_URL": model.base_url} if model else {}
    return project.run("-q", *args, env={**where, **env})


def replay(project: TinyProject, *args: str, **env: str) -> PytestRun:
    return run(project, None, "--agentops-record=none", *args, **env)


def questions(path: Path) -> list[str]:
    return [exchange.request.json["messages"][-1]["content"] for exchange in load(path).exchanges]


def cassettes(project: TinyProject) -> dict[str, list[str]]:
    """Every cassette with its questions."""
    found = sorted(path for path in project.path.rglob("*.yaml") if ".agentops" not in path.parts)
    return {path.relative_to(project.path).as_posix().removeprefix("cassettes/"): questions(path) for path in found}


# --- fixtures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_a_shared_fixture_of_every_scope_records_and_replays(
    scope: str, project: TinyProject, scripted_model: Start
) -> None:
    project.write(
        "test_shop.py",
        f"""
        import pytest
        from agent import ask

        @pytest.fixture(scope="{scope}")
        def summary():
            yield ask("set up")
            ask("torn down")

        class TestShop:
            def test_one(self, agent_trace, summary):
                assert ask("one") and len(agent_trace.model_calls) == 1

            def test_two(self, agent_trace, summary):
                assert ask("two") and len(agent_trace.model_calls) == 1
        """,
    )

    assert run(project, scripted_model(echo)).outcomes == {"passed": 2}
    assert cassettes(project) == {
        "test_shop/TestShop.test_one.yaml": ["one"],
        "test_shop/TestShop.test_two.yaml": ["two"],
        "test_shop/fixtures/summary.yaml": ["set up", "torn down"],
    }
    assert replay(project).outcomes == {"passed": 2}


def test_async_fixtures_of_every_scope_record_and_replay(project: TinyProject, scripted_model: Start) -> None:
    project.write("pyproject.toml", "[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = 'session'\n")
    project.write(
        "test_shop.py",
        """
        import pytest
        import pytest_asyncio
        from agent import ask_async

        @pytest_asyncio.fixture(scope="session", loop_scope="session")
        async def shared():
            yield await ask_async("session begins")
            await ask_async("session ends")

        @pytest_asyncio.fixture(loop_scope="session")
        async def own():
            yield await ask_async("test begins")
            await ask_async("test ends")

        @pytest.mark.asyncio(loop_scope="session")
        async def test_one(agent_trace, shared, own):
            assert await ask_async("one")
            assert [call.messages[-1].content for call in agent_trace.model_calls] == ["test begins", "one"]

        @pytest.mark.asyncio(loop_scope="session")
        async def test_two(agent_trace, shared, own):
            assert await ask_async("two")
        """,
    )

    assert run(project, scripted_model(echo), "-p", "asyncio").outcomes == {"passed": 2}
    assert cassettes(project) == {
        "test_shop/fixtures/shared.yaml": ["session begins", "session ends"],
        "test_shop/test_one.yaml": ["test begins", "one", "test ends"],
        "test_shop/test_two.yaml": ["test begins", "two", "test ends"],
    }
    assert replay(project, "-p", "asyncio").outcomes == {"passed": 2}


def test_shared_fixtures_that_use_each_other_keep_their_own(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import pytest
        from agent import ask

        @pytest.fixture(scope="session")
        def inner():
            yield ask("inner begins")
            ask("inner ends")

        @pytest.fixture(scope="module", params=["a", "b"])
        def outer(request, inner):
            yield ask(f"outer {request.param} begins")
            ask(f"outer {request.param} ends")

        def test_one(agent_trace, outer):
            assert ask("one")
        """,
    )

    assert run(project, scripted_model(echo)).outcomes == {"passed": 2}
    assert cassettes(project) == {
        "test_shop/fixtures/inner.yaml": ["inner begins", "inner ends"],
        "test_shop/fixtures/outer[0].yaml": ["outer a begins", "outer a ends"],
        "test_shop/fixtures/outer[1].yaml": ["outer b begins", "outer b ends"],
        "test_shop/test_one[a].yaml": ["one"],
        "test_shop/test_one[b].yaml": ["one"],
    }
    assert replay(project).outcomes == {"passed": 2}


# --- threads, pools, parts and runs inside of runs -------------------------------------------------------------------


def test_a_pool_that_outlives_tests_works_for_whoever_gives_it_work(
    project: TinyProject, scripted_model: Start
) -> None:
    project.write(
        "test_shop.py",
        """
        from concurrent.futures import ThreadPoolExecutor
        from agent import ask

        POOL = ThreadPoolExecutor(2)

        def asked(trace):
            return sorted(call.messages[-1].content for call in trace.model_calls)

        def test_one(agent_trace):
            assert list(POOL.map(ask, ["a", "b"]))
            assert asked(agent_trace) == ["a", "b"]

        def test_two(agent_trace):
            with agent_trace.part("c") as part:
                POOL.submit(ask, "c").result()
            POOL.submit(ask, "d").result()
            assert asked(agent_trace) == ["c", "d"]
            assert asked(part) == ["c"]
        """,
    )

    assert run(project, scripted_model(echo)).outcomes == {"passed": 2}
    assert replay(project).outcomes == {"passed": 2}


def test_a_run_of_pytest_inside_a_test_has_recordings_of_its_own(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "inner/test_inner.py",
        """
        from agent import ask

        def test_inside(agent_trace):
            assert ask("inside") and len(agent_trace.model_calls) == 1
        """,
    )
    project.write(
        "test_outer.py",
        """
        import pytest
        from agent import ask

        def test_outside(agent_trace):
            ask("before")
            assert pytest.main(["-q", "-p", "agentops", "inner"]) == 0
            ask("after")
            assert [call.messages[-1].content for call in agent_trace.model_calls] == ["before", "after"]
        """,
    )
    project.write("pyproject.toml", "[tool.pytest.ini_options]\npythonpath = ['.']\n")

    assert run(project, scripted_model(echo), "test_outer.py").outcomes == {"passed": 1}
    assert cassettes(project) == {
        "inner/cassettes/test_inner/test_inside.yaml": ["inside"],
        "test_outer/test_outside.yaml": ["before", "after"],
    }
    assert replay(project, "test_outer.py").outcomes == {"passed": 1}


# --- children --------------------------------------------------------------------------------------------------------

FORKING = """
    import multiprocessing
    import warnings
    from agent import ask

    def child():
        try:
            ask("from the child")
        except Exception:
            pass

    def test_fork(agent_trace):
        ask("from the test")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            process = multiprocessing.get_context("{method}").Process(target=child)
            process.start()
            process.join()
"""


@pytest.mark.parametrize("recorded", [False, True], ids=["recording", "replaying"])
def test_the_request_of_a_forked_child_turns_the_test_red(
    recorded: bool, project: TinyProject, scripted_model: Start
) -> None:
    project.write("test_shop.py", FORKING.format(method="fork"))
    if recorded:
        project.write("test_shop.py", FORKING.format(method="fork").replace('ask("from the child")', "pass"))
        run(project, scripted_model(echo))
        project.write("test_shop.py", FORKING.format(method="fork"))
    model = scripted_model(echo)

    result = run(project, model)

    assert result.outcomes == {"failed": 1}
    said = re.search(
        r"the child process \d+ of test_shop\.py::test_fork made a request: POST http://127.*", result.stdout
    )
    assert said, result.stdout
    assert "what a child process asks can be neither recorded nor replayed" in result.stdout
    assert [request.prompt for request in model.requests] == ([] if recorded else ["from the test"])


def test_a_spawned_child_is_named_while_recording(project: TinyProject, scripted_model: Start) -> None:
    project.write("test_shop.py", FORKING.format(method="spawn"))

    result = run(project, scripted_model(echo))

    assert result.outcomes == {"passed": 1}
    [finding] = load(project.path / "cassettes/test_shop/test_fork.yaml").findings
    assert finding.kind == "child_process"
    assert finding.message.endswith("was started; what it asks is not recorded")


# --- every way to run ------------------------------------------------------------------------------------------------


def test_a_test_that_is_run_again_after_a_failure_goes_on_from_its_draft(
    project: TinyProject, scripted_model: Start
) -> None:
    pytest.importorskip("pytest_rerunfailures")
    project.write(
        "test_shop.py",
        """
        from agent import ask
        tries = []

        def test_flaky(agent_trace):
            tries.append(1)
            ask("first")
            ask("second")
            assert len(tries) == 3
        """,
    )
    model = scripted_model(echo)

    result = run(project, model, "-p", "pytest_rerunfailures", "--reruns=3")

    assert "1 passed, 2 rerun" in result.stdout
    assert [request.prompt for request in model.requests] == ["first", "second"]
    assert cassettes(project) == {"test_shop/test_flaky.yaml": ["first", "second"]}


def test_last_failed_first_failure_and_a_skip_in_the_middle(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import os
        import pytest
        from agent import ask

        def test_one(agent_trace):
            ask("one")
            if os.environ.get("SKIP"):
                pytest.skip("no time")
            ask("more of one")

        def test_two(agent_trace):
            ask("two")
            assert os.environ.get("PASS")

        def test_three(agent_trace):
            ask("three")
        """,
    )
    model = scripted_model(echo)

    skipped = run(project, model, "-x", SKIP="1")
    assert (skipped.outcomes, cassettes(project)) == ({"failed": 1, "skipped": 1}, {})
    again = run(project, model, "-p", "cacheprovider", "--lf", PASS="1")
    assert again.outcomes["passed"] >= 1
    assert run(project, model, PASS="1").outcomes == {"passed": 3}
    assert sorted(request.prompt for request in model.requests) == ["more of one", "one", "three", "two"]
    replayed_skip = replay(project, SKIP="1", PASS="1")
    assert replayed_skip.outcomes == {"passed": 2, "skipped": 1}


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["load", "loadscope", "loadfile", "loadgroup", "worksteal", "each"])
def test_every_way_to_distribute_tests(distribution: str, project: TinyProject, scripted_model: Start) -> None:
    project.write("conftest.py", """
        import pytest
        from agent import ask

        @pytest.fixture(scope="session")
        def summary():
            return ask("summarise")
    """)  # fmt: skip
    for name in ("test_a", "test_b"):
        project.write(f"{name}.py", """
            import pytest
            from agent import ask

            @pytest.mark.parametrize("n", range(4))
            def test_it(agent_trace, summary, n):
                assert ask(f"{__name__} {n}") == f"re: {__name__} {n}"
        """)  # fmt: skip
    options = ["-p", "xdist", "--dist", distribution, "--tx", "2*popen"]
    times = 2 if distribution == "each" else 1

    recorded = run(project, scripted_model(echo), *options)
    replayed = replay(project, *options)

    assert recorded.outcomes == replayed.outcomes == {"passed": 8 * times}
    assert len(cassettes(project)) == 9
    assert replay(project).outcomes == {"passed": 8}


def test_doctests_may_be_marked(project: TinyProject, scripted_model: Start) -> None:
    project.write("shop.py", '''
        from agent import ask

        def order():
            """
            >>> order()
            're: Where is it?'
            """
            return ask("Where is it?")
    ''')  # fmt: skip
    project.write("conftest.py", """
        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker("agentops")
    """)  # fmt: skip

    assert run(project, scripted_model(echo), "--doctest-modules", "shop.py").outcomes == {"passed": 1}
    assert cassettes(project) == {"shop/shop.order.yaml": ["Where is it?"]}
    assert replay(project, "--doctest-modules", "shop.py").outcomes == {"passed": 1}


def test_unittest_classes_synchronous_and_asynchronous(project: TinyProject, scripted_model: Start) -> None:
    project.write(
        "test_shop.py",
        """
        import unittest
        import pytest
        from agent import ask, ask_async

        @pytest.mark.agentops
        class Shop(unittest.TestCase):
            def setUp(self):
                ask("set up")

            def test_one(self):
                self.assertEqual(ask("one"), "re: one")

        @pytest.mark.agentops
        class Async(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self):
                await ask_async("set up")

            async def test_two(self):
                self.assertEqual(await ask_async("two"), "re: two")
        """,
    )

    assert run(project, scripted_model(echo)).outcomes == {"passed": 2}
    assert cassettes(project) == {
        "test_shop/Async.test_two.yaml": ["set up", "two"],
        "test_shop/Shop.test_one.yaml": ["set up", "one"],
    }
    assert replay(project).outcomes == {"passed": 2}


# --- what is said while recording ------------------------------------------------------------------------------------


def test_values_that_change_from_run_to_run_are_told_of_with_their_cure(
    project: TinyProject, scripted_model: Start
) -> None:
    source = """
        import uuid
        import httpx2
        import pytest
        from agent import URL

        FIXED = "6f1c2b3a-1111-4222-8333-444455556666"
        {mark}
        def test_order(agent_trace):
            body = {{
                "model": "gpt-5-mini",
                "metadata": {{"run": str(uuid.uuid4()), "shop": FIXED}},
                "messages": [{{"role": "user", "content": "hello"}}],
            }}
            httpx2.post(URL, json=body)
    """
    project.write("test_shop.py", source.format(mark=""))
    model = scripted_model(echo)

    recorded = run(project, model)
    missed = run(project, model)

    told = recorded.stdout.splitlines()
    at = told.index(
        "agentops: test_shop.py::test_order sends values that change from run to run; its cassette may not fit again"
    )
    assert re.fullmatch(r"  \$\.metadata\.run holds a uuid: [0-9a-f-]{36}", told[at + 1])
    assert told[at + 2] == '  to leave it out: @pytest.mark.agentops(ignore=["$.metadata.run"])'
    assert missed.outcomes == {"failed": 1}
    assert "cause     the same request but for a value that changes from run to run (uuid)" in missed.stdout
    assert 'to cure it: @pytest.mark.agentops(ignore=["$.metadata.run"])' in missed.stdout

    project.write("test_shop.py", source.format(mark=told[at + 2].partition(": ")[2]))
    assert replay(project).outcomes == {"passed": 1}


def test_a_secret_that_would_be_written_refuses_the_save_with_its_place(
    project: TinyProject, scripted_model: Start
) -> None:
    """The name of a test stands in a shared cassette, and no request can take it out of there."""
    secret = "sk-proj-" + "aB3" * 16
    project.write(
        "test_shop.py",
        f"""
        import pytest
        from agent import ask

        @pytest.mark.agentops(cassette="shared.yaml")
        @pytest.mark.parametrize("key", ["{secret}"])
        def test_order(agent_trace, key):
            ask("hello")
        """,
    )

    result = run(project, scripted_model(echo))

    assert result.outcomes == {"passed": 1, "errors": 1}
    assert "shared.yaml was not written: " in result.stdout
    assert re.search(r"  line \d+, column \d+: ", result.stdout)
    assert not (project.path / "shared.yaml").exists()


# --- nothing goes live in replay -------------------------------------------------------------------------------------

FOREIGN = '[tool.pytest.ini_options]\n[tool.agentops]\nallow_hosts = ["!127.0.0.2"]\n'
"""The second address of loopback counts as foreign, so that nothing leaves this machine."""

LEAKS = {
    "a session fixture": ("socket", """
        @pytest.fixture(scope="session")
        def leak():
            swallowed(lambda: socket.create_connection(("127.0.0.2", PORT)))
    """),
    "a thread": ("socket", """
        @pytest.fixture
        def leak():
            thread = threading.Thread(target=swallowed, args=[lambda: socket.create_connection(("127.0.0.2", PORT))])
            thread.start()
            thread.join()
    """),
    "raw asyncio": ("asyncio", """
        @pytest.fixture
        def leak():
            swallowed(lambda: asyncio.run(asyncio.open_connection("127.0.0.2", PORT)))
    """),
    "requests": ("requests", """
        @pytest.fixture
        def leak():
            import requests
            swallowed(lambda: requests.get(f"http://127.0.0.2:{PORT}/"))
    """),
    "a child with curl": ("curl", """
        @pytest.fixture
        def leak():
            subprocess.run(["curl", "-s", "-m", "5", f"http://127.0.0.2:{PORT}/"], check=False)
    """),
}  # fmt: skip


@pytest.mark.parametrize("who", LEAKS)
def test_a_live_call_in_replay_turns_the_test_red_and_is_named(who: str, project: TinyProject) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    reached = []

    class Reached(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reached.append(self.path)
            self.send_response(200)
            self.end_headers()

    client, leak = LEAKS[who]
    server = HTTPServer(("127.0.0.2", 0), Reached)
    Thread(target=server.serve_forever, daemon=True).start()
    project.write("pyproject.toml", FOREIGN)
    project.write(
        "test_shop.py",
        f"""
        import asyncio, socket, subprocess, threading
        import pytest

        PORT = {server.server_port}

        def swallowed(work):
            try:
                work()
            except Exception:
                pass
        """,
    )
    path = project.path / "test_shop.py"
    import textwrap

    path.write_text(path.read_text() + textwrap.dedent(leak) + "\ndef test_order(agent_trace, leak):\n    pass\n")

    result = replay(project)
    server.shutdown()
    server.server_close()

    assert reached == []
    assert set(result.outcomes) <= {"failed", "errors"}, result.stdout
    if who == "requests":
        # It is watched, so it is a request without a recorded reply.
        assert f"GET http://127.0.0.2:{server.server_port}/" in result.stdout
        return
    assert re.search(
        rf"{client}\S* wanted to reach 127\.0\.0\.2:{server.server_port}, and nothing may go live", result.stdout
    )
    assert "test      test_shop.py::test_order" in result.stdout
    assert "line      test_shop.py:" in result.stdout


def test_a_test_that_does_not_use_us_may_go_where_it_likes_unless_the_scope_says_all(project: TinyProject) -> None:
    source = """
        import socket

        def test_plain():
            try:
                socket.create_connection(("127.0.0.2", 9), timeout=1)
            except OSError:
                pass
            except Exception:
                pass
    """
    project.write("test_shop.py", source)
    project.write("pyproject.toml", FOREIGN)
    assert replay(project).outcomes == {"passed": 1}

    project.write("pyproject.toml", FOREIGN + 'scope = "all"\n')
    result = replay(project)

    assert result.outcomes == {"failed": 1}
    assert "socket wanted to reach 127.0.0.2:9, and nothing may go live" in result.stdout
    assert "test      test_shop.py::test_plain" in result.stdout
    assert run(project, None, "--agentops-record=live").outcomes == {"passed": 1}


def test_with_the_scope_all_a_module_that_goes_live_while_it_is_imported_fails_the_run(project: TinyProject) -> None:
    project.write("pyproject.toml", FOREIGN + 'scope = "all"\n')
    project.write(
        "test_shop.py",
        """
        import socket
        try:
            socket.create_connection(("127.0.0.2", 9), timeout=1)
        except Exception:
            pass

        def test_plain():
            pass
        """,
    )

    result = replay(project)

    assert result.exit_code == 1
    assert (
        "agentops: outside of every test, socket wanted to reach 127.0.0.2:9, and nothing may go live" in result.stdout
    )
