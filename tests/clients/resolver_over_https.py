"""Asks the resolver over HTTP/3, by GET and by POST (dnspython on aioquic): the server's address, the
resolver's URL, that with a location's token, and a file with the authority of its certificate."""

import sys

import dns.message
import dns.query

address, url, with_token, authority = sys.argv[1:]
for where, expected in [(url, "192.0.2.7"), (with_token, "192.0.2.8")]:
    for post in (False, True):
        query = dns.message.make_query("printer.test", "A", use_edns=0, pad=128)
        answer = dns.query.https(
            query,
            where,
            timeout=20,
            post=post,
            verify=authority,
            bootstrap_address=address,
            http_version=dns.query.HTTPVersion.HTTP_3,
        )
        assert answer.answer[0][0].address == expected, answer
        assert any(int(option.otype) == 12 for option in answer.options), answer
print("answered")
