"""How far a corrected output is from the shown one."""

import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import TER

from errata.errors import Malformed
from errata.settings import Task
from quality.distances import PPM, SEGMENT_WORDS, field_distances, measure_distance

EXACT = Task()
TEXT = Task(kind="text")
JAMO = Task(kind="text", unit="jamo")
TRANSLATION = Task(kind="translation")
NUMBER = Task(kind="number", tolerance=0.1)
SET = Task(kind="set")
BOXES = Task(kind="boxes", iou=0.5)
RECEIPT = Task(kind="fields", fields={"shop": TEXT, "total": NUMBER, "items": SET})

texts = st.text(max_size=12)
words = st.lists(st.sampled_from(["a", "b", "c", "D", "e"]), max_size=9).map(" ".join)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
coordinates = st.integers(-40, 40) | st.floats(-40, 40)
sizes = st.integers(1, 40) | st.floats(0.01, 40)
boxes = st.lists(
    st.fixed_dictionaries(
        {"label": st.sampled_from("ab"), "x": coordinates, "y": coordinates, "width": sizes, "height": sizes}
    ),
    max_size=5,
)
receipts = st.fixed_dictionaries(
    {},
    optional={"shop": texts | st.none(), "total": numbers, "items": st.lists(scalars), "note": json_values},
)

OUTPUTS: list[tuple[Task, st.SearchStrategy[Any]]] = [
    (EXACT, json_values),
    (TEXT, texts),
    (JAMO, st.text(alphabet="가각간감나난ab ", max_size=8)),
    (TRANSLATION, words),
    (NUMBER, numbers),
    (SET, st.lists(scalars, max_size=6)),
    (BOXES, boxes),
    (RECEIPT, receipts),
]
per_task = pytest.mark.parametrize(
    ("task", "outputs"), OUTPUTS, ids=[task.kind + task.unit for task, _ in OUTPUTS]
)


@per_task
@given(data=st.data())
def test_a_distance_is_an_integer_from_0_to_a_million(task: Task, outputs: Any, data: st.DataObject) -> None:
    distance = measure_distance(task, data.draw(outputs), data.draw(outputs))
    assert type(distance) is int
    assert 0 <= distance <= PPM


@per_task
@given(data=st.data())
def test_an_output_is_at_no_distance_from_itself(task: Task, outputs: Any, data: st.DataObject) -> None:
    output = data.draw(outputs)
    assert measure_distance(task, output, output) == 0


@pytest.mark.parametrize(
    ("task", "outputs"), [OUTPUTS[0], OUTPUTS[5], OUTPUTS[6]], ids=["exact", "set", "boxes"]
)
@given(data=st.data())
def test_both_sides_see_the_same_distance(task: Task, outputs: Any, data: st.DataObject) -> None:
    shown, corrected = data.draw(outputs), data.draw(outputs)
    assert measure_distance(task, shown, corrected) == measure_distance(task, corrected, shown)


@given(a=st.sets(st.integers(0, 9)), b=st.sets(st.integers(0, 9)), c=st.sets(st.integers(0, 9)))
def test_the_distance_of_sets_obeys_the_triangle_inequality(a: set[int], b: set[int], c: set[int]) -> None:
    direct = measure_distance(SET, list(a), list(c))
    # One for each rounding.
    assert direct <= measure_distance(SET, list(a), list(b)) + measure_distance(SET, list(b), list(c)) + 2


@pytest.mark.parametrize(
    ("shown", "corrected", "distance"),
    [
        (1, 1.0, 0),
        (1, True, PPM),
        (0, False, PPM),
        (None, False, PPM),
        ("1", 1, PPM),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, 0),
        ([1, 2], [2, 1], PPM),
        ([], {}, PPM),
        ("caf\u00e9", "cafe\u0301", 0),
    ],
)
def test_exact_is_equality_of_json(shown: Any, corrected: Any, distance: int) -> None:
    assert measure_distance(EXACT, shown, corrected) == distance


@pytest.mark.parametrize(
    ("shown", "corrected", "distance"),
    [
        ("kitten", "sitting", 428_571),
        ("abc", "", PPM),
        ("", "", 0),
        ("", "abc", PPM),
        ("a long wrong text", "ok", PPM),
        ("각", "간", PPM),
        ("\u1100\u1161", "가", 0),
        ("ab" * 500_000, "ab" * 499_999 + "ac", 1),
    ],
)
def test_text_is_the_character_error_rate(shown: str, corrected: str, distance: int) -> None:
    assert measure_distance(TEXT, shown, corrected) == distance


@pytest.mark.parametrize(
    ("shown", "corrected", "distance"),
    [
        ("각", "간", 333_333),
        ("가", "각", 333_333),
        ("안녕", "안녕", 0),
        ("aé", "ae", 500_000),
        ("안녕", "안냥", 166_667),
    ],
)
def test_jamo_counts_a_wrong_letter_as_part_of_its_syllable(
    shown: str, corrected: str, distance: int
) -> None:
    assert measure_distance(JAMO, shown, corrected) == distance


#: Rows of MLQE-PE English to German (CC0): machine translation, human post-edit, published HTER.
POST_EDITS = [
    (
        "Hinter ihnen hockten Soldaten und standen mit Sturmgewehren .",
        "Hinter ihnen hockten und standen Soldaten mit Sturmgewehren .",
        "0.111111",
    ),
    (
        "Australien ging dann zu The Oval für den fünften Test .",
        "Australien ging dann für den fünften Test zum The Oval .",
        "0.272727",
    ),
    (
        "Manchmal Francks würde eine sekundäre M.A.D. darstellen",
        "Manchmal würde Francks ein zweites M.A.D. darstellen",
        "0.428571",
    ),
    (
        "Und hebe die schaumigen Schwellungen bis zum Sternenhimmel ,",
        "Und bis zum Sternenhimmel schaumgekrönte Wogen schleudern ,",
        "0.625",
    ),
    (
        "1934 besuchte José Ortega y Gasset Husserl in Freiburg .",
        "1934 besuchte José Ortega y Gasset Husserl in Freiburg .",
        "0.0",
    ),
]


@pytest.mark.parametrize(("shown", "corrected", "hter"), POST_EDITS)
def test_translation_reproduces_published_hter(shown: str, corrected: str, hter: str) -> None:
    assert measure_distance(TRANSLATION, shown, corrected) == round(float(hter) * PPM)


@given(shown=words, corrected=words)
def test_translation_is_what_sacrebleu_scores(shown: str, corrected: str) -> None:
    score = TER().sentence_score(shown, [corrected]).score
    assert measure_distance(TRANSLATION, shown, corrected) == pytest.approx(
        min(score, 100) * PPM / 100, abs=0.51
    )


def test_a_moved_phrase_is_one_edit_and_case_none() -> None:
    assert measure_distance(TRANSLATION, "to the station we went", "We went to the station") == 200_000


def test_a_document_is_compared_in_bounded_time_and_memory() -> None:
    shown = " ".join(str(place) for place in range(3000))
    corrected = " ".join(str(place) for place in reversed(range(3000)))
    tracemalloc.start()
    begin = time.perf_counter()
    distance = measure_distance(TRANSLATION, shown, corrected)
    assert time.perf_counter() - begin < 2
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert distance == PPM


def test_beyond_a_segment_a_moved_phrase_is_removed_and_put_in() -> None:
    phrase = [f"w{place}" for place in range(SEGMENT_WORDS)]
    moved = [*phrase[5:20], *phrase[:5], *phrase[20:]]
    assert measure_distance(TRANSLATION, " ".join(moved), " ".join(phrase)) == 10_000
    longer = ["start", *phrase]
    moved = ["start", *moved]
    assert measure_distance(TRANSLATION, " ".join(moved), " ".join(longer)) == round(10 / 101 * PPM)


@pytest.mark.parametrize(
    ("shown", "corrected", "distance"),
    [
        (0.4, 0.3, 0),
        (100, 100.1, 0),
        (100, 100.2, 1996),
        (-1, 1, PPM),
        (1, 0, PPM),
        (0.05, 0, 0),
        (12.5, 10, 250_000),
        (10**400, 10**400, 0),
        (10**400, 10**400 + 1, 1),
        (1e308, -1e308, PPM),
    ],
)
def test_number_is_relative_to_the_corrected_value(shown: float, corrected: float, distance: int) -> None:
    assert measure_distance(NUMBER, shown, corrected) == distance


@pytest.mark.parametrize(
    ("shown", "corrected", "distance"),
    [
        (["a", "b"], ["b", "a", "a"], 0),
        (["a", "b"], ["b", "c"], 666_667),
        ([], [], 0),
        ([], ["a"], PPM),
        ([1], [True], PPM),
        ([1], [1.0], 0),
        ([None], [], PPM),
    ],
)
def test_set_is_the_jaccard_distance(shown: list[Any], corrected: list[Any], distance: int) -> None:
    assert measure_distance(SET, shown, corrected) == distance


def box(x: float, y: float, width: float, height: float, label: str = "cat") -> dict[str, Any]:
    return {"label": label, "x": x, "y": y, "width": width, "height": height}


@pytest.mark.parametrize(
    ("shown", "corrected", "distance"),
    [
        ([], [], 0),
        ([box(0, 0, 10, 10)], [], PPM),
        ([box(0, 0, 10, 10)], [box(0, 0, 10, 5)], 0),
        ([box(0, 0, 10, 10)], [box(0, 0, 10, 4.9)], PPM),
        ([box(0, 0, 10, 10)], [box(0, 0, 10, 10, "dog")], PPM),
        ([box(0, 0, 10, 10), box(50, 0, 9, 9)], [box(1, 0, 10, 10)], 333_333),
        ([box(0, 0, 10, 10), box(0, 0, 10, 10)], [box(0, 0, 10, 10)], 333_333),
    ],
)
def test_boxes_are_matched_by_label_and_overlap(
    shown: list[Any], corrected: list[Any], distance: int
) -> None:
    assert measure_distance(BOXES, shown, corrected) == distance


def test_boxes_are_matched_so_that_most_find_a_partner() -> None:
    # The first overlaps both others, most with the one that the second needs.
    shown = [box(0, 0, 10, 10), box(3, 0, 10, 10)]
    corrected = [box(-3, 0, 10, 10), box(0, 0, 10, 10)]
    assert measure_distance(BOXES, shown, corrected) == 0


def test_fields_are_measured_each_by_its_own_task() -> None:
    shown = {"shop": "Kafe", "total": 10, "items": ["tea"], "table": 4}
    corrected = {"shop": "Cafe", "total": 10.05, "items": ["tea", "pie"], "table": 5}
    distances = {"shop": 250_000, "total": 0, "items": 500_000, "table": PPM}
    assert field_distances(RECEIPT, shown, corrected) == distances
    assert measure_distance(RECEIPT, shown, corrected) == 437_500


def test_a_missing_field_is_wholly_wrong_and_null_is_missing() -> None:
    corrected = {"shop": "Cafe", "total": None, "tip": 1}
    assert field_distances(RECEIPT, {"shop": None}, corrected) == {
        "shop": PPM,
        "total": 0,
        "items": 0,
        "tip": PPM,
    }


def test_fields_may_hold_fields() -> None:
    task = Task(kind="fields", fields={"address": Task(kind="fields", fields={"zip": TEXT})})
    assert field_distances(task, {"address": {"zip": "1234"}}, {"address": {"zip": "1235"}}) == {
        "address": 250_000
    }
    with pytest.raises(Malformed, match=r"corrected\.address\.zip must be a text, not a number"):
        measure_distance(task, {"address": {"zip": "1234"}}, {"address": {"zip": 1235}})


def test_only_fields_have_field_distances() -> None:
    with pytest.raises(ValueError, match="kind fields, not text"):
        field_distances(TEXT, "a", "b")


def nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("task", "shown", "corrected", "message"),
    [
        (TEXT, "a", 1, "corrected must be a text, not a number"),
        (TRANSLATION, None, "a", "shown must be a text, not null"),
        (NUMBER, "1", 1, "shown must be a finite number, not a text"),
        (NUMBER, 1, True, "corrected must be a finite number, not a boolean"),
        (NUMBER, 1, float("inf"), "corrected must be a finite number"),
        (SET, {"a": 1}, [], "shown must be a list, not an object"),
        (SET, [], ["a", ["b"]], r"corrected\[1\] must be a text, number, boolean or null, not a list"),
        (RECEIPT, {}, [], "corrected must be an object with named fields, not a list"),
        (RECEIPT, {"total": "x"}, {"total": 1}, r"shown\.total must be a finite number, not a text"),
        (BOXES, [1], [], r"shown\[0\] must be an object with label, x, y, width and height, not a number"),
        (BOXES, [], [box(0, 0, 1, 1) | {"x": "0"}], r"corrected\[0\]\.x must be a number between"),
        (BOXES, [], [box(0, 0, 1, 10**400)], r"corrected\[0\]\.height must be a number between"),
        (BOXES, [], [box(0, 0, float("nan"), 1)], r"corrected\[0\]\.width must be a number between"),
        (BOXES, [box(0, 0, 0, 5)], [], r"shown\[0\] must have a width and a height above 0"),
        (BOXES, [box(0, 0, -5, -5)], [], r"shown\[0\] must have a width and a height above 0"),
        (BOXES, [box(1e12, 0, 1e-9, 1)], [], r"shown\[0\] must have a width and a height above 0"),
        (EXACT, nest(2000), [], "shown must not be nested deeper than 64 levels"),
        (EXACT, object(), [], "shown must be JSON, not a object"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(task: Task, shown: Any, corrected: Any, message: str) -> None:
    with pytest.raises(Malformed, match=message) as caught:
        measure_distance(task, shown, corrected)
    assert caught.value.reason == "wrong_type"


@settings(max_examples=30)
@given(data=st.data(), task=st.sampled_from([task for task, _ in OUTPUTS]))
def test_whatever_json_comes_is_measured_or_set_aside(data: st.DataObject, task: Task) -> None:
    shown, corrected = data.draw(json_values), data.draw(json_values)
    with suppress(Malformed):
        assert 0 <= measure_distance(task, shown, corrected) <= PPM
