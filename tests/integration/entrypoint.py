#!/usr/bin/env python3
"""The container's entry point, with a program in the place of rqlited that tells what it was called with; the unit and
the manifest as far as they can be checked without their masters.

    entrypoint.py

Exit status 0: all passed."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from nodes import want, Failed

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ENTRY = os.path.join(ROOT, "tools", "deploy", "entrypoint")


def called(folder, *arguments, **environment):
    done = subprocess.run([ENTRY, *arguments], capture_output=True, text=True, timeout=30,
                          env={"PATH": folder + ":/usr/bin:/bin", **environment})
    return done.returncode, done.stdout.splitlines(), done.stderr


def check_defaults(folder):
    """D10.1"""
    host = subprocess.run(["hostname"], capture_output=True, text=True).stdout.strip()
    for arguments in ((), ("run",)):
        code, got, _ = called(folder, *arguments)
        names = [g.split("=")[0] for g in got]
        want(code == 0 and names == ["-http-addr", "-http-adv-addr", "-raft-addr", "-raft-adv-addr", "-node-id",
                                     "/rqlite/file/data"], f"{arguments}: {got}")
        want(got[0] == "-http-addr=0.0.0.0:4001" and got[2] == "-raft-addr=0.0.0.0:4002" and got[4] == f"-node-id={host}",
             f"{got}")


def check_flags(folder):
    """D10.2 D10.3"""
    code, got, _ = called(folder, "-node-id", "x", "-http-addr", "0.0.0.0:9001")
    want(code == 0 and got[-5:] == ["-node-id", "x", "-http-addr", "0.0.0.0:9001", "/rqlite/file/data"], f"{got}")
    want(not any(g.startswith(("-node-id=", "-http-addr=")) for g in got), f"{got}")
    plain, moved = called(folder)[1], called(folder, DATA_DIR="/d")[1]
    want(moved[:-1] == plain[:-1] and moved[-1] == "/d", f"{moved}")
    code, got, _ = called(folder, '-disco-config={"name":"a b"}', "-http-adv-addr=h:1", DATA_DIR="/d", ENABLE_FK="1",
                          RAFT_ADV_ADDR="r:2", NODE_ID="n 1")
    want(got[-3:] == ['-disco-config={"name":"a b"}', "-http-adv-addr=h:1", "/d"], f"{got}")
    want("-fk" in got and "-raft-adv-addr=r:2" in got and "-node-id=n 1" in got, f"{got}")


def check_others(folder):
    """D10.4"""
    code, got, _ = called(folder, "sh", "-c", "echo a shell")
    want(code == 0 and got == ["a shell"], f"{got}")
    code, got, words = called(folder, "-extensions-path", "/x", SQLITE_EXTENSIONS="icu")
    want(code == 1 and not got and words == "Setting both -extensions-path and SQLITE_EXTENSIONS is not allowed\n", words)
    code, got, words = called(folder, SQLITE_EXTENSIONS="icu")
    want(code == 1 and not got and "not supported" in words, words)


def check_files():
    with open(os.path.join(ROOT, "docs", "deploy", "kubernetes.yaml"), encoding="utf-8") as f:
        manifest = f.read()
    for line in ("publishNotReadyAddresses: true", "podManagementPolicy: Parallel", "terminationGracePeriodSeconds: 10",
                 "path: /readyz, port: 4001", "path: /readyz?noleader, port: 4001", "-bootstrap-expect=3"):
        want(line in manifest, f"the manifest lacks {line}")
    with open(os.path.join(ROOT, "tools", "deploy", "Dockerfile"), encoding="utf-8") as f:
        for source in re.findall(r"^COPY (?!--from)(\S+)", f.read(), re.M):
            want(os.path.exists(os.path.join(ROOT, source)), f"the Dockerfile copies {source}")
    if not shutil.which("systemd-analyze"):
        print("systemd-analyze is not here: the unit is not verified")
        return
    unit = os.path.join(ROOT, "tools", "deploy", "rqlited.service")
    words = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=30).stderr
    strange = [w for w in words.splitlines() if "rqlited.service" in w and "is not executable" not in w]
    want(not strange, f"the unit: {strange}")


def main():
    folder = tempfile.mkdtemp()
    try:
        with open(os.path.join(folder, "rqlited"), "w", encoding="ascii") as f:
            f.write('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n')
        os.chmod(f.name, 0o755)
        check_defaults(folder)
        check_flags(folder)
        check_others(folder)
        check_files()
    except Failed as e:
        print(f"FAIL {e}")
        return 1
    finally:
        shutil.rmtree(folder)
    print("the entry point calls what it should")
    return 0


if __name__ == "__main__":
    sys.exit(main())
