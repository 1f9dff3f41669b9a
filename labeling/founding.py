"""Examples from before there were users: labelled elsewhere, imported once, one JSON object per line.

    {"input": ..., "label": ..., "group": "writer-07", "role": "training"}

`group` is whose data it is; examples of one group share a role. `role` may be left out: then the group decides, as it
does for mined examples. Without examples to judge on, the gate has nothing to compare with and keeps the champion.
"""

import hashlib
import uuid
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from errata.errors import Malformed
from errata.events import encode_json
from errata.settings import Model
from labeling.mining import role_of
from quality.distances import measure_distance
from storage.records import Example


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file."""

    input: Any
    label: Any
    group: str
    role: Literal["training", "evaluation"] | None = None


def read_examples(lines: Iterable[bytes], name: str, model: Model, now_us: int) -> list[Example]:
    """The examples of `model` named `name` in `lines`; the same line gives the same example every time.

    Raises Malformed, naming the line, for one that does not fit; then none of the file should be stored.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            read = msgspec.json.decode(line, type=Line)
            measure_distance(model.task, read.label, read.label)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed("bad_example", f"line {number}: {error}") from error
        except Malformed as error:
            raise Malformed(
                "bad_example", f"line {number}: the label does not fit the task: {error}"
            ) from error
        digest = hashlib.sha256(encode_json([name, read.group, read.input, read.label])).hexdigest()
        found.append(
            Example(
                id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"errata:{digest}")),
                model=name,
                input=read.input,
                label=read.label,
                group=read.group,
                role=read.role or role_of(read.group, model.mining.evaluation_groups_percent, name),
                part="founding",
                batch_id=None,
                created_us=now_us,
            )
        )
    return found
