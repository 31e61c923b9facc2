"""Histories: what clients asked and were told, and what was done to the nodes meanwhile. One JSON object per line,
written as it happens; `rqsim judge` reads them. Times are nanoseconds since the run began."""
import json
import threading
import time


class Clock:
    def __init__(self):
        self.begun = time.monotonic_ns()

    def now(self):
        return time.monotonic_ns() - self.begun


class History:
    def __init__(self, path, clock):
        self.path, self.clock, self.lock = path, clock, threading.Lock()
        self.file = open(path, "w", encoding="ascii")
        self.counts = {"ok": 0, "fail": 0, "info": 0}
        self.ended = []  # (ns, how), for "how much succeeded during faults"

    def write(self, **fields):
        with self.lock:
            line = {"t": self.clock.now(), **fields}
            self.file.write(json.dumps(line, separators=(",", ":")) + "\n")
            if fields["type"] in self.counts:
                self.counts[fields["type"]] += 1
                self.ended.append((line["t"], fields["type"]))

    def close(self):
        self.file.close()
