"""A DNS client that shares no code with ours (dnspython; aioquic for QUIC): options that stub resolvers would not send,
and each transport. Arguments: the server's address, and its ports for UDP and TCP, TLS, QUIC; a file with the authority of
its certificate, and the name in it."""

import socket
import ssl
import sys
import time

import dns.edns
import dns.message
import dns.query
import dns.rcode

address, port, tls_port, quic_port, authority, name = sys.argv[1:]
port, tls_port, quic_port = int(port), int(tls_port), int(quic_port)
WITHIN = 10


def query(*options, **arguments):
    return dns.message.make_query("www.example.com", "A", options=list(options), **arguments)


def option(code, octets):
    return dns.edns.GenericOption(code, octets)


def options(answer, code):
    return [option for option in answer.options if int(option.otype) == code]


def answered(answer):
    assert answer.rcode() == dns.rcode.NOERROR, answer
    assert answer.answer[0][0].address == "192.0.2.1", answer
    return answer


# What an option must not say is refused with an OPT record, and what is not known is passed over.
for code, octets in [(10, b"1234567"), (10, b"0" * 41), (8, b"\0\1\x18\0\xc0\0"), (8, b"\0\1\0\1")]:
    answer = dns.query.udp(query(option(code, octets)), address, port=port, timeout=WITHIN)
    assert answer.rcode() == dns.rcode.FORMERR and answer.edns == 0, (code, octets, answer)
answered(dns.query.udp(query(option(65001, b"x" * 100)), address, port=port, timeout=WITHIN))
# How long a connection may be silent is not for a client to say, and means nothing over UDP.
answered(dns.query.udp(query(option(11, b"\0\1")), address, port=port, timeout=WITHIN))
answer = dns.query.tcp(query(option(11, b"\0\1")), address, port=port, timeout=WITHIN)
assert answer.rcode() == dns.rcode.FORMERR and answer.edns == 0, answer
# A list of options that ends in the middle is no query: its sender is told so without an OPT record.
wire = bytearray(query(option(65001, b"xy")).to_wire())
wire[-3] = 200
with socket.create_connection((address, port), timeout=WITHIN) as stream:
    stream.sendall(len(wire).to_bytes(2, "big") + wire)
    answer = dns.query.receive_tcp(stream, expiration=time.time() + WITHIN)[0]
assert answer.rcode() == dns.rcode.FORMERR and answer.edns < 0, answer

padded = query(option(12, b"\0" * 10))
context = ssl.create_default_context(cafile=authority)
answer = answered(dns.query.tls(padded, address, port=tls_port, timeout=WITHIN, ssl_context=context, server_hostname=name))
assert options(answer, 12), answer
padded.id = 0
answer = answered(dns.query.quic(padded, address, port=quic_port, timeout=WITHIN, verify=authority, server_hostname=name))
assert options(answer, 12), answer
answer = answered(dns.query.tcp(query(option(11, b"")), address, port=port, timeout=WITHIN))
assert options(answer, 11), answer
print("answered")
