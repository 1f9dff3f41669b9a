"""NannyML's CBPE on the streams of `estimating.run_residuals`: the same draws; prints JSON. Runs in .venv-statistics.

It is fitted on the reference that the calibration is learnt from, and estimates the accuracy of the predictions after
the change in chunks of 5,000, without their labels.
"""

import json
import sys
from typing import Any

import nannyml
import numpy as np
import pandas as pd

SEED, N_STREAMS = int(sys.argv[1]), int(sys.argv[2])
N, CHANGE_AT, CHUNK = 40_000, 20_000, 5_000


def as_frame(confidence: Any, wrong: Any) -> pd.DataFrame:
    """Predictions that are right where the target is 1."""
    return pd.DataFrame(
        {"probability": confidence, "predicted": np.ones(len(confidence), int), "right": (~wrong).astype(int)}
    )


def run() -> dict[str, Any]:
    """How far the estimate is off, in percentage points, and the share of chunks that alert."""
    found: dict[str, Any] = {}
    for name, harder, worse in (
        ("nothing", 0.0, 1.0),
        ("harder inputs", 0.06, 1.0),
        ("worse model", 0.0, 1.9),
    ):
        errors, alerts = [], []
        for number in range(N_STREAMS):
            rng = np.random.default_rng([SEED, 900, number])
            reference = np.clip(rng.beta(16, 1, 20_000), 0.3, 1)
            was_wrong = rng.random(len(reference)) < 0.8 * (1 - reference)
            confidence = np.clip(rng.beta(16, 1, N), 0.3, 1)
            after = np.arange(N) >= CHANGE_AT
            confidence = np.where(after, np.maximum(confidence - harder, 0.3), confidence)
            wrong = rng.random(N) < 0.8 * (1 - confidence) * np.where(after, worse, 1.0)
            estimator = nannyml.CBPE(
                problem_type="classification_binary",
                y_pred="predicted",
                y_pred_proba="probability",
                y_true="right",
                metrics=["accuracy"],
                chunk_size=CHUNK,
            )
            estimator.fit(as_frame(reference, was_wrong))
            frame = as_frame(confidence[after], wrong[after]).drop(columns="right")
            told = estimator.estimate(frame).filter(period="analysis").to_df()["accuracy"]
            errors.append(100 * float((1 - told["value"]).mean() - wrong[after].mean()))
            alerts.append(float(told["alert"].mean()))
        found[name] = {
            "off_by_points": round(float(np.mean(errors)), 2),
            "alerts": round(float(np.mean(alerts)), 3),
        }
    return found


if __name__ == "__main__":
    json.dump(run(), sys.stdout)
