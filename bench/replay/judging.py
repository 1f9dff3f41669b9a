"""What `errata report --json` says of a replayed file, beside the direct computation: every difference is named."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bench.replay.direct import PPM, Direct

TOLERANCE: Final = 1e-9


def compare(report: Mapping[str, Any], model: str, direct: Mapping[str, Direct]) -> list[str]:
    """The differences in n, rates, distance and calibration, of every slice; none where all agree.

    Counts must be equal, and what is divided once; what is a mean of numbers that are no integers within 1e-9.
    """
    numbers = {row["slice"]: row for row in report["numbers"] if row["model"] == model}
    calibration = {row["slice"]: row for row in report["calibration"] if row["model"] == model}
    corrections = [row for row in report["corrections"] if row["model"] == model]
    differences = []
    if numbers.keys() != direct.keys():
        differences.append(f"slices {sorted(numbers)} where the file has {sorted(direct)}")
    if calibration.keys() != {name for name, each in direct.items() if each.n_confident}:
        differences.append(f"calibration of {sorted(calibration)}, which are other slices than the file's")
    for name in direct.keys() & numbers.keys():
        checks = [*_of_numbers(numbers[name], direct[name])]
        if name in calibration and direct[name].n_confident:
            checks += _of_calibration(calibration[name], direct[name])
        differences += [
            f"{model} {name}: {what} is {found}, directly {computed}"
            for what, found, computed, allowed in checks
            if found is None or abs(found - computed) > allowed
        ]
    whole = direct["all"]
    told = [row["so_far"]["value"] for row in corrections]
    if told != [(whole.n_edit + whole.n_reject) / whole.n]:
        differences.append(f"{model}: corrected so far {told}")
    return differences


#: What is compared, what the report says, what the file says, and how far they may be apart.
_Check = tuple[str, float | None, float, float]


def _of_numbers(row: Mapping[str, Any], direct: Direct) -> Iterator[_Check]:
    yield "n", row["n"], direct.n, 0
    for action in ("edit", "accept", "reject"):
        rate = row[f"{action}_rate"]
        k = getattr(direct, f"n_{action}")
        yield f"{action}s", round(rate["value"] * rate["n"]), k, 0
        yield f"{action} rate", rate["value"], k / direct.n, 0
    if direct.n_distance:
        distance = row["distance"]
        yield "distances", distance["n"], direct.n_distance, 0
        yield (
            "sum of distances in ppm",
            round(distance["value"] * distance["n"] * PPM),
            direct.distance_ppm,
            0,
        )
        yield "distance", distance["value"], direct.distance_ppm / PPM / direct.n_distance, TOLERANCE


def _of_calibration(row: Mapping[str, Any], direct: Direct) -> Iterator[_Check]:
    yield "answers with confidence", row["accuracy"]["n"], direct.n_confident, 0
    yield "accuracy", row["accuracy"]["value"], direct.n_right / direct.n_confident, 0
    yield "accuracy promised", row["expected"], float(direct.confidence / direct.n_confident), TOLERANCE
    yield "Brier score", row["brier"], float(direct.squares / direct.n_confident), TOLERANCE
    yield "answers in steps", sum(step["n"] for step in row["steps"]), direct.n_confident, 0


def figures(
    report: Mapping[str, Any], model: str, slices: tuple[str, ...] = ("all",)
) -> list[dict[str, Any]]:
    """The figures of a model as the report has them, for people to read."""
    found = []
    calibration = {row["slice"]: row for row in report["calibration"] if row["model"] == model}
    for row in report["numbers"]:
        if row["model"] != model or not row["slice"].startswith(slices):
            continue
        of = calibration.get(row["slice"])
        found.append(
            {
                "slice": row["slice"],
                "n": row["n"],
                "edit_rate": _rounded(row["edit_rate"]["value"]),
                "edit_rate_interval": [_rounded(row["edit_rate"][bound]) for bound in ("low", "high")],
                "accept_rate": _rounded(row["accept_rate"]["value"]),
                "distance": _rounded(row["distance"]["value"]),
                "promised": _rounded(of["expected"] if of else None),
                "brier": _rounded(of["brier"] if of else None),
                "calibration_error": _rounded(of["calibration_error"] if of else None),
            }
        )
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
