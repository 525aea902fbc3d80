"""Loading: seconds to read cassettes, cold and from the cache of what was parsed before.

The same 1,000 exchanges in our file and in the one that stock vcrpy writes, each read by its own loader, exchanges and
all. And the cassettes that others recorded (where they are present), read by us beside plain C YAML, which makes data
of them and nothing more. Each round reads all in turn; ratios are medians over rounds.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from vcr.persisters.filesystem import FilesystemPersister
from vcr.serialize import serialize
from vcr.serializers import yamlserializer

from benchmarks.replay import _tape
from pytest_agentops.document import Cache
from pytest_agentops.tape import Tape, dumps, load

_CORPUS = Path(os.environ.get("AGENTOPS_CORPUS") or Path(__file__).resolve().parents[2] / "shared" / "corpus")
_ROUNDS = 9


def lines() -> Iterator[str]:
    """The figures, line by line."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _same_exchanges(Path(folder))
        if _CORPUS.is_dir():
            yield from _corpus(Path(folder))
        else:
            yield f"no cassettes of others at {_CORPUS}; name some with AGENTOPS_CORPUS"


def _same_exchanges(folder: Path) -> Iterator[str]:
    tape = _tape(1000)
    ours, theirs = folder / "ours.yaml", folder / "theirs.yaml"
    ours.write_text(dumps(tape), encoding="utf-8")
    theirs.write_text(_as_vcrpy_writes(tape), encoding="utf-8")
    cache = Cache(folder)
    load(ours, cache)
    readers: dict[str, Callable[[], object]] = {
        "ours": lambda: load(ours),
        "ours, cached": lambda: load(ours, cache),
        "vcrpy": lambda: FilesystemPersister.load_cassette(theirs, yamlserializer),
    }
    seconds = _measured(readers)
    yield f"1,000 exchanges   {_shown(seconds)}"
    cold, warm = _ratio(seconds, "vcrpy", "ours"), _ratio(seconds, "vcrpy", "ours, cached")
    yield f"  cold {cold:.1f}x faster than vcrpy, warm {warm:.1f}x"


def _corpus(folder: Path) -> Iterator[str]:
    paths = sorted(_CORPUS.rglob("*.yaml"))
    cache = Cache(folder)
    for path in paths:
        load(path, cache)

    def plain() -> None:
        for path in paths:
            yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)

    readers: dict[str, Callable[[], object]] = {
        "ours": lambda: [load(path) for path in paths],
        "ours, cached": lambda: [load(path, cache) for path in paths],
        "plain C YAML": plain,
    }
    seconds = _measured(readers)
    yield f"{len(paths)} foreign files   {_shown(seconds)}"
    yield (
        f"  cold {_ratio(seconds, 'ours', 'plain C YAML'):.2f}x the time of plain C YAML, "
        f"warm {_ratio(seconds, 'plain C YAML', 'ours, cached'):.1f}x faster"
    )


def _as_vcrpy_writes(tape: Tape) -> str:
    from vcr.request import Request

    requests = [
        Request(e.request.method, e.request.url, e.request.body, dict(e.request.headers)) for e in tape.exchanges
    ]
    responses = [
        {
            "status": {"code": 200, "message": "OK"},
            "headers": {name: [value] for name, value in e.response.headers},
            "body": {"string": e.response.body},
        }
        for e in tape.exchanges
        if e.response is not None
    ]
    text: str = serialize({"requests": requests, "responses": responses}, yamlserializer)
    return text


def _measured(readers: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(_ROUNDS):
        for name, read in readers.items():
            began = time.perf_counter()
            read()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def _shown(seconds: dict[str, list[float]]) -> str:
    return "   ".join(f"{name} {statistics.median(found):.3f} s" for name, found in seconds.items())


def _ratio(seconds: dict[str, list[float]], one: str, other: str) -> float:
    return statistics.median(left / right for left, right in zip(seconds[one], seconds[other], strict=True))
