"""boto3 with keys of tokens for single buckets: what they may, and what they are refused.

Needs PROXIMA_S3 (http://HOST:PORT); buckets `photos`, `others` and `european`; and the key and secret, with a colon between them, of
tokens: PROXIMA_S3_OWNER's for the account, PROXIMA_S3_WRITER's to write in `photos`, PROXIMA_S3_READER's to read in `photos`,
PROXIMA_S3_MOVER's to read in `others` and to write in `photos` and `european`, PROXIMA_S3_ITEMS' to write in every bucket.
"""

import os
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

DENIED = (403, "AccessDenied")
# An answer to HEAD has no body that could say which.
DENIED_HEAD = (403, "403")
CORS = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}
LIFECYCLE = {"Rules": [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}


def connect(name):
    key, secret = os.environ[f"PROXIMA_S3_{name}"].split(":")
    settings = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, signature_version="s3v4")
    return boto3.client(
        "s3",
        endpoint_url=os.environ["PROXIMA_S3"],
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="auto",
        config=settings,
    )


OWNER, WRITER, READER, MOVER, ITEMS = map(connect, ("OWNER", "WRITER", "READER", "MOVER", "ITEMS"))


def refused(call, **arguments):
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    response = refusal.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def read(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def fetch(method, url, body=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


def sign(s3, operation, bucket, key):
    return s3.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": key}, ExpiresIn=60)


@pytest.fixture(autouse=True)
def kept():
    """What nobody may touch is there before, and after."""
    for bucket in ("photos", "others", "european"):
        OWNER.put_object(Bucket=bucket, Key="kept", Body=bucket.encode())
    yield
    for bucket in ("photos", "others", "european"):
        assert read(OWNER, bucket, "kept") == bucket.encode()


def test_who_may_write_in_a_bucket_does_all_with_its_objects():
    WRITER.head_bucket(Bucket="photos")
    WRITER.get_bucket_location(Bucket="photos")
    WRITER.get_bucket_versioning(Bucket="photos")
    WRITER.put_object(Bucket="photos", Key="a", Body=b"octets")
    assert WRITER.head_object(Bucket="photos", Key="a")["ContentLength"] == 6
    assert read(WRITER, "photos", "a") == b"octets"
    WRITER.get_object_attributes(Bucket="photos", Key="a", ObjectAttributes=["ETag"])
    assert [found["Key"] for found in WRITER.list_objects(Bucket="photos")["Contents"]] == ["a", "kept"]
    assert WRITER.list_objects_v2(Bucket="photos")["KeyCount"] == 2
    assert len(WRITER.list_object_versions(Bucket="photos")["Versions"]) == 2
    WRITER.copy_object(Bucket="photos", Key="b", CopySource={"Bucket": "photos", "Key": "a"})
    which = {"Bucket": "photos", "Key": "c"}
    which["UploadId"] = WRITER.create_multipart_upload(**which)["UploadId"]
    assert len(WRITER.list_multipart_uploads(Bucket="photos")["Uploads"]) == 1
    part = WRITER.upload_part(**which, PartNumber=1, Body=b"part")["ETag"]
    source = {"Bucket": "photos", "Key": "a"}
    copied = WRITER.upload_part_copy(**which, PartNumber=1, CopySource=source)["CopyPartResult"]["ETag"]
    assert part != copied
    assert len(WRITER.list_parts(**which)["Parts"]) == 1
    WRITER.complete_multipart_upload(**which, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": copied}]})
    assert read(WRITER, "photos", "c") == b"octets"
    which["UploadId"] = WRITER.create_multipart_upload(Bucket="photos", Key="c")["UploadId"]
    WRITER.abort_multipart_upload(**which)
    assert fetch("PUT", sign(WRITER, "put_object", "photos", "d"), b"signed")[0] == 200
    assert fetch("GET", sign(WRITER, "get_object", "photos", "d")) == (200, b"signed")
    WRITER.delete_object(Bucket="photos", Key="a")
    gone = [{"Key": key} for key in ("b", "c", "d")]
    assert len(WRITER.delete_objects(Bucket="photos", Delete={"Objects": gone})["Deleted"]) == 3


@pytest.mark.parametrize("bucket", ["others", "european", "nowhere"])
def test_who_may_write_in_a_bucket_does_nothing_in_another_one_whether_it_is_there_or_not(bucket):
    of = {"Bucket": bucket, "Key": "kept"}
    assert refused(WRITER.head_bucket, Bucket=bucket) == DENIED_HEAD
    assert refused(WRITER.head_object, **of) == DENIED_HEAD
    assert refused(WRITER.get_object, **of) == DENIED
    assert refused(WRITER.get_object_attributes, **of, ObjectAttributes=["ETag"]) == DENIED
    assert refused(WRITER.get_bucket_location, Bucket=bucket) == DENIED
    assert refused(WRITER.list_objects, Bucket=bucket) == DENIED
    assert refused(WRITER.list_objects_v2, Bucket=bucket) == DENIED
    assert refused(WRITER.list_object_versions, Bucket=bucket) == DENIED
    assert refused(WRITER.list_multipart_uploads, Bucket=bucket) == DENIED
    assert refused(WRITER.put_object, **of, Body=b"x") == DENIED
    assert refused(WRITER.delete_object, **of) == DENIED
    assert refused(WRITER.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "kept"}]}) == DENIED
    assert refused(WRITER.create_multipart_upload, **of) == DENIED
    assert fetch("GET", sign(WRITER, "get_object", bucket, "kept"))[0] == 403
    assert fetch("PUT", sign(WRITER, "put_object", bucket, "kept"), b"x")[0] == 403
    # What is copied has to be read, and written.
    assert refused(WRITER.copy_object, Bucket="photos", Key="a", CopySource=of) == DENIED
    assert refused(WRITER.copy_object, **of, CopySource={"Bucket": "photos", "Key": "kept"}) == DENIED
    which = {"Bucket": "photos", "Key": "a"}
    which["UploadId"] = WRITER.create_multipart_upload(**which)["UploadId"]
    assert refused(WRITER.upload_part_copy, **which, PartNumber=1, CopySource=of) == DENIED
    WRITER.abort_multipart_upload(**which)


def test_uploads_in_another_bucket_are_not_for_who_knows_their_ids():
    which = {"Bucket": "others", "Key": "a"}
    which["UploadId"] = OWNER.create_multipart_upload(**which)["UploadId"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": OWNER.upload_part(**which, PartNumber=1, Body=b"x")["ETag"]}]}
    assert refused(WRITER.upload_part, **which, PartNumber=1, Body=b"y") == DENIED
    assert refused(WRITER.list_parts, **which) == DENIED
    assert refused(WRITER.complete_multipart_upload, **which, MultipartUpload=parts) == DENIED
    assert refused(WRITER.abort_multipart_upload, **which) == DENIED
    OWNER.complete_multipart_upload(**which, MultipartUpload=parts)
    assert read(OWNER, "others", "a") == b"x"


@pytest.mark.parametrize("s3", [WRITER, READER, MOVER, ITEMS], ids=["writer", "reader", "mover", "items"])
def test_nobody_with_rights_on_what_is_in_buckets_has_any_on_buckets(s3):
    assert refused(s3.list_buckets) == DENIED
    assert refused(s3.create_bucket, Bucket="another") == DENIED
    assert refused(s3.delete_bucket, Bucket="photos") == DENIED
    assert refused(s3.get_bucket_cors, Bucket="photos") == DENIED
    assert refused(s3.put_bucket_cors, Bucket="photos", CORSConfiguration=CORS) == DENIED
    assert refused(s3.delete_bucket_cors, Bucket="photos") == DENIED
    assert refused(s3.get_bucket_lifecycle_configuration, Bucket="photos") == DENIED
    put = s3.put_bucket_lifecycle_configuration
    assert refused(put, Bucket="photos", LifecycleConfiguration=LIFECYCLE) == DENIED
    assert refused(s3.delete_bucket_lifecycle, Bucket="photos") == DENIED


def test_who_may_read_in_a_bucket_changes_nothing_in_it():
    of = {"Bucket": "photos", "Key": "kept"}
    assert read(READER, "photos", "kept") == b"photos"
    assert READER.list_objects_v2(Bucket="photos")["KeyCount"] == 1
    assert fetch("GET", sign(READER, "get_object", "photos", "kept")) == (200, b"photos")
    assert refused(READER.put_object, **of, Body=b"x") == DENIED
    assert refused(READER.delete_object, **of) == DENIED
    assert refused(READER.delete_objects, Bucket="photos", Delete={"Objects": [{"Key": "kept"}]}) == DENIED
    assert refused(READER.create_multipart_upload, **of) == DENIED
    assert refused(READER.copy_object, Bucket="photos", Key="a", CopySource=of) == DENIED
    assert fetch("PUT", sign(READER, "put_object", "photos", "kept"), b"x")[0] == 403
    assert refused(READER.get_object, Bucket="others", Key="kept") == DENIED


def test_copies_go_from_where_a_token_reads_to_where_it_writes():
    from_others = {"Bucket": "others", "Key": "kept"}
    for bucket in ("photos", "european"):
        MOVER.copy_object(Bucket=bucket, Key="moved", CopySource=from_others)
        assert read(MOVER, bucket, "moved") == b"others"
        MOVER.delete_object(Bucket=bucket, Key="moved")
    assert refused(MOVER.copy_object, **from_others, CopySource={"Bucket": "photos", "Key": "kept"}) == DENIED
    assert refused(MOVER.delete_object, **from_others) == DENIED


def test_who_may_write_in_every_bucket_does():
    for bucket in ("photos", "others", "european"):
        ITEMS.put_object(Bucket=bucket, Key="a", Body=b"x")
        assert read(ITEMS, bucket, "a") == b"x"
        ITEMS.delete_object(Bucket=bucket, Key="a")
    assert refused(ITEMS.get_object, Bucket="nowhere", Key="a") == (404, "NoSuchBucket")
