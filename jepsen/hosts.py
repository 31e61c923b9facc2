"""Hosts: a network namespace for each node, joined by a bridge on which the clients sit; and what the kernel does to
packets between two of them, by nftables, in one direction at a time. Needs root, iproute2 and nftables.

Runs may go on side by side: each takes a slot, which gives it a subnet and a prefix for everything it makes. All that
bears the prefix is removed both at the beginning and at the end, so that a run that was killed leaves nothing in the
way of the next one."""
import contextlib
import fcntl
import json
import os
import subprocess

LOCKS, SLOTS = "/run/lock", 10  # of the machine, whatever TMPDIR says


class NotPossible(Exception):
    """This machine cannot do it; the words say what is missing."""


def run(*command, check=True):
    result = subprocess.run(command, capture_output=True, text=True)
    if check and result.returncode:
        raise NotPossible(f"{' '.join(command)}: {result.stderr.strip()}")
    return result.stdout


def missing():
    """What keeps this machine from running hosts; None: nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nft"):
        if subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True).returncode:
            return f"{tool} is not installed (Debian: apt-get install iproute2 nftables)"
    return None


class Hosts:
    def __init__(self, count):
        self.count, self.lock, self.prefix, self.subnet = count, None, "", ""

    def take_slot(self):
        for slot in range(SLOTS):
            lock = open(os.path.join(LOCKS, f"rqhost{slot}.lock"), "w", encoding="ascii")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            self.lock, self.prefix, self.subnet = lock, f"rqhost{slot}", f"10.213.{70 + slot}"
            return
        raise NotPossible(f"{SLOTS} other runs hold all hosts")

    def __enter__(self):
        self.take_slot()
        self.clean()
        run("ip", "link", "add", self.prefix, "type", "bridge")
        run("ip", "addr", "add", f"{self.subnet}.1/24", "dev", self.prefix)
        run("ip", "link", "set", self.prefix, "up")
        for i in range(self.count):
            self.add(i)
        return self

    def __exit__(self, *failure):
        self.clean()
        self.lock.close()

    def clean(self):
        for line in run("ip", "netns", "list", check=False).splitlines():
            name = line.split()[0] if line.split() else ""
            if name.startswith(self.prefix):
                for pid in run("ip", "netns", "pids", name, check=False).split():
                    with contextlib.suppress(OSError, ValueError):
                        os.kill(int(pid), 9)
                run("ip", "netns", "del", name, check=False)
        for link in json.loads(run("ip", "-j", "link", check=False) or "[]"):
            if link["ifname"].startswith(self.prefix):
                run("ip", "link", "del", link["ifname"], check=False)

    def name(self, i):
        return f"{self.prefix}n{i}"

    def addr(self, i):
        return f"{self.subnet}.{11 + i}"

    def add(self, i):
        outer, name = f"{self.prefix}v{i}", self.name(i)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", outer, "master", self.prefix, "up")
        for command in (("addr", "add", f"{self.addr(i)}/24", "dev", "eth0"), ("link", "set", "eth0", "up"),
                        ("link", "set", "lo", "up")):
            run("ip", "-n", name, *command)
        self.nft(i, "add", "table", "inet", "chaos")
        self.nft(i, "add", "chain", "inet", "chaos", "in", "{ type filter hook input priority 0 ; }")

    def nft(self, i, *words):
        return run("ip", "netns", "exec", self.name(i), "nft", *words)

    def block(self, source, target):
        """Nothing that source sends reaches target any more, until the rule returned is given to unblock()."""
        said = self.nft(target, "--echo", "--json", "add", "rule", "inet", "chaos", "in", "ip", "saddr", self.addr(source),
                        "counter", "drop")
        return target, next(part["add"]["rule"]["handle"] for part in json.loads(said)["nftables"] if "rule" in part.get("add", {}))

    def unblock(self, rule):
        """How many packets it dropped."""
        target, handle = rule
        rules = json.loads(self.nft(target, "--json", "list", "chain", "inet", "chaos", "in"))["nftables"]
        dropped = sum(part.get("counter", {}).get("packets", 0) for r in rules if r.get("rule", {}).get("handle") == handle
                      for part in r["rule"]["expr"])
        self.nft(target, "delete", "rule", "inet", "chaos", "in", "handle", str(handle))
        return dropped

    def heal(self):
        """All links whole again."""
        for i in range(self.count):
            self.nft(i, "flush", "chain", "inet", "chaos", "in")
