"""py-ocpi with the fastest honest store it can have: a dict in its own process, nothing durable."""

from typing import Any

from py_ocpi.core.enums import RoleEnum
from py_ocpi.main import get_application
from py_ocpi.modules.locations.v_2_2_1.schemas import Location
from py_ocpi.modules.sessions.v_2_2_1.schemas import Session
from py_ocpi.modules.versions.enums import VersionNumber

KEPT: dict[str, dict[str, Any]] = {}


class Crud:
    @classmethod
    async def get(cls, _module: object, _role: object, id: str, *_: object, **__: object) -> dict[str, Any] | None:  # noqa: A002
        return KEPT.get(id)

    @classmethod
    async def list(cls, _module: object, _role: object, filters: dict[str, int], *_: object, **__: object) -> tuple[Any, int, bool]:
        first, limit = filters.get("offset", 0), filters.get("limit", 50)
        return list(KEPT.values())[first : first + limit], len(KEPT), first + limit >= len(KEPT)

    @classmethod
    async def create(cls, _module: object, _role: object, data: dict[str, Any], *_: object, **__: object) -> dict[str, Any]:
        KEPT[data["id"]] = data
        return data

    @classmethod
    async def update(cls, _module: object, _role: object, data: dict[str, Any], id: str, *_: object, **__: object) -> Any:  # noqa: A002
        KEPT[id] = data
        return data


class Adapter:
    @classmethod
    def session_adapter(cls, data: dict[str, Any], version: object = None) -> Any:
        return Session(**data)

    @classmethod
    def location_adapter(cls, data: dict[str, Any], version: object = None) -> Any:
        return Location(**data)


app = get_application([VersionNumber.v_2_2_1], [RoleEnum.emsp, RoleEnum.cpo], Crud, Adapter)
