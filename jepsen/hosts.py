"""Hosts: a network namespace for each node, joined by a bridge on which the clients sit; and what the kernel does to
packets between two of them, by nftables, in one direction at a time. Needs root, iproute2 and nftables.

Everything bears the prefix below, and is removed both at the beginning and at the end, so that a run that was
killed leaves nothing in the way of the next one."""
import contextlib
import fcntl
import json
import os
import subprocess
import tempfile

PREFIX, SUBNET = "rqchaos", "10.213.77"
CLIENT_ADDR = f"{SUBNET}.1"


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
        self.count, self.lock = count, None

    def __enter__(self):
        self.lock = open(os.path.join(tempfile.gettempdir(), PREFIX + ".lock"), "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotPossible("another run holds the hosts") from None
        self.clean()
        run("ip", "link", "add", PREFIX, "type", "bridge")
        run("ip", "addr", "add", f"{CLIENT_ADDR}/24", "dev", PREFIX)
        run("ip", "link", "set", PREFIX, "up")
        for i in range(self.count):
            self.add(i)
        return self

    def __exit__(self, *failure):
        self.clean()
        self.lock.close()

    def clean(self):
        for line in run("ip", "netns", "list", check=False).splitlines():
            name = line.split()[0] if line.split() else ""
            if name.startswith(PREFIX):
                for pid in run("ip", "netns", "pids", name, check=False).split():
                    with contextlib.suppress(OSError, ValueError):
                        os.kill(int(pid), 9)
                run("ip", "netns", "del", name, check=False)
        for link in json.loads(run("ip", "-j", "link", check=False) or "[]"):
            if link["ifname"].startswith(PREFIX):
                run("ip", "link", "del", link["ifname"], check=False)

    @staticmethod
    def name(i):
        return f"{PREFIX}{i}"

    @staticmethod
    def addr(i):
        return f"{SUBNET}.{11 + i}"

    def add(self, i):
        outer, name = f"{PREFIX}v{i}", self.name(i)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", outer, "master", PREFIX, "up")
        for command in (("addr", "add", f"{self.addr(i)}/24", "dev", "eth0"), ("link", "set", "eth0", "up"),
                        ("link", "set", "lo", "up")):
            run("ip", "-n", name, *command)
        self.nft(i, "add", "table", "inet", "chaos")
        self.nft(i, "add", "chain", "inet", "chaos", "in", "{ type filter hook input priority 0 ; }")

    def nft(self, i, *words):
        return run("ip", "netns", "exec", self.name(i), "nft", *words)

    def block(self, source, target):
        """Nothing that source sends reaches target any more."""
        self.nft(target, "add", "rule", "inet", "chaos", "in", "ip", "saddr", self.addr(source), "counter", "drop")

    def heal(self):
        """All links whole again. Returns how many packets were dropped since the last time."""
        dropped = 0
        for i in range(self.count):
            rules = json.loads(self.nft(i, "-j", "list", "chain", "inet", "chaos", "in"))["nftables"]
            for rule in rules:
                for part in rule.get("rule", {}).get("expr", []):
                    dropped += part.get("counter", {}).get("packets", 0)
            self.nft(i, "flush", "chain", "inet", "chaos", "in")
        return dropped
