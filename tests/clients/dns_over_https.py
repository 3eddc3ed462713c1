"""Asks for www.proxima.test over HTTP/3, by GET and by POST (dnspython on aioquic): the server's address and port, a file
with the authority of its certificate."""

import sys

import dns.message
import dns.query

address, port, authority = sys.argv[1:]
for post in (False, True):
    query = dns.message.make_query("www.proxima.test", "A", use_edns=0, pad=128)
    answer = dns.query.https(
        query,
        f"https://ns1.proxima.test:{port}/dns-query",
        timeout=20,
        post=post,
        verify=authority,
        bootstrap_address=address,
        http_version=dns.query.HTTPVersion.HTTP_3,
    )
    assert answer.answer[0][0].address == "192.0.2.1", answer
    assert any(int(option.otype) == 12 for option in answer.options), answer
print("answered")
