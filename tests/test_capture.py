"""What an open recording sees, whose it is, and that nothing is watched without one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import anyio.to_thread
import httpx
import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from pytest_agentops.capture import AgentTrace, Recording, watching
from pytest_agentops.cassette import Session
from pytest_agentops.errors import StrayRequest
from pytest_agentops.exchange import Exchange
from pytest_agentops.testing import (
    Asks,
    Disconnects,
    Fails,
    Reply,
    Says,
    ScriptedModel,
    ScriptedRequest,
    ToolRequest,
)
from pytest_agentops.trace import Trace

Start = Callable[..., ScriptedModel]

FOREVER = 600.0
"""A pause that ends only because the model is closed; a test that waited for it would time out."""


def echo(request: ScriptedRequest) -> Reply:
    return Says(f"re: {request.prompt}")


def question(text: str, **options: object) -> dict[str, object]:
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}], **options}


def post(model: ScriptedModel, text: str) -> str:
    """One question through httpx2, and the text of its answer."""
    reply = httpx2.post(f"{model.base_url}/chat/completions", json=question(text))
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


def asked(recording: Recording) -> list[str]:
    """The questions that a recording has seen, in order."""
    return [exchange.request.json["messages"][-1]["content"] for exchange in recording.exchanges]


@contextmanager
def recorded(path: Path, *, mode: str = "once") -> Iterator[Session]:
    """A session that is saved as passed; in mode `none` it replays."""
    session = Session(path, mode=mode, name="test")
    with session.open():
        yield session
    session.close("passed")


def patched_places() -> dict[str, object]:
    """Every method that an open recording may replace, as it is now."""
    places: list[tuple[type, str]] = [(threading.Thread, "start"), (concurrent.futures.ThreadPoolExecutor, "submit")]
    for library in (httpx, httpx2):
        places += [
            (library.HTTPTransport, "handle_request"),
            (library.AsyncHTTPTransport, "handle_async_request"),
            (library.MockTransport, "handle_request"),
            (library.MockTransport, "handle_async_request"),
            (library.WSGITransport, "handle_request"),
            (library.ASGITransport, "handle_async_request"),
        ]
    return {f"{place.__module__}.{place.__name__}.{name}": getattr(place, name) for place, name in places}


# --- nothing is watched without a recording --------------------------------------------------------------------------


def test_nothing_is_patched_before_and_after_a_recording() -> None:
    before = patched_places()
    with watching(Recording("test")):
        during = patched_places()
    assert all(during[name] is not before[name] for name in before)
    assert patched_places() == before


def test_nothing_is_patched_after_an_exception() -> None:
    before = patched_places()
    with pytest.raises(ZeroDivisionError), watching(Recording("test")):
        raise ZeroDivisionError
    assert patched_places() == before


def test_the_patches_stay_until_the_last_of_several_recordings_closes() -> None:
    before = patched_places()
    with watching(Recording("outer")):
        during = patched_places()
        with watching(Recording("inner")):
            pass
        assert patched_places() == during
    assert patched_places() == before


def test_a_client_made_before_the_recording_is_watched_and_left_alone_afterwards(scripted_model: Start) -> None:
    model = scripted_model(echo)
    recording = Recording("test")
    with OpenAI(base_url=model.base_url, api_key="scripted") as client:
        client.chat.completions.create(**question("before"))
        with watching(recording):
            client.chat.completions.create(**question("during"))
        client.chat.completions.create(**question("after"))
    assert asked(recording) == ["during"]
    assert len(model.requests) == 3


# --- what is seen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_synchronous_client_is_recorded_and_replayed(
    library: ModuleType, tmp_path: Path, scripted_model: Start
) -> None:
    model = scripted_model(Says("It has shipped."), gzip=True)
    replies = []
    for mode in ("once", "none"):
        with recorded(tmp_path / "cassette.yaml", mode=mode) as session, library.Client() as client:
            reply = client.post(f"{model.base_url}/chat/completions", json=question("Where is it?"))
            replies.append((reply.status_code, reply.reason_phrase, reply.headers["x-request-id"], reply.json()))
        assert session.recording.freeze().response == "It has shipped."
    assert replies[0] == replies[1]
    assert len(model.requests) == 1


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_an_asynchronous_client_is_recorded_and_replayed(
    library: ModuleType, tmp_path: Path, scripted_model: Start
) -> None:
    model = scripted_model(Says("It has shipped."), gzip=True)

    async def run() -> object:
        async with library.AsyncClient() as client:
            reply = await client.post(f"{model.base_url}/chat/completions", json=question("Where is it?"))
            return reply.status_code, reply.reason_phrase, reply.headers["x-request-id"], reply.json()

    replies = []
    for mode in ("once", "none"):
        with recorded(tmp_path / "cassette.yaml", mode=mode) as session:
            replies.append(asyncio.run(run()))
        assert session.recording.freeze().response == "It has shipped."
    assert replies[0] == replies[1]
    assert len(model.requests) == 1


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_the_transports_that_need_no_network_are_watched_too(library: ModuleType) -> None:
    def answer(request: object) -> object:
        return library.Response(200, json={"answer": 42})

    recording = Recording("test")
    with watching(recording), library.Client(transport=library.MockTransport(answer)) as client:
        assert client.post("https://api.test/v1/ask", json={}).json() == {"answer": 42}
    assert [exchange.request.url for exchange in recording.exchanges] == ["https://api.test/v1/ask"]


def test_exchanges_are_numbered_in_the_order_they_were_issued_and_not_answered(scripted_model: Start) -> None:
    first_is_there = threading.Event()

    def answer(request: ScriptedRequest) -> Reply:
        if request.prompt == "slow":
            first_is_there.set()
            return Says("slow", latency=0.2)
        return Says("quick")

    model = scripted_model(answer)
    recording = Recording("test")
    with watching(recording), ThreadPoolExecutor() as pool:
        slow = pool.submit(post, model, "slow")
        first_is_there.wait(10)
        post(model, "quick")
        slow.result()
    assert [(exchange.number, exchange.response.json["choices"][0]["message"]["content"])
            for exchange in recording.exchanges if exchange.response] == [(1, "slow"), (2, "quick")]  # fmt: skip


def test_retries_of_the_openai_client_are_attempts_of_one_model_call(tmp_path: Path, scripted_model: Start) -> None:
    busy = Fails(429, "Slow down.", code="rate_limit_exceeded", headers={"retry-after-ms": "1"})
    model = scripted_model(busy, Fails(503, headers={"retry-after-ms": "1"}), Says("It has shipped."))
    for mode in ("once", "none"):
        with (
            recorded(tmp_path / "cassette.yaml", mode=mode) as session,
            OpenAI(base_url=model.base_url, api_key="scripted") as client,
        ):
            client.chat.completions.create(**question("Where is it?"))
        trace = session.recording.freeze()
        assert [call.response for call in trace.model_calls] == ["It has shipped."]
        assert [
            (attempt.exchange, attempt.error and attempt.error.status) for attempt in trace.model_calls[0].attempts
        ] == [(1, 429), (2, 503), (3, None)]
    assert len(model.requests) == 3


def test_a_question_that_the_application_repeats_is_another_model_call(scripted_model: Start) -> None:
    model = scripted_model(Fails(500), Says("It has shipped."))
    recording = Recording("test")
    with watching(recording), OpenAI(base_url=model.base_url, api_key="scripted", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**question("Where is it?"))
        client.chat.completions.create(**question("Where is it?"))
    assert [len(call.attempts) for call in recording.freeze().model_calls] == [1, 1]


def test_an_agent_trace_sees_what_has_happened_so_far(scripted_model: Start) -> None:
    model = scripted_model(Asks(ToolRequest("get_order", {"id": 42})), Says("It has shipped."))
    recording = Recording("test")
    agent_trace = AgentTrace(recording)
    with watching(recording):
        assert len(agent_trace.model_calls) == 0
        httpx2.post(f"{model.base_url}/chat/completions", json=question("Where is it?"))
        assert agent_trace.trajectory == ["get_order"]
        assert agent_trace.response == ""
        post(model, "And now?")
        assert agent_trace.response == "It has shipped."
    assert agent_trace.source == "live"


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_refused_connection_is_replayed_as_the_same_exception(library: ModuleType, tmp_path: Path) -> None:
    with ScriptedModel(echo) as model:
        nobody_there = f"{model.base_url}/chat/completions"
    errors = []
    for mode in ("once", "none"):
        with recorded(tmp_path / "cassette.yaml", mode=mode), library.Client() as client:
            with pytest.raises(library.ConnectError) as raised:
                client.post(nobody_there, json=question("Where is it?"))
            errors.append((type(raised.value), str(raised.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_time_out_is_replayed_as_the_same_exception(
    library: ModuleType, tmp_path: Path, scripted_model: Start
) -> None:
    model = scripted_model(Says("too late", latency=FOREVER))
    errors = []
    for mode in ("once", "none"):
        with recorded(tmp_path / "cassette.yaml", mode=mode), library.Client(timeout=0.2) as client:
            with pytest.raises(library.ReadTimeout) as raised:
                client.post(f"{model.base_url}/chat/completions", json=question("Where is it?"))
            errors.append((type(raised.value), str(raised.value)))
    assert errors[0] == errors[1]
    assert len(model.requests) == 1


def test_the_openai_client_sees_the_same_error_live_and_replayed(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Says("too late", latency=FOREVER), Disconnects())
    for mode in ("once", "none"):
        with (
            recorded(tmp_path / "cassette.yaml", mode=mode) as session,
            OpenAI(base_url=model.base_url, api_key="scripted", max_retries=0, timeout=0.2) as client,
        ):
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(**question("Where is it?"))
            with pytest.raises(openai.APIConnectionError):
                client.chat.completions.create(**question("Is it there?"))
        assert [call.error and call.error.code for call in session.recording.freeze().model_calls] == [
            "ReadTimeout",
            "RemoteProtocolError",
        ]


def test_a_body_cut_in_the_middle_is_replayed_with_its_error(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Disconnects(reply=Says("It has shipped.")))
    errors = []
    for mode in ("once", "none"):
        with recorded(tmp_path / "cassette.yaml", mode=mode) as session:
            with pytest.raises(httpx2.RemoteProtocolError) as raised:
                post(model, "Where is it?")
            errors.append(str(raised.value))
        (exchange,) = session.recording.exchanges
        assert exchange.response is not None
        assert not exchange.response.complete
        assert exchange.response.body.startswith(b'{"id":"chatcmpl-1"')
    assert errors[0] == errors[1]


# --- streams ---------------------------------------------------------------------------------------------------------


def test_chunks_arrive_while_recording(scripted_model: Start) -> None:
    """The model never sends its second chunk; whoever read the whole body first would wait for it in vain."""
    model = scripted_model(Says("one two three", pause=FOREVER))
    recording = Recording("test")
    with (
        watching(recording),
        OpenAI(base_url=model.base_url, api_key="scripted", timeout=20, max_retries=0) as client,
        client.chat.completions.create(**question("Count.", stream=True)) as stream,
    ):
        texts = (chunk.choices[0].delta.content for chunk in stream)
        assert next(text for text in texts if text) == "one"
    (exchange,) = recording.exchanges
    assert exchange.response is not None
    assert not exchange.response.complete
    assert recording.freeze().response == "one"


def test_chunks_arrive_while_recording_in_an_asynchronous_client(scripted_model: Start) -> None:
    model = scripted_model(Says("one two three", pause=FOREVER))
    recording = Recording("test")

    async def first_word() -> str | None:
        async with (
            AsyncOpenAI(base_url=model.base_url, api_key="scripted", timeout=20, max_retries=0) as client,
            await client.chat.completions.create(**question("Count.", stream=True)) as stream,
        ):
            async for chunk in stream:
                if chunk.choices[0].delta.content:
                    return str(chunk.choices[0].delta.content)
        return None

    with watching(recording):
        assert asyncio.run(first_word()) == "one"
    assert recording.freeze().response == "one"


def test_a_stream_that_nobody_closed_is_kept_as_far_as_it_was_read(scripted_model: Start) -> None:
    model = scripted_model(Says("one two three", pause=FOREVER))
    recording = Recording("test")
    with httpx2.Client(timeout=20) as client:
        with watching(recording):
            request = client.build_request("POST", f"{model.base_url}/chat/completions",
                                           json=question("Count.", stream=True))  # fmt: skip
            reply = client.send(request, stream=True)
            lines = reply.iter_lines()
            assert any('"content":"one"' in line for line in lines)
        reply.close()
    assert recording.freeze().response == "one"
    assert [finding.kind for finding in recording.freeze().findings] == ["cut_off", "no_usage"]


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_stream_is_replayed_event_by_event(library: ModuleType, tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Says("one two three"))
    url = f"{model.base_url}/chat/completions"
    events = []
    for mode in ("once", "none"):
        with (
            recorded(tmp_path / "cassette.yaml", mode=mode),
            library.Client() as client,
            client.stream("POST", url, json=question("Count.", stream=True)) as reply,
        ):
            events.append(list(reply.iter_raw()))
    assert len(events[1]) == 6  # The role, three words, the end and [DONE].
    assert all(event.startswith(b"data: ") and event.endswith(b"\n\n") for event in events[1])
    assert b"".join(events[0]) == b"".join(events[1])


def test_a_stream_is_replayed_event_by_event_to_an_asynchronous_client(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Says("one two three"))

    async def words() -> list[str | None]:
        async with (
            AsyncOpenAI(base_url=model.base_url, api_key="scripted") as client,
            await client.chat.completions.create(**question("Count.", stream=True)) as stream,
        ):
            return [chunk.choices[0].delta.content async for chunk in stream]

    found = []
    for mode in ("once", "none"):
        with recorded(tmp_path / "cassette.yaml", mode=mode):
            found.append(asyncio.run(words()))
    assert found == [["", "one", " two", " three", None]] * 2
    assert len(model.requests) == 1


def test_a_stream_abandoned_early_can_be_abandoned_again_on_replay(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Says("one two three", pause=FOREVER))
    for mode in ("once", "none"):
        with (
            recorded(tmp_path / "cassette.yaml", mode=mode) as session,
            OpenAI(base_url=model.base_url, api_key="scripted", timeout=20, max_retries=0) as client,
        ):
            stream = client.chat.completions.create(**question("Count.", stream=True))
            assert next(text for chunk in stream if (text := chunk.choices[0].delta.content)) == "one"
            stream.close()
        assert session.recording.freeze().response == "one"


def test_a_stream_that_breaks_off_is_replayed_with_the_same_error(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(Disconnects(after=2, reply=Says("one two three four")))
    found = []
    for mode in ("once", "none"):
        words = []
        with (
            recorded(tmp_path / "cassette.yaml", mode=mode) as session,
            OpenAI(base_url=model.base_url, api_key="scripted", max_retries=0) as client,
        ):
            stream = client.chat.completions.create(**question("Count.", stream=True))
            with pytest.raises(openai.APIConnectionError) as raised:
                words.extend(chunk.choices[0].delta.content for chunk in stream)
            cause = raised.value.__cause__
            found.append((type(cause), str(cause), words))
        (exchange,) = session.recording.exchanges
        assert exchange.failure is not None
        assert exchange.failure.kind == "RemoteProtocolError"
    assert found[0] == found[1]
    assert found[0][2] == ["", "one", " two"]
    assert len(model.requests) == 1


# --- whose it is -----------------------------------------------------------------------------------------------------


def start_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def start_a_thread_from_a_thread(work: Callable[[], object]) -> None:
    start_a_thread(lambda: start_a_thread(work))


def use_a_new_pool(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(work).result()


def map_over_a_pool(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: work(), [None]))


def use_to_thread(work: Callable[[], object]) -> None:
    asyncio.run(asyncio.to_thread(work))


def use_run_in_executor(work: Callable[[], object]) -> None:
    async def run() -> None:
        await asyncio.get_running_loop().run_in_executor(None, work)

    asyncio.run(run())


def use_anyio(work: Callable[[], object]) -> None:
    async def run() -> None:
        await anyio.to_thread.run_sync(work)

    anyio.run(run)


def use_an_empty_context(work: Callable[[], object]) -> None:
    """What a task group or a framework does that does not hand its caller's context on."""
    contextvars.Context().run(work)


WAYS = [
    start_a_thread,
    start_a_thread_from_a_thread,
    use_a_new_pool,
    map_over_a_pool,
    use_to_thread,
    use_run_in_executor,
    use_anyio,
]


@pytest.mark.parametrize("way", [*WAYS, use_an_empty_context])
def test_work_elsewhere_belongs_to_the_recording_that_it_was_started_in(
    way: Callable[[Callable[[], object]], None], scripted_model: Start
) -> None:
    model = scripted_model(echo)
    recording = Recording("test")
    with watching(recording):
        way(lambda: post(model, "from elsewhere"))
    assert asked(recording) == ["from elsewhere"]


@pytest.mark.parametrize("way", WAYS)
def test_work_elsewhere_belongs_to_its_own_of_two_open_recordings(
    way: Callable[[Callable[[], object]], None], scripted_model: Start
) -> None:
    model = scripted_model(echo)
    outer, inner = Recording("outer"), Recording("inner")
    with watching(outer):
        way(lambda: post(model, "outer, before"))
        with watching(inner):
            way(lambda: post(model, "inner"))
        way(lambda: post(model, "outer, after"))
    assert asked(outer) == ["outer, before", "outer, after"]
    assert asked(inner) == ["inner"]


def test_a_pool_that_existed_before_works_for_whoever_submits(scripted_model: Start) -> None:
    model = scripted_model(echo)
    first, second = Recording("first"), Recording("second")
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(post, model, "nobody's").result()
        for recording in (first, second):
            with watching(recording):
                pool.submit(post, model, recording.name).result()
        pool.submit(post, model, "nobody's").result()
    assert asked(first) == ["first"]
    assert asked(second) == ["second"]


def test_a_pool_whose_thread_the_first_test_started_works_for_the_second(scripted_model: Start) -> None:
    model = scripted_model(echo)
    first, second = Recording("first"), Recording("second")
    with ThreadPoolExecutor(max_workers=1) as pool:
        for recording in (first, second):
            with watching(recording):
                pool.submit(post, model, recording.name).result()
    assert asked(first) == ["first"]
    assert asked(second) == ["second"]


def test_two_recordings_open_at_once_in_two_threads_stay_apart(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(echo)
    rounds = 10
    together = threading.Barrier(2, timeout=20)
    sessions: dict[str, Session] = {}

    def run(name: str, mode: str) -> list[str]:
        together.wait()
        sessions[name] = session = Session(tmp_path / f"{name}.yaml", mode=mode, name=name)
        with session.open():
            together.wait()
            answers = [post(model, f"{name} {number}") for number in range(rounds)]
            together.wait()
        session.close("passed")
        session.check()
        return answers

    for mode in ("once", "none"):
        with ThreadPoolExecutor(2) as pool:
            left, right = pool.map(run, ("left", "right"), (mode, mode))
        assert left == [f"re: left {number}" for number in range(rounds)]
        assert right == [f"re: right {number}" for number in range(rounds)]
        for name, session in sessions.items():
            assert asked(session.recording) == [f"{name} {number}" for number in range(rounds)]
    assert len(model.requests) == 2 * rounds


def test_two_recordings_open_at_once_in_two_tasks_stay_apart(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(echo)
    sessions: dict[str, Session] = {}

    async def run(name: str, mode: str) -> list[str]:
        sessions[name] = session = Session(tmp_path / f"{name}.yaml", mode=mode, name=name)
        with session.open():
            async with AsyncOpenAI(base_url=model.base_url, api_key="scripted") as client:
                replies = await asyncio.gather(
                    *(client.chat.completions.create(**question(f"{name} {number}")) for number in range(5))
                )
        session.close("passed")
        session.check()
        return [str(reply.choices[0].message.content) for reply in replies]

    async def both(mode: str) -> list[list[str]]:
        return list(await asyncio.gather(run("left", mode), run("right", mode)))

    for mode in ("once", "none"):
        left, right = asyncio.run(both(mode))
        assert left == [f"re: left {number}" for number in range(5)]
        assert right == [f"re: right {number}" for number in range(5)]
        for name, session in sessions.items():
            assert sorted(asked(session.recording)) == [f"{name} {number}" for number in range(5)]
    assert len(model.requests) == 10


def test_a_thread_whose_test_has_ended_may_send_nothing(scripted_model: Start) -> None:
    model = scripted_model(echo)
    ended, seen = threading.Event(), []

    def late() -> None:
        ended.wait(20)
        try:
            post(model, "too late")
        except StrayRequest as error:
            seen.append(str(error))

    with watching(Recording("tests/test_a.py::test_first")):
        thread = threading.Thread(target=late, name="worker")
        thread.start()
    second = Recording("tests/test_a.py::test_second")
    with watching(second):
        ended.set()
        thread.join()
    (message,) = seen
    assert message == (
        "tests/test_a.py::test_first started the thread 'worker' and has ended; "
        "a request that this thread makes now belongs to no test\n"
        "  let the test wait for its threads, or start the thread in a fixture of the scope it lives in"
    )
    assert second.exchanges == ()
    assert model.requests == []


def test_a_request_that_could_belong_to_two_recordings_goes_to_neither_and_is_a_finding(scripted_model: Start) -> None:
    model = scripted_model(echo)
    go, done = threading.Event(), threading.Event()

    def unknown() -> None:
        go.wait(20)
        post(model, "whose?")
        done.set()

    threading.Thread(target=unknown).start()
    left, right = Recording("left"), Recording("right")
    with watching(left), watching(right):
        go.set()
        assert done.wait(20)
    for recording in (left, right):
        assert recording.exchanges == ()
        assert [finding.message for finding in recording.freeze().findings] == [
            "a request was made that could belong to several open recordings"
        ]


# --- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [lambda work: work(), *WAYS], ids=["here", *(way.__name__ for way in WAYS)])
def test_a_part_has_what_is_sent_inside_its_block(
    way: Callable[[Callable[[], object]], None], scripted_model: Start
) -> None:
    model = scripted_model(echo)
    recording = Recording("test")
    agent_trace = AgentTrace(recording)
    with watching(recording):
        way(lambda: post(model, "before"))
        with agent_trace.part("the question") as part:
            way(lambda: post(model, "inside"))
        way(lambda: post(model, "after"))
    assert part.name == "the question"
    assert part.response == "re: inside"
    assert [call.response for call in part.model_calls] == ["re: inside"]
    assert len(agent_trace.model_calls) == 3


def test_parts_may_lie_inside_each_other_and_side_by_side(scripted_model: Start) -> None:
    model = scripted_model(echo)
    recording = Recording("test")
    agent_trace = AgentTrace(recording)
    with watching(recording):
        with agent_trace.part("outer") as outer:
            post(model, "one")
            with outer.part("inner") as inner:
                post(model, "two")
        with agent_trace.part("next") as later:
            post(model, "three")
    assert [call.response for call in outer.model_calls] == ["re: one", "re: two"]
    assert [call.response for call in inner.model_calls] == ["re: two"]
    assert [call.response for call in later.model_calls] == ["re: three"]


def test_parts_of_tasks_that_run_at_once_stay_apart(tmp_path: Path, scripted_model: Start) -> None:
    model = scripted_model(echo)

    async def run(agent_trace: AgentTrace, name: str) -> list[str]:
        with agent_trace.part(name) as part:
            async with httpx2.AsyncClient() as client:
                for number in range(3):
                    await client.post(f"{model.base_url}/chat/completions", json=question(f"{name} {number}"))
        return [str(call.response) for call in part.model_calls]

    async def both(agent_trace: AgentTrace) -> list[list[str]]:
        return list(await asyncio.gather(run(agent_trace, "left"), run(agent_trace, "right")))

    for mode in ("once", "none"):
        with recorded(tmp_path / "cassette.yaml", mode=mode) as session:
            left, right = asyncio.run(both(AgentTrace(session.recording)))
        assert left == [f"re: left {number}" for number in range(3)]
        assert right == [f"re: right {number}" for number in range(3)]


def test_an_exchange_is_a_value_that_json_bodies_are_read_from(scripted_model: Start) -> None:
    model = scripted_model(echo)
    recording = Recording("test")
    with watching(recording):
        post(model, "hello")
    (exchange,) = recording.exchanges
    assert isinstance(exchange, Exchange)
    assert exchange.request.json == json.loads(exchange.request.body) == question("hello")
    assert not exchange.failed


def test_a_request_that_the_caller_gave_up_is_given_up_again(tmp_path: Path, scripted_model: Start) -> None:
    """A tripwire cancels the slow call; on replay the call waits for the tripwire as it did."""
    model = scripted_model(lambda request: Says("late", latency=30) if request.prompt == "slow" else Says("quick"))

    async def run(session: Session) -> None:
        with session.open():
            async with httpx2.AsyncClient() as client:
                slow = asyncio.ensure_future(client.post(f"{model.base_url}/chat/completions", json=question("slow")))
                await asyncio.sleep(0.2)
                slow.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await slow
                assert (
                    await client.post(f"{model.base_url}/chat/completions", json=question("quick"))
                ).status_code == 200
        session.check()
        session.close("passed")

    asyncio.run(run(Session(tmp_path / "x.yaml", mode="once", name="test")))
    recorded = Trace.from_cassette(tmp_path / "x.yaml")
    model.close()
    again = Session(tmp_path / "x.yaml", mode="none", name="test")
    asyncio.run(run(again))

    assert [str(call.error) for call in recorded.model_calls] == [
        "Cancelled the caller did not wait for the answer",
        "None",
    ]
    assert replace(again.recording.freeze(), source="imported") == recorded
