#!/usr/bin/env python3
"""The first commands people copy from guides, as their letters stand in quick_start/*.txt and in the README: three nodes
on the ports 4001 to 4006, ~/node1 and so on, curl. A shell runs them, in a network of their own if this is root; else
the ports must be free.

    quick_start.py PATH/TO/rqlited

Exit status 0: all passed; 77: curl is not there."""
import glob
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

from nodes import HERE, REPORTS, Failed, want

PORTS = range(4001, 4007)
LIMIT_S = 40


def blocks_of(path):
    """{title: text}: a line "nodes:" begins the commands that start nodes, one after the other in one shell; "terminals:" those
    that are typed into a terminal each, perhaps behind its prompt; "requests:" the rest."""
    with open(path, encoding="utf-8") as f:
        parts = re.split(r"^(nodes|terminals|requests):\n", f.read(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def readme_block():
    with open(os.path.join(HERE, "..", "..", "README.md"), encoding="utf-8") as f:
        found = [b for b in re.findall(r"^```\w*\n(.*?)^```", f.read(), re.M | re.S) if "-join http://localhost:4001" in b]
    want(len(found) == 1, f"{len(found)} blocks of the README start nodes that join")
    return {"nodes": found[0]}


def shell_of(blocks):
    if "nodes" in blocks:
        return blocks["nodes"]
    return "".join(re.sub(r"^\s*(\$ )?", "", line) + " &\n" for line in blocks["terminals"].splitlines() if line.strip())


def ports_free():
    for port in PORTS:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError as e:
                raise Failed(f"port {port}, which these commands name, is taken: {e}") from None


def members():
    try:
        connection = http.client.HTTPConnection("localhost", 4001, timeout=5)
        connection.request("GET", "/nodes")
        return json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return {}


def wait_three():
    end = time.monotonic() + LIMIT_S
    while True:
        seen = members()
        if len(seen) == 3 and all(m["voter"] and m["reachable"] for m in seen.values()):
            return
        want(time.monotonic() < end, f"no cluster of three after {LIMIT_S} s: {seen}")
        time.sleep(0.1)


def shell(home, text, **more):
    env = dict(os.environ, HOME=home, PATH=os.path.join(home, "bin") + ":" + os.environ["PATH"])
    return subprocess.Popen(["bash", "-c", text], cwd=home, env=env, **more)


def played(name, blocks, binary):
    ports_free()
    home = tempfile.mkdtemp(prefix="rqlited-test.")
    os.mkdir(os.path.join(home, "bin"))
    os.symlink(os.path.abspath(binary), os.path.join(home, "bin", "rqlited"))
    log = os.path.join(home, "log")
    with open(log, "wb") as words:
        nodes = shell(home, shell_of(blocks) + "\nwait", stdout=words, stderr=words, start_new_session=True)
    try:
        wait_three()
        want(os.path.isdir(os.path.join(home, "node1")) and os.path.isdir(os.path.join(home, "node3")), "~/node1, ~/node3")
        if "requests" in blocks:
            done = shell(home, "set -e\n" + blocks["requests"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            said = done.communicate(timeout=60)[0].decode()
            want(done.returncode == 0, f"a request failed: {said}")
            want('"columns":["id","name"]' in said and '"error"' not in said, said)
            asked, got = blocks["requests"].count("SELECT * FROM foo"), said.count('"values":[[1,"bar"]]')
            want("INSERT" not in blocks["requests"] or asked == got, f"asked {asked} times, answered {got} times: {said}")
        os.killpg(nodes.pid, signal.SIGTERM)
        nodes.wait(30)
        with open(log, encoding="utf-8", errors="replace") as f:
            said = f.read()
        want(not any(r in said for r in REPORTS), said[-3000:])
        print(f"ok {name}: {said.count('successfully joined cluster')} joined", flush=True)
    except Failed:
        with open(log, encoding="utf-8", errors="replace") as f:
            print(f.read()[-3000:])
        raise
    finally:
        try:
            os.killpg(nodes.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    end = time.monotonic() + 20
    while time.monotonic() < end:  # the shell ends before its children
        try:
            ports_free()
            break
        except Failed:
            time.sleep(0.1)
    shutil.rmtree(home, ignore_errors=True)


def main():
    if not shutil.which("curl"):
        print("curl is not there")
        return 77
    if os.geteuid() == 0 and "--inside" not in sys.argv and shutil.which("unshare") and shutil.which("ip"):
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv, "--inside"])
    try:
        for path in sorted(glob.glob(os.path.join(HERE, "quick_start", "*.txt"))):
            played(os.path.basename(path), blocks_of(path), sys.argv[1])
        played("README.md", readme_block(), sys.argv[1])
    except Failed as e:
        print(f"FAIL {e}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
