"""The one S3 request that people wait for, a ranged GET, without what boto3 does around each request.

Choosing an endpoint, building a user agent, calling some twenty hooks and parsing every header takes boto3 2 ms of
processor time for each request, more than finding and opening the message. Here botocore's own signer signs, and
botocore's own HTTP session sends; whatever is not the answer expected (an error, a redirect, a lost connection) is left to
the full client, which asks again with its retries and typed errors.

Belongs here: that request. Does not belong here: any other, retries, errors (object_store.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from penguinmails.stack.errors import SettingsError

if TYPE_CHECKING:
    from botocore.credentials import Credentials

_OK, _PARTIAL_CONTENT = 200, 206


class RangedReads:
    """Sends ranged GETs. Safe to share between threads."""

    def __init__(
        self,
        credentials: Credentials | None,
        bucket_url: str,
        region: str,
        *,
        certificates: str | None,
        connections: int,
        timeouts_seconds: tuple[float, float],
    ) -> None:
        """Opens nothing yet.

        Args:
            credentials: None when there are none, which is refused.
            bucket_url: the bucket with the address of its server, path style.
            certificates: file of those that are trusted; None trusts the usual ones.
            connections: kept open at most.
            timeouts_seconds: of connecting and of reading.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        if credentials is None:
            raise SettingsError(
                "credentials of the object store", "are not set", "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        self._bucket_url = bucket_url
        self._signer = S3SigV4Auth(credentials, "s3", region)
        self._http = URLLib3Session(
            verify=certificates or True,  # type: ignore[arg-type] # a file too, which its stubs do not know
            proxies=get_environ_proxies(bucket_url),
            timeout=timeouts_seconds,  # type: ignore[arg-type] # a pair too, which its stubs do not know
            max_pool_connections=connections,
        )

    def get(self, key: str, offset_bytes: int, size_bytes: int) -> bytes | None:
        """Returns `size_bytes` bytes of the object from `offset_bytes` on, None where the full client must ask."""
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError, HTTPClientError

        last = offset_bytes + size_bytes - 1
        request = AWSRequest(
            "GET", f"{self._bucket_url}/{quote(key, safe='/~')}", headers={"Range": f"bytes={offset_bytes}-{last}"}
        )
        try:
            self._signer.add_auth(request)
            answer = self._http.send(request.prepare())
            content: bytes = answer.content
        except (BotoCoreError, HTTPClientError):
            return None
        # rclone says 200 to a range: what was given is in the header.
        given: str = answer.headers.get("Content-Range", "")
        is_it = answer.status_code in (_OK, _PARTIAL_CONTENT) and given.startswith(f"bytes {offset_bytes}-{last}/")
        return content if is_it and len(content) == size_bytes else None
