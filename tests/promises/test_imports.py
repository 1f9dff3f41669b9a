"""Rooms import what the contracts in pyproject.toml allow, and the contracts see what they forbid."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LAYERS, *_, CLIENT_ONLY = CONFIGURATION["contracts"]

#: An import that each contract forbids: the file that would do it, and what it would import.
FORBIDDEN = {
    "Rooms depend downwards only, and siblings not on each other": ("labeling/mining.py", "streams"),
    "The house does not know its examples": ("retrain/trainer.py", "examples"),
    "Quality is pure: no I/O, clock, chance or environment": ("quality/windows.py", "time"),
    "One framework per room: Faust in streams": ("labeling/mining.py", "faust"),
    "One framework per room: Apprise in streams": ("storage/alerts.py", "apprise"),
    "One framework per room: SQLAlchemy in storage": ("retrain/trainer.py", "sqlalchemy"),
    "One framework per room: PyTorch in retrain (and in the example that is trained)": (
        "storage/runs.py",
        "torch",
    ),
    "One framework per room: Streamlit in dashboard": ("quality/rates.py", "streamlit"),
    "What a service installs needs kafka-python and msgspec alone": ("errata/wire.py", "numpy"),
}


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=directory,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copy_of_the_house(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in CONFIGURATION["root_packages"]:
        shutil.copytree(
            ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.csv", "*.npz")
        )
    return tmp_path


def test_every_room_imports_only_what_it_may() -> None:
    report = lint(ROOT)
    assert report.returncode == 0, report.stdout + report.stderr
    assert f"{len(FORBIDDEN)} kept, 0 broken" in report.stdout


def test_every_contract_has_an_import_here_that_it_must_catch() -> None:
    assert [contract["name"] for contract in CONFIGURATION["contracts"]] == list(FORBIDDEN)


@pytest.mark.parametrize("contract", FORBIDDEN)
def test_an_import_that_breaks_the_contract_is_caught(copy_of_the_house: Path, contract: str) -> None:
    file, module = FORBIDDEN[contract]
    with (copy_of_the_house / file).open("a", encoding="utf-8") as source:
        source.write(f"\nimport {module}\n")
    report = lint(copy_of_the_house)
    assert report.returncode == 1, report.stdout + report.stderr
    assert f"{contract} BROKEN" in report.stdout.replace("\n", " ")


def test_the_contracts_name_every_module_that_a_service_installs() -> None:
    light = {f"errata.{path.stem}" for path in (ROOT / "errata").glob("*.py") if path.stem != "__init__"}
    assert set(LAYERS["layers"][-1].split(" : ")) == light, "list it in the lowest layer, in pyproject.toml"
    assert set(CLIENT_ONLY["source_modules"]) == light, "list it in the last contract, in pyproject.toml"
