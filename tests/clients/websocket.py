"""A WebSocket client within HTTP/2 (RFC 8441, on h2) or HTTP/3 (RFC 9220, on aioquic), neither of which shares code with
Proxima: sends each message, waits until it comes back, closes, and tells what came as a line of JSON.

    python websocket.py --http 2|3 --connect ADDRESS:PORT --ca FILE URL MESSAGE...
"""

import argparse
import asyncio
import json
import os
import ssl
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

# What takes longer hangs.
PATIENCE = 20
TEXT, CLOSE = 1, 8


def frame(opcode, payload):
    """A frame, masked as a client has to (RFC 6455, 5.2)."""
    key = os.urandom(4)
    length = len(payload)
    head = bytes([0x80 | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 1 << 16:
        head += bytes([0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + length.to_bytes(8, "big")
    return head + key + bytes(octet ^ key[index % 4] for index, octet in enumerate(payload))


class Frames:
    """What a server sends."""

    def __init__(self):
        self.buffer, self.heard, self.changed = b"", [], asyncio.Event()

    def take(self, data):
        self.buffer += data
        while len(self.buffer) >= 2:
            length, begin = self.buffer[1], 2
            if length >= 126:
                begin += 2 if length == 126 else 8
                length = int.from_bytes(self.buffer[2:begin], "big")
            if len(self.buffer) < begin + length:
                break
            self.heard.append((self.buffer[0] & 15, self.buffer[begin : begin + length]))
            self.buffer = self.buffer[begin + length :]
        self.changed.set()

    async def next(self):
        while not self.heard:
            self.changed.clear()
            await self.changed.wait()
        return self.heard.pop(0)


def fields(url):
    parts = urlsplit(url)
    return [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", parts.scheme),
        (":authority", parts.netloc),
        (":path", parts.path),
        ("sec-websocket-version", "13"),
    ]


def text(headers):
    return {name.decode(): value.decode() for name, value in headers}


class Http2:
    async def open(self, where, ca, url):
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["h2"])
        address, port = where.rsplit(":", 1)
        name = urlsplit(url).hostname
        self.reader, self.writer = await asyncio.open_connection(address, int(port), ssl=context, server_hostname=name)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.frames, self.answer = Frames(), asyncio.get_running_loop().create_future()
        self.ended, self.offered, self.room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.http.initiate_connection()
        self.flush()
        self.reading = asyncio.create_task(self.read())
        await self.offered.wait()
        self.stream = self.http.get_next_available_stream_id()
        self.http.send_headers(self.stream, fields(url))
        self.flush()
        return await self.answer

    def flush(self):
        self.writer.write(self.http.data_to_send())

    async def read(self):
        while data := await self.reader.read(1 << 16):
            for event in self.http.receive_data(data):
                if isinstance(event, h2.events.RemoteSettingsChanged):
                    if event.changed_settings[8].new_value == 1:
                        self.offered.set()
                elif isinstance(event, h2.events.ResponseReceived):
                    self.answer.set_result(text(event.headers))
                elif isinstance(event, h2.events.DataReceived):
                    self.frames.take(event.data)
                    self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.ended.set()
                self.room.set()
            self.flush()

    async def send(self, data, end=False):
        while data:
            size = min(self.http.local_flow_control_window(self.stream), self.http.max_outbound_frame_size, len(data))
            if size == 0:
                self.room.clear()
                await self.room.wait()
                continue
            self.http.send_data(self.stream, data[:size])
            data = data[size:]
            self.flush()
        if end:
            self.http.end_stream(self.stream)
            self.flush()


class Http3:
    async def open(self, where, ca, url):
        address, port = where.rsplit(":", 1)
        configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=True, server_name=urlsplit(url).hostname)
        configuration.load_verify_locations(ca)
        self.frames, self.answer = Frames(), asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        ours = self

        class Client(QuicConnectionProtocol):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.http = H3Connection(self._quic)

            def quic_event_received(self, event):
                for heard in self.http.handle_event(event):
                    if isinstance(heard, HeadersReceived):
                        ours.answer.set_result(text(heard.headers))
                    elif isinstance(heard, DataReceived):
                        ours.frames.take(heard.data)
                    if heard.stream_ended:
                        ours.ended.set()

        self.connection = connect(address.strip("[]"), int(port), configuration=configuration, create_protocol=Client)
        self.client = await self.connection.__aenter__()
        self.stream = self.client._quic.get_next_available_stream_id()
        head = [(name.encode(), value.encode()) for name, value in fields(url)]
        self.client.http.send_headers(self.stream, head)
        self.client.transmit()
        answer = await self.answer
        if self.client.http.received_settings.get(8) != 1:
            raise SystemExit("extended CONNECT is not offered")
        return answer

    async def send(self, data, end=False):
        self.client.http.send_data(self.stream, data, end_stream=end)
        self.client.transmit()


async def converse(client, arguments):
    head = await client.open(arguments.connect, arguments.ca, arguments.url)
    told = {"status": int(head.pop(":status")), "headers": head, "messages": []}
    if told["status"] == 200:
        for message in arguments.messages:
            await client.send(frame(TEXT, message.encode()))
            opcode, payload = await client.frames.next()
            told["messages"].append(payload.decode() if opcode == TEXT else f"opcode {opcode}")
        await client.send(frame(CLOSE, (1000).to_bytes(2, "big")))
        opcode, payload = await client.frames.next()
        told["closed"] = int.from_bytes(payload[:2], "big") if opcode == CLOSE else f"opcode {opcode}"
        await client.send(b"", end=True)
        await client.ended.wait()
    print(json.dumps(told))


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--http", choices=["2", "3"], required=True)
    arguments.add_argument("--connect", required=True)
    arguments.add_argument("--ca", required=True)
    arguments.add_argument("url")
    arguments.add_argument("messages", nargs="*")
    arguments = arguments.parse_args()
    client = Http2() if arguments.http == "2" else Http3()
    await asyncio.wait_for(converse(client, arguments), PATIENCE)
    if arguments.http == "3":
        client.client.close(error_code=ErrorCode.H3_NO_ERROR)


asyncio.run(main())
