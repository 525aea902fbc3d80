"""Prompts whose messages only put inputs in their place, as Langfuse, GitHub Models and requests can say them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import nodes

from pytest_agentops.body import partial_body, with_role_calls
from pytest_agentops.document import FRONT_MATTER
from pytest_agentops.errors import PromptError
from pytest_agentops.importing import RoleMark, Variable, parsed_body, parts, said
from pytest_agentops.kinds import RICH, object_schema
from pytest_agentops.prompt import Prompt
from pytest_agentops.requests import chat_request


@dataclass(frozen=True)
class Message:
    """One message of a body that has no logic."""

    role: str
    """Empty where the author wrote none, and `placeholder` for a thread."""
    parts: tuple[str | Variable, ...]

    @property
    def text(self) -> str:
        """Its text with each variable in double braces."""
        made = "".join(part if isinstance(part, str) else f"{{{{{part.name}}}}}" for part in self.parts)
        return made.strip("\n")

    @property
    def as_json(self) -> dict[str, str]:
        """The message as others write it."""
        return {"role": self.role or "system", "content": self.text}


TITLES = {"langfuse": "Langfuse", "github": "GitHub Models", "openai": "a request", "dotprompt": "dotprompt"}


def plainly(prompt: Prompt, to: str) -> tuple[list[Message], list[str]]:
    """The messages of a body that only puts inputs in its place, and notes.

    Raises:
        PromptError: it does more, or its text would be read as a variable.
    """
    notes: list[str] = []
    messages: list[Message] = []
    role, inside = "", list[str | Variable]()
    for part in (*_plain_parts(tree_of(prompt), prompt, to, notes), RoleMark("")):
        if not isinstance(part, RoleMark):
            inside.append(part)
            continue
        if role or _says_something(inside):
            messages += _split_at_threads(role, inside, prompt, to)
        role, inside = part.role, []
    for number, message in enumerate(messages, 1):
        _check_readable(message, number, prompt, to)
    return messages, list(dict.fromkeys(notes))


def _says_something(inside: Sequence[str | Variable]) -> bool:
    return any(isinstance(part, Variable) or part.strip() for part in inside)


def tree_of(prompt: Prompt) -> nodes.Template:
    """The body as Jinja2 reads it, in which a role is a call of `__role`, on the line where it stands."""

    return parsed_body(with_role_calls(prompt.body), prompt.path, prompt.body_line)


def _plain_parts(node: nodes.Node, prompt: Prompt, to: str, notes: list[str]) -> Iterator[str | Variable | RoleMark]:
    if isinstance(node, nodes.TemplateData):
        yield node.data
    elif isinstance(node, nodes.Const):
        yield str(node.value)
    elif isinstance(node, nodes.Name):
        yield Variable(node.name)
    elif isinstance(node, nodes.Template | nodes.Output):
        for child in node.iter_child_nodes():
            yield from _plain_parts(child, prompt, to, notes)
    elif role := role_called(node):
        yield RoleMark(role)
    elif isinstance(node, nodes.Filter) and node.name == "untrusted" and isinstance(node.node, nodes.Name):
        notes.append(f"{node.node.name} stands without the delimiters of the filter untrusted.")
        yield Variable(node.node.name)
    elif isinstance(node, nodes.Include):
        partial = included(node, prompt, notes)
        yield from _plain_parts(tree_of(partial), partial, to, notes)
    else:
        raise cannot(node, prompt, to)


def role_called(node: nodes.Node) -> str:
    """The role of a message that begins here, if one does."""
    if not isinstance(node, nodes.Call) or not isinstance(node.node, nodes.Name) or node.node.name != "__role":
        return ""
    return str(node.args[0].as_const())


def included(node: nodes.Include, prompt: Prompt, notes: list[str]) -> Prompt:
    """The prompt with the body of a partial in place of its own, so that errors name the partial."""
    name = str(node.template.as_const())
    text = prompt.source(name)
    found = FRONT_MATTER.match(text)
    notes.append(f"The partial {name} stands in the text itself.")
    line = found[0].count("\n") + 1 if found else 1
    return replace(prompt, path=name, body=partial_body(text), body_line=line)


def cannot(node: nodes.Node, prompt: Prompt, to: str) -> PromptError:
    """The error for a piece of a body that the other format has no words for."""
    knows = (
        "it knows inputs, their fields, simple conditions and loops; prompty keeps everything"
        if to == "dotprompt"
        else "it knows only {{ input }}; prompty keeps everything, and dotprompt knows simple conditions and loops"
    )
    line = node.lineno + prompt.body_line - 1
    return PromptError(f"{prompt.path}:{line}: {_called(node)} cannot be said in {TITLES[to]}\n  {knows}")


def _called(node: nodes.Node) -> str:
    """What an author would call this piece of a body."""
    if isinstance(node, nodes.Filter):
        return f"the filter {node.name}"
    if isinstance(node, nodes.Getattr | nodes.Getitem):
        return "a field of an input"
    statements = {"If": "{% if %}", "For": "{% for %}", "Call": "a call", "CondExpr": "if ... else ..."}
    return statements.get(type(node).__name__, f"an expression ({type(node).__name__})")


def _split_at_threads(role: str, inside: Sequence[str | Variable], prompt: Prompt, to: str) -> Iterator[Message]:
    """The message, and what stands before and after each thread in it as messages of their own."""
    before: list[str | Variable] = []
    split = False
    for part in inside:
        kind = prompt.inputs[part.name].kind if isinstance(part, Variable) and part.name in prompt.inputs else ""
        if kind not in RICH or isinstance(part, str):
            before.append(part)
            continue
        if to != "langfuse" or kind != "thread":
            raise PromptError(f"{prompt.path}: the {kind} {part.name} cannot be said in {TITLES[to]}")
        if _says_something(before):
            yield Message(role, tuple(before))
        yield Message("placeholder", (part,))
        before, split = [], True
    if not split or _says_something(before):
        yield Message(role, tuple(before))


def _check_readable(message: Message, number: int, prompt: Prompt, to: str) -> None:
    """Refuses text that the other tool would read as a variable."""
    meant = [part.name for part in message.parts if isinstance(part, Variable)]
    read = [part.name for part in parts(message.text) if isinstance(part, Variable)]
    if meant != read:
        odd = next((name for name in read if read.count(name) > meant.count(name)), None)
        what = f"its text {{{{{odd}}}}} would be a variable" if odd else "a brace beside a variable hides it"
        raise PromptError(f"{prompt.path}: message {number} cannot be said in {TITLES[to]}: {what}")


def request_of(prompt: Prompt, messages: Sequence[Message]) -> dict[str, Any]:
    """The chat completion that the prompt asks for, with variables in double braces."""
    model = {"id": None, **prompt.model}
    asking = replace(prompt, front_matter={**prompt.front_matter, "model": model})
    request = chat_request(asking, [message.as_json for message in messages])
    if not request["model"]:
        del request["model"]
    if prompt.outputs:
        # Strictness is for the one who sends it: here an optional output stays one.
        name = re.sub(r"\W+", "_", prompt.name, flags=re.ASCII)[:64]
        schema = object_schema(tuple(prompt.outputs.values()), strict=False)
        request["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
    return request


def served(prompt: Prompt) -> str:
    """The name of the model after that of who serves it."""
    model, provider = prompt.model.get("id"), prompt.model.get("provider")
    return f"{provider}/{model}" if provider and model else str(model or "")


def lost_defaults(prompt: Prompt) -> Iterable[str]:
    """Notes on defaults, which the other format does not have."""
    given = ((name, each.default) for name, each in prompt.inputs.items() if each.default is not None)
    return (f"The default of {name} is not kept: {said(default)}." for name, default in given)
