"""What a person takes away from trying prompts: a version on a branch of its own, a test with its cassette.

Each is first a plan, which says in words and as files what it would change, and then carries itself out.
"""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_agentops.errors import HistoryError, PromptError, SecretFound, UnknownFigure, UsageError
from pytest_agentops.exchange import Exchange, Request
from pytest_agentops.history import ENDING, History
from pytest_agentops.kinds import Field, object_schema
from pytest_agentops.matching import changes, request_key
from pytest_agentops.prompt import Prompt, normal_name
from pytest_agentops.redaction import Rules, scan
from pytest_agentops.releases import Bump, Edit, Plan, Recorded, bump, raw_text
from pytest_agentops.repository import PromptRepository
from pytest_agentops.tape import Tape, dumps
from pytest_agentops.trace import Reading, Render, ToolCall
from pytest_agentops.trees import CommitTree
from pytest_agentops.versions import Level

# --- a version -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewVersion:
    """A commit on a new branch that gives a prompt another text and the version that this owes."""

    branch: str
    """The branch that is made."""
    parent: str
    """The commit that it starts from."""
    bump: Bump
    message: str
    """Of the commit."""
    plan: Plan
    """The steps in words, and the files as they are in `parent` and would be in the commit."""
    in_the_way: tuple[str, ...]
    """Files of the plan that have changes of their own in the working tree, so that `git switch` refuses."""
    history: History = field(repr=False, compare=False)

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type to go there."""
        return (*(("git stash",) if self.in_the_way else ()), f"git switch {self.branch}")

    def apply(self) -> str:
        """The name of the commit that was made; the working tree and the index stay as they are.

        Raises:
            HistoryError: there is such a branch meanwhile.
        """
        root = self.history.root
        files = {edit.path.relative_to(root).as_posix(): edit.new.encode() for edit in self.plan.edits}
        return self.history.commit_to(self.branch, files, self.message, parent=self.parent)


def save_version(
    prompts: PromptRepository,
    name: str,
    text: str,
    *,
    message: str,
    branch: str = "",
    level: Level | None = None,
    base: str | None = None,
    recorded: Recorded = lambda _name: (),
    today: date | None = None,
    beside: Sequence[Edit] = (),
    rules: Rules | None = None,
) -> NewVersion:
    """What commits this text of a prompt, with the version, lock and changelog that `bump` would give it, to a branch.

    It starts from the last commit of the branch that is checked out: what else was changed in the working tree stays
    there, and is not in it. `branch` is by default named after the prompt and its version. Files `beside` go with it,
    such as those of a test. `rules` are what the project's settings say of secrets.

    Raises:
        SecretFound: a secret stands in the text that is not in what is committed.
        PromptSyntaxError: the text cannot be understood.
        PromptError: there is no message, the text is what is committed, or less than is owed was asked for.
        HistoryError: there is no git, no commit, no branch that is checked out, nobody whose commit it would be, or a
            branch of this name already.
    """
    name = normal_name(name)
    if not message.strip() or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", message):
        raise PromptError("a version says why it was made: write a message, in plain text")
    history = prompts.history
    started_from = _checked_out(history)
    tree = CommitTree(history, "HEAD")
    committed = PromptRepository(prompts.folder, tree=tree)
    was = raw_text(committed, f"{name}{ENDING}")
    text = _written_like(was, text)
    if text == was:
        raise PromptError(f"{name} says what is committed already, so that there is nothing to save")
    _refuse_secrets(prompts.folder / f"{name}{ENDING}", was, text, rules)
    edited = committed.edited({name: text})
    edited.at_hand(name)  # What cannot be understood is told before anything else.
    plan, (made, *_) = bump(edited, [name], message, base=base, recorded=recorded, level=level, today=today)
    branch = branch.strip() or suggested_branch(made, history.heads)
    history.check_new(branch)
    history.check_author()
    edits = _whole(plan, prompts.folder / f"{name}{ENDING}", was, text)
    edits = tuple(replace(each, path=_in(history, each.path)) for each in (*edits, *beside))
    first = f"a commit on the new branch {branch}, which starts from {started_from} ({tree.sha[:9]})"
    return NewVersion(
        branch,
        tree.sha,
        made,
        _commit_message(made, message),
        Plan((first, *plan.steps), edits),
        _in_the_way(history, edits),
        history,
    )


def _refuse_secrets(path: Path, was: str | None, text: str, rules: Rules | None) -> None:
    rules = rules or Rules()
    before, now = set((was or "").split("\n")), text.split("\n")
    if new := [hit for hit in scan(text.encode("utf-8", "replace"), rules) if now[hit.line - 1] not in before]:
        raise SecretFound(new, path)


def suggested_branch(of: Bump, taken: Collection[str] = ()) -> str:
    """A name for the branch of a new version, such as `prompt/support-agent-1.3.0`, that is none of those taken."""
    name = f"prompt/{re.sub(r'[^A-Za-z0-9]+', '-', of.name).strip('-')}-{of.new}"
    others = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(each for each in (name, *others) if each not in taken)


def _checked_out(history: History) -> str:
    try:
        history.commit("HEAD")
    except HistoryError:
        raise HistoryError(
            "nothing is committed yet, so that a version has nothing to start from\n"
            '  to begin: git add . && git commit -m "The first state"'
        ) from None
    if (here := history.branch) is None:
        raise HistoryError(
            "no branch is checked out but a single commit, and a version starts from a branch\n"
            "  to go to one: git switch main, or to begin one here: git switch -c NAME"
        )
    return here


def _written_like(was: str | None, text: str) -> str:
    """The text with the line ends, the byte order mark and the end that the file has, which no editor shows."""
    text = text.replace("\r\n", "\n").rstrip("\n") + "\n"
    if was is None:
        return text
    text = text if was.endswith("\n") else text.removesuffix("\n")
    text = text.replace("\n", "\r\n") if "\r\n" in was else text
    return "\ufeff" * was.startswith("\ufeff") + text.removeprefix("\ufeff")


def _whole(plan: Plan, path: Path, was: str | None, text: str) -> tuple[Edit, ...]:
    """The edits of a bump of edited text, whose file is compared with what is committed."""
    found = {edit.path: edit for edit in plan.edits}
    new = found.pop(path).new if path in found else text  # Who raised the version by hand leaves nothing to write.
    return (Edit(path, was, new), *found.values())


def _in(history: History, path: Path) -> Path:
    """The path as git tells it, which knows nothing of links that lead to the repository."""
    whole = path.parent.resolve() / path.name
    if not whole.is_relative_to(history.root):
        raise HistoryError(f"{path} is outside of the git repository {history.root}")
    return whole


def _in_the_way(history: History, edits: Sequence[Edit]) -> tuple[str, ...]:
    changed = set(history.changed_since("HEAD"))
    return tuple(path for each in edits if (path := each.path.relative_to(history.root).as_posix()) in changed)


def _commit_message(of: Bump, message: str) -> str:
    first, _, more = message.strip().partition("\n")
    return f"{of.name} {of.new}: {first.strip()}\n" + (f"\n{more.strip()}\n" if more.strip() else "")


# --- what a test may ask ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """One expectation that a test can be given, made from what was seen."""

    words: str
    """For a person."""
    source: str
    """As Python, behind `assert`."""
    needs: tuple[str, ...] = ()
    """The names of `pytest_agentops` that it uses."""
    picked: bool = False
    """Whether a test has it where nobody says otherwise."""


def offered(seen: Reading, outputs: Sequence[Field] = ()) -> tuple[Offer, ...]:
    """The expectations that this run meets, those that a test should have picked; `outputs` are those of its prompt."""
    found = [*_of_calls(seen), *_of_response(seen, outputs), *_of_figures(seen)]
    return tuple(each for each in found if _is_expression(each.source))


def containing(seen: Reading, phrase: str) -> Offer:
    """The expectation that the response has this phrase in it.

    Raises:
        UsageError: it has not.
    """
    if not phrase.strip() or phrase not in str(seen.response):
        raise UsageError(f"the response does not contain {_cut(phrase)!r}; upper and lower case count")
    return Offer(f"the response contains {_cut(phrase)!r}", f"{_flat(phrase)} in agent_trace.response", (), picked=True)


def _of_calls(seen: Reading) -> Iterator[Offer]:
    calls = seen.tool_calls
    names = [call.name for call in calls]
    listed = f"agent_trace.trajectory == {literal(names, room=80)}"
    if not calls:
        yield Offer("no tool is called", listed, picked=True)
        return
    yield Offer(f"exactly these calls, in this order: {', '.join(map(_cut, names))}", listed, picked=True)
    for call in calls:
        with_arguments = _call(call)
        if with_arguments is not None:
            yield Offer(f"it calls {_cut(str(call))}", f"{with_arguments} in agent_trace.trajectory", ("call",), True)
    tools = list(dict.fromkeys(names))
    only = f"agent_trace.trajectory == only_tools({', '.join(map(_flat, tools))})"
    yield Offer(f"no other tools than {', '.join(map(_cut, tools))}", only, ("only_tools",))


def _call(call: ToolCall) -> str | None:
    """The call with its arguments; None where there are none to ask for."""
    if call.malformed is not None or not isinstance(call.arguments, Mapping) or not call.arguments:
        return None
    try:
        if all(_is_keyword(name) for name in call.arguments):
            given = ", ".join(f"{name}={literal(value, room=60)}" for name, value in call.arguments.items())
        else:
            given = literal(call.arguments, room=60)
        return f"call({_flat(call.name)}, {given})"
    except UsageError:
        return None


def _is_keyword(name: object) -> bool:
    # Python takes other spellings of a letter for the letter itself, so that only ASCII stays what it is.
    return isinstance(name, str) and name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _of_response(seen: Reading, outputs: Sequence[Field]) -> Iterator[Offer]:
    response = str(seen.response)
    if not response.strip():
        return
    try:
        value = json.loads(response)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict | list):
        phrase = next((line.strip() for line in response.splitlines() if line.strip()), "")
        phrase = re.split(r"(?<=[.!?])\s", phrase)[0][:80].strip()
        alone = not seen.tool_calls
        yield replace(containing(seen, phrase), picked=alone)
        return
    try:
        if outputs:
            schema = literal(object_schema(outputs, strict=False), room=60)
            yield Offer(
                "the response is JSON with the declared outputs",
                f"agent_trace.response == matches_schema({schema})",
                ("matches_schema",),
                picked=True,
            )
        for name, inner in value.items() if isinstance(value, dict) else ():
            if isinstance(inner, str | int | float | None) and len(shown := _flat(inner)) <= 60:
                is_one = inner is None or isinstance(inner, bool)
                source = f"agent_trace.response.json()[{_flat(name)}] {'is' if is_one else '=='} {shown}"
                yield Offer(f"in the response, {_cut(name)} is {_cut(json.dumps(inner, ensure_ascii=False))}", source)
        whole = f"agent_trace.response.json() == {literal(value, room=60)}"
        yield Offer("the response is this very JSON", whole, picked=not outputs)
    except UsageError:  # It has what is no literal, such as NaN.
        return


def _of_figures(seen: Reading) -> Iterator[Offer]:
    try:
        tokens = seen.usage.total_tokens
        if tokens:
            bound = int(_roomy(tokens))
            yield Offer(
                f"fewer than {bound:,} tokens; it took {tokens:,}",
                f"agent_trace.usage.total_tokens < {_grouped(bound)}",
                picked=True,
            )
        if cost := seen.cost:
            yield Offer(
                f"it costs less than ${_roomy(cost):g}; it was ${cost:.2g}", f"agent_trace.cost < {_roomy(cost):g}"
            )
    except UnknownFigure:
        return


def _roomy(figure: float) -> float:
    """Half as much again, rounded up to two digits: what another wording of the same answer takes."""
    step = 10.0 ** (math.floor(math.log10(figure * 1.5)) - 1)
    return float(f"{math.ceil(figure * 1.5 / step) * step:.2g}")


def _grouped(number: int) -> str:
    return f"{number:_}" if number >= 10_000 else str(number)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- values as Python ------------------------------------------------------------------------------------------------


def literal(value: object, *, room: int, indent: str = "    ") -> str:
    """The value as Python that means it and nothing else, on one line where it has this much room, else on several.

    Raises:
        UsageError: it is no plain value.
    """
    flat = _flat(value)
    if len(flat) <= room:
        return flat
    deeper = f"{indent}    "
    if isinstance(value, str) and "\n" in value.strip("\n"):
        lines = "".join(f"{deeper}{_flat(line)}\n" for line in value.splitlines(keepends=True))
        return f"(\n{lines}{indent})"
    if isinstance(value, Mapping) and value:
        pairs = ((f"{_flat(key)}: ", inner) for key, inner in value.items())
    elif isinstance(value, list) and value:
        pairs = (("", inner) for inner in value)
    else:
        return flat
    opens, closes = ("{", "}") if isinstance(value, Mapping) else ("[", "]")
    inside = "".join(f"{deeper}{key}{literal(inner, room=room, indent=deeper)},\n" for key, inner in pairs)
    return f"{opens}\n{inside}{indent}{closes}"


def _flat(value: object) -> str:
    if value is None or type(value) in (bool, int, bytes) or (type(value) is float and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str):
        shown = repr(str(value))
        return f'"{shown[1:-1]}"' if shown[0] == "'" and '"' not in shown and "\\'" not in shown else shown
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flat, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_flat(key)}: {_flat(inner)}' for key, inner in value.items())}}}"
    raise UsageError(f"a value of the type {type(value).__name__} cannot be written into a test: {_cut(repr(value))}")


def _is_expression(source: str) -> bool:
    try:
        compile(f"({source}\n)", "offer", "eval", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # Nested deeper than Python reads.
        return False
    return True


# --- a test ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewTest:
    """A test that replays what was seen, and its cassette."""

    test: str
    """As pytest takes it, from the root of the project."""
    source: str
    """The test itself."""
    plan: Plan

    @property
    def commands(self) -> tuple[str, ...]:
        """What to type to run it."""
        return (f"pytest {self.test}",)

    def apply(self) -> None:
        """Write both files.

        Raises:
            PromptError: one of them has changed meanwhile; nothing was written then.
        """
        self.plan.apply()


def suggested_test(prompt: str, words: str) -> tuple[str, str]:
    """A file and a name for a test of this prompt, such as `tests/test_support_agent.py` and `test_refund_order_42`."""
    told = [word for word in re.findall(r"[a-z0-9]+", words.lower()) if word != "test"]
    return f"tests/test_{re.sub('[/-]', '_', prompt)}.py", f"test_{'_'.join(told[:6])[:80] or 'answer'}"


def save_test(
    path: Path,
    name: str,
    *,
    root: Path,
    prompts: PromptRepository,
    reference: str,
    inputs: Mapping[str, Any],
    tape: Tape,
    expected: Sequence[Offer],
    key_from: str | None = "OPENAI_API_KEY",
    ignore: Sequence[str] = (),
    rules: Rules | None = None,
) -> NewTest:
    """What writes a test which asks again what was asked on this tape, and its cassette, so that it passes in replay.

    The test stands in a new file, or at the end of one that is there. It renders the prompt anew and says only what was
    sent besides: another model, a message of the user, options. `key_from` is the variable that has the endpoint's key,
    for the day on which it is recorded anew; None where the endpoint needs none. `ignore` and `rules` are those of the
    project's settings.

    Raises:
        UsageError: the file or the test has a name that pytest does not collect, or there is one already; the tape has
            not one answered request; or what was asked is not what the prompt says now.
        SecretFound: a secret would stand in one of the files.
    """
    root, path = root.resolve(), path.parent.resolve() / path.name
    _check_place(path, name, root)
    exchange = _the_one(tape)
    prompt = prompts.get(reference)
    _flat(inputs)  # What cannot be written down is told before what it leads to.
    asking = _Asking.of(prompt, inputs, exchange)
    asking.check(exchange, ignore)
    if not expected:
        raise UsageError("a test without an expectation says nothing; pick at least one")
    source = _test_source(name, reference, inputs, asking, expected, key_from)
    old = _read_module(path)
    new = _with_test(path, old, name, source, _needed(expected, key_from))
    cassette = path.parent / "cassettes" / path.stem / f"{name}.yaml"
    if cassette.exists():
        raise UsageError(f"there is a recording {cassette} already\n  give the test another name")
    recording = dumps(_kept(tape, exchange, prompt, inputs))
    for file, text in ((path, new), (cassette, recording)):
        if hits := scan(text.encode(), rules or Rules()):
            raise SecretFound(hits, file)
    shown = path.relative_to(root).as_posix()
    steps = (
        f"{shown}: {'a new file with' if old is None else 'gets'} the test {name}",
        f"{cassette.relative_to(root).as_posix()}: what was recorded, which it replays without a key",
    )
    return NewTest(f"{shown}::{name}", source, Plan(steps, (Edit(path, old, new), Edit(cassette, None, recording))))


def _check_place(path: Path, name: str, root: Path) -> None:
    if not path.is_relative_to(root):
        raise UsageError(f"{path} is outside of the project {root}")
    if path.suffix != ".py" or not (path.name.startswith("test_") or path.stem.endswith("_test")):
        raise UsageError(f"{path.name} is no file that pytest looks into; call it test_{path.stem or 'prompts'}.py")
    if not re.fullmatch(r"test_\w{1,80}", name, re.ASCII):
        raise UsageError(
            f"{name!r} is no name of a test: it begins with test_ and has letters, digits and _, such as test_a_refund"
        )


def _the_one(tape: Tape) -> Exchange:
    """The answered request on a tape, of which failed attempts may have come before."""
    answered = [each for each in tape.exchanges if not each.failed and not each.judge]
    if not answered:
        raise UsageError("nothing was answered here, so that there is nothing to replay; run it again first")
    if len(answered) > 1:
        raise UsageError(
            f"{len(answered)} requests were answered here, as an agent asks them, and a test is written for one\n"
            "  the recorded test that they come from asks them all again"
        )
    return answered[0]


_CHAT_NAMES = frozenset(
    """audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    reasoning_effort response_format safety_identifier seed service_tier stop store stream stream_options temperature
    tool_choice tools top_logprobs top_p user verbosity""".split()
)
_RESPONSES_NAMES = frozenset(
    """background conversation include input instructions max_output_tokens max_tool_calls metadata model
    parallel_tool_calls previous_response_id prompt_cache_key reasoning safety_identifier service_tier store stream
    stream_options temperature text tool_choice tools top_logprobs top_p truncation user""".split()
)
"""What the methods of the openai client take by name; anything else goes into `extra_body`."""


@dataclass(frozen=True)
class _Asking:
    """How a test asks what was asked: what the prompt gives, and what was sent besides."""

    api: str
    base_url: str
    names_a_model: bool
    """Whether the prompt does, so that it gives a whole request."""
    body: Mapping[str, Any]
    """What was sent."""
    given: Mapping[str, Any]
    """What the prompt gives."""

    @classmethod
    def of(cls, prompt: Prompt, inputs: Mapping[str, Any], exchange: Exchange) -> _Asking:
        url, body = exchange.request.url, exchange.request.json
        found = re.fullmatch(r"(.+)/(chat/completions|responses)", url)
        if found is None or not isinstance(body, Mapping):
            raise UsageError(
                "a test is written for chat completions and responses of OpenAI's API, and "
                f"{urlsplit(url).path} is neither"
            )
        named = bool(prompt.model.get("id"))
        if found[2] == "responses":
            given: Mapping[str, Any] = prompt.request(api="responses", **inputs)
        elif named:
            given = prompt.request(**inputs)
        else:
            given = {"model": body.get("model"), "messages": prompt.messages(**inputs)}
        return cls(found[2], found[1], named, body, json.loads(json.dumps(given)))

    @property
    def said(self) -> str:
        """The name under which the conversation is sent."""
        return "messages" if self.api == "chat/completions" else "input"

    @property
    def more(self) -> list[Any]:
        """What was said after what the prompt says."""
        sent = self.body.get(self.said)
        return sent[len(self.given[self.said]) :] if isinstance(sent, list) else []

    @property
    def other(self) -> Mapping[str, Any]:
        """What was sent otherwise than the prompt gives it, besides the conversation."""
        left_out = (self.said, "stream", "stream_options")
        return {
            key: value
            for key, value in self.body.items()
            if key not in left_out and (key not in self.given or _differ(self.given[key], value))
        }

    @property
    def unsent(self) -> list[str]:
        """What the prompt gives and was not sent."""
        return [key for key in self.given if key not in self.body]

    def check(self, exchange: Exchange, ignore: Sequence[str]) -> None:
        """See that a test which asks so finds what was recorded.

        Raises:
            UsageError: the prompt says something else now.
        """
        rebuilt = {key: value for key, value in self.given.items() if key not in self.unsent} | dict(self.other)
        rebuilt |= {key: self.body[key] for key in ("stream", "stream_options") if key in self.body}
        rebuilt[self.said] = [*self.given[self.said], *self.more]
        asked = Request("POST", f"{self.base_url}/{self.api}", body=json.dumps(rebuilt).encode())
        if request_key(asked, ignore).digest == request_key(exchange.request, ignore).digest:
            return
        where = next((each.pointer for each in changes(dict(self.body), rebuilt)), "")
        raise UsageError(
            "what was asked is not what the prompt says with these inputs now: "
            f"they differ at {where or 'the address'}\n"
            "  save the text that was tried as a version first, and the test on its branch; or run it again"
        )

    @property
    def names(self) -> frozenset[str]:
        """What the client's method takes by name."""
        return _CHAT_NAMES if self.api == "chat/completions" else _RESPONSES_NAMES


def _differ(old: Any, new: Any) -> bool:
    """Whether two JSON values differ, where 1 and true are two things."""
    return next(changes(old, new), None) is not None


def _test_source(
    name: str,
    reference: str,
    inputs: Mapping[str, Any],
    asking: _Asking,
    expected: Sequence[Offer],
    key_from: str | None,
) -> str:
    lines = [f"def {name}(agent_trace, prompts):", *_asked(reference, inputs, asking, key_from), ""]
    lines += [_assertion(each.source) for each in expected]
    return "\n".join(f"    {line}" if index and line else line for index, line in enumerate(lines)) + "\n"


def _assertion(source: str) -> str:
    if len(source) > 105 and "\n" not in source and " in agent_trace" in source:
        return f"assert (\n        {source}\n    )"
    return f"assert {source}"


def _asked(reference: str, inputs: Mapping[str, Any], asking: _Asking, key_from: str | None) -> Iterator[str]:
    prompt = f"prompts.get({_flat(reference)})" if "@" in reference else f"prompts[{_flat(reference)}]"
    given = _given(inputs)
    key = {"OPENAI_API_KEY": "", None: ', api_key="not needed"'}.get(
        key_from, f', api_key=os.environ.get({_flat(key_from)}, "replayed without a key")'
    )
    yield f"client = OpenAI(base_url={_flat(asking.base_url)}{key})"
    other = dict(asking.other)
    if asking.api == "responses":
        yield f'request = {prompt}.request(api="responses"{", " if given else ""}{given})'
    elif asking.names_a_model:
        yield f"request = {prompt}.request({given})"
    else:
        yield f'request = {{"model": {_flat(asking.given["model"])}, "messages": {prompt}.messages({given})}}'
    beyond = {key: asking.body[key] for key in asking.body if key not in asking.names}
    for key in [*asking.unsent, *(key for key in beyond if key in asking.given)]:
        yield f"del request[{_flat(key)}]"
    for key, value in other.items():
        if key not in beyond:
            yield f"request[{_flat(key)}] = {literal(value, room=80)}"
    if beyond:
        yield f'request["extra_body"] = {literal(beyond, room=80)}'
    for message in asking.more:
        yield f'request["{asking.said}"].append({literal(message, room=80)})'
    method = f"client.{asking.api.replace('/', '.')}.create"
    if not asking.body.get("stream"):
        unstreamed = ", stream=False" if "stream" in asking.body else ""
        yield f"{method}(**request{unstreamed})"
        return
    options = asking.body.get("stream_options")
    with_options = f", stream_options={literal(options, room=80)}" if options is not None else ""
    yield f"for _ in {method}(**request, stream=True{with_options}):"
    yield "    pass"


def _given(inputs: Mapping[str, Any]) -> str:
    if not inputs:
        return ""
    if not all(map(_is_keyword, inputs)):
        return f"**{literal(dict(inputs), room=60)}"
    flat = ", ".join(f"{name}={_flat(value)}" for name, value in inputs.items())
    if len(flat) <= 60:
        return flat
    deeper = "        "
    return (
        "\n"
        + "".join(f"{deeper}{name}={literal(value, room=80, indent=deeper)},\n" for name, value in inputs.items())
        + "    "
    )


def _kept(tape: Tape, exchange: Exchange, prompt: Prompt, inputs: Mapping[str, Any]) -> Tape:
    """What the cassette has: the one exchange, and the prompt that was rendered for it."""
    carried = [tape.prompts[index] for index in exchange.prompts if index < len(tape.prompts)]
    renders = carried or [
        Render(prompt.name, prompt.version, prompt.digest, json.loads(json.dumps(inputs, default=str)))
    ]
    return Tape(
        exchanges=(replace(exchange, number=1, prompts=tuple(range(len(renders))), span=None),),
        outcome="passed",
        prompts=tuple(renders),
        recorded=tape.recorded or datetime.now(UTC).replace(microsecond=0),
        findings=tape.findings,
    )


# --- its file --------------------------------------------------------------------------------------------------------


def _needed(expected: Sequence[Offer], key_from: str | None) -> dict[str, list[str]]:
    """What the file imports: names by their module; a module alone has none."""
    ours = sorted({name for each in expected for name in each.needs})
    found: dict[str, list[str]] = {} if key_from in ("OPENAI_API_KEY", None) else {"os": []}
    return {**found, "openai": ["OpenAI"], **({"pytest_agentops": ours} if ours else {})}


def _read_module(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _with_test(path: Path, old: str | None, name: str, source: str, needed: Mapping[str, Sequence[str]]) -> str:
    """The whole file with the test at its end, and with what it imports."""
    if old is None or not old.strip():
        above = '"""What prompts make models say, as it was seen in the playground."""\n'
        new = f"{above}\n{_import_block(needed)}\n\n{source}"
    else:
        try:
            tree = ast.parse(old)
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"{path} cannot be read as Python: {error}; write the test to another file") from None
        bound = dict(_bound(tree))
        if name in bound:
            raise UsageError(f"{path} has a {name} already, on line {bound[name][0]}; give the test another name")
        for module, names in needed.items():
            for each in names or [module]:
                if each in bound and bound[each][1] != module:
                    raise UsageError(
                        f"{path}:{bound[each][0]}: {each!r} means something else there; write the test to another file"
                    )
        end = "\r\n" if "\r\n" in old else "\n"
        text = _with_imports(old.replace("\r\n", "\n"), tree, needed, bound).rstrip("\n")
        new = f"{text}\n\n\n{source}".replace("\n", end)
    try:
        compile(new, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"what was seen cannot be written as a test: {error}") from None
    return new


def _import_block(needed: Mapping[str, Sequence[str]]) -> str:
    standard = "".join(f"import {module}\n" for module, names in needed.items() if not names)
    others = "".join(_import(module, names) for module, names in needed.items() if names)
    return f"{standard}\n{others}" if standard else others


def _import(module: str, names: Sequence[str]) -> str:
    return f"from {module} import {', '.join(names)}\n" if names else f"import {module}\n"


def _bound(tree: ast.Module) -> Iterator[tuple[str, tuple[int, str]]]:
    """The names that a module binds on its top level, with the line and the module that each is imported from."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                origin = node.module or "" if isinstance(node, ast.ImportFrom) else alias.name
                same = alias.asname in (None, alias.name)
                yield (alias.asname or alias.name), (node.lineno, origin if same else "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, (node.lineno, "")
        else:
            for each in ast.walk(node):
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                    yield each.id, (each.lineno, "")


def _with_imports(
    text: str, tree: ast.Module, needed: Mapping[str, Sequence[str]], bound: Mapping[str, tuple[int, str]]
) -> str:
    lines = text.splitlines(keepends=True)
    added = []
    for module, names in needed.items():
        missing = [each for each in names or [module] if each not in bound]
        if not missing:
            continue
        line = next((node for node in tree.body if _is_plain_import(node, module, lines)), None) if names else None
        if isinstance(line, ast.ImportFrom):
            together = sorted({*(alias.name for alias in line.names), *missing}, key=str.lower)
            lines[line.lineno - 1] = _import(module, together)
        else:
            added.append(_import(module, missing if names else ()))
    at = max((node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)), default=0)
    if not at and tree.body and ast.get_docstring(tree, clean=False) is not None:
        at = tree.body[0].end_lineno or 0
        added = ["\n", *added] if added else added
    return "".join([*lines[:at], *added, *lines[at:]])


def _is_plain_import(node: ast.stmt, module: str, lines: Sequence[str]) -> bool:
    """Whether this is one line that imports names of this module, and nothing more."""
    return (
        isinstance(node, ast.ImportFrom)
        and node.module == module
        and not node.level
        and all(alias.asname is None and alias.name != "*" for alias in node.names)
        and lines[node.lineno - 1].strip() == _import(module, [alias.name for alias in node.names]).strip()
    )
