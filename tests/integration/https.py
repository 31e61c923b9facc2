#!/usr/bin/env python3
"""HTTPS in real processes: requests, client certificates, certificates that change under load, plain HTTP, slow and
broken handshakes, joining through https://. Certificates are made with the openssl command.

    https.py PATH/TO/rqlited

Exit status 0: all passed."""
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time

from nodes import Answer, Field, want

HANDSHAKE_LIMIT_S = 10


class Certificates:
    """A CA and what it signs, in files of a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = self.make("ca")
        self.strange = self.make("strange")

    def path(self, name):
        return os.path.join(self.folder, name + ".pem"), os.path.join(self.folder, name + ".key")

    def make(self, name, issuer=None, common_name=None, names="DNS:localhost,IP:127.0.0.1"):
        cert, key = self.path(name)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                   "-keyout", key, "-out", cert, "-subj", f"/CN={common_name or name}"]
        if issuer:
            command += ["-CA", issuer[0], "-CAkey", issuer[1], "-addext", f"subjectAltName={names}",
                        "-addext", "basicConstraints=critical,CA:FALSE"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        want(done.returncode == 0, f"openssl: {done.stderr}")
        return cert, key

    def expired(self, name, common_name):
        """Of our CA, good for localhost, until the year 2021."""
        cert, key = self.path(name)
        folder = os.path.join(self.folder, name + ".ca")
        os.mkdir(folder)
        config = os.path.join(folder, "ca.cnf")
        with open(config, "w", encoding="ascii") as f:
            f.write(f"[ca]\ndefault_ca=d\n[d]\nnew_certs_dir={folder}\ndatabase={folder}/index\nrand_serial=yes\ndefault_md=sha256\n"
                    "policy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n")
        open(os.path.join(folder, "index"), "w", encoding="ascii").close()
        request = os.path.join(folder, "request.pem")
        for command in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                         "-subj", f"/CN={common_name}"],
                        ["ca", "-batch", "-config", config, "-cert", self.ca[0], "-keyfile", self.ca[1], "-in", request, "-out", cert,
                         "-notext", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z"]):
            done = subprocess.run(["openssl", *command], capture_output=True, text=True, check=False)
            want(done.returncode == 0, f"openssl: {done.stderr}")
        return cert, key

    def client(self, shown=None, ca=None):
        """What a client needs to trust our CA and perhaps show a certificate."""
        context = ssl.create_default_context(cafile=(ca or self.ca)[0])
        if shown:
            context.load_cert_chain(*shown)
        return context


def connect(node, context, timeout_s=15):
    return http.client.HTTPSConnection("localhost", node.http, timeout=timeout_s, context=context)


def start(field, name, context, flags):
    node = field.node(name, flags=flags)

    def ask(method, path, body=None, timeout_s=10):
        connection = connect(node, context, timeout_s)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            answer = connection.getresponse()
            result = Answer(answer.status, answer.read())
            result.location = answer.headers.get("Location")
            return result
        finally:
            connection.close()

    node.ask = ask
    node.start()
    node.wait_ready()
    return node


def serial_seen(node, context):
    with socket.create_connection(("localhost", node.http), 5) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as s:
        return s.getpeercert()["serialNumber"]


# ---- requests -----------------------------------------------------------------------------------------------


def check_requests(node, context):
    tls = node.ask("GET", "/status?key=http.tls").json()
    want(tls["enabled"] == "true" and tls["client_auth"] == "NoClientCert" and tls["next_protos"] == ["http/1.1"], f"{tls}")
    want(node.ask("GET", "/nodes").json()[node.name]["api_addr"] == f"https://localhost:{node.http}", "api_addr")
    node.execute("CREATE TABLE big(x TEXT)")
    kept = connect(node, context)
    for i in range(20):  # one connection
        kept.request("POST", "/db/execute", json.dumps([["INSERT INTO big VALUES(?)", str(i) * 300_000]]))
        want(kept.getresponse().read() == b'{"results":[{"last_insert_id":%d,"rows_affected":1}]}' % (i + 1), "the insert")
    kept.request("GET", "/db/query?q=SELECT+x+FROM+big")
    answer = kept.getresponse()
    time.sleep(0.3)  # it is larger than what fits on the way: the node must wait for us
    rows = json.loads(answer.read())["results"][0]["values"]
    want(rows == [[str(i) * 300_000] for i in range(20)], "a large answer came out differently")
    kept.close()


def check_byte_by_byte(node, context):
    """A request whose every byte is a record, and whose records come in pieces of one byte."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("localhost", node.http), 5) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def step(call):
            while True:
                try:
                    result = call()
                    break
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        s.sendall(bytes([byte]))
                    incoming.write(s.recv(65536))
            for byte in outgoing.read():
                s.sendall(bytes([byte]))
            return result

        step(tls.do_handshake)
        for byte in b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n":
            step(lambda b=byte: tls.write(bytes([b])))
        got = b""
        while b"leader ok" not in got:
            got += step(lambda: tls.read(4096))
        want(got.startswith(b"HTTP/1.1 200 OK\r\n"), f"{got[:100]!r}")


def check_plain_http(node):
    for request in (b"GET /status HTTP/1.1\r\nHost: a\r\n\r\n", b"DELETE /remove HTTP/1.1\r\nHost: a\r\n\r\n"):
        with socket.create_connection(("localhost", node.http), 5) as s:
            s.sendall(request)
            got = b""
            while piece := s.recv(4096):
                got += piece
        want(got == b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", f"{got!r}")


def check_garbage(node):
    for data in (b"\x00" * 100, b"\x16\x03\x01\x00\x05hello", os.urandom(3000), b"SSH-2.0-x\r\n"):
        with socket.create_connection(("localhost", node.http), 5) as s:
            try:
                s.sendall(data)
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    want(node.ready(), "the node is not ready after garbage")


def check_versions(node, certificates):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = certificates.client()
        context.minimum_version = context.maximum_version = version
        connection = connect(node, context)
        connection.request("GET", "/readyz")
        want(connection.getresponse().status == 200, str(version))
        connection.close()
    done = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{node.http}", "-tls1_1", "-cipher",
                           "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    want(done.returncode != 0, "TLS 1.1 is accepted")


class SlowHandshake:
    """One byte, and nothing more: after how many seconds does the node end it?"""

    def __init__(self, node):
        self.socket = socket.create_connection(("localhost", node.http), HANDSHAKE_LIMIT_S + 20)
        self.socket.sendall(b"\x16")
        self.seconds, self.got = None, b""
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        begun = time.monotonic()
        self.got = self.socket.recv(100)
        self.seconds = time.monotonic() - begun

    def wait(self):
        self.thread.join(HANDSHAKE_LIMIT_S + 25)
        want(self.seconds is not None and self.got == b"", f"it was not ended, or answered with {self.got!r}")
        return self.seconds


def handshake_time(node, context):
    begun, rounds = time.monotonic(), 50
    fresh = lambda: serial_seen(node, context)
    for _ in range(rounds):
        fresh()
    return (time.monotonic() - begun) / rounds


# ---- certificates that change ------------------------------------------------------------------------------------


class Load:
    """Clients that write as fast as they are answered, each on connections of its own: a new one every ten writes."""

    def __init__(self, node, context):
        self.node, self.context, self.stop, self.written, self.failure = node, context, False, 0, None
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(4)]
        for t in self.threads:
            t.start()

    def run(self):
        try:
            while not self.stop:
                connection = connect(self.node, self.context)
                for _ in range(10):
                    connection.request("POST", "/db/execute", '["INSERT INTO load VALUES(1)"]')
                    want(b'"rows_affected":1' in connection.getresponse().read(), "a write failed")
                    self.written += 1
                connection.close()
        except Exception as failure:  # pylint: disable=broad-except
            self.failure = failure

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(20)
        want(self.failure is None, f"a client failed while certificates changed: {self.failure!r}")
        return self.written


def want_serial(node, context, serial, words, limit_s=5):
    end = time.monotonic() + limit_s
    while serial_seen(node, context) != serial:
        want(time.monotonic() < end, words)
        time.sleep(0.1)


def check_reload(node, certificates, context, files):
    """D9.4 D9.5"""
    node.execute("CREATE TABLE load(i)")
    load = Load(node, context)
    first = serial_seen(node, context)
    kept = connect(node, context)
    kept.request("GET", "/readyz")
    want(kept.getresponse().read().startswith(b"[+]node ok"), "the kept connection")

    second = certificates.make("second", certificates.ca)
    shutil.copy(second[0], files[0])  # for a moment the key does not fit
    time.sleep(1.3)
    want_serial(node, context, first, "a certificate without its key is shown")
    shutil.copy(second[1], files[1])
    end = time.monotonic() + 5
    while serial_seen(node, context) == first:
        want(time.monotonic() < end, "the new certificate is not shown")
        time.sleep(0.1)
    kept.request("GET", "/readyz")
    want(kept.getresponse().status == 200, "a connection that was there before")
    kept.close()
    with open(files[1], "w", encoding="ascii") as f:
        f.write("nonsense\n")
    now = serial_seen(node, context)
    time.sleep(1.3)
    want_serial(node, context, now, "a broken key ended the certificate")
    written = load.end()
    want(node.words().count("reloading certificate at") == 1, "reloads in the log")
    want(node.words().count("failed to reload certificate") == 2, "failed reloads in the log")
    shutil.copy(second[1], files[1])
    want(node.rows("SELECT count(*) FROM load") == [[written]], "writes are missing")
    return written


# ---- clients that must show who they are ------------------------------------------------------------------------


def check_client_certificates(field, certificates, server):
    """D9.6"""
    alice = certificates.make("alice", certificates.ca, "alice")
    eve = certificates.make("eve", certificates.strange, "alice")
    flags = ["-http-cert", server[0], "-http-key", server[1], "-http-ca-cert", certificates.ca[0], "-http-verify-client"]
    node = start(field, "verified", certificates.client(alice), flags)
    want(node.ask("GET", "/status?key=http.tls.client_auth").body == b'"RequireAndVerifyClientCert"', "client_auth")

    def refused(shown, words):
        try:
            connection = connect(node, certificates.client(shown))
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except (ssl.SSLError, OSError, http.client.HTTPException):
            status = None
        want(status is None, f"{words} was answered {status}")

    refused(None, "a client without certificate")
    refused(eve, "a client of another CA")
    node.terminate()
    named = start(field, "named", certificates.client(alice), flags + ["-http-verify-common-name", "alice"])
    named.terminate()
    node = field.node("misnamed", flags=flags + ["-http-verify-common-name", "alic"]).start()
    end = time.monotonic() + 10
    while "node HTTP API available" not in node.words():
        want(time.monotonic() < end, "the node does not start")
        time.sleep(0.05)
    refused(alice, "a client of another name")
    want('matches CN "alic"' in node.words(), "the log does not say why")
    node.terminate()


# ---- joining, redirects, starts that fail -----------------------------------------------------------------------


def check_join(field, certificates, context, first, flags):
    own = flags + ["-http-ca-cert", certificates.ca[0], "-join", f"https://localhost:{first.http}"]
    second = start(field, "second", context, own)
    answer = second.ask("POST", "/db/execute?redirect", ["SELECT 1"])
    want(answer.status == 301 and answer.location == f"https://localhost:{first.http}/db/execute?redirect", answer.location)
    want(second.execute("INSERT INTO load VALUES(2)")["rows_affected"] == 1, "a write through the follower")
    listed = second.ask("GET", "/nodes").json()
    want(all(m["api_addr"].startswith("https://localhost:") for m in listed.values()), f"D2.4: {listed}")
    second.terminate()
    strangers = field.node("stranger", flags=["-http-ca-cert", certificates.strange[0], "-join-attempts", "1",
                                              "-join", f"https://localhost:{first.http}"]).start()
    want(strangers.process.wait(20) == 1, "it joined through a node that it cannot know")
    want("self-signed certificate in certificate chain" in strangers.words() or
         "unable to get local issuer certificate" in strangers.words(), strangers.tail())


def check_bad_starts(field, server, certificates):
    missing = os.path.join(field.root, "none.pem")
    for name, flags, words in [
        ("nocert", ["-http-cert", missing, "-http-key", server[1]], "failed to start HTTP server: open"),
        ("wrongkey", ["-http-cert", server[0], "-http-key", certificates.ca[1]],
         "failed to start HTTP server: private key: key values mismatch"),
        ("half", ["-http-cert", server[0]], "either both -http-cert and -http-key must be set, or neither"),
    ]:
        node = field.node(name, flags=flags).start()
        want(node.process.wait(20) == 1, f"exit status {node.process.returncode}")
        want(words in node.words(), f"the log does not say {words!r}: {node.tail()}")


def main():
    with Field(sys.argv[1]) as field:
        certificates = Certificates(field.root)
        server = certificates.make("server", certificates.ca)
        files = tuple(os.path.join(field.root, name) for name in ("live.pem", "live.key"))
        for source, copy in zip(server, files):
            shutil.copy(source, copy)
        context = certificates.client()
        flags = ["-http-cert", files[0], "-http-key", files[1]]
        node = start(field, "first", context, flags)
        slow = SlowHandshake(node)

        check_requests(node, context)
        check_byte_by_byte(node, context)
        check_plain_http(node)
        check_garbage(node)
        check_versions(node, certificates)
        milliseconds = handshake_time(node, context) * 1000
        written = check_reload(node, certificates, context, files)
        check_client_certificates(field, certificates, server)
        check_join(field, certificates, context, node, flags)
        check_bad_starts(field, server, certificates)

        seconds = slow.wait()
        want(HANDSHAKE_LIMIT_S - 1 < seconds < HANDSHAKE_LIMIT_S + 8, f"a handshake that did not go on ended after {seconds} s")
        idle = [context.wrap_socket(socket.create_connection(("localhost", node.http), 5), server_hostname="localhost")
                for _ in range(3)]
        seconds = node.terminate()
        want(node.process.returncode == 0 and seconds < 3, f"the stop took {seconds:.1f} s")
        for s in idle:
            s.close()
    print(f"ok: {written} writes while certificates changed; a connection with its handshake takes {milliseconds:.1f} ms")


if __name__ == "__main__":
    main()
