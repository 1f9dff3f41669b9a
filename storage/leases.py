"""Leases: one process at a time runs a timer or carries out a run, however many there are."""

from sqlalchemy import or_

from storage.database import Database
from storage.insertion import insert_new
from storage.tables import leases


def take_lease(db: Database, name: str, holder: str, now_us: int, ttl_us: int) -> bool:
    """Take the lease `name` until `now_us + ttl_us`, or prolong it; False while another holder has it.

    The holders' clocks are compared, so `ttl_us` must be longer than they may differ.
    """
    with db.write() as c:
        insert_new(c, leases, [{"name": name, "holder": holder, "until_us": now_us}])
        taken = c.execute(
            leases.update()
            .where(leases.c.name == name)
            .where(or_(leases.c.holder == holder, leases.c.until_us <= now_us))
            .values(holder=holder, until_us=now_us + ttl_us)
        )
        return taken.rowcount == 1
