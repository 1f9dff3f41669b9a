"""Whether events that a client has encoded fit the wire: hundreds of them in one look.

`decode_event` of errata/wire.py says it of one event, with the reason, and takes most of its time for what a
client knows already: that its ids, times and source are right, and that a model's name was right the time
before. Here the data alone is checked, of many events at once and at the speed of C. What does not pass is to be
looked at one by one.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT, Raw, Struct

from errata.events import INLINE_BYTES, FeedbackData, Name, PredictionData, VocData
from errata.topics import FEEDBACK, PREDICTIONS, VOC
from errata.wire import LEVELS, TEXT_BEFORE_DATA, join_batch

#: What a lean struct has in place of a field's type: names were looked at before, any JSON stays as it is.
_LEAN: Final[dict[Any, Any]] = {Name: str, Any: Raw}
_DIGITS_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER: Final = b"0" * 19
_CURLY_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def _lean(data: type[Struct]) -> type[Struct]:
    """A struct that accepts what `data` does, and names of any form."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(data):
        kind = _LEAN.get(field.type, field.type)
        if field.required:
            fields.append((field.name, kind))
        elif field.default_factory is not NODEFAULT:
            fields.append((field.name, kind, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((field.name, kind, field.default))
    return msgspec.defstruct(f"Lean{data.__name__}", fields, kw_only=True, gc=False)


_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    PREDICTIONS: msgspec.json.Decoder(list[_lean(PredictionData)]),  # type: ignore[misc]
    FEEDBACK: msgspec.json.Decoder(list[FeedbackData]),
    VOC: msgspec.json.Decoder(list[VocData]),
}


def fit_the_wire(topic: str, raws: Sequence[bytes]) -> bool:
    """True only if `decode_event` accepts each of `raws`; False may be a false alarm.

    They are as `encode_event` writes them, of one topic and source, and it is taken for granted that id, time and
    source are right, and of predictions the names of model and version.
    """
    # Where the data begins is the same for all of them; of what has another form, no data would be whole.
    start = raws[0].find(TEXT_BEFORE_DATA) + len(TEXT_BEFORE_DATA)
    batch = join_batch([raw[start:-1] for raw in raws])
    if len(batch) > INLINE_BYTES and max(map(len, raws)) > INLINE_BYTES:
        return False
    if (b"\\" in batch and b"\\u0000" in batch) or _LONG_INTEGER in batch.translate(_DIGITS_AS_ZEROS):
        return False
    # The brackets alone, peeled from the inside; those within texts spoil it, which is a false alarm.
    brackets = batch.translate(_CURLY_AS_SQUARE, _ALL_BUT_BRACKETS)
    for _ in range(LEVELS + 1):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")
    try:
        n_found = len(_DECODERS[topic].decode(batch))
    except ValueError:
        return False
    return n_found == len(raws) and not brackets
