"""A strict echo server, with permessage-deflate: echo.py HOST PORT. Prints a line when it listens."""

import asyncio
import logging
import sys

from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    # A fuzzer's every case would be an error in its log.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    # As the library does by itself, but for the level: the suite sends gigabytes, and nobody asks how well they are compressed.
    deflate = ServerPerMessageDeflateFactory(
        server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5, "level": 1}
    )
    async with serve(echo, sys.argv[1], int(sys.argv[2]), max_size=None, ping_interval=None, extensions=[deflate]):
        print("listening", flush=True)
        await asyncio.Future()


asyncio.run(main())
