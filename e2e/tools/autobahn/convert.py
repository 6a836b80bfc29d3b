"""Puts Autobahn|Testsuite on Python 3: convert.py FOLDER-OF-ARCHIVES FOLDER-OF-PACKAGES

Python 2's strings are bytes. Read as Latin-1, each of them is one character here, and `bytestrings.py` turns them into bytes
where they are handed to the library. What the converter of syntax cannot know is mended by the lists below;
a mend that finds nothing is an error.
"""

import logging
import pathlib
import re
import sys
import tarfile

from fissix.refactor import RefactoringTool, get_fixers_from_package

# The parts that a fuzzing client is made of.
SUITE = re.compile(r"autobahntestsuite-[^/]+/(autobahntestsuite/(?:case/[^/]+\.py|testdata/[^/]+|caseset\.py|fuzzing\.py))$")
LIBRARY = re.compile(r"autobahn-[^/]+/(autobahn/.+)$")

MENDS = {
    "autobahntestsuite/fuzzing.py": [
        ("import os, json, binascii, time, textwrap, pkg_resources", "import os, json, binascii, time, textwrap\nfrom bytestrings import encoded"),
        ("from twisted.internet import reactor, ssl", "from twisted.internet import reactor"),
        ("from twisted.web.server import Site\nfrom twisted.web.static import File\n", ""),
        (re.compile(r"from report import .*?JS_MASTER_REPORT\n", re.S), ""),
        ("p = ''.join(payload)", "p = b''.join(payload)"),
        ("dd = data[:maxlen] + ellipses\n      else:\n         dd = data\n", "dd = encoded(data)[:maxlen] + ellipses.encode()\n      else:\n         dd = encoded(data)\n"),
        ("self.contextFactory = ssl.ClientContextFactory()", "self.contextFactory = None"),
    ],
    "autobahntestsuite/case/case.py": [
        ("pickle.dumps(obj1) == pickle.dumps(obj2)", "encoded(obj1) == encoded(obj2)"),
        ("import pickle\n", "from bytestrings import encoded\n"),
    ],
    "autobahntestsuite/case/case6_x_x.py": [('.encode("utf-8")', '.encode("utf-8", "surrogatepass")')],
    "autobahntestsuite/case/case9_9_1.py": [
        ("from zope.interface import implements\n", ""),
        ("   implements(interfaces.IPushProducer)\n", ""),
    ],
    "autobahntestsuite/case/case12_x_x.py": [
        ("import copy, os, pkg_resources, hashlib, binascii", "import copy, os, pathlib, hashlib, binascii"),
        ('pkg_resources.resource_filename("autobahntestsuite", ', 'pathlib.Path(__file__).parents[1].joinpath('),
    ],
    # Python 3's division.
    "autobahntestsuite/case/case10_1_1.py": [("len(self.payload) / self.p.auto", "len(self.payload) // self.p.auto")],
    "autobahn/websocket/protocol.py": [("range(payload_len / len(payload))", "range(payload_len // len(payload))")],
}


def mend(name, text):
    for old, new in MENDS.get(name, []):
        count = len(old.findall(text)) if isinstance(old, re.Pattern) else text.count(old)
        if not count:
            sys.exit(f"{name}: nothing to mend: {old}")
        text = old.sub(new, text) if isinstance(old, re.Pattern) else text.replace(old, new)
    return text


def unpack(archives, packages):
    """The files that are needed, and whether each is Python 2."""
    for archive in archives.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            for member in tar:
                suite, library = SUITE.match(member.name), LIBRARY.match(member.name)
                if (suite or library) and member.isfile():
                    name = (suite or library)[1]
                    path = packages / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(tar.extractfile(member).read())
                    if name.endswith(".py"):
                        yield name, path, bool(suite)


def main():
    archives, packages = map(pathlib.Path, sys.argv[1:])
    logging.disable(logging.WARNING)
    syntax = RefactoringTool(get_fixers_from_package("fissix.fixes"))
    # All are there before the first is converted: which imports are relative is seen by which files exist.
    files = list(unpack(archives, packages))
    (packages / "autobahntestsuite/__init__.py").write_text('version = "25.10.1"\n')
    for name, path, is_python_2 in files:
        text = path.read_bytes().decode("latin-1" if is_python_2 else "utf-8").replace("\r\n", "\n")
        if is_python_2:
            text = re.sub(r"^#.*coding[:=].*$", "#", text, count=1, flags=re.M)
            text = str(syntax.refactor_string(text + "\n", str(path)))
            text = text.replace("(object, Case, )", "(Case, )")
        path.write_text(mend(name, text), encoding="utf-8")


main()
