"""Cassettes of other recorders made ours: read, redacted and written where ours would be, once that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_agentops.errors import CassetteError, SecretFound
from pytest_agentops.redaction import Redactor, Rules
from pytest_agentops.tape import Tape, load, save

_ENDINGS = (".yaml", ".yml", ".json", ".yaml.gz", ".yml.gz", ".json.gz")


@dataclass(frozen=True)
class Adoption:
    """One cassette that may be made ours."""

    source: Path
    target: Path
    tape: Tape = field(default_factory=Tape)
    """What it holds, without secrets."""
    secrets: int = 0
    """How many different secrets were taken out."""
    problem: str = ""
    """Why it stays as it is, where it does."""

    @property
    def models(self) -> tuple[str, ...]:
        """The models that answered."""
        return tuple(dict.fromkeys(call.model for call in self.tape.trace().model_calls if call.model))

    @property
    def unknown(self) -> tuple[str, ...]:
        """The endpoints that are no model's that we know; they replay all the same."""
        findings = self.tape.trace().findings
        return tuple(
            dict.fromkeys(each.message.partition(" is no ")[0] for each in findings if each.kind == "unknown_endpoint")
        )


def adoptions(paths: Iterable[Path], *, into: Path | None, rules: Rules) -> Iterator[Adoption]:
    """What would become of the cassettes below these folders; files that are none are left out.

    Each is replaced by its own, or with `into` written to the same place below that folder.
    """
    for path in paths:
        for source in [path] if path.is_file() else sorted(path.rglob("*")):
            if source.is_file() and source.name.endswith(_ENDINGS):
                below = source.relative_to(path) if path.is_dir() else Path(source.name)
                target = _named(into / below if into is not None else source)
                if (found := _adoption(source, target, rules)) is not None:
                    yield found


def _named(path: Path) -> Path:
    stem = next(
        path.name.removesuffix(each) for each in sorted(_ENDINGS, key=len, reverse=True) if path.name.endswith(each)
    )
    return path.with_name(f"{stem}.yaml")


def _adoption(source: Path, target: Path, rules: Rules) -> Adoption | None:
    try:
        tape = load(source)
    except CassetteError as error:
        said = str(error).removeprefix(f"{source}: ").partition("\n")[0]
        # A file of data beside the cassettes is no damaged cassette.
        return None if said.startswith("it is not a cassette") else Adoption(source, target, problem=said)
    if tape.outcome is not None:
        return Adoption(source, target, tape, problem="it is ours already")
    if target != source and target.exists():
        return Adoption(source, target, tape, problem=f"{target} is there already")
    redactor = Redactor(rules)
    known = redactor.learned
    exchanges = [redactor.exchange(exchange) for exchange in tape.exchanges]
    # What was learned late may stand early.
    clean = replace(tape, exchanges=tuple(redactor.exchange(exchange) for exchange in exchanges))
    return Adoption(source, target, clean, redactor.learned - known)


def adopt(adoptions: Sequence[Adoption], rules: Rules) -> Iterator[Adoption]:
    """Write those that have no problem, and give back those that turn out to have one; nothing of them is written."""
    for each in adoptions:
        if each.problem:
            continue
        try:
            each.target.parent.mkdir(parents=True, exist_ok=True)
            save(each.tape, each.target, scan=Redactor(rules).scan)
        except (SecretFound, OSError) as error:
            yield replace(each, problem=str(error).partition("\n")[0])
