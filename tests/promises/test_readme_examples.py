"""What the pages tell people to type works as it stands there, and what they link to is there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from errata.settings import Broker
from errata.topics import ensure_topics
from streams.metrics import IntakeMetrics, Metrics

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "retrain" / "LOG.md"])
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def commands(page: str) -> list[str]:
    """The calls of `errata` in its shell blocks, also those made inside of a container."""
    found = re.findall(
        r"^(?:docker compose exec \w+ )?(errata [^#\n]+)", "\n".join(blocks(page, "sh")), re.MULTILINE
    )
    return [re.sub(r' --reason "[^"]*"', " --reason why", line).strip() for line in found]


def test_the_service_in_the_readme_sends_its_three_events(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_topics(Broker(bootstrap=broker))
    monkeypatch.chdir(tmp_path)
    [program] = blocks("README.md", "python")
    names: dict[str, Any] = {"photo": "image", "reading": "4012888888881882"}
    exec(program.replace("kafka:9092", broker), names)
    counted = names["client"].counters.as_dict()
    assert (counted["queued"], counted["sent"], counted["invalid"]) == (3, 3, {})


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_a_command_on_a_page_exists_with_its_options(line: str) -> None:
    command = [sys.executable, "-m", "errata.command", *line.split()[1:], "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_every_target_that_is_named_can_be_made() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z.-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:`|^)(?:HEADLESS=1 )?make ([a-z-]+)", "\n".join(PAGES.values()), re.MULTILINE))
    assert {"demo", "test", "schemas"} <= named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_section_that_is_linked_is_here(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, (
                link
            )


def test_every_metric_is_explained() -> None:
    told = set(re.findall(r"^\| `(errata_\w+)` \|", PAGES["docs/operations.md"], re.MULTILINE))
    kept = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for metrics in (Metrics(), IntakeMetrics())
        for family in metrics.registry.collect()
    }
    assert told == kept
