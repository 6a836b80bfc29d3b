"""The fuzzing client: fuzz.py AGENT URL SHARE/SHARES PATTERN…

Runs every SHARESth of the cases that the patterns name, from the SHAREth on. Prints one line of JSON for each:
{"case", "behavior", "behaviorClose", "ms", "result"}.
"""

import binascii
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))

import txaio

txaio.use_twisted()

import bytestrings
from autobahn.websocket import protocol, utf8validator

bytestrings.install()
utf8validator.Utf8Validator = bytestrings.Utf8Validator
hexadecimal = binascii.b2a_hex
binascii.b2a_hex = lambda data: hexadecimal(bytestrings.encoded(data)).decode()

from autobahntestsuite import fuzzing
from twisted.python import log


class Client(fuzzing.FuzzingClientFactory):
    """Prints verdicts as they come, and writes no reports."""

    def nextServer(self):
        # Called first when the cases are known, and then when none of them is left.
        self.specCases = self.specCases[share - 1 :: shares]
        return bool(self.specCases) and super().nextServer()

    def createReports(self):
        pass

    def logCase(self, result):
        line = {"case": result["id"], "ms": result["duration"], "result": f"{result['result']} {result['resultClose']}"}
        line |= {key: result[key] for key in ("behavior", "behaviorClose")}
        print(json.dumps(line), file=sys.__stdout__, flush=True)


agent, url, part, *patterns = sys.argv[1:]
share, shares = map(int, part.split("/"))
fuzzing.print = lambda *_: None
client = Client({"servers": [{"agent": agent, "url": url}], "cases": patterns})
# An error inside the client would hide what it looks for.
errors = []
log.addObserver(lambda event: errors.append(event) if event["isError"] else None)
if client.specCases:
    fuzzing.reactor.run()
sys.exit(bool(errors))
