"""Passwords of mailboxes, by the path that the database names.

The vault is a folder with one file a secret, as Vault's agent, Kubernetes and Docker mount them: `vault://mailboxes/x` is the
file `mailboxes/x` in `vault/` of the home folder (which may be a link to where they are mounted). The path must name the
tenant: the application writes it and the host that the secret is given to, so a path alone would open another tenant's.

Belongs here: reading one secret. Does not belong here: writing any.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from pydantic import SecretStr

from penguinmails.stack.errors import SettingsError
from penguinmails.stack.stores import Stores

_SCHEME = "vault://"
_MAX_BYTES = 64 * 1024


def secret(stores: Stores, path: str, tenant_id: UUID) -> SecretStr:
    """Returns the secret at a path of the vault, one part of which is the tenant's id.

    Raises:
        SettingsError: the path is none, is another tenant's, or there is no such secret. Neither names the secret.
    """
    folder = (stores.home / "vault").resolve()
    name = path.removeprefix(_SCHEME)
    if not name or name.startswith("/") or ".." in Path(name).parts or "\x00" in name:
        raise SettingsError("vault path of a mailbox", "is not usable", "Use vault:// and a relative path.")
    if str(tenant_id) not in Path(name).parts:
        raise SettingsError(
            "vault path of a mailbox", "does not name its tenant", "Use vault://, with the tenant's id as a folder."
        )
    try:
        with (folder / name).open("rb") as file:
            content = file.read(_MAX_BYTES)
    except (OSError, ValueError):
        raise SettingsError(
            "password of a mailbox", "is not in the vault", "Mount it where its vault path says, then replay."
        ) from None
    return SecretStr(content.decode("utf-8", "strict").rstrip("\r\n"))
