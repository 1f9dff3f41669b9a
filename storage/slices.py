"""Which slices a prediction is counted under: its tags, as long as they do not make windows without end.

Whoever can send events can invent tags, and every new one makes windows. Per model and hour of predictions,
each tag has at most `slice_values_per_hour` values of its own, and there are at most as many tags. A further
value is counted as `tag=__other__`, a further tag as `__other__=__other__`. What a prediction was counted
under is stored with it, so that a recount needs no memory of the order in which the values came.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, and_, select

from quality import windows
from storage.insertion import insert_new, list_keys
from storage.json_text import to_text
from storage.locks import lock_slice_values
from storage.tables import slice_values

ALL: Final = windows.ALL
OTHER: Final = "__other__"

#: The tag under which the names of tags are values themselves. No tag has an empty name.
_NAMES: Final = ""

#: Model, hour and tag: what has a limited number of values.
_Group = tuple[str, int, str]

_read_tags: Final = msgspec.json.Decoder(dict[str, str]).decode


#: What the slices of a prediction depend on, and many predictions share: model, hour, and tags as JSON.
Tagged = tuple[str, int, str]


def assign_slices(c: Connection, tagged: Sequence[Tagged], values_per_hour: int) -> dict[Tagged, str]:
    """The slices of each of `tagged` as a JSON list without `all`; registers values that are new and have room.

    The first values are the ones that have room, so `tagged` are in the order in which they came.
    """
    tags = {each: _read_tags(each[2]) for each in tagged}
    wanted = _wanted_values(tags)
    known = _read_known(c, wanted)
    if _choose_new(wanted, known, values_per_hour):
        lock_slice_values(c)
        known = _read_known(c, wanted)
        new = sorted(_choose_new(wanted, known, values_per_hour))
        names = ("model", "hour_us", "tag", "value")
        insert_new(c, slice_values, [dict(zip(names, (*group, value), strict=True)) for group, value in new])
        for group, value in new:
            known[group].add(value)
    return {each: to_text(_slices_of(each, values, known)) for each, values in tags.items()}


def _wanted_values(tags: Mapping[Tagged, Mapping[str, str]]) -> dict[_Group, dict[str, None]]:
    """The values of each group in the order in which they came."""
    wanted: dict[_Group, dict[str, None]] = defaultdict(dict)
    for (model, hour_us, _), values in tags.items():
        for tag, value in values.items():
            wanted[model, hour_us, _NAMES][tag] = None
            wanted[model, hour_us, tag][value] = None
    return wanted


def hour_of(time_us: int) -> int:
    """The start of the hour that a time lies in."""
    return time_us - time_us % windows.HOUR_US


def _read_known(c: Connection, groups: dict[_Group, dict[str, None]]) -> dict[_Group, set[str]]:
    known: dict[_Group, set[str]] = defaultdict(set)
    if groups:
        s = slice_values.c
        key = list_keys(c, [s.model, s.hour_us, s.tag], list(groups))
        same = and_(s.model == key.c.model, s.hour_us == key.c.hour_us, s.tag == key.c.tag)
        for row in c.execute(select(slice_values).join(key, same)):
            known[row.model, row.hour_us, row.tag].add(row.value)
    return known


def _choose_new(
    wanted: dict[_Group, dict[str, None]], known: dict[_Group, set[str]], limit: int
) -> list[tuple[_Group, str]]:
    """The values that are not known yet and have room; a tag without room for its name gets none."""
    chosen: list[tuple[_Group, str]] = []
    for group, values in wanted.items():
        room = limit - len(known[group])
        chosen += [(group, value) for value in values if value not in known[group]][: max(room, 0)]
    names = {(group[:2], name) for group, name in chosen if group[2] == _NAMES}
    return [
        (group, value)
        for group, value in chosen
        if group[2] == _NAMES or group[2] in known[*group[:2], _NAMES] or (group[:2], group[2]) in names
    ]


def _slices_of(tagged: Tagged, values: Mapping[str, str], known: Mapping[_Group, set[str]]) -> list[str]:
    model, hour_us, _ = tagged
    slices = set()
    for tag, value in values.items():
        if tag not in known[model, hour_us, _NAMES]:
            slices.add(f"{OTHER}={OTHER}")
        elif value not in known[model, hour_us, tag]:
            slices.add(f"{tag}={OTHER}")
        else:
            slices.add(f"{tag}={value}")
    return sorted(slices)
