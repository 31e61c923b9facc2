#!/usr/bin/env python3
"""Credentials in real processes: bcrypt beside heartbeats, a leader that knows fewer users than its follower, files
that stop the start. (Endpoints and headers: tests/compat.)

    auth.py PATH/TO/rqlited

Exit status 0: all passed."""
import base64
import http.client
import json
import os
import sys
import threading
import time

from nodes import Answer, Field, want

HASH_OF_SECRET = "$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u"
BOB = {"username": "bob", "password": "s", "perms": ["all"]}
MARY = {"username": "mary", "password": "s", "perms": ["all"]}
ANN = {"username": "ann", "password": HASH_OF_SECRET, "perms": ["status", "query"]}
EVERYBODY = {"username": "*", "perms": ["ready"]}


def ask(node, method, path, user=None, body=None, timeout_s=20):
    headers = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()} if user else {}
    connection = http.client.HTTPConnection("localhost", node.http, timeout=timeout_s)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    finally:
        connection.close()


def want_answer(answer, status, body=None):
    want(answer.status == status and (body is None or answer.body == body.encode()),
         f"got {answer.status} {answer.body!r}, want {status} {body!r}")


def credentials(field, name, *users):
    path = os.path.join(field.root, name)
    with open(path, "w", encoding="ascii") as f:
        json.dump(users, f)
    return ["-auth", path]


def state(node):
    return ask(node, "GET", "/status", "bob:s").json()["store"]["raft"]


def check_hashed(field):
    """One look at each password, however many clients bring it."""
    node = field.node("hashed", flags=credentials(field, "hashed.json", ANN, BOB, EVERYBODY)).start()
    node.wait_ready()
    before = state(node)["term"]
    want_answer(ask(node, "GET", "/status", "ann:secret"), 200)
    want_answer(ask(node, "GET", "/status", "ann:Secret"), 401, "")
    want_answer(ask(node, "GET", "/status", "nobody:secret"), 401, "")
    want_answer(ask(node, "POST", "/db/execute", "ann:secret", '["SELECT 1"]'), 401, "")
    begun = time.monotonic()
    for _ in range(100):
        want_answer(ask(node, "GET", "/db/query?q=SELECT+1", "ann:secret"), 200)
    want(time.monotonic() - begun < 4, "100 requests cost as if bcrypt looked at each")

    answers = []
    guess = lambda i: answers.append(ask(node, "GET", "/status", f"ann:guess{i}").status)
    threads = [threading.Thread(target=guess, args=(i,)) for i in range(60)]
    for t in threads:
        t.start()
    slowest = 0.0
    while any(t.is_alive() for t in threads):
        begun = time.monotonic()
        want_answer(ask(node, "GET", "/db/query?q=SELECT+1", "ann:secret"), 200)
        slowest = max(slowest, time.monotonic() - begun)
    want(set(answers) <= {401, 503} and 401 in answers, f"answers to guesses: {sorted(set(answers))}")
    want(slowest < 1.5, f"a known client waited {slowest:.2f} s while others guessed")
    want(state(node)["term"] == before, "an election happened meanwhile")
    node.terminate()
    print(f"hashed: {answers.count(401)} guesses refused, {answers.count(503)} sent away; slowest known request "
          f"{slowest * 1000:.0f} ms")


def check_stop_while_bcrypt_looks(field):
    node = field.node("stopped", flags=credentials(field, "stopped.json", ANN, EVERYBODY)).start()
    node.wait_ready()

    def guess(i):
        try:
            ask(node, "GET", "/status", f"ann:guess{i}")
        except (OSError, http.client.HTTPException):
            pass

    threads = [threading.Thread(target=guess, args=(i,)) for i in range(20)]
    for t in threads:
        t.start()
    time.sleep(0.05)
    seconds = node.terminate()
    for t in threads:
        t.join(20)
    want(node.process.returncode == 0, f"exit status {node.process.returncode}")
    want(seconds < 11, f"the stop took {seconds:.1f} s")


def check_leader_judges(field):
    """mary is known to the follower only, kim to both by a hash."""
    kim = dict(ANN, username="kim", perms=["all"])
    leader = field.node("a1", flags=credentials(field, "a1.json", BOB, kim, EVERYBODY)).start()
    leader.wait_ready()
    follower = field.node("a2", flags=credentials(field, "a2.json", BOB, MARY, kim, EVERYBODY) +
                          ["-join", f"localhost:{leader.raft}", "-join-as", "bob"]).start()
    follower.wait_ready()
    create = '["CREATE TABLE IF NOT EXISTS t(i)"]'
    want_answer(ask(follower, "POST", "/db/execute", "bob:s", create), 200)
    want_answer(ask(follower, "POST", "/db/execute", "mary:s", create), 401, "remote Execute not authorized\n")
    want_answer(ask(follower, "GET", "/db/query?q=SELECT+1", "mary:s"), 401, "remote query not authorized\n")
    want_answer(ask(follower, "POST", "/db/request", "mary:s", create), 401, "remote Request not authorized\n")
    want_answer(ask(follower, "DELETE", "/remove", "mary:s", '{"id":"nobody"}'), 401, "remote remove node not authorized\n")
    want_answer(ask(follower, "POST", "/leader?wait", "mary:s"), 401, "remote stepdown not authorized\n")
    want_answer(ask(follower, "GET", "/db/query?level=none&q=SELECT+1", "mary:s"), 200)
    want_answer(ask(follower, "POST", "/db/execute", None, create), 401, "")
    want_answer(ask(follower, "POST", "/db/execute?queue", None, create), 401, "")
    want_answer(ask(follower, "POST", "/db/execute?queue&wait&timeout=10s", "bob:s", '["INSERT INTO t VALUES(1)"]'), 200)
    answer = ask(follower, "POST", "/db/execute?queue&wait&timeout=10s", "mary:s", '["INSERT INTO t VALUES(3)"]')
    want(b"error" in answer.body, f"the leader wrote for somebody it does not know: {answer.body}")
    want_answer(ask(follower, "POST", "/db/execute?queue&wait&timeout=10s", "bob:s", "[]"), 200)
    want_answer(ask(follower, "POST", "/db/execute", "kim:secret", '["INSERT INTO t VALUES(2)"]'), 200)
    want_answer(ask(leader, "GET", "/db/query?level=strong&q=SELECT+i+FROM+t+ORDER+BY+i", "bob:s"), 200,
                '{"results":[{"columns":["i"],"types":["integer"],"values":[[1],[2]]}]}')
    want_answer(ask(follower, "DELETE", "/remove", "bob:s", '{"id":"nobody"}'), 200)
    want(state(leader)["state"] == "Leader", "somebody else leads already")
    want_answer(ask(follower, "POST", "/leader?wait", "bob:s"), 200)
    end = time.monotonic() + 10
    while state(leader)["state"] == "Leader":
        want(time.monotonic() < end, "the leader still leads")
        time.sleep(0.05)
    follower.terminate()
    leader.terminate()


def check_bad_files(field):
    """D9.11"""
    broken = credentials(field, "broken.json", {"username": "bob", "perms": "all"})
    missing = ["-auth", os.path.join(field.root, "none.json")]
    for name, flags, words in [("broken", broken, "failed to get credential store: entry 1: perms is not an array"),
                               ("missing", missing, "none.json: no such file or directory")]:
        node = field.node(name, flags=flags).start()
        want(node.process.wait(20) == 1, f"exit status {node.process.returncode}")
        want(words in node.words(), f"the log does not say {words!r}: {node.tail()}")


def main():
    with Field(sys.argv[1]) as field:
        check_hashed(field)
        check_stop_while_bcrypt_looks(field)
        check_leader_judges(field)
        check_bad_files(field)
    print("ok")


if __name__ == "__main__":
    main()
