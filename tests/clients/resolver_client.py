"""A client of the resolver that shares no code with ours (dnspython; aioquic for QUIC): each transport, cookies and padding,
and options that stub resolvers would not send. Arguments: the server's address, and its ports for UDP and TCP, TLS, QUIC; a
file with the authority of its certificate, and the name in it."""

import ssl
import sys

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode

address, port, tls_port, quic_port, authority, name = sys.argv[1:]
port, tls_port, quic_port = int(port), int(tls_port), int(quic_port)
WITHIN = 10


def query(*options, **arguments):
    made = dns.message.make_query("www.signed.test", "A", options=list(options), **arguments)
    made.flags |= dns.flags.AD
    return made


def option(code, octets):
    return dns.edns.GenericOption(code, octets)


def options(answer, code):
    return [option for option in answer.options if int(option.otype) == code]


def answered(answer):
    assert answer.rcode() == dns.rcode.NOERROR, answer
    assert answer.answer[0][0].address == "192.0.2.80", answer
    assert answer.flags & dns.flags.RA and answer.flags & dns.flags.AD, answer
    return answer


def by_udp(asked):
    return dns.query.udp(asked, address, port=port, timeout=WITHIN)


# What an option must not say is refused with an OPT record, and what is not known is passed over.
for octets in [b"1234567", b"0" * 12, b"0" * 41]:
    answer = by_udp(query(option(10, octets)))
    assert answer.rcode() == dns.rcode.FORMERR and answer.edns == 0, (octets, answer)
answered(by_udp(query(option(65001, b"x" * 100))))
# A cookie comes back with the server's, which is taken again.
cookie = options(answered(by_udp(query(option(10, b"01234567")))), 10)[0]
assert cookie.client == b"01234567" and len(cookie.server) == 16, cookie
again = options(answered(by_udp(query(cookie))), 10)[0]
assert again.server == cookie.server, again
padded = query(option(12, b"\0" * 10))
assert not options(answered(by_udp(padded)), 12)
answer = answered(dns.query.tcp(query(option(11, b"")), address, port=port, timeout=WITHIN))
assert options(answer, 11), answer
context = ssl.create_default_context(cafile=authority)
answer = answered(dns.query.tls(padded, address, port=tls_port, timeout=WITHIN, ssl_context=context, server_hostname=name))
assert options(answer, 12) and len(answer.wire) == 468, answer
padded.id = 0
answer = answered(dns.query.quic(padded, address, port=quic_port, timeout=WITHIN, verify=authority, server_hostname=name))
assert options(answer, 12), answer
print("answered")
