"""An experiment: variants of a prompt, each asked the same inputs, and what became of every question.

A variant is a prompt at a reference, a model and its settings; a case is one input; a trial is one answer of one
variant to one case. What is written down of an experiment is its plan; its answers are cassettes.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any, Literal, NamedTuple

from pytest_agentops import prices
from pytest_agentops.datasets import MISSING, Case
from pytest_agentops.errors import AgentopsError, ExpectationError, ExperimentError, PromptError, did_you_mean
from pytest_agentops.expect.responses import judge_prompt
from pytest_agentops.expect.written import from_yaml
from pytest_agentops.models import Endpoint, Models
from pytest_agentops.prompt import Prompt
from pytest_agentops.repository import PromptRepository
from pytest_agentops.requests import chat_request
from pytest_agentops.trace import Trace, Usage

State = Literal["waiting", "running", "done", "replayed", "failed", "stopped"]

MOST_TRIALS = 20_000
"""An experiment asks no more; beyond that a program serves better than a page."""

OPTIONS: Mapping[str, str] = {
    "temperature": "how freely it chooses its words; 0 takes the likeliest",
    "top_p": "the share of likely words it chooses from",
    "max_completion_tokens": "where an answer is cut off",
    "seed": "asks for the same answer again, where the server can",
    "reasoning_effort": "how long it thinks: minimal, low, medium, high",
}
"""The settings that most servers know, with what each does; any other argument of chat completions goes through."""

_LONGEST_PLAN = 5_000_000

_BY_NAME = "what goes into the request stands here by its own name, and nothing else does"
_RESERVED: Mapping[str, str] = {
    "messages": "the prompt and the inputs say what is said",
    "model": "the variant says which model is asked",
    "stream": "every answer is streamed",
    "stream_options": "every answer is streamed",
    "n": "repeats say how often it is asked",
    "timeout": "the experiment says how long an answer may take",
    **dict.fromkeys(("extra_body", "extra_headers", "extra_query"), _BY_NAME),
}
"""What is no setting, and why; no plan adds a header beside a key."""


@dataclass(frozen=True)
class Variant:
    """One column of a comparison: a prompt at a reference, whom to ask, and with which settings."""

    reference: str
    """Which prompt, such as `support/agent`, `support/agent@1.2.0`, `support/agent@production`."""
    model: str = ""
    """A name of `[tool.agentops.models]` or of a model; empty for the one that the prompt names."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of chat completions that stand above those of the prompt, such as `temperature`."""
    source: str | None = None
    """The text of a prompt file that was edited and is not saved; the reference says only what it is called then."""

    @property
    def name(self) -> str:
        """The name of the prompt."""
        return self.reference.partition("@")[0]

    @property
    def at(self) -> str:
        """Which state of the prompt, in a word or two."""
        return "edited" if self.source is not None else self.reference.partition("@")[2] or "working tree"

    @property
    def title(self) -> str:
        """What stands at the head of its column."""
        said = [f"{self.name} · {self.at}"]
        if self.model:
            said.append(self.model)
        said += [f"{name} {value}" for name, value in self.options.items()]
        return ", ".join(said)

    def prompt(self, prompts: PromptRepository) -> Prompt:
        """The prompt that is meant.

        Raises:
            PromptError: there is none, or it cannot be read.
        """
        if self.source is None:
            return prompts.get(self.reference)
        return Prompt.parse(self.name, self.source, path=f"{self.name} (edited)", source=prompts.tree.text)


def asked(prompt: Prompt, case: Case, endpoint: Endpoint, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `client.chat.completions.create` for one trial: the rendered prompt, and the case's message.

    Raises:
        PromptInputError: an input is missing, unknown or of another kind.
        PromptSyntaxError: the body uses a variable that nobody declared.
    """
    messages = prompt.messages(**case.inputs)  # The render that is noted is that of the prompt as it is.
    if case.message:
        messages.append({"role": "user", "content": case.message})
    model = {**prompt.model, "id": endpoint.model}
    request = chat_request(replace(prompt, front_matter={**prompt.front_matter, "model": model}), messages)
    return {**request, **options, "stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Check:
    """What an answer is scored by."""

    kind: Literal["expectation", "contains", "judge"]
    text: str
    """The expectation as YAML; a part of the answer, or a regular expression between slashes; a criterion in words."""

    def checked(self) -> Check:
        """The same check.

        Raises:
            ExpectationError: it means nothing.
        """
        if self.kind == "expectation":
            from_yaml(self.text)
        elif (pattern := self.pattern) is not None:
            try:
                re.compile(pattern)
            except (re.error, RecursionError) as error:
                raise ExpectationError(f"{self.text} is no regular expression: {error}") from None
        return self

    @property
    def pattern(self) -> str | None:
        """The regular expression that the answer has to match somewhere, if it is one."""
        said = self.text
        is_one = self.kind == "contains" and len(said) > 2 and said.startswith("/") and said.endswith("/")
        return said[1:-1] if is_one else None


@dataclass(frozen=True)
class Score:
    """What one check says of one answer."""

    check: str
    """What was asked, in short."""
    passed: bool | None
    """None where it came to no verdict."""
    reason: str = ""


class Place(NamedTuple):
    """Which trial: the places of its variant and its case, from 0, and the number of its repeat, from 1."""

    variant: int
    case: int
    repeat: int = 1


@dataclass(frozen=True)
class Experiment:
    """What is to be asked."""

    variants: tuple[Variant, ...]
    cases: tuple[Case, ...]
    repeats: int = 1
    checks: tuple[Check, ...] = ()
    judge: str = ""
    """The model that judges; empty for the one that the prompt of judges names."""
    limit: float | None = None
    """US dollars; nothing that might go beyond is asked. None for no limit."""
    concurrency: int = 8
    """How many questions are under way at once."""
    seconds: float = 120.0
    """How long an answer may take as a whole."""
    recorded_only: bool = False
    """Whether only recordings answer, and no model is asked."""

    def checked(self, prompts: PromptRepository | None = None) -> Experiment:
        """The same experiment.

        Raises:
            ExperimentError: there is nothing to ask, or too much, or a setting that cannot be used.
            PromptError: a prompt is not there.
        """
        if not self.variants:
            raise ExperimentError("there is no variant to ask\n  add one: a prompt, at a reference, for a model")
        if not self.cases:
            raise ExperimentError(
                "there is no input to ask about\n  fill in the form, or take the inputs of recorded tests"
            )
        count = len(self.variants) * len(self.cases) * self.repeats
        if not 1 <= self.repeats <= 100 or count > MOST_TRIALS:
            raise ExperimentError(
                f"{len(self.variants)} variants, {len(self.cases)} inputs and {self.repeats} repeats make {count:,} "
                f"questions; the most is {MOST_TRIALS:,}"
            )
        if not 1 <= self.concurrency <= 256:
            raise ExperimentError(f"from 1 to 256 questions can be under way at once, not {self.concurrency}")
        if self.limit is not None and not (math.isfinite(self.limit) and self.limit >= 0):
            raise ExperimentError(f"a limit is a number of US dollars, not {self.limit}")
        if not (math.isfinite(self.seconds) and 0 < self.seconds <= 3600):
            raise ExperimentError(f"an answer may take up to 3600 seconds, not {self.seconds}")
        for variant in self.variants:
            for name in variant.options:
                if name in _RESERVED:
                    raise ExperimentError(f"{name} is not a setting: {_RESERVED[name]}")
            if prompts is not None:
                variant.prompt(prompts)
        return self

    @property
    def places(self) -> Iterator[Place]:
        """Every trial, input by input, so that whole rows are finished early."""
        for repeat in range(1, self.repeats + 1):
            for case in range(len(self.cases)):
                for variant in range(len(self.variants)):
                    yield Place(variant, case, repeat)

    def to_json(self) -> str:
        """The plan as JSON, which `from_json` reads."""
        plan = asdict(self)
        for said in plan["cases"]:
            if said["expected"] is MISSING:
                del said["expected"]
        return json.dumps(plan, ensure_ascii=False, default=str)

    def to_link(self) -> str:
        """The plan as a word that fits into the address of a page; it holds what is compared and no key."""
        return base64.urlsafe_b64encode(zlib.compress(self.to_json().encode("utf-8", "backslashreplace"), 9)).decode()

    @classmethod
    def from_link(cls, word: str) -> Experiment:
        """The plan that `to_link` has written.

        Raises:
            ExperimentError: it is none.
        """
        unpacked = zlib.decompressobj()
        try:
            text = unpacked.decompress(base64.urlsafe_b64decode(word), _LONGEST_PLAN)
        except (ValueError, zlib.error):
            raise ExperimentError("the address holds no plan of a comparison; it may have been cut") from None
        if not unpacked.eof:
            raise ExperimentError("the address holds no whole plan of a comparison; it may have been cut")
        return cls.from_json(text.decode("utf-8", "replace"))

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """The plan that was written by `to_json`, perhaps by somebody else: it is checked.

        Raises:
            ExperimentError: it is no plan of an experiment.
        """
        try:
            data = json.loads(text)
            made = cls(
                variants=tuple(_variant(each) for each in data["variants"]),
                cases=tuple(_case(each) for each in data["cases"]),
                checks=tuple(_check(each) for each in data.get("checks", ())),
                **{name: _number(data, name, kind) for name, kind in _PLAIN.items() if data.get(name) is not None},
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ExperimentError(f"this is no experiment: {type(error).__name__}: {error}") from None
        return made.checked()


_PLAIN: Mapping[str, type] = {
    "repeats": int, "judge": str, "limit": float, "concurrency": int, "seconds": float, "recorded_only": bool
}  # fmt: skip


def _number(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise TypeError(f"{name} is {value!r}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    value.encode()  # Half of a surrogate pair has no UTF-8, and no page can show it.
    return value


def _variant(data: Mapping[str, Any]) -> Variant:
    source = data.get("source")
    options = data.get("options") or {}
    if not isinstance(options, dict):
        raise TypeError(f"options are {options!r}")
    return Variant(
        _text(data["reference"]), _text(data.get("model", "")), options, None if source is None else _text(source)
    )


def _case(data: Mapping[str, Any]) -> Case:
    if not isinstance(data.get("inputs", {}), dict):
        raise TypeError("inputs are no mapping")
    return Case(
        data["inputs"],
        _text(data.get("message", "")),
        data.get("expected", MISSING),
        _text(data.get("name", "")),
        tuple(map(_text, data.get("tags", ()))),
    )


def _check(data: Mapping[str, Any]) -> Check:
    kind = data["kind"]
    if kind not in (kinds := ("expectation", "contains", "judge")):
        raise ValueError(f"a check is one of {', '.join(kinds)}{did_you_mean(kind, kinds)}")
    return Check(kind, _text(data["text"]))


# --- what it will cost -----------------------------------------------------------------------------------------------

_VERDICT = 100
"""Tokens of what a judge says."""
_ASSUMED_OUTPUT = 500
"""Tokens of an answer for which nobody has set a limit; an estimate needs some number."""


_SAMPLED = 200
"""Inputs of which an estimate renders the prompt: it is made anew with each click."""


@dataclass(frozen=True)
class Estimate:
    """What an experiment will come to, before it is run: a guess by the length of texts."""

    calls: float = 0
    recorded: float = 0
    """Questions that no model is asked: recordings answer them, where they can."""
    lacking: tuple[str, ...] = ()
    """The environment variables that are not set, so that recordings answer instead of a model."""
    input_tokens: float = 0
    output_tokens: float = 0
    """At most, where answers are limited; else as many as answers commonly have."""
    cost: float = 0.0
    """US dollars, of the models whose price is known."""
    unpriced: tuple[str, ...] = ()
    """The models without a known price: a limit does not see what they cost."""
    problems: tuple[str, ...] = ()
    """Why some questions cannot be asked, each said once."""
    judged: float = 0
    """How often a judge is asked besides; its tokens and its cost are among the others."""

    def with_more(self, times: float, each: Usage, cost: float | None, *, judged: bool = False) -> Estimate:
        """The same with so many questions more, of this size each."""
        return replace(
            self,
            calls=self.calls + (0 if judged else times),
            judged=self.judged + (times if judged else 0),
            input_tokens=self.input_tokens + times * each.input_tokens,
            output_tokens=self.output_tokens + times * each.output_tokens,
            cost=self.cost + times * (cost or 0.0),
        )


def judge_of(experiment: Experiment, models: Models) -> Endpoint:
    """Where the judge is asked."""
    return models.endpoint(experiment.judge or str(judge_prompt().model.get("id") or ""))


def judge_usage(check: Check, case: Case) -> Usage:
    """How many tokens a judgement may take."""
    said = (
        len(judge_prompt().text)
        + len(check.text)
        + len(case.message)
        + sum(len(str(each)) for each in case.inputs.values())
    )
    return Usage(input_tokens=math.ceil(said / 4) + _ASSUMED_OUTPUT, output_tokens=_VERDICT)


def estimate(
    experiment: Experiment, prompts: PromptRepository, models: Models, environment: Mapping[str, str]
) -> Estimate:
    """What asking all of it anew would come to; of many inputs, some stand for the others."""
    step = math.ceil(len(experiment.cases) / _SAMPLED) or 1
    sample = experiment.cases[::step]
    times = experiment.repeats * len(experiment.cases) / max(1, len(sample))
    total, unpriced, problems, lacking = Estimate(), dict[str, None](), dict[str, None](), dict[str, None]()
    judge, judged = judge_of(experiment, models), [each for each in experiment.checks if each.kind == "judge"]
    for variant in experiment.variants:
        try:
            prompt = variant.prompt(prompts)
            endpoint = endpoint_of(variant, prompt, models)
        except AgentopsError as error:
            problems[str(error).partition("\n")[0]] = None
            continue
        lacks = None if experiment.recorded_only else endpoint.lacks(environment)
        if lacks is not None:
            lacking[lacks] = None
        for case in sample:
            try:
                tokens = likely_usage(asked(prompt, case, endpoint, variant.options))
            except AgentopsError as error:
                problems[str(error).partition("\n")[0]] = None
                continue
            due = [] if experiment.recorded_only else [(judge, judge_usage(each, case), True) for each in judged]
            if experiment.recorded_only or not endpoint.name or lacks is not None:
                total = replace(total, recorded=total.recorded + times)
            else:
                due.insert(0, (endpoint, tokens, False))
            for whom, size, judges in due:
                cost = cost_of(whom, size)
                if cost is None:
                    unpriced[whom.name] = None
                total = total.with_more(times, size, cost, judged=judges)
    whole = {
        name: round(getattr(total, name)) for name in ("calls", "recorded", "judged", "input_tokens", "output_tokens")
    }
    return replace(total, unpriced=tuple(unpriced), problems=tuple(problems), lacking=tuple(lacking), **whole)


def endpoint_of(variant: Variant, prompt: Prompt, models: Models) -> Endpoint:
    """Where a variant is asked; one without a name, where neither the variant nor the prompt names a model."""
    model = variant.model or prompt.model.get("id")
    return models.endpoint(model) if isinstance(model, str) and model else Endpoint("", "")


def likely_usage(request: Mapping[str, Any]) -> Usage:
    """How many tokens a question and its answer may have: four letters are one, roughly."""
    said = json.dumps([request.get("messages"), request.get("tools")], ensure_ascii=False, default=str)
    most = request.get("max_completion_tokens") or request.get("max_tokens")
    output = most if isinstance(most, int) and not isinstance(most, bool) else _ASSUMED_OUTPUT
    return Usage(input_tokens=math.ceil(len(said) / 4), output_tokens=max(1, output))


def cost_of(endpoint: Endpoint, usage: Usage) -> float | None:
    """What this costs at this endpoint, in US dollars: by its own price, else by the public tables; None if unknown."""
    if endpoint.price is not None:
        return max(0.0, endpoint.price.of(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens))
    return prices.cost(endpoint.model, endpoint.base_url or "https://api.openai.com/v1", usage)


# --- what became of it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """One answer of one variant to one case, or what there is of it so far."""

    place: Place
    state: State = "waiting"
    so_far: str = ""
    """The text that has arrived while it is running."""
    problem: str = ""
    """Why there is no answer."""
    trace: Trace | None = field(default=None, repr=False)
    """What was asked and answered; None while there is nothing."""
    cost: float | None = None
    """US dollars; None where no price is known."""
    besides: float = 0.0
    """US dollars that judges took, and an estimate where the server told no tokens: a limit counts them."""
    origin: str = ""
    """The recording that answered instead of a model."""
    first: float | None = None
    """Seconds to the first token."""
    scores: tuple[Score, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether there is an answer."""
        return self.state in ("done", "replayed")

    @property
    def spent(self) -> float:
        """US dollars that were paid for it, as far as they are known; what was replayed is not paid again."""
        return self.besides + (0.0 if self.state == "replayed" else self.cost or 0.0)

    @cached_property
    def text(self) -> str:
        """The answer in words; what has arrived of it so far."""
        return str(self.trace.response) if self.trace is not None and self.trace.response else self.so_far

    @cached_property
    def calls(self) -> tuple[str, ...]:
        """The tools that were asked for, with their arguments."""
        return tuple(map(str, self.trace.tool_calls)) if self.trace is not None else ()

    @cached_property
    def value(self) -> object:
        """The answer as JSON, where it is an object or a list; else None."""
        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict | list) else None

    @cached_property
    def content(self) -> tuple[str, tuple[str, ...]]:
        """What two answers are compared by: JSON by its value, the tools asked for, and else the words."""
        said = self.text.strip() if self.value is None else json.dumps(self.value, sort_keys=True)
        return said, self.calls

    @cached_property
    def tokens(self) -> int | None:
        """Input and output together; None where they were not reported."""
        if self.trace is None:
            return None
        counts = [call.usage for call in self.trace.model_calls]
        return None if not counts or None in counts else sum(each.total_tokens for each in counts if each)

    @cached_property
    def seconds(self) -> float | None:
        """From the question to the last word; on replay, when it was recorded."""
        return None if self.trace is None else self.trace.seconds


@dataclass(frozen=True)
class Spread:
    """A figure over several trials."""

    mean: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Iterable[float | None]) -> Spread | None:
        """The spread of those that are known; None where none is."""
        known = [each for each in figures if each is not None]
        return cls(fmean(known), min(known), max(known)) if known else None


@dataclass(frozen=True)
class Cell:
    """The trials of one variant and one case."""

    trials: tuple[Trial, ...]

    @property
    def shown(self) -> Trial:
        """The trial that stands for the cell: the first that has an answer, else the one that is furthest."""
        return max(self.trials, key=lambda trial: (_RANK[trial.state], -trial.place.repeat))

    @property
    def state(self) -> State:
        """Where the cell as a whole stands."""
        states = {trial.state for trial in self.trials}
        return next(each for each in ("running", "failed", "stopped", "waiting", "done", "replayed") if each in states)

    @property
    def different(self) -> int:
        """How many different answers there are."""
        return len({trial.content for trial in self.trials if trial.finished})

    @cached_property
    def tokens(self) -> Spread | None:
        return Spread.of(trial.tokens for trial in self.trials)

    @cached_property
    def cost(self) -> Spread | None:
        return Spread.of(trial.cost for trial in self.trials)

    @cached_property
    def seconds(self) -> Spread | None:
        return Spread.of(trial.seconds for trial in self.trials)

    @cached_property
    def first(self) -> Spread | None:
        return Spread.of(trial.first for trial in self.trials)

    @property
    def scores(self) -> Mapping[str, tuple[int, int]]:
        """For each check, how many answers it holds of, and of how many it came to a verdict."""
        found: dict[str, tuple[int, int]] = {}
        for score in (each for trial in self.trials for each in trial.scores):
            passed, judged = found.get(score.check, (0, 0))
            found[score.check] = passed + (score.passed is True), judged + (score.passed is not None)
        return found


_RANK: Mapping[State, int] = {"waiting": 0, "stopped": 1, "failed": 2, "running": 3, "replayed": 4, "done": 4}


@dataclass(frozen=True)
class Outcome:
    """An experiment with what has become of it so far."""

    experiment: Experiment
    trials: tuple[Trial, ...]
    versions: tuple[str, ...] = ()
    """Which version the prompt of each variant claims; empty where it claims none, or is not there."""
    earlier: float = 0.0
    """US dollars of answers that were asked for anew."""

    @cached_property
    def _cells(self) -> Mapping[tuple[int, int], Cell]:
        found: dict[tuple[int, int], list[Trial]] = {}
        for trial in self.trials:
            found.setdefault((trial.place.variant, trial.place.case), []).append(trial)
        return {key: Cell(tuple(trials)) for key, trials in found.items()}

    def cell(self, variant: int, case: int) -> Cell:
        """The trials of one variant and one case."""
        return self._cells[variant, case]

    def column(self, variant: int) -> Cell:
        """All trials of one variant."""
        return Cell(tuple(trial for trial in self.trials if trial.place.variant == variant))

    def rows(
        self, *, order: str = "", descending: bool = False, only_differing: bool = False, variants: Sequence[int] = ()
    ) -> list[int]:
        """The cases in the order in which they are wanted.

        `order` is empty for that of the experiment, or the name of a figure of a cell, by its largest in the row.
        `only_differing` leaves out the rows in which all variants say the same.
        """
        columns = list(variants) or list(range(len(self.experiment.variants)))
        rows = [
            case for case in range(len(self.experiment.cases)) if not only_differing or self._differs(case, columns)
        ]
        if order:
            rows.sort(key=lambda case: self._figure(case, columns, order), reverse=descending)
        return rows

    def _differs(self, case: int, columns: Sequence[int]) -> bool:
        said = {trial.content for each in columns for trial in self.cell(each, case).trials if trial.finished}
        return len(said) > 1 or any(self.cell(each, case).state == "failed" for each in columns)

    def _figure(self, case: int, columns: Sequence[int], order: str) -> float:
        found = [getattr(self.cell(each, case), order) for each in columns]
        return max((each.most for each in found if each is not None), default=-1.0)

    @property
    def count(self) -> Mapping[State, int]:
        """How many trials stand where."""
        found: dict[State, int] = dict.fromkeys(_RANK, 0)
        for trial in self.trials:
            found[trial.state] += 1
        return found

    @property
    def spent(self) -> float:
        """US dollars, of what was asked and has a known price."""
        return self.earlier + sum(trial.spent for trial in self.trials)


# --- what to begin with ----------------------------------------------------------------------------------------------


def first_choice(
    prompts: PromptRepository, name: str, models: Models | None = None, environment: Mapping[str, str] | None = None
) -> tuple[Variant, ...]:
    """What to compare to begin with: the prompt as it is, and its newest version that is another one.

    With `models`, where the prompt's own model cannot be asked, the first of them that can.
    """
    now = Variant(name)
    try:
        digest = prompts.at_hand(name).digest
        if models is not None:
            own = endpoint_of(now, prompts.at_hand(name), models)
            given = environment or {}
            if not own.name or own.lacks(given):
                now = replace(now, model=next((each for each, it in models.served.items() if not it.lacks(given)), ""))
        before = next((each for each in prompts.versions(name) if each.digest != digest), None)
    except PromptError:
        before = None
    return (now,) if before is None else (replace(now, reference=f"{name}@{before.version}"), now)


def has_user(prompt: Prompt) -> bool:
    """Whether a prompt has a message of the user's, so that nothing need be said after it."""
    return "user" in prompt.roles
