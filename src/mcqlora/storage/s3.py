"""Objects of an S3-compatible service (Huawei OBS, MinIO, AWS), by `s3://bucket/key`.

Credentials come from where boto3 looks for them, the environment or its own files, and go nowhere else. Of an
answer only the error code is reported: some services repeat the request in the text.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from mcqlora.errors import UserError
from mcqlora.storage.addresses import Place

SHA256 = "sha256"  # key of the metadata that holds the hash (hex) of an object's bytes

_REMEDIES = {
    "NoSuchBucket": "no such bucket; create it, or mend the address or s3.endpoint",
    "NoSuchKey": "no such object; mend the address, or set s3.addressing: virtual, as OBS wants",
    "SecondLevelDomainForbidden": "the service wants s3.addressing: virtual",
    "VirtualHostDomainRequired": "the service wants s3.addressing: virtual",
    "PreconditionFailed": "it changed while it was fetched; run again",
}


class NoSuchObject(UserError):
    """Nothing is stored under an address."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is; None comes from the environment (AWS_ENDPOINT_URL) or from boto3's files."""

    endpoint: str | None = None  # https://host
    region: str | None = None
    addressing: str = "auto"  # of buckets: "path", or "virtual", before the host; boto3 chooses


ENVIRONMENT = Service()


@functools.cache  # making one takes longer than most downloads; a job's credentials don't change
def client(service: Service) -> Any:
    """A boto3 client.

    The body's hash is part of each request's signature, so a service refuses one that was damaged on the way.
    The checksums that boto3 adds since 1.36 are refused by many services, OBS among them (boto3 issue 4392).

    Raises:
        UserError: endpoint, region or profile is not valid.
    """
    import boto3
    from botocore.config import Config

    settings = Config(
        s3={"addressing_style": service.addressing, "payload_signing_enabled": True},
        **dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required"),
    )
    where = {"endpoint_url": service.endpoint, "region_name": service.region}
    with errors("s3"):
        try:
            return boto3.session.Session().client("s3", config=settings, **where)
        except ValueError:
            # Its text repeats the endpoint, and with it a password that somebody wrote there.
            raise UserError("s3.endpoint: no address of a service; write https://host") from None


@contextlib.contextmanager
def errors(shown: object) -> Iterator[None]:
    """Turn whatever boto3 raises inside into one line that starts with `shown`.

    Raises:
        NoSuchObject: nothing is stored there.
        UserError: anything else.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as boto
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except boto.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = code if re.fullmatch("[A-Za-z0-9_.-]{1,64}", code) else "no error code"
        if status == 404 and code != "NoSuchBucket":
            raise NoSuchObject(f"{shown}: {_REMEDIES['NoSuchKey']}") from None
        told = "look at s3.endpoint, s3.region and s3.addressing"
        if status in (401, 403):
            told = "look at the credentials, and at what they may do with this bucket"
        reason = _REMEDIES.get(code) or f"the service answers {status} ({code}); {told}"
        raise UserError(f"{shown}: {reason}") from None
    except (boto.NoCredentialsError, boto.CredentialRetrievalError, boto.PartialCredentialsError):
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise UserError(f"{shown}: no credentials; {remedy}") from None
    except (boto.HTTPClientError, boto.ConnectionError, RetriesExceededError) as error:
        cause = type(getattr(error, "last_exception", None) or error).__name__
        remedy = "look at s3.endpoint and the network, and run again"
        raise UserError(f"{shown}: the connection failed ({cause}); {remedy}") from None
    except (boto.BotoCoreError, Boto3Error) as error:
        remedy = "look at s3.endpoint, s3.region and AWS_PROFILE"
        raise UserError(f"{shown}: boto3 refuses ({type(error).__name__}); {remedy}") from None


def download(service: Service, where: Place, file: IO[bytes], limit: int | None = None) -> None:
    """Write an object into `file`; boto3 fetches again what a cut connection lost.

    Raises:
        NoSuchObject: there is none.
        UserError: no connection, no such bucket, no credentials, or more than `limit` bytes.
    """
    from botocore.exceptions import ClientError

    with errors(where):
        try:
            size = client(service).head_object(Bucket=where.bucket, Key=where.key)["ContentLength"]
        except ClientError:
            # A GET says what is wrong; the answer to a HEAD has no room for it.
            client(service).get_object(Bucket=where.bucket, Key=where.key)
            raise
        if limit is not None and size > limit:
            raise UserError(f"{where}: {size} bytes, more than the {limit} that it should have at most")
        client(service).download_fileobj(where.bucket, where.key, file)


def upload(service: Service, file: IO[bytes], where: Place, sha256: str) -> None:
    """Store a file's bytes with their hash beside them; the object is there whole, or as it was.

    Raises:
        UserError: no connection, no such bucket, no credentials.
    """
    more = {"Metadata": {SHA256: sha256}}
    with errors(where):
        client(service).upload_fileobj(file, where.bucket, where.key, ExtraArgs=more)


def holds(service: Service, where: Place, size: int, sha256: str) -> bool | None:
    """Does the bucket hold these bytes there? None if it holds nothing there, or lets nobody look.

    Raises:
        UserError: no connection, no credentials.
    """
    from botocore.exceptions import ClientError

    with errors(where):
        try:
            found = client(service).head_object(Bucket=where.bucket, Key=where.key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404):
                return None  # credentials that may only write get 403; an upload will say what is wrong
            raise
    return found["ContentLength"] == size and found["Metadata"].get(SHA256) == sha256


def remove(service: Service, where: Place) -> None:
    """Raises: UserError: no connection, no such bucket, no credentials."""
    with errors(where):
        client(service).delete_object(Bucket=where.bucket, Key=where.key)


def abort_uploads(service: Service, below: Place) -> None:
    """Abort the unfinished uploads below a prefix, whose parts would be kept and paid for.

    Credentials that may not list them leave them as they are. Raises as `upload` does.
    """
    from botocore.exceptions import ClientError

    with errors(below):
        pages = client(service).get_paginator("list_multipart_uploads")
        try:
            for page in pages.paginate(Bucket=below.bucket, Prefix=f"{below.key}/"):
                for found in page.get("Uploads", ()):
                    key, identity = found["Key"], found["UploadId"]
                    client(service).abort_multipart_upload(Bucket=below.bucket, Key=key, UploadId=identity)
        except ClientError as error:
            if error.response["Error"].get("Code") not in ("AccessDenied", "NotImplemented", "NoSuchUpload"):
                raise
