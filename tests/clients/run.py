#!/usr/bin/env python3
"""rqlite's own client libraries against a cluster of ours.

    tests/clients/run.py build/dev/rqlited --library python|javascript [--cache FOLDER]

The library comes from its package registry, by name and exact version, through the registry's own program, once per
cache folder. python.py and javascript.mjs use it as an application would; they are told the nodes' addresses and may ask
for the leader to be killed. They print how many calls of the library they made.

Where the registry cannot be reached the test is skipped (exit status 77) and says so, and its calls count as skipped; in
continuous integration (CI=true) it fails after a second attempt.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "integration"))
import nodes  # noqa: E402  (the folder of the real-process tests, beside this one)

SKIPPED = 77
INSTALL_LIMIT_S = 120
CLIENT_LIMIT_S = 120
CREDENTIALS = [{"username": "bob", "password": "s e/c:ret", "perms": ["all"]}, {"username": "*", "perms": ["ready"]}]

# rqlite-js needs @babel/runtime without saying so in its package.json.
PACKAGES = {
    "python": ["pyrqlite==2.2.3"],
    "javascript": ["rqlite-js@2.5.7", "axios@1.21.1", "qs@6.17.1", "@babel/runtime@7.28.4"],
}


def install_command(library, folder):
    if library == "python":
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder]
    return ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--prefix", folder]


def install(library, cache):
    """The folder with the library, or None and why not. What was installed whole is not asked for again."""
    packages = PACKAGES[library]
    folder = os.path.join(cache, library)
    stamp = os.path.join(folder, "installed")
    if os.path.exists(stamp) and open(stamp, encoding="ascii").read() == " ".join(packages):
        return folder, ""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        done = subprocess.run(install_command(library, folder) + packages, capture_output=True, text=True,
                              timeout=INSTALL_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as why:
        return None, str(why)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        return None, lines[-1]
    with open(stamp, "w", encoding="ascii") as f:
        f.write(" ".join(packages))
    return folder, ""


def library_folder(library, cache):
    strict = os.environ.get("CI") == "true"
    for _ in range(2 if strict else 1):
        folder, why = install(library, cache)
        if folder:
            return folder
    print(f"{'FAIL' if strict else 'skipped'}: {' '.join(PACKAGES[library])} could not be installed: {why}")
    raise SystemExit(1 if strict else SKIPPED)


def command(library, folder):
    """How to start the program that uses the library, and with which environment."""
    if library == "python":
        return [sys.executable, os.path.join(HERE, "python.py")], {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
    return ["node", os.path.join(HERE, "javascript.mjs")], {"RQ_MODULES": os.path.join(folder, "node_modules")}


def addresses(three, guarded):
    leader = nodes.wait_leader(three)
    followers = [n for n in three if n is not leader]
    return leader, {"leader": leader.http, "followers": [n.http for n in followers], "guarded": guarded.http,
                    "user": CREDENTIALS[0]["username"], "password": CREDENTIALS[0]["password"]}


def guarded_node(field):
    path = os.path.join(field.root, "credentials.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump(CREDENTIALS, f)
    return field.node("guarded", flags=["-auth", path]).start()


def converse(client, leader):
    """Print what the client says; kill the leader when it says so. True: it reported its calls."""
    counted = False
    for line in client.stdout:
        if line == "kill the leader\n":
            leader.kill()
            client.stdin.write("killed\n")
            client.stdin.flush()
            continue
        counted = counted or " calls of " in line
        print(line, end="", flush=True)
    return counted


def run(given):
    folder = library_folder(given.library, given.cache)
    start, environment = command(given.library, folder)
    with nodes.Field(given.rqlited) as field:
        three = field.three()
        for node in three:
            node.wait_ready()
        guarded = guarded_node(field)
        guarded.wait_ready()
        leader, told = addresses(three, guarded)
        environment = dict(os.environ, **environment, RQ_TOLD=json.dumps(told), RQLITED_PATH=field.binary)
        client = subprocess.Popen(start, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            counted = converse(client, leader)
            nodes.want(client.wait(CLIENT_LIMIT_S) == 0, f"{given.library}: the client ended with {client.returncode}")
            nodes.want(counted, f"{given.library}: the client did not say how many calls it made")
        finally:
            client.kill()
            client.wait()
        for node in [n for n in (*three, guarded) if n is not leader]:
            node.terminate()
            nodes.want(node.process.returncode == 0, f"node {node.name} ended with {node.process.returncode}\n{node.tail()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rqlited")
    parser.add_argument("--library", required=True, choices=sorted(PACKAGES))
    parser.add_argument("--cache", default=os.path.join(HERE, "..", "..", "build", "clients"))
    given = parser.parse_args()
    given.cache = os.path.abspath(given.cache)
    run(given)


if __name__ == "__main__":
    main()
