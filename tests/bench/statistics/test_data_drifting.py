"""The laboratory of data drift: its streams stay, and change, as they say."""

import numpy as np
import pytest

from bench.statistics.data_drifting import (
    LAG,
    TOLERANCES,
    count_alarms,
    measure_delays,
    watch_embeddings,
    watch_number,
    watch_outputs,
    watch_swing,
)
from errata.settings import DataDrift

NEW = np.array([0.24, 0.16, 0.12, 0.08, 0.064, 0.048, 0.04, 0.024, 0.016, 0.008, 0.2])
WATCHES = {"number": (watch_number, (1.0, 1.0)), "outputs": (watch_outputs, NEW)}


@pytest.mark.parametrize("kind", WATCHES)
def test_a_change_is_seen_soon_and_nothing_before_it(kind: str) -> None:
    watch, change = WATCHES[kind]
    assert count_alarms(watch(np.random.default_rng(1), change), 2000) == [0] * len(TOLERANCES)
    strict, *tolerant = measure_delays(watch(np.random.default_rng(1), change))
    assert all(strict <= delay < 400 for delay in tolerant)


def test_a_swing_is_one_around_a_mean_that_stays() -> None:
    rng = np.random.default_rng(2)
    assert count_alarms(watch_swing(rng, 2.0), 20_000)[0] > 0
    assert count_alarms(watch_swing(rng, 0.0), 20_000) == [0] * len(TOLERANCES)


def test_the_default_of_the_settings_is_measured() -> None:
    assert DataDrift().tolerance in TOLERANCES


def test_embeddings_are_compared_with_those_so_many_before() -> None:
    bet = watch_embeddings(np.random.default_rng(1), (3.0, 1.0))
    made = np.concatenate([bet(500, True)[0] for _ in range(LAG // 500)])
    # Once all those before have been changed too, nothing can be told any more.
    again = np.concatenate([bet(500, True)[0] for _ in range(8)])
    assert made[2000:].mean() > 0.05
    assert again[3000:].mean() < made[2000:].mean() / 2
