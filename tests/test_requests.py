"""Messages with threads, images and files, where each text came from, and whole requests."""

from __future__ import annotations

import json

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_agentops.errors import PromptError, PromptInputError, PromptSyntaxError
from pytest_agentops.prompt import Prompt
from pytest_agentops.testing import Says, ScriptedModel

TRIAGE = """---
name: support/triage
version: 1.0.0
model: {id: gpt-5-mini, options: {temperature: 0, maxOutputTokens: 200, reasoningEffort: low, service_tier: flex}}
inputs:
  ticket: {kind: string, trust: untrusted}
outputs:
  queue: {kind: string, enumValues: [billing, tech]}
tools:
  - name: lookup_order
    kind: function
    description: Finds an order
    parameters:
      order_id: {kind: integer, description: Its number}
      note: {kind: string, required: false}
  - kind: web_search
    search_context_size: low
---
system:
Sort tickets.
user:
{{ ticket | untrusted }}
"""

PARTIALS = {"_shared/safety": "Be careful, {{ company }}."}


def prompt(text: str, name: str = "p") -> Prompt:
    return Prompt.parse(name, text, path=f"{name}.prompty", source=PARTIALS.__getitem__)


def declaring(inputs: str, body: str) -> Prompt:
    return prompt(f"---\ninputs: {{{inputs}}}\n---\n{body}")


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_request_of_chat_completions():
    made = prompt(TRIAGE, "support/triage").request(ticket="Help")

    assert made == {
        "model": "gpt-5-mini",
        "messages": [
            {"role": "system", "content": "Sort tickets."},
            {"role": "user", "content": "<untrusted-b79cac92>\nHelp\n</untrusted-b79cac92>"},
        ],
        "temperature": 0,
        "max_completion_tokens": 200,
        "reasoning_effort": "low",
        "service_tier": "flex",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "lookup_order",
                    "description": "Finds an order",
                    "parameters": {
                        "type": "object",
                        "properties": {
                            "order_id": {"type": "integer", "description": "Its number"},
                            "note": {"type": "string"},
                        },
                        "required": ["order_id"],
                    },
                },
            },
            {"type": "web_search", "search_context_size": "low"},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "support_triage",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"queue": {"type": "string", "enum": ["billing", "tech"]}},
                    "required": ["queue"],
                    "additionalProperties": False,
                },
            },
        },
    }


def test_a_request_of_responses():
    made = prompt(TRIAGE, "support/triage").request(api="responses", ticket="Help")

    assert made["input"] == [
        {"role": "system", "content": "Sort tickets."},
        {"role": "user", "content": "<untrusted-b79cac92>\nHelp\n</untrusted-b79cac92>"},
    ]
    assert made["max_output_tokens"] == 200
    assert made["reasoning"] == {"effort": "low"}
    assert made["tools"][0]["name"] == "lookup_order"
    assert made["text"]["format"]["name"] == "support_triage"
    assert set(made) == {
        "model", "input", "temperature", "max_output_tokens", "service_tier", "reasoning", "tools", "text",
    }  # fmt: skip


def test_the_client_takes_both():
    with (
        ScriptedModel(Says("one"), Says("two")) as model,
        openai.OpenAI(base_url=model.base_url, api_key="any") as client,
    ):
        plain = prompt("---\nmodel: {id: m, options: {topP: 1}}\n---\nuser:\nHi")
        first = client.chat.completions.create(**plain.request())
        second = client.responses.create(**plain.request(api="responses"))

    assert first.choices[0].message.content == "one"
    assert second.output_text == "two"


def test_a_request_needs_a_model_and_an_api_that_there_is():
    with pytest.raises(PromptError) as error:
        prompt("user:\nHi").request()
    assert str(error.value) == "p.prompty names no model\n  add to the front matter: model: {id: gpt-5-mini}"
    with pytest.raises(PromptError, match="api is 'chat' or 'responses', not 'completions'"):
        prompt("---\nmodel: m\n---\nHi").request(api="completions")  # type: ignore[arg-type]


def test_a_schema_of_its_own_is_passed_on():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}, "required": []}
    tools = json.dumps([{"name": "t", "strict": False, "parameters": schema}])
    made = prompt(f"---\nmodel: m\ntools: {tools}\n---\nHi").request()

    assert made["tools"][0]["function"] == {"name": "t", "parameters": schema, "strict": False}


# --- threads, images, files ------------------------------------------------------------------------------------------


def test_a_thread_stands_where_it_is_written():
    made = declaring("history: thread, q: string", "system:\nBe brief.\n{{ history }}\nuser:\n{{ q }}")
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ]

    assert made.messages(history=history, q="And now?") == [
        {"role": "system", "content": "Be brief."},
        *history,
        {"role": "user", "content": "And now?"},
    ]
    assert made.messages(history=[], q="Now?") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Now?"},
    ]


def test_a_thread_becomes_items_of_a_response():
    made = prompt("---\nmodel: m\ninputs: {history: thread}\n---\n{{ history }}\nuser:\nGo on.")
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    history = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ]

    assert made.request(api="responses", history=history)["input"] == [
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "ok"},
        {"role": "user", "content": "Go on."},
    ]


def test_a_body_may_read_a_thread_as_a_list():
    made = declaring(
        "history: thread", "user:\n{{ history | length }}: {% for m in history %}{{ m.role }} {% endfor %}"
    )

    assert made.messages(history=[{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]) == [
        {"role": "user", "content": "2: user tool "}
    ]


def test_an_image_is_a_part_of_its_message():
    made = declaring("photo: image", "user:\nWhat is this?\n{{ photo }}\nBe brief.")

    assert made.messages(photo="https://example.org/a.png") == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "text", "text": "Be brief."},
            ],
        }
    ]


def test_images_and_files_become_input_parts_of_a_response():
    made = prompt("---\nmodel: m\ninputs: {photo: image, doc: file}\n---\nuser:\nLook: {{ photo }}{{ doc }}")
    request = made.request(api="responses", photo={"url": "https://example.org/a.png", "detail": "low"}, doc="file-1")

    assert request["input"] == [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look: "},
                {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"},
                {"type": "input_file", "file_id": "file-1"},
            ],
        }
    ]


def test_an_image_stands_in_no_message_of_the_system():
    with pytest.raises(PromptSyntaxError) as error:
        declaring("photo: image", "system:\n{{ photo }}").messages(photo="https://example.org/a.png")

    assert str(error.value) == (
        "p.prompty: 'photo' stands in a message of the system; images and files can only stand in one of the user"
    )


def test_an_optional_image_may_be_left_out():
    made = declaring("photo: {kind: image, required: false}", "user:\nHi{% if photo %} {{ photo }}{% endif %}")

    assert made.messages() == [{"role": "user", "content": "Hi"}]


def test_an_input_that_is_not_there_may_be_asked_for_and_never_written_out():
    made = declaring("note: {kind: string, required: false}", "user:\n{% if note %}Note: {{ note }}{% endif %}.")

    assert made.render() == "."
    assert made.render(note="x") == "Note: x."
    with pytest.raises(PromptSyntaxError) as error:
        declaring("note: {kind: string, required: false}", "user:\n\n{{ note }}").render()
    assert str(error.value) == "p.prompty: line 6: 'note' was not given, and has no default"


# --- where each text came from ---------------------------------------------------------------------------------------


def told(made: Prompt, **inputs: object) -> list[list[tuple[str, tuple[str, ...]]]]:
    return [[(each.text, each.inputs) for each in message.segments] for message in made.segments(**inputs)]


def test_each_stretch_knows_where_it_came_from():
    made = declaring("a: string, b: string", "system:\nHello {{ a }}!\nuser:\n{{ a ~ b }}{{ b | upper }}")

    assert told(made, a="Ada", b="x") == [
        [("Hello ", ()), ("Ada", ("a",)), ("!", ())],
        [("Adax", ("a", "b")), ("X", ("b",))],
    ]
    assert [message.role for message in made.segments(a="Ada", b="x")] == ["system", "user"]


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("{% set x = a %}{{ x }}", {"a"}),
        ("{% set x %}-{{ a }}-{% endset %}{{ x }}", {"a"}),
        ("{% for x in a %}{{ x }}{% endfor %}", {"a"}),
        ("{% macro m(x) %}{{ x }}{% endmacro %}{{ m(a) }}", {"a"}),
        ("{% with x = a %}{{ x }}{% endwith %}", {"a"}),
        ("{% filter upper %}{{ a }}{% endfilter %}", {"a"}),
        ("{% set x = a %}{% set y = x %}{{ y }}", {"a"}),
        ("{% if a %}yes{% endif %}", set()),
        ("{{ 'yes' if a else 'no' }}", {"a"}),
        ("{{ [a, b] | join('-') }}", {"a", "b"}),
        ("{% set x %}{{ a }}{% endset %}{{ x | length }}{{ x }}", {"a", "b"}),  # It counts the marks: say both.
        ("{{ b }}", {"b"}),
    ],
)
def test_what_an_input_reached_is_followed(body, seen):
    made = declaring("a: string, b: string", f"user:\n{body}")

    [message] = made.segments(a="Ada", b="B")

    assert {name for each in message.segments for name in each.inputs} == seen
    assert message.text == made.render(a="Ada", b="B")


def test_a_partial_is_followed_too():
    made = declaring("company: string", 'user:\nHi. {% include "_shared/safety" %}')

    assert told(made, company="ACME") == [[("Hi. Be careful, ", ()), ("ACME", ("company",)), (".", ())]]


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text())
def test_no_input_is_taken_for_the_authors_and_no_text_is_lost(a, b):
    made = declaring("a: string, b: string", "system:\nS{{ a }}\nuser:\n{{ b | untrusted }}{{ a | trim }}{{ b }}U")

    segmented = made.segments(a=a, b=b)

    assert [message.text for message in segmented] == [message["content"] for message in made.messages(a=a, b=b)]
    author = "".join(each.text for message in segmented for each in message.segments if not each.inputs)
    assert author == "SU"


def test_segments_are_noted_nowhere():
    from pytest_agentops import prompt as module

    heard: list[object] = []
    module.observers.append(heard.append)
    try:
        declaring("a: string", "{{ a }}").segments(a="x")
    finally:
        module.observers.remove(heard.append)

    assert heard == []


def test_an_input_of_another_kind_is_told_with_the_name_of_the_prompt():
    with pytest.raises(PromptInputError) as error:
        declaring("a: integer", "{{ a }}").messages(a="many")

    assert str(error.value) == "p: a takes a whole number, not the text 'many'"
