#!/usr/bin/env python3
"""A foreign NATS client: publishes standard input to a subject as `nats pub` does, with no headers.

usage: publish.py SERVER SUBJECT < EVENT
"""

import asyncio
import sys

import nats


async def publish(server, subject, payload):
    client = await nats.connect(server)
    await client.publish(subject, payload)
    await client.flush()
    await client.close()


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1], sys.argv[2], sys.stdin.buffer.read()))
