"""Dialogues: what a client sends and what it must get back, byte for byte, in files a person can read.

    source: spec                  where the expected bytes come from: "spec" or "rqlite v10.x". Required.
    on: node leader follower      the stages (run.py) on which the file is played. Required.

    [46] an empty array holds no statements
      POST /db/query
      Content-Type: text/plain
      | []
      400
      Content-Type: text/plain; charset=utf-8
      no Server
      | no statements⏎

A dialogue is a title with its number, one or more requests, and after each the answer wanted. Lines with "| " are a
body; they are joined as they stand, so a long one may be folded. No body line: the answer's body is not looked at; one
empty "|": it must be empty. The client adds HTTP/1.1, Host, Accept, Content-Length and, as curl does, the form type
when a body has no Content-Type; a header given as "no Name" is not sent. All dialogues of a file use one connection.

In bodies, paths and headers
    ⏎ ␍        the bytes 0A and 0D            «00ff»       bytes in hex
    {self}     HTTP address of the stage's node; {leader}, {follower}, {replica}, {node}; {self.raft} the Raft address,
               {self.id} the id. {server}: who must say it served a request that is led (X-Rqlite-Served-By).
    @name      (alone in a body line) a body kept before with "keep name"
In expected ones also matchers: <secs> <int> <positive> <19 digits> <julian> <8 HEX> <text> <duration> <date> <2 bytes> <any>;
<int:n> matches and names it; a second <int:n> in the same text must be the same, and {n} or {n+1} further down in the dialogue
stand for the number.

Further lines: "to leader" sends to another node than the stage's; "on node leader" narrows the stages of one dialogue;
"as mary:s" sends Basic credentials; "within 2s" repeats the request until the answer fits; "gunzip" before an answer's body
undoes gzip; "keep name" keeps the answer's body; "closed": the server must close the connection after this answer. "raw" in
place of a request line sends the body lines as they are; "pause" between them waits until the server has read. A status may be
given as a choice: "200 or 204".

Every answer must also have the headers that all answers have (http-api.md §1.3). There is no way to fill in expected
bytes from an answer, on purpose: they would agree with whatever the server does.
"""
import base64
import gzip
import os
import re
import socket
import time

ANSWER_LIMIT_S = 45
PAUSE_S = 0.05

NUMBER = rb"-?[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?"
MATCHERS = {
    "secs": rb"[0-9]+(?:\.[0-9]+)?(?:e-[0-9]+)?",
    "int": rb"[0-9]+",
    "positive": rb"[1-9][0-9]*",
    "number": NUMBER,
    "julian": rb"24[0-9]{5}\.[0-9]{6}",
    "text": rb'(?:[^"\\\n]|\\.)*',
    "line": rb"[^\n]*",
    "version": rb"v?[0-9][0-9A-Za-z.+-]*",
    "duration": rb"(?:[0-9]+h)?(?:[0-9]+m)?[0-9]+(?:\.[0-9]+)?(?:ns|\xc2\xb5s|ms|s)",
    "date": rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})",
    "any": rb".*",
}
COUNTED = {"digits": rb"[0-9]{%d}", "HEX": rb"[0-9A-F]{%d}", "bytes": rb".{%d}"}
MARK = re.compile(r"<(?:(\d+) (digits|HEX|bytes)|(" + "|".join(MATCHERS) + r"))(?::([a-z]+))?>")
SOURCES = re.compile(r"spec( §[0-9.]+)?|rqlite v10(\.[0-9]+)+")


class Malformed(Exception):
    """The file, not the server, is wrong."""


class Mismatch(Exception):
    """The server's answer is not the one wanted."""


# ---- reading the files --------------------------------------------------------------------------------------


class Request:
    def __init__(self, line):
        self.line, self.headers, self.dropped, self.body = line, [], [], None
        self.to, self.user, self.answers = None, None, []


class Wanted:
    def __init__(self, statuses):
        self.statuses, self.headers, self.absent, self.body = statuses, [], [], None
        self.within_s, self.gunzip, self.keep, self.closed = 0, False, None, False


class Dialogue:
    def __init__(self, number, title, source, stages):
        self.number, self.title, self.source, self.stages = number, title, source, stages
        self.requests = []


def read_file(path):
    """The dialogues of a file, in order."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    reader = Reader()
    for count, line in enumerate(lines, 1):
        try:
            reader.line(line)
        except Malformed as wrong:
            raise Malformed(f"{path}:{count}: {wrong}") from None
    return reader.done


class Reader:
    """One line at a time. A line with two blanks in front belongs to the dialogue above it."""

    def __init__(self):
        self.settings, self.done = {}, []
        self.to = self.user = None
        self.within_s = 0

    def line(self, line):
        if not line.strip() or line.startswith("#"):
            return
        if line.startswith("  "):
            if not self.done:
                raise Malformed("no title yet")
            self.inner(line[2:])
            return
        title = re.fullmatch(r"\[([^\]]+)\] (.+)", line)
        if title:
            self.title(*title.groups())
            return
        setting = re.fullmatch(r"(source|on): (.+)", line)
        if not setting:
            raise Malformed("neither a setting nor a title")
        self.settings[setting[1]] = setting[2]

    def title(self, number, words):
        source, stages = self.settings.get("source", ""), self.settings.get("on", "").split()
        if not SOURCES.fullmatch(source) or not stages:
            raise Malformed("a file says first its source (spec, rqlite v10.x) and on which stages it is played")
        self.done.append(Dialogue(number, words, source, stages))
        self.to = self.user = None
        self.within_s = 0

    def inner(self, text):
        dialogue = self.done[-1]
        request = dialogue.requests[-1] if dialogue.requests else None
        wanted = request.answers[-1] if request and request.answers else None
        if text == "|" or text.startswith("| "):
            at = wanted or request
            if at is None:
                raise Malformed("a body before the request line")
            at.body = (at.body or []) + [text[2:]]
        elif re.fullmatch(r"[1-5]\d\d( or [1-5]\d\d)*", text):
            self.answer(request, [int(s) for s in text.split(" or ")])
        elif re.fullmatch(r"(raw|[A-Z]+ [/*].*)", text):
            self.request(dialogue, text)
        else:
            self.directive(dialogue, request, wanted, text)

    def request(self, dialogue, line):
        made = Request(line)
        made.to, made.user = self.to, self.user
        self.to = self.user = None
        dialogue.requests.append(made)

    def answer(self, request, statuses):
        if request is None:
            raise Malformed("an answer before the request")
        wanted = Wanted(statuses)
        wanted.within_s, self.within_s = self.within_s, 0
        request.answers.append(wanted)

    def directive(self, dialogue, request, wanted, text):
        word, _, rest = text.partition(" ")
        if word == "on":
            dialogue.stages = [s for s in dialogue.stages if s in rest.split()]
        elif word == "to":
            self.to = rest
        elif word == "as":
            self.user = rest
        elif word == "within":
            self.within_s = float(rest.rstrip("s"))
        elif word == "pause" and request and not wanted:
            request.body.append(None)
        elif word == "no":
            (wanted.absent if wanted else request.dropped).append(rest)
        elif word in ("gunzip", "closed") and wanted:
            setattr(wanted, word, True)
        elif word == "keep" and wanted:
            wanted.keep = rest
        elif re.match(r"[A-Za-z-]+: ", text) and request:
            (wanted or request).headers.append(tuple(text.split(": ", 1)))
        else:
            raise Malformed(f"not understood: {text}")


# ---- texts ---------------------------------------------------------------------------------------------------


def to_bytes(text):
    """The text of a file as the bytes it stands for."""
    pieces = re.split(r"«([0-9a-f ]*)»", text.replace("⏎", "\n").replace("␍", "\r"))
    return b"".join(bytes.fromhex(p) if i % 2 else p.encode() for i, p in enumerate(pieces))


def fill(text, names):
    def value(mark):
        known, more = names.get(mark[1], mark[0]), mark[2]
        return str(int(known) + int(more)) if more and mark[1] in names else known

    return re.sub(r"\{([a-z]+(?:\.[a-z]+)?)(\+[0-9]+)?\}", value, text)


def to_pattern(text):
    """A regular expression that matches exactly the bytes which the expected text allows."""
    pattern, at, named = b"", 0, set()
    for mark in MARK.finditer(text):
        pattern += re.escape(to_bytes(text[at:mark.start()]))
        at = mark.end()
        count, counted, plain, name = mark.groups()
        one = COUNTED[counted] % int(count) if count else MATCHERS[plain]
        if name in named:
            pattern += b"(?P=%s)" % name.encode()
        elif name:
            named.add(name)
            pattern += b"(?P<%s>%s)" % (name.encode(), one)
        else:
            pattern += one
    return re.compile(pattern + re.escape(to_bytes(text[at:])), re.S)


# ---- the wire --------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def get(self, name):
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        return values[0] if values else None


class Line:
    """A connection and the bytes that came in on it. Reads HTTP by the letter: RFC 9112 §6, §7.1."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=ANSWER_LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got, self.ended = b"", False

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the answer, if there was one, is still to be read

    def more(self):
        try:
            piece = self.socket.recv(1 << 16)
        except ConnectionResetError:
            piece = b""
        except socket.timeout:
            raise Mismatch(f"no answer within {ANSWER_LIMIT_S} s; so far: {self.got[:300]!r}") from None
        self.ended = self.ended or not piece
        self.got += piece
        return bool(piece)

    def until(self, mark):
        while mark not in self.got:
            if not self.more():
                raise Mismatch(f"the connection ended inside an answer: {self.got[:300]!r}")
        head, _, self.got = self.got.partition(mark)
        return head

    def exactly(self, count):
        while len(self.got) < count:
            if not self.more():
                raise Mismatch(f"the connection ended inside a body: {self.got[:300]!r}")
        body, self.got = self.got[:count], self.got[count:]
        return body

    def answer(self, method):
        head = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = re.fullmatch(r"HTTP/1\.[01] (\d{3}) .*", head[0])
        if not status:
            raise Mismatch(f"not a status line: {head[0]!r}")
        headers = [tuple(h.split(": ", 1)) if ": " in h else (h.rstrip(":"), "") for h in head[1:]]
        answer = Answer(int(status[1]), headers, b"")
        if method != "HEAD" and answer.status >= 200 and answer.status not in (204, 304):
            answer.body = self.body(answer)
        return answer

    def body(self, answer):
        if (answer.get("Transfer-Encoding") or "").lower() == "chunked":
            body = b""
            while True:
                size = int(self.until(b"\r\n").split(b";")[0], 16)
                body += self.exactly(size)
                if self.exactly(2) != b"\r\n":
                    raise Mismatch("a chunk does not end where its size says")
                if size == 0:
                    return body
        if answer.get("Content-Length") is not None:
            return self.exactly(int(answer.get("Content-Length")))
        while self.more():
            pass
        body, self.got = self.got, b""
        return body

    def closed_by_peer(self):
        """True: the server closed and sent nothing more."""
        while not self.ended and not self.got:
            self.more()
        return not self.got


# ---- playing -----------------------------------------------------------------------------------------------------


class Player:
    """Plays dialogues on one stage. `names` are the {…} of the stage, `addresses` whom "to" may name."""

    def __init__(self, stage, addresses, names):
        self.stage, self.addresses, self.names = stage, addresses, names
        self.lines, self.kept, self.seen, self.stage_names = {}, {}, 0, names

    def close(self):
        for line in self.lines.values():
            line.close()
        self.lines = {}

    def play(self, dialogue):
        """Raises Mismatch with the reason."""
        self.names = dict(self.stage_names)
        try:
            for request in dialogue.requests:
                self.ask(request)
        except (Mismatch, OSError, ValueError) as why:
            self.close()
            raise Mismatch(str(why)) from None

    def ask(self, request):
        address = self.addresses[request.to or "self"]
        until = time.monotonic() + max((w.within_s for w in request.answers), default=0)
        while True:
            try:
                return self.ask_once(address, request)
            except Mismatch:
                if time.monotonic() >= until:
                    raise
                self.close()
                time.sleep(PAUSE_S)

    def ask_once(self, address, request):
        line = self.lines.get(address)
        if line is None or line.ended:
            line = self.lines[address] = Line(address)
        self.send(line, address, request)
        method = request.line.split()[0]
        for wanted in request.answers:
            answer = line.answer(method)
            self.seen += 1
            self.compare(answer, wanted)
            if (answer.get("Connection") or "").lower() == "close" or wanted.closed:
                closed = line.closed_by_peer()
                del self.lines[address]
                line.close()
                if not closed:
                    raise Mismatch(f"more bytes after the answer: {line.got[:300]!r}")
        if line.got:
            raise Mismatch(f"more bytes after the answer: {line.got[:300]!r}")

    def send(self, line, address, request):
        if request.line == "raw":
            part = b""
            for text in request.body:
                if text is None:
                    line.send(part)
                    part = b""
                    time.sleep(PAUSE_S)
                else:
                    part += self.bytes_of(text)
            line.send(part)
            return
        body = None if request.body is None else b"".join(self.bytes_of(t) for t in request.body)
        headers = [("Host", address), ("Accept", "*/*")]
        if body is not None:
            headers += [("Content-Length", str(len(body))), ("Content-Type", "application/x-www-form-urlencoded")]
        if request.user is not None:
            headers.append(("Authorization", "Basic " + base64.b64encode(request.user.encode()).decode()))
        given = {n.lower() for n, _ in request.headers} | {n.lower() for n in request.dropped}
        headers = [(n, v) for n, v in headers if n.lower() not in given] + request.headers
        head = f"{fill(request.line, self.names)} HTTP/1.1⏎" + "".join(f"{n}: {fill(v, self.names)}⏎" for n, v in headers)
        line.send(to_bytes(head.replace("⏎", "␍⏎") + "␍⏎") + (body or b""))

    def bytes_of(self, text):
        return self.kept[text[1:]] if text.startswith("@") else to_bytes(fill(text, self.names))

    def compare(self, answer, wanted):
        body = answer.body
        if answer.status not in wanted.statuses:
            raise Mismatch(f"status {answer.status}, want {wanted.statuses}; body {body[:500]!r}")
        for name, text in wanted.headers:
            got = answer.get(name)
            if got is None or not to_pattern(fill(text, self.names)).fullmatch(got.encode("latin-1")):
                raise Mismatch(f"header {name}: {got!r}, want {fill(text, self.names)!r}")
        for name in wanted.absent:
            if answer.get(name) is not None:
                raise Mismatch(f"header {name} is there: {answer.get(name)!r}")
        if answer.status >= 200:
            self.compare_common(answer)
        if wanted.gunzip:
            body = gzip.decompress(body)
        if wanted.keep:
            self.kept[wanted.keep] = body
        if wanted.body is not None:
            text = fill("".join(wanted.body), self.names)
            found = to_pattern(text).fullmatch(body)
            if not found:
                raise Mismatch(f"body\n    got  {body[:3000]!r}\n    want {to_bytes(text)[:3000]!r}")
            self.names.update({n: v.decode("latin-1") for n, v in found.groupdict().items()})

    def compare_common(self, answer):
        """http-api.md §1.3. An answer from below HTTP's surface (bad request line) has none of them."""
        if answer.status in (400, 408, 413, 431, 501, 505) and answer.get("X-Rqlite-Version") is None:
            return
        for name, pattern in (("X-Rqlite-Version", r"v?\d.*"), ("Access-Control-Allow-Methods", "OPTIONS, GET, POST"),
                              ("Access-Control-Allow-Headers", "Content-Type(, Authorization)?"),
                              ("Date", r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")):
            if not re.fullmatch(pattern, answer.get(name) or ""):
                raise Mismatch(f"header {name}: {answer.get(name)!r}, want {pattern!r} as on every answer")
        if answer.get("Server") is not None:
            raise Mismatch("there is a Server header")


def load(folder):
    """[(file, [dialogue…])…] in the order of names; a number may not occur twice."""
    files, seen = [], {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".txt"):
            dialogues = read_file(os.path.join(folder, name))
            files.append((name, dialogues))
            for d in dialogues:
                for stage in d.stages:
                    if (d.number, stage) in seen:
                        raise Malformed(f"{name}: [{d.number}] is in {seen[(d.number, stage)]} too")
                    seen[(d.number, stage)] = name
    return files
