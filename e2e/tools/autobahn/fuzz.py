"""The fuzzing client: fuzz.py AGENT URL PATTERN…

Prints one line of JSON for each case: {"case", "behavior", "behaviorClose", "ms", "result"}.
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

    def createReports(self):
        pass

    def logCase(self, result):
        line = {"case": result["id"], "ms": result["duration"], "result": f"{result['result']} {result['resultClose']}"}
        line |= {key: result[key] for key in ("behavior", "behaviorClose")}
        print(json.dumps(line), file=sys.__stdout__, flush=True)


agent, url, *patterns = sys.argv[1:]
fuzzing.print = lambda *_: None
client = Client({"servers": [{"agent": agent, "url": url}], "cases": patterns})
# An error inside the client would hide what it looks for.
errors = []
log.addObserver(lambda event: errors.append(event) if event["isError"] else None)
fuzzing.reactor.run()
sys.exit(bool(errors))
