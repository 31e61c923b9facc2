#!/usr/bin/env python3
"""The dialogue runner itself: that it matches what it should, and, above all, that it does not match the rest."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dialogue  # noqa: E402


def matches(text, data):
    return dialogue.to_pattern(text).fullmatch(data) is not None


def answer(status=200, body=b"", **headers):
    common = {"X-Rqlite-Version": "v10.3.0", "Access-Control-Allow-Methods": "OPTIONS, GET, POST",
              "Access-Control-Allow-Headers": "Content-Type", "Date": "Sat, 21 Nov 2026 15:00:00 GMT"}
    return dialogue.Answer(status, list({**common, **{k.replace("_", "-"): v for k, v in headers.items()}}.items()), body)


class Matching(unittest.TestCase):
    def test_texts_are_literal(self):
        self.assertTrue(matches('{"a":[1.5]}⏎', b'{"a":[1.5]}\n'))
        self.assertFalse(matches('{"a":[1.5]}', b'{"a":[1.5]}\n'))
        self.assertFalse(matches('{"a":[1.5]}', b'{"a":[1x5]}'))
        self.assertTrue(matches("«00ff»a␍⏎", b"\x00\xffa\r\n"))

    def test_matchers_take_their_kind_only(self):
        for text, good, bad in [("<secs>", b"0.0012", b"-1"), ("<secs>", b"9.91e-7", b""), ("<int>", b"0", b"-1"), ("<positive>", b"10", b"0"),
                                ("<19 digits>", b"1795276884636135127", b"17952768846361351270"), ("<8 HEX>", b"0AFF0AFF", b"0aff0aff"),
                                ("<2 bytes>", b"\n\x00", b"a"), ("<text>", b'a\\"b', b'a"b'), ("<duration>", b"1.5ms", b"1.5"),
                                ("<date>", b"2026-11-21T15:00:00Z", b"2026-11-21")]:
            self.assertTrue(matches(text, good), (text, good))
            self.assertFalse(matches(text, bad), (text, bad))

    def test_unknown_marks_are_text(self):
        self.assertTrue(matches("<b>&<nothing>", b"<b>&<nothing>"))

    def test_a_name_stands_for_the_same_text(self):
        self.assertTrue(matches("<int:a> <int:a>", b"7 7"))
        self.assertFalse(matches("<int:a> <int:a>", b"7 8"))
        self.assertEqual(dialogue.fill("{a} {a+2} {b}", {"a": "7"}), "7 9 {b}")


class Comparing(unittest.TestCase):
    def setUp(self):
        self.player = dialogue.Player("node", {}, {})
        self.player.names = {}
        self.wanted = dialogue.Wanted([200])

    def refused(self, got):
        with self.assertRaises(dialogue.Mismatch):
            self.player.compare(got, self.wanted)

    def test_status_headers_and_body(self):
        self.wanted.headers, self.wanted.absent, self.wanted.body = [("Location", "/x")], ["Allow"], ["a", "b"]
        self.player.compare(answer(body=b"ab", Location="/x"), self.wanted)
        self.refused(answer(404, body=b"ab", Location="/x"))
        self.refused(answer(body=b"ab"))
        self.refused(answer(body=b"ab", Location="/xy"))
        self.refused(answer(body=b"ab", Location="/x", Allow="GET"))
        self.refused(answer(body=b"abc", Location="/x"))

    def test_an_empty_body_is_wanted_only_where_it_says_so(self):
        self.player.compare(answer(body=b"anything"), self.wanted)
        self.wanted.body = [""]
        self.refused(answer(body=b"anything"))

    def test_headers_of_every_answer(self):
        for name in ("X-Rqlite-Version", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Date"):
            got = answer()
            got.headers = [h for h in got.headers if h[0] != name]
            self.refused(got)
        self.refused(answer(Server="x"))


class Reading(unittest.TestCase):
    def read(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            return dialogue.read_file(f.name)

    def test_a_dialogue(self):
        one, two = self.read("source: spec\non: node auth\n\n[1] a\n  as bob:s\n  POST /x\n  A: b\n  | [1\n  | ]\n  200 or 204\n  no B\n"
                             "  | c⏎\n  GET /y\n  404\n\n[2] b\n  on node\n  raw\n  | x\n  pause\n  | y\n  400\n  closed\n")
        self.assertEqual((one.number, one.stages, len(one.requests)), ("1", ["node", "auth"], 2))
        first = one.requests[0]
        self.assertEqual((first.user, first.headers, first.body), ("bob:s", [("A", "b")], ["[1", "]"]))
        self.assertEqual((first.answers[0].statuses, first.answers[0].absent, first.answers[0].body), ([200, 204], ["B"], ["c⏎"]))
        self.assertEqual((two.stages, two.requests[0].body, two.requests[0].answers[0].closed), (["node"], ["x", None, "y"], True))

    def test_what_is_malformed(self):
        for text in ["[1] no source\n", "source: ours\non: node\n[1] a\n", "source: spec\non: node\n[1] a\n  200\n",
                     "source: spec\non: node\n[1] a\n  | body\n", "source: spec\non: node\n[1] a\n  GET /\n  20\n", "source: spec\nwhat\n"]:
            with self.assertRaises(dialogue.Malformed, msg=text):
                self.read(text)

    def test_the_files_of_the_tree(self):
        folder = os.path.join(os.path.dirname(os.path.abspath(dialogue.__file__)), "dialogues")
        files = dialogue.load(folder)
        for name, dialogues in files:
            for d in dialogues:
                self.assertTrue(d.requests and all(r.answers for r in d.requests), f"{name} [{d.number}] has no answer")
        numbers = {d.number for _, dialogues in files for d in dialogues}
        self.assertEqual([n for n in range(1, 199) if str(n) not in numbers], [])


if __name__ == "__main__":
    unittest.main()
