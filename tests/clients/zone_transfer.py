"""dnspython has a zone by a signed transfer, and its names as it prints them: HOST PORT ZONE KEY SECRET."""

import sys

import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.zone


def main() -> None:
    host, port, name, key, secret = sys.argv[1:]
    keyring = dns.tsigkeyring.from_text({key: secret})
    algorithm = dns.tsig.HMAC_SHA256
    zone = dns.zone.Zone(name)
    query = dns.message.make_query(name, "AXFR")
    query.use_tsig(keyring, keyname=key, algorithm=algorithm)
    dns.query.inbound_xfr(host, zone, query, port=int(port), timeout=20)
    print(zone.to_text())

    # Questions beside transfers are signed too, and so are their answers.
    query = dns.message.make_query(name, "SOA")
    query.use_tsig(keyring, keyname=key, algorithm=algorithm)
    answer = dns.query.udp(query, host, port=int(port), timeout=20)
    assert answer.had_tsig and answer.rcode() == dns.rcode.NOERROR, answer

    wrong = dns.tsigkeyring.from_text({key: "AAAA" + secret[4:]})
    query.use_tsig(wrong, keyname=key, algorithm=algorithm)
    try:
        dns.query.udp(query, host, port=int(port), timeout=20)
    except dns.tsig.PeerBadSignature:
        return
    raise AssertionError("a wrong signature was taken")


main()
