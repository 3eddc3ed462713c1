"""An HTTP/3 client on aioquic, which shares no code with Proxima: asks, and tells what was answered as lines of JSON.

    python http3.py --connect ADDRESS:PORT --ca FILE [--session FILE] [--data TEXT | --data-hex OCTETS]
                    [--field "NAME: VALUE"]... [--tell-interim] URL...

All URLs are asked at once over one connection. With --session, the TLS session that lies in the file is resumed, if there
is one, and a new one is laid there. With --tell-interim, an interim answer is a line of its own, at once.
"""

import argparse
import asyncio
import json
import pickle
import ssl
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamReset

# What takes longer hangs.
PATIENCE = 20


class Client(QuicConnectionProtocol):
    def __init__(self, *args, tells_interim=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.tells_interim = tells_interim
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.resumed = None

    def ask(self, url, data, more):
        parts = urlsplit(url)
        stream = self._quic.get_next_available_stream_id()
        ended = asyncio.get_running_loop().create_future()
        self.answers[stream] = ({"headers": {}, "body": "", "interim": [], "trailers": {}}, ended)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = [
            (b":method", b"POST" if data is not None else b"GET"),
            (b":scheme", parts.scheme.encode()),
            (b":authority", parts.netloc.encode()),
            (b":path", path.encode()),
            (b"user-agent", b"aioquic"),
            *more,
        ]
        self.http.send_headers(stream, fields, end_stream=data is None)
        if data is not None:
            self.http.send_data(stream, data, end_stream=True)
        self.transmit()
        return ended

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.resumed = event.session_resumed
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.fail(event.stream_id, f"reset with {event.error_code:#x}")
        elif isinstance(event, ConnectionTerminated):
            for stream in self.answers:
                self.fail(stream, f"closed with {event.error_code:#x} {event.reason_phrase}")
        for heard in self.http.handle_event(event):
            if heard.stream_id in self.answers:
                self.hear(heard)

    def hear(self, event):
        answer, ended = self.answers[event.stream_id]
        if isinstance(event, HeadersReceived):
            fields = {name.decode(): value.decode() for name, value in event.headers}
            status = int(fields.pop(":status", 0))
            if 100 <= status < 200:
                answer["interim"].append(status)
                if self.tells_interim:
                    print(json.dumps({"interim": status, "headers": fields}), flush=True)
            elif status:
                answer["status"], answer["headers"] = status, fields
            else:
                answer["trailers"] = fields
        elif isinstance(event, DataReceived):
            answer["body"] += event.data.decode(errors="replace")
        if event.stream_ended and not ended.done():
            ended.set_result(answer)

    def fail(self, stream, why):
        _, ended = self.answers[stream]
        if not ended.done():
            ended.set_result({"failed": why})


def field(line):
    name, _, value = line.partition(":")
    return name.encode(), value.strip().encode()


async def ask_all(where, urls, data, more, tells_interim, configuration, tickets):
    address, port = where.rsplit(":", 1)
    async with connect(
        address.strip("[]"),
        int(port),
        configuration=configuration,
        create_protocol=partial(Client, tells_interim=tells_interim),
        session_ticket_handler=tickets.append,
    ) as client:
        asked = asyncio.gather(*(client.ask(url, data, more) for url in urls))
        answers = await asyncio.wait_for(asked, PATIENCE)
        for url, answer in zip(urls, answers):
            print(json.dumps({"url": url, "resumed": client.resumed, **answer}))
        # Tickets come after the handshake.
        for _ in range(100):
            if tickets:
                break
            await client.ping()
        client.close(error_code=ErrorCode.H3_NO_ERROR)


async def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--connect", required=True)
    arguments.add_argument("--ca", required=True)
    arguments.add_argument("--session", type=Path)
    arguments.add_argument("--data", type=str.encode)
    arguments.add_argument("--data-hex", dest="data", type=bytes.fromhex)
    arguments.add_argument("--field", dest="fields", type=field, action="append", default=[])
    arguments.add_argument("--tell-interim", action="store_true")
    arguments.add_argument("urls", nargs="+")
    arguments = arguments.parse_args()
    kept = arguments.session
    configuration = QuicConfiguration(
        alpn_protocols=H3_ALPN,
        is_client=True,
        verify_mode=ssl.CERT_REQUIRED,
        server_name=urlsplit(arguments.urls[0]).hostname,
        session_ticket=pickle.loads(kept.read_bytes()) if kept and kept.exists() else None,
    )
    configuration.load_verify_locations(arguments.ca)
    tickets = []
    await ask_all(
        arguments.connect,
        arguments.urls,
        arguments.data,
        arguments.fields,
        arguments.tell_interim,
        configuration,
        tickets,
    )
    if kept and tickets:
        kept.write_bytes(pickle.dumps(tickets[-1]))


asyncio.run(main())
