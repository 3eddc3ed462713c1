"""What S3 refuses of requests that are signed for something else, conditions of writes, rules for other sites and for what goes by
itself, and rclone. Needs what test_s3.py needs, and rclone.
"""

import concurrent.futures
import datetime
import hashlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from test_s3 import ENDPOINT, KEY, SECRET, At, bucket, connect, fetch, octets, read, refused, s3, sent  # noqa: F401

ORIGIN = {"Origin": "https://a.example"}


def ask(method, url, **fields):
    """As urllib does not: without fields of its own. The answer's fields, too."""
    target = urllib.parse.urlparse(url)
    connection = http.client.HTTPConnection(target.netloc, timeout=30)
    connection.request(method, f"{target.path}?{target.query}", headers=fields)
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace"), answer.headers


def presigned(method, bucket, key, expires):
    """A URL that is signed for as long as is said, however long that is."""
    request = botocore.awsrequest.AWSRequest(method, f"{ENDPOINT}/{bucket}/{key}")
    signer = At(botocore.credentials.Credentials(KEY, SECRET), "s3", "auto", expires=expires)
    signer.at = datetime.datetime.now(datetime.timezone.utc)
    signer.add_auth(request)
    return request.url


def test_a_signed_url_does_what_was_signed_and_nothing_more(s3, bucket):
    s3.put_object(Bucket=bucket, Key="secret", Body=b"secret")
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
    for fields in [
        {"X-Amz-Copy-Source": f"/{bucket}/secret"}, {"x-amz-meta-a": "b"}, {"x-amz-storage-class": "STANDARD_IA"},
        {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    ]:
        status, text = fetch("PUT", put, b"", **fields)
        assert (status, b"AccessDenied" in text, next(iter(fields)).lower().encode() in text) == (403, True, True), text
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")
    encoded = put.replace("X-Amz-SignedHeaders", "X-Amz-Signed%48eaders")
    assert fetch("PUT", encoded, b"", **{"X-Amz-Copy-Source": f"/{bucket}/secret"})[0] == 403
    for _ in range(2):
        assert fetch("PUT", put, b"body")[0] == 200, "it is for as often as one likes, within its time"
    meta = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k", "Metadata": {"a": "b"}})
    assert fetch("PUT", meta, b"x", **{"x-amz-meta-a": "b"})[0] == 200
    assert fetch("PUT", meta, b"x", **{"x-amz-meta-a": "c"})[0] == 403
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"a": "b"}


def test_a_signed_request_has_no_field_that_is_not_signed(s3, bucket):
    s3.put_object(Bucket=bucket, Key="secret", Body=b"secret")
    at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    request = botocore.awsrequest.AWSRequest("PUT", f"{ENDPOINT}/{bucket}/k", data=b"")
    signer = botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(KEY, SECRET), "s3", "auto")
    signer.add_auth(request)
    fields = {**dict(request.headers.items()), "x-amz-copy-source": f"/{bucket}/secret"}
    status, text, _ = ask("PUT", request.url, **fields)
    assert (status, "x-amz-copy-source" in text) == (403, True), (text, at)
    assert refused(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")


def test_a_connection_whose_body_was_not_read_is_said_to_end(s3, bucket):
    """Or its client would send the next request where nobody hears it."""
    host = urllib.parse.urlparse(ENDPOINT).netloc
    for length, ends in ((9, True), (0, False)):
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.putrequest("PUT", f"/{bucket}/k")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Connection") == "close") == (403, ends), length
    assert "close" != s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ResponseMetadata"]["HTTPHeaders"].get("connection")


def test_a_connection_ends_whose_client_waits_for_a_word_about_an_empty_body(s3, bucket):
    """Some clients take the answer that comes instead for one to the next request, too."""
    for expect, ends in (("100-continue", True), ("100-Continue", True), (None, False)):
        request = botocore.awsrequest.AWSRequest("PUT", f"{ENDPOINT}/{bucket}/k", data=b"")
        botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(KEY, SECRET), "s3", "auto").add_auth(request)
        fields = {**dict(request.headers.items()), "Content-Length": "0", **({"Expect": expect} if expect else {})}
        with socket.create_connection(urllib.parse.urlparse(ENDPOINT).netloc.rsplit(":", 1), timeout=30) as raw:
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            host = urllib.parse.urlparse(ENDPOINT).netloc
            raw.sendall(f"PUT /{bucket}/k HTTP/1.1\r\nHost: {host}\r\n{head}\r\n".encode())
            # To its end, where it ends; else as much as a head is.
            answer = b""
            while more := raw.recv(4096):
                answer += more
                if not ends and b"\r\n\r\n" in answer:
                    break
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert (b"connection: close" in answer.lower()) == ends, answer
    assert read(s3, bucket, "k") == b""


def test_every_answer_has_a_name_and_every_error_words(s3, bucket):
    name = lambda told: told["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"]
    put, head = s3.put_object(Bucket=bucket, Key="k", Body=b"x"), s3.head_object(Bucket=bucket, Key="k")
    assert re.fullmatch("[0-9a-f]{16}-[A-Z]+", name(put)) and name(put) != name(head)
    with pytest.raises(ClientError) as refusal:
        s3.get_object(Bucket=bucket, Key="none")
    told = refusal.value.response
    assert (told["ResponseMetadata"]["RequestId"], told["Error"]["Resource"]) == (name(told), f"/{bucket}/none"), told
    long = "x" * 1025
    for method, path, body, secret, code, words in [
        ("GET", f"/{bucket}/k", b"", "0" * 64, "SignatureDoesNotMatch", "SHA-256"),
        ("PUT", f"/{bucket}?cors", b"<Other", SECRET, "MalformedXML", "well-formed"),
        ("GET", "/a_B", b"", SECRET, "InvalidBucketName", "lower-case"),
        ("GET", f"/{bucket}/{long}", b"", SECRET, "KeyTooLongError", "1024"),
        ("GET", f"/{bucket}/%ff", b"", SECRET, "InvalidURI", "percent-encoded"),
    ]:
        status, text = sent(method, path, body, secret=secret)
        told = re.search("<Code>(.*)</Code><Message>(.*)</Message><Resource>(.*)</Resource><RequestId>(.*)</RequestId></Error>", text)
        assert told and (told[1], words in told[2]) == (code, True) and status < 500, (path, text)


@pytest.mark.parametrize("expires, status", [(604_800, 200), (604_801, 400), (-1, 400), (0, 400)])
def test_a_url_is_signed_for_a_week_at_the_most(s3, bucket, expires, status):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    got, text = fetch("GET", presigned("GET", bucket, "k", expires))
    assert (got, got == 200 or b"AuthorizationQueryParametersError" in text) == (status, True), text


def test_signatures_of_version_2_are_refused_however_they_are_written(bucket):
    for query in ("AWSAccessKeyId=k&Signature=s&Expires=9", "%41WSAccessKeyId=k&Sign%61ture=s&Expires=9"):
        status, text = fetch("GET", f"{ENDPOINT}/{bucket}/k?{query}")
        assert (status, b"version 4" in text) == (400, True), text


def conditional(method, path, **fields):
    """A signed request with fields that boto3 has no words for."""
    status, text = sent(method, path, more=[(name.replace("_", "-"), value) for name, value in fields.items()])
    return status, text


def test_what_nobody_offers_is_not_taken_for_what_is(s3, bucket):
    """Whatever a query asks for, or a client that is newer than the server."""
    empty = f"{bucket}-2"
    s3.create_bucket(Bucket=empty)
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    xml = b"<Anything/>"
    for method, path, queries in [
        ("PUT", f"/{bucket}/k", "encryption annotation restore policy versionId=abc uploadId=x partNumber=1 foo"),
        ("DELETE", f"/{bucket}/k", "foo policy uploads"), ("DELETE", f"/{empty}", "metadataConfiguration abac foo"),
        ("GET", f"/{bucket}", "abac attributes torrent"), ("GET", f"/{bucket}/k", "abac logging"),
        ("PUT", f"/{empty}", "abac policy"), ("POST", f"/{bucket}/k", "restore"),
    ]:
        for query in queries.split():
            status, text = sent(method, f"{path}?{query}", xml if method in ("PUT", "POST") else b"")
            assert (status, f"?{query.split('=')[0]}" in text) == (501, True), (method, query, text)
    assert refused(s3.rename_object, Bucket=bucket, Key="k", RenameSource=f"{bucket}/other") == (501, "NotImplemented")
    assert read(s3, bucket, "k") == b"kept"
    s3.delete_bucket(Bucket=empty)
    assert sent("PUT", f"/{bucket}/k?x-id=PutObject", b"new")[0] == 200
    assert sent("GET", f"/{bucket}/k?x-id=GetObject&response-content-type=text%2Fx&partNumber=1")[1] == "new"


def test_a_bucket_is_not_made_without_what_it_was_to_have(s3, bucket):
    name = f"{bucket}-2"
    tags = {"Tags": [{"Key": "a", "Value": "b"}]}
    for more in ({"ObjectLockEnabledForBucket": True}, {"CreateBucketConfiguration": tags}):
        assert refused(s3.create_bucket, Bucket=name, **more) == (501, "NotImplemented"), more
    assert refused(s3.head_bucket, Bucket=name)[0] == 404
    s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=False, CreateBucketConfiguration={"LocationConstraint": "weur"})
    s3.delete_bucket(Bucket=name)


def test_what_is_meant_for_anothers_buckets_is_refused(s3, bucket):
    owner = s3.list_buckets()["Owner"]["ID"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ExpectedBucketOwner=owner)
    copy = {"Bucket": bucket, "Key": "to", "CopySource": f"{bucket}/k"}
    s3.copy_object(ExpectedSourceBucketOwner=owner, ExpectedBucketOwner=owner, **copy)
    other = "0" * 12
    for call, arguments in [
        (s3.put_object, {"Key": "k", "Body": b"y"}), (s3.get_object, {"Key": "k"}), (s3.delete_object, {"Key": "k"}),
        (s3.list_objects_v2, {}), (s3.delete_bucket, {}),
    ]:
        assert refused(call, Bucket=bucket, ExpectedBucketOwner=other, **arguments) == (403, "AccessDenied"), call
    assert refused(s3.copy_object, ExpectedSourceBucketOwner=other, **copy) == (403, "AccessDenied")
    assert read(s3, bucket, "k") == b"x"


def test_a_bucket_in_the_host_is_no_key_of_another(s3, bucket, monkeypatch):
    """As clients ask that are told nothing: a key is never taken for a bucket."""
    known = socket.getaddrinfo
    address = urllib.parse.urlparse(ENDPOINT)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: known(address.hostname, *more, **named))

    def at(host):
        style = Config(retries={"max_attempts": 0}, s3={"addressing_style": "virtual"}, signature_version="s3v4")
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        return boto3.client("s3", endpoint_url=f"http://{host}:{address.port}", region_name="auto", config=style, **keys)

    victim = f"{bucket}-2"
    s3.create_bucket(Bucket=victim)
    there, elsewhere = at("localhost"), at("s3.example.com")
    there.put_object(Bucket=bucket, Key=victim, Body=b"x")
    assert read(s3, bucket, victim) == b"x"
    assert [found["Key"] for found in there.list_objects_v2(Bucket=bucket)["Contents"]] == [victim]
    there.delete_object(Bucket=bucket, Key=victim)
    assert refused(there.get_object, Bucket=bucket, Key=victim) == (404, "NoSuchKey")
    for call in (elsewhere.put_object, elsewhere.delete_object, elsewhere.get_object):
        with pytest.raises(ClientError) as refusal:
            call(Bucket=bucket, Key=victim)
        error = refusal.value.response["Error"]
        assert (error["Code"], "[r2] host" in error["Message"]) == ("InvalidRequest", True), error
    s3.head_bucket(Bucket=victim)
    s3.delete_bucket(Bucket=victim)
def test_a_copy_is_kept_by_the_class_that_its_request_says(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="from", Body=b"from", Metadata={"a": "b"}, ContentType="text/x")["ETag"]
    source = {"Bucket": bucket, "Key": "from"}
    # To itself, too.
    s3.copy_object(Bucket=bucket, Key="from", CopySource=source, StorageClass="STANDARD_IA")
    head = s3.head_object(Bucket=bucket, Key="from")
    assert (head["StorageClass"], head["Metadata"], head["ContentType"], head["ETag"]) == ("STANDARD_IA", {"a": "b"}, "text/x", tag)
    s3.copy_object(Bucket=bucket, Key="as the bucket says", CopySource=source)
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="as the bucket says")


@pytest.mark.parametrize("prefix", ["", "cf_copy_destination_"])
def test_a_copy_replaces_what_it_was_said_to_replace(s3, bucket, prefix):
    s3.put_object(Bucket=bucket, Key="from", Body=b"from")
    source = {"x_amz_copy_source": f"/{bucket}/from"}
    named = lambda **given: {f"{prefix}{name}": value for name, value in given.items()}
    path = f"/{bucket}/to"
    assert conditional("PUT", path, **source, **named(if_match='"x"'))[0] == 404
    assert conditional("PUT", path, **source, **named(if_none_match="*"))[0] == 200
    assert conditional("PUT", path, **source, **named(if_none_match="*"))[0] == 412
    tag = s3.put_object(Bucket=bucket, Key="to", Body=b"other")["ETag"]
    assert conditional("PUT", path, **source, **named(if_match='"x"'))[0] == 412
    assert read(s3, bucket, "to") == b"other"
    assert conditional("PUT", path, **source, **named(if_match="unclear, \""))[0] == 400
    before = "Thu, 01 Jan 1970 00:00:00 GMT"
    assert conditional("PUT", path, **source, **named(if_unmodified_since=before))[0] == 412
    assert conditional("PUT", path, **source, **named(if_match=tag))[0] == 200
    assert read(s3, bucket, "to") == b"from"


def test_of_many_copies_on_condition_one_wins(s3, bucket):
    for at in range(8):
        s3.put_object(Bucket=bucket, Key=f"from{at}", Body=octets(50_000, str(at).encode()))

    def copy(at):
        status, _ = conditional("PUT", f"/{bucket}/to", x_amz_copy_source=f"/{bucket}/from{at}", if_none_match="*")
        assert status in (200, 412)
        return status == 200

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        winners = [at for at, won in enumerate(pool.map(copy, range(8))) if won]
    assert len(winners) == 1
    assert read(s3, bucket, "to") == octets(50_000, str(winners[0]).encode())


def test_an_upload_is_completed_on_condition_and_its_parts_have_none(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    tag = s3.upload_part(PartNumber=1, Body=b"part", **which)["ETag"]
    path = f"/{bucket}/k?partNumber=1&uploadId={upload}"
    assert conditional("PUT", path, if_none_match="*")[0] == 501
    s3.put_object(Bucket=bucket, Key="from", Body=b"from")
    assert conditional("PUT", path, x_amz_copy_source=f"/{bucket}/from", if_none_match="*")[0] == 501
    there = s3.put_object(Bucket=bucket, Key="k", Body=b"there")["ETag"]
    chosen = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": tag}]}, **which}
    assert refused(s3.complete_multipart_upload, IfNoneMatch="*", **chosen) == (412, "PreconditionFailed")
    assert refused(s3.complete_multipart_upload, IfMatch='"x"', **chosen) == (412, "PreconditionFailed")
    assert read(s3, bucket, "k") == b"there"
    s3.complete_multipart_upload(IfMatch=there, **chosen)
    assert read(s3, bucket, "k") == b"part"


def test_uploads_are_listed_behind_any_marker(s3, bucket):
    s3.create_multipart_upload(Bucket=bucket, Key="a")
    listed = lambda **asked: s3.list_multipart_uploads(Bucket=bucket, EncodingType="url", **asked)
    keys = lambda **asked: [found["Key"] for found in listed(**asked).get("Uploads", [])]
    assert keys(Prefix="a") == ["a"]
    # The octet between a key and its upload's id is one that a prefix may have.
    for prefix in ("a\0", "a\0\x01", "a\0b", "a\0\0"):
        assert (keys(Prefix=prefix), listed(Prefix=prefix)["Prefix"]) == ([], urllib.parse.quote(prefix)), prefix
    for marker, found in (("\0", ["a"]), ("a\0", []), ("é", []), ("x" * 2_000, []), ("a/", []), ("😀", []), ("A", ["a"])):
        assert keys(KeyMarker=marker) == found, marker
    wrong = {"KeyMarker": "a", "UploadIdMarker": "odd"}
    assert refused(s3.list_multipart_uploads, Bucket=bucket, **wrong) == (400, "InvalidArgument")
    assert keys(UploadIdMarker="odd") == ["a"], "without a key it says nothing"


RULES = [
    {
        "ID": "one", "AllowedOrigins": ["https://*.example"], "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["x-amz-*", "If-None-Match"],
        "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60,
    },
    {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
]


def test_pages_of_other_sites_are_told_what_they_may(s3, bucket):
    url = f"{ENDPOINT}/{bucket}/k"
    wish = {"Access-Control-Request-Method": "GET", **ORIGIN}
    assert refused(s3.get_bucket_cors, Bucket=bucket) == (404, "NoSuchCORSConfiguration")
    assert ask("OPTIONS", url, **wish)[0] == 403
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == RULES
    status, text, fields = ask("OPTIONS", url, **wish, **{"Access-Control-Request-Headers": "x-amz-date, if-none-match"})
    assert (status, text) == (200, "")
    assert fields["Access-Control-Allow-Origin"] == "https://a.example"
    assert fields["Access-Control-Allow-Methods"] == "GET, PUT"
    assert fields["Access-Control-Allow-Headers"] == "x-amz-date, if-none-match"
    assert (fields["Access-Control-Max-Age"], "Origin" in fields["Vary"]) == ("60", True)
    for other in (
        {"Origin": "http://a.example"}, {"Access-Control-Request-Method": "DELETE"}, {"Access-Control-Request-Headers": "cookie"},
    ):
        status, text, fields = ask("OPTIONS", url, **{**wish, **other})
        assert (status, "Access-Control-Allow-Origin" in fields) == (403, False), other
    assert ask("OPTIONS", url)[0] == 400
    # Nobody learns from it whether anybody has such a bucket.
    foreign = ask("OPTIONS", url, **{**wish, "Origin": "http://a.example"})[1]
    unknown = ask("OPTIONS", f"{ENDPOINT}/no-such-bucket-here/k", **wish)
    body = lambda text: re.sub("<(RequestId|Resource)>.*?</", "", text)
    assert (unknown[0], body(unknown[1])) == (403, body(foreign))
    signed = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert ask("OPTIONS", signed, **wish)[0] == 200
    # The answer to the request itself, also when it is an error.
    for expected in (404, 200):
        status, _, fields = ask("GET", signed, **ORIGIN)
        assert (status, fields["Access-Control-Allow-Origin"]) == (expected, "https://a.example")
        assert (fields["Access-Control-Expose-Headers"], fields["Vary"]) == ("ETag", "Origin")
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    for fields in ({}, {"Origin": "https://elsewhere.test"}):
        assert "Access-Control-Allow-Origin" not in ask("GET", signed, **fields)[2], fields
    head = s3.generate_presigned_url("head_object", Params={"Bucket": bucket, "Key": "k"})
    assert ask("HEAD", head, Origin="https://elsewhere.test")[2]["Access-Control-Allow-Origin"] == "*"
    s3.delete_bucket_cors(Bucket=bucket)
    assert refused(s3.get_bucket_cors, Bucket=bucket) == (404, "NoSuchCORSConfiguration")
    assert ask("OPTIONS", url, **wish)[0] == 403
    wrong = [{**RULES[1], "AllowedMethods": ["PATCH"]}]
    assert refused(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": wrong}) == (400, "InvalidArgument")


def test_rules_for_what_goes_by_itself_are_kept(s3, bucket):
    assert refused(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")
    at = datetime.datetime(2040, 1, 2, tzinfo=datetime.timezone.utc)
    rules = [
        {"ID": "one", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3},
         "Transitions": [{"Days": 1, "StorageClass": "STANDARD_IA"}]},
        {"ID": "two", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Date": at},
         "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}},
    ]
    put = lambda rules: s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    put(rules)
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    put([{"Status": "Enabled", "Prefix": "old/", "Expiration": {"Days": 1}}])
    [kept] = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert (kept["Filter"], bool(kept["ID"])) == ({"Prefix": "old/"}, True)
    for change, status, code in [
        ({"Expiration": {"Days": 0}}, 400, "InvalidArgument"),
        ({"Expiration": {"Date": at + datetime.timedelta(hours=1)}}, 400, "InvalidArgument"),
        ({"Status": "enabled"}, 400, "MalformedXML"),
        ({"Filter": {"Tag": {"Key": "a", "Value": "b"}}}, 501, "NotImplemented"),
        ({"NoncurrentVersionExpiration": {"NoncurrentDays": 1}}, 501, "NotImplemented"),
        ({"Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}, 400, "InvalidStorageClass"),
    ]:
        with pytest.raises(ClientError) as refusal:
            put([{**rules[0], **change}])
        response = refusal.value.response
        assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (status, code), change
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [kept], "what was refused changed nothing"
    s3.delete_bucket_lifecycle(Bucket=bucket)
    assert refused(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (404, "NoSuchLifecycleConfiguration")


def test_an_object_is_its_only_version(s3, bucket):
    for key in ("a", "b/1", "b/2", "c"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    listed = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    assert [(found["Key"], found["VersionId"], found["IsLatest"]) for found in listed["Versions"]] == [
        ("a", "null", True), ("c", "null", True),
    ]
    assert [found["Prefix"] for found in listed["CommonPrefixes"]] == ["b/"]
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
    assert [found["Key"] for page in pages for found in page.get("Versions", [])] == ["a", "b/1", "b/2", "c"]
    assert read(s3, bucket, "a", VersionId="null") == b"a"
    assert refused(s3.get_object, Bucket=bucket, Key="a", VersionId="other")[1] == "NoSuchVersion"
    s3.delete_object(Bucket=bucket, Key="a", VersionId="null")
    assert refused(s3.get_object, Bucket=bucket, Key="a") == (404, "NoSuchKey")


def test_what_a_bucket_cannot_have_is_told_by_its_name(s3, bucket):
    one = {"Bucket": bucket}
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    s3.put_object(Key="k", Body=b"x", **one)
    for call, arguments in [
        (s3.get_bucket_policy, {}), (s3.put_bucket_policy, {"Policy": "{}"}),
        (s3.put_bucket_acl, {"ACL": "public-read"}), (s3.put_object_acl, {"Key": "k", "ACL": "public-read"}),
        (s3.put_bucket_tagging, {"Tagging": tags}), (s3.put_object_tagging, {"Key": "k", "Tagging": tags}),
        (s3.get_object_tagging, {"Key": "k"}), (s3.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Enabled"}}),
        (s3.get_object_lock_configuration, {}), (s3.get_bucket_website, {}), (s3.get_bucket_notification_configuration, {}),
        (s3.put_object_legal_hold, {"Key": "k", "LegalHold": {"Status": "ON"}}),
        (s3.put_public_access_block, {"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}}),
        (s3.get_bucket_encryption, {}), (s3.restore_object, {"Key": "k", "RestoreRequest": {"Days": 1}}),
    ]:
        assert refused(call, **one, **arguments) == (501, "NotImplemented"), call
    for more in ({"ACL": "public-read"}, {"GrantRead": "id=a"}, {"ServerSideEncryption": "aws:kms"}, {"WebsiteRedirectLocation": "/x"}):
        assert refused(s3.put_object, Key="k", Body=b"y", **more, **one) == (501, "NotImplemented"), more
    for condition in ({"Size": 9}, {"LastModifiedTime": datetime.datetime(2040, 1, 1, tzinfo=datetime.timezone.utc)}):
        several = {"Objects": [{"Key": "k", **condition}]}
        assert refused(s3.delete_objects, Delete=several, **one) == (501, "NotImplemented"), "it would be deleted whatever it is"
    assert read(s3, bucket, "k") == b"x"
    s3.put_object(Key="k", Body=b"y", ACL="private", **one)


def test_rclone_syncs_folders_and_large_files(s3, bucket, tmp_path):
    rclone = shutil.which("rclone")
    assert rclone, "rclone is not there: run `cargo xtask setup`"
    # Whatever AWS's clients are told here, rclone is told nothing.
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {
        **own, "RCLONE_CONFIG": str(tmp_path / "none"), "HOME": str(tmp_path), "RCLONE_CONFIG_X_TYPE": "s3",
        "RCLONE_CONFIG_X_PROVIDER": "Cloudflare", "RCLONE_CONFIG_X_ACCESS_KEY_ID": KEY, "RCLONE_CONFIG_X_SECRET_ACCESS_KEY": SECRET,
        "RCLONE_CONFIG_X_ENDPOINT": ENDPOINT, "RCLONE_CONFIG_X_REGION": "auto", "RCLONE_CONFIG_X_NO_CHECK_BUCKET": "true",
    }

    def run(*command):
        done = subprocess.run([rclone, "--retries=1", *command], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    folder = tmp_path / "folder"
    (folder / "sub é").mkdir(parents=True)
    (folder / "large").write_bytes(octets(12 << 20))
    (folder / "sub é" / "b c+d").write_bytes(b"small")
    cut = "--s3-upload-cutoff=5M", "--s3-chunk-size=5M"
    run("sync", *cut, str(folder), f"x:{bucket}/in")
    assert sorted(run("lsf", "-R", "--files-only", f"x:{bucket}").split("\n")[:-1]) == ["in/large", "in/sub é/b c+d"]
    run("check", "--download", str(folder), f"x:{bucket}/in")
    run("moveto", f"x:{bucket}/in/large", f"x:{bucket}/moved")
    run("sync", f"x:{bucket}/in", str(tmp_path / "back"))
    assert (tmp_path / "back" / "sub é" / "b c+d").read_bytes() == b"small"
    assert hashlib.md5(read(s3, bucket, "moved")).digest() == hashlib.md5(octets(12 << 20)).digest()
    run("purge", f"x:{bucket}/in")
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["moved"]


def test_attributes_list_the_parts_of_an_object(s3, bucket):
    parts = [b"1" * (5 << 20), b"2"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    which, chosen = {"Bucket": bucket, "Key": "k", "UploadId": upload}, []
    for number, part in enumerate(parts, 1):
        put = s3.upload_part(PartNumber=number, Body=part, ChecksumAlgorithm="SHA256", **which)
        chosen.append({"PartNumber": number, "ETag": put["ETag"], "ChecksumSHA256": put["ChecksumSHA256"]})
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": chosen}, **which)

    def attributes(**more):
        about = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectParts"], **more)
        listed = about["ObjectParts"]
        told = [(part["PartNumber"], part["Size"], part["ChecksumSHA256"]) for part in listed["Parts"]]
        return about["Checksum"], told, (listed["TotalPartsCount"], listed["IsTruncated"], listed["NextPartNumberMarker"])

    each = [(number, len(part), chosen[number - 1]["ChecksumSHA256"]) for number, part in enumerate(parts, 1)]
    checksum = {"ChecksumSHA256": done["ChecksumSHA256"], "ChecksumType": "COMPOSITE"}
    assert done["ChecksumSHA256"].endswith("-2")
    assert attributes() == (checksum, each, (2, False, 2))
    assert attributes(MaxParts=1) == (checksum, each[:1], (2, True, 1))
    assert attributes(PartNumberMarker=1) == (checksum, each[1:], (2, False, 2))


def test_what_is_no_checksum_is_refused_as_one_and_an_empty_token_is_the_first_page(s3, bucket):
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", ChecksumSHA256="none") == (400, "BadDigest")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    page = s3.list_objects_v2(Bucket=bucket, ContinuationToken="")
    assert (page["ContinuationToken"], [found["Key"] for found in page["Contents"]]) == ("", ["k"])
