"""Arbitrary valid events, for properties."""

from hypothesis import strategies as st

from errata.events import Event, FeedbackData, PredictionData, VocData, Who

#: What PostgreSQL and SQLite both store: no NUL, no halves of UTF-16 pairs.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,30}", fullmatch=True)
ids = st.uuids().map(str)
shorts = st.none() | texts
fractions = st.floats(0, 1)
milliseconds = st.none() | st.floats(0, 86_400_000)
tags = st.dictionaries(texts.filter(bool), texts, max_size=4)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
finite = st.floats(allow_nan=False, allow_infinity=False)

predictions = st.builds(
    PredictionData,
    model=names,
    version=names,
    output=json_values,
    confidence=st.none() | fractions,
    probabilities=st.none() | st.dictionaries(texts, fractions, max_size=4),
    input=json_values,
    input_uri=shorts,
    features=st.none() | st.lists(finite, max_size=5) | st.dictionaries(texts, finite, max_size=4),
    latency_ms=milliseconds,
    tags=tags,
    subject=shorts,
    session=shorts,
)
whos = st.builds(Who, kind=st.sampled_from(["user", "annotator", "auditor"]), id=shorts)
feedback = st.builds(
    FeedbackData,
    prediction_id=ids,
    action=st.sampled_from(["accept", "reject"]),
    display_ms=milliseconds,
    who=whos,
) | st.builds(
    FeedbackData,
    prediction_id=ids,
    action=st.just("edit"),
    corrected=json_values.filter(lambda value: value is not None),
    display_ms=milliseconds,
    who=whos,
)
voc = st.builds(
    VocData,
    text=texts.filter(bool),
    rating=st.none() | st.integers(1, 10),
    channel=shorts,
    language=st.none() | st.text("abcdefghijklmnopqrstuvwxyz-", max_size=35),
    prediction_id=st.none() | ids,
    model=st.none() | names,
    tags=tags,
    subject=shorts,
)
times = st.integers(946_684_800_000_000, 4_133_980_799_999_999)
events = st.builds(Event, id=ids, source=texts.filter(bool), time_us=times, data=predictions | feedback | voc)
