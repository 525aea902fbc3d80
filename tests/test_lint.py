"""What `lint` says about prompt files: each rule where it speaks and where it is silent, with exact lines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, meta, nodes

from pytest_agentops import Prompt
from pytest_agentops.errors import PromptError, PromptNotFound
from pytest_agentops.lint import Complaint, lint, near_duplicates

TODAY = date(2026, 1, 1)


def source(partials: dict[str, str]) -> Callable[[str], str]:
    def text(name: str) -> str:
        try:
            return partials[name]
        except KeyError:
            raise PromptNotFound(f"no prompt {name!r}\n  there are: none") from None

    return text


def complaints(text: str, partials: dict[str, str] | None = None, **more: object) -> list[Complaint]:
    return list(lint("p", text, path="prompts/p.prompty", source=source(partials or {}), today=TODAY, **more))  # type: ignore[arg-type]


def told(text: str, partials: dict[str, str] | None = None, **more: object) -> list[tuple[int, str]]:
    """The line and rule of each complaint."""
    return [(complaint.line, complaint.rule) for complaint in complaints(text, partials, **more)]


def said(text: str, partials: dict[str, str] | None = None, **more: object) -> list[str]:
    """Each complaint as a line of text; `!` marks the serious ones."""
    return [
        f"{each.line}: {each.rule}{'!' if each.serious else ''}: {each.message}"
        for each in complaints(text, partials, **more)
    ]


def with_ticket(body: str) -> str:
    """A prompt of which the body begins on line 4, with an untrusted `ticket` and a trusted `tone`."""
    return f"---\ninputs: {{ticket: {{trust: untrusted}}, tone: string}}\n---\n{body}{{% if ticket or tone %}}{{% endif %}}"


def reaches(body: str, partials: dict[str, str] | None = None) -> list[tuple[int, str]]:
    """What is told of a body about untrusted text, and everything else but for unused inputs."""
    return [each for each in told(with_ticket(body), partials) if each[1] != "unused-input"]


# --- a complaint -----------------------------------------------------------------------------------------------------


def test_a_complaint_says_where_and_how_much_it_matters():
    text = "---\ninputs:\n  company: string\n---\nYou are of {{ compnay }}.\n"

    assert complaints(text) == [
        Complaint(
            "p", "prompts/p.prompty", 3, "unused-input", "input 'company' is declared and used nowhere", serious=False
        ),
        Complaint(
            "p",
            "prompts/p.prompty",
            5,
            "undeclared-input",
            "'compnay' is no declared input; did you mean 'company'?",
            serious=True,
        ),
    ]


def test_a_prompt_in_order_has_no_complaints():
    text = """---
name: p
version: 1.0.0
model: {id: gpt-5-mini, provider: openai}
inputs:
  company: {kind: string}
  ticket:  {kind: string, trust: untrusted}
---
system:
You are the support agent of {{ company }}. {% include "_shared/safety" %}
user:
{{ ticket | untrusted }}
"""

    assert said(text, {"_shared/safety": "Be safe.\n"}) == []


# --- syntax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("---\ninputs: {}\n", 1),
        ("---\nname: p\ninputs: [\n---\n", 4),
        ("---\n- a list\n---\n", 1),
        ("---\nname: p\ninputs: a text\n---\n", 3),
        ("---\ninputs:\n  a: string\n  b: {trust: maybe}\n---\n", 4),
        ('---\nname: !!int ""\n---\n', 1),
        ("---\nname: p\n---\nHello\n{% if %}\n", 5),
        ("Hello\n{{ name", 2),
        ("Hello\n\n{{ 'x' | nofilter }}\n", 3),
        ('Hello\n{% include "_shared/gone" %}\n', 2),
        ('Hello\n\n{% include "_shared/broken" %}\n', 3),
        ('Hello\n\n{% include "_shared/itself" %}\n', 3),
        ("{{ " + "9" * 5000 + " }}", 1),
        ("{{ " + "(" * 5000 + " }}", 1),
        ("{% for a in 'a' %}" * 30 + "{% endfor %}" * 30, 1),
    ],
)
def test_a_file_that_cannot_be_understood_has_one_complaint(text, line):
    partials = {"_shared/broken": "Hello\n{% endif %}", "_shared/itself": '{% include "_shared/itself" %}'}

    assert told(text, partials) == [(line, "syntax")]


def test_a_complaint_about_syntax_says_what_is_wrong():
    assert said("---\ninputs:\n  ticket: {trust: maybe}\n---\n") == [
        "3: syntax!: input 'ticket' has trust 'maybe'; write trusted or untrusted"
    ]
    assert said('{% include "_shared/gone" %}') == ["1: syntax!: no partial '_shared/gone': no prompt '_shared/gone'"]
    assert said('{% include "_a" %}', {"_a": "---\nx: 1\n---\n{% include '_b' %}", "_b": "\n{% include '_a' %}"}) == [
        "1: syntax!: in _b, line 2: include cycle: p -> _a -> _b -> _a"
    ]
    assert said('\n{% include "_a" %}', {"_a": "---\nx: 1\n---\n\n{% endif %}"}) == [
        "2: syntax!: in _a, line 5: Encountered unknown tag 'endif'."
    ]


# --- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "{% for x in tone %}{{ x }}{{ loop.index }}{% endfor %}",
        "{% for a, b in tone %}{{ a }}{{ b }}{% else %}-{% endfor %}",
        "{% set x = tone %}{{ x }}",
        "{% set x %}text{% endset %}{{ x }}",
        "{% macro m(a, b=1) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller }}{% endmacro %}{{ m(1) }}",
        "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}",
        "{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(a) m() %}{{ a }}{% endcall %}",
        "{% with a = tone %}{{ a }}{% endwith %}",
        "{% block b %}{% set x = 1 %}{{ x }}{{ super }}{% endblock %}{{ self.b() }}",
        "{% if tone %}{% set x = 1 %}{% else %}{% set x = 2 %}{% endif %}{{ x }}",
        "{% if tone %}{% set x = 1 %}{{ x }}{% endif %}",
        "{% for i in range(3) recursive %}{{ loop(i) }}{% endfor %}",
        "{% raw %}{{ x }}{% endraw %}{# {{ x }} #}",
    ],
)
def test_names_that_the_template_binds_are_no_inputs(body):
    assert reaches(body) == []


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("\n{{ x }}", 5),
        ("{% for x in tone %}{% endfor %}\n{{ x }}", 5),
        ("{{ x }}{% set x = 1 %}", 4),
        ("{% if tone %}{% set x = 1 %}{% endif %}\n\n{{ x }}", 6),
        ("{% with x = 1 %}{% endwith %}\n{{ x }}", 5),
        ("{% macro m(x) %}{% endmacro %}\n{{ m(x) }}", 5),
        ("{% macro never_called() %}\n{{ x }}{% endmacro %}", 5),
        ("{% for a in tone %}{% block b %}\n{{ a }}{% endblock %}{% endfor %}", 5),
        ("{% if\n x is defined %}{% endif %}", 5),
        ("{{ namespace() }}", 4),
        ("\r\r{{ x }}\n", 4),
    ],
)
def test_an_undeclared_name_is_found_on_its_line(body, line):
    assert reaches(body) == [(line, "undeclared-input")]


def test_an_undeclared_name_in_a_partial_is_told_with_the_line_of_the_include():
    partials = {"_shared/a": '---\nname: a\n---\n\n{% include "_shared/b" %}\n', "_shared/b": "One\n{{ toen }}\n"}

    assert said(with_ticket('\n{% include "_shared/a" %}'), partials) == [
        "5: undeclared-input!: in _shared/b, line 2: 'toen' is no declared input; did you mean 'tone'?"
    ]


def test_a_name_like_no_input_should_be_declared():
    assert said("Hello {{ x }}") == ["1: undeclared-input!: 'x' is no declared input; declare it under inputs"]


@pytest.mark.parametrize(
    "body",
    [
        "{{ a }}",
        "{% if a %}{% endif %}",
        "{{ 'x' if a }}",
        '{% include "_p" %}',
        "{% if b %}{% set a = 1 %}{% endif %}{{ a }}",
    ],
)
def test_an_input_is_used_wherever_it_is_read(body):
    assert told("---\ninputs: {a: string, b: string}\n---\n{{ b }}" + body, {"_p": "{{ a }}"}) == []


@pytest.mark.parametrize(
    "body", ["", "{% set a = 1 %}{{ a }}", "{% for a in 'xy' %}{{ a }}{% endfor %}", "{# {{ a }} #}"]
)
def test_an_input_that_is_read_nowhere_is_unused(body):
    assert said(f"---\nname: p\ninputs:\n  a:\n    kind: string\n---\n{body}") == [
        "4: unused-input: input 'a' is declared and used nowhere"
    ]


def test_an_input_that_the_tools_name_is_used():
    text = '---\ntools: [{name: look, description: "about {{ topic }}"}]\ninputs: {topic: string}\n---\n'

    assert said(text) == []


# --- untrusted text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("{{ ticket }}", 4),
        ("system:\n{{ ticket }}", 5),
        ("developer:\n{{ ticket }}", 5),
        ("SYSTEM: \n\n{{ ticket }}", 6),
        ("{{ ticket | untrusted }}", 4),
        ("{{ ticket | trim | upper }}", 4),
        ("{{ tone | default(ticket) }}", 4),
        ("{{ '%s' | format(ticket) }}", 4),
        ("{{ ticket.subject }}", 4),
        ("{{ ticket['subject'][:5] }}", 4),
        ("{{ ticket.upper() }}", 4),
        ("{{ 'x'.join(ticket) }}", 4),
        ("{{ 'a' ~ ticket }}", 4),
        ("{{ 'a' + ticket }}", 4),
        ("{{ '%s' % ticket }}", 4),
        ("{{ ticket or tone }}", 4),
        ("{{ ticket if tone else '' }}", 4),
        ("{{ [tone, ticket] | join }}", 4),
        ("{{ {'a': ticket} }}", 4),
        ("{{ ticket | int(ticket) }}", 4),
        ("{% set x = ticket %}\n{{ x }}", 5),
        ("{% set x, y = tone, ticket %}\n{{ y }}", 5),
        ("{% set x %}{{ ticket }}{% endset %}\n{{ x }}", 5),
        ("{% if tone %}{% set x = ticket %}{% else %}{% set x = 1 %}{% endif %}\n{{ x }}", 5),
        ("{% if tone %}{% set tone = ticket %}{% endif %}\n{{ tone }}", 5),
        ("{% for x in ticket %}\n{{ x }}{% endfor %}", 5),
        ("{% for x in [1] %}{{ ticket }}{% endfor %}", 4),
        ("{% for x in ticket %}{{ loop.previtem }}{% endfor %}", 4),
        ("{% for x in tone recursive %}{{ x }}{% if tone %}{{ loop(ticket) }}{% endif %}{% endfor %}", 4),
        ("{% for x in tone %}{% else %}{{ ticket }}{% endfor %}", 4),
        ("{% with x = ticket %}\n{{ x }}{% endwith %}", 5),
        ("{% filter upper %}{{ ticket }}{% endfilter %}", 4),
        ("{% block b %}\n{{ ticket }}{% endblock %}", 5),
        ("{% macro m(a) %}{{ a }}{% endmacro %}\n{{ m(ticket) }}", 5),
        ("{% macro m(a, b=ticket) %}{{ b }}{% endmacro %}\n{{ m(1) }}", 5),
        ("{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}\n{{ m(ticket) }}", 5),
        ("{% macro m() %}{{ kwargs }}{% endmacro %}\n{{ m(x=ticket) }}", 5),
        ("{% macro m(a) %}{{ a }}{% endmacro %}\n{{ m(*ticket) }}", 5),
        ("{% macro m() %}{{ ticket }}{% endmacro %}\n{{ m() }}", 5),
        ("{% macro m() %}{{ caller() }}{% endmacro %}\n{% call m() %}{{ ticket }}{% endcall %}", 5),
        ("{% macro m() %}{{ caller(ticket) }}{% endmacro %}\n{% call(x) m() %}{{ x }}{% endcall %}", 5),
        ("{% macro a(x) %}{{ x }}{% endmacro %}{% macro b(x) %}{{ a(x) }}{% endmacro %}\n{{ b(ticket) }}", 5),
        ("{% macro m(x) %}{{ x }}{% if x %}{{ m(x[1:]) }}{% endif %}{% endmacro %}\n{{ m(ticket) }}", 5),
        ("{% macro m(x) %}{{ x }}{% endmacro %}{% set f = m %}\n{{ f(ticket) }}", 5),
        ("{% if tone %}\n{{ ticket }}\n{% endif %}", 5),
        ('\n{% include "_ticket" %}', 5),
        ('{% set x = ticket %}\n{% include "_x" %}', 5),
        ('user:\nHi\n{% include "_system" %}\n{{ ticket }}', 7),
    ],
)
def test_untrusted_text_in_a_system_message_is_found(body, line):
    partials = {"_ticket": "{{ ticket }}", "_x": "{{ x }}", "_system": "system:\n"}

    assert reaches(body, partials) == [(line, "untrusted-in-system")]


@pytest.mark.parametrize(
    "body",
    [
        "{{ tone }}",
        "{% if ticket %}{{ tone }}{% elif 'x' in ticket %}one{% else %}other{% endif %}",
        "{{ 'urgent' if ticket else 'calm' }}",
        "{{ ticket == tone }}{{ ticket is defined }}{{ not ticket }}",
        "{{ ticket | length }}",
        "{{ {'a': 1}[ticket] }}",
        "{% for x in ticket %}{{ loop.index }}{{ loop.cycle('a', 'b') }}{% endfor %}",
        "{% set x = ticket %}{% set x = 1 %}{{ x }}",
        "{% for x in ticket %}{% endfor %}{% set x = 1 %}{{ x }}",
        "{% macro m(a) %}text{% endmacro %}{{ m(ticket) }}",
        "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(tone) }}",
        "user:\n{{ ticket | untrusted }}",
        "system:\nHi\nuser:\n{{ ticket | untrusted }}\nassistant:\nYes\ntool:\n{{ ticket | untrusted }}",
        "{% raw %}\nuser:\n{{ ticket }}{% endraw %}",
        '{% include "_user" %}\n{{ ticket | untrusted }}',
        "{% macro start() %}\nuser:\n{% endmacro %}{{ start() }}{{ ticket | untrusted }}",
        "{% set start %}\nuser:\n{% endset %}{{ start }}{{ ticket | untrusted }}",
        "{% if tone %}\nuser:\n{% else %}\ntool:\n{% endif %}\n{{ ticket | untrusted }}",
    ],
)
def test_untrusted_text_elsewhere_is_fine(body):
    assert reaches(body, {"_user": "user:\n"}) == []


@pytest.mark.parametrize(
    "body",
    [
        "{% if tone %}\nuser:\n{% endif %}\n{{ ticket | untrusted }}",
        "{% for x in tone %}\nuser:\n{% endfor %}\n{{ ticket | untrusted }}",
        "user:\n{% for x in tone %}\n{{ ticket | untrusted }}\nsystem:\n{% endfor %}",
        "{% raw %}\nuser:\n{% endraw %}\n{{ ticket | untrusted }}",
        "{#\nuser:\n#}\n{{ ticket | untrusted }}",
        "{% macro start() %}{% if tone %}\nuser:\n{% endif %}{% endmacro %}{{ start() }}{{ ticket | untrusted }}",
    ],
)
def test_every_role_that_may_be_in_force_counts(body):
    assert [rule for _, rule in reaches(body)] == ["untrusted-in-system"]


def test_the_complaint_about_a_system_message_names_the_remedy():
    body = "\n{{ ticket }}{% if tone %}\ndeveloper:\n{% endif %}{{ ticket | untrusted }}"

    assert said(with_ticket(body)) == [
        (
            "5: untrusted-in-system!: untrusted input 'ticket' reaches the system message, which models obey; "
            "move it to a user message"
        ),
        (
            "7: untrusted-in-system!: untrusted input 'ticket' reaches the developer or system message, which models obey; "
            "move it to a user message"
        ),
    ]


@pytest.mark.parametrize(
    "expression",
    [
        "ticket",
        "ticket | upper",
        "ticket | untrusted | upper",
        "(ticket | untrusted)[:10]",
        "(ticket | untrusted).strip()",
        "ticket | untrusted | replace('<', '')",
        "ticket | untrusted | join(' ')",
        "tone ~ ticket",
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
def test_untrusted_text_without_whole_delimiters_is_found(role, expression):
    assert reaches(f"{role}:\n\n{{{{ {expression} }}}}") == [(6, "missing-delimiters")]


@pytest.mark.parametrize(
    "body",
    [
        "{{ ticket | untrusted }}",
        "{{ ticket | trim | untrusted }}",
        "{{ ticket | untrusted | trim }}",
        "{{ 'Ticket: ' ~ ticket | untrusted }}",
        "{{ tone ~ (ticket | untrusted) }}",
        "{{ ticket | untrusted if ticket else 'none' }}",
        "{% set x = ticket | untrusted %}{{ x }}",
        "{% set x | untrusted %}{{ ticket }}{% endset %}{{ x }}",
        "{% filter untrusted %}{{ ticket }}{% endfilter %}",
        "{% filter trim | untrusted %}{{ ticket }}{% endfilter %}",
        "{% for x in ticket %}{{ x | untrusted }}{% endfor %}",
        "{{ ticket | map('untrusted') | join('\n') }}",
        "{% macro quote(a) %}{{ a | untrusted }}{% endmacro %}{{ quote(ticket) }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ ticket | untrusted }}{% endcall %}",
    ],
)
def test_whole_delimiters_are_enough(body):
    assert reaches(f"user:\n{body}") == []


@pytest.mark.parametrize(
    "body",
    [
        "{% filter untrusted | upper %}{{ ticket }}{% endfilter %}",
        "{% for x in ticket | untrusted %}{{ x }}{% endfor %}",
    ],
)
def test_delimiters_that_are_taken_apart_do_not_count(body):
    assert reaches(f"user:\n{body}") == [(5, "missing-delimiters")]


def test_the_complaints_about_delimiters_say_what_to_write():
    body = "user:\n{{ ticket }}\n{{ ticket | untrusted | upper }}\n{{ tone }}"

    assert said(with_ticket(body)) == [
        (
            "5: missing-delimiters: untrusted input 'ticket' stands in the user message without delimiters; "
            "write {{ ticket | untrusted }}"
        ),
        (
            "6: missing-delimiters: the delimiters of untrusted input 'ticket' are changed after they were put; "
            "let untrusted be the last filter"
        ),
    ]


def test_untrusted_text_in_the_tools_is_found_on_its_line():
    text = """---
inputs:
  topic: {trust: untrusted}
  place: string
tools:
  - name: search
    description: Finds what is known of {{ topic }} in {{ place }}
    parameters:
      query:
        description: |
          What to look for,
          such as {{ topic | untrusted }}.
  - {name: other, description: "{{ 'a' if topic }} {{ palce }}"}
---
"""

    assert said(text) == [
        "7: untrusted-in-tool!: untrusted input 'topic' stands in the tools, which models obey; put it into a user message",
        "12: untrusted-in-tool!: untrusted input 'topic' stands in the tools, which models obey; put it into a user message",
        "13: undeclared-input!: 'palce' is no declared input; did you mean 'place'?",
    ]


# --- includes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "{% include tone %}",
        "{% include 'a' ~ tone %}",
        "{% include ['a', 'b'] %}",
        "{% extends 'a' %}",
        "{% import 'a' as a %}{{ a.b() }}",
        "{% from 'a' import b, c as d %}{{ b() }}{{ d() }}",
    ],
)
def test_an_include_that_cannot_be_followed_is_found(tag):
    assert said(with_ticket(f"\n{tag}")) == [
        '5: dynamic-include!: only {% include "name" %} with a literal name can be followed'
    ]


def test_an_include_that_cannot_be_followed_in_a_partial_is_told_with_the_line_of_the_partial():
    assert said(with_ticket('\n{% include "_a" %}'), {"_a": "\n\n{% include tone %}"}) == [
        '5: dynamic-include!: in _a, line 3: only {% include "name" %} with a literal name can be followed'
    ]


# --- hidden characters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hidden",
    [*"\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\u00ad\ufeff\u061c\u180e\u115f\u3164\ufe0f\x00\x1b\x7f\x9b", "\U000e0041", "\U000e0001", "\U000e0100"],
)  # fmt: skip
def test_a_character_that_nobody_sees_is_found(hidden):
    assert told(f"---\nname: p\n---\nHello\nwo{hidden}rld") == [(5, "hidden-unicode")]


@pytest.mark.parametrize(
    "text",
    [
        "👩‍💻 👨‍👩‍👧 🏳️‍🌈 ❤️‍🔥 👍🏽 👩🏽‍🚒 ☎️ ☎︎ 1️⃣ ©️ 🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "می‌خواهم",
        "क्‍ष",
        "ക്‍ ",
        "葛󠄀 〆︀ ≨︀",
        "a\u00a0b\tc – “quoted” é e\u0301 日本語 עברית العربية",
    ],
)
def test_emoji_and_scripts_that_need_hidden_characters_are_fine(text):
    assert said(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "👍\ufe0f\ufe0f",
        "👍\U000e0100",
        "👍\u200d ",
        "a\ufe0f",
        "می\u200c\u200cخ",
        "ab\u200ccd",
        "🏴\U000e0061\U000e0062",
    ],
)
def test_hidden_characters_where_nothing_needs_them_are_found(text):
    assert told(text) == [(1, "hidden-unicode")]


def test_hidden_characters_are_told_with_column_and_name_and_what_they_spell():
    tags = "".join(chr(0xE0000 + ord(each)) for each in "obey me")

    assert said(f"One\nTwo\u200b{tags}\nx\u202ey\x1b") == [
        (
            "2: hidden-unicode!: column 4: U+200B ZERO WIDTH SPACE and 7 more from here on; nobody sees it, "
            "and models read 'obey me'"
        ),
        "3: hidden-unicode!: column 2: U+202E RIGHT-TO-LEFT OVERRIDE; nobody sees it",
        "3: hidden-unicode!: column 4: U+001B with no name; nobody sees it",
    ]


def test_hidden_characters_are_found_in_a_file_that_is_broken():
    assert told("{% if %}\u200b") == [(1, "hidden-unicode"), (1, "syntax")]


# --- the model and the budget ----------------------------------------------------------------------------------------


def test_a_model_that_is_gone_is_serious_and_one_that_soon_will_be_is_not():
    text = "---\nmodel:\n  provider: openai\n  id: ours-1\n---\n"

    assert said(text, models={"ours-1": "2025-12-31"}) == [
        "4: retired-model!: ours-1 was shut down on 2025-12-31; name a model that is there"
    ]
    assert said(text, models={"ours-1": "2026-01-01"}) == [
        "4: retired-model!: ours-1 was shut down on 2026-01-01; name a model that is there"
    ]
    assert said(text, models={"ours-1": "2026-01-02"}) == [
        "4: retired-model: ours-1 will be shut down on 2026-01-02, in 1 day; name another"
    ]
    assert said(text, models={"ours-1": "2026-01-31"}) == [
        "4: retired-model: ours-1 will be shut down on 2026-01-31, in 30 days; name another"
    ]
    assert said(text, models={"ours-1": "2026-02-01"}) == []


def test_a_model_may_be_written_as_its_name_alone():
    assert told("---\nname: p\nmodel: gpt-4-32k\n---\n") == [(3, "retired-model")]


def test_tokens_are_counted_of_what_the_author_wrote_with_partials():
    text = (
        '---\nname: p\n---\nsystem:\none two {% if 1 %}three{% endif %} {# no #}\n{% include "_a" %} {% include "_a" %}'
    )
    partials = {"_a": "---\nx: 1\n---\nfour {{ 'five' }}"}

    def words(text: str) -> int:
        return len(text.split())

    assert said(text, partials, tokens=words, most_tokens=5) == []
    assert said(text, partials, tokens=words, most_tokens=4) == [
        "4: token-budget!: the author's text takes 5 tokens, and 4 are allowed"
    ]
    assert said(text, partials, tokens=words) == []
    assert said(text, partials, most_tokens=4) == []


# --- allowances ------------------------------------------------------------------------------------------------------


def test_a_rule_is_silent_on_the_line_of_its_allowance_and_the_next():
    body = """user:
{{ ticket }} {# lint: allow missing-delimiters #}
{# lint: allow missing-delimiters, undeclared-input: the ticket is JSON #}
{{ ticket }} {{ x }}
{{ ticket }}
{#- lint: allow untrusted-in-system -#}
{{ ticket }}
"""

    assert reaches(body) == [(8, "missing-delimiters"), (10, "missing-delimiters")]


def test_a_rule_may_be_silent_in_the_whole_file():
    body = "user:\n{{ ticket }}\n\n\n{{ ticket }}{{ x }}\n{# lint: allow-file missing-delimiters #}"

    assert reaches(body) == [(8, "undeclared-input")]


def test_a_comment_of_the_front_matter_is_an_allowance_too():
    text = """---
inputs:
  a: string  # lint: allow unused-input
  # lint: allow unused-input
  b: string
  c: string
---
"""

    assert told(text) == [(6, "unused-input")]


def test_a_partial_allows_for_its_own_lines():
    partials = {"_a": "{{ x }} {# lint: allow undeclared-input #}\n\n{{ x }}"}

    assert said(with_ticket('{% include "_a" %}'), partials) == [
        "4: undeclared-input!: in _a, line 3: 'x' is no declared input; declare it under inputs"
    ]


def test_an_allowance_for_a_rule_that_does_not_exist_is_a_complaint():
    text = "One\n{# lint: allow unused-inputs #}\n{# lint: allow xyz #}{# lint: allow-file syntax #}{{"

    assert said(text) == [
        "2: unknown-rule!: lint has no rule 'unused-inputs'; did you mean 'unused-input'?",
        "3: syntax!: unexpected 'end of template'",
        (
            "3: unknown-rule!: lint has no rule 'xyz'; there are: undeclared-input, unused-input, untrusted-in-system, "
            "untrusted-in-tool, missing-delimiters, dynamic-include, token-budget, near-duplicate, hidden-unicode, "
            "retired-model, misspelt, name"
        ),
        "3: unknown-rule!: the rule 'syntax' cannot be allowed",
    ]


# --- near duplicates -------------------------------------------------------------------------------------------------

WORDS = "You are the support agent of a shop and answer each customer in one short and friendly paragraph."


def near(**texts: str) -> list[str]:
    found = near_duplicates({name: (f"{name}.prompty", text) for name, text in texts.items()})
    return [f"{each.prompt}:{each.line}: {each.message}" for each in found]


def test_two_prompts_that_say_nearly_the_same_are_told_once():
    prompts = {
        "b": ("prompts/b.prompty", f"---\nname: b\n---\n{WORDS}"),
        "a": ("prompts/a.prompty", WORDS.upper().replace(" ", "\n") + " Always."),
        "c": ("prompts/c.prompty", "Something else altogether, of about as many words as the others have, and not alike at all."),
    }  # fmt: skip

    assert list(near_duplicates(prompts)) == [
        Complaint(
            "b",
            "prompts/b.prompty",
            4,
            "near-duplicate",
            "95% of its words are those of a; keep what they share in a partial",
            serious=False,
        )
    ]


def test_prompts_with_the_same_words_in_another_order_are_no_duplicates():
    assert near(a=WORDS, b=" ".join(sorted(WORDS.split()))) == []


def test_prompts_that_differ_in_more_than_a_tenth_are_no_duplicates():
    assert near(a=WORDS, b=WORDS.replace("support agent of a shop", "chief judge in our court")) == []


def test_variants_of_one_prompt_are_no_duplicates():
    found = near_duplicates(
        {name: (name, WORDS) for name in ("support/triage", "support/triage.de", "support/triage.v2.de", "v1.x/triage")}
    )

    assert [(each.prompt, each.message.split(";")[0]) for each in found] == [
        ("v1.x/triage", "100% of its words are those of support/triage"),
        ("v1.x/triage", "100% of its words are those of support/triage.de"),
        ("v1.x/triage", "100% of its words are those of support/triage.v2.de"),
    ]


def test_short_prompts_are_no_duplicates():
    assert near(a="x" * 79, b="x" * 79) == []
    assert near(a="x" * 80, b="x" * 80) != []


def test_scripts_without_spaces_are_compared_sign_by_sign():
    text = "あなたはこの店の親切な案内係です。" * 6

    assert near(a=text, b=text.replace("店", "館", 1)) != []
    assert near(a=text, b=text[::-1]) == []


def test_an_allowed_likeness_is_silent():
    assert near(a=WORDS, b=WORDS + "{# lint: allow-file near-duplicate #}") == []


# --- any text at all -------------------------------------------------------------------------------------------------

PIECES = (
    """
{% if a %} | {% elif b %} | {% else %} | {% endif %} | {% for x in a %} | {% for x in b recursive %} | {% endfor %}
{{ a }} | {{ x }} | {{ b|untrusted }} | {{ loop(x) }} | {{ m(a) }} | {{ caller() }} | {{ self.x() }} | {{ y ~ b }}
{% set x = a %} | {% set x %} | {% endset %} | {% filter upper %} | {% endfilter %} | {% with x = b %} | {% endwith %}
{% macro m(x, y=a) %} | {% endmacro %} | {% call m(b) %} | {% call(y) m(b) %} | {% endcall %}
{% block x %} | {% endblock %} | {% include "_p" %} | {% include "_q" %} | {% include a %} | {% import "x" as y %}
{% raw %} | {% endraw %} | {{ | {% | {# | #} | }} | %} | user: | system: | text | \u200b | \U000e0041 | ---
""".strip()
    .replace("\n", " | ")
    .split(" | ")
)
BODIES = st.lists(st.sampled_from(PIECES), max_size=12)


def check(text: str) -> None:
    """Never an error, always places in the file, and broken exactly where `Prompt` refuses."""
    partials = source({"_p": "{{ x }}{{ a }}\nuser:\n", "_q": '{% include "_p" %}{{ a | untrusted }}'})
    found = list(lint("p", text, path="p.prompty", source=partials, today=TODAY))
    try:
        Prompt.parse("p", text, path="p.prompty", source=partials)
        refused = False
    except Exception:
        refused = True

    assert all(1 <= each.line <= text.count("\n") + 1 for each in found)
    assert refused == any(each.rule in ("syntax", "dynamic-include") for each in found)


@given(BODIES)
@settings(max_examples=300, deadline=None)
def test_any_template_is_read_as_prompts_are(pieces):
    check("---\ninputs: {a: string, b: {trust: untrusted}}\n---\n" + "\n".join(pieces))


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
@example("---\n- &a [*a]\n---\n")
@example('---\nx: !!int ""\n---\n')
@example("---\ninputs: {? [a] : b}\n---\n")
@example("---\r\n---\r\n")
@example("{{ a" + ".a" * 3000 + " }}")
@example("{{ 1" + "+1" * 3000 + " }}")
@example("{% if a %}" * 400 + "{% endif %}" * 400)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read(text):
    check(text)
    list(near_duplicates({"a": ("a", text), "b": ("b", text * 2)}))


@given(st.text(alphabet="-:{}[]&*!?|>'\"#, \nabc123inputs\u2028\x85", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_front_matter_is_read(text):
    check(f"---\n{text}\n---\n{{{{ a }}}}")
    check(f"---\ninputs:\n{text}\ntools: {text}\n---\n")


def test_macros_that_call_each_other_many_times_are_followed_up_to_a_bound():
    macros = "".join(
        f"{{% macro m{depth}(x) %}}{f'{{{{ m{depth - 1}(x) }}}}' * 2 if depth else '{{ x }}'}{{% endmacro %}}\n"
        for depth in range(30)
    )

    assert reaches(f"{macros}{{{{ m29(ticket) }}}}") == [(34, "untrusted-in-system")]


LEAVES = (
    """
{{ a }} | {{ b }} | {{ x }} | {{ y }} | {{ b | untrusted }} | {{ x ~ y }} | {{ m(x) }} | {{ loop.index }} | {{ caller() }}
{% set x = a %} | {% set x = b %} | {% set y = x %} | {% set y = [x, b] %} | {% include "_p" %} | {{ n(y=b) }} | {{ x[0] }}
\nuser:\n | \nsystem:\n | {{ b if a else x }} | {{ loop.previtem }} | {% set m = n %} | {{ [b] | map("upper") | join }}
""".strip()
    .replace("\n", " | ")
    .replace("\\n", "\n")
    .split(" | ")
)
AROUND = (
    """
{% if a %}{}{% endif %} | {% if b %}{}{% else %}{}{% endif %} | {% for x in [a, b] %}{}{% endfor %}
{% for y in [] %}{}{% else %}{}{% endfor %} | {% set x %}{}{% endset %} | {% with y = b, x = y %}{}{% endwith %}
{% macro m(x, y=b) %}{}{% endmacro %} | {% macro n(y) %}{}{% endmacro %} | {% call m(b) %}{}{% endcall %}
{% filter upper %}{}{% endfilter %} | {% for x in b recursive %}{}{% endfor %} | {}{} | {}{}{}
""".strip()
    .replace("\n", " | ")
    .split(" | ")
)


@st.composite
def filled(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    first, *rest = draw(st.sampled_from(AROUND)).split("{}")
    return first + "".join(draw(inner) + part for part in rest)


TEMPLATES = st.recursive(st.sampled_from(LEAVES), filled, max_leaves=12)
HEAD = "---\ninputs: {a: string, b: {trust: untrusted}, x: {default: x}, y: {default: [y]}}\n---\n"
PARTIALS = {"_p": "{{ x }}\nuser:\n{{ y }}"}


@given(TEMPLATES)
@settings(max_examples=500, deadline=None)
def test_undeclared_names_are_those_that_jinja2_knows_or_that_are_set_too_late(body):
    found = complaints(body, {"_p": ""})
    names = {each.message.split("'")[1] for each in found if each.rule == "undeclared-input"}

    if "syntax" not in {each.rule for each in found}:
        tree = Environment().parse(body.replace("| untrusted", ""))
        later = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
        later |= {macro.name for macro in tree.find_all(nodes.Macro)}
        assert names <= meta.find_undeclared_variables(tree) | later


@given(TEMPLATES)
@settings(max_examples=1000, deadline=None)
def test_what_reaches_a_system_message_when_it_is_rendered_was_found(body):
    text = HEAD + body
    rules = {each.rule for each in complaints(text, PARTIALS)}
    try:
        prompt = Prompt.parse("p", text, path="p.prompty", source=source(PARTIALS))
        messages = prompt.messages(a="a", b="QQ")
    except PromptError:
        return

    if any("q" in each["content"].lower() for each in messages if each["role"] == "system"):
        assert "untrusted-in-system" in rules
    if any(
        "q" in each["content"].lower() and "untrusted-" not in each["content"]
        for each in messages[1:]
        if each["role"] == "user"
    ):
        assert "missing-delimiters" in rules


# --- what is nearly right --------------------------------------------------------------------------------------------


def test_a_role_or_a_key_that_is_misspelt_is_told():
    text = "---\nname: p\nmodle: {id: m}\n---\nsytem:\nBe brief.\nUsers:\nHi\nNote:\nx\n"

    assert said(text) == [
        "3: misspelt!: modle means nothing here; did you mean 'model'?",
        "5: misspelt!: sytem: is text and no role; did you mean 'system'?",
        "7: misspelt!: Users: is text and no role; did you mean 'user'?",
    ]
    assert said("---\nmodel: {id: m, option: {temperature: 0}}\nx-team: support\n---\nHi\n") == [
        "2: misspelt!: model.option means nothing here; did you mean 'options'?",
    ]


def test_a_name_that_is_not_that_of_its_place_is_told():
    assert said("---\nversion: 1.0.0\nname: q\n---\nHi\n") == [
        "3: name!: it calls itself 'q', and its place says 'p'; write name: p"
    ]
