"""octoDNS with its stock Cloudflare provider, unmodified, against the API: plan, apply, and nothing left to do.

Needs PROXIMA_API (http://HOST:PORT/client/v4) and PROXIMA_TOKEN of an operator.
"""

import os
import uuid

import pytest
import requests
import yaml
from octodns.manager import Manager

ZONE = """
---
'':
  - type: A
    values: [192.0.2.1, 192.0.2.2]
  - type: MX
    ttl: 300
    values:
      - {exchange: mail.example.net., preference: 10}
      - {exchange: backup.example.net., preference: 20}
  - type: TXT
    values:
      - v=spf1 -all
      - a text\\; and more
  - type: CAA
    values:
      - {flags: 0, tag: issue, value: ca.example}
_sip._tcp:
  type: SRV
  values:
    - {port: 5060, priority: 10, target: sip.example.net., weight: 20}
alias:
  octodns: {cloudflare: {proxied: true, auto-ttl: true}}
  type: CNAME
  value: www.example.net.
automatic:
  octodns: {cloudflare: {auto-ttl: true, comment: by octoDNS, tags: ['owner:dns']}}
  type: A
  value: 192.0.2.9
long:
  type: TXT
  value: LONG
sub:
  - type: NS
    values: [ns1.example.net., ns2.example.net.]
  - type: DS
    value:
      algorithm: 13
      digest: DIGEST
      digest_type: 2
      key_tag: 2371
_443._tcp:
  type: TLSA
  value:
    {certificate_association_data: DIGEST, certificate_usage: 3, matching_type: 1, selector: 1}
4.3.2.1:
  type: PTR
  value: host.example.net.
here:
  type: LOC
  value:
    altitude: 20.5
    lat_degrees: 51
    lat_direction: N
    lat_minutes: 30
    lat_seconds: 12.748
    long_degrees: 0
    long_direction: W
    long_minutes: 7
    long_seconds: 39.611
    precision_horz: 10000
    precision_vert: 10
    size: 1
number:
  type: NAPTR
  value:
    {flags: u, order: 10, preference: 40, regexp: '!^.*$!sip:info@example.com!', replacement: ., service: E2U+sip}
service:
  - type: SVCB
    value:
      svcparams: {alpn: [h2, h3]}
      svcpriority: 1
      targetname: server.example.net.
  - type: HTTPS
    value: {svcpriority: 0, targetname: pool.example.net.}
shell:
  type: SSHFP
  value: {algorithm: 4, fingerprint: DIGEST, fingerprint_type: 2}
www:
  - type: A
    ttl: 600
    value: 192.0.2.3
  - type: AAAA
    ttl: 600
    value: 2001:db8::3
""".replace("LONG", "x" * 600).replace("DIGEST", "0a" * 32)


@pytest.fixture
def setting(tmp_path):
    name = f"octo-{uuid.uuid4().hex[:12]}.example."
    config = {
        "manager": {"max_workers": 1},
        "providers": {
            "files": {
                "class": "octodns.provider.yaml.YamlProvider",
                "directory": str(tmp_path),
                "default_ttl": 3600,
                "enforce_order": False,
            },
            "proxima": {
                "class": "octodns_cloudflare.CloudflareProvider",
                "token": os.environ["PROXIMA_TOKEN"],
                "api_url": os.environ["PROXIMA_API"],
                "retry_count": 0,
                "records_per_page": 5,
            },
        },
        "zones": {name: {"sources": ["files"], "targets": ["proxima"]}},
    }
    config_file = tmp_path / "config.yaml"
    config_file.write_text(yaml.safe_dump(config))
    return Setting(str(config_file), tmp_path / f"{name}yaml", name)


class Setting:
    def __init__(self, config, zone_file, name):
        self.config, self.zone_file, self.name = config, zone_file, name

    def sync(self, zone_text):
        """Brings the zone to this text; returns how many changes that took."""
        self.zone_file.write_text(zone_text)
        return Manager(self.config).sync(dry_run=False, force=True)

    def records(self):
        def get(path):
            headers = {"Authorization": f"Bearer {os.environ['PROXIMA_TOKEN']}"}
            answer = requests.get(os.environ["PROXIMA_API"] + path, headers=headers, timeout=30)
            answer.raise_for_status()
            return answer.json()["result"]

        zone = get(f"/zones?name={self.name[:-1]}")[0]
        return get(f"/zones/{zone['id']}/dns_records?per_page=5000")


def test_a_zone_is_made_kept_and_changed(setting):
    assert setting.sync(ZONE) > 0
    records = setting.records()
    assert len(records) == 23
    proxied = [record for record in records if record["proxied"]]
    assert [record["name"] for record in proxied] == [f"alias.{setting.name[:-1]}"]
    automatic = next(record for record in records if record["name"].startswith("automatic."))
    assert (automatic["ttl"], automatic["comment"], automatic["tags"]) == (1, "by octoDNS", ["owner:dns"])

    assert setting.sync(ZONE) == 0, "what was applied is what is wanted"

    changed = ZONE.replace("192.0.2.3", "192.0.2.33").replace("preference: 20", "preference: 30")
    changed = changed.replace("ns2.example.net.", "ns3.example.net.").replace("port: 5060", "port: 5061")
    assert setting.sync(changed) == 4
    assert setting.sync(changed) == 0
    contents = {record["content"] for record in setting.records()}
    assert "192.0.2.33" in contents and "192.0.2.3" not in contents

    swapped = changed.replace("type: CNAME\n  value: www.example.net.", "type: A\n  value: 192.0.2.77")
    assert setting.sync(swapped) > 0, "an alias becomes an address"
    assert setting.sync(swapped) == 0
