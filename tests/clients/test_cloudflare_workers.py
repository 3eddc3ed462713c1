"""The Python SDK `cloudflare`, unmodified, with what a developer has: Workers, their versions and secrets, classes of Durable
Objects, buckets, and queues.

Needs PROXIMA_API (http://HOST:PORT) and PROXIMA_TOKEN of a server that runs Workers and has objects.
"""

import base64
import json
import os
import uuid

import cloudflare
import pytest

COMPATIBILITY_DATE = "2026-11-01"
MODULE = "application/javascript+module"


@pytest.fixture(scope="module")
def client():
    return cloudflare.Cloudflare(
        api_token=os.environ["PROXIMA_TOKEN"], base_url=os.environ["PROXIMA_API"] + "/client/v4", max_retries=0
    )


@pytest.fixture(scope="module")
def account(client):
    return list(client.accounts.list())[0]


@pytest.fixture
def script(client, account):
    """A Worker that is deployed, and deleted when the test is over."""
    name = f"sdk-{uuid.uuid4().hex[:12]}"
    upload(client.workers.scripts.update, account, name, "first", bindings=[text("GREETING", "hello")])
    yield name
    client.workers.scripts.delete(name, account_id=account.id)


def text(name, value):
    return {"type": "plain_text", "name": name, "text": value}


def upload(call, account, name, says, **metadata):
    code = f"export class Room {{}}\nexport default {{ fetch() {{ return new Response('{says}') }} }}"
    return call(
        name,
        account_id=account.id,
        metadata={"main_module": "main.js", "compatibility_date": COMPATIBILITY_DATE, **metadata},
        files=[("main.js", code.encode(), MODULE)],
    )


def code_of(refusal):
    return refusal.value.errors[0].code


def test_who_asks_and_where_they_are_members(client, account):
    assert client.user.tokens.verify().status == "active"
    assert client.user.get() is not None
    members = list(client.memberships.list())
    assert [(member.account.id, member.status) for member in members] == [(account.id, "accepted")]
    assert [member.account.name for member in client.memberships.list(name=account.name)] == [account.name]


def test_workers_are_uploaded_listed_changed_and_deleted(client, account, script):
    scripts = client.workers.scripts
    listed = {found.id: found for found in scripts.list(account_id=account.id)}
    assert listed[script].etag and listed[script].created_on is not None
    settings = scripts.script_and_version_settings.get(script, account_id=account.id)
    assert settings.compatibility_date == COMPATIBILITY_DATE
    assert [(one.name, one.text) for one in settings.bindings] == [("GREETING", "hello")]
    content = scripts.content.get(script, account_id=account.id)
    assert b"new Response('first')" in content.read()
    tagged = scripts.settings.edit(script, account_id=account.id, tags=["a", "b"])
    assert tagged.tags == ["a", "b"] and scripts.settings.get(script, account_id=account.id).tags == ["a", "b"]
    assert scripts.subdomain.get(script, account_id=account.id).enabled is False
    planned = scripts.schedules.update(script, account_id=account.id, body=[{"cron": "17 3 * * *"}])
    assert [one.cron for one in planned.schedules] == ["17 3 * * *"]
    assert scripts.schedules.get(script, account_id=account.id).schedules[0].cron == "17 3 * * *"
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        scripts.script_and_version_settings.get("nobodys", account_id=account.id)
    assert code_of(refusal) == 10007


def test_versions_are_deployed_in_parts_and_back(client, account, script):
    scripts = client.workers.scripts
    first = list(scripts.versions.list(script, account_id=account.id))
    assert [version.number for version in first] == [1]
    # Raw: the SDK's own model of this answer is one that its pydantic refuses to build, whatever is answered.
    create = scripts.versions.with_raw_response.create
    made = upload(create, account, script, "second", annotations={"workers/tag": "v2"}).json()["result"]
    assert made["number"] == 2 and made["annotations"]["workers/tag"] == "v2"
    second = made["id"]
    listed = list(scripts.versions.list(script, account_id=account.id, per_page=1))
    assert [version.id for version in listed] == [second, first[0].id]
    shown = scripts.versions.with_raw_response.get(second, account_id=account.id, script_name=script).json()["result"]
    assert shown["id"] == second and shown["resources"]["script_runtime"]["compatibility_date"] == COMPATIBILITY_DATE
    shares = [{"version_id": first[0].id, "percentage": 90}, {"version_id": second, "percentage": 10}]
    made = scripts.deployments.create(script, account_id=account.id, strategy="percentage", versions=shares)
    assert sorted(share.percentage for share in made.versions) == [10, 90]
    # Raw: the SDK looks for pages of `items` where `deployments` are documented.
    history = scripts.deployments.with_raw_response.list(script, account_id=account.id).json()["result"]["deployments"]
    assert history[0]["id"] == made.id and len(history) == 2
    found = scripts.deployments.get(made.id, account_id=account.id, script_name=script)
    assert {share.version_id for share in found.versions} == {first[0].id, second}


def test_secrets_are_written_and_only_their_names_are_shown(client, account, script):
    secrets = client.workers.scripts.secrets
    put = secrets.update(script, account_id=account.id, name="KEY", text="a secret", type="secret_text")
    assert put.name == "KEY" and put.type == "secret_text"
    assert [secret.name for secret in secrets.list(script, account_id=account.id)] == ["KEY"]
    assert secrets.get("KEY", account_id=account.id, script_name=script).name == "KEY"
    given = {name: {"name": name, "text": "x", "type": "secret_text"} for name in ["ONE", "TWO"]}
    secrets.bulk_update(script, account_id=account.id, secrets={**given, "KEY": None})
    assert [secret.name for secret in secrets.list(script, account_id=account.id)] == ["ONE", "TWO"]
    secrets.delete("ONE", account_id=account.id, script_name=script)
    assert [secret.name for secret in secrets.list(script, account_id=account.id)] == ["TWO"]
    numbers = [version.number for version in client.workers.scripts.versions.list(script, account_id=account.id)]
    assert numbers == [4, 3, 2, 1], "each change is one version"


def test_a_worker_is_bound_to_a_namespace_and_a_bucket(client, account, script):
    namespace = client.kv.namespaces.create(account_id=account.id, title=f"sdk-{uuid.uuid4().hex[:12]}")
    bucket = client.r2.buckets.create(account_id=account.id, name=f"sdk-{uuid.uuid4().hex[:12]}")
    bindings = [
        {"type": "kv_namespace", "name": "KV", "namespace_id": namespace.id},
        {"type": "r2_bucket", "name": "BUCKET", "bucket_name": bucket.name},
    ]
    upload(client.workers.scripts.update, account, script, "bound", bindings=bindings)
    settings = client.workers.scripts.script_and_version_settings.get(script, account_id=account.id)
    assert {binding.type for binding in settings.bindings} == {"kv_namespace", "r2_bucket"}


def test_buckets_are_made_listed_ruled_and_deleted(client, account):
    buckets = client.r2.buckets
    names = sorted(f"sdk-{uuid.uuid4().hex[:12]}" for _ in range(3))
    for name in names:
        made = buckets.create(account_id=account.id, name=name, location_hint="weur")
        assert made.name == name and made.storage_class == "Standard"
    with pytest.raises(cloudflare.ConflictError) as refusal:
        buckets.create(account_id=account.id, name=names[0])
    assert code_of(refusal) == 10004
    listed = [bucket.name for bucket in buckets.list(account_id=account.id).buckets]
    assert [name for name in listed if name in names] == names
    assert buckets.get(names[0], account_id=account.id).creation_date
    rule = {"allowed": {"origins": ["https://a.example"], "methods": ["GET"]}, "max_age_seconds": 60}
    buckets.cors.update(names[0], account_id=account.id, rules=[rule])
    assert buckets.cors.get(names[0], account_id=account.id).rules[0].max_age_seconds == 60
    buckets.cors.delete(names[0], account_id=account.id)
    assert buckets.lifecycle.get(names[0], account_id=account.id).rules
    for name in names:
        buckets.delete(name, account_id=account.id)
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        buckets.get(names[0], account_id=account.id)
    assert code_of(refusal) == 10006


def fresh():
    return f"sdk-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def queue(client, account):
    """A queue, deleted when the test is over."""
    made = client.queues.create(account_id=account.id, queue_name=fresh())
    yield made
    client.queues.delete(made.queue_id, account_id=account.id)


def test_queues_are_made_listed_changed_and_deleted(client, account, queue):
    queues = client.queues
    assert queue.settings.message_retention_period == 345600 and queue.consumers == []
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        queues.create(account_id=account.id, queue_name=queue.queue_name)
    assert code_of(refusal) == 11009
    listed = {one.queue_name: one.queue_id for one in queues.list(account_id=account.id)}
    assert listed[queue.queue_name] == queue.queue_id
    changed = queues.edit(queue.queue_id, account_id=account.id, settings={"delivery_delay": 5, "delivery_paused": True})
    assert (changed.settings.delivery_delay, changed.settings.delivery_paused) == (5, True)
    replaced = queues.update(queue.queue_id, account_id=account.id, settings={"message_retention_period": 60})
    shown = queues.get(queue.queue_id, account_id=account.id)
    assert (replaced.settings.delivery_delay, shown.settings.message_retention_period) == (0, 60)
    gone = queues.create(account_id=account.id, queue_name=fresh()).queue_id
    queues.delete(gone, account_id=account.id)
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        queues.get(gone, account_id=account.id)
    assert code_of(refusal) == 11000


def test_a_queue_has_a_consumer_that_is_changed_and_removed(client, account, queue, script):
    consumers, of_queue = client.queues.consumers, {"account_id": account.id, "queue_id": queue.queue_id}
    made = consumers.create(**of_queue, type="worker", script_name=script, settings={"batch_size": 5, "max_retries": 1})
    assert (made.type, made.script_name, made.settings.batch_size) == ("worker", script, 5)
    assert [one.consumer_id for one in consumers.list(**of_queue)] == [made.consumer_id]
    pulled = consumers.update(made.consumer_id, **of_queue, type="http_pull", settings={"visibility_timeout_ms": 6000})
    assert (pulled.type, pulled.settings.visibility_timeout_ms) == ("http_pull", 6000)
    assert consumers.get(made.consumer_id, **of_queue).consumer_id == made.consumer_id
    with pytest.raises(cloudflare.BadRequestError) as refusal:
        consumers.update(made.consumer_id, **of_queue, type="http_pull", dead_letter_queue=queue.queue_name)
    assert code_of(refusal) == 100127, "it would be its own dead letter queue"
    consumers.delete(made.consumer_id, **of_queue)
    assert list(consumers.list(**of_queue)) == []


def test_messages_are_sent_pulled_acknowledged_and_purged(client, account, queue):
    messages, of_queue = client.queues.messages, {"account_id": account.id, "queue_id": queue.queue_id}
    client.queues.consumers.create(**of_queue, type="http_pull")
    messages.push(**of_queue, body="text", content_type="text")
    batch = [{"body": {"a": [1]}, "content_type": "json"}, {"body": "later", "content_type": "text", "delay_seconds": 600}]
    sent = messages.bulk_push(**of_queue, messages=batch)
    assert sent.metadata.metrics.backlog_count == 3
    pulled = messages.pull(**of_queue, batch_size=10, visibility_timeout_ms=60000)
    assert (len(pulled.messages), pulled.message_backlog_count) == (2, 3)
    by_type = {one.metadata["CF-Content-Type"]: one for one in pulled.messages}
    assert by_type["text"].body == "text" and by_type["text"].attempts == 1
    assert json.loads(base64.b64decode(by_type["json"].body)) == {"a": [1]}
    acks, retries = [{"lease_id": by_type["text"].lease_id}], [{"lease_id": by_type["json"].lease_id, "delay_seconds": 0}]
    acked = messages.ack(**of_queue, acks=acks, retries=retries)
    assert (acked.ack_count, acked.retry_count, len(acked.warnings)) == (1, 1, 0)
    assert [one.attempts for one in messages.pull(**of_queue).messages] == [2]
    assert client.queues.get_metrics(**of_queue).backlog_count == 2
    client.queues.purge.start(**of_queue, delete_messages_permanently=True)
    assert client.queues.get_metrics(**of_queue).backlog_count == 0


def test_classes_of_durable_objects_are_shown_with_their_objects(client, account, script):
    migrations = {"new_tag": "v1", "new_sqlite_classes": ["Room"]}
    bindings = [{"type": "durable_object_namespace", "name": "ROOMS", "class_name": "Room"}]
    upload(client.workers.scripts.update, account, script, "rooms", bindings=bindings, migrations=migrations)
    namespaces = client.durable_objects.namespaces
    found = [one for one in namespaces.list(account_id=account.id, per_page=1) if one.script == script]
    assert [(one.class_, one.use_sqlite) for one in found] == [("Room", True)]
    assert list(namespaces.objects.list(found[0].id, account_id=account.id)) == []
    with pytest.raises(cloudflare.NotFoundError) as refusal:
        namespaces.objects.list("0" * 32, account_id=account.id)
    assert code_of(refusal) == 10066
