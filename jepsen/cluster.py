"""Nodes of the shipped program, each in a host of its own."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import time

HTTP_PORT, RAFT_PORT = 4001, 4002
BAD_WORDS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "ASSERT failed",
             "is damaged", "digest")


class Broken(Exception):
    """The cluster does not do what it must; the words say what."""


class Node:
    def __init__(self, binary, hosts, root, number, flags):
        self.binary, self.hosts, self.number, self.flags = binary, hosts, number, list(flags)
        self.addr, self.http = hosts.addr(number), HTTP_PORT
        self.name = f"n{number}"
        self.folder, self.words_path = os.path.join(root, self.name), os.path.join(root, self.name + ".log")
        self.process, self.life = None, 0
        self.killed = False  # by us
        self.join = None  # addresses, as long as it is no member

    def command(self):
        return ["ip", "netns", "exec", self.hosts.name(self.number), self.binary, "-node-id", self.name,
                "-http-addr", f"{self.addr}:{HTTP_PORT}", "-raft-addr", f"{self.addr}:{RAFT_PORT}",
                *self.flags, *(["-join", self.join, "-join-attempts", "1000", "-join-interval", "500ms"] if self.join else []),
                self.folder]

    def start(self):
        self.life, self.killed = self.life + 1, False
        with open(self.words_path, "ab") as words:
            self.process = subprocess.Popen(self.command(), stdout=words, stderr=words)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def paused(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "T"

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.killed = True
        self.process.kill()
        self.process.wait()

    def ended_by_itself(self):
        return not self.running() and not self.killed

    def wipe(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, method, path, body=None, timeout_s=2.0):
        connection = http.client.HTTPConnection(self.addr, HTTP_PORT, timeout=timeout_s)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"} if body is not None else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, path, timeout_s=2.0):
        """None: no answer, or not one that can be read."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self.ask("GET", path, timeout_s=timeout_s)
            return json.loads(body) if status == 200 else None
        return None

    def ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/readyz")[0] == 200
        return False

    def words(self):
        with contextlib.suppress(OSError), open(self.words_path, encoding="utf-8", errors="replace") as f:
            return f.read()
        return ""


class Cluster:
    def __init__(self, binary, hosts, root, flags_of):
        """flags_of: for each node."""
        self.nodes = [Node(binary, hosts, root, i, flags_of[i]) for i in range(hosts.count)]
        self.strange = []

    def start(self):
        self.nodes[0].start()
        self.wait_ready([self.nodes[0]])
        for node in self.nodes[1:]:
            node.join = f"{self.nodes[0].addr}:{RAFT_PORT}"
            node.start()
        self.wait_ready(self.nodes)
        self.wait_members(len(self.nodes))
        for node in self.nodes:  # whoever starts again knows the others, and must find them without help
            node.join = None

    def leader(self):
        """Of those that call themselves leader the one with the highest term."""
        found, term = None, -1
        for node in self.nodes:
            raft = node.json("/status?key=store.raft", 1.0) if node.running() and not node.paused() else None
            if raft and raft.get("state") == "Leader" and raft["term"] > term:
                found, term = node, raft["term"]
        return found

    def wait(self, what, words, limit_s):
        end = time.monotonic() + limit_s
        while True:
            result = what()
            if result:
                return result
            if time.monotonic() > end:
                raise Broken(f"{words} within {limit_s} s")
            time.sleep(0.05)

    def wait_ready(self, nodes, limit_s=30):
        for node in nodes:
            self.wait(node.ready, f"{node.name} is not ready", limit_s)

    def wait_leader(self, limit_s=30):
        return self.wait(self.leader, "no leader", limit_s)

    def voters(self, node):
        members = node.json("/nodes?ver=2") or {}
        return [m["id"] for m in members.get("nodes", []) if m.get("voter")]

    def wait_members(self, count, limit_s=30):
        def all_voters():
            leader = self.leader()
            return leader and len(self.voters(leader)) == count
        self.wait(all_voters, f"not {count} voters", limit_s)

    def stop(self):
        """Words about what did not end well."""
        strange = list(self.strange)
        for node in self.nodes:
            if node.running():
                node.signal(signal.SIGCONT)
                node.signal(signal.SIGTERM)
        for node in self.nodes:
            if node.process is None:
                continue
            try:
                if node.process.wait(20) != 0:
                    strange.append(f"{node.name} ended with {node.process.returncode}")
            except subprocess.TimeoutExpired:
                strange.append(f"{node.name} still runs 20 s after SIGTERM")
                node.kill()
            strange += [f"{node.name}: {line}" for line in node.words().splitlines()
                        if any(word in line for word in BAD_WORDS)]
        return strange

    def kill(self):
        for node in self.nodes:
            if node.running():
                node.kill()
