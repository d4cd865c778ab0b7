"""The paths `/ocpi/{version}/either/{module}`: our side of a module for whoever calls (2.1.1 and before).

A partner reads where our modules are before it registers, and only then says, by its own endpoints, whether it is a CPO or an eMSP.
"""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.partners import PartnerRegistry
from schemas.ocpi.interface import EITHER, interface, side_of
from schemas.types import Module
from streams.ports import LogUnavailable

_MARK: Final = f"/{EITHER}/"
_MODULES: Final = {module.value: module for module in Module}


class EitherSide:
    """An ASGI application that has `app` answer at the side which a partner's role means. Others it leaves as they are."""

    def __init__(self, app: ASGIApp, registry: PartnerRegistry) -> None:
        self._app = app
        self._registry = registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _MARK in scope["path"]:
            scope = await self._sided(scope)
        await self._app(scope, receive, send)

    async def _sided(self, scope: Scope) -> Scope:
        root: str = scope.get("root_path", "")
        path: str = scope["path"].removeprefix(root)
        parts = path.split("/", 5)
        if len(parts) < 5 or parts[:2] != ["", "ocpi"] or parts[3] != EITHER or interface(parts[2]).has_roles:
            return scope
        module = _MODULES.get(parts[4])
        if module is None:
            return scope
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            connection = await self._registry.authenticate(headers.get(b"authorization", b""))
        except LogUnavailable:
            connection = None
        if connection is not None:
            side = side_of(connection.roles[0].role, module).lower()
        else:  # either side refuses a token that opens nothing, or says that it cannot tell
            side = "sender" if scope["method"] == "GET" else "receiver"
        sided = dict(scope)
        head = f"{root}/ocpi/{parts[2]}"
        sided["path"] = f"{head}/{side}/{'/'.join(parts[4:])}"
        raw: bytes = scope.get("raw_path") or b""
        before = f"{head}/{EITHER}/".encode()
        if raw.startswith(before):
            sided["raw_path"] = f"{head}/{side}/".encode() + raw[len(before) :]
        return sided
