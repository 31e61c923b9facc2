#!/usr/bin/env python3
"""How nodes find one another from outside: names in DNS, a record in Consul or etcd (daemon.md §4).

    discovery.py PATH/TO/rqlited [TEST...]

DNS answers come from a stub resolver here (UDP; A, AAAA, SRV). Consul is a stub as well: its key-value interface
over HTTP as documented (GET, PUT, ?cas=0, base64, tokens), nothing more. etcd is the real server where it is
installed (package etcd-server); without it those tests are skipped, and said to be. Exit status 0: all passed."""
import base64
import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

from forming import ends_with, main_of, members, run, until, wait_members
from nodes import free_ports, wait_equal, wait_leader, want

FLAGS = ["-raft-heartbeat-timeout=500ms", "-raft-election-timeout=500ms"]


def disco(node):
    return node.ask("GET", "/status?key=disco").json()


# ---- DNS -------------------------------------------------------------------------------------------------

class Resolver:
    """Answers from a table: name -> [("A", "127.0.0.1"), ("SRV", (port, "host"))…]"""
    KINDS = {1: "A", 28: "AAAA", 33: "SRV"}

    def __init__(self, table):
        self.table, self.asked = table, []
        self.port = free_ports(1)[0]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", self.port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                question, sender = self.socket.recvfrom(4096)
            except OSError:
                return
            self.socket.sendto(self.answer(question), sender)

    @staticmethod
    def name(labels):
        return b"".join(bytes([len(l)]) + l.encode() for l in labels.rstrip(".").split(".")) + b"\0"

    def answer(self, question):
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += question[at] + 1
        kind = self.KINDS.get(struct.unpack(">H", question[at + 1:at + 3])[0])
        name = ".".join(labels).lower()
        self.asked.append((kind, name))
        records = self.table.get(name)
        rows = [r for k, r in records or [] if k == kind]
        body = b""
        for row in rows:
            if kind == "SRV":
                data = struct.pack(">HHH", 1, 1, row[0]) + self.name(row[1])
            else:
                data = socket.inet_pton(socket.AF_INET if kind == "A" else socket.AF_INET6, row)
            number = {"A": 1, "AAAA": 28, "SRV": 33}[kind]
            body += b"\xc0\x0c" + struct.pack(">HHIH", number, 1, 1, len(data)) + data
        flags = 0x8180 if records is not None else 0x8183
        return question[:2] + struct.pack(">HHHHH", flags, 1, len(rows), 0, 0) + question[12:at + 5] + body

    def close(self):
        self.socket.close()


def test_dns_hosts_of_the_environment(field):
    """D4.1 D4.2 D4.3: the list counts, whatever the name says; a replica joins by it; dead ones are passed over"""
    pairs = [free_ports(2) for _ in range(4)]
    os.environ["RQLITE_DISCO_DNS_HOSTS"] = ",".join(f"localhost:{r}" for _, r in pairs[:3])
    try:
        nodes = [field.node(f"{i + 1}", pairs[i], ["-disco-mode", "dns", "-bootstrap-expect", "3",
                                                   "-disco-config", '{"name":"nowhere.invalid"}']) for i in range(3)]
        for n in nodes:
            n.start()
        for n in nodes:
            n.wait_ready()
        wait_members(nodes, 3)
        replica = field.node("r", pairs[3], ["-disco-mode", "dns", "-raft-non-voter"]).start()
        replica.wait_ready()
        seen = wait_members([*nodes, replica], 4)
        want(seen["r"]["voter"] is False, f"{seen}")
        told = disco(nodes[0])
        want(told["mode"] == "dns" and told["name"] == "nowhere.invalid", f"{told}")
        os.environ["RQLITE_DISCO_DNS_HOSTS"] = "localhost"
        bad = field.node("bad", flags=["-disco-mode", "dns", "-bootstrap-expect", "3", "-bootstrap-expect-timeout", "1s"]).start()
        ends_with(bad, 1, "boot timeout", 10)
        want("RQLITE_DISCO_DNS_HOSTS: invalid address localhost" in bad.words(), bad.tail())
    finally:
        del os.environ["RQLITE_DISCO_DNS_HOSTS"]


def test_dns(field):
    """D4.4 D4.8: addresses of one name, all at one port, on three loopback addresses"""
    http_ports, raft = free_ports(3), free_ports(1)[0]
    ips = [f"127.0.0.{i}" for i in (1, 2, 3)]
    resolver = Resolver({"nodes.example": [("A", ip) for ip in ips]})
    config = os.path.join(field.root, "disco.json")
    with open(config, "w", encoding="utf-8") as f:
        json.dump({"name": "$MYNAME", "port": raft, "servers": f"127.0.0.1:{resolver.port}", "unknown": [1]}, f)
    inline = json.dumps({"name": "${MYNAME}", "port": raft, "servers": f"127.0.0.1:{resolver.port}"})
    os.environ["MYNAME"] = "nodes.example"
    try:
        nodes = [field.node(f"{i + 1}", (http_ports[i], raft), ["-raft-addr", f"{ips[i]}:{raft}", "-disco-mode", "dns",
                                                                "-bootstrap-expect", "3",
                                                                "-disco-config", config if i else inline]) for i in range(3)]
        for n in nodes:
            n.start()
        for n in nodes:
            n.wait_ready()
        wait_members(nodes, 3)
        want(f"[{ips[0]}:{raft} {ips[1]}:{raft} {ips[2]}:{raft}]" in nodes[0].words(), "the addresses are logged")
        told = disco(nodes[1])
        want(told["name"] == "nodes.example" and told["port"] == raft and
             told["last_addresses"] == [f"{ip}:{raft}" for ip in ips], f"{told}")
        want(("AAAA", "nodes.example") in resolver.asked, "IPv6 is asked for, too")
    finally:
        del os.environ["MYNAME"]
        resolver.close()


def test_dns_srv(field):
    """§4.2: ports come with the records"""
    pairs = [free_ports(2) for _ in range(3)]
    resolver = Resolver({"_db._tcp.cluster.example": [("SRV", (r, f"n{i}.example")) for i, (_, r) in enumerate(pairs)],
                         **{f"n{i}.example": [("A", "127.0.0.1")] for i in range(3)}})
    config = json.dumps({"name": "cluster.example", "service": "db", "servers": f"127.0.0.1:{resolver.port}"})
    nodes = [field.node(f"{i + 1}", pairs[i], ["-disco-mode", "dns-srv", "-bootstrap-expect", "3", "-disco-config", config])
             for i in range(3)]
    for n in nodes:
        n.start()
    for n in nodes:
        n.wait_ready()
    wait_members(nodes, 3)
    told = disco(nodes[0])
    want(told["mode"] == "dns-srv" and told["service"] == "db" and told["dns_name:"] == told["dns_name"] == "_db._tcp.cluster.example."
         and sorted(told["last_addresses"]) == sorted(f"127.0.0.1:{r}" for _, r in pairs), f"{told}")
    resolver.close()


def test_dns_that_knows_nothing(field):
    """An empty answer, and none at all, skip the pass; a signal ends it"""
    resolver = Resolver({})
    config = json.dumps({"name": "gone.example", "servers": f"127.0.0.1:{resolver.port}"})
    node = field.node("1", flags=["-disco-mode", "dns", "-bootstrap-expect", "3", "-disco-config", config]).start()
    until(lambda: "provider lookup failed" in node.words(), "the failure is logged")
    want("last_error" in disco(node), "… and told by /status")
    resolver.close()  # and now nobody answers
    time.sleep(0.5)
    node.process.send_signal(signal.SIGTERM)
    want(ends_with(node, 1, "clustering failure: boot canceled", 5) < 3, "at once")


def test_bad_configurations(field):
    """§4.1, D4.7"""
    for mode, config, words in [
            ("dns", "{", "clustering failure: error reading DNS configuration: "),
            ("consul-kv", "[]", "clustering failure: failed to start discovery service: create Consul config: "),
            ("consul-kv", '{"address":"http://a:1"}', "create Consul config: address should not contain HTTP or HTTPS"),
            ("etcd-kv", '{"endpoints":7}', "clustering failure: failed to start discovery service: create etcd config: ")]:
        node = field.node(f"b{abs(hash((mode, config)))}", flags=["-disco-mode", mode, "-disco-config", config] +
                          (["-bootstrap-expect", "3"] if mode == "dns" else [])).start()
        ends_with(node, 1, words, 10)
    for words, text in [(["-disco-mode", "dns", "d"], "bootstrap-expect value required when using dns with a voting node"),
                        (["-disco-mode", "etcd-kv", "-bootstrap-expect", "3", "d"], "bootstrapping not applicable when using etcd-kv")]:
        status, _, err = run(field, *words)
        want(status == 1 and err == f"fatal: {text}\n", f"{words}: {err}")


# ---- key-value stores ---------------------------------------------------------------------------------------

class Consul:
    """A stub of Consul's key-value interface."""

    def __init__(self, token=None, port=None):
        self.store, self.lock, self.writes, self.refused = {}, threading.Lock(), [], 0
        self.port = port or free_ports(1)[0]
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, status, body=b""):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def key(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if token and self.headers.get("X-Consul-Token") != token:
                    stub.refused += 1
                    self.reply(403, b"Permission denied")
                    return None, None, None
                url = urllib.parse.urlsplit(self.path)
                if not url.path.startswith("/v1/kv/"):
                    self.reply(404)
                    return None, None, None
                return urllib.parse.unquote(url.path[len("/v1/kv/"):]), dict(urllib.parse.parse_qsl(url.query)), body

            def do_GET(self):
                key, _, _ = self.key()
                if key is None:
                    return
                with stub.lock:
                    value = stub.store.get(key)
                if value is None:
                    self.reply(404)
                else:
                    self.reply(200, json.dumps([{"LockIndex": 0, "Key": key, "Flags": 0, "CreateIndex": 1, "ModifyIndex": 2,
                                                 "Value": base64.b64encode(value).decode()}]).encode())

            def do_PUT(self):
                key, parameters, body = self.key()
                if key is None:
                    return
                with stub.lock:
                    done = not (parameters.get("cas") == "0" and key in stub.store)
                    if done:
                        stub.store[key] = body
                        stub.writes.append((key, parameters, body))
                self.reply(200, b"true" if done else b"false")

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    mode = "consul-kv"

    def config(self):
        return json.dumps({"address": f"127.0.0.1:{self.port}"})

    def record(self, prefix):
        value = self.store.get(f"{prefix}/leader")
        return json.loads(value) if value else None

    def put(self, prefix, record):
        self.store[f"{prefix}/leader"] = json.dumps(record).encode()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Etcd:
    """The real server, asked here through its gateway."""
    mode = "etcd-kv"

    def __init__(self, field, name="etcd"):
        client, peer = free_ports(2)
        self.url = f"http://127.0.0.1:{client}"
        folder = os.path.join(field.root, name)
        self.log = open(os.path.join(field.root, name + ".log"), "wb")
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", folder, "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
             "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"default=http://127.0.0.1:{peer}"],
            stdout=self.log, stderr=self.log)
        until(lambda: self.ask("/v3/kv/range", {"key": "YQ=="}), "etcd answers")

    def ask(self, path, body, token=None):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Authorization": token} if token else {})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)

    def config(self):
        return json.dumps({"endpoints": [f"127.0.0.1:{free_ports(1)[0]}", self.url[len("http://"):]]})  # the first is dead

    def record(self, prefix):
        found = self.ask("/v3/kv/range", {"key": base64.b64encode(f"/{prefix}/leader".encode()).decode()}).get("kvs")
        return json.loads(base64.b64decode(found[0]["value"])) if found else None

    def put(self, prefix, record):
        self.ask("/v3/kv/put", {"key": base64.b64encode(f"/{prefix}/leader".encode()).decode(),
                                "value": base64.b64encode(json.dumps(record).encode()).decode()})

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def seeded(store, prefix="rqlite", more=()):
    return [*FLAGS, "-disco-mode", store.mode, "-disco-config", store.config(), "-disco-key", prefix, *more]


def life_of_a_cluster(field, store):
    """D4.5 D4.6: a lone replica waits; the first voter founds; others join; the record follows the leader"""
    replica = field.node("r", flags=seeded(store, "alpha", ["-raft-non-voter"])).start()
    until(lambda: "registering with discovery service" in replica.words(), "the replica looks")
    time.sleep(1)
    want(store.record("alpha") is None, "a replica writes no record")
    first = field.node("1", flags=seeded(store, "alpha")).start()
    first.wait_ready()
    want(store.record("alpha") == {"id": "1", "api_addr": f"http://localhost:{first.http}", "addr": f"localhost:{first.raft}"},
         f"{store.record('alpha')}")
    rest = [field.node(i, flags=seeded(store, "alpha")).start() for i in "23"]
    for n in rest:
        n.wait_ready()
    replica.wait_ready()
    seen = wait_members([first, *rest, replica], 4)
    want(seen["r"]["voter"] is False and all(seen[i]["voter"] for i in "123"), f"{seen}")
    told = disco(first)
    want(told["mode"] == store.mode and told["register_interval"] == 3000000000 and told["report_interval"] == 10000000000
         and told["last_contact"] > "2020", f"{told}")
    first.execute("CREATE TABLE t (n INTEGER)")
    leader = wait_leader([first, *rest])
    leader.kill()
    alive = [n for n in (first, *rest) if n is not leader]
    until(lambda: store.record("alpha")["id"] in {n.name for n in alive}, "the record names the new leader")
    four = field.node("4", flags=seeded(store, "alpha")).start()
    four.wait_ready()
    leader.start()
    leader.wait_ready()
    want("preexisting node configuration detected, not registering with discovery service" in leader.words(), leader.tail())
    wait_members([first, *rest, replica, four], 5)
    wait_equal([first, *rest, replica, four])


def many_at_once(field, store):
    """Five voters started together: one cluster"""
    nodes = [field.node(f"{i}", flags=seeded(store, "beta")).start() for i in range(5)]
    for n in nodes:
        n.wait_ready(60)
    wait_members(nodes, 5)


def test_consul(field):
    store = Consul()
    life_of_a_cluster(field, store)
    claims = [p for _, p, _ in store.writes if "cas" in p]
    want(len(claims) == 1, f"one claim was granted: {claims}")
    store.close()


def test_consul_many_at_once(field):
    store = Consul()
    many_at_once(field, store)
    store.close()


def test_consul_token_and_key(field):
    """Credentials go with it; the key is escaped; without the token nothing is formed"""
    store = Consul(token="secret")
    bad = field.node("bad", flags=seeded(store, "a b/c")).start()
    until(lambda: store.refused > 0, "refused")
    until(lambda: "Consul answers 403" in bad.words(), "and it says why")
    bad.process.send_signal(signal.SIGTERM)
    want(ends_with(bad, 1, "clustering failure: failed to join cluster: join operation canceled", 5) < 3, "at once")
    config = json.dumps({"address": f"127.0.0.1:{store.port}", "token": "$CONSUL_TEST_TOKEN", "datacenter": "dc 1"})
    os.environ["CONSUL_TEST_TOKEN"] = "secret"
    try:
        good = field.node("good", flags=["-disco-mode", "consul-kv", "-disco-config", config, "-disco-key", "a b/c"]).start()
        good.wait_ready()
    finally:
        del os.environ["CONSUL_TEST_TOKEN"]
    want(store.record("a b/c")["id"] == "good" and store.writes[0][1]["dc"] == "dc 1", f"{store.writes}")
    store.close()


def test_consul_away(field):
    """Not there yet: waited for, and a signal ends the waiting; there again: reported to"""
    port = free_ports(1)[0]
    config = json.dumps({"address": f"127.0.0.1:{port}"})
    flags = [*FLAGS, "-disco-mode", "consul-kv", "-disco-config", config]
    waiting = field.node("w", flags=flags).start()
    until(lambda: "failed to read from discovery service" in waiting.words(), "it says what is wrong")
    waiting.process.send_signal(signal.SIGTERM)
    want(ends_with(waiting, 1, "join operation canceled", 5) < 3, "at once")
    node = field.node("1", flags=flags).start()
    time.sleep(0.5)
    store = Consul(port=port)
    node.wait_ready()
    store.close()
    node.kill()
    node.start()  # it has state now: it serves without Consul
    node.wait_ready()
    until(lambda: "failed to update discovery service" in node.words(), "a failed report is logged", 15)
    store = Consul(port=port)
    until(lambda: store.record("rqlite"), "reported again within an interval", 25)
    store.close()


def test_signal_ends_a_failing_join(field):
    """Q-3: the record names a node that is gone"""
    store = Consul()
    store.put("rqlite", {"id": "gone", "api_addr": "http://localhost:1", "addr": "localhost:1"})
    node = field.node("1", flags=seeded(store)).start()
    until(lambda: "discovery service returned localhost:1 as join address" in node.words(), "it tries")
    until(lambda: "[cluster-join]" in node.words(), "… and fails")
    node.process.send_signal(signal.SIGTERM)
    want(ends_with(node, 1, "clustering failure: failed to join cluster: join operation canceled", 5) < 3, "at once")
    store.close()


def test_record_of_a_former_life(field):
    """Q-13: it names this node, which has lost its data: waited for a while, then overwritten"""
    store = Consul()
    node = field.node("1", flags=seeded(store))
    store.put("rqlite", {"id": "1", "api_addr": "http://localhost:1", "addr": f"localhost:{node.raft}"})
    node.start()
    until(lambda: "the record names this node, which has no data" in node.words(), "it notices")
    node.wait_ready(60)
    want(store.record("rqlite")["api_addr"] == f"http://localhost:{node.http}", f"{store.record('rqlite')}")
    store.close()


def with_etcd(field, test):
    if not shutil.which("etcd"):
        print("   skipped: there is no etcd here (package etcd-server)")
        return
    store = Etcd(field)
    try:
        test(field, store)
    finally:
        store.close()


def test_etcd(field):
    with_etcd(field, life_of_a_cluster)


def test_etcd_many_at_once(field):
    with_etcd(field, many_at_once)


def test_etcd_with_users(field):
    """username and password become a token; an old one is replaced"""
    def with_users(field, store):
        store.ask("/v3/auth/user/add", {"name": "root", "password": 'r"oot'})
        store.ask("/v3/auth/user/grant", {"user": "root", "role": "root"})
        store.ask("/v3/auth/enable", {})
        anonymous = field.node("a", flags=seeded(store)).start()
        until(lambda: "etcd answers" in anonymous.words(), "who is nobody is refused")
        anonymous.process.send_signal(signal.SIGTERM)
        ends_with(anonymous, 1, "join operation canceled", 5)
        config = json.dumps({"endpoints": [store.url], "username": "root", "password": 'r"oot'})
        node = field.node("1", flags=["-disco-mode", "etcd-kv", "-disco-config", config]).start()
        node.wait_ready()
        token = store.ask("/v3/auth/authenticate", {"name": "root", "password": 'r"oot'})["token"]
        found = store.ask("/v3/kv/range", {"key": base64.b64encode(b"/rqlite/leader").decode()}, token)
        want(json.loads(base64.b64decode(found["kvs"][0]["value"]))["id"] == "1", f"{found}")
    with_etcd(field, with_users)


if __name__ == "__main__":
    main_of(globals())
