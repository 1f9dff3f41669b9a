"""Examples labelled elsewhere: read once, the same every time, and refused whole when a line does not fit."""

import json

import pytest

from errata.errors import Malformed
from errata.settings import Model, Task
from labeling.founding import read_examples
from labeling.mining import role_of

MODEL = Model(task=Task(kind="number"))


def a_line(**changes) -> bytes:
    return json.dumps({"input": "…", "label": 7, "group": "g1", **changes}).encode()


def test_the_group_decides_the_role_unless_the_line_does():
    lines = [a_line(), b"\n", a_line(group="g2", role="evaluation")]
    first, second = read_examples(lines, "meter", MODEL, now_us=5)
    assert first.role == role_of("g1", MODEL.mining.evaluation_groups_percent, "meter")
    assert (second.role, second.part, second.created_us) == ("evaluation", "founding", 5)


def test_the_same_line_is_the_same_example_and_another_label_another():
    (once,) = read_examples([a_line()], "meter", MODEL, now_us=1)
    (again,) = read_examples([a_line()], "meter", MODEL, now_us=2)
    (other,) = read_examples([a_line(label=8)], "meter", MODEL, now_us=1)
    assert once.id == again.id != other.id


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2: "),
        (a_line(label="seven"), "line 2: the label does not fit the task"),
        (a_line(rôle="x"), "line 2: Object contains unknown field"),
        (b'{"input": 1, "label": 2}', "line 2: .*`group`"),
        (b"\xff", "line 2: "),
    ],
)
def test_a_line_that_does_not_fit_is_named(line, said):
    with pytest.raises(Malformed, match=said):
        read_examples([a_line(), line], "meter", MODEL, now_us=1)
