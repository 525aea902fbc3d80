"""Prompts that were kept elsewhere: what becomes of each format, what is said of the rest, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_agentops.errors import PromptError, PromptNotFound, PromptSyntaxError
from pytest_agentops.importing import Imported, PromptUse
from pytest_agentops.importing.formats import exported, imported, uses
from pytest_agentops.kinds import ROLES
from pytest_agentops.prompt import Prompt


def only(text: str, path: str, **named: str) -> Imported:
    """The one prompt in a file."""
    (found,) = imported(text, path=path, **named)
    return found


def parsed(found: Imported, **partials: str) -> Prompt:
    """What was imported, read as a prompt file; partials by name, without their folder `_shared/`."""
    return prompt(found.text, found.name, **partials)


def prompt(text: str, name: str = "p", **partials: str) -> Prompt:
    def source(wanted: str) -> str:
        try:
            return partials[wanted.removeprefix("_shared/")]
        except KeyError:
            raise PromptNotFound(f"no prompt {wanted!r}") from None

    return Prompt.parse(name, text, path=f"prompts/{name}.prompty", source=source)


def kinds(found: Imported) -> dict[str, str]:
    return {name: declared.kind for name, declared in parsed(found).inputs.items()}


def problem(kind: type[Exception], make: Callable[[], object]) -> str:
    """What an error says."""
    with pytest.raises(kind) as error:
        make()
    assert type(error.value) is kind
    return str(error.value)


def langfuse(prompt: object, **more: object) -> str:
    return json.dumps({"name": "p", "version": 1, "type": "chat", "prompt": prompt, **more})


READ = (
    "  what is read: Prompty (.prompty), dotprompt (.prompt), GitHub Models (.prompt.yml), prompts of Langfuse and"
    " requests for chat completions (.json), and source that uses prompts stored at OpenAI (.py, .js, .ts)"
)


# --- Prompty ---------------------------------------------------------------------------------------------------------


def test_a_prompty_file_that_is_ours_already_is_kept_as_it_is():
    text = """---
name: support/triage
version: 1.3.0   # released
inputs:
  ticket: {kind: string, trust: untrusted}
---
system:
You sort tickets.
user:
{{ ticket | untrusted }}
"""

    assert only(text, "triage.prompty") == Imported("support/triage", text, "triage.prompty", ())


def test_a_prompty_file_gets_the_name_and_version_that_it_lacks_and_keeps_its_own_lines():
    found = only("---\n# by the support team\ninputs: {a: {kind: string}}\n---\nsystem:\n{{ a }}\n", "triage.prompty")

    assert found.text == (
        "---\nname: triage\nversion: 1.0.0\n# by the support team\ninputs: {a: {kind: string}}\n---\nsystem:\n{{ a }}\n"
    )


def test_a_prompty_file_without_front_matter_gets_one():
    found = only("system:\nHello {{ name }}.\n", "hello.prompty")

    assert found.text == (
        "---\nname: hello\nversion: 1.0.0\ninputs:\n  name:\n    kind: string\n---\nsystem:\nHello {{ name }}.\n"
    )


def test_a_prompty_file_of_the_first_edition_becomes_one_of_the_second():
    found = only(
        """---
name: Customer Chat
description: Answers customers
version: 1.2
authors: [kim]
model:
  api: chat
  configuration:
    type: azure_openai
    azure_deployment: gpt-4o
    azure_endpoint: ${env:ENDPOINT}
  parameters:
    max_tokens: 300
    temperature: 0.2
inputs:
  firstName: {type: string, default: Jane}
  orders: {type: array}
  question: Where is my order?
sample:
  city: Oslo
---
system:
You help {{ firstName }} of {{ city }}.
{% for order in orders %}{{ order.id }} {% endfor %}
user:
{{ question }}
""",
        "chat.prompty",
    )

    assert found.name == "customer-chat"
    assert yaml.safe_load(found.text.split("---")[1]) == {
        "name": "customer-chat",
        "version": "1.2.0",
        "displayName": "Customer Chat",
        "description": "Answers customers",
        "model": {
            "id": "gpt-4o",
            "provider": "azure",
            "apiType": "chat",
            "options": {"maxOutputTokens": 300, "temperature": 0.2},
        },
        "inputs": {
            "firstName": {"kind": "string", "default": "Jane"},
            "orders": {"kind": "array"},
            "question": {"kind": "string", "default": "Where is my order?"},
            "city": {"kind": "string", "example": "Oslo"},
        },
        "metadata": {"authors": ["kim"]},
    }
    assert found.notes == ("Where the model is reached is for the application to say: left out azure_endpoint.",)


def test_inputs_of_prompty_may_be_a_list_of_named_declarations():
    found = only(
        "---\nname: p\ninputs:\n- {name: city, type: number, description: D}\n- {name: day, kind: string, default: x}\n---\nuser:\n{{ city }}",
        "p.prompty",
    )

    assert kinds(found) == {"city": "float", "day": "string"}
    assert parsed(found).inputs["city"].description == "D"


def test_a_mustache_body_of_prompty_is_translated_and_keeps_its_roles():
    found = only(
        "---\nname: p\ntemplate: {format: {kind: mustache}}\n---\nsystem:\nHi {{first}} {% x %}\nuser:\n{{#list}}a{{/list}}\n",
        "p.prompty",
    )

    assert parsed(found).messages(first="Ann") == [
        {"role": "system", "content": "Hi Ann {% x %}"},
        {"role": "user", "content": "{{#list}}a{{/list}}"},
    ]
    assert found.notes == ("{{#list}} on line 8 could not be translated and stays as text.",)


def test_a_body_of_prompty_that_is_no_jinja_names_the_line():
    assert (
        problem(PromptSyntaxError, lambda: imported("---\nname: p\n---\nsystem:\n{% if x %}\n", path="p.prompty"))
        .splitlines()[0]
        .startswith("p.prompty:5: ")
    )


def test_front_matter_that_never_ends_is_said_to_be_open():
    assert problem(PromptSyntaxError, lambda: imported("---\nname: p\n", path="p.prompty")) == (
        "p.prompty:1: the front matter opens with --- and is never closed by another ---"
    )


# --- dotprompt -------------------------------------------------------------------------------------------------------

GREETING = """---
model: googleai/gemini-2.5-flash
config: {temperature: 0.9, maxOutputTokens: 200}
input:
  schema:
    location: string, where it works
    style?: string
    guests(array, who comes):
      name: string
      vip?: boolean
  default:
    location: a restaurant
output:
  format: json
  schema:
    greeting: string, what to say
---
{{role "system"}}
You work at {{location}}.
{{#if style}}
Speak in the style of {{style}}.
{{else}}
Speak plainly.
{{/if}}
{{role "user"}}
Greet:
{{#each guests}}
{{@index}}. {{name}}{{#if vip}} (VIP){{/if}} at {{../location}}
{{/each}}
"""


def test_a_dotprompt_file_says_the_same_as_a_prompt_file():
    found = only(GREETING, "greeting.prompt")

    assert parsed(found).messages(style="a pirate", guests=[{"name": "Ann", "vip": True}, {"name": "Bo"}]) == [
        {"role": "system", "content": "You work at a restaurant.\nSpeak in the style of a pirate."},
        {"role": "user", "content": "Greet:\n0. Ann (VIP) at a restaurant\n1. Bo at a restaurant"},
    ]
    assert parsed(found).messages(guests=[])[0]["content"] == "You work at a restaurant.\nSpeak plainly."
    assert found.notes == ()


def test_the_front_matter_of_dotprompt_becomes_model_inputs_and_outputs():
    made = parsed(only(GREETING, "greeting.prompt"))

    assert made.model == {
        "id": "gemini-2.5-flash",
        "provider": "googleai",
        "options": {"temperature": 0.9, "maxOutputTokens": 200},
    }
    assert made.front_matter["inputs"] == {
        "location": {"kind": "string", "description": "where it works", "default": "a restaurant"},
        "style": {"kind": "string", "default": ""},
        "guests": {
            "kind": "array",
            "description": "who comes",
            "items": {
                "kind": "object",
                "properties": {"name": {"kind": "string"}, "vip": {"kind": "boolean", "required": False}},
            },
        },
    }
    assert made.front_matter["outputs"] == {"greeting": {"kind": "string", "description": "what to say"}}


@pytest.mark.parametrize(
    ("handlebars", "inputs", "text"),
    [
        ("{{a.b.c}}", {"a": {"b": {"c": 1}}}, "1"),
        ("{{{a}}}", {"a": "<b>"}, "<b>"),
        ("{{#if a.b}}yes{{else}}no{{/if}}", {"a": {}}, "no"),
        ("{{#if a}}1{{else if b}}2{{else}}3{{/if}}", {"a": False, "b": True}, "2"),
        ("{{#unless a}}no{{/unless}}", {"a": False}, "no"),
        ("{{#unless a.b}}no{{/unless}}", {"a": {}}, "no"),
        ("{{^a}}none{{/a}}", {"a": False}, "none"),
        ("{{#each a}}{{this}}{{#unless @last}}, {{/unless}}{{/each}}", {"a": [1, 2]}, "1, 2"),
        ("{{#each a}}{{@key}}={{this}};{{/each}}", {"a": {"x": 1, "y": 2}}, "x=1;y=2;"),
        ("{{#each a}}{{x}}{{else}}none{{/each}}", {"a": []}, "none"),
        ("{{#each a as |x i|}}{{i}}{{x}}{{/each}}", {"a": ["p", "q"]}, "0p1q"),
        ("{{#each a}}{{#each this.b}}{{../n}}{{this}} {{/each}}{{/each}}", {"a": [{"n": "x", "b": [1, 2]}]}, "x1 x2 "),
        ("{{#each a}}{{@root.n}}{{this}}{{/each}}", {"a": [1, 2], "n": "x"}, "x1x2"),
        ("{{#with a}}{{b}}{{../c}}{{/with}}", {"a": {"b": 1}, "c": 2}, "12"),
        ('{{#ifEquals a "x"}}same{{else}}other{{/ifEquals}}', {"a": "x"}, "same"),
        ("{{json a}}", {"a": {"b": [1]}}, '{"b": [1]}'),
        ("a{{! gone }}b{{!-- {{gone}} too --}}c", {}, "abc"),
        ("a\n{{! a line of its own }}\nb", {}, "a\nb"),
        ("a  {{~x~}}  b", {"x": "-"}, "a-b"),
        (r"\{{x}} and \\{{y}}", {"y": 1}, "{{x}} and \\1"),
        ("{{#if a}}\n  b\n{{/if}}\nc", {"a": True}, "  b\nc"),
        ("{ {{a}} }", {"a": 1}, "{ 1 }"),
        ("{ {{~a~}} }", {"a": 1}, "{1}"),
        ("{\r{%", {}, "{\r{%"),
        ("{% raw %} {# x #}", {}, "{% raw %} {# x #}"),
        ("one\nsystem:\ntwo", {}, "one\nsystem:\ntwo"),
    ],
)
def test_handlebars_becomes_jinja_that_says_the_same(handlebars, inputs, text):
    found = only(handlebars, "p.prompt")

    assert parsed(found).messages(**inputs) == [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    "handlebars",
    ["{{helper a b}}", "{{#custom a}}x{{/custom}}", "{{@auth.name}}", "{{this}}", "{{media url='http://x/y.png'}}"],
)
def test_what_handlebars_cannot_be_translated_stays_as_text_and_is_noted(handlebars):
    found = only(f"Hello\n{handlebars}!", "p.prompt")

    assert parsed(found).messages() == [{"role": "user", "content": f"Hello\n{handlebars}!"}]
    (note,) = found.notes
    assert note.endswith(" on line 2 could not be translated and stays as text.")


def test_roles_history_and_media_of_dotprompt_become_roles_and_inputs():
    found = only(
        '{{role "system"}}Be kind.\n{{history}}\n{{role "user"}}\nLook: {{media url=photo}}\n{{role "model"}}Sure.',
        "p.prompt",
    )

    past = {"role": "user", "content": "Hello?"}
    assert parsed(found).messages(history=[past], photo="https://x.org/y.png") == [
        {"role": "system", "content": "Be kind."},
        past,
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look: "},
                {"type": "image_url", "image_url": {"url": "https://x.org/y.png"}},
            ],
        },
        {"role": "assistant", "content": "Sure."},
    ]
    assert kinds(found) == {"history": "thread", "photo": "image"}
    assert found.notes == ("Message 5 had the role model, which became assistant.",)


def test_a_partial_is_included_from_the_shared_folder_with_what_it_is_given():
    found = only("{{> tone name=user}}\nHi.", "p.prompt")

    assert parsed(found, tone="Be nice to {{ name }}.").messages(user="Ann") == [
        {"role": "user", "content": "Be nice to Ann.Hi."}
    ]
    assert found.notes == ("It includes the partial tone: import that as _shared/tone, and declare here what it uses.",)


def test_a_file_of_dotprompt_whose_name_begins_with_an_underscore_is_a_partial_without_a_role():
    found = only("Be nice.\n", "_tone.prompt")

    assert (found.name, parsed(found).body) == ("_shared/tone", "Be nice.\n")


def test_variables_have_the_kinds_that_their_use_shows():
    found = only("{{a}}{{#if b}}{{/if}}{{#each c}}{{this}}{{/each}}{{d.e}}{{#if a}}{{/if}}", "p.prompt")

    assert kinds(found) == {"a": "string", "b": "boolean", "c": "array", "d": "object"}


def test_a_block_that_is_not_closed_names_the_line():
    assert problem(
        PromptSyntaxError, lambda: imported("---\nmodel: x\n---\n\n{{#if a}}\n{{/each}}", path="p.prompt")
    ) == ("p.prompt:5: {{#if a}} is not closed: before {{/if}} comes {{/each}} on line 6")


def test_blocks_that_are_nested_deeper_than_python_compiles_name_the_line():
    assert problem(PromptSyntaxError, lambda: imported("{{#each a}}\n" * 30 + "{{/each}}" * 30, path="p.prompt")) == (
        "p.prompt:13: more than 12 blocks in one another"
    )


def test_a_closing_tag_that_nothing_opened_names_the_line():
    assert problem(PromptSyntaxError, lambda: imported("a\n{{/if}}", path="p.prompt")) == (
        "p.prompt:2: {{/if}} closes what nothing opened"
    )


# --- Langfuse --------------------------------------------------------------------------------------------------------


def test_a_chat_prompt_of_langfuse_becomes_a_prompt_file():
    found = only(
        json.dumps(
            {
                "id": "cm1",
                "name": "Support Triage!",
                "version": 3,
                "type": "chat",
                "prompt": [
                    {"role": "system", "content": "You help customers of {{company}}."},
                    {"type": "placeholder", "name": "history"},
                    {"role": "user", "content": "{{ customer name }}"},
                ],
                "config": {"model": "gpt-4o", "temperature": 0.2},
                "labels": ["production", "latest"],
                "tags": ["support"],
            }
        ),
        "langfuse.json",
    )

    assert found == Imported(
        "support-triage",
        """---
name: support-triage
version: 3.0.0
displayName: Support Triage!
model:
  id: gpt-4o
  options:
    temperature: 0.2
inputs:
  history:
    kind: thread
  company:
    kind: string
  customer_name:
    kind: string
metadata:
  tags:
  - support
---
system:
You help customers of {{ company }}.

{{ history }}
user:
{{ customer_name }}
""",
        "langfuse.json: Support Triage! version 3",
        (
            "The variable customer name is the input customer_name now.",
            "Label production pointed at version 3.",
        ),
    )


def test_a_text_prompt_of_langfuse_is_a_prompt_with_a_single_message():
    found = only(langfuse("Do you like {{movie}}?", type="text"), "x.json")

    assert parsed(found).render(movie="Up") == "Do you like Up?"


def test_what_the_configuration_of_langfuse_says_besides_the_model_survives_in_metadata():
    text = langfuse("x", type="text", config={"model": "gpt-5", "top_p": 0.5, "languages": ["en"]}, tags=["t"])
    found = only(text, "x.json")

    assert parsed(found).model == {"id": "gpt-5", "options": {"topP": 0.5}}
    assert parsed(found).front_matter["metadata"] == {"tags": ["t"], "config": {"languages": ["en"]}}
    assert found.notes == ("What the configuration says besides the model is in metadata: languages.",)
    assert json.loads(exported(parsed(found), "langfuse").text)["config"] == json.loads(text)["config"]


def test_of_several_versions_the_newest_is_imported_and_the_others_are_named():
    entries = [
        {"name": "a", "version": number, "prompt": f"v{number}", "labels": [f"l{number}"]} for number in (9, 10, 2)
    ]
    found = only(json.dumps({"data": entries}), "all.json")

    assert (parsed(found).version, parsed(found).render()) == ("10.0.0", "v10")
    assert found.notes == (
        "Label l10 pointed at version 10.",
        "Version 9 (label l9) was left out.",
        "Version 2 (label l2) was left out.",
    )


def test_a_list_of_langfuse_gives_each_prompt_once():
    found = imported(
        json.dumps([{"name": "folder/A b", "prompt": "1"}, {"name": "folder/a-b", "prompt": "2"}]), path="l.json"
    )

    assert [each.name for each in found] == ["folder/a-b", "folder/a-b-2"]


def test_a_list_of_langfuse_without_texts_says_where_they_are():
    text = json.dumps({"data": [{"name": "a", "versions": [1, 2], "labels": []}], "meta": {}})

    assert problem(PromptError, lambda: imported(text, path="l.json")) == (
        "l.json: these are names of prompts in Langfuse without their text, such as a\n"
        "  ask for each prompt itself: GET /api/public/v2/prompts/NAME"
    )


def test_what_looks_like_a_section_of_mustache_stays_as_text_and_is_noted():
    found = only(langfuse("{{#admins}}x{{/admins}} {{{name}}}", type="text"), "x.json")

    assert parsed(found).render() == "{{#admins}}x{{/admins}} {{{name}}}"
    assert found.notes == (
        "{{#admins}} is no variable and stays as text.",
        "{{/admins}} is no variable and stays as text.",
        "{{{name}} is no variable and stays as text.",
    )


def test_variables_that_jinja_would_read_as_something_else_are_renamed():
    found = only(langfuse("{{not}} {{true}} {{a.b}} {{a_b}} {{__role}} {{loop}}", type="text"), "x.json")

    assert list(kinds(found)) == ["not_", "true_", "a_b", "a_b_2", "_role", "loop_"]
    assert parsed(found).render(not_=1, true_=2, a_b=3, a_b_2=4, _role=5, loop_=6) == "1 2 3 4 5 6"


# --- GitHub Models ---------------------------------------------------------------------------------------------------


def test_a_prompt_of_github_models_becomes_a_prompt_file():
    found = only(
        """name: Text Summarizer
description: Summarizes a text
model: openai/gpt-4o-mini
modelParameters: {temperature: 0.5, maxTokens: 100}
messages:
  - role: system
    content: You are a text summarizer.
  - role: user
    content: |
      Summarize this:
      <text>
      {{input}}
      </text>
testData:
  - input: The quick brown fox
evaluators:
  - name: starts well
    string: {startsWith: Summary}
responseFormat: json_schema
jsonSchema: |-
  {"name": "s", "schema": {"type": "object", "required": ["summary"],
    "properties": {"summary": {"type": "string"}, "words": {"type": ["number", "null"]}}}}
""",
        "summarizer.prompt.yml",
    )

    assert (
        found.text
        == """---
name: text-summarizer
version: 1.0.0
displayName: Text Summarizer
description: Summarizes a text
model:
  id: gpt-4o-mini
  provider: openai
  options:
    temperature: 0.5
    maxOutputTokens: 100
inputs:
  input:
    kind: string
outputs:
  summary:
    kind: string
  words:
    kind: float
    required: false
---
system:
You are a text summarizer.
user:
Summarize this:
<text>
{{ input }}
</text>
"""
    )
    assert found.notes == (
        "testData was left out (1 in all): write tests for it.",
        "evaluators was left out (1 in all): write tests for it.",
    )


def test_yaml_that_is_no_prompt_says_what_it_looks_like():
    assert problem(PromptError, lambda: imported("on: push\njobs: {}\n", path="ci.yml")) == (
        f"ci.yml: there is no prompt in it that can be imported; it looks like a mapping with the keys True, jobs\n{READ}"
    )


def test_messages_that_are_no_list_are_refused():
    assert problem(PromptSyntaxError, lambda: imported("messages: hello\n", path="a.prompt.yml")) == (
        "a.prompt.yml: the messages must be a list of mappings with role and content; they look like text that begins with 'hello'"
    )


def test_broken_yaml_names_the_line():
    assert problem(PromptSyntaxError, lambda: imported("name: a\nmessages: [\n", path="a.prompt.yml")).startswith(
        "a.prompt.yml:3: this is not YAML: "
    )


# --- requests for chat completions -----------------------------------------------------------------------------------


def test_a_request_for_a_chat_completion_becomes_a_prompt_file():
    tool = {"name": "refund", "description": "Pays back", "parameters": {"type": "object", "properties": {}}}
    found = only(
        json.dumps(
            {
                "model": "gpt-5-mini",
                "messages": [
                    {"role": "developer", "content": "Reply with {{name}} and {% this %}."},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {}}],
                    },
                    {"role": "critic", "content": "No."},
                ],
                "temperature": 0,
                "stop": "END",
                "store": True,
                "tools": [{"type": "function", "function": tool}],
                "response_format": {"type": "json_object"},
            }
        ),
        "request.json",
    )

    assert parsed(found).messages(image="https://x.org/y.png") == [
        {"role": "developer", "content": "Reply with {{name}} and {% this %}."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "https://x.org/y.png"}},
            ],
        },
        {"role": "user", "content": "No."},
    ]
    assert parsed(found).model == {
        "id": "gpt-5-mini",
        "options": {"temperature": 0, "stopSequences": ["END"], "additionalProperties": {"store": True}},
    }
    assert parsed(found).front_matter["tools"] == [{"kind": "function", **tool}]
    assert found.notes == (
        "The image of message 2 is the input image now.",
        "Message 3 had the role critic, which became user.",
        'The response format {"type": "json_object"} was left out: declare outputs instead.',
    )


# --- prompts stored at OpenAI ----------------------------------------------------------------------------------------

PYTHON = """from openai import OpenAI

REFUNDS = "pmpt_68b0"
client = OpenAI()
answer = client.responses.create(
    model="gpt-5",
    prompt={
        "id": REFUNDS,
        "version": "2",
        "variables": {"customer_name": name, "receipt": {"type": "input_file", "file_id": id}, "photo": picture},
    },
)
again = client.responses.create(prompt=ResponsePromptParam(id="pmpt_68b0", variables={"city": "Oslo"}))
other = client.responses.create(prompt=dict(id=os.getenv("OTHER", "pmpt_77aa")))
"""


def test_the_uses_of_stored_prompts_in_python_are_found():
    assert uses(PYTHON, "app.py") == (
        PromptUse("pmpt_68b0", "2", {"customer_name": "string", "receipt": "file", "photo": "image"}, "app.py", 7),
        PromptUse("pmpt_68b0", None, {"city": "string"}, "app.py", 13),
        PromptUse("pmpt_77aa", None, {}, "app.py", 14),
    )


def test_the_uses_of_stored_prompts_in_typescript_are_found():
    source = """import OpenAI from "openai";
const REFUNDS = 'pmpt_68b0';
// prompt: { id: "pmpt_0000" }
const answer = await client.responses.create({
  model: "gpt-5",
  prompt: {
    id: REFUNDS, /* the { new } one */
    version: "2",
    variables: { city, name: user.name, photo: { type: "input_image", image_url: url } },
  },
});
const other = { prompt: { "id": process.env.OTHER ?? `pmpt_77aa` } };
"""

    assert uses(source, "app.ts") == (
        PromptUse("pmpt_68b0", "2", {"city": "string", "name": "string", "photo": "image"}, "app.ts", 6),
        PromptUse("pmpt_77aa", None, {}, "app.ts", 12),
    )


def test_the_uses_of_stored_prompts_in_a_request_are_found():
    request = '{\n"model": "gpt-5",\n"prompt": {"id": "pmpt_68b0", "version": 2, "variables": {"city": "Oslo"}}}'

    assert uses(request, "r.json") == (PromptUse("pmpt_68b0", "2", {"city": "string"}, "r.json", 3),)
    assert only(request, "r.json").name == "pmpt_68b0"


def test_a_stored_prompt_becomes_a_file_that_waits_for_its_text():
    first, second = imported(PYTHON, path="app.py")

    assert first == Imported(
        "pmpt_68b0",
        """---
name: pmpt_68b0
version: 2.0.0
inputs:
  customer_name:
    kind: string
  receipt:
    kind: file
  photo:
    kind: image
  city:
    kind: string
---
system:
Paste the instructions of pmpt_68b0, version 2 here.
""",
        "app.py: pmpt_68b0",
        (
            "app.py:7 uses pmpt_68b0 version 2 with customer_name, receipt, photo.",
            "app.py:13 uses pmpt_68b0 with city.",
            (
                "The text is on OpenAI's servers until 2026-11-30: paste it in place of the line in the body, and write its"
                " variables as {{ customer_name }}, {{ receipt }}, {{ photo }}, {{ city }}."
            ),
            "Then pass what messages() gives as input=... where the program passes prompt={...}.",
        ),
    )
    assert second.name == "pmpt_77aa"
    assert second.notes[1] == ("No version is asked for: take the one that is current, and give it a version here.")


def test_source_without_stored_prompts_is_not_guessed_at():
    assert problem(PromptError, lambda: imported('PROMPT = "You are a helpful assistant."\n', path="app.py")) == (
        "app.py: it uses no prompt stored at OpenAI, that is no literal id such as pmpt_68b0 in prompt={...}\n"
        "  other texts in source are not guessed at: write them to a .prompty file\n"
        f"{READ}"
    )


def test_source_that_is_no_python_names_the_line():
    assert problem(PromptSyntaxError, lambda: uses("x = 1\nif:\n", "app.py")) == (
        "app.py:2: this is not Python: invalid syntax"
    )


# --- names and unknown files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Support Triage!", "support-triage"),
        ("../../etc/passwd", "etc/passwd"),
        ("/abs//path/", "abs/path"),
        ("C:\\prompts\\A", "c/prompts/a"),
        ("_private/__x", "private/x"),
        ("a.prompty", "a"),
        ("v1.2", "v1-2"),
        ("Größe 日本", "größe-日本"),
        ("...", "prompt"),
        ("\0", "prompt"),
    ],
)
def test_names_are_paths_inside_the_folder(given, name):
    assert only(langfuse("x", name=given), "x.json").name == name


def test_a_given_name_is_used_for_one_prompt_and_is_the_folder_of_several():
    several = json.dumps([{"name": "x/a", "prompt": "1"}, {"name": "b", "prompt": "2"}])

    assert only(langfuse("x"), "x.json", name="Team/Hello").name == "team/hello"
    assert [each.name for each in imported(several, path="x.json", name="team")] == ["team/a", "team/b"]
    assert only("Be nice.", "tone.prompt", name="_shared/tone").name == "_shared/tone"


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("Dear all,\nhello", "text that begins with 'Dear all,\\nhello'"),
        ("", "an empty text"),
        ("[]", "an empty list"),
        ('{"a": 1}', "a mapping with the keys a"),
        ("[1]", "a list of 1, of which the first is the value 1"),
    ],
)
def test_a_file_of_no_known_format_says_what_it_looks_like_and_what_is_read(text, looks):
    assert problem(PromptError, lambda: imported(text, path="notes.txt")) == (
        f"notes.txt: there is no prompt in it that can be imported; it looks like {looks}\n{READ}"
    )


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("---\nname: p\n---\nsystem:\nHi {{ a }}", "Hi 1"),
        ('---\ninput: {schema: {a: string}}\n---\n{{role "system"}}Hi {{a}}', "Hi 1"),
        ("messages:\n- {role: system, content: 'Hi {{a}}'}", "Hi 1"),
        ('[{"name": "p", "prompt": "Hi {{a}}"}]', "Hi 1"),
    ],
)
def test_a_file_without_a_known_ending_is_told_by_its_content(text, first):
    assert parsed(only(text, "p.txt")).messages(a=1)[0]["content"] == first


def test_broken_json_names_the_line():
    assert problem(PromptSyntaxError, lambda: imported('{\n"name": }', path="x.json")) == (
        f"x.json:2: this is not JSON: Expecting value\n{READ}"
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("&a [*a]", "x.yml"),
        ("messages: &a\n- *a", "x.yml"),
        ("a: !!timestamp x", "x.yml"),
        ("a: !!int ''", "x.yml"),
        ("a: !!bool x", "x.yml"),
        ("a: 2026-99-99", "x.yml"),
        ("[" * 100_000, "x.json"),
        ("1" * 10_000, "x.json"),
        ("x = 1\0", "x.py"),
        ("(" * 1_000, "x.py"),
        ("{{#if a}}" * 500 + "{{/if}}" * 500, "x.prompt"),
        ("{{" + "(" * 5_000, "x.prompty"),
        ("{" * 5_000, "x.ts"),
        ("---\ninputs: {1: {2: 3}}\n---\n", "x.prompty"),
        ("---\nmodel: [1]\ninputs: 3\noutputs: x\ntools: {a: b}\n---\n", "x.prompty"),
        ("---\nmodel: [1]\nconfig: 2\ninput: 3\noutput: {schema: [x]}\ntools: {a: b}\n---\n", "x.prompt"),
    ],
)
def test_odd_files_are_imported_or_refused_in_our_own_words(text, path):
    try:
        for found in imported(text, path=path):
            assert_exported_or_refused(parsed(found))
    except PromptError:
        pass


# --- what is literal stays literal -----------------------------------------------------------------------------------

WORDS = r"{ } {{ }} {% %} {# #} {{{ {%_raw_%} {%_endraw_%} system: ſystem: \ ' - x {{_a_|_b_}} \{{".split()
BREAKS = ["\n", "\r", "User:\n", " ", "\t", '"', "---\n", "\u2028", "\x85", "\x02", "\x03", "\ufeff", "\0"]
TRICKY = st.sampled_from([word.replace("_", " ") for word in WORDS] + BREAKS)
TEXTS = st.lists(TRICKY | st.text(max_size=5), max_size=12).map("".join)
"""Texts made of what Jinja2, Handlebars, YAML and roles are made of."""


def without_variables(text: str) -> bool:
    return not list(kinds_of_mustache(text))


def kinds_of_mustache(text: str) -> list[str]:
    found = imported(langfuse(text, type="text"), path="x.json")
    return [name for each in found for name in kinds(each)]


def said(text: str) -> str:
    """The text as any message keeps it."""
    return text.replace("\r\n", "\n").strip("\n")


CHATS = st.lists(st.tuples(st.sampled_from(ROLES), TEXTS.filter(without_variables)), min_size=1, max_size=4)


@given(CHATS)
def test_the_messages_of_langfuse_say_the_same_afterwards(chat):
    text = langfuse([{"role": role, "content": content} for role, content in chat])

    assert parsed(only(text, "x.json")).messages() == [
        {"role": role, "content": said(content)} for role, content in chat
    ]


@given(CHATS)
def test_the_messages_of_github_models_say_the_same_afterwards(chat):
    text = yaml.safe_dump({"messages": [{"role": role, "content": content} for role, content in chat]})

    assert parsed(only(text, "x.prompt.yml")).messages() == [
        {"role": role, "content": said(content)} for role, content in chat
    ]


@given(st.lists(st.tuples(st.sampled_from(ROLES), TEXTS), min_size=1, max_size=4))
def test_the_messages_of_a_request_say_the_same_afterwards(chat):
    text = json.dumps({"messages": [{"role": role, "content": content} for role, content in chat]})

    assert parsed(only(text, "x.json")).messages() == [
        {"role": role, "content": said(content)} for role, content in chat
    ]


@given(TEXTS.filter(lambda text: "{{" not in text and text.strip()))
def test_the_text_of_dotprompt_says_the_same_afterwards(text):
    found = only(f'---\nmodel: x\n---\n{{{{role "user"}}}}\n-{text}', "x.prompt")

    assert parsed(found).messages() == [{"role": "user", "content": said(f"-{text}")}]


def test_halves_of_surrogate_pairs_are_replaced_since_no_file_can_hold_them():
    assert parsed(only('{"name": "p", "prompt": "a\\ud800b"}', "x.json")).render() == "a\ufffdb"


# --- nothing but our own errors --------------------------------------------------------------------------------------

ENDINGS = st.sampled_from([".prompty", ".prompt", ".json", ".yml", ".py", ".ts", ".txt", ""])
HANDLEBARS = """{{#if a}} {{else}} {{/if}} {{#each a}} {{/each}} {{a.b}} {{> p a=b}} {{@index}} {{role "user"}} {{history}}
 {{a.[b c]}} {{a.if}} {{../a}} {{media url=a}} {{json a}} {{~a~}} {{^}} {{{{a}}}} {{#with a}} {{/with}} {{#each a as |b|}}"""
SOURCE = [
    "---\n",
    "name: p\n",
    "inputs:\n",
    "- ",
    "a: ",
    "&a ",
    "*a",
    "!!int",
    "system:\n",
    "{% for a in a %}",
    "{% endfor %}",
]
SOURCE += ["messages", "prompt", '"id": "pmpt_1"', "variables", "{{ a(", *"{}[]\"':,`\\\n /*"]
PIECES = st.sampled_from(SOURCE) | st.sampled_from([f"{tag}}}}}" for tag in HANDLEBARS.split("}}")[:-1]])


def assert_exported_or_refused(made: Prompt) -> None:
    for to in ("prompty", "dotprompt", "langfuse", "github", "openai"):
        try:
            assert exported(made, to).text
        except PromptError as error:
            said = str(error)
            assert made.path in said


@given(st.lists(PIECES | TRICKY | st.text(max_size=3), max_size=25).map("".join), ENDINGS)
def test_whatever_the_text_is_it_is_imported_or_refused(text, ending):
    try:
        found = imported(text, path=f"x{ending}")
    except PromptError as error:
        said = str(error)
        assert f"x{ending}" in said
    else:
        for each in found:
            each.text.encode()
            assert_exported_or_refused(parsed(each, p="", partial=""))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "type", "role", "content", "id"]) | TEXTS, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.sampled_from(
    "name version type prompt labels tags config data messages model modelParameters tools response_format jsonSchema testData"
    " inputs input output outputs schema default sample template description metadata authors responseFormat".split()
)


@given(st.dictionaries(FIELDS, VALUES, max_size=8), ENDINGS)
def test_whatever_the_values_are_they_are_imported_or_refused(data, ending):
    text = json.dumps(data)
    for written in (text, f"---\n{text}\n---\nsystem:\n{{{{ a }}}}"):
        try:
            found = imported(written, path=f"x{ending}")
        except PromptError as error:
            said = str(error)
            assert f"x{ending}" in said
        else:
            for each in found:
                assert parsed(each).digest
                assert_exported_or_refused(parsed(each))


# --- the way back ----------------------------------------------------------------------------------------------------

TRIAGE = """---
name: support/triage
version: 1.3.0
description: Sorts tickets
model: {id: gpt-5-mini, provider: openai, options: {temperature: 0, maxOutputTokens: 200}}
inputs:
  company: {kind: string}
  tone: {kind: string, default: friendly}
  ticket: {kind: string, trust: untrusted}
outputs:
  queue: {kind: string, enumValues: [billing, tech], description: Who answers}
  sure: {kind: float, required: false}
tools:
- name: lookup
  kind: function
  description: Finds an order
  parameters: {type: object, properties: {order: {type: integer}}}
---
system:
You are the {{ tone }} agent of {{ company }}. {% include "_shared/safety" %}
user:
{{ ticket | untrusted }}
"""


def triage() -> Prompt:
    return prompt(TRIAGE, "support/triage", safety="---\nname: s\n---\nNever lie.\n")


def test_a_prompt_is_written_for_langfuse():
    made = exported(triage(), "langfuse")

    assert json.loads(made.text) == {
        "name": "support/triage",
        "type": "chat",
        "prompt": [
            {"role": "system", "content": "You are the {{tone}} agent of {{company}}. Never lie."},
            {"role": "user", "content": "{{ticket}}"},
        ],
        "config": {
            "model": "gpt-5-mini",
            "temperature": 0,
            "max_completion_tokens": 200,
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "lookup",
                        "description": "Finds an order",
                        "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}},
                    },
                }
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "support_triage",
                    "schema": {
                        "type": "object",
                        "properties": {
                            "queue": {"type": "string", "description": "Who answers", "enum": ["billing", "tech"]},
                            "sure": {"type": "number"},
                        },
                        "required": ["queue"],
                    },
                },
            },
        },
        "labels": [],
        "tags": [],
    }
    assert made.ending == ".json"
    assert made.notes == (
        "The partial _shared/safety stands in the text itself.",
        "ticket stands without the delimiters of the filter untrusted.",
        "Langfuse counts versions itself: 1.3.0 is not kept.",
        "The default of tone is not kept: friendly.",
    )


def test_a_prompt_is_written_for_github_models():
    made = exported(triage(), "github")
    data = yaml.safe_load(made.text)

    assert json.loads(data.pop("jsonSchema"))["schema"]["required"] == ["queue"]
    assert data == {
        "name": "support/triage",
        "description": "Sorts tickets",
        "model": "openai/gpt-5-mini",
        "modelParameters": {"temperature": 0, "maxTokens": 200},
        "messages": [
            {"role": "system", "content": "You are the {{tone}} agent of {{company}}. Never lie."},
            {"role": "user", "content": "{{ticket}}"},
        ],
        "responseFormat": "json_schema",
    }
    assert made.ending == ".prompt.yml"
    assert "The tools are not kept." in made.notes


def test_a_prompt_is_written_as_a_request_for_a_chat_completion():
    made = exported(triage(), "openai")
    data = json.loads(made.text)

    assert list(data) == ["model", "messages", "temperature", "max_completion_tokens", "tools", "response_format"]
    assert data["messages"][1] == {"role": "user", "content": "{{ticket}}"}
    assert made.notes[-1] == "Replace {{company}}, {{tone}}, {{ticket}} before it is sent."


def test_a_prompt_is_written_for_dotprompt():
    made = exported(
        prompt(
            """---
name: p
version: 1.0.0
model: {id: gemini-2.5-flash, provider: googleai, options: {temperature: 1}}
inputs:
  style: {kind: string, default: ""}
  guests: {kind: array}
---
system:
Be kind{% if style %}, {{ style }}{% else %}.{% endif %}
assistant:
{% for guest in guests %}{{ loop.index0 }} {{ guest.name }} {{ style }}{% endfor %}{% if not style %}!{% endif %}
"""
        ),
        "dotprompt",
    )

    assert made.text == (
        """---
name: p
model: googleai/gemini-2.5-flash
config:
  temperature: 1
input:
  schema:
    type: object
    properties:
      style:
        type: string
      guests:
        type: array
    required:
    - guests
  default:
    style: ''
---
{{role "system"}}
Be kind{{#if style}}, {{style}}{{else}}.{{/if}}
{{role "model"}}
{{#each guests}}{{@index}} {{this.name}} {{../style}}{{/each}}{{#unless style}}!{{/unless}}
"""
    )


def test_a_prompt_is_written_for_other_readers_of_prompty_as_it_is():
    made = exported(triage(), "prompty")

    assert (made.text, made.ending) == (TRIAGE, ".prompty")
    assert made.notes == (
        "It includes _shared/safety, which must be beside it.",
        "The filter untrusted is ours: other runtimes of Prompty need one of that name.",
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("user:\n{% for x in a %}{{ x }}{% endfor %}", "6: {% for %} cannot be said in Langfuse"),
        ("user:\nhi\n{% if a %}x{% endif %}", "7: {% if %} cannot be said in Langfuse"),
        ("user:\n{{ a | upper }}", "6: the filter upper cannot be said in Langfuse"),
        ("user:\n{{ a.b }}", "6: a field of an input cannot be said in Langfuse"),
    ],
)
def test_what_mustache_cannot_say_is_refused_with_the_line(body, said):
    made = prompt(f"---\nname: p\ninputs: {{a: string}}\n---\n{body}")

    assert problem(PromptError, lambda: exported(made, "langfuse")) == (
        f"prompts/p.prompty:{said}\n"
        "  it knows only {{ input }}; prompty keeps everything, and dotprompt knows simple conditions and loops"
    )


def test_what_cannot_be_said_in_a_partial_names_the_partial():
    made = prompt(
        'user:\n{% include "_shared/tone" %}', tone="---\nname: tone\n---\nBe\n{% if true %}nice{% endif %}\n"
    )

    assert problem(PromptError, lambda: exported(made, "openai")).startswith(
        "_shared/tone:5: {% if %} cannot be said in a request\n"
    )


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("{% raw %}{{ name }}{% endraw %}", "its text {{name}} would be a variable"),
        ("{{ '{' }}{{ a }}", "a brace beside a variable hides it"),
    ],
)
def test_text_that_would_be_a_variable_elsewhere_is_refused(body, what):
    made = prompt(f"---\nname: p\ninputs: {{a: string}}\n---\nuser:\n{body}")

    assert problem(PromptError, lambda: exported(made, "github")) == (
        f"prompts/p.prompty: message 1 cannot be said in GitHub Models: {what}"
    )


def test_a_format_that_does_not_exist_is_answered_with_those_that_do():
    assert problem(PromptError, lambda: exported(triage(), "yaml")) == (
        "there is no format 'yaml' to export to\n  there are: prompty, dotprompt, langfuse, github, openai"
    )


def test_a_thread_becomes_a_placeholder_of_langfuse_and_is_a_thread_again_afterwards():
    text = langfuse(
        [
            {"role": "system", "content": "Hi"},
            {"type": "placeholder", "name": "past"},
            {"role": "user", "content": "{{q}}"},
        ]
    )
    found = only(text, "x.json")

    assert json.loads(exported(parsed(found), "langfuse").text)["prompt"] == json.loads(text)["prompt"]


def test_the_messages_of_a_thread_come_where_its_placeholder_stood():
    found = only(
        langfuse(
            [
                {"role": "system", "content": "Hi"},
                {"type": "placeholder", "name": "past"},
                {"role": "assistant", "content": "Ok"},
            ]
        ),
        "x.json",
    )
    before = [{"role": "user", "content": "{{ not a variable }}"}, {"role": "assistant", "content": "Aha"}]

    assert parsed(found).messages(past=before) == [
        {"role": "system", "content": "Hi"},
        *before,
        {"role": "assistant", "content": "Ok"},
    ]


def test_what_stands_around_a_thread_is_a_message_of_its_own_in_langfuse():
    made = prompt("---\nname: p\ninputs: {past: thread}\n---\nuser:\nBefore\n{{ past }}\nAfter\n")

    assert json.loads(exported(made, "langfuse").text)["prompt"] == [
        {"role": "user", "content": "Before"},
        {"type": "placeholder", "name": "past"},
        {"role": "user", "content": "After"},
    ]


def test_an_image_beside_text_is_an_input_that_no_variable_is_taken_for():
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}]
    found = only(langfuse([{"role": "user", "content": parts}, {"role": "user", "content": "{{image}}"}]), "x.json")

    assert kinds(found) == {"image": "image", "image_2": "string"}
    assert parsed(found).messages(image="https://x.org/b.png", image_2="photo") == [
        {"role": "user", "content": [parts[0], {"type": "image_url", "image_url": {"url": "https://x.org/b.png"}}]},
        {"role": "user", "content": "photo"},
    ]


def test_an_image_is_media_of_dotprompt_and_cannot_be_said_where_there_is_only_text():
    made = prompt("---\nname: p\ninputs: {photo: image}\n---\nuser:\nLook: {{ photo }}\n")

    assert exported(made, "dotprompt").text.endswith('{{role "user"}}\nLook: {{media url=photo}}\n')
    assert problem(PromptError, lambda: exported(made, "github")) == (
        "prompts/p.prompty: the image photo cannot be said in GitHub Models"
    )


INPUTS = {"first": "1", "second_one": "2"}
PARTS = st.sampled_from(["{{ first }}", "{{second_one}}"]) | st.text("ab {}%#\n'-\\:<", max_size=6)


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.lists(PARTS, max_size=5).map("".join)), min_size=1, max_size=3))
@pytest.mark.parametrize(("to", "path"), [("langfuse", "x.json"), ("github", "x.prompt.yml")])
def test_plain_prompts_survive_the_way_to_another_tool_and_back(to, path, chat):
    text = langfuse([{"role": role, "content": content} for role, content in chat])
    before = parsed(only(text, "x.json"))
    after = parsed(only(exported(before, to).text, path))

    assert after.inputs.keys() == before.inputs.keys()
    given_inputs = {name: INPUTS[name] for name in before.inputs}
    assert after.messages(**given_inputs) == before.messages(**given_inputs)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("Hello {{name}}, {{#if a.b}}yes{{else}}no{{/if}}.", {"name": "Ann", "a": {"b": 1}}),
        (
            "{{#each xs}}{{#each this.ys}}{{this}}{{../n}}{{../../sep}}{{/each}}{{/each}}",
            {"xs": [{"n": 1, "ys": [2, 3]}], "sep": ";"},
        ),
        (r"\{{name}} and \\{{name}} {% x %} {", {"name": "Ann"}),
        ("{{#unless a}}no{{/unless}}{{json xs}}{{#each xs}}{{@index}}{{@last}}{{/each}}", {"a": False, "xs": [1]}),
    ],
)
def test_dotprompt_survives_the_way_there_and_back(body, inputs):
    before = parsed(only(body, "p.prompt"))
    after = parsed(only(exported(before, "dotprompt").text, "p.prompt"))

    assert after.messages(**inputs) == before.messages(**inputs)
