"""Strings of Python 2 for a library of Python 3: one character is one byte."""

from autobahn.websocket import protocol


def encoded(value):
    """The bytes that a string of the suite stands for; lists and tuples by their elements."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            return value.encode()
    if isinstance(value, (list, tuple)):
        return [encoded(one) for one in value]
    return value


def bytes_for(owner, method, position, *names):
    """Has a method get bytes in its argument at this position, and in those of these names. It is called for each frame."""
    original = getattr(owner, method)

    def wrapped(self, *positional, **named):
        if len(positional) > position and type(positional[position]) is not bytes:
            positional = (*positional[:position], encoded(positional[position]), *positional[position + 1 :])
        for name in names:
            if name in named and type(named[name]) is not bytes:
                named[name] = encoded(named[name])
        return original(self, *positional, **named)

    setattr(owner, method, wrapped)


def install():
    """Of the methods that the suite hands strings to. Before the suite is imported."""
    socket = protocol.WebSocketProtocol
    for method, position in [("sendFrame", 1), ("sendMessage", 0), ("sendPing", 0), ("sendPong", 0), ("sendData", 0)]:
        bytes_for(socket, method, position, "payload", "mask", "data")
    for method in ["sendMessageFrame", "sendMessageFrameData"]:
        bytes_for(socket, method, 0, "payload")
    bytes_for(socket, "sendCloseFrame", 1, "reasonUtf8")


class Utf8Validator(protocol.Utf8Validator):
    """Also of strings."""

    def validate(self, value):
        return super().validate(encoded(value))
