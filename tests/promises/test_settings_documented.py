"""docs/settings.md says what errata/settings.py means."""

import pytest

from scripts.document_settings import PAGE, render


def test_the_page_of_settings_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "errata/settings.py has changed: run `make schemas`"


@pytest.mark.parametrize("row", [line for line in render().splitlines() if line.startswith("| `")])
def test_every_setting_says_what_it_means(row: str) -> None:
    assert row.split("|")[-2].strip(), "write a `#:` comment above this field in errata/settings.py"
