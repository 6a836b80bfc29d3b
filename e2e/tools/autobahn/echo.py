"""A strict echo server, with permessage-deflate: echo.py HOST PORT. Prints a line when it listens."""

import asyncio
import logging
import sys

from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    # A fuzzer's every case would be an error in its log.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    async with serve(echo, sys.argv[1], int(sys.argv[2]), max_size=None, ping_interval=None):
        print("listening", flush=True)
        await asyncio.Future()


asyncio.run(main())
