#!/usr/bin/env python3
"""Compatibility facts, checked from outside over HTTP.

The numbers are those of http-api.md §21; "Q…" are the quick start of the README, "D…" facts of
daemon.md, "12.1a" facts of that section of http-api.md. Start it on a daemon it launches itself:

    tests/compat/run.py --daemon build/rqlited

or on servers that run already (the single node must be fresh and empty):

    tests/compat/run.py --single http://localhost:4001
    tests/compat/run.py --leader URL --follower URL [--replica URL]

Facts listed in deviations.txt ("number  reason" per line) may fail. Exit status 1 if any other fact
fails, or if a listed one passes (then the list is out of date).
"""
import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read().decode("utf-8", "surrogateescape")


def ask(base, method, path, body=None, headers=None, timeout=40):
    url = urllib.parse.urlsplit(base)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
    given = dict(headers or {})
    if body is not None and not any(k.lower() == "content-type" for k in given):
        given["Content-Type"] = "application/x-www-form-urlencoded"  # as curl -d does
    try:
        connection.request(method, path, body=None if body is None else body.encode(), headers=given)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def get(base, path, **more):
    return ask(base, "GET", path, **more)


def post(base, path, body=None, **more):
    return ask(base, "POST", path, body=body, **more)


def sql(text):
    return "q=" + urllib.parse.quote(text)


# ---- what is expected ---------------------------------------------------------------------------


def want(actual, expected, what="body"):
    if actual != expected:
        raise AssertionError(f"{what}: got {actual!r}, want {expected!r}")


def want_match(actual, pattern, what="body"):
    if not re.search(pattern, actual, re.S):
        raise AssertionError(f"{what}: got {actual!r}, want a match of {pattern!r}")


class Facts:
    def __init__(self, deviations):
        self.deviations = deviations
        self.passed, self.failed, self.known, self.stale = 0, [], [], []

    def check(self, number, test):
        number = str(number)
        try:
            test()
        except (AssertionError, OSError, http.client.HTTPException, ValueError, KeyError) as error:
            if number in self.deviations:
                self.known.append(number)
            else:
                self.failed.append(number)
                print(f"FAIL {number}: {error}")
            return
        self.passed += 1
        if number in self.deviations:
            self.stale.append(number)
            print(f"STALE {number}: passes, but deviations.txt lists it")

    def status(self, number, answer, status):
        self.check(number, lambda: want(answer().status, status, "status"))

    def body(self, number, answer, body):
        self.check(number, lambda: want(answer().body, body))

    def match(self, number, answer, pattern):
        self.check(number, lambda: want_match(answer().body, pattern))

    def header(self, number, answer, name, value):
        self.check(number, lambda: want(answer().headers.get(name), value, name))

    def report(self):
        print(f"{self.passed} passed, {len(self.failed)} failed, {len(self.known)} known deviations"
              f"{', ' + str(len(self.stale)) + ' out of date' if self.stale else ''}")
        return 1 if self.failed or self.stale else 0


def results(*entries):
    return '{"results":[' + ",".join(entries) + "]}"


ONE = results('{"columns":["1"],"types":["integer"],"values":[[1]]}')
MARSHAL = "json: error calling MarshalJSON for type *http.DBResults: json: unsupported value: +Inf\n"


# ---- one fresh node -------------------------------------------------------------------------------


def routing(f, h):
    for number, method, path, status in [
        (1, "GET", "/nope", 404), (2, "GET", "/db", 404), (3, "GET", "/DB/query", 404),
        (4, "GET", "/db/query/anything?q=SELECT%201", 200), (5, "GET", "/leader/", 404), (6, "GET", "/statusX", 200),
        (10, "GET", "/db/execute", 405), (11, "GET", "/db/request", 405), (12, "PUT", "/db/query", 405),
        (13, "POST", "/db/backup", 405), (14, "GET", "/db/load", 405), (15, "GET", "/boot", 405),
        (16, "GET", "/snapshot", 405), (17, "POST", "/remove", 405), (18, "POST", "/status", 405),
        (19, "POST", "/nodes", 405), (20, "PUT", "/leader", 405), (21, "POST", "/readyz", 405),
        (22, "DELETE", "/debug/vars", 200), (23, "OPTIONS", "/no/such?timeout=bad", 200),
    ]:
        f.status(number, lambda m=method, p=path: ask(h, m, p), status)

    def redirects(path, status):
        answer = get(h, path)
        want((answer.status, answer.headers.get("Location")), (status, "/console/"), "redirect")

    def common():
        answer = get(h, "/readyz")
        want(answer.headers.get("Access-Control-Allow-Headers"), "Content-Type", "allow-headers")
        want(answer.headers.get("Access-Control-Allow-Origin"), None, "allow-origin")
        want(answer.headers.get("WWW-Authenticate"), None, "www-authenticate")

    def console():
        answer = get(h, "/console/")
        want((answer.status, answer.headers.get("Content-Type")), (200, "text/html; charset=utf-8"), "console")

    f.check(7, lambda: redirects("/", 302))
    f.check(8, lambda: redirects("/console", 301))
    f.check(9, console)
    f.header(24, lambda: ask(h, "OPTIONS", "/db/query"), "Access-Control-Allow-Methods", "OPTIONS, GET, POST")
    f.check(25, common)
    f.check(26, lambda: want_match(get(h, "/nope").headers.get("X-RQLITE-VERSION") or "", r"^v?\d", "version"))
    f.header(27, lambda: get(h, "/db/query?q=SELECT%201"), "Content-Type", "application/json; charset=utf-8")
    f.check(28, lambda: want_match(get(h, "/db/query?q=SELECT%201").headers.get("X-RQLITE-SERVED-BY") or "",
                                   r"^[^/]+:\d+$", "served-by"))


def parameters(f, h):
    for number, path, text in [
        (29, "/db/query?timeout=5", "timeout is not a valid duration\n"),
        (31, "/readyz?freshness=x", "freshness is not a valid duration\n"),
        (32, "/nope?db_timeout=", "db_timeout is not a valid duration\n"),
        (33, "/status?linearizable_timeout=1d", "linearizable_timeout is not a valid duration\n"),
        (34, "/nodes?freshness_strict", "freshness_strict requires freshness\n"),
        (35, "/nodes?retries=1.5", "retries is not a valid integer\n"),
        (36, "/snapshot?trailing_logs=x", "trailing_logs is not a valid integer\n"),
        (37, "/db/query?q=", "query parameter not set\n"),
        (38, "/db/query?q=SELECT%zz", 'invalid URL escape "%zz"\n'),
        (39, "/db/query?q=SELECT%201;", "invalid semicolon separator in query\n"),
        (40, "/db/query?q=SELECT%201%3B", ONE), (41, "/db/query?q=SELECT+1&q=SELECT+2", ONE),
        (42, "/db/query?q=SELECT+1&level=bogus", ONE), (43, "/db/query", '{"results":[]}'),
    ]:
        f.body(number, lambda p=path: get(h, p), text)
    f.status(30, lambda: get(h, "/db/query?timeout=5"), 400)


def bodies(f, h):
    q = lambda body, path="/db/query", **more: lambda: post(h, path, body, **more)
    plain = {"headers": {"Content-Type": "text/plain"}}
    three = results('{"columns":["3"],"types":["integer"],"values":[[3]]}')
    f.body(44, q(None, "/db/execute"), "invalid JSON body\n")
    f.status(45, q(None, "/db/execute"), 400)
    for number, body, text in [
        (46, "[]", "no statements\n"), (47, "[[]]", "invalid request\n"), (48, '{"q":1}', "invalid request\n"),
        (49, '"SELECT 1"', "invalid request\n"), (50, "SELECT 1", "invalid JSON body\n"),
        (51, '["SELECT 1"', "invalid JSON body\n"), (52, "[7]", "invalid request\n"), (53, "[[7]]", "invalid request\n"),
        (54, '[["SELECT ?",[1,256]]]', "unsupported type 256\n"),
        (55, '[["SELECT ?",["a"]]]', "unsupported type string\n"),
        (56, '[["SELECT :a",{"a":{}}]]', "unsupported type map[string]interface {}\n"),
        (57, '[["SELECT ?",1e400]]', "invalid number 1e400\n"), (58, '["SELECT 1"] trailing', ONE),
        (59, '[""]', '{"results":[]}'), (60, '[" "]', '{"results":[{}]}'),
        (63, '[["SELECT typeof(?),typeof(?),typeof(?),typeof(?),typeof(?),typeof(?)",1,1.0,true,null,"s",[65]]]',
         results('{"columns":["typeof(?)","typeof(?)","typeof(?)","typeof(?)","typeof(?)","typeof(?)"],"types":["text",'
                 '"text","text","text","text","text"],"values":[["integer","real","integer","null","text","blob"]]}')),
        (64, '[["SELECT :a+@b+$c AS s",{"a":1,"b":2,"c":3}]]',
         results('{"columns":["s"],"types":["integer"],"values":[[6]]}')),
        (65, '[["SELECT ?,?",1]]', results('{"error":"not enough args to execute query: want 2 got 1"}')),
        (66, '[["SELECT ?",1,2]]', results('{"columns":["?"],"types":["integer"],"values":[[1]]}')),
        (67, '[["SELECT :a",{":a":1}]]', results('{"error":"name \\":a\\" does not begin with a letter"}')),
        (68, '[["SELECT hex(?)","x\'0aff\'"]]', results('{"columns":["hex(?)"],"types":["text"],"values":[["0AFF"]]}')),
    ]:
        f.body(number, q(body), text)
    f.body(61, q("SELECT 3", **plain), three)
    f.body(62, q("SELECT 3", "/db/request", **plain), "invalid JSON body\n")


def execute(f, h):
    x = lambda body, flags="": lambda: post(h, "/db/execute" + flags, body)
    f.body(69, x('["CREATE TABLE pet(id INTEGER PRIMARY KEY, name TEXT UNIQUE, kg REAL)"]'), results("{}"))
    f.body(70, x('["INSERT INTO pet(name,kg) VALUES(\\"rex\\",20)"]'), results('{"last_insert_id":1,"rows_affected":1}'))
    f.body(71, x('[["INSERT INTO pet(name,kg) VALUES(?,?)","tom",4.5]]'), results('{"last_insert_id":2,"rows_affected":1}'))
    f.body(72, x('["UPDATE pet SET kg=kg+1"]'), results('{"last_insert_id":2,"rows_affected":2}'))
    f.body(73, x('["SELECT 1"]'), results('{"last_insert_id":2,"rows_affected":2}'))
    f.body(74, x('["DELETE FROM pet WHERE id=99"]'), results('{"last_insert_id":2}'))
    f.body(75, x('["INSERT INTO zoo VALUES(1)"]'), results('{"error":"no such table: zoo"}'))
    f.body(76, x('["INSERT INTO pet(name) VALUES(\\"a\\")","INSERT INTO pet(name) VALUES(\\"a\\")",'
                 '"INSERT INTO pet(name) VALUES(\\"b\\")"]'),
           results('{"last_insert_id":3,"rows_affected":1}', '{"error":"UNIQUE constraint failed: pet.name"}',
                   '{"last_insert_id":4,"rows_affected":1}'))
    f.body(77, x('["INSERT INTO pet(name) VALUES(\\"c\\")","INSERT INTO pet(name) VALUES(\\"a\\")",'
                 '"INSERT INTO pet(name) VALUES(\\"d\\")"]', "?transaction"),
           results('{"last_insert_id":5,"rows_affected":1}', '{"error":"UNIQUE constraint failed: pet.name"}'))
    f.body(78, lambda: get(h, "/db/query?q=SELECT+count(*)+FROM+pet"),
           results('{"columns":["count(*)"],"types":["integer"],"values":[[4]]}'))
    f.body(79, x('["INSERT INTO pet(name) VALUES(\\"e\\")"]', "?associative"),
           results('{"last_insert_id":5,"rows_affected":1,"rows":null}'))
    f.body(80, x('["INSERT INTO pet(name) VALUES(\\"f\\") RETURNING id, name"]'),
           results('{"columns":["id","name"],"types":["integer","text"],"values":[[6,"f"]]}'))
    f.body(81, x('["INSERT INTO pet(name) VALUES(\\"g\\") RETURNING id"]', "?noparse"),
           results('{"last_insert_id":7,"rows_affected":1}'))
    f.body(82, x('["INSERT INTO pet(name) VALUES(\\"h\\"); INSERT INTO pet(name) VALUES(\\"i\\")"]'),
           results('{"last_insert_id":9,"rows_affected":1}'))
    number = r"[0-9][0-9.e+-]*"
    f.match(83, x('["DELETE FROM pet WHERE id>4"]', "?timings"),
            r'^\{"results":\[\{"last_insert_id":9,"rows_affected":5,"time":%s\}\],"time":%s\}$' % (number, number))
    f.match(84, x('["DELETE FROM pet WHERE id=4"]', "?raft_index"), r'"raft_index":[1-9][0-9]*\}$')
    f.body(85, x('["BEGIN"]', "?transaction"), results('{"error":"cannot start a transaction within a transaction"}'))
    f.body(86, x('["ROLLBACK"]', "?transaction"), '{"results":[],"error":"cannot commit - no transaction is active"}')
    f.body(87, x('["PRAGMA journal_mode=DELETE"]'), '{"results":[],"error":"disallowed pragma"}')
    f.body(88, lambda: get(h, "/db/query?q=PRAGMA+wal_checkpoint"), '{"results":[],"error":"disallowed pragma"}')
    f.body(89, x('["SELECT 1"]', "?db_timeout=1ns"), '{"results":[],"error":"context deadline exceeded"}')


def query(f, h):
    g = lambda text, flags="": lambda: get(h, "/db/query?" + flags + sql(text))
    pet = '"columns":["id","name","kg"],"types":["integer","text","real"]'
    types = '"types":{"id":"integer","kg":"real","name":"text"}'
    f.body(90, g("SELECT * FROM pet WHERE id<3"), results("{" + pet + ',"values":[[1,"rex",21],[2,"tom",5.5]]}'))
    f.body(91, g("SELECT * FROM pet WHERE id=1", "associative&"),
           results("{" + types + ',"rows":[{"id":1,"kg":21,"name":"rex"}]}'))
    f.body(92, g("SELECT * FROM pet WHERE id=0"), results("{" + pet + "}"))
    f.body(93, g("SELECT * FROM pet WHERE id=0", "associative&"), results("{" + types + ',"rows":[]}'))
    f.body(94, g("SELECT * FROM zoo"), results('{"error":"no such table: zoo"}'))
    f.body(95, g("SELECT * FROM zoo", "associative&"), results('{"rows":[],"error":"no such table: zoo"}'))
    f.body(96, g("DELETE FROM pet"), results('{"error":"attempt to change database via query operation"}'))
    f.body(97, g("SELECT 9223372036854775807,1.0,2.5,1e20,1e21,1e-7,-0.0,NULL"),
           results('{"columns":["9223372036854775807","1.0","2.5","1e20","1e21","1e-7","-0.0","NULL"],"types":["integer",'
                   '"real","real","real","real","real","real",""],"values":[[9223372036854775807,1,2.5,'
                   "100000000000000000000,1e+21,1e-7,-0,null]]}"))
    f.body(98, g("SELECT 1e999"), MARSHAL)
    f.status(99, g("SELECT 1e999"), 500)
    f.body(100, g("SELECT '<&>' AS v"),
           results('{"columns":["v"],"types":["text"],"values":[["\\u003c\\u0026\\u003e"]]}'))
    f.body(101, g("SELECT 1 AS a", "pretty&"),
           '{\n    "results": [\n        {\n            "columns": [\n                "a"\n            ],\n'
           '            "types": [\n                "integer"\n            ],\n            "values": [\n'
           '                [\n                    1\n                ]\n            ]\n        }\n    ]\n}')
    f.body(102, lambda: post(h, "/db/execute",
                             '["CREATE TABLE mix(b BLOB, t TEXT, f BOOLEAN, d DATETIME, n)",["INSERT INTO mix VALUES'
                             '(?,?,?,?,?)",[0,255],[72,105],true,"2024-02-03 04:05:06",[1,2]]]'),
           results('{"last_insert_id":9,"rows_affected":1}', '{"last_insert_id":1,"rows_affected":1}'))
    f.body(103, g("SELECT * FROM mix"),
           results('{"columns":["b","t","f","d","n"],"types":["blob","text","boolean","datetime","text"],"values":'
                   '[["AP8=","Hi",true,"2024-02-03T04:05:06Z","\\u0001\\u0002"]]}'))
    f.body(104, g("SELECT b FROM mix", "blob_array&"), results('{"columns":["b"],"types":["blob"],"values":[[[0,255]]]}'))
    f.body(105, g("SELECT f FROM mix WHERE f=1 UNION ALL SELECT 5"),
           results('{"columns":["f"],"types":["boolean"],"values":[[true],[true]]}'))
    f.body(106, g("SELECT NULL UNION ALL SELECT 5"), results('{"columns":["NULL"],"types":[""],"values":[[null],[5]]}'))
    f.body(107, g("SELECT id,1 AS k FROM pet WHERE id=1", "qualify_columns&"),
           results('{"columns":["pet.id","k"],"types":["integer","integer"],"values":[[1,1]]}'))
    f.body(108, g("SELECT 1 AS a,2 AS a", "associative&"), results('{"types":{"a":"integer"},"rows":[{"a":2}]}'))
    f.body(109, lambda: post(h, "/db/query", '["SELECT 1; SELECT 2"]'),
           results('{"columns":["2"],"types":["integer"],"values":[[2]]}'))

    def raft_index():
        want_match(get(h, "/db/query?level=strong&raft_index&q=SELECT+1").body, r'"raft_index":[1-9]')
        want("raft_index" in get(h, "/db/query?level=weak&raft_index&q=SELECT+1").body, False, "raft_index on weak")

    f.check(110, raft_index)
    f.body(111, lambda: get(h, "/db/query?level=none&freshness=1ns&q=SELECT+1"), ONE)


def request(f, h):
    r = lambda body, flags="": lambda: post(h, "/db/request" + flags, body)
    f.body(112, r('["INSERT INTO pet(name) VALUES(\\"u\\")","SELECT name FROM pet WHERE name=\\"u\\"","SELECT * FROM zoo"]'),
           results('{"last_insert_id":4,"rows_affected":1}', '{"columns":["name"],"types":["text"],"values":[["u"]]}',
                   '{"error":"no such table: zoo"}'))
    f.body(113, r('["DELETE FROM pet WHERE name=\\"u\\"","SELECT id FROM pet WHERE id=1","SELECT * FROM zoo"]', "?associative"),
           results('{"last_insert_id":4,"rows_affected":1,"rows":null}', '{"types":{"id":"integer"},"rows":[{"id":1}]}',
                   '{"error":"no such table: zoo"}'))
    f.body(114, r('["INSERT INTO pet(name) VALUES(\\"v\\")","INSERT INTO pet(name) VALUES(\\"v\\")","SELECT 1"]', "?transaction"),
           results('{"last_insert_id":4,"rows_affected":1}', '{"error":"UNIQUE constraint failed: pet.name"}'))
    f.match(115, r('["EXPLAIN QUERY PLAN SELECT * FROM pet"]'), r'"columns":\["id","parent","notused","detail"\]')


def rewriting(f, h):
    s = lambda text, flags="": lambda: get(h, "/db/sql?" + flags + sql(text))
    f.match(116, s("SELECT random()"), r'"rewritten":"SELECT [0-9]+"')
    f.body(117, s("SELECT random()", "norwrandom&"), '{"results":[{"original":"SELECT random()","rewritten":"SELECT random()"}]}')
    f.match(118, lambda: post(h, "/db/sql", '["INSERT INTO pet(name) VALUES(hex(randomblob(4)))"]'), r"hex\(x'[0-9A-F]{8}'\)")
    f.body(119, s("SELECT a FROM t ORDER BY random()"),
           '{"results":[{"original":"SELECT a FROM t ORDER BY random()","rewritten":"SELECT \\"a\\" FROM \\"t\\" ORDER BY random()"}]}')
    f.match(120, s("SELECT datetime('now')"), r'"rewritten":"SELECT datetime\([0-9]+\.[0-9]{6}\)"')
    f.match(121, s("nonsense"), r'"original":"nonsense","error"')
    f.body(122, lambda: get(h, "/db/sql"), "query not specified\n")
    f.match(123, lambda: get(h, "/db/query?q=SELECT+random()+AS+r,random()+AS+s"), r'"columns":\["r","s"\]')
    f.match(124, lambda: get(h, "/db/query?level=strong&q=SELECT+random()"), r'"columns":\["[0-9]+"\]')


def queued(f, h):
    x = lambda body, flags: lambda: post(h, "/db/execute" + flags, body)
    shape = r'^\{"results":\[\],"sequence_number":[0-9]{19}\}$'
    f.match(125, x('["INSERT INTO pet(name) VALUES(\\"q1\\")"]', "?queue"), shape)
    f.match(126, x('["INSERT INTO pet(name) VALUES(\\"q2\\")"]', "?queue&wait"), shape)
    f.body(127, lambda: get(h, "/db/query?" + sql("SELECT count(*) FROM pet WHERE name LIKE 'q_'")),
           results('{"columns":["count(*)"],"types":["integer"],"values":[[2]]}'))
    f.body(128, x("[]", "?queue"), "no statements\n")
    f.match(129, x("[]", "?queue&wait"), r'^\{"results":\[\],"sequence_number":')
    f.body(130, lambda: get(h, "/status?key=http.queue._default.batch_size"), "128")
    f.match("12.1a", x('["SELECT 1"]', "?queue&timings"), r'^\{"results":\[\],"time":[0-9.e-]+,"sequence_number":[0-9]{19}\}$')
    f.match("12.1b", x('["SELECT 1"]', "?queue&pretty"), r'^\{\n    "results": \[\],\n    "sequence_number": [0-9]{19}\n\}$')
    f.header("12.1c", x('["SELECT 1"]', "?queue"), "X-Rqlite-Served-By", None)
    f.body("12.1d", x("{x", "?queue"), "invalid JSON body\n")
    f.status("12.1e", x("[7]", "?queue"), 400)
    f.body("12.1f", x('["PRAGMA journal_mode=delete"]', "?queue"), '{"results":[],"error":"disallowed pragma"}')
    f.check("12.1g", lambda: queued_number_grows(h))
    f.check("12.2", lambda: queued_wait_times_out(h))
    f.match("12.3", lambda: post(h, "/db/execute?queue&wait",
                                 '["SELECT * FROM no_such_table",["INSERT INTO pet(name) VALUES(?)","q3"]]'), shape)
    f.body("12.3b", lambda: get(h, "/db/query?" + sql("SELECT name FROM pet WHERE name='q3'")),
           results('{"columns":["name"],"types":["text"],"values":[["q3"]]}'))
    f.check("12.4", lambda: queued_status(h))
    f.match("12.4b", lambda: get(h, "/debug/vars?key=http"), r'"queued_executions": [1-9].*"queued_executions_ok": [1-9]')


def queued_number(h, flags="", body='["SELECT 1"]'):
    return json.loads(post(h, "/db/execute?queue" + flags, body).body)["sequence_number"]


def queued_number_grows(h):
    first = queued_number(h)
    want(queued_number(h), first + 1, "next number")
    want(queued_number(h, "&wait", "[]"), first + 2, "number of a marker")


def queued_wait_times_out(h):
    answer = post(h, "/db/execute?queue&wait&timeout=1ms", '["SELECT 1"]')
    want(answer.status, 408, "status")
    want(answer.body, "queue wait timeout\n")


def queued_status(h):
    last = queued_number(h, "&wait")
    queue = json.loads(get(h, "/status").body)["http"]["queue"]["_default"]
    want(queue, {"batch_size": 128, "max_size": 1024, "sequence_number": last, "timeout": "50ms"}, "queue")


def diagnostics(f, h):
    f.body(131, lambda: get(h, "/readyz"), "[+]node ok\n[+]leader ok\n[+]store ok\n[+]db ok")
    f.body(132, lambda: get(h, "/readyz?noleader"), "[+]node ok")
    f.body(133, lambda: get(h, "/readyz?sync&timeout=5s"), "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok\n[+]db ok")
    f.body(134, lambda: get(h, "/status?key=store.raft.state"), '"Leader"')
    f.body(135, lambda: get(h, "/status?key=store.raft.voter"), "true")
    f.body(136, lambda: get(h, "/status?key=no.such.key"), "{}")
    f.match(137, lambda: get(h, "/status?key=store.leader"), r'^\{"addr":"[^"]+:\d+","node_id":"[^"]+"\}$')
    f.body(138, lambda: get(h, "/status?key=http.tls"), '{"enabled":"false"}')
    members = ["id", "api_addr", "addr", "version", "voter", "reachable", "leader", "time", "time_s"]
    f.check(139, lambda: want([list(n) for n in json.loads(get(h, "/nodes").body).values()], [members], "members"))
    f.check(140, lambda: want([list(n) for n in json.loads(get(h, "/nodes?ver=2").body)["nodes"]], [members], "members"))
    f.check(141, lambda: want(json.loads(get(h, "/leader").body)["leader"], True, "leader"))
    f.match(142, lambda: get(h, "/debug/vars?key=queue"),
            r'^\{\n"queue": \{"num_flush": \d+, "num_timeout": \d+, "objects_rx": \d+, "objects_tx": \d+\}\n\}\n$')
    f.body(143, lambda: get(h, "/debug/vars?key=nope"), "{\n\n}\n")
    f.header(144, lambda: get(h, "/licenses"), "Content-Type", "text/plain; charset=utf-8")

    def stepdown():
        answer = post(h, "/leader?wait")
        want((answer.status, answer.body), (500, "stepdown: cannot find peer\n"), "stepdown")

    def stepdown_bad():
        answer = post(h, "/leader?wait", "{x", headers={"Content-Type": "application/json"})
        want(answer.status, 400, "status")
        want_match(answer.body, r"^invalid JSON: ")

    f.check(145, stepdown)
    f.check(146, stepdown_bad)
    f.status(147, lambda: ask(h, "DELETE", "/remove", body="{}"), 400)
    f.status(148, lambda: ask(h, "DELETE", "/remove", body='{"id":"no-such-node"}'), 200)
    f.check("vars", lambda: json.loads(get(h, "/debug/vars").body)["store"]["num_snapshots"])
    f.check("status", lambda: [json.loads(get(h, "/status?pretty").body)[k] for k in ("build", "http", "node", "runtime", "store")])


def transport(f, h):
    """Raw bytes: pipelining, bad requests, HTTP/1.0, chunks, Expect."""
    url = urllib.parse.urlsplit(h)

    def raw(data, pause_at=None):
        with socket.create_connection((url.hostname, url.port), timeout=10) as s:
            s.sendall(data if pause_at is None else data[:pause_at])
            if pause_at is not None:
                time.sleep(0.05)
                s.sendall(data[pause_at:])
            got = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    return got.decode()
                got += piece

    one = b"GET /db/query?q=SELECT+%d HTTP/1.1\r\nHost: x\r\n%s\r\n"
    close = b"Connection: close\r\n"

    def pipelined():
        got = raw(b"".join(one % (i, close if i == 9 else b"") for i in range(10)))
        want(re.findall(r'"values":\[\[(\d+)\]\]', got), [str(i) for i in range(10)], "order of answers")

    chunked = (b"POST /db/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
               b"5\r\n[\"SEL\r\n7\r\nECT 1\"]\r\n0\r\n\r\n")
    expect = (b"POST /db/query HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"
              b"[\"SELECT 1\"]")
    f.check("T1", pipelined)
    f.check("T2", lambda: want_match(raw(chunked), r'"values":\[\[1\]\]'))
    f.check("T3", lambda: want_match(raw(expect, expect.index(b'["')), r"^HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"))
    f.check("T4", lambda: want_match(raw(b"GET /readyz?noleader HTTP/1.0\r\n\r\n"), r"\[\+\]node ok$"))
    for number, data, status in [
        ("T5", b"GET /readyz HTTP/1.1\r\n\r\n", 400), ("T6", b"GET /read yz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("T7", b"nonsense\r\n\r\n", 400), ("T8", b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        ("T9", b"POST /db/query HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ]:
        f.check(number, lambda d=data, s=status: want_match(raw(d), r"^HTTP/1.1 %d " % s))


def quick_start(f, h):
    f.match("Q1", lambda: post(h, "/db/execute?pretty", '[["CREATE TABLE foo (id INTEGER NOT NULL PRIMARY KEY, name TEXT, age INTEGER)"]]',
                               headers={"Content-Type": "application/json"}), r'^\{\n    "results": \[\n        \{(?!.*error)')
    f.match("Q2", lambda: post(h, "/db/execute?pretty&timings", '["INSERT INTO foo(name, age) VALUES(\\"fiona\\", 20)"]'),
            r'"last_insert_id": 1,\n            "rows_affected": 1,\n            "time": ')
    f.match("Q3", lambda: get(h, "/db/query?pretty&timings&level=strong&" + sql("SELECT * FROM foo")), r'"fiona",\n +20\n')
    f.match("Q4", lambda: get(h, "/db/query?level=linearizable&" + sql("SELECT name FROM foo")), r'\[\["fiona"\]\]')


def single(f, h):
    for part in (routing, parameters, bodies, execute, query, request, rewriting, queued, diagnostics, transport, quick_start):
        part(f, h)


# ---- a cluster --------------------------------------------------------------------------------------


def cluster(f, leader, follower, replica):
    served = lambda base, path: get(base, path).headers.get("X-RQLITE-SERVED-BY")
    leader_node = json.loads(get(follower, "/leader").body)
    own = lambda base: urllib.parse.urlsplit(base).netloc
    f.match(168, lambda: post(follower, "/db/execute",
                              '["CREATE TABLE IF NOT EXISTS pet(id INTEGER PRIMARY KEY, name TEXT UNIQUE)"]'), r'^\{"results":\[\{.*\}\]\}$')
    f.check(169, lambda: want(served(follower, "/db/query?q=SELECT+1"), leader_node["addr"], "served-by"))
    f.check(170, lambda: want(served(follower, "/db/query?level=none&q=SELECT+1"), own(follower), "served-by"))
    f.check(171, lambda: want(served(follower, "/db/query?level=auto&q=SELECT+1"), leader_node["addr"], "served-by"))

    def redirected():
        answer = post(follower, "/db/execute?redirect&timings", '["SELECT 1"]')
        want((answer.status, answer.headers.get("Location")), (301, leader + "/db/execute?redirect&timings"), "redirect")

    f.check(173, redirected)
    f.body(174, lambda: get(follower, "/db/query?level=none&freshness=1ns&q=SELECT+1"), '{"results":[],"error":"stale read"}')
    f.check(180, lambda: want(get(leader, "/nodes?ver=2").body.count('"voter":false'), 0, "non-voters"))
    f.status(182, lambda: post(follower, "/leader"), 200)
    f.check("C1", lambda: want([n["reachable"] for n in json.loads(get(follower, "/nodes?ver=2").body)["nodes"]], [True] * 3, "nodes"))
    f.match("C2", lambda: post(follower, "/db/request?raft_index",
                               '["INSERT INTO pet(name) VALUES(\\"c2\\")","SELECT name FROM pet"]'), r'"raft_index":[1-9]')
    f.match("C3", lambda: get(follower, "/db/query?level=linearizable&" + sql("SELECT name FROM pet")), r'\["c2"\]')
    f.match("C4", lambda: get(follower, "/db/query?pretty&" + sql("SELECT 1e999")), r"unsupported value: \+Inf\n$")
    f.body("C5", lambda: get(follower, "/readyz?sync"), "[+]node ok\n[+]leader ok\n[+]store ok\n[+]sync ok\n[+]db ok")
    if replica:
        f.check(172, lambda: want(served(replica, "/db/query?level=auto&q=SELECT+1"), own(replica), "served-by"))
        f.check(181, lambda: want(get(leader, "/nodes?ver=2&nonvoters").body.count('"voter":false'), 1, "non-voters"))


# ---- daemons of our own -------------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    def __init__(self, program, folder, name, *flags):
        self.api, self.raft = f"localhost:{free_port()}", f"localhost:{free_port()}"
        self.url, self.folder, self.name = f"http://{self.api}", os.path.join(folder, name), name
        self.log = open(os.path.join(folder, name + ".log"), "ab")
        self.program, self.flags = program, flags
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "-node-id", self.name, "-http-addr", self.api, "-raft-addr", self.raft, *self.flags, self.folder],
            stdout=self.log, stderr=self.log)

    def wait_ready(self, limit=30):
        until = time.monotonic() + limit
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                if get(self.url, "/readyz", timeout=5).status == 200:
                    return self
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        with open(self.log.name) as log:
            sys.stderr.write(log.read()[-4000:])
        raise SystemExit(f"{self.name} is not ready")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=30)


def with_daemons(f, program):
    folder = tempfile.mkdtemp(prefix="compat-")
    running = []
    try:
        node = Daemon(program, folder, "single")
        running.append(node)
        node.wait_ready()
        single(f, node.url)
        restarts(f, node)
        first = Daemon(program, folder, "1")
        running.append(first)
        first.wait_ready()
        second = Daemon(program, folder, "2", "-join", first.url)
        third = Daemon(program, folder, "3", "-join", first.raft)
        running += [second, third]
        second.wait_ready()
        third.wait_ready()
        replica = Daemon(program, folder, "4", "-raft-non-voter", "-join", second.url)
        running.append(replica)
        replica.wait_ready()
        cluster(f, first.url, second.url, replica.url)
        failover(f, [first, second, third])
    finally:
        for daemon in running:
            if daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait()
        if f.failed:
            print(f"logs and data are kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def restarts(f, node):
    count = lambda: get(node.url, "/db/query?" + sql("SELECT count(*) FROM foo")).body
    before = count()

    def clean():
        want(node.stop(), 0, "exit status")
        with open(node.log.name) as log:
            want_match(log.read().strip().splitlines()[-1], "rqlite server stopped", "last line")
        node.start()
        node.wait_ready()
        want(count(), before)

    def killed():
        node.stop(signal.SIGKILL)
        node.start()
        node.wait_ready()
        want(count(), before)

    f.check("D1.11", clean)
    f.check("D12.8", killed)


def failover(f, nodes):
    def leader_dies():
        nodes[0].stop(signal.SIGKILL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                answer = post(nodes[1].url, "/db/execute", '["INSERT INTO pet(name) VALUES(\\"after\\")"]', timeout=10)
                if answer.status == 200 and '"rows_affected":1' in answer.body:
                    break
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        want_match(get(nodes[2].url, "/db/query?level=strong&" + sql("SELECT name FROM pet")).body, r'\["after"\]')
        want_match(get(nodes[1].url, "/nodes?timeout=2s").body, r'"reachable":false')

    def comes_back():
        nodes[0].start()
        nodes[0].wait_ready()
        want(get(nodes[0].url, "/readyz?sync&timeout=10s").status, 200, "status")
        until = time.monotonic() + 10
        while '"after"' not in get(nodes[0].url, "/db/query?level=none&" + sql("SELECT name FROM pet")).body:
            if time.monotonic() > until:
                raise AssertionError("the restarted node did not catch up")
            time.sleep(0.05)

    f.check("C6", leader_dies)
    f.check("C7", comes_back)


def deviations_read():
    listed = {}
    with open(os.path.join(HERE, "deviations.txt")) as lines:
        for line in lines:
            line = line.strip()
            if line and not line.startswith("#"):
                number, _, reason = line.partition(" ")
                listed[number] = reason.strip()
    return listed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("daemon", "single", "leader", "follower", "replica"):
        parser.add_argument("--" + name)
    given = parser.parse_args()
    facts = Facts(deviations_read())
    if given.daemon:
        with_daemons(facts, os.path.abspath(given.daemon))
    if given.single:
        single(facts, given.single.rstrip("/"))
    if given.leader and given.follower:
        cluster(facts, given.leader.rstrip("/"), given.follower.rstrip("/"), given.replica and given.replica.rstrip("/"))
    sys.exit(facts.report())


if __name__ == "__main__":
    main()
