#!/usr/bin/env python3
"""Writes what the dialogues send as seeds for fuzz_api: tests/compat/seeds.py fuzz/corpus/api

One file per piece of a dialogue file, of at most 3 000 bytes, or one dialogue; the first byte says how fuzz_api delivers the rest. The files
are part of the tree; run it after adding dialogues."""
import os
import sys

import dialogue

SEED_BYTES = 3000
ADDRESS = "n1:4001"
DELIVERIES = 4


class Recorder(dialogue.Player):
    """A player whose connections keep what is sent, and answer nothing."""

    def __init__(self):
        super().__init__("", {}, {})
        self.names, self.sent = {}, b""
        self.kept = {}

    def bytes_of(self, text):
        return b"SQLite format 3\0" if text.startswith("@") else super().bytes_of(text)


class Wire:
    def __init__(self, recorder):
        self.recorder = recorder

    def send(self, data):
        self.recorder.sent += data


def requests_of(recorder, dialogues):
    """The bytes of each dialogue. What it would have got before it can name ({n+1}) is left as it stands."""
    for d in dialogues:
        recorder.sent = b""
        for request in d.requests:
            recorder.send(Wire(recorder), ADDRESS, request)
        if b"RECURSIVE" not in recorder.sent:  # fuzz_api passes those over
            yield recorder.sent


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    folder, recorder = sys.argv[1], Recorder()
    dialogue.PAUSE_S = 0
    for name, dialogues in dialogue.load(os.path.join(here, "dialogues")):
        seeds, seed = [], b""
        for sent in requests_of(recorder, dialogues):
            if seed and len(seed) + len(sent) > SEED_BYTES:
                seeds.append(seed)
                seed = b""
            seed += sent
        for i, seed in enumerate(seeds + [seed]):
            with open(os.path.join(folder, f"{name.removesuffix('.txt')}-{i + 1}"), "wb") as f:
                f.write(bytes([(i + len(name)) % DELIVERIES]) + seed)


if __name__ == "__main__":
    main()
