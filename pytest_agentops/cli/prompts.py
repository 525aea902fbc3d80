"""`pytest-agentops prompts ...`: the prompts folder, its versions and what is owed."""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_agentops.cli import command, tell
from pytest_agentops.errors import HistoryError, PromptError, PromptSyntaxError, UsageError

if TYPE_CHECKING:
    from pytest_agentops.history import Change
    from pytest_agentops.prompt import Prompt
    from pytest_agentops.releases import Plan
    from pytest_agentops.repository import PromptRepository
    from pytest_agentops.settings import Settings
    from pytest_agentops.usage import Usage

ABOUT = "prompts, their versions and what is owed"


def add(commands: Any) -> None:
    """Add the commands of this area."""
    listing = _named(commands, "list", "every prompt, with its version, labels and who uses it", _list)
    listing.add_argument("--ref", help="as of this commit, branch or tag")

    showing = _named(commands, "show", "one prompt: what it takes, gives and says", _show)
    showing.add_argument("name", help="a prompt, such as support/triage or support/triage@1.2.0")

    rendering = _named(commands, "render", "the messages of a prompt, or with --json the whole request", _render)
    rendering.add_argument("name", help="a prompt, such as support/triage or support/triage@1.2.0")
    rendering.add_argument(
        "inputs", nargs="*", metavar="k=v", help="inputs; JSON for lists and mappings, @file for a file"
    )
    rendering.add_argument("--api", choices=("chat", "responses"), default="chat", help="whose request --json gives")

    logging = _named(commands, "log", "the commits that changed a prompt, with the version that each left", _log)
    logging.add_argument("name", help="a prompt")

    comparing = _named(commands, "diff", "what became of a prompt between two versions, labels or commits", _diff)
    comparing.add_argument("name", help="a prompt")
    comparing.add_argument(
        "a", nargs="?", help="what stands behind an @: 1.2.0, production, git:main (default: the base)"
    )
    comparing.add_argument("b", nargs="?", default="worktree", help="the other one (default: the working tree)")

    blaming = _named(commands, "blame", "each line of a prompt with the version that brought it", _blame)
    blaming.add_argument("name", help="a prompt")

    bumping = _named(commands, "bump", "give prompts the versions that their changes owe; shows the plan first", _bump)
    bumping.add_argument("names", nargs="*", help="prompts (default: every one that owes a bump)")
    bumping.add_argument("-m", "--message", default="", help="why; it goes into the changelog")
    bumping.add_argument("--level", choices=("patch", "minor", "major"), help="more than is owed")
    bumping.add_argument("--base", help="what it is compared with (default: where this branch left the main one)")
    bumping.add_argument("--yes", action="store_true", help="do it")

    checking = _named(commands, "check", "what is owed before this branch may be merged", _check)
    checking.add_argument("--base", help="what it is compared with (default: where this branch left the main one)")

    touching = _named(commands, "impact", "which recorded tests the change of prompts touches, and why", _impact)
    touching.add_argument("--base", help="what it is compared with (default: where this branch left the main one)")

    linting = _named(commands, "lint", "mistakes in prompt files, by line", _lint)
    linting.add_argument("names", nargs="*", help="prompts (default: all)")
    linting.add_argument("--max-tokens", type=int, help="about how many tokens the author of a prompt may write")
    linting.add_argument("--strict", action="store_true", help="fail on untidiness too")

    locking = _named(commands, "lock", "write the lock for what stands: the first time, and after a merge", _lock)
    locking.add_argument("--dry-run", action="store_true", help="show what it would say, and write nothing")

    labelling = _named(commands, "label", "let a label point to a version", _label)
    labelling.add_argument("name", help="a prompt")
    labelling.add_argument("label", nargs="?", help="a label, such as production (default: show all)")
    labelling.add_argument("version", nargs="?", help="a version")
    labelling.add_argument("--rollback", action="store_true", help="where it pointed before")
    labelling.add_argument("--delete", action="store_true", help="take it away")

    keeping = _named(
        commands, "snapshot", "one JSON with the prompts and the labelled versions, for production", _snapshot
    )
    keeping.add_argument("-o", "--output", type=Path, help="the file to write (default: print it)")

    using = _named(commands, "uses", "the recorded tests and the code that use a prompt", _uses)
    using.add_argument("name", help="a prompt")

    searching = _named(commands, "bisect", "the version of a prompt that broke a test", _bisect)
    searching.add_argument("test", help="a test, as pytest takes it")
    searching.add_argument("--prompt", help="the prompt (default: the only one that the test's cassette knows)")
    searching.add_argument("--good", required=True, metavar="REF", help="a commit with which the test passes")
    searching.add_argument("--bad", default="HEAD", metavar="REF", help="a commit with which it fails (default: HEAD)")
    searching.add_argument("--record", default="none", help="the record mode (default: none, which replays)")

    importing = _named(
        commands, "import", "turn prompts of other formats into files here; shows the plan first", _import
    )
    importing.add_argument("files", nargs="+", type=Path, help="prompty, dotprompt, Langfuse, GitHub, OpenAI, code")
    importing.add_argument("--name", help="the name of the prompt, where there is one")
    importing.add_argument("--yes", action="store_true", help="do it")

    exporting = _named(commands, "export", "a prompt in another format", _export)
    exporting.add_argument("name", help="a prompt, such as support/triage or support/triage@1.2.0")
    exporting.add_argument("--to", required=True, choices=("prompty", "dotprompt", "langfuse", "github", "openai"))


def _named(commands: Any, name: str, about: str, run: Any) -> argparse.ArgumentParser:
    made = command(commands, name, about, run)
    made.add_argument("--prompts", type=Path, metavar="FOLDER", help="the prompts folder (default: the project's)")
    return made


def _settings() -> Settings:
    from pytest_agentops.settings import project_root, read_settings

    return read_settings(project_root(Path.cwd()))


def _repository(options: argparse.Namespace) -> PromptRepository:
    from pytest_agentops.repository import PromptRepository

    folder = getattr(options, "prompts", None) or _settings().prompts
    if not folder.is_dir():
        raise PromptError(
            f"there is no prompts folder {folder}; name it with `prompts` in [tool.agentops], or --prompts"
        )
    return PromptRepository(_shown(folder))


def _shown(path: Path) -> Path:
    """The path as one would type it here."""
    try:
        return path.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        return path


def _usage() -> Usage:
    from pytest_agentops.usage import Usage

    return Usage(_settings().root)


def _base(options: argparse.Namespace) -> str | None:
    return options.base or _settings().base


def _json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


# --- looking ---------------------------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    prompts = _repository(options)
    prompts = prompts.at(options.ref) if options.ref else prompts
    usage = _usage()
    rows: list[dict[str, Any]] = []
    broken = 0
    for name in prompts:
        tests = [str(_shown(path)) for path in usage.cassettes(name)]
        try:
            prompt = prompts[name]
        except PromptError as error:
            broken += 1
            rows.append({"name": name, "error": str(error), "tests": tests})
            continue
        labels = dict(prompts.labels.get(name, {}))
        rows.append(
            {"name": name, "version": prompt.version, "digest": prompt.digest, "labels": labels,
             "description": prompt.description, "tests": tests}
        )  # fmt: skip
    if options.json:
        _json(rows)
    else:
        tell(_table(rows) if rows else ["no prompts here; a first one: prompts/hello.prompty"])
    return 1 if broken else 0


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        if "error" in row:
            yield f"{row['name']:<{width}}  broken: {row['error'].splitlines()[0]}"
            continue
        named = [
            label if version == row["version"] else f"{label} {version}" for label, version in row["labels"].items()
        ]
        labels = f" ({', '.join(named)})" if named else ""
        used = len(row["tests"])
        tests = f"{used} recording{'s' * (used != 1)}" if used else "not recorded"
        version = row["version"] or "no version"
        yield f"{row['name']:<{width}}  {version:<8}{labels}  {tests:<13}  {row['description']}".rstrip()


def _show(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import prompt_lines

    prompt = _repository(options).get(options.name)
    if options.json:
        _json({
            "name": prompt.name, "version": prompt.version, "digest": prompt.digest, "path": prompt.path,
            "front_matter": prompt.front_matter, "partials": list(prompt.partials), "body": prompt.body,
        })  # fmt: skip
    else:
        tell(prompt_lines(prompt))
    return 0


def _render(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import message_lines

    prompt = _repository(options).get(options.name)
    inputs = dict(_input(prompt, given) for given in options.inputs)
    if options.json:
        _json(
            prompt.request(api=options.api, **inputs)
            if prompt.model.get("id")
            else {"messages": prompt.messages(**inputs)}
        )
    else:
        tell(message_lines(prompt.messages(**inputs)))
    return 0


def _input(prompt: Prompt, given: str) -> tuple[str, Any]:
    """One input as it is typed: a text, JSON where the kind is no text, or a file."""
    from pytest_agentops.kinds import Field, typed

    name, equals, text = given.partition("=")
    if not equals:
        raise UsageError(f"{given!r} is no input; write name=value")
    wanted = prompt.inputs.get(name, Field(name))
    if text.startswith("@"):
        try:
            data = Path(text[1:]).read_bytes()
            if wanted.kind in ("image", "file"):
                return name, data
            text = data.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name}: {text[1:]} cannot be read: {error}") from error
    return name, typed(wanted, text)


def _log(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import log_lines

    prompts = _repository(options)
    states = [(change, _then(prompts, change)) for change in prompts.log(options.name)]
    if options.json:
        _json(
            [
                {**_commit(change), "version": prompt and prompt.version, "digest": prompt and prompt.digest}
                for change, prompt in states
            ]
        )
    else:
        tell(log_lines(states))
    return 0


def _then(prompts: PromptRepository, change: Change) -> Prompt | None:
    return None if change.blob is None else prompts.readable(change)


def _commit(change: Change) -> dict[str, Any]:
    return {**dataclasses.asdict(change.commit), "path": change.path, "moved_from": change.was_at}


def _diff(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import revision_lines
    from pytest_agentops.releases import base_of

    prompts = _repository(options)
    if options.a is None:
        base = base_of(prompts, _settings().base)
        if base is None:
            raise HistoryError("nothing is committed yet, so that there is nothing to compare with")
        options.a = f"git:{base.head}"
    revision = prompts.diff(options.name, options.a, options.b)
    recorded = _usage().inputs(options.name)
    if options.json:
        _json({
            "name": options.name,
            "a": {"version": revision.old.version, "digest": revision.old.digest},
            "b": {"version": revision.new.version, "digest": revision.new.digest},
            "level": revision.level(recorded),
            "contract": [dataclasses.asdict(change) for change in revision.contract],
            "settings": [{"path": path, "old": old, "new": new} for path, old, new in revision.settings],
            "partials": list(revision.partials),
            "rendered": [{**dataclasses.asdict(each), "same": each.same} for each in revision.rendered(recorded)],
        })  # fmt: skip
    else:
        tell(revision_lines(revision, recorded))
    return 0


def _blame(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import blame_lines
    from pytest_agentops.history import ENDING
    from pytest_agentops.prompt import normal_name

    prompts = _repository(options)
    versions, version = {}, ""
    for change in reversed(prompts.log(options.name)):
        then = _then(prompts, change)
        version = (then.version or "") if then else version
        versions[change.commit.sha] = version
    lines = list(prompts.history.blame(f"{normal_name(options.name)}{ENDING}"))
    if options.json:
        _json(
            [
                {"line": number, "commit": commit.sha, "version": versions.get(commit.sha), "text": text}
                for commit, number, text in lines
            ]
        )
    else:
        tell(blame_lines(lines, versions))
    return 0


def _uses(options: argparse.Namespace) -> int:
    prompts, usage = _repository(options), _usage()
    name = prompts[options.name].name
    tests = [str(_shown(path)) for path in usage.cassettes(name)]
    code = [(str(_shown(each.path)), each.line, each.text) for each in usage.mentions(name)]
    if options.json:
        _json({"tests": tests, "code": [{"path": path, "line": line, "text": text} for path, line, text in code]})
        return 0
    tell([
        *(f"recorded by {test}" for test in tests),
        *(f"named in {path}:{line}: {text}" for path, line, text in code),
        *([] if tests or code else [f"nothing that is recorded and no code names {name}"]),
    ])  # fmt: skip
    return 0


# --- changing --------------------------------------------------------------------------------------------------------


def _carry_out(plan: Plan, *, yes: bool, command: str, as_json: bool) -> int:
    from pytest_agentops.accounts import plan_lines

    if yes:
        plan.apply()
    if as_json:
        _json({"steps": list(plan.steps), "files": [str(edit.path) for edit in plan.edits], "done": yes})
        return 0
    tell(plan_lines(plan, done=yes))
    if not plan.edits:
        print("nothing to do")
    elif not yes:
        print(f"  to do it: {command} --yes")
    return 0


def _bump(options: argparse.Namespace) -> int:
    from pytest_agentops.releases import bump, check

    prompts, usage = _repository(options), _usage()
    names = options.names or [
        debt.name for debt in check(prompts, _base(options), recorded=usage.inputs) if debt.kind == "owed bump"
    ]
    if not names:
        if options.json:
            _json({"steps": [], "files": [], "done": options.yes})
        else:
            print("no prompt owes a bump")
        return 0
    if options.yes and not options.message.strip():
        raise UsageError('a bump says why: -m "why"')
    names = [prompts[name].name for name in names]
    plan, _ = bump(prompts, names, options.message, base=_base(options), recorded=usage.inputs, level=options.level)
    typed = f'pytest-agentops prompts bump {" ".join(options.names)}{" " * bool(options.names)}-m "{options.message}"'
    return _carry_out(plan, yes=options.yes, command=typed, as_json=options.json)


def _check(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import debt_lines
    from pytest_agentops.releases import check

    debts = list(check(_repository(options), _base(options), recorded=_usage().inputs))
    if options.json:
        _json([dataclasses.asdict(debt) for debt in debts])
    else:
        tell(debt_lines(debts))
    return 1 if debts else 0


def _impact(options: argparse.Namespace) -> int:
    from pytest_agentops.accounts import effect_lines
    from pytest_agentops.impact import Impact
    from pytest_agentops.releases import base_of

    prompts = _repository(options)
    base = base_of(prompts, _base(options))
    if base is None:
        raise HistoryError("nothing is committed yet, so that there is nothing to compare with")
    impact = Impact(base, prompts)
    usage = _usage()
    effects = [impact.of(path, renders) for path, renders in usage.renders.items()]
    effects = [dataclasses.replace(each, cassette=_shown(each.cassette)) for each in effects]
    if options.json:
        _json([{**dataclasses.asdict(each), "affected": each.affected} for each in effects])
    else:
        tell(effect_lines(effects, base.history.about(base.head), impact.code()))
    return 0


def _lint(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from pytest_agentops.accounts import estimated_tokens
    from pytest_agentops.lint import Complaint, lint, near_duplicates
    from pytest_agentops.prompt import normal_name

    prompts, settings = _repository(options), _settings()
    names = [normal_name(name) for name in options.names] or list(prompts)
    texts, found = {}, []
    for name in names:
        try:
            texts[name] = (prompts.tree.place(name), prompts.tree.text(name))
        except PromptSyntaxError as error:
            found.append(Complaint(name, prompts.tree.place(name), 1, "syntax", str(error), serious=True))
    found += [
        complaint
        for name, (path, text) in texts.items()
        for complaint in lint(
            name, text, path=path, source=prompts.tree.text, today=datetime.now(UTC).date(),
            models=settings.models.gone, tokens=estimated_tokens, most_tokens=options.max_tokens,
        )
    ]  # fmt: skip
    found += near_duplicates(texts)
    serious = [complaint for complaint in found if complaint.serious]
    if options.json:
        _json([dataclasses.asdict(complaint) for complaint in found])
    else:
        tell(
            [f"{each.path}:{each.line}: {each.rule}: {each.message}" for each in found]
            + [f"{len(serious)} serious, {len(found) - len(serious)} untidy" if found else "nothing to complain about"]
        )
    return 1 if serious or (options.strict and found) else 0


def _lock(options: argparse.Namespace) -> int:
    from pytest_agentops.releases import lock

    return _carry_out(lock(_repository(options)), yes=not options.dry_run, command="", as_json=options.json)


def _label(options: argparse.Namespace) -> int:
    from pytest_agentops.releases import label, rolled_back

    prompts = _repository(options)
    if options.label is None:
        labels = prompts.labels.get(options.name, {})
        if options.json:
            _json(labels)
        else:
            tell([f"{each}: {version}" for each, version in labels.items()] or [f"{options.name} has no labels"])
        return 0
    version = options.version
    if options.rollback:
        version = rolled_back(prompts, options.name, options.label)
    if version is None and not options.delete:
        raise UsageError(f"say where {options.label} is to point: a version, --rollback or --delete")
    plan = label(prompts, options.name, options.label, None if options.delete else version)
    return _carry_out(plan, yes=True, command="", as_json=options.json)


def _snapshot(options: argparse.Namespace) -> int:
    from pytest_agentops.releases import snapshot
    from pytest_agentops.tape import write_whole

    text = snapshot(_repository(options))
    if options.output is None:
        print(text, end="")
        return 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.output, text.encode())
    if options.json:
        _json({"written": str(options.output)})
    else:
        print(f"written: {options.output}")
    return 0


# --- searching -------------------------------------------------------------------------------------------------------


def _bisect(options: argparse.Namespace) -> int:
    prompts = _repository(options)
    name = options.prompt or _only_prompt(options)
    candidates = _between(prompts, name, options.good, options.bad)
    if not candidates:
        raise PromptError(f"no commit between {options.good} and {options.bad} changed {name}")
    tried: dict[str, bool] = {}

    def passes(sha: str) -> bool:
        if sha not in tried:
            tried[sha] = _passes(options, sha)
            if not options.json:
                print(f"{sha[:9]}  {'passes' if tried[sha] else 'fails'}")
        return tried[sha]

    if not passes(options.good if len(options.good) == 40 else prompts.history.commit(options.good)):
        raise PromptError(f"{options.test} fails with the prompts of {options.good} already")
    if passes(candidates[-1].commit.sha):
        raise PromptError(f"{options.test} passes with {name} as of {options.bad}")
    low, high = -1, len(candidates) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(candidates[middle].commit.sha) else (low, middle)
    found = candidates[high]
    prompt = _then(prompts, found)
    if options.json:
        _json({**_commit(found), "version": prompt and prompt.version})
    else:
        version = f" ({prompt.version})" if prompt and prompt.version else ""
        tell(
            [f"{name}{version} broke it: {found.commit.short} of {found.commit.date:%Y-%m-%d}, {found.commit.message}"]
        )
    return 0


def _only_prompt(options: argparse.Namespace) -> str:
    usage = _usage()
    stem = options.test.rpartition("::")[2].partition("[")[0]
    names = [name for name in usage.recorded if any(stem in path.name for path in usage.cassettes(name))]
    if len(names) != 1:
        raise UsageError(
            f"say which prompt: --prompt NAME ({', '.join(names) or 'no cassette of this test knows of one'})"
        )
    return names[0]


def _between(prompts: PromptRepository, name: str, good: str, bad: str) -> list[Change]:
    """The commits after the good one, up to the bad one, that changed a prompt, the oldest first."""
    old = (
        {change.commit.sha for change in prompts.at(good).log(name)} if name in prompts.at(good).tree.names() else set()
    )
    return [change for change in reversed(prompts.at(bad).log(name)) if change.commit.sha not in old]


def _passes(options: argparse.Namespace, sha: str) -> bool:
    asked = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        options.test,
        f"--agentops-ref={sha}",
        f"--agentops-record={options.record}",
    ]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        said = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise PromptError(f"pytest could not run {options.test} with the prompts of {sha[:9]}:\n{said}")
    return done.returncode == 0


# --- other formats ---------------------------------------------------------------------------------------------------


def _import(options: argparse.Namespace) -> int:
    from pytest_agentops.history import ENDING
    from pytest_agentops.importing.formats import imported
    from pytest_agentops.releases import Edit, Plan
    from pytest_agentops.trees import decoded

    folder = options.prompts or _settings().prompts
    steps, edits = [], []
    for file in options.files:
        try:
            text = decoded(file.read_bytes(), str(file))
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error}") from error
        for each in imported(text, path=str(file), name=options.name):
            path = _shown(folder / f"{each.name}{ENDING}")
            if path.exists():
                raise PromptError(f"{path} is there already; move it away, or give another --name")
            steps.append("\n".join([f"{each.name} from {each.origin}", *(f"  {note}" for note in each.notes)]))
            edits.append(Edit(path, None, each.text))
    typed = f"pytest-agentops prompts import {' '.join(map(str, options.files))}"
    return _carry_out(Plan(tuple(steps), tuple(edits)), yes=options.yes, command=typed, as_json=options.json)


def _export(options: argparse.Namespace) -> int:
    from pytest_agentops.importing.formats import exported

    found = exported(_repository(options).get(options.name), options.to)
    if options.json:
        _json(dataclasses.asdict(found))
        return 0
    print(found.text, end="" if found.text.endswith("\n") else "\n")
    for note in found.notes:
        print(note, file=sys.stderr)
    return 0
