"""How far a corrected output is from the shown one, as an integer in parts per million.

Integers make sums exact and free of order; every fraction is rounded half up, but never down to 0: a distance
is 0 exactly when both outputs are equal under the task.
"""

import math
import re
import unicodedata
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from errata.errors import Malformed
from errata.settings import Task

PPM = 1_000_000

#: Texts longer than this are documents, not segments: their words are compared without looking for moved
#: phrases, whose search takes seconds from here on and all memory some thousand words later.
SEGMENT_WORDS = 100
#: JSON nested deeper than this is no output of a model.
MAXIMUM_DEPTH = 64

_HANGUL = re.compile("[가-힣]+")
_EXACT = Task()


def measure_distance(task: Task, shown: Any, corrected: Any) -> int:
    """Return the distance of two outputs in 0..PPM; 0 if and only if they are equal under the task.

    - exact: JSON equality, strings by Unicode's canonical equivalence.
    - text: character error rate, Levenshtein edits / length of `corrected`, at most 1.
    - translation: HTER as in the MLQE-PE data: TER (Snover et al. 2006) of lower-cased words, at most 1. A
      change of case or spacing alone is therefore no distance.
    - number: |shown - corrected| / |corrected|, at most 1; 0 within the tolerance. Numbers are the decimals
      that they are written as, so 0.4 is within 0.1 of 0.3.
    - set: Jaccard distance of lists without order and repetition.
    - boxes: 1 - F1 of the best one-to-one matching of equal labels by overlap.
    - fields: mean over all fields, see `field_distances`.

    Raises Malformed("wrong_type") where a value does not fit the task, naming it as in `shown.total`.
    """
    return _measure(task, shown, corrected, "")


def field_distances(task: Task, shown: Any, corrected: Any) -> dict[str, int]:
    """Return the distance of each field: the configured ones and those that either output has besides.

    A field on one side only is at distance PPM, null being as good as missing. Fields without a task of their
    own are compared as `exact`. Raises Malformed("wrong_type") where a value does not fit its task.
    """
    if task.kind != "fields":
        raise ValueError(f"field_distances needs a task of kind fields, not {task.kind}")
    return _field_distances(task, shown, corrected, "")


def _measure(task: Task, shown: Any, corrected: Any, path: str) -> int:
    ours, theirs = f"shown{path}", f"corrected{path}"
    match task.kind:
        case "exact":
            return 0 if _canonical(shown, ours) == _canonical(corrected, theirs) else PPM
        case "text":
            return _text_distance(task, _text(shown, ours), _text(corrected, theirs))
        case "translation":
            return _translation_distance(_text(shown, ours), _text(corrected, theirs))
        case "number":
            return _number_distance(task, _number(shown, ours), _number(corrected, theirs))
        case "set":
            return _set_distance(_set(shown, ours), _set(corrected, theirs))
        case "boxes":
            return _boxes_distance(task, _boxes(shown, ours), _boxes(corrected, theirs))
        case "fields":
            distances = _field_distances(task, shown, corrected, path)
            return _ppm(sum(distances.values()), len(distances) * PPM)


def _field_distances(task: Task, shown: Any, corrected: Any, path: str) -> dict[str, int]:
    for side, value in (("shown", shown), ("corrected", corrected)):
        if not isinstance(value, Mapping):
            raise _wrong_type(f"{side}{path}", "an object with named fields", value)
    distances = {}
    for name in sorted({*task.fields, *shown, *corrected}):
        ours, theirs = shown.get(name), corrected.get(name)
        if ours is None or theirs is None:
            distances[name] = 0 if ours is theirs else PPM
        else:
            distances[name] = _measure(task.fields.get(name, _EXACT), ours, theirs, f"{path}.{name}")
    return distances


def _ppm(part: int, whole: int) -> int:
    """Return part / whole in parts per million, half up, at most PPM, and 0 only for part 0."""
    if part == 0:
        return 0
    if part >= whole:
        return PPM
    return max(1, (2 * part * PPM + whole) // (2 * whole))


def _text_distance(task: Task, shown: str, corrected: str) -> int:
    shown, corrected = unicodedata.normalize("NFC", shown), unicodedata.normalize("NFC", corrected)
    if task.unit == "jamo":
        shown, corrected = _take_syllables_apart(shown), _take_syllables_apart(corrected)
    return _ppm(Levenshtein.distance(shown, corrected, score_cutoff=len(corrected)), len(corrected))


def _take_syllables_apart(text: str) -> str:
    return _HANGUL.sub(lambda syllables: unicodedata.normalize("NFD", syllables[0]), text)


def _translation_distance(shown: str, corrected: str) -> int:
    # These two steps are all that sacrebleu's TER() does by default. TER() itself keeps every sentence it has
    # seen in a cache, which a process that never ends can't afford.
    words_shown, words_corrected = shown.lower().split(), corrected.lower().split()
    if words_shown == words_corrected:
        return 0
    if max(len(words_shown), len(words_corrected)) > SEGMENT_WORDS:
        return _ppm(Levenshtein.distance(words_shown, words_corrected), len(words_corrected))
    # sacrebleu takes a sixth of a second to import, which only translators should pay.
    from sacrebleu.metrics.lib_ter import translation_edit_rate

    edits, words = translation_edit_rate(words_shown, words_corrected)
    return _ppm(edits, words)


def _number_distance(task: Task, shown: Fraction, corrected: Fraction) -> int:
    difference = abs(shown - corrected)
    if difference <= Fraction(repr(task.tolerance)):
        return 0
    if corrected == 0:
        return PPM
    share = difference / abs(corrected)
    return _ppm(share.numerator, share.denominator)


def _set_distance(shown: frozenset[Hashable], corrected: frozenset[Hashable]) -> int:
    return _ppm(len(shown ^ corrected), len(shown | corrected))


def _boxes_distance(task: Task, shown: "_Boxes", corrected: "_Boxes") -> int:
    boxes = len(shown) + len(corrected)
    return _ppm(boxes - 2 * _count_matches(task.iou, shown, corrected), boxes)


#: Label, left, top, right, bottom of each box.
_Boxes = list[tuple[str, float, float, float, float]]


def _count_matches(iou: float, shown: _Boxes, corrected: _Boxes) -> int:
    """Return the size of the largest one-to-one matching, which makes F1 as good as the boxes allow."""
    if not shown or not corrected:
        return 0
    codes = {box[0]: code for code, box in enumerate(corrected)}
    labels = np.array([codes[box[0]] for box in corrected])
    left, top, right, bottom = np.array([box[1:] for box in corrected]).T
    area = (right - left) * (bottom - top)
    columns, starts = [], [0]
    for label, x0, y0, x1, y1 in shown:
        width = np.minimum(right, x1) - np.maximum(left, x0)
        height = np.minimum(bottom, y1) - np.maximum(top, y0)
        overlap = np.where((width > 0) & (height > 0), width * height, 0.0)
        union = area + (x1 - x0) * (y1 - y0) - overlap
        (same,) = np.nonzero((overlap > 0) & (overlap >= iou * union) & (labels == codes.get(label, -1)))
        columns.append(same.astype(np.int32))
        starts.append(starts[-1] + len(same))
    indices = np.concatenate(columns)
    edges = np.ones(len(indices), dtype=np.int8)
    graph = csr_array((edges, indices, starts), shape=(len(shown), len(corrected)))
    return int(np.count_nonzero(maximum_bipartite_matching(graph) >= 0))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, "a text", value)
    return value


def _number(value: Any, name: str) -> Fraction:
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if not isinstance(value, float) or not math.isfinite(value):
        raise _wrong_type(name, "a finite number", value)
    return Fraction(repr(value))


def _set(value: Any, name: str) -> frozenset[Hashable]:
    if not isinstance(value, list | tuple):
        raise _wrong_type(name, "a list", value)
    for place, item in enumerate(value):
        if item is not None and not isinstance(item, str | bool | int | float):
            raise _wrong_type(f"{name}[{place}]", "a text, number, boolean or null", item)
    return frozenset(_canonical(item, name) for item in value)


def _boxes(value: Any, name: str) -> _Boxes:
    if not isinstance(value, list | tuple):
        raise _wrong_type(name, "a list of boxes", value)
    boxes = []
    for place, box in enumerate(value):
        where = f"{name}[{place}]"
        if not isinstance(box, Mapping):
            raise _wrong_type(where, "an object with label, x, y, width and height", box)
        label = unicodedata.normalize("NFC", _text(box.get("label"), f"{where}.label"))
        x, y = (_coordinate(box.get(key), f"{where}.{key}") for key in ("x", "y"))
        right = x + _coordinate(box.get("width"), f"{where}.width")
        bottom = y + _coordinate(box.get("height"), f"{where}.height")
        # As seen from x and y, so that a box too small for floating point is refused like an empty one.
        if not (right > x and bottom > y and (right - x) * (bottom - y) > 0):
            raise Malformed("wrong_type", f"{where} must have a width and a height above 0")
        boxes.append((label, x, y, right, bottom))
    return boxes


def _coordinate(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e12:
        raise _wrong_type(name, "a number between -1e12 and 1e12", value)
    return float(value)


def _canonical(value: Any, name: str, depth: int = 0) -> Hashable:
    """Return a hashable value that is equal for equal JSON: 1 is 1.0 but not true, objects have no order."""
    if depth > MAXIMUM_DEPTH:
        raise Malformed("wrong_type", f"{name} must not be nested deeper than {MAXIMUM_DEPTH} levels")
    match value:
        case None | bool():
            return ("constant", value)
        case int() | float():
            return value
        case str():
            return unicodedata.normalize("NFC", value)
        case list() | tuple():
            return ("list", *(_canonical(item, name, depth + 1) for item in value))
        case Mapping():
            items = ((key, _canonical(item, name, depth + 1)) for key, item in value.items())
            return ("object", frozenset(items))
    raise _wrong_type(name, "JSON", value)


def _wrong_type(name: str, expected: str, value: Any) -> Malformed:
    names = {str: "a text", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    found = names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")
    return Malformed("wrong_type", f"{name} must be {expected}, not {found}")
