"""Objects of an S3-compatible service (Huawei OBS, MinIO, AWS), by `s3://bucket/key`.

Credentials come from where boto3 looks for them, the environment or its own files, and go nowhere else. What
the service answers is reported by its error code only: some services repeat the request in the text.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import IO, Any

from mcqlora.errors import UserError
from mcqlora.storage.addresses import Place

SHA256 = "sha256"  # the metadata that says what an object's bytes are

_REMEDIES = {
    "NoSuchBucket": "no such bucket; create it, or mend the address or s3.endpoint",
    "NoSuchKey": "no such object; mend the address, or set s3.addressing: virtual, as OBS wants",
    "SecondLevelDomainForbidden": "the service wants s3.addressing: virtual",
    "VirtualHostDomainRequired": "the service wants s3.addressing: virtual",
    "PreconditionFailed": "it changed while it was fetched; run again",
}
_DENIED = "look at the credentials, and at what they may do with this bucket"
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class NoSuchObject(UserError):
    """Nothing is stored under an address."""


@functools.cache  # making one takes longer than most downloads; a job's credentials don't change
def client(endpoint: str | None, region: str | None, addressing: str) -> Any:
    """A boto3 client; what is None comes from the environment (AWS_ENDPOINT_URL) or boto3's files.

    The body's hash is part of each request's signature, so a service refuses one that was damaged on the way.
    The checksums that boto3 adds since 1.36 are refused by many services, OBS among them (boto3 issue 4392).

    Raises:
        UserError: the endpoint, the region or the profile is none.
    """
    import boto3
    from botocore.config import Config

    settings = Config(
        s3={"addressing_style": addressing, "payload_signing_enabled": True},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with errors("s3"):
        try:
            return boto3.session.Session().client(
                "s3", endpoint_url=endpoint, region_name=region, config=settings
            )
        except ValueError:
            # Its text repeats the endpoint, and with it what should not have been written there.
            raise UserError("s3.endpoint: no address of a service; write https://host") from None


@contextlib.contextmanager
def errors(shown: object) -> Iterator[None]:
    """Turn whatever boto3 raises inside into one line that starts with `shown`.

    Raises:
        NoSuchObject: nothing is stored there.
        UserError: everything else.
    """
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as boto
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except boto.ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = code if _CODE.fullmatch(code) else "no error code"
        if status == 404 and code != "NoSuchBucket":
            raise NoSuchObject(f"{shown}: {_REMEDIES['NoSuchKey']}") from None
        told = _DENIED if status in (401, 403) else "look at s3.endpoint, s3.region and s3.addressing"
        reason = _REMEDIES.get(code) or f"the service answers {status} ({code}); {told}"
        raise UserError(f"{shown}: {reason}") from None
    except (boto.NoCredentialsError, boto.CredentialRetrievalError, boto.PartialCredentialsError):
        raise UserError(
            f"{shown}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except (boto.HTTPClientError, boto.ConnectionError, RetriesExceededError) as error:
        cause = getattr(error, "last_exception", None) or error
        raise UserError(
            f"{shown}: the connection failed ({type(cause).__name__}); "
            "look at s3.endpoint and the network, and run again"
        ) from None
    except (boto.BotoCoreError, Boto3Error) as error:
        raise UserError(
            f"{shown}: boto3 refuses ({type(error).__name__}); look at s3.endpoint, s3.region and AWS_PROFILE"
        ) from None


def download(service: Any, where: Place, file: IO[bytes], limit: int | None = None) -> None:
    """Write an object into `file`; boto3 fetches again what a cut connection lost.

    Raises:
        NoSuchObject: there is none.
        UserError: no connection, no such bucket, no credentials, or more than `limit` bytes.
    """
    with errors(where):
        size = _head(service, where)["ContentLength"]
        if limit is not None and size > limit:
            raise UserError(f"{where}: {size} bytes, more than the {limit} that it should have at most")
        service.download_fileobj(where.bucket, where.key, file)


def _head(service: Any, where: Place) -> Any:
    from botocore.exceptions import ClientError

    try:
        return service.head_object(Bucket=where.bucket, Key=where.key)
    except ClientError:
        # Says what is wrong, for which the answer to a HEAD has no room.
        service.get_object(Bucket=where.bucket, Key=where.key)
        raise


def upload(service: Any, file: IO[bytes], where: Place, sha256: str) -> None:
    """Store a file's bytes with their hash beside them; the object is there whole, or as it was.

    Raises:
        UserError: no connection, no such bucket, no credentials.
    """
    with errors(where):
        service.upload_fileobj(file, where.bucket, where.key, ExtraArgs={"Metadata": {SHA256: sha256}})


def holds(service: Any, where: Place, size: int, sha256: str) -> bool | None:
    """Does the bucket hold these bytes there? None: it holds nothing there, or does not let us look.

    Raises:
        UserError: no connection, no credentials.
    """
    from botocore.exceptions import ClientError

    with errors(where):
        try:
            found = service.head_object(Bucket=where.bucket, Key=where.key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404):
                return None  # credentials that may only write are told 403; what is wrong, an upload will say
            raise
    return found["ContentLength"] == size and found["Metadata"].get(SHA256) == sha256


def remove(service: Any, where: Place) -> None:
    """Raises: UserError: no connection, no such bucket, no credentials."""
    with errors(where):
        service.delete_object(Bucket=where.bucket, Key=where.key)


def abort_uploads(service: Any, below: Place) -> int:
    """Give up the unfinished uploads below a prefix, which are kept and paid for; returns their number.

    Credentials that may not list them leave them as they are.

    Raises:
        UserError: no connection, no such bucket, no credentials.
    """
    from botocore.exceptions import ClientError

    count = 0
    with errors(below):
        pages = service.get_paginator("list_multipart_uploads")
        try:
            for page in pages.paginate(Bucket=below.bucket, Prefix=f"{below.key}/"):
                for found in page.get("Uploads", ()):
                    key, identity = found["Key"], found["UploadId"]
                    service.abort_multipart_upload(Bucket=below.bucket, Key=key, UploadId=identity)
                    count += 1
        except ClientError as error:
            if error.response["Error"].get("Code") not in ("AccessDenied", "NotImplemented", "NoSuchUpload"):
                raise
    return count
