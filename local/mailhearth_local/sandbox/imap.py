"""The IMAP side: pymap's protocol engine over the sandbox's store and users file."""

from __future__ import annotations

import hmac
from argparse import Namespace
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import NoReturn
from uuid import uuid4

from proxyprotocol.result import ProxyResultLocal
from proxyprotocol.sock import SocketInfo
from pymap.backend.session import BaseSession
from pymap.config import BackendCapability, IMAPConfig
from pymap.exceptions import AuthorizationFailure, InvalidAuth, NotAllowedError, UserNotFound
from pymap.imap import IMAPServer
from pymap.interfaces.login import IdentityInterface, LoginInterface
from pymap.selected import SelectedMailbox
from pymap.token import AllTokens
from pymap.user import UserMetadata
from pysasl.creds.server import ServerCredentials
from pysasl.hashing import Cleartext

from mailhearth_local.embedded.folder import LOOPBACK
from mailhearth_local.sandbox.accounts import AccountsFile
from mailhearth_local.sandbox.imap_folder import FolderSet, Message
from mailhearth_local.sandbox.store import DRAFTS, JUNK, SENT, TRASH, MailStore

SPECIAL_USE: Mapping[str, bytes] = {
    JUNK: b"Junk",
    SENT: b"Sent",
    DRAFTS: b"Drafts",
    TRASH: b"Trash",
}
"""RFC 6154 attributes, given in every LIST response."""
_Listing = Iterable[tuple[str, str | None, Sequence[bytes]]]


class Config(IMAPConfig):
    """Implicit TLS in front, so no STARTTLS; passwords are compared as they are."""

    def __init__(self) -> None:
        super().__init__(
            Namespace(passlib_cfg=None, proxy_protocol=None),
            host=LOOPBACK,
            port=0,
            tls_enabled=False,
            hash_context=Cleartext(),
            invalid_user_sleep=0,
            reject_dnsbl=False,
            max_append_len=26_214_400,
        )

    @property
    def backend_capability(self) -> BackendCapability:
        return BackendCapability(idle=True, object_id=False, multi_append=True)

    @property
    def greeting(self) -> bytes:
        return b"Mail sandbox ready."  # pymap's own asks the DNS for this machine's name


class Session(BaseSession[Message]):
    """One login."""

    resource = __name__

    def __init__(self, owner: str, config: Config, folders: FolderSet) -> None:
        super().__init__(owner)
        self._config = config
        self._folders = folders

    @property
    def config(self) -> Config:
        return self._config

    @property
    def mailbox_set(self) -> FolderSet:
        return self._folders

    async def list_mailboxes(
        self,
        ref_name: str,
        filter_: str,
        subscribed: bool = False,
        selected: SelectedMailbox | None = None,
    ) -> tuple[_Listing, SelectedMailbox | None]:
        listing, selected = await super().list_mailboxes(ref_name, filter_, subscribed, selected)
        return [
            (name, delimiter, [*attributes, SPECIAL_USE[name]])
            if name in SPECIAL_USE
            else (name, delimiter, attributes)
            for name, delimiter, attributes in listing
        ], selected


class Login(LoginInterface):
    """Signs in the users of the users file; one `FolderSet` per address, shared by its sessions."""

    def __init__(self, config: Config, store: MailStore, accounts: AccountsFile) -> None:
        self.config = config
        self._store = store
        self._accounts = accounts
        self._tokens = AllTokens(config)
        self._folders: dict[str, FolderSet] = {}

    @property
    def tokens(self) -> AllTokens:
        return self._tokens

    def folders(self, address: str) -> FolderSet:
        if address not in self._folders:
            self._folders[address] = FolderSet(self._store, address)
        return self._folders[address]

    def placed(self, address: str, name: str, uid: int) -> None:
        """A delivery; only sessions that have the folder open need to hear of it."""
        if address in self._folders:
            self._folders[address].placed(name, uid)

    async def authenticate(self, credentials: ServerCredentials) -> IdentityInterface:
        identity = Identity(credentials.authcid.lower(), self)
        user = await identity.get()
        if not credentials.verify(user):
            raise InvalidAuth()
        return identity

    async def authorize(self, authenticated: IdentityInterface, authzid: str) -> IdentityInterface:
        if authenticated.name != authzid.lower():
            raise AuthorizationFailure()
        return authenticated

    def metadata(self, name: str) -> UserMetadata:
        """For a name without a mailbox one that no password opens."""
        user = self._accounts.current().users.get(name)
        return _User(self.config, name, password=user.password.reveal() if user else None)


class _User(UserMetadata):
    """Compares addresses without regard to case, and secrets in constant time."""

    def compare_authcid(self, authcid: str) -> bool:
        return authcid.lower() == self.name

    def compare_secret(self, value: str) -> bool:
        return self.password is not None and hmac.compare_digest(
            value.encode(errors="surrogateescape"), self.password.encode()
        )

    def __repr__(self) -> str:
        return f"<user {self.name}>"


class Identity(IdentityInterface):
    """A signed-in address. Users are changed in the users file, never by IMAP."""

    def __init__(self, name: str, login: Login) -> None:
        self._name = name
        self._login = login

    @property
    def name(self) -> str:
        return self._name

    @property
    def roles(self) -> frozenset[str]:
        return frozenset()

    @asynccontextmanager
    async def new_session(self) -> AsyncIterator[Session]:
        yield Session(self._name, self._login.config, self._login.folders(self._name))

    async def new_token(self, *, expiration: datetime | None = None) -> str | None:
        return None

    async def get(self) -> UserMetadata:
        return self._login.metadata(self._name)

    async def set(self, metadata: UserMetadata) -> NoReturn:
        raise NotAllowedError("Users are kept in the users file.")

    async def delete(self) -> NoReturn:
        raise UserNotFound(self._name)


class Imap:
    """What the server needs of this side; `placed` takes the news of a delivery."""

    def __init__(self, store: MailStore, accounts: AccountsFile) -> None:
        config = Config()
        config.apply_context()
        self._login = Login(config, store, accounts)
        self._server = IMAPServer(self._login, config)
        self.placed = self._login.placed

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, from greeting to end; for `asyncio.start_server`."""
        about = SocketInfo.get(writer, ProxyResultLocal(), unique_id=uuid4().bytes)
        await self._server(reader, writer, about)
