"""A service that emits events needs kafka-python and msgspec, and nothing else of what the platform needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Runs in a fresh interpreter. Whatever else is installed can't be found, as after `pip install errata`.
PROGRAM = """
import importlib, sys

class NothingElse:
    installed = {"errata", "kafka", "msgspec"}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in self.installed:
            raise ModuleNotFoundError(f"{name} is not what a service installs", name=name)

sys.meta_path.insert(0, NothingElse())
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2])
"""

MODULES = [
    f"errata.{path.stem}" for path in sorted((ROOT / "errata").glob("*.py")) if path.stem != "__init__"
]


def import_alone(module: str) -> subprocess.CompletedProcess[str]:
    # -P keeps the working directory off the path, so that only what is named is found.
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(ROOT), module], capture_output=True, text=True, cwd="/"
    )


@pytest.mark.parametrize("module", MODULES)
def test_what_a_service_installs_can_be_imported_alone(module: str) -> None:
    result = import_alone(module)
    assert result.returncode == 0, result.stderr


def test_the_client_and_the_resolver_are_among_them() -> None:
    assert {"errata.client", "errata.resolver", "errata.events", "errata.wire"} <= set(MODULES)


def test_what_is_not_installed_is_missed() -> None:
    result = import_alone("storage.tables")
    assert result.returncode != 0
    assert "storage is not what a service installs" in result.stderr


def test_the_command_without_its_extra_says_what_to_install() -> None:
    program = PROGRAM.replace(
        "importlib.import_module(sys.argv[2])", "from errata.command import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", program, str(ROOT), "doctor"], capture_output=True, text=True, cwd="/"
    )
    assert result.returncode == 1
    assert "pip install 'errata[storage]'" in result.stderr


def test_a_release_needs_no_torch() -> None:
    program = "import sys; sys.modules['torch'] = sys.modules['safetensors'] = None; import retrain.release"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
