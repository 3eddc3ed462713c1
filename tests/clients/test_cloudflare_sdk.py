"""The stock Python SDK `cloudflare`, unmodified, against the API.

Needs PROXIMA_API (http://HOST:PORT/client/v4) and PROXIMA_TOKEN of an operator.
"""

import datetime
import os
import uuid

import cloudflare
import dns.rdatatype
import dns.zone
import pytest
from cloudflare import Cloudflare


@pytest.fixture(scope="module")
def client():
    return Cloudflare(
        api_token=os.environ["PROXIMA_TOKEN"],
        base_url=os.environ["PROXIMA_API"],
        max_retries=0,
        timeout=30,
    )


@pytest.fixture(scope="module")
def account(client):
    return client.accounts.list().result[0]


@pytest.fixture
def zone(client, account):
    name = f"sdk-{uuid.uuid4().hex[:12]}.example"
    zone = client.zones.create(name=name, account={"id": account.id}, type="full")
    yield zone
    client.zones.delete(zone_id=zone.id)


def code_of(refusal):
    return refusal.value.errors[0].code


def test_the_token_is_verified(client):
    assert client.user.tokens.verify().status == "active"
    assert "@" in client.user.get().email


def test_a_wrong_token_is_refused():
    other = Cloudflare(
        api_token="0" * 32 + "_" + "0" * 64, base_url=os.environ["PROXIMA_API"], max_retries=0
    )
    with pytest.raises(cloudflare.AuthenticationError) as refusal:
        other.user.tokens.verify()
    assert code_of(refusal) == 1000


def test_a_token_is_made_used_and_deleted(client, account):
    groups = client.user.tokens.permission_groups.list()
    read = next(group for group in groups if group.name == "Zone Read")
    token = client.user.tokens.create(
        name="reader",
        policies=[
            {
                "effect": "allow",
                "permission_groups": [{"id": read.id}],
                "resources": {f"com.cloudflare.api.account.{account.id}": "*"},
            }
        ],
        expires_on="2099-01-01T00:00:00Z",
    )
    reader = Cloudflare(api_token=token.value, base_url=os.environ["PROXIMA_API"], max_retries=0)
    assert reader.user.tokens.verify().id == token.id
    with pytest.raises(cloudflare.PermissionDeniedError):
        reader.zones.create(name="never.example", account={"id": account.id})
    assert token.id in [other.id for other in client.user.tokens.list()]
    client.user.tokens.delete(token_id=token.id)
    with pytest.raises(cloudflare.AuthenticationError):
        reader.user.tokens.verify()


def test_zones_are_made_found_changed_and_deleted(client, account, zone):
    assert client.accounts.get(account_id=account.id).name == account.name
    assert zone.status == "active" and zone.account.id == account.id and zone.name_servers
    assert client.zones.get(zone_id=zone.id).name == zone.name
    assert [found.id for found in client.zones.list(name=zone.name)] == [zone.id]
    assert [found.id for found in client.zones.list(name=zone.name, account={"id": account.id})] == [zone.id]
    assert client.zones.edit(zone_id=zone.id, paused=True).paused is True
    assert client.zones.activation_check.trigger(zone_id=zone.id).id == zone.id
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        client.zones.create(name=zone.name, account={"id": account.id})
    assert code_of(refusal) == 1061


def test_a_list_of_zones_goes_over_its_pages(client, account):
    prefix = f"page-{uuid.uuid4().hex[:8]}"
    made = [
        client.zones.create(name=f"{prefix}-{number}.example", account={"id": account.id}) for number in range(7)
    ]
    found = list(client.zones.list(name=f"starts_with:{prefix}", per_page=3, order="name", direction="desc"))
    assert [zone.name for zone in found] == sorted((zone.name for zone in made), reverse=True)
    for zone in made:
        client.zones.delete(zone_id=zone.id)
    assert list(client.zones.list(name=f"starts_with:{prefix}")) == []


def test_settings_are_read_and_changed(client, zone):
    assert client.zones.settings.get("ssl", zone_id=zone.id).value == "full"
    assert client.zones.settings.edit("ssl", zone_id=zone.id, value="strict").value == "strict"
    assert client.zones.settings.get("ssl", zone_id=zone.id).value == "strict"
    with pytest.raises(cloudflare.BadRequestError):
        client.zones.settings.edit("always_use_https", zone_id=zone.id, value="maybe")


RECORDS = [
    {"type": "A", "name": "www", "content": "192.0.2.1", "proxied": True, "ttl": 1},
    {"type": "AAAA", "name": "www", "content": "2001:db8::1", "ttl": 300},
    {"type": "CNAME", "name": "alias", "content": "www.example.net", "comment": "an alias", "tags": ["a:b"], "ttl": 1},
    {"type": "MX", "name": "@", "content": "mail.example.net", "priority": 10, "ttl": 1},
    {"type": "TXT", "name": "@", "content": '"v=spf1 -all"', "ttl": 1},
    {"type": "NS", "name": "sub", "content": "ns1.example.net", "ttl": 1},
    {
        "type": "SRV",
        "name": "_sip._tcp",
        "ttl": 600,
        "data": {"priority": 1, "weight": 2, "port": 5060, "target": "sip.example.net"},
    },
    {"type": "CAA", "name": "@", "data": {"flags": 0, "tag": "issue", "value": "ca.example"}, "ttl": 1},
    {"type": "PTR", "name": "4.3", "content": "host.example.net", "ttl": 1},
    {"type": "OPENPGPKEY", "name": "key", "content": "AAAA", "ttl": 1},
    {"type": "CERT", "name": "c", "data": {"type": 1, "key_tag": 2, "algorithm": 8, "certificate": "AAAA"}, "ttl": 1},
    {
        "type": "DNSKEY",
        "name": "@",
        "data": {"flags": 256, "protocol": 3, "algorithm": 13, "public_key": "AAAA"},
        "ttl": 1,
    },
    {"type": "HTTPS", "name": "@", "data": {"priority": 1, "target": ".", "value": 'alpn="h3,h2"'}, "ttl": 1},
    {"type": "SVCB", "name": "_a", "data": {"priority": 0, "target": "b.example.net.", "value": ""}, "ttl": 1},
    {
        "type": "LOC",
        "name": "here",
        "data": {
            "lat_degrees": 51,
            "lat_minutes": 30,
            "lat_seconds": 12.748,
            "lat_direction": "N",
            "long_degrees": 0,
            "long_minutes": 7,
            "long_seconds": 39.611,
            "long_direction": "W",
            "altitude": -1.5,
            "size": 1,
            "precision_horz": 10000,
            "precision_vert": 10,
        },
        "ttl": 1,
    },
    {
        "type": "NAPTR",
        "name": "n",
        "data": {
            "order": 1,
            "preference": 2,
            "flags": "u",
            "service": "E2U+sip",
            "regex": "!^.*$!sip:a@example.com!",
            "replacement": ".",
        },
        "ttl": 1,
    },
    {
        "type": "SMIMEA",
        "name": "m",
        "data": {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "0a" * 32},
        "ttl": 1,
    },
    {"type": "SSHFP", "name": "s", "data": {"algorithm": 4, "type": 2, "fingerprint": "0a" * 32}, "ttl": 1},
    {
        "type": "TLSA",
        "name": "_443._tcp",
        "data": {"usage": 3, "selector": 1, "matching_type": 1, "certificate": "0a" * 32},
        "ttl": 1,
    },
    {"type": "URI", "name": "u", "priority": 10, "data": {"weight": 1, "target": "https://example.com/"}, "ttl": 1},
]


@pytest.mark.parametrize("given", RECORDS, ids=[record["type"] for record in RECORDS])
def test_every_type_of_record_is_made_read_changed_and_deleted(client, zone, given):
    record = client.dns.records.create(zone_id=zone.id, **given)
    assert record.type == given["type"]
    if "data" in given:
        shown = record.data.to_dict()
        assert {name: shown[name] for name in given["data"]} == given["data"]
    assert client.dns.records.get(zone_id=zone.id, dns_record_id=record.id).content == record.content
    edited = client.dns.records.edit(zone_id=zone.id, dns_record_id=record.id, **{**given, "comment": "new"})
    assert edited.comment == "new" and edited.content == record.content
    updated = client.dns.records.update(zone_id=zone.id, dns_record_id=record.id, **given)
    assert updated.content == record.content and updated.comment == given.get("comment")
    assert client.dns.records.delete(zone_id=zone.id, dns_record_id=record.id).id == record.id
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        client.dns.records.get(zone_id=zone.id, dns_record_id=record.id)
    assert code_of(refusal) == 81044


def test_records_are_listed_by_filters_and_over_pages(client, zone):
    posts = [{"type": "A", "name": f"host-{number:03}", "content": "192.0.2.1"} for number in range(120)]
    posts += [{"type": "TXT", "name": "text", "content": "some words"}]
    client.dns.records.batch(zone_id=zone.id, posts=posts)
    everything = list(client.dns.records.list(zone_id=zone.id, per_page=50))
    assert len({record.id for record in everything}) == 121
    names = [record.name for record in client.dns.records.list(zone_id=zone.id, type="A", order="name")]
    assert names == sorted(names) and len(names) == 120
    filtered = client.dns.records.list(zone_id=zone.id, name={"startswith": "host-11"}, content={"exact": "192.0.2.1"})
    assert len(list(filtered)) == 10
    assert len(list(client.dns.records.list(zone_id=zone.id, search="words"))) == 1
    either = client.dns.records.list(zone_id=zone.id, match="any", type="TXT", name={"exact": f"host-000.{zone.name}"})
    assert len(list(either)) == 2


def test_a_batch_is_made_together(client, zone):
    first = client.dns.records.create(zone_id=zone.id, type="A", name="one", content="192.0.2.1", ttl=1)
    answer = client.dns.records.batch(
        zone_id=zone.id,
        deletes=[{"id": first.id}],
        posts=[{"type": "CNAME", "name": "one", "content": "two.example.net"}],
    )
    assert answer.deletes[0].id == first.id and answer.posts[0].type == "CNAME"
    with pytest.raises(cloudflare.BadRequestError):
        client.dns.records.batch(
            zone_id=zone.id,
            deletes=[{"id": answer.posts[0].id}],
            posts=[{"type": "A", "name": "bad", "content": "nonsense"}],
        )
    assert [record.type for record in client.dns.records.list(zone_id=zone.id)] == ["CNAME"]


def test_clashes_have_their_numbers(client, zone):
    client.dns.records.create(zone_id=zone.id, type="A", name="www", content="192.0.2.1", ttl=1)
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        client.dns.records.create(zone_id=zone.id, type="A", name="www", content="192.0.2.1", ttl=1)
    assert code_of(refusal) == 81058
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        client.dns.records.create(zone_id=zone.id, type="CNAME", name="www", content="a.example.net", ttl=1)
    assert code_of(refusal) == 81053


def test_how_a_delegated_zone_is_signed_is_said_after_the_delegation(client, zone):
    data = {"key_tag": 2371, "algorithm": 13, "digest_type": 2, "digest": "0a" * 32}
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        client.dns.records.create(zone_id=zone.id, type="DS", name="sub", data=data, ttl=1)
    assert "no NS record" in refusal.value.errors[0].message
    client.dns.records.create(zone_id=zone.id, type="NS", name="sub", content="ns.example.net", ttl=1)
    record = client.dns.records.create(zone_id=zone.id, type="DS", name="sub", data=data, ttl=1)
    assert record.data.to_dict() == data and record.content == f"2371 13 2 {data['digest']}"


def test_a_zone_file_goes_in_and_comes_out(client, zone):
    text = f"$ORIGIN {zone.name}.\n$TTL 600\n@ A 192.0.2.1\nwww CNAME @\n@ MX 10 mail\nmail A 192.0.2.2\n"
    answer = client.dns.records.import_(zone_id=zone.id, file=text, proxied="false")
    assert (answer.recs_added, answer.total_records_parsed) == (4, 4)
    exported = client.dns.records.export(zone_id=zone.id)
    assert f"www.{zone.name}.\t600\tIN\tCNAME\t{zone.name}." in exported
    again = client.dns.records.import_(zone_id=zone.id, file=exported)
    assert (again.recs_added, again.total_records_parsed) == (0, 4)
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        client.dns.records.import_(zone_id=zone.id, file="good A 192.0.2.3\nbad A nonsense\n")
    assert refusal.value.errors[0].message.startswith("line 2:")
    assert len(list(client.dns.records.list(zone_id=zone.id))) == 4


def test_an_export_of_every_type_is_read_by_another_implementation(client, zone):
    kept = [record for record in RECORDS if record["type"] != "NS"]
    posts = kept + [
        {"type": "NS", "name": "sub", "content": "ns1.example.net"},
        {"type": "DS", "name": "sub", "content": "2371 13 2 " + "0a" * 32},
        {"type": "TYPE65280", "name": "odd", "content": "\\# 3 abcdef"},
    ]
    client.dns.records.batch(zone_id=zone.id, posts=posts)
    read = dns.zone.from_text(client.dns.records.export(zone_id=zone.id), origin=zone.name, relativize=False)
    types = {dns.rdatatype.to_text(rdataset.rdtype) for _, rdataset in read.iterate_rdatasets()}
    assert types == {record["type"] for record in posts} | {"SOA"}
    host = read.find_rdataset(f"4.3.{zone.name}.", "PTR")[0]
    assert host.target.to_text() == "host.example.net."


def test_what_name_servers_were_asked_is_told(client, zone):
    """That the SDK's models read it; what is counted is for other tests."""
    until = datetime.datetime.now(datetime.timezone.utc)
    since = until - datetime.timedelta(hours=2)
    asked = {
        "zone_id": zone.id,
        "dimensions": "queryName,responseCode",
        "metrics": "queryCount,uncachedCount",
        "filters": "responseCode==NOERROR,responseCode==NXDOMAIN",
        "sort": "+responseCode,-queryCount",
        "since": since,
        "until": until,
        "limit": 10,
    }
    reports = client.dns.analytics.reports
    report = reports.get(**asked)
    assert report.rows == len(report.data) == 1 and report.data_lag >= 0
    assert len(report.data[0].dimensions) == len(report.data[0].metrics) == 2
    assert report.totals == {"queryCount": report.data[0].metrics[0], "uncachedCount": 0}
    assert report.query.since <= since and report.query.until >= until and report.query.limit == 10
    assert report.query.filters == asked["filters"] and report.query.sort == ["+responseCode", "-queryCount"]
    by_time = reports.bytimes.get(**asked, time_delta="dekaminute")
    assert by_time.query.time_delta == "dekaminute"
    queries = by_time.data[0].metrics[0]
    assert len(queries) == len(by_time.time_intervals) >= 12
    assert all(begin < end for begin, end in by_time.time_intervals)
    assert by_time.totals["queryCount"] == sum(queries)
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        reports.get(**{**asked, "dimensions": "queryname"})
    assert code_of(refusal) == 1012


def test_the_cache_is_purged(client, zone):
    assert client.cache.purge(zone_id=zone.id, purge_everything=True).id
    assert client.cache.purge(zone_id=zone.id, files=[f"https://www.{zone.name}/a"]).id
    assert client.cache.purge(zone_id=zone.id, tags=["a-cache-tag", "another"]).id
    assert client.cache.purge(zone_id=zone.id, hosts=[f"www.{zone.name}"]).id
    assert client.cache.purge(zone_id=zone.id, prefixes=[f"www.{zone.name}/foo"]).id
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        client.cache.purge(zone_id=zone.id, hosts=["www.example.net"])
    assert "www.example.net is not in the zone" in refusal.value.errors[0].message


def test_universal_ssl_is_told_and_switched(client, zone):
    settings = client.ssl.universal.settings
    assert settings.get(zone_id=zone.id).enabled is True
    packs = list(client.ssl.certificate_packs.list(zone_id=zone.id, status="all"))
    assert [(pack.type, pack.hosts) for pack in packs] == [("universal", [zone.name, f"*.{zone.name}"])]
    assert packs[0].status in ("initializing", "active")
    assert client.ssl.certificate_packs.get(packs[0].id, zone_id=zone.id).id == packs[0].id
    verification = client.ssl.verification.get(zone_id=zone.id, retry=True)
    assert [one.cert_pack_uuid for one in verification] == [packs[0].id]
    assert settings.edit(zone_id=zone.id, enabled=False).enabled is False
    assert settings.get(zone_id=zone.id).enabled is False
    assert list(client.ssl.certificate_packs.list(zone_id=zone.id, status="all")) == []
    with pytest.raises(cloudflare.NotFoundError):
        client.ssl.certificate_packs.get(packs[0].id, zone_id=zone.id)


def plain(answer):
    """The SDK's type of a ruleset is a union with `object`, so that it may come as a dictionary or as a model."""
    return answer if isinstance(answer, dict) else answer.to_dict()


def test_origin_rules_are_kept(client, zone):
    phase = "http_request_origin"
    with pytest.raises(cloudflare.NotFoundError):
        client.rulesets.phases.get(phase, zone_id=zone.id)
    given = {
        "action": "route",
        "action_parameters": {"origin": {"host": "192.0.2.1", "port": 8080}},
        "expression": f'http.host eq "www.{zone.name}"',
        "description": "to another port",
    }
    ruleset = plain(client.rulesets.phases.update(phase, zone_id=zone.id, rules=[given]))
    rule = ruleset["rules"][0]
    assert {name: rule[name] for name in given} == given
    assert [found.id for found in client.rulesets.list(zone_id=zone.id)] == [ruleset["id"]]
    added = client.rulesets.rules.create(
        ruleset["id"],
        zone_id=zone.id,
        action="route",
        action_parameters={"host_header": "other.example.net"},
        expression="true",
    )
    assert len(plain(added)["rules"]) == 2
    edited = client.rulesets.rules.edit(rule["id"], ruleset_id=ruleset["id"], zone_id=zone.id, enabled=False)
    assert plain(edited)["rules"][0]["enabled"] is False
    left = client.rulesets.rules.delete(rule["id"], ruleset_id=ruleset["id"], zone_id=zone.id)
    assert len(plain(left)["rules"]) == 1


def test_cache_rules_are_kept_beside_them(client, zone):
    phase = "http_request_cache_settings"
    given = {
        "action": "set_cache_settings",
        "action_parameters": {
            "cache": True,
            "edge_ttl": {
                "mode": "override_origin",
                "default": 60,
                "status_code_ttl": [
                    {"status_code": 404, "value": 5},
                    {"status_code_range": {"from": 500, "to": 599}, "value": -1},
                ],
            },
            "browser_ttl": {"mode": "respect_origin"},
            "serve_stale": {"disable_stale_while_updating": True},
            "cache_key": {
                "ignore_query_strings_order": True,
                "cache_deception_armor": True,
                "custom_key": {
                    "query_string": {"exclude": {"list": ["utm"]}},
                    "header": {"include": ["accept"], "check_presence": ["x-beta"]},
                    "cookie": {"include": ["theme"]},
                },
            },
        },
        "expression": 'http.request.uri.path.extension in {"css" "js"} and not http.cookie contains "session="',
        "description": "files",
    }
    ruleset = plain(client.rulesets.phases.update(phase, zone_id=zone.id, rules=[given]))
    rule = ruleset["rules"][0]
    assert {name: rule[name] for name in given} == given
    assert plain(client.rulesets.phases.get(phase, zone_id=zone.id))["id"] == ruleset["id"]
    edited = client.rulesets.rules.edit(rule["id"], ruleset_id=ruleset["id"], zone_id=zone.id, enabled=False)
    assert plain(edited)["rules"][0]["enabled"] is False
    with pytest.raises(cloudflare.BadRequestError):
        wrong = {**given, "expression": "http.hots eq 1"}
        client.rulesets.phases.update(phase, zone_id=zone.id, rules=[wrong])


def test_a_zone_of_nobody_is_not_found(client):
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        client.zones.get(zone_id="0" * 32)
    assert code_of(refusal) == 7003
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        client.zones.list(per_page=100000)
    assert code_of(refusal) == 1012


def test_a_request_is_traced(client, account, zone):
    traced = client.request_tracers.traces.create(
        account_id=account.id, method="GET", url=f"https://www.{zone.name}/"
    )
    assert traced.status_code


def test_keys_and_values_are_written_read_listed_and_deleted(client, account):
    kv = client.kv.namespaces
    namespace = kv.create(account_id=account.id, title=f"sdk-{uuid.uuid4().hex[:12]}")
    ids = {"account_id": account.id, "namespace_id": namespace.id}
    assert namespace.supports_url_encoding is True
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        kv.create(account_id=account.id, title=namespace.title)
    assert code_of(refusal) == 10014
    assert kv.update(**ids, title=namespace.title + "-2").title == namespace.title + "-2"
    assert namespace.id in [one.id for one in kv.list(account_id=account.id, per_page=1)]

    octets = bytes(range(256))
    kv.values.update("a/b ü:%2F", **ids, value=octets, metadata='{"m": [1]}', expiration_ttl=600)
    answer = kv.values.get("a/b ü:%2F", **ids)
    assert answer.read() == octets
    assert int(answer.headers["expiration"]) > 1_700_000_000
    assert plain(kv.metadata.get("a/b ü:%2F", **ids)) == {"m": [1]}
    pairs = [{"key": f"k{n:02}", "value": str(n), "metadata": {"n": n}} for n in range(25)]
    assert kv.keys.bulk_update(**ids, body=pairs).successful_key_count == 25
    listed = list(kv.keys.list(**ids, prefix="k", limit=10))
    assert [key.name for key in listed] == [pair["key"] for pair in pairs]
    assert listed[7].metadata == {"n": 7} and listed[7].expiration is None
    got = plain(kv.keys.bulk_get(**ids, keys=["k01", "none"], type="json", with_metadata=True))
    assert got["values"] == {"k01": {"value": 1, "metadata": {"n": 1}}, "none": None}
    assert kv.keys.bulk_delete(**ids, body=["k01", "k02"]).successful_key_count == 2
    kv.values.delete("a/b ü:%2F", **ids)
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        kv.values.get("a/b ü:%2F", **ids)
    assert code_of(refusal) == 10009
    kv.delete(**ids)
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        kv.get(**ids)
    assert code_of(refusal) == 10013
