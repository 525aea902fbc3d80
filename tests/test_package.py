"""The wheel, installed alone in a fresh environment, works."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_installed_alone_records_nothing_says_nothing_and_answers(tmp_path):
    """Nothing of the checkout is on the path: only the wheel, and what this environment has installed."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    [wheel] = tmp_path.glob("*.whl")
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
    pip = [fresh / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True)
    # Dependencies come from this environment, so that the test needs no network; the package itself does not.
    site = next((fresh / "lib").glob("python*/site-packages"))
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    (tmp_path / "test_it.py").write_text(
        "import pytest_agentops\n\n\ndef test_it(agent_trace):\n"
        "    assert 'fresh' in pytest_agentops.__file__\n    assert len(agent_trace.model_calls) == 0\n",
        encoding="utf-8",
    )

    ran = subprocess.run(
        [fresh / "bin" / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    told = subprocess.run([fresh / "bin" / "pytest-agentops", "--version"], capture_output=True, text=True)

    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr
    assert told.stdout.startswith("pytest-agentops ")


@pytest.mark.slow
def test_the_wheel_holds_the_types_marker_and_nothing_but_the_package(tmp_path):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    [wheel] = tmp_path.glob("*.whl")

    names = zipfile.ZipFile(wheel).namelist()

    assert {"pytest_agentops/py.typed", "pytest_agentops/formats/sheet.css"} <= set(names)
    assert {path.name for path in (ROOT / "playground").glob("*.*")} == {
        Path(name).name for name in names if name.startswith("pytest_agentops/playground/")
    }
    assert {Path(name).parts[0].split("-")[0] for name in names} == {"pytest_agentops"}
