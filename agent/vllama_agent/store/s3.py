"""Objects of S3, or of a storage that speaks its protocol: what there is, and addresses that are signed for an hour.

botocore, Amazon's own library, finds credentials (environment, profiles, single sign-on, roles of pods and machines), the region and the
endpoint (AWS_ENDPOINT_URL_S3 for MinIO, Ceph and others), lists and signs. The bytes are fetched by signed address, as everything is:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html. It is imported on first use, and blocks: it runs in threads.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from vllama_agent.store.digests import is_digest
from vllama_agent.store.origin import Access, Origin
from vllama_core.errors import AccessDenied, ConfigError, FetchFailed, ModelNotFound
from vllama_core.storageref import S3Ref

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_SECONDS = 20.0
"""For one question to the storage."""
QUESTION_SECONDS = 120.0
"""For all attempts and pages of one question, and for finding credentials, which may ask a machine's own service."""
SIGNED_SECONDS = 3600
"""A signature of a role's credentials ends with them, perhaps earlier; then a new one is made."""
MOST_OBJECTS = 10_000
"""Below one folder: a model has some hundred. More means that the folder is not a model's."""
INSTALL = "pip install 'vllama-serve[s3]'"
NO_CREDENTIALS = (
    "no credentials were found, so it was asked for without; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give this "
    "machine or pod a role"
)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object.

    :ivar etag: with its quotation marks; changes whenever the object does.
    :ivar sha256: in hexadecimal; empty: the storage does not know it.
    """

    key: str
    size: int
    etag: str
    sha256: str = ""


class S3:
    """A storage, asked with the credentials of this process.

    :param client: botocore's, for S3.
    :param signed: whether there are credentials.
    """

    def __init__(self, client: Any, *, signed: bool) -> None:
        self._client = client
        self._denied = "these credentials may not read it" if signed else NO_CREDENTIALS

    @classmethod
    async def holding(cls, bucket: str) -> S3:
        """The storage of a bucket, as botocore finds it. Without credentials it asks without a signature, as public buckets allow.

        :raises ConfigError: botocore is not installed, or what it is told cannot be used.
        :raises FetchFailed: the storage cannot be asked.
        """
        if importlib.util.find_spec("botocore") is None:
            raise ConfigError(f"models of s3:// need botocore, which is not installed; {INSTALL}")
        storage = await _within(cls._made, what="finding credentials for S3")
        region = await storage._asked(lambda: storage._region_of(bucket), S3Ref(bucket, ""))
        if region in (None, storage._client.meta.region_name):
            return storage
        return await _within(partial(cls._made, region), what="finding credentials for S3")

    @classmethod
    def _made(cls, region: str | None = None) -> S3:
        import botocore.session
        from botocore import UNSIGNED, exceptions
        from botocore.config import Config

        logging.getLogger("botocore").setLevel(logging.INFO)  # below that it writes session tokens into the log
        try:
            session = botocore.session.Session()
            signed = session.get_credentials() is not None
            config = Config(
                signature_version="s3v4" if signed else UNSIGNED,
                connect_timeout=ANSWER_SECONDS, read_timeout=ANSWER_SECONDS, retries={"max_attempts": 3, "mode": "standard"},
            )  # fmt: skip
            region = region or session.get_config_variable("region") or "us-east-1"  # storages of others have none
            return cls(session.create_client("s3", config=config, region_name=region), signed=signed)
        except (exceptions.BotoCoreError, ValueError) as error:
            raise ConfigError(f"the settings for S3 cannot be used: {error}") from None

    def _region_of(self, bucket: str) -> str | None:
        """Where a bucket is: the library follows it there with its questions, but addresses that it signs for another region are refused.

        Told also to those who may not list it. https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
        """
        from botocore import exceptions

        try:
            answer = self._client.head_bucket(Bucket=bucket)
        except exceptions.ClientError as error:
            answer = error.response
        region: str | None = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
        return region

    async def object(self, ref: S3Ref) -> S3Object:
        """One object.

        :raises ModelNotFound: there is none.
        :raises FetchFailed: it may not be seen, or nobody can be asked.
        """

        def ask() -> S3Object:
            found = self._client.head_object(Bucket=ref.bucket, Key=ref.key, ChecksumMode="ENABLED")
            return S3Object(ref.key, found["ContentLength"], found["ETag"], _sha256(found))

        return await self._asked(ask, ref)

    async def below(self, ref: S3Ref) -> list[S3Object]:
        """The objects of a folder, those of its folders too.

        :raises ModelNotFound: there are none.
        :raises ConfigError: there are too many for a model.
        :raises FetchFailed: they may not be seen, or nobody can be asked.
        """
        found = await self._asked(lambda: self._listed(ref), ref)
        if len(found) > MOST_OBJECTS:
            raise ConfigError(f"{ref} has more than {MOST_OBJECTS:,} objects below it, so it is no model; name the model's own folder")
        if not found:
            raise ModelNotFound(str(ref), "there is no object below it")
        return found

    def _listed(self, ref: S3Ref) -> list[S3Object]:
        """One more than `MOST_OBJECTS` at most. What ends in a slash stands for a folder and has no bytes."""
        found: list[S3Object] = []
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=ref.bucket, Prefix=ref.key):
            found += [S3Object(o["Key"], o["Size"], o["ETag"]) for o in page.get("Contents", ()) if not o["Key"].endswith("/")]
            if len(found) > MOST_OBJECTS:
                break
        return found

    def origin(self, ref: S3Ref, found: S3Object) -> Origin:
        """Where an object's bytes are. An object that was replaced meanwhile is refused, not mixed in."""

        def signed() -> Access:
            url = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": ref.bucket, "Key": found.key}, ExpiresIn=SIGNED_SECONDS
            )
            return Access(url, {"If-Match": found.etag})

        async def sign(_refused: Access | None) -> Access:
            return await self._asked(signed, ref)

        return Origin(f"{S3Ref.SCHEME}{ref.bucket}/{found.key}", denied=self._denied, sign=sign)

    async def _asked(self, ask: Callable[[], T], ref: S3Ref) -> T:
        """Errors of the library become ours, which hold no credentials."""
        from botocore import exceptions

        try:
            return await _within(ask, what=f"asking about {ref}")
        except exceptions.ClientError as error:
            raise self._told(error, ref) from None
        except exceptions.BotoCoreError as error:
            raise FetchFailed(f"{ref} cannot be asked for: {error}") from None

    def _told(self, error: Any, ref: S3Ref) -> Exception:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        if code == "NoSuchBucket":
            return ModelNotFound(str(ref), f"there is no bucket {ref.bucket}")
        if status == 404:
            return ModelNotFound(str(ref), "there is no such object")
        if status in (401, 403):
            return AccessDenied(f"{ref}: {self._denied} (HTTP {status})")
        return FetchFailed(f"{ref} cannot be asked for: HTTP {status} {code}".rstrip())


async def _within(ask: Callable[[], T], *, what: str) -> T:
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            return await asyncio.to_thread(ask)
    except TimeoutError:
        raise FetchFailed(f"{what} took longer than {QUESTION_SECONDS:g} seconds") from None


def _sha256(head: dict[str, Any]) -> str:
    """Of the whole object, where it was uploaded in one piece with it; that of several pieces is one of checksums, and of no use here."""
    digest = base64.b64decode(head.get("ChecksumSHA256", "")).hex() if head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" else ""
    return digest if is_digest(digest) else ""
