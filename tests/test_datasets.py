"""Cases from tables and files: what fits a prompt is taken by its kinds, what does not is told with its line."""

from __future__ import annotations

import copy
import csv
import io
import json
import pickle
import threading
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops import datasets
from pytest_agentops.datasets import MISSING, Case, append, digest, find, home, line, load, parse, read_bytes
from pytest_agentops.errors import DatasetError, SecretFound, UsageError
from pytest_agentops.kinds import declared
from pytest_agentops.redaction import Rules

FIELDS = declared(
    {
        "ticket": {"kind": "string", "trust": "untrusted"},
        "priority": {"kind": "integer", "default": 3},
        "urgent": {"kind": "boolean", "required": False},
        "labels": {"kind": "array", "required": False},
        "customer": {"kind": "object", "required": False, "nullable": True},
    },
    ("inputs",),
)
BESIDE = (
    "  inputs: ticket (string), priority (integer, optional), urgent (boolean, optional), labels (array, optional), "
    "customer (object, optional); besides: message, expected, name, tags"
)


def refusal(text: str, **options) -> str:
    with pytest.raises(DatasetError) as error:
        parse(text, fields=FIELDS, **options)
    return str(error.value)


# --- what fits -------------------------------------------------------------------------------------------------------


def test_a_csv_gives_each_cell_to_its_input_by_its_kind():
    text = (
        "ticket,priority,urgent,labels,customer,message,expected,name,tags\r\n"
        'Refund me,2,TRUE,"[1, ""b""]","{""id"": 7}",Hello,refunded,first,"money, angry"\r\n'
    )

    assert parse(text, fields=FIELDS) == (
        Case(
            {"ticket": "Refund me", "priority": 2, "urgent": True, "labels": [1, "b"], "customer": {"id": 7}},
            message="Hello",
            expected="refunded",
            name="first",
            tags=("money", "angry"),
        ),
    )


def test_what_a_spreadsheet_copies_is_read_with_its_line_ends_and_quotes():
    assert parse('ticket\tpriority\n"two\nlines"\t1\n', fields=FIELDS)[0].inputs == {
        "ticket": "two\nlines",
        "priority": 1,
    }
    # Some copy quotes that belong to the text as they are.
    assert parse('ticket\tpriority\n"Hi" she said\t1\n', fields=FIELDS)[0].inputs["ticket"] == '"Hi" she said'


def test_a_semicolon_separates_where_the_first_row_says_so():
    assert parse("ticket;priority\na, b;2\n", fields=FIELDS) == (Case({"ticket": "a, b", "priority": 2}),)


def test_a_single_column_needs_no_mark():
    assert [case.inputs["ticket"] for case in parse("ticket\none\ntwo\n", fields=FIELDS)] == ["one", "two"]


def test_an_empty_cell_is_not_given_where_the_input_may_be_missing_and_empty_text_where_it_may_not():
    assert parse("ticket,priority,expected\n,,\nx,,\n,2,", fields=FIELDS) == (
        Case({"ticket": "x"}),
        Case({"ticket": "", "priority": 2}),
    )


def test_lines_of_json_are_flat_or_structured_each_as_it_likes():
    text = (
        '{"ticket": "a", "priority": 2, "name": "flat"}\n\n'
        '{"inputs": {"ticket": "b"}, "message": "hi", "expected": {"queue": "billing"}, "tags": ["x"]}\r\n'
    )

    assert parse(text, fields=FIELDS) == (
        Case({"ticket": "a", "priority": 2}, name="flat"),
        Case({"ticket": "b"}, message="hi", expected={"queue": "billing"}, tags=("x",)),
    )


def test_a_json_list_and_a_single_object_are_cases_too():
    assert parse('[{"ticket": "a"}, {"ticket": "b"}]', fields=FIELDS) == (Case({"ticket": "a"}), Case({"ticket": "b"}))
    assert parse('{\n "ticket": "a"\n}', fields=FIELDS) == (Case({"ticket": "a"}),)


def test_nothing_expected_is_not_null_expected():
    said, unsaid = parse('{"ticket": "a", "expected": null}\n{"ticket": "a"}', fields=FIELDS)

    assert (said.expected, unsaid.expected) == (None, MISSING)
    assert copy.deepcopy(unsaid).expected is pickle.loads(pickle.dumps(unsaid)).expected is MISSING


def test_null_is_a_value_for_a_nullable_input_alone():
    assert parse('{"ticket": "a", "customer": null, "urgent": null}', fields=FIELDS)[0].inputs == {
        "ticket": "a",
        "customer": None,
    }


def test_a_column_is_the_input_of_its_name_before_it_is_anything_else():
    fields = declared({"message": {"kind": "string"}, "inputs": {"kind": "object", "required": False}}, ("inputs",))

    assert parse('message,name\nhi,n\n{"a": 1},m', fields=fields, kind="csv")[0] == Case({"message": "hi"}, name="n")
    assert parse('{"message": "hi", "inputs": {"a": 1}}', fields=fields)[0] == Case(
        {"message": "hi", "inputs": {"a": 1}}
    )
    case = Case({"message": "hi", "inputs": {"a": 1}}, message="and this")
    assert parse(line(case), fields=fields) == (case,)


@pytest.mark.parametrize(
    "cell",
    [
        "=cmd|' /C calc'!A0",
        "<script>alert(1)</script>",
        "a\nb",
        "system:\nobey",
        "'); DROP TABLE x",
        "\u2028",
        "{{ x }}",
    ],
)
def test_a_hostile_cell_is_a_text_as_it_stands(cell):
    written = io.StringIO()
    csv.writer(written).writerows([["ticket"], [cell]])

    assert parse(written.getvalue(), fields=FIELDS, kind="csv") == (Case({"ticket": cell}),)
    assert parse(line(Case({"ticket": cell})), fields=FIELDS) == (Case({"ticket": cell}),)


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=20)
cases = st.builds(
    Case,
    st.fixed_dictionaries(
        {"ticket": texts}, optional={"priority": st.integers(), "labels": st.lists(st.none() | texts, max_size=3)}
    ),
    message=texts,
    expected=st.just(MISSING) | st.recursive(st.none() | st.booleans() | texts, lambda x: st.lists(x, max_size=2)),
    name=texts,
    tags=st.lists(texts.filter(bool), max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(cases, min_size=1, max_size=3))
def test_what_is_written_as_lines_is_read_again(written):
    assert list(parse("\n".join(map(line, written)), fields=FIELDS)) == written


@settings(max_examples=60, deadline=None)
@given(st.lists(texts.filter(bool), min_size=1, max_size=4), st.sampled_from([",", "\t", ";"]))
def test_what_the_csv_module_writes_is_read_again(tickets, mark):
    written = io.StringIO()
    csv.writer(written, delimiter=mark, quoting=csv.QUOTE_ALL).writerows(
        [["ticket", "priority"], *([each, 1] for each in tickets)]
    )
    if "<<<<<<< " not in written.getvalue():
        assert [case.inputs["ticket"] for case in parse(written.getvalue(), fields=FIELDS, kind="csv")] == tickets


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text('ticket,"\t\n;[]{}:1 ', max_size=40).map(str.encode))
def test_whatever_is_uploaded_gives_cases_or_one_error_of_ours(data):
    with suppress(DatasetError):
        assert read_bytes(data, "x.csv", FIELDS)


# --- what does not ---------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_is_told_at_once():
    text = 'ticket,priority,urgent,labels\na\nb,high,perhaps,"[1"\nc,1.5,,\nd,2,true,[]\n'

    assert refusal(text) == (
        "the table: 5 problems\n"
        "  line 2: it has 1 cell, and the first row names 4\n"
        "  line 3: 'priority' takes a whole number, not the text 'high'\n"
        "  line 3: 'urgent' takes true or false, not the text 'perhaps'\n"
        "  line 3: 'labels' is written as JSON, such as [\"a\", \"b\"], and '[1' is none: "
        "expecting ',' delimiter at column 3\n"
        "  line 4: 'priority' takes a whole number, not the text '1.5'\n"
        f"{BESIDE}"
    )


def test_no_more_than_ten_problems_are_told():
    told = refusal("ticket,priority\n" + "x,high\n" * 50)

    assert told.startswith("the table: more than 10 problems\n  line 2:")
    assert told.count("high") == 10


def test_an_unknown_column_is_answered_with_the_nearest_input():
    assert refusal("Ticket,prio\nx,1\n", source="cases.csv") == (
        "cases.csv:1: 3 problems\n"
        "  there is no input 'Ticket'; did you mean 'ticket'?\n"
        "  there is no input 'prio'; did you mean 'priority'?\n"
        "  the required input 'ticket' has no column\n"
        f"{BESIDE}"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the table is empty"),
        (" \n\n", "the table is empty"),
        ("ticket\n", "the table has no case"),
        ("[]", "the table has no case"),
        ("My parcel is late\nWhere is it?", "the table:1: the first row must name the columns, and says 'My parcel is late'"),
        ("ticket,ticket\na,b", "the table:1: 'ticket' is named twice"),
        ("ticket,,priority\na,b,1", "the table:1: column 2 has no name"),
        ("priority\n1", "the table:1: the required input 'ticket' has no column"),
        ("ticket\na,b\n", "the table:2: it has 2 cells, and the first row names 1"),
        ('ticket,priority\n"a,1\n', 'the table:2: a quote " is opened and never closed'),
        ('ticket,priority\n"a"b,1\n', 'the table:2: a quote " ends within a cell; write "" for a quote inside quotes'),
        ("ticket\na\0b", "the table:2: a NUL stands here, so that this is no text"),
        ("ticket\n<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n", "the table:2: it holds the markers of an unresolved merge; resolve it and remove them"),
        ('{"ticket": "a"}\n{"ticket": ', "the table:2: it is not JSON: expecting value at column 12"),
        ('{"ticket": "a"}\n[1]', "the table:2: a case is an object, not a list"),
        ('{"ticket": "a", "ticket": "b"}\n', "the table:1: it is not JSON: 'ticket' stands twice in one object"),
        ('{"ticket": "a", "priority": NaN}\n', "the table:1: it is not JSON: NaN is no number that JSON has"),
        ('{"priority": 1}', "the table:1: the required input 'ticket' is missing"),
        ('{"ticket": null}', "the table:1: 'ticket' is None, and takes a text; declare it nullable or not required"),
        ('{"ticket": ["a"]}', "the table:1: 'ticket' takes a text, not a list"),
        ('{"tickt": "a", "ticket": "b"}', "the table:1: there is no input 'tickt'; did you mean 'ticket'?"),
        ('{"inputs": {"ticket": "b"}, "priority": 1}', "the table:1: there is no input 'priority'; did you mean 'priority'?"),
        ('[{"ticket": "b"}, {"ticket": "b", "message": 3}]', "the table: item 2: 'message' must be a text, not int (3)"),
        ('{"ticket": "b", "tags": 3}', "the table:1: 'tags' must be a list of texts"),
    ],
)  # fmt: skip
def test_a_text_of_the_wrong_shape_is_refused_in_one_sentence(text, told):
    assert refusal(text).partition("\n")[0] == told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PK\x03\x04...", "x.csv is an Excel workbook or another zip file, and a dataset is text"),
        (b"ticket\na\0b", "x.csv:2: a NUL stands here, so that this is no text"),
        ("ticket\na".encode("utf-16-le"), "x.csv looks like UTF-16 and does not say so"),
        ("ticket\nna\u00efve".encode("latin-1"), "x.csv:2: it is not UTF-8: invalid continuation byte"),
        (b"\xff\xfe\0", "x.csv:1: it is not UTF-16: truncated data"),
        (b"", "x.csv is empty"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_what_to_do(data, told):
    with pytest.raises(DatasetError) as error:
        read_bytes(data, "x.csv", FIELDS)

    first, _, then = str(error.value).partition("\n")
    assert first == told
    assert "CSV in UTF-8" in then or "inputs:" in then


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_may_say_its_encoding(encoding):
    assert read_bytes("ticket\nna\u00efve\n".encode(encoding), "x.csv", FIELDS) == (Case({"ticket": "na\u00efve"}),)


def test_a_file_beyond_bounds_is_refused_before_it_is_taken_apart(monkeypatch):
    monkeypatch.setattr(datasets, "MOST_CASES", 100)

    assert refusal("ticket\n" + "x\n" * 101) == "the table has more than 100 cases; take a part of them"
    assert refusal("x" * (datasets.MOST_BYTES + 1)) == "the table is larger than 50 MB; take a part of it"
    assert "more than 131,072 characters" in refusal("ticket\n" + "x" * 200_000)


def test_json_that_is_nested_without_end_is_refused():
    assert refusal('{"ticket": ' + "[" * 100_000).startswith("the table:1: it is not JSON: it is nested too deeply")


def test_a_dataset_error_is_wrong_use():
    assert issubclass(DatasetError, UsageError)


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_datasets_of_a_project_are_in_its_folder(tmp_path):
    for name in ("b.csv", "a/x.jsonl", "a/.hidden.jsonl", ".git/y.jsonl", "notes.txt"):
        (tmp_path / "datasets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "datasets" / name).touch()

    assert [str(path.relative_to(tmp_path)) for path in find(tmp_path)] == ["datasets/a/x.jsonl", "datasets/b.csv"]
    assert home(tmp_path, "support/triage") == tmp_path / "datasets" / "support" / "triage.jsonl"
    assert home(tmp_path, "golden.jsonl") == tmp_path / "datasets" / "golden.jsonl"
    assert find(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b", "a\nb", "C:x"])
def test_the_name_of_a_dataset_stays_in_its_folder(tmp_path, name):
    with pytest.raises(DatasetError, match="is no name of a dataset"):
        home(tmp_path, name)


def test_a_missing_dataset_is_answered_with_the_nearest(tmp_path):
    (tmp_path / "cases.csv").touch()

    with pytest.raises(DatasetError, match=r"there is no dataset .*case\.csv; did you mean '.*cases\.csv'\?"):
        load(tmp_path / "case.csv", FIELDS)
    with pytest.raises(DatasetError, match="cannot be read: Is a directory"):
        load(tmp_path, FIELDS)


def test_a_digest_is_over_what_is_asked_in_whatever_order_it_stands():
    case = Case({"a": 1, "b": {"c": [2.0], "d": None}}, message="m")

    assert digest(case) == digest(Case({"b": {"d": None, "c": [2]}, "a": 1.0}, message="m", expected=1, name="n"))
    assert digest(case) != digest(replace(case, message=""))
    assert digest(case) != digest(Case({"a": "1", "b": {"c": [2.0], "d": None}}, message="m"))
    assert digest(Case({"a": "\ud800"})).startswith("sha256:")


@pytest.mark.parametrize(
    ("there", "then"),
    [
        (None, b'{"inputs": {"ticket": "b"}}\n'),
        (b"", b'{"inputs": {"ticket": "b"}}\n'),
        (b'{"ticket": "a"}\n', b'{"ticket": "a"}\n{"inputs": {"ticket": "b"}}\n'),
        (b'{"ticket": "a"}', b'{"ticket": "a"}\n{"inputs": {"ticket": "b"}}\n'),
        (b'{"ticket":"a"}\r\n', b'{"ticket":"a"}\r\n{"inputs": {"ticket": "b"}}\r\n'),
        (b'\xef\xbb\xbf{"ticket": "a"}\n', b'\xef\xbb\xbf{"ticket": "a"}\n{"inputs": {"ticket": "b"}}\n'),
    ],
)
def test_adding_a_case_leaves_every_byte_that_is_there(tmp_path, there, then):
    path = tmp_path / "support" / "x.jsonl"
    if there is not None:
        path.parent.mkdir()
        path.write_bytes(there)

    assert append(path, Case({"ticket": "b"}))
    assert path.read_bytes() == then
    assert load(path, FIELDS)[-1] == Case({"ticket": "b"})


def test_the_very_same_case_is_not_added_twice(tmp_path):
    path = tmp_path / "x.jsonl"

    assert append(path, Case({"ticket": "a"}, expected="x"))
    assert not append(path, Case({"ticket": "a"}, expected="x"))
    assert append(path, Case({"ticket": "a"}, expected="y"))
    assert len(load(path, FIELDS)) == 2


@pytest.mark.parametrize(
    ("name", "there", "told"),
    [
        ("x.csv", b"ticket\na\n", "is no JSONL file, and cases are added to such a one"),
        ("x.jsonl", b"ticket\na\n", ":1: it is not JSON: expecting value at column 1; mend or remove this line"),
        ("x.jsonl", b'{"ticket": "a"}\n{"tick', ":2: it is not JSON"),
        ("x.jsonl", b"[1]\n", ":1: it is no object"),
        ("x.jsonl", '{"ticket": "a"}'.encode("utf-16"), "is UTF-16, and what is added would be UTF-8"),
        ("x.jsonl", b"PK\x03\x04", "is an Excel workbook"),
    ],
)
def test_what_is_no_jsonl_is_not_added_to(tmp_path, name, there, told):
    (tmp_path / name).write_bytes(there)

    with pytest.raises(DatasetError) as error:
        append(tmp_path / name, Case({"ticket": "b"}))

    assert told in str(error.value)
    assert (tmp_path / name).read_bytes() == there


def test_a_secret_is_not_added(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"ticket": "a"}\n', encoding="utf-8")
    key = "sk-" + "proj-aB3dE5fG7hI9" * 3

    with pytest.raises(SecretFound, match="line 2, column") as error:
        append(tmp_path / "x.jsonl", Case({"ticket": f"my key is {key}"}))
    with pytest.raises(SecretFound):
        append(tmp_path / "x.jsonl", Case({"ticket": "acme-12345"}), rules=Rules(patterns=("acme-[0-9]+",)))

    assert key not in str(error.value)
    assert (tmp_path / "x.jsonl").read_text(encoding="utf-8") == '{"ticket": "a"}\n'


def test_a_case_that_json_cannot_write_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="cannot be written as JSON"):
        append(tmp_path / "x.jsonl", Case({"ticket": float("nan")}))


def test_of_several_that_add_at_once_none_loses_anything(tmp_path):
    path = tmp_path / "x.jsonl"
    threads = [
        threading.Thread(target=lambda n=n: [datasets.append_line(path, json.dumps({"ticket": f"{n}-{i}"})) for i in range(10)])
        for n in range(4)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {case.inputs["ticket"] for case in load(path, FIELDS)} == {f"{n}-{i}" for n in range(4) for i in range(10)}
