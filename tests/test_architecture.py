"""The picture of docs/architecture.md: imports point one way, from the doors inwards, and each weight has its room."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pytest_agentops"

LAYERS = [
    ["__main__"],
    ["plugin", "cli"],
    ["beside", "doctor"],
    ["formats", "laboratory"],
    ["manuscript", "views"],
    ["accounts", "explain", "sessions", "summary"],
    ["recall", "seal"],
    ["behaviour"],
    ["report", "saving"],
    ["experiment", "impact", "regression", "releases", "usage", "votes"],
    ["adoption", "cassette", "expect", "housekeeping", "importing", "repository"],
    ["journal", "lint", "revision", "trees"],
    ["capture", "tape"],
    ["assembly", "frameworks", "mutation", "settings", "stubs"],
    ["interaction", "matching", "prompt", "spans", "structure", "transports"],
    ["datasets", "history", "versions"],
    ["body", "prices", "redaction", "requests", "rpc", "wire"],
    ["arrivals", "credentials", "exchange", "frames", "gates", "guard", "kinds", "sandbox"],
    ["document", "models", "trace", "trials", "volatile"],
    ["errors", "testing"],
]
"""From the doors inwards: a room imports from the lines below its own, never from its own line or from above."""

AGAINST_THE_ARROWS = {
    ("trace", "tape"),  # Trace.from_cassette and from_cassette_text
    ("trace", "expect"),  # comparing a Trajectory with an expectation
    ("repository", "releases"),  # repo.bump
    ("errors", "explain"),  # the text of CassetteMiss and CassetteUnplayed
}
"""What people type or read; imported inside the method that needs it."""

INSIDE_A_FOLDER = {
    ("cli.report", "cli.gate"),  # Both read a report.
    ("doctor.examination", "doctor.clients"),
    ("formats.files", "formats.html"),  # It knows them all.
    ("formats.files", "formats.markdown"),
    ("formats.html", "formats.terminal"),
    ("formats.comparison", "formats.html"),  # The parts of one report, drawn alone.
    ("formats.comparison", "formats.terminal"),
    ("formats.comparison", "formats.traces"),
    ("formats.markdown", "formats.terminal"),  # What is folded are the lines of the other one.
    ("importing.dotprompt", "importing.handlebars"),
    ("importing.dotprompt", "importing.messages"),
    ("importing.formats", "importing.dotprompt"),  # It knows them all.
    ("importing.formats", "importing.github"),
    ("importing.formats", "importing.langfuse"),
    ("importing.formats", "importing.openai_code"),
    ("importing.formats", "importing.openai_request"),
    ("importing.formats", "importing.prompty"),
    ("importing.github", "importing.messages"),
    ("importing.langfuse", "importing.messages"),
    ("importing.openai_request", "importing.messages"),
    ("importing.prompty", "importing.handlebars"),
    ("importing.prompty", "importing.messages"),
    ("testing.dialects.openai_chat", "testing.dialects.openai"),  # Three endpoints of one provider.
    ("testing.dialects.openai_embeddings", "testing.dialects.openai"),
    ("testing.dialects.openai_responses", "testing.dialects.openai"),
    ("testing.dialects", "testing.replies"),
    ("testing.requests", "testing.dialects"),  # It knows them all.
    ("testing.server", "testing.dialects"),
    ("testing.server", "testing.ids"),
    ("testing.server", "testing.replies"),
    ("testing.server", "testing.requests"),
    ("expect.pairing", "expect.calls"),
    ("expect.patterns", "expect.calls"),
    ("expect.patterns", "expect.pairing"),
    ("expect.trajectories", "expect.calls"),
    ("expect.trajectories", "expect.pairing"),
    ("expect.trajectories", "expect.patterns"),
    ("expect.written", "expect.calls"),  # It writes them all.
    ("expect.written", "expect.patterns"),
    ("expect.written", "expect.responses"),
    ("expect.written", "expect.trajectories"),
    ("wire.bedrock_invoke", "wire.anthropic_messages"),  # What it carries is written as each maker writes it.
    ("wire.bedrock_invoke", "wire.bedrock_converse"),
    ("wire.bedrock_invoke", "wire.embeddings"),
    ("wire.bedrock_invoke", "wire.openai_chat"),
    ("wire.bedrock_invoke", "wire.reranking"),
}
"""Alternatives of one kind do not know each other, but for this."""

DOORS = {"testing"}
"""Folders whose names people import: what the folder itself holds is taken from its modules."""

WEIGHT = {
    "agents": {"doctor", "frameworks"},  # Frameworks only where they are imported already.
    "aiohttp": {"doctor", "stubs"},
    "anthropic": {"doctor"},  # What is examined is imported to be examined, and for nothing else.
    "anyio": {"stubs", "transports"},  # httpx and httpx2 bring it, and only their clients lead there.
    "botocore": {"doctor"},
    "crewai": {"frameworks"},
    "deepdiff": {"explain", "revision"},
    "filelock": {"cassette", "journal", "laboratory"},
    "git": {"history"},
    "genai_prices": {"prices"},
    "google": {"doctor", "formats"},  # Its protobuf, for collectors that take nothing else.
    "httpx": {"doctor"},  # Found by name, where they are installed, while a recording is open.
    "httpx2": {"doctor"},
    "jinja2": {"body", "formats", "importing", "lint", "sandbox"},
    "jsonpath": {"matching", "settings"},
    "jsonschema": {"expect", "report"},
    "jsonschema_specifications": {"expect"},
    "langchain_core": {"doctor", "frameworks"},
    "langchain_openai": {"doctor"},
    "langgraph": {"doctor"},
    "multidict": {"stubs"},
    "openai": {"doctor", "expect", "laboratory"},  # To ask a judge, and to be examined.
    "opentelemetry": {"formats", "frameworks"},
    "pydantic": {"doctor"},  # The openai client brings it.
    "pydantic_ai": {"doctor", "frameworks"},
    "pytest": {"beside", "plugin", "testing"},
    "rapidfuzz": {"expect", "lint"},
    "referencing": {"expect"},
    "requests": {"doctor"},
    "rich": {"cli"},
    "streamlit": {"cli"},  # Where the playground is opened.
    "smolagents": {"doctor", "frameworks"},
    "tomlkit": {"versions"},
    "tornado": {"stubs"},
    "urllib3": {"doctor"},
    "vcr": {"tape"},
    "websockets": {"stubs"},
    "yaml": {"document", "expect", "importing", "lint", "prompt", "releases", "repository", "tape"},
}
"""Where each package from outside may be imported; no other package may be at all."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """The module's name inside the package, such as `wire.openai_chat`; that of a folder is the folder's."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> Sequence[tuple[str, bool]]:
    """Every module that a file imports, and whether it does so on the top level; what only types need is left out."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node, nested in statements(tree, nested=False):
        if isinstance(node, ast.Import):
            yield from ((alias.name, not nested) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            yield node.module, not nested
            yield from ((f"{node.module}.{alias.name}", not nested) for alias in node.names)


def statements(node: ast.AST, *, nested: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child, nested
        yield from statements(child, nested=nested or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))


@cache
def ours(path: Path) -> Sequence[tuple[str, bool]]:
    """The modules of the package that a file imports."""
    return tuple(_ours(path))


def _ours(path: Path) -> Iterator[tuple[str, bool]]:
    known = set(map(name_of, MODULES))
    for imported, top in imports(path):
        inside = imported.removeprefix("pytest_agentops.")
        if imported.startswith("pytest_agentops.") and inside in known:
            yield inside, top


def room(module: str) -> str:
    return module.partition(".")[0]


def folder(module: str) -> str:
    return module.rpartition(".")[0]


def floor(module: str) -> int:
    return next(index for index, layer in enumerate(LAYERS) if room(module) in layer)


def test_every_module_has_a_place_in_the_picture():
    rooms = {room(name_of(path)) for path in MODULES} - {""}

    assert rooms == {name for layer in LAYERS for name in layer}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_inwards(path):
    module = name_of(path)
    outwards = [
        (module, imported)
        for imported, top in ours(path)
        if module
        and room(module) != room(imported)
        and floor(imported) <= floor(module)
        and (top or (room(module), room(imported)) not in AGAINST_THE_ARROWS)
    ]

    assert outwards == []


def test_each_exception_is_still_needed():
    found = {
        (room(name_of(path)), room(imported))
        for path in MODULES
        for imported, top in ours(path)
        if name_of(path) and not top and floor(imported) < floor(name_of(path))
    }

    assert found == AGAINST_THE_ARROWS


def test_alternatives_of_one_kind_do_not_know_each_other():
    sideways = {
        (name_of(path), imported)
        for path in MODULES
        for imported, _ in ours(path)
        if folder(name_of(path)) and folder(name_of(path)) == folder(imported)
    }
    downwards = {
        (name_of(path), imported)
        for path in MODULES
        for imported, _ in ours(path)
        if name_of(path) and name_of(path) not in DOORS and imported.startswith(f"{name_of(path)}.")
    }

    assert sideways == INSIDE_A_FOLDER
    assert downwards == set(), "what a folder's modules share does not know the modules"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_package_from_outside_has_its_rooms(path):
    outside = {imported.partition(".")[0] for imported, _ in imports(path)} - {"pytest_agentops"}
    found = {package for package in outside if package not in sys.stdlib_module_names}

    assert {package for package in found if room(name_of(path)) not in WEIGHT.get(package, set())} == set()


def test_the_package_itself_imports_only_the_standard_library():
    assert all(
        imported.partition(".")[0] in sys.stdlib_module_names for imported, _ in imports(PACKAGE / "__init__.py")
    )


@pytest.mark.parametrize(
    "room_name", ["trace", "errors", "exchange", "settings", "matching", "redaction", "guard", "stubs"]
)
def test_values_need_only_the_standard_library_on_the_top_level(room_name):
    files = [path for path in MODULES if room(name_of(path)) == room_name]
    outside = {imported.partition(".")[0] for path in files for imported, top in imports(path) if top}

    assert outside - set(sys.stdlib_module_names) <= {"pytest_agentops"}


def test_the_public_kit_for_testing_needs_nothing_of_ours():
    files = [path for path in MODULES if room(name_of(path)) == "testing"]
    outside = {imported for path in files for imported, _ in imports(path)}
    rooms = {room(imported) for path in files for imported, _ in ours(path)}

    assert {name.partition(".")[0] for name in outside} - set(sys.stdlib_module_names) == {"pytest", "pytest_agentops"}
    assert rooms == {"testing"}


def test_the_door_for_pytest_imports_only_pytest_and_the_standard_library_when_it_loads():
    outside = {imported.partition(".")[0] for imported, top in imports(PACKAGE / "plugin.py") if top}

    assert outside - set(sys.stdlib_module_names) == {"pytest"}
