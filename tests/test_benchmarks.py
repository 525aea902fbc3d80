"""The benchmarks run; what they measure is read by people, on their own machines."""

from __future__ import annotations

import re

from benchmarks import capture, sessions, spans

MILLISECONDS, MICROSECONDS = r"[+-]?\d+\.\d\d ms", r"\+ ?-?\d+\.\d\d µs"


def test_spans_measures_each_kind_of_what_can_be_decorated():
    lines = list(spans.measured(rounds=2, calls=3))

    assert [line.partition(" bare")[0].strip() for line in lines] == [
        "@tool, function", "@tool, async", "@task, generator", "@task, async generator", "@agent, method",
        "with span(...)",
    ]  # fmt: skip
    assert all(re.search(rf"nothing records {MICROSECONDS} .* recording {MICROSECONDS}", line) for line in lines)


def test_capture_measures_clients_streams_and_runs_of_agents():
    lines = list(capture.measured(rounds=2, calls=1))

    assert [line.partition(" without")[0].strip() for line in lines] == [
        "httpx2", "openai", "httpx2, 72 words streamed", "openai, 72 words streamed", "a run of the Agents SDK",
        "a run of LangGraph", "first chunk",
    ]  # fmt: skip
    assert all(re.search(rf"recording +{MILLISECONDS} .* added {MILLISECONDS} \(", line) for line in lines)


def test_sessions_measures_the_list_the_search_and_the_waterfall():
    first, listed, drawn, searched, waterfall = sessions.measured(runs=3, steps=3)

    assert re.match(r"3 runs read for the first time  \d+\.\d\d s, \d+\.\d\d ms each$", first)
    assert re.match(r"3 runs listed, warm index  \d+ ms   floor \d+ ms$", listed)
    assert re.match(r"sorted, and the first of them as HTML  \d+ ms$", drawn)
    assert re.match(r"searched for two words  \d+ ms, 0 found$", searched)
    assert re.match(
        r"a trace of 3 steps  read from its cassette .* s, its waterfall as HTML .* characters\)$", waterfall
    )
