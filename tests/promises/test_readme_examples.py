"""What README.md and CONTRIBUTING.md tell people to type works as it stands there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from errata.settings import Broker
from errata.topics import ensure_topics

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_service_in_the_readme_sends_its_three_events(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_topics(Broker(bootstrap=broker))
    monkeypatch.chdir(tmp_path)
    [program] = blocks("python")
    names: dict[str, Any] = {"photo": "image", "reading": "4012888888881882"}
    exec(program.replace("kafka:9092", broker), names)
    counted = names["client"].counters.as_dict()
    assert (counted["queued"], counted["sent"], counted["invalid"]) == (3, 3, {})


@pytest.mark.parametrize("line", re.findall(r"^errata [^#\n]+", "\n".join(blocks("sh")), re.MULTILINE))
def test_a_command_in_the_readme_exists_with_its_options(line: str) -> None:
    command = [sys.executable, "-m", "errata.command", *line.split()[1:], "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_every_target_that_is_named_can_be_made() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z.]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:`|^)(?:HEADLESS=1 )?make ([a-z]+)", README + CONTRIBUTING, re.MULTILINE))
    assert {"demo", "test", "schemas"} <= named <= targets


def test_every_file_that_is_linked_is_here() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "DECISIONS.md", "CHANGELOG.md"):
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
        missing = [link for link in links if not (ROOT / link).exists()]
        assert not missing, page
