"""API keys of the HTTP intake: whose they are and what may be sent with them; of the key itself only a hash."""

from collections.abc import Mapping
from dataclasses import asdict, replace

from sqlalchemy import Connection, insert, select

from storage.database import Database
from storage.errors import NotFound
from storage.json_text import from_text_or_none, to_text_or_none
from storage.records import ApiKey
from storage.tables import api_keys

_k = api_keys.c


def put_api_key(c: Connection, key: ApiKey) -> None:
    """Store a new key."""
    c.execute(insert(api_keys).values(asdict(key) | {"models": to_text_or_none(key.models)}))


def list_api_keys(c: Connection) -> list[ApiKey]:
    """Every key that was ever made, the oldest first."""
    found = []
    for row in c.execute(select(api_keys).order_by(_k.created_us, _k.id)).mappings():
        models = from_text_or_none(row["models"])
        found.append(ApiKey(**dict(row) | {"models": None if models is None else tuple(models)}))
    return found


def revoke_api_key(c: Connection, key_id: str, now_us: int) -> ApiKey:
    """Make a key good for nothing from now on; one that was revoked before keeps its time. Raises NotFound."""
    found = next((each for each in list_api_keys(c) if each.id == key_id), None)
    if found is None:
        raise NotFound("key", key_id)
    if found.revoked_us is not None:
        return found
    c.execute(api_keys.update().where(_k.id == key_id).values(revoked_us=now_us))
    return replace(found, revoked_us=now_us)


def note_uses(db: Database, days_us: Mapping[str, int]) -> None:
    """Note on which day (its beginning) each key was used last; a later day that is noted already stays."""
    if not days_us:
        return
    with db.write() as c:
        for key_id, day_us in sorted(days_us.items()):
            older = _k.last_used_us.is_(None) | (_k.last_used_us < day_us)
            c.execute(api_keys.update().where(_k.id == key_id, older).values(last_used_us=day_us))
