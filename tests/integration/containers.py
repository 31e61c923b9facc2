#!/usr/bin/env python3
"""D10.5 without a container runtime: three machines made of namespaces (network, host name, /etc/hosts), each running the image's
entry point with the same arguments, find one another by DNS discovery and form a cluster.

    containers.py PATH/TO/rqlited

Exit status 0: passed; 77: not root, or iproute2 or util-linux is not there."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from entrypoint import ENTRY
from nodes import REPORTS, Failed, want

NAMES = ("rqlite-0", "rqlite-1", "rqlite-2")
ARGUMENTS = ["-disco-mode=dns", '-disco-config={"name":"rqlite-svc-internal"}', "-bootstrap-expect=3", "-join-interval=1s",
             "-join-attempts=120"]
LIMIT_S = 60


def sh(*words):
    subprocess.run(words, check=True, timeout=20)


def machines(root):
    """A bridge, and for each name a network of its own at it."""
    sh("mount", "-t", "tmpfs", "none", "/run/netns") if os.path.isdir("/run/netns") else (os.makedirs("/run/netns"))
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "br0", "type", "bridge")
    sh("ip", "addr", "add", "10.99.0.254/24", "dev", "br0")
    sh("ip", "link", "set", "br0", "up")
    lines = ["127.0.0.1 localhost"]
    for i, name in enumerate(NAMES):
        address = f"10.99.0.{i + 1}"
        sh("ip", "netns", "add", name)
        sh("ip", "link", "add", f"v{i}", "type", "veth", "peer", "name", "eth0", "netns", name)
        sh("ip", "link", "set", f"v{i}", "master", "br0", "up")
        for words in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            sh("ip", "-n", name, *words)
        lines += [f"{address} {name}", f"{address} rqlite-svc-internal"]
    with open(os.path.join(root, "hosts"), "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")


def run(root, name):
    env = dict(os.environ, DATA_DIR=os.path.join(root, name), PATH=os.path.join(root, "bin") + ":" + os.environ["PATH"])
    with open(os.path.join(root, name + ".log"), "wb") as words:
        return subprocess.Popen(["ip", "netns", "exec", name, "unshare", "-u", "-m", "sh", "-c",
                                 f'hostname {name} && mount --bind {root}/hosts /etc/hosts && exec "$0" "$@"', ENTRY, *ARGUMENTS],
                                stdout=words, stderr=words, env=env)


def members(address):
    done = subprocess.run(["curl", "-s", "-m", "3", f"http://{address}:4001/nodes"], capture_output=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {}


def words_of(root, name):
    with open(os.path.join(root, name + ".log"), encoding="utf-8", errors="replace") as f:
        return f.read()


def inside(binary):
    root = tempfile.mkdtemp(prefix="rqlited-test.")
    os.mkdir(os.path.join(root, "bin"))
    os.symlink(os.path.abspath(binary), os.path.join(root, "bin", "rqlited"))
    machines(root)
    running = [run(root, name) for name in NAMES]
    try:
        end = time.monotonic() + LIMIT_S
        while True:
            seen = [members(f"10.99.0.{i + 1}") for i in range(3)]
            started = all("connect using the command-line tool" in words_of(root, name) for name in NAMES)
            if started and all(sorted(each) == sorted(NAMES) and all(m["reachable"] for m in each.values()) for each in seen):
                break
            want(time.monotonic() < end, f"no cluster after {LIMIT_S} s: {seen}\n" + words_of(root, NAMES[0])[-2000:])
            time.sleep(0.2)
        want(all(m["voter"] and m["addr"] == f"{name}:4002" for name, m in seen[0].items()), f"{seen[0]}")
        for p in running:
            p.send_signal(signal.SIGTERM)  # the entry point is the daemon by now
        for p in running:
            want(p.wait(30) == 0, f"status {p.returncode}")
        said = "".join(words_of(root, name) for name in NAMES)
        want(not any(r in said for r in REPORTS), said[-3000:])
    finally:
        for p in running:
            if p.poll() is None:
                p.kill()
    shutil.rmtree(root, ignore_errors=True)
    print("three machines with the same arguments are one cluster")


def main():
    if "--inside" in sys.argv:
        try:
            inside(sys.argv[1])
        except Failed as e:
            print(f"FAIL {e}")
            return 1
        return 0
    if os.geteuid() != 0 or not all(shutil.which(w) for w in ("ip", "unshare", "curl")):
        print("needs root, iproute2, util-linux and curl")
        return 77
    return subprocess.run(["unshare", "-n", "-m", sys.executable, *sys.argv, "--inside"], check=False, timeout=200).returncode


if __name__ == "__main__":
    sys.exit(main())
