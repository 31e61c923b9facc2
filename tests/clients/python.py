"""pyrqlite as an application uses it. Started by run.py, which says in RQ_TOLD where the nodes are."""
import datetime
import json
import logging
import os
import sys
import time
import traceback

import pyrqlite.dbapi2 as dbapi
from pyrqlite.cursors import Cursor
from pyrqlite.connections import Connection

TOLD = json.loads(os.environ["RQ_TOLD"])
FAILOVER_LIMIT_S = 20
BYTES = bytes(range(256))

logging.disable(logging.CRITICAL)  # pyrqlite logs every refusal; here they are wanted
CALLS = 0


def counted(cls, name):
    plain = getattr(cls, name)

    def call(*arguments, **named):
        global CALLS
        CALLS += 1
        return plain(*arguments, **named)

    setattr(cls, name, call)


for each in ("execute", "executemany", "fetchone", "fetchmany", "fetchall"):
    counted(Cursor, each)
for each in ("__init__", "cursor", "ping", "close", "_fetch_response"):
    counted(Connection, each)


def connect(port, **more):
    return dbapi.connect(host="localhost", port=port, **more)


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def refused(action, words=""):
    try:
        action()
    except dbapi.Error as why:
        assert words in str(why), f"refused with {why}, want {words!r}"
        return
    raise AssertionError("it was not refused")


def rows(cursor, sql, *parameters, **named):
    return [tuple(row) for row in cursor.execute(sql, *parameters, **named).fetchall()]


def patiently(cursor, sql, done, **named):
    """While nobody leads, a node answers 503, or 200 with an error for the whole request, which pyrqlite does not notice:
    `done` looks whether there was a result. pyrqlite leaves trying again to the application."""
    until = time.monotonic() + FAILOVER_LIMIT_S
    while True:
        try:
            if done(cursor.execute(sql, **named)):
                return cursor
        except dbapi.Error:
            pass
        assert time.monotonic() < until, f"no answer after the leader's death: {sql}"
        time.sleep(0.05)


# ---- one connection ----------------------------------------------------------------------------------------


def test_write_and_read(leader, _followers):
    with leader.cursor() as c:
        c.execute("CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT)")
        c.execute("INSERT INTO foo(name) VALUES(?)", ("fiona",))
        equal(c.lastrowid, 1)
        c.executemany("INSERT INTO foo(name) VALUES(?)", [("a",), ("b'c",), (None,)])
        equal(c.rowcount, 3)
        c.execute("UPDATE foo SET name='x' WHERE id<:limit", {"limit": 3})
        equal(c.rowcount, 2)
        c.execute("DELETE FROM foo WHERE id=99")
        equal(c.rowcount, 0)
        equal(rows(c, "SELECT id, name FROM foo ORDER BY id"), [(1, "x"), (2, "x"), (3, "b'c"), (4, None)])
        equal([column[0] for column in c.description], ["id", "name"])
        equal(c.rowcount, 4)


def test_fetching(leader, _followers):
    with leader.cursor() as c:
        c.execute("CREATE TABLE many (n INTEGER)")
        c.executemany("INSERT INTO many VALUES(?)", [(i,) for i in range(100)])
        equal(c.rowcount, 100)
        c.execute("SELECT n FROM many ORDER BY n")
        equal(c.fetchone()[0], 0)
        equal([r[0] for r in c.fetchmany(9)], list(range(1, 10)))
        equal([r[0] for r in c.fetchall()], list(range(10, 100)))
        equal(c.fetchone(), None)
        equal([r["n"] for r in c.execute("SELECT n FROM many WHERE n<?", (5,))], [0, 1, 2, 3, 4])
        equal(rows(c, "SELECT n FROM many WHERE n>1000"), [])
        equal([column[0] for column in c.description], ["n"])


def test_values(leader, _followers):
    values = [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), 1.5, -0.1, 1e300, 1e-7, 1 / 3, "", "text", "it's \"quoted\"", "<&>\n\t\\",
              "漢字 😀 é", "x" * 5000, None]
    with leader.cursor() as c:
        c.execute("CREATE TABLE any_value (id INTEGER PRIMARY KEY, v)")
        for i, value in enumerate(values):
            c.execute("INSERT INTO any_value VALUES(?,?)", (i, value))
            equal(rows(c, "SELECT v FROM any_value WHERE id=?", (i,)), [(value,)])


def test_blobs(leader, _followers):
    with leader.cursor() as c:
        c.execute("CREATE TABLE blobs (id INTEGER PRIMARY KEY, b BLOB)")
        for i, value in enumerate([b"", b"\0", BYTES, BYTES * 40]):
            c.execute("INSERT INTO blobs VALUES(?,?)", (i, value))
            equal(rows(c, "SELECT b FROM blobs WHERE id=?", (i,)), [(value,)])


def test_dates(leader, _followers):
    typed = connect(TOLD["leader"], detect_types=dbapi.PARSE_DECLTYPES)
    with typed.cursor() as c:
        c.execute("CREATE TABLE dates (d DATE, t TIMESTAMP, x DATETIME, b BOOL)")
        day, moment = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 23, 59, 58, 123456)
        c.execute("INSERT INTO dates VALUES(?,?,?,?)", (day, moment, moment, True))
        equal(rows(c, "SELECT d, t, x, b FROM dates"), [(day, moment, "2024-02-29 23:59:58.123456", True)])
        c.execute("INSERT INTO dates VALUES(NULL,NULL,NULL,NULL)")
        equal(rows(c, "SELECT d, t, x, b FROM dates WHERE d IS NULL"), [(None, None, None, None)])
    typed.close()


def test_schema(leader, _followers):
    with leader.cursor() as c:
        c.execute("CREATE TABLE shape (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL DEFAULT 'x')")
        equal(rows(c, "PRAGMA table_info(shape)"),
              [(0, "id", "INTEGER", 0, None, 1), (1, "name", "VARCHAR(20)", 1, "'x'", 0)])
        equal(rows(c, "SELECT NULL, 3, 3.0, 'a'"), [(None, 3, 3, "a")])


def test_refusals(leader, _followers):
    with leader.cursor() as c:
        c.execute("CREATE TABLE unique_names (name TEXT UNIQUE)")
        c.execute("INSERT INTO unique_names VALUES('a')")
        refused(lambda: c.execute("INSERT INTO unique_names VALUES('a')"), "UNIQUE constraint failed: unique_names.name")
        refused(lambda: c.execute("SELECT * FROM nowhere"), "no such table: nowhere")
        refused(lambda: c.execute("INSERT INTO nowhere VALUES(1)"), "no such table: nowhere")
        refused(lambda: c.execute("SELECT FROM"), "syntax error")
        refused(lambda: c.execute("SELECT ?", (1, 2)))
        equal(rows(c, "SELECT name FROM unique_names"), [("a",)])


def test_transaction(leader, _followers):
    with leader.cursor() as c:
        c.execute("CREATE TABLE whole (n INTEGER UNIQUE)")
        c.executemany("INSERT INTO whole VALUES(?)", [(1,), (2,), (1,), (3,)])
        equal(rows(c, "SELECT n FROM whole"), [])
        c.executemany("INSERT INTO whole VALUES(?)", [(1,), (2,), (3,)])
        equal(rows(c, "SELECT n FROM whole ORDER BY n"), [(1,), (2,), (3,)])
        leader.commit()
        leader.rollback()  # pyrqlite has neither; an application calls them all the same
        equal(rows(c, "SELECT count(*) FROM whole"), [(3,)])


def test_queued(leader, _followers):
    with leader.cursor() as c:
        c.execute("CREATE TABLE queued (n INTEGER)")
        for i in range(50):
            c.execute("INSERT INTO queued VALUES(?)", (i,), queue=True)
        c.execute("INSERT INTO queued VALUES(?)", (50,), queue=True, wait=True)
        equal(rows(c, "SELECT n FROM queued ORDER BY rowid"), [(i,) for i in range(51)])
        c.executemany("INSERT INTO queued VALUES(?)", [(51,), (52,)], queue=True, wait=True)
        equal(rows(c, "SELECT count(*) FROM queued"), [(53,)])


# ---- several nodes ----------------------------------------------------------------------------------------


def test_levels(leader, followers):
    leader.cursor().execute("CREATE TABLE levels (n INTEGER)")
    for i, connection in enumerate([leader, *followers]):
        with connection.cursor() as c:
            c.execute("INSERT INTO levels VALUES(?)", (i,))
            for level in ("weak", "linearizable", "strong", "auto", None):
                equal(rows(c, "SELECT n FROM levels ORDER BY n", consistency=level), [(n,) for n in range(i + 1)])
            assert rows(c, "SELECT count(*) FROM levels", consistency="none")[0][0] <= i + 1


def test_many_writes_everywhere(leader, followers):
    leader.cursor().execute("CREATE TABLE everywhere (id INTEGER PRIMARY KEY, n INTEGER UNIQUE)")
    cursors = [c.cursor() for c in (leader, *followers)]
    for n in range(120):
        cursors[n % 3].execute("INSERT INTO everywhere(n) VALUES(?)", (n,))
        equal(rows(cursors[(n + 1) % 3], "SELECT max(n) FROM everywhere"), [(n,)])
    equal(rows(cursors[1], "SELECT count(*), sum(n) FROM everywhere"), [(120, 7140)])


def test_redirect(_leader, followers):
    connection = connect(followers[0].port)
    answer = connection._fetch_response("POST", "/db/execute?redirect&transaction", body='["CREATE TABLE moved (n)"]',
                                        headers={"Content-Type": "application/json"})
    equal((answer.status, connection.port), (200, TOLD["leader"]))
    equal(rows(connection.cursor(), "SELECT count(*) FROM moved"), [(0,)])
    connection.close()


def test_ephemeral(_leader, _followers):
    """connect(":memory:") starts a server of its own: the program in RQLITED_PATH."""
    connection = dbapi.connect(":memory:")
    with connection.cursor() as c:
        c.execute("CREATE TABLE foo (id INTEGER PRIMARY KEY)")
        c.execute("INSERT INTO foo VALUES(7)")
        equal(rows(c, "SELECT id FROM foo"), [(7,)])
    connection.close()


def test_credentials(_leader, _followers):
    known = connect(TOLD["guarded"], user=TOLD["user"], password=TOLD["password"])
    known.execute("CREATE TABLE secret (n INTEGER)")
    known.execute("INSERT INTO secret VALUES(1)")
    equal(rows(known.cursor(), "SELECT n FROM secret"), [(1,)])
    for stranger in (connect(TOLD["guarded"]), connect(TOLD["guarded"], user=TOLD["user"], password="wrong")):
        refused(lambda: stranger.execute("SELECT n FROM secret"), "401")
        refused(lambda: stranger.execute("INSERT INTO secret VALUES(2)"), "401")
        stranger.close()
    equal(rows(known.cursor(), "SELECT n FROM secret"), [(1,)])
    known.close()


def test_leader_dies(leader, followers):
    leader.cursor().execute("CREATE TABLE survives (n INTEGER)")
    print("kill the leader", flush=True)
    equal(sys.stdin.readline(), "killed\n")
    patiently(followers[0].cursor(), "INSERT INTO survives VALUES(1)", lambda c: c.lastrowid is not None)
    found = patiently(followers[1].cursor(), "SELECT DISTINCT n FROM survives", lambda c: c.description is not None,
                      consistency="linearizable")
    equal([tuple(row) for row in found.fetchall()], [(1,)])
    followers[1].ping()


def main():
    leader, followers = connect(TOLD["leader"]), [connect(port) for port in TOLD["followers"]]
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    failed = 0
    for name, test in tests:
        try:
            test(leader, followers)
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()}")
    print(f"{len(tests)} tests, {failed} failed, {CALLS} calls of pyrqlite")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
