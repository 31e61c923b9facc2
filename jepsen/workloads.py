"""Workloads: clients that ask through any node, and write down what they were told.

    register   read, write and compare-and-set of single rows          judged key by key: linearizable
    append     a row to one ledger and a key's value, in a transaction; reads at every level
                                                                       judged by the ledger's order
    set        unique members; a whole set read now and then            judged set by set: none lost, none invented, none twice

Keys of register and set are used up and followed by new ones, so that a long run is judged in many small parts.

An operation is "fail" only when it certainly had no effect: nothing was sent, or the answer is one that a node gives
before it proposes. Everything else that is not a success is "info", and its client goes on under a new name."""
import http.client
import itertools
import json
import random
import socket
import threading

ANSWER_LIMIT_S = 4.0
PAUSE_S = 0.01
REFUSED = (b"leader not found", b"not leader", b"store not ready", b"too many requests", b"not ready")


class Refused(Exception):
    """Certainly without effect."""


class Unknown(Exception):
    """May have had an effect."""


class Asker:
    """One connection to one node, made anew when it breaks. Nothing is ever sent twice."""

    def __init__(self, node):
        self.node, self.connection = node, None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, path, statements):
        """The results of a request, as the node gave them."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.node.addr, self.node.http, timeout=ANSWER_LIMIT_S)
                self.connection.connect()
                self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as e:
            self.close()
            raise Refused(str(e)) from None
        try:
            self.connection.request("POST", path, json.dumps(statements), {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            status, body = answer.status, answer.read()
            if answer.will_close:
                self.close()
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise Unknown(str(e)) from None
        if status == 200:
            decoded = json.loads(body)
            results = decoded.get("results")
            if "error" not in decoded and results and not any("error" in r for r in results):
                return results
        raise (Refused if any(word in body for word in REFUSED) else Unknown)(f"{status} {body[:200]!r}")


class Workload:
    """Threads of clients over one history."""
    name, tables = "", ()

    def __init__(self, nodes, history, clients, seed):
        self.nodes, self.history = nodes, history
        self.processes, self.numbers = itertools.count(1), itertools.count(1)
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.strange = []
        self.threads = [threading.Thread(target=self.client, args=(f"{seed}/{self.name}/{i}",), daemon=True)
                        for i in range(clients)]

    def start(self):
        for t in self.threads:
            t.start()

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(ANSWER_LIMIT_S + 30)
            if t.is_alive():
                self.strange.append("a client hangs")

    def number(self):
        with self.lock:
            return next(self.numbers)

    def process(self):
        with self.lock:
            return next(self.processes)

    def client(self, seed):
        chance, process = random.Random(seed), self.process()
        askers = [Asker(n) for n in self.nodes]
        try:
            while not self.stopping.is_set():
                try:
                    ended = self.step(chance, process, chance.choice(askers))
                except (ValueError, KeyError, IndexError, TypeError) as e:
                    self.strange.append(f"an answer nobody can read: {e!r}")
                    ended = "info"
                if ended == "info":  # that operation is still open, for all we know
                    process = self.process()
                self.stopping.wait(PAUSE_S if ended == "ok" else 5 * PAUSE_S)
        finally:
            for a in askers:
                a.close()

    def do(self, asker, path, statements, took, **fields):
        """Ask once; took(results) → fields of the success. reads are never "info"."""
        reads = fields["f"] in ("read", "look", "members", "ledger")
        named = {k: fields[k] for k in ("process", "f")}
        self.history.write(type="invoke", node=asker.node.number, **fields)
        try:
            results = asker.ask(path, statements)
            self.history.write(type="ok", life=asker.node.life, **named, **took(results))
            return "ok"
        except Refused as e:
            self.history.write(type="fail", **named, words=str(e)[:120])
            return "fail"
        except Unknown as e:
            self.history.write(type="fail" if reads else "info", **named, words=str(e)[:120])
            return "info"


class Register(Workload):
    name = "register"
    tables = ("CREATE TABLE register(k INTEGER PRIMARY KEY, v INTEGER)",)
    KEYS, OPS_PER_KEY = 4, 150

    def step(self, chance, process, asker):
        number = self.number()
        key = number // (self.KEYS * self.OPS_PER_KEY) * self.KEYS + chance.randrange(self.KEYS)
        kind = chance.random()
        if kind < 0.5:
            level = chance.choice(["linearizable", "strong"])
            return self.do(asker, f"/db/query?level={level}", [["SELECT v FROM register WHERE k=?", key]], self.seen,
                           process=process, f="read", key=key, level=level)
        if kind < 0.8:
            return self.do(asker, "/db/execute",
                           [["INSERT INTO register VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v", key, number]],
                           lambda r: {}, process=process, f="write", key=key, value=number)
        expected = max(1, number - chance.randrange(1, 60))
        return self.do(asker, "/db/execute",
                       [["UPDATE register SET v=? WHERE k=? AND v=?", number, key, expected]],
                       lambda r: {"swapped": r[0].get("rows_affected", 0) == 1},
                       process=process, f="cas", key=key, value=number, expected=expected)

    @staticmethod
    def seen(results):
        values = results[0].get("values") or [[0]]
        return {"value": values[0][0]}

    def finish(self, node):
        """Nothing more to ask: the reads at the end are the workload's own."""


# Rows of the ledger: nothing is ever deleted, and a number that was rolled back is given again. Not counted: too slow.
LAST = "SELECT COALESCE(MAX(row),0) FROM ledger"


class Append(Workload):
    name = "append"
    tables = ("CREATE TABLE ledger(row INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER)",
              "CREATE TABLE kv(k INTEGER PRIMARY KEY, v INTEGER)")
    KEYS = 8

    def step(self, chance, process, asker):
        key = chance.randrange(self.KEYS)
        if chance.random() < 0.5:
            number = self.number()
            return self.do(asker, "/db/request?transaction",
                           [["INSERT INTO ledger(number) VALUES(?)", number],
                            ["INSERT INTO kv VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v", key, number],
                            LAST],
                           lambda r: {"row": r[2]["values"][0][0]},
                           process=process, f="append", key=key, number=number, value=number)
        level = chance.choice(["none", "weak", "linearizable", "strong"])
        return self.do(asker, f"/db/query?level={level}",
                       [[f"SELECT ({LAST}), COALESCE((SELECT v FROM kv WHERE k=?),0)", key]],
                       lambda r: {"row": r[0]["values"][0][0], "value": r[0]["values"][0][1]},
                       process=process, f="look", key=key, level=level)

    def finish(self, node):
        ended = self.do(Asker(node), "/db/query?level=strong", ["SELECT number FROM ledger ORDER BY row"],
                        lambda r: {"list": [v[0] for v in r[0].get("values") or []]}, process=0, f="ledger")
        if ended != "ok":
            self.strange.append("the ledger could not be read at the end")


class Set(Workload):
    name = "set"
    tables = ("CREATE TABLE members(s INTEGER, n INTEGER)", "CREATE INDEX members_of ON members(s)")
    SIZE = 500

    def step(self, chance, process, asker):
        number = self.number()
        if chance.random() < 0.9:
            return self.do(asker, "/db/execute", [["INSERT INTO members VALUES(?,?)", number // self.SIZE, number]], lambda r: {},
                           process=process, f="add", key=number // self.SIZE, number=number)
        key = max(0, number // self.SIZE - chance.choice((0, 0, 0, 1, chance.randrange(1, 50))))
        return self.look(asker, process, chance.choice(["none", "linearizable", "strong"]), key)

    def look(self, asker, process, level, key):
        return self.do(asker, f"/db/query?level={level}", [["SELECT n FROM members WHERE s=?", key]],
                       lambda r: {"list": [v[0] for v in r[0].get("values") or []]},
                       process=process, f="members", key=key, level=level)

    def finish(self, node):
        asker = Asker(node)
        for key in range(self.number() // self.SIZE + 1):
            if self.look(asker, 0, "strong", key) != "ok":
                self.strange.append(f"set {key} could not be read at the end")


ALL = (Register, Append, Set)
