"""The laboratory's page: every part has its table, and what was not run is said."""

from bench.statistics import auditing, estimating
from bench.statistics.report import render, replace_section

LEVELS = {
    "false_alarms_per_million": {"level known": {"5%": 0.5}},
    "delay_events": {"level known": {"5 to 8 %": {"median": 940.0, "p90": 1620.0, "missed": 0.0}}},
}
ADWIN = {
    "false_alarms_per_million": {"5%": 0.0},
    "delay_events": {"5 to 8 %": {"median": None, "missed": 0.6}},
}


def test_the_page_is_written_from_what_the_parts_return():
    found = {
        "seed": 1,
        "scale": 0.5,
        "levels": LEVELS,
        "seasons": {"flat ceiling": 65.5},
        "sessions": {"session means": 0.0},
        "data_drift": {
            "number": [
                {
                    "tolerance": 0.02,
                    "streams": 20,
                    "null_events": 2000,
                    "false_alarms_per_million": 0.5,
                    "delay_events": {
                        "0.2 sd": {"median": 1450.0, "missed": 0.05},
                        "0.1 sd": {"median": None, "missed": 1.0},
                    },
                }
            ]
        },
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
        "costs": estimating.run_costs(1),
        "baselines": {
            "ADWIN": ADWIN,
            "season": {"ADWIN": 20.0},
            "windows": {"nothing, 100 values": {"PSI > 0.1": 0.42, "KS p < 0.05": 0.08}},
        },
        "real": {"skipped": "DATA names no directory with the real files"},
    }
    page = render(found)
    assert "| e-SR, level known | 0.50 | 940 |" in page
    assert "| ADWIN (river) | 0.00 | missed (60%) |" in page
    assert "| worse model | 100% after 530 | 0% | -4.18 points |" in page
    assert "| number | 0.02 | 0.50 (in 2,000) | 20 | 0.2 sd: 1,450 (5%), 0.1 sd: missed (100%) |" in page
    assert "A replay gives the same bits." in page
    assert "Not run: DATA names no directory" in page
    assert all(len(line) < 200 for line in page.splitlines())


def test_a_section_takes_the_place_of_the_one_with_its_heading_and_nothing_else_moves():
    page = "# Page\n\n## One\n\nold\n\n## Two\n\nstays\n"
    assert replace_section(page, "## One\n\nnew\n") == "# Page\n\n## One\n\nnew\n\n## Two\n\nstays\n"
    assert replace_section(page, "## Two\n\nnew\n") == "# Page\n\n## One\n\nold\n\n## Two\n\nnew\n"
    assert replace_section(page, "## Three\n\nnew\n") == page + "\n## Three\n\nnew\n"
