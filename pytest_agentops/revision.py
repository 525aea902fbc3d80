"""Two states of one prompt: what changed between them, and how much of a new version that owes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_agentops.errors import PromptError
from pytest_agentops.kinds import Break, Field, input_changes, output_changes
from pytest_agentops.prompt import Prompt, Tool
from pytest_agentops.versions import Level

_NOT_COMPARED = ("version", "inputs", "outputs", "tools")
"""What else of the front matter is told by itself."""


@dataclass(frozen=True)
class Revision:
    """What became of a prompt."""

    old: Prompt
    new: Prompt

    @cached_property
    def contract(self) -> tuple[Break, ...]:
        """What changed for the programs around it: its inputs, its outputs, the tools it offers."""
        return (
            *input_changes(tuple(self.old.inputs.values()), tuple(self.new.inputs.values())),
            *output_changes(tuple(self.old.outputs.values()), tuple(self.new.outputs.values())),
            *_tool_changes(self.old.tools, self.new.tools),
        )

    @cached_property
    def settings(self) -> tuple[tuple[str, Any, Any], ...]:
        """What else changed in the front matter: the place, what stood there and what stands there now."""
        old, new = (
            {key: value for key, value in each.front_matter.items() if key not in _NOT_COMPARED}
            for each in (self.old, self.new)
        )
        if repr(old) == repr(new):  # As a rule; and DeepDiff imports pandas where it is installed, which takes a while.
            return ()
        from deepdiff import DeepDiff

        found = [
            change
            for changes in DeepDiff(old, new, ignore_numeric_type_changes=True).tree.values()
            for change in changes
        ]
        return tuple(
            (".".join(map(str, change.path(output_format="list"))), _there(change.t1), _there(change.t2))
            for change in found
        )

    @property
    def partials(self) -> tuple[str, ...]:
        """The names of the included files that changed, came or went."""
        old, new = self.old.partials, self.new.partials
        return tuple(name for name in sorted({*old, *new}) if old.get(name) != new.get(name))

    def level(self, recorded: Iterable[Mapping[str, Any]] = ()) -> Level:
        """The least bump that this owes.

        `major` where the contract breaks; `none` where the digest is equal; `patch` where it is not, and there are
        `recorded` inputs with which everything is rendered as it was; else `minor`.
        """
        if self.old.digest == self.new.digest:
            return "none"
        if any(change.breaking for change in self.contract):
            return "major"
        inputs = list(recorded)
        same = bool(inputs) and all(each.same for each in self.rendered(inputs)) and self._same_but_for_messages
        return "patch" if same else "minor"

    @property
    def _same_but_for_messages(self) -> bool:
        """Whether the requests differ in nothing but what the messages say."""
        return not self.contract and all(
            self.old.front_matter.get(key) == self.new.front_matter.get(key) for key in ("model", "outputs", "tools")
        )

    def rendered(self, recorded: Iterable[Mapping[str, Any]]) -> Iterator[RenderedTwice]:
        """Both states rendered with the same inputs."""
        for inputs in recorded:
            yield RenderedTwice(inputs, _messages(self.old, inputs), _messages(self.new, inputs))


@dataclass(frozen=True)
class RenderedTwice:
    """Both states of a prompt, rendered with the same inputs."""

    inputs: Mapping[str, Any]
    old: Sequence[Mapping[str, Any]] | str
    """The messages; the error as a text, where it cannot be rendered with these inputs."""
    new: Sequence[Mapping[str, Any]] | str

    @property
    def same(self) -> bool:
        """Whether a model would see the same."""
        return self.old == self.new and not isinstance(self.new, str)


def _messages(prompt: Prompt, inputs: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | str:
    try:
        return prompt.messages(**inputs)
    except PromptError as error:
        return str(error)


def _there(value: Any) -> Any:
    return None if type(value).__name__ == "NotPresent" else value


def _tool_changes(old: Sequence[Tool], new: Sequence[Tool]) -> Iterator[Break]:
    """What changed for the program that runs the tools: any of them that it does not know may be called."""
    before, after = {tool.name: tool for tool in old}, {tool.name: tool for tool in new}
    for name in dict.fromkeys([*before, *after]):
        was, now, place = before.get(name), after.get(name), f"tools.{name}"
        if was is None or now is None:
            yield Break(place, "added" if was is None else "removed", breaking=True)
        elif was.kind != "function" or now.kind != "function" or was.schema != now.schema:
            if was != now:
                yield Break(place, "changed", breaking=True)
        else:
            changed = list(_parameter_changes(was.parameters, now.parameters, f"{place}.parameters"))
            yield from changed
            if not changed and was != now:
                yield Break(place, "is described otherwise", breaking=False)


def _parameter_changes(old: Sequence[Field], new: Sequence[Field], path: str) -> Iterator[Break]:
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name), after.get(name)
        if was is None or now is None:
            yield Break(f"{path}.{name}", "added" if was is None else "removed", breaking=True)
        else:
            # A model gives what the declaration allows, so the program that takes it is one that reads an output.
            yield from (
                Break(f"{path}{each.path.removeprefix('outputs')}", each.message, each.breaking)
                for each in output_changes([was], [now])
            )
