"""What we remember, and the only room that knows SQL: frozen records outside (records.py), SQLAlchemy inside.

Open with `database.open_database`: `with db.read() as c` is one consistent snapshot, `with db.write() as c`
one transaction. Every file is one subject: functions that take the connection `c`, or the database where they
are a transaction of their own. What services send comes in through intake.py, and only there.
"""
