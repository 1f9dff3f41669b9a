"""The laboratory's page: every part has its table, and what was not run is said."""

from bench.statistics import auditing, costing, estimating
from bench.statistics.report import RIVER, render, replace_section

KNOWN = {
    "false_alarms_per_million": {"5%": 0.5},
    "delay_events": {"5 to 8 %": {"median": 940.0, "p90": 1620.0, "missed": 0.0}},
}
NUMBERS = {
    "tolerance": 0.02,
    "streams": 20,
    "null_events": 2000,
    "false_alarms_per_million": 0.5,
    "delay_events": {
        "0.2 sd": {"median": 1450.0, "missed": 0.05},
        "0.1 sd": {"median": None, "missed": 1.0},
    },
    "swings": {"0.05 sd": 4.25},
}
ADWIN = {
    "false_alarms_per_million": {"5%": 0.0},
    "delay_events": {"5 to 8 %": {"median": None, "missed": 0.6}},
    "season": 20.0,
}


def test_the_page_is_written_from_what_the_parts_return():
    found = {
        "seed": 1,
        "scale": 0.5,
        "minutes": 12.5,
        "workers": 2,
        "known": KNOWN,
        "unknown": KNOWN,
        "seasons": {"flat ceiling": 65.5},
        "sessions": {"session means": 0.0},
        "numbers": [NUMBERS],
        "outputs": [],
        "embeddings": [],
        "intervals": estimating.run_intervals(1, 5, 1000),
        "fresh": estimating.run_fresh(1, 2000),
        "late_labels": {"read after 1 h": 1.88},
        "audits": estimating.run_audits(1, 3),
        "audit_drift": auditing.run_audit_drift(1, 500_000, 3),
        "residuals": {
            "worse model": {
                "rate": {"alarmed": 1.0, "delay_events": 530.0},
                "residual": {"alarmed": 0.0, "delay_events": None},
                "estimate_without_labels_points": -4.18,
            }
        },
        "costs": costing.run_costs(1, 2),
        **dict.fromkeys(RIVER, ADWIN),
        "windows": {
            "nothing, 100 values": {"PSI": {"flagged": 0.42, "per_million": 4200}},
            "0.2 sd, 100 values": {"PSI": {"flagged": 0.73, "per_million": None}},
        },
        "performance": {"worse model": {"off_by_points": -4.3, "alerts": 0.0}},
        "real": {"skipped": "DATA names no directory with the real files"},
    }
    page = render(found)
    assert "| e-SR, level known | 0.50 | 940 |" in page
    assert "| season, DDM (river) | 20.00 |" in page
    assert "| ADWIN (river) | 0.00 | missed (60%) |" in page
    assert "| worse model | 100% after 530 | 0% | -4.18 points | -4.30 points | 0% |" in page
    assert "| 0.02 | 4.25 |" in page
    assert "| nothing, 100 values | 42% (4,200 a million) |" in page
    assert "| 0.2 sd, 100 values | 73% |" in page
    assert "in one run of 12.5 minutes in 2 processes" in page
    assert "| numbers | 0.02 | 0.50 (in 2,000) | 20 | 0.2 sd: 1,450 (5%), 0.1 sd: missed (100%) |" in page
    assert "A replay gives the same bits." in page
    assert "Not run: DATA names no directory" in page
    assert all(len(line) < 200 for line in page.splitlines())


def test_a_section_takes_the_place_of_the_one_with_its_heading_and_nothing_else_moves():
    page = "# Page\n\n## One\n\nold\n\n## Two\n\nstays\n"
    assert replace_section(page, "## One\n\nnew\n") == "# Page\n\n## One\n\nnew\n\n## Two\n\nstays\n"
    assert replace_section(page, "## Two\n\nnew\n") == "# Page\n\n## One\n\nold\n\n## Two\n\nnew\n"
    assert replace_section(page, "## Three\n\nnew\n") == page + "\n## Three\n\nnew\n"
