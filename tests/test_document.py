"""Documents as plain data: what PyYAML would give, and the cache of what was read before."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops import document
from pytest_agentops.document import Cache, parse

CORPUS = Path(os.environ.get("AGENTOPS_CORPUS") or Path(__file__).resolve().parent.parent.parent / "shared" / "corpus")

AWKWARD = [
    "",
    "# nothing\n",
    "a",
    "--- a\n...\n",
    "- yes\n- No\n- on\n- 0o17\n- 017\n- 0x1F\n- 1_000\n- 1:30\n- 1e5\n- 1.5e+3\n- .5\n- .inf\n- .NaN\n- ~\n- null\n- =\n",
    "- 2001-12-14\n- 2001-12-14t21:59:43.10-05:00\n- '2001-12-14'\n",
    "- !!binary |\n  aGVsbG8=\n- !!str 12\n- !!int '7'\n- !!float 3\n- ! 12\n- ! 'x'\n",
    "a: &x {b: 1}\nc: *x\nd: *x\n",
    "- &a [1, *a]\n",
    "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n",
    "a: 1\na: 2\n",
    "? [1, 2]\n: pair\n",
    "? {a: 1}\n: mapping\n",
    "1: int\n1.5: float\ntrue: bool\nnull: none\n2001-01-01: date\n",
    "a: |\n  one\n  two\n\nb: >-\n  folded\n  text\n\n  para\nc: |+\n  kept\n\n",
    "a: 'it''s'\nb: \"tab\\t \\u263a \\x41\"\nc: plain\n  over lines\n",
    "a: [1, {b: c}, [], {}]\n",
    "!!set {a, b}\n",
    "!!omap [a: 1]\n",
    "a: \x85b\u2028c\n",
    "\ufeffa: 1\n",
    "a:\r\n- b\r\n",
    "%YAML 1.1\n---\na: 1\n",
    "a: !!python/object/apply:os.system [ls]\n",
    "a: 1\n--- \nb: 2\n",
    "*unknown\n",
    "a: [1\n",
    "\ta: 1\n",
    "a: !!timestamp 2001-01-01\n",
    "a: !!binary '%'\n",
    "",
    "\n...\n",
    "---\n",
    "---\na: 1\n...\n",
    "a:\n- b\n- - c\n  - d: 1\n    e:\n    - f\ng:\nh:\n",
    "a: b\n  c\n\n  - d\ne: 2001-12-14\n  21:59:43\n",
    "a: b\n  c: d\n",
    "a: b\n  # c\n",
    "a: |2-\n\n    b\n   c\n\n\nd: |+\n  e\n\n",
    "a: |2\n\n\nb: |\nc: |-\n   \n",
    "a: |\n    b\n  c\n",
    "a: 'b\n\n  c'' d '\ne: \"f\\\n  g \\\" \\u00e9\n  h\"\n",
    "a: 'b\n--- c'\n",
    "'a': 1\n\"b\": 2\n$c: 3\nyes: 4\n12: 5\nd e: 6\n",
    "a:  1\nb : 2\nc: - d\ne: ? f\n",
    "a: 1\n  b: 2\n",
    "  a: 1\n b: 2\n",
    "- a\nb: 1\n",
    "a: 1\n- b\n",
]


def outcome(read: Callable[[str], object], text: str) -> tuple[str, str]:
    try:
        return "data", repr(read(text))
    except yaml.YAMLError as error:
        return type(error).__name__, str(error)


def stock(text: str) -> object:
    return yaml.load(text, Loader=yaml.CSafeLoader)


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_documents_are_what_pyyaml_makes_of_them(text: str) -> None:
    assert outcome(parse, text) == outcome(stock, text)


def test_a_date_that_is_none_is_an_error_of_the_document() -> None:
    with pytest.raises(yaml.YAMLError, match="day is out of range for month"):
        parse("a: 2024-02-31\n")


keys = st.text(max_size=8) | st.integers() | st.booleans() | st.none()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
styles = st.sampled_from([None, "'", '"', "|", ">"])


@settings(max_examples=200)
@given(values, styles, st.booleans(), st.sampled_from([None, True, False]))
def test_whatever_was_dumped_is_what_pyyaml_makes_of_it(data: Any, style: Any, unicode: bool, flow: Any) -> None:
    text = yaml.safe_dump(data, default_style=style, allow_unicode=unicode, default_flow_style=flow)
    assert outcome(parse, text) == outcome(stock, text)


@given(st.text(alphabet="ab:- \n#'\"[]{},&*!|>?%01.~=<", max_size=40))
def test_whatever_is_typed_is_what_pyyaml_makes_of_it(text: str) -> None:
    assert outcome(parse, text) == outcome(stock, text)


FRAGMENTS = [
    "- ",
    "  ",
    "\n",
    ": ",
    ":",
    " #",
    "'",
    '"',
    "|2-",
    "|\n",
    ">",
    "&a ",
    "*a",
    "!!str ",
    "[]",
    "? ",
    "\n...\n",
    "\n---\n",
    "\t",
    "\x85",
    "a: b\n",
    "\n    ",
]
"""What makes another document of a document."""


@settings(max_examples=500)
@given(
    values, st.sampled_from([20, 80]), st.lists(st.tuples(st.integers(0, 400), st.sampled_from(FRAGMENTS)), max_size=3)
)
def test_whatever_was_dumped_and_damaged_is_what_pyyaml_makes_of_it(data: Any, width: int, damage: Any) -> None:
    text = yaml.safe_dump({"a": data, "b": [data]}, allow_unicode=True, width=width, default_flow_style=False)
    for at, fragment in damage:
        text = text[:at] + fragment + text[at:]
    assert outcome(parse, text) == outcome(stock, text)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no corpus at {CORPUS}; name one with AGENTOPS_CORPUS")
def test_cassettes_that_others_recorded_are_read_line_by_line_as_pyyaml_reads_them() -> None:
    for path in sorted(CORPUS.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert repr(document._from_lines(text)) == repr(stock(text)), path


def test_a_thousand_levels_and_a_laugh_do_no_harm() -> None:
    deep = "- " * 3000 + "x"
    with pytest.raises((yaml.YAMLError, RecursionError)):
        json.dumps(parse(deep))
    laughs = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    data = parse(laughs)
    assert isinstance(data, dict)
    assert data["a11"][0] is data["a11"][9]


# --- the cache -------------------------------------------------------------------------------------------------------


def test_what_was_read_before_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = "a: [1, 2.5, true, null, 'é🙂']\nb: {c: [d, !!binary aGVsbG8=]}\n".encode()
    first = Cache(tmp_path).parse(raw)
    monkeypatch.setattr("pytest_agentops.document.parse", None)

    assert Cache(tmp_path).parse(raw) == first == {"a": [1, 2.5, True, None, "é🙂"], "b": {"c": ["d", b"hello"]}}


@pytest.mark.parametrize("raw", [b"a: 2001-01-01", b"1: a", b"a: &x [1]\nb: *x"])
def test_what_json_would_not_give_back_is_read_anew(raw: bytes, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert repr(cache.parse(raw)) == repr(cache.parse(raw)) == repr(stock(raw.decode()))


@pytest.mark.parametrize("raw", [b"a: .nan", b"a: [-.inf, -0.0]", b"!!binary aGVsbG8=", b"data: !!binary aGVsbG8="])
def test_what_json_gives_back_in_a_roundabout_way_is_the_same(raw: bytes, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert repr(cache.parse(raw)) == repr(cache.parse(raw)) == repr(stock(raw.decode()))
    assert len(list(tmp_path.glob("*.json"))) == 1


@pytest.mark.parametrize(
    "rubbish", [b"", b"{", b"\xff\xfe", b"[1", b"1", b"{}", b'{"data": 1, "bytes": [["data", 0]]}']
)
def test_an_entry_that_is_rubbish_is_read_anew_and_replaced(rubbish: bytes, tmp_path: Path) -> None:
    Cache(tmp_path).parse(b"a: 1")
    [entry] = tmp_path.glob("*.json")
    entry.write_bytes(rubbish)

    assert Cache(tmp_path).parse(b"a: 1") == {"a": 1}
    assert json.loads(entry.read_bytes()) == {"data": {"a": 1}, "bytes": []}


def test_a_folder_that_vanishes_is_no_error(tmp_path: Path) -> None:
    assert Cache(tmp_path / "gone").parse(b"a: 1") == {"a": 1}


def test_an_error_is_the_same_with_the_cache(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(yaml.YAMLError):
            Cache(tmp_path).parse(b"a: [")
    with pytest.raises(UnicodeDecodeError):
        Cache(tmp_path).parse(b"\xff")
    assert list(tmp_path.iterdir()) == []


def test_the_cache_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_agentops.document._MOST", 10)
    for number in range(30):
        Cache(tmp_path).parse(f"a: {number}".encode())
    assert len(list(tmp_path.iterdir())) <= 12
