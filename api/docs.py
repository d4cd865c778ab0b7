"""The description of everything that answers here, as OpenAPI and as a page that needs nothing from elsewhere."""

from collections.abc import Collection, Mapping
from html import escape
from importlib.metadata import version as release_of
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from schemas.ocpi.dialect import Dialect
from schemas.ocpi.interface import Interface, Listing, interface
from schemas.ocpi.response import Status
from schemas.ocpi.spec import Field as Row
from schemas.ocpi.spec import Spec
from schemas.types import Module, Verb

Schema = dict[str, Any]


class Envelope(BaseModel):
    """OCPI's response envelope: around every answer below /ocpi, and around every failure anywhere."""

    status_code: int = Field(description="; ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in Status))
    status_message: str | None = Field(None, description="one sentence, where something went wrong")
    timestamp: str = Field(description="when the answer was made, OCPI DateTime in UTC")


def openapi(app: FastAPI, dialects: Mapping[str, Dialect]) -> Schema:
    """Return the OpenAPI document: what FastAPI knows, and the OCPI interfaces of every version with its object tables."""
    document = get_openapi(
        title="roamlog",
        version=release_of("roamlog"),
        description="OCPI in and out, analytics, and how the process fares. Every failure is in OCPI's envelope.",
        routes=app.routes,
    )
    schemas: Schema = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Envelope"] = Envelope.model_json_schema()
    document["components"]["securitySchemes"] = {
        "partner": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token`, a space, and the credentials token, raw or in Base64",
        },
        "operator": {"type": "http", "scheme": "bearer", "description": "the operator token"},
        "operator_in_a_browser": {"type": "http", "scheme": "basic", "description": "any name, the operator token as password"},
    }
    paths: Schema = document["paths"]
    for path, operations in paths.items():
        if path not in _OPEN:
            for operation in operations.values():
                operation["security"] = [{"operator": []}, {"operator_in_a_browser": []}]
    for version, dialect in dialects.items():
        spec = getattr(dialect, "spec", None)
        if isinstance(spec, Spec):
            paths |= _interfaces(interface(version), spec, schemas)
    paths |= _versions(dialects)
    return document


def page(document: Schema) -> str:
    """Return the document as HTML without scripts or anything from another host."""
    operations = "".join(
        _operation(document, path, method, operation)
        for path, operations in sorted(document["paths"].items())
        for method, operation in operations.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items()))
    title = f"{escape(document['info']['title'])} {escape(document['info']['version'])}"
    about = escape(document["info"]["description"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><main><h1>{title}</h1><p>{about} "
        f'The same for programs: <a href="openapi.json">openapi.json</a>.</p><h2>Requests</h2>{operations}'
        f"<h2>Objects</h2>{schemas}</main></html>"
    )


_OPEN: Final = frozenset({"/health", "/ready"})
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1b1f24;background:#fff}main{max-width:62rem;margin:auto;padding:1rem}"
    "code{font:13px ui-monospace,monospace}summary{cursor:pointer;padding:.3rem 0}b{display:inline-block;min-width:4rem}"
    "table{border-collapse:collapse;width:100%;margin:.3rem 0 1rem}td,th{border:1px solid #d5dae0;padding:.2rem .5rem}"
    "td,th{text-align:left;vertical-align:top}@media(prefers-color-scheme:dark){body{color:#e6e9ec;background:#14171a}td,th{border-color:#3a4149}"
    "a{color:#8ab4ff}}"
)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _answer(description: str, data: Schema | None, headers: Mapping[str, str] | None = None) -> Schema:
    body = _ref("Envelope")
    if data is not None:
        body = {"allOf": [body, {"type": "object", "properties": {"data": data}}]}
    answer: Schema = {"description": description, "content": {"application/json": {"schema": body}}}
    if headers:
        answer["headers"] = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return answer


def _request(summary: str, answers: Schema, tag: str, parameters: list[Schema], body: Schema | None = None) -> Schema:
    operation: Schema = {
        "summary": summary,
        "tags": [tag],
        "security": [{"partner": []}],
        "parameters": parameters,
        "responses": answers | {"default": _answer("a failure; its HTTP status says which", None)},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _versions(dialects: Mapping[str, Dialect]) -> Schema:
    item = {"type": "object", "properties": {"version": {"type": "string"}, "url": {"type": "string"}}}
    endpoint = {
        "type": "object",
        "properties": {
            "identifier": {"type": "string"},
            "role": {"type": "string", "enum": ["SENDER", "RECEIVER"]},
            "url": {"type": "string"},
        },
    }
    details = {
        "type": "object",
        "properties": {"version": {"type": "string"}, "endpoints": {"type": "array", "items": endpoint}},
    }
    listed = {"200": _answer("the list", {"type": "array", "items": item})}
    paths: Schema = {"/ocpi/versions": {"get": _request("The OCPI versions spoken here", listed, "ocpi", [])}}
    for version in dialects:
        answers = {"200": _answer("the endpoints that this partner may use", details)}
        paths[f"/ocpi/{version}"] = {"get": _request(f"Version details of OCPI {version}", answers, "ocpi", [])}
        paths[f"/ocpi/{version}/credentials"] = _credentials(interface(version))
    return paths


def _credentials(version: Interface) -> Schema:
    role: Schema = {"country_code": _STRING, "party_id": _STRING, "business_details": {"type": "object"}}
    fields: Schema = {"token": _STRING, "url": _STRING}
    if version.has_roles:
        roles = {"type": "object", "properties": {"role": _STRING, **role}, "required": ["role", "country_code", "party_id"]}
        fields |= {"roles": {"type": "array", "items": roles}}
    else:
        fields |= role
    said = {"type": "object", "properties": fields}
    ours = {"200": _answer("our credentials", said)}
    return {
        "get": _request("Our credentials", ours, "ocpi", []),
        "post": _request("Register, with the token of an invitation", ours, "ocpi", [], said),
        "put": _request("Change credentials: new tokens, another version, other endpoints", ours, "ocpi", [], said),
        "delete": _request("End the registration", {"200": _answer("it is over", None)}, "ocpi", []),
    }


_STRING: Final[Schema] = {"type": "string"}


_OBJECTS: Final[Mapping[str, Module]] = {
    "Location": Module.LOCATIONS,
    "EVSE": Module.LOCATIONS,
    "Connector": Module.LOCATIONS,
    "Session": Module.SESSIONS,
    "CDR": Module.CDRS,
    "Tariff": Module.TARIFFS,
    "Token": Module.TOKENS,
}


def _interfaces(version: Interface, spec: Spec, schemas: Schema) -> Schema:
    of, number = {}, version.version
    for name, module in _OBJECTS.items():
        _declare(spec, name, number, schemas)
        of[name] = _ref(f"{name}_{number}")
        if Verb.PATCH in version.written[module]:
            schemas[f"{name}Patch_{number}"] = _patch(schemas[f"{name}_{number}"], version)
            of[f"{name} of a PATCH"] = _ref(f"{name}Patch_{number}")
    base, tag = f"/ocpi/{number}", f"ocpi {number}"
    paths = _lists(version, base, tag, of) | _receiver_objects(version, base, tag, of) | _cdrs(base, tag, of)
    if version.single_locations:
        paths |= _sender_objects(base, tag, of)
    if version.authorizes:
        paths |= _authorize(version, base, tag, of)
    if version.tells_clients:
        _declare(spec, "ClientInfo", number, schemas)
        paths |= _clients(base, tag, _ref(f"ClientInfo_{number}"))
    return paths


def _lists(version: Interface, base: str, tag: str, of: Mapping[str, Schema]) -> Schema:
    named = {"locations": "Location", "sessions": "Session", "cdrs": "CDR", "tariffs": "Tariff", "tokens": "Token"}
    return {
        f"{base}/sender/{module}": {
            "get": _list(f"{name}s in the order in which they came", of[name], tag, version.lists[Module(module)])
        }
        for module, name in named.items()
    }


def _clients(base: str, tag: str, client: Schema) -> Schema:
    """Return what hubs tell and are asked (OCPI 2.2.1 mod_hub_client_info)."""
    unknown = {"404": _answer("this connection told of no such client (2001)", None)}
    parameters = [_in_path("country_code", 2), _in_path("party_id", 3)]
    told = {"200": _answer("replaced, durably", None), "201": _answer("new, durably", None)}
    return {
        f"{base}/sender/hubclientinfo": {"get": _list("Our clients, where this house is a hub", client, tag, _BY_CHANGE)},
        f"{base}/receiver/hubclientinfo/{{country_code}}/{{party_id}}": {
            "get": _request(
                "A ClientInfo as the hub sent it", {"200": _answer("the ClientInfo", client)} | unknown, tag, parameters
            ),
            "put": _request("Tell of a client", told, tag, parameters, client),
        },
    }


_BY_CHANGE: Final = Listing("last_updated")


_PLACES: Final = (("location_id", "Location"), ("evse_uid", "EVSE"), ("connector_id", "Connector"))


def _sender_objects(base: str, tag: str, of: Mapping[str, Schema]) -> Schema:
    paths: Schema = {}
    path, parameters = f"{base}/sender/locations", list[Schema]()
    for parameter, name in _PLACES:
        path, parameters = f"{path}/{{{parameter}}}", [*parameters, _in_path(parameter, 36)]
        answers = {"200": _answer(f"the {name}", of[name]), "404": _answer(_UNKNOWN_PLACE, None)}
        paths[path] = {"get": _request(f"A{_a(name)[1:]} of those that this partner may see", answers, tag, parameters)}
    return paths


def _authorize(version: Interface, base: str, tag: str, of: Mapping[str, Schema]) -> Schema:
    """Real-time authorization (OCPI 2.2.1 mod_tokens: LocationReferences in, AuthorizationInfo out)."""
    text: Schema = {"type": "string", "maxLength": version.reference_characters}
    place: Schema = {"location_id": text, "evse_uids": {"type": "array", "items": text}}
    answer: Schema = {
        "allowed": {"type": "string", "enum": ["ALLOWED", "BLOCKED", "EXPIRED", "NO_CREDIT", "NOT_ALLOWED"]},
        "location": {"type": "object", "properties": place},
    }
    required = ["allowed"]
    if version.answers_with_token:
        answer |= {"token": of["Token"], "authorization_reference": text}
        required.append("token")
    answers = {
        "200": _answer("whether the Token may charge", {"type": "object", "properties": answer, "required": required}),
        "404": _answer(_UNKNOWN_TOKEN, None),
    }
    asked = _request("Authorize a Token in real time", answers, tag, [_in_path("token_uid", 36), _TOKEN_TYPE])
    body: Schema = {"type": "object", "properties": place, "required": ["location_id"]}
    asked["requestBody"] = {"required": False, "content": {"application/json": {"schema": body}}}
    return {f"{base}/sender/tokens/{{token_uid}}/authorize": {"post": asked}}


_UNKNOWN_PLACE: Final = "nothing like it that this partner may see (2003)"
_UNKNOWN_TOKEN: Final = "no such Token (2004)"


def _receiver_objects(version: Interface, base: str, tag: str, of: Mapping[str, Schema]) -> Schema:
    owner = [_in_path("country_code", 2), _in_path("party_id", 3)]
    place = f"{base}/receiver/locations/{{country_code}}/{{party_id}}"
    paths: Schema = {}
    ids: list[Schema] = []
    for parameter, name in _PLACES:
        place, ids = f"{place}/{{{parameter}}}", [*ids, _in_path(parameter, 36)]
        paths[place] = _written(name, of, tag, [*owner, *ids], _UNKNOWN_PLACE, version.written[Module.LOCATIONS])
    for name, parameter, unknown in (
        ("Session", "session_id", "no such Session (2001)"),
        ("Tariff", "tariff_id", "no such Tariff (2001)"),
        ("Token", "token_uid", _UNKNOWN_TOKEN),
    ):
        module, typed = _OBJECTS[name], name == "Token" and version.types_tokens
        parameters = [*owner, _in_path(parameter, 36), *([_TOKEN_TYPE] if typed else [])]
        path = f"{base}/receiver/{module}/{{country_code}}/{{party_id}}/{{{parameter}}}"
        paths[path] = _written(name, of, tag, parameters, unknown, version.written[module])
    return paths


_TOKEN_TYPE: Final[Schema] = {
    "name": "type",
    "in": "query",
    "required": False,
    "description": "the Token's TokenType; a uid of another type is another Token",
    "schema": {"type": "string", "default": "RFID"},
}


def _written(  # noqa: PLR0917
    name: str, of: Mapping[str, Schema], tag: str, parameters: list[Schema], unknown: str, verbs: Collection[Verb]
) -> Schema:
    """Return the operations of a path at which a partner writes an object of its own and reads it back."""
    missing = {"404": _answer(unknown, None)}
    operations = {
        "get": _request(
            f"A{_a(name)[1:]} as its owner sent it", {"200": _answer(f"the {name}", of[name])} | missing, tag, parameters
        ),
        "put": _request(
            f"Create or replace {_a(name)}",
            {"200": _answer("replaced, durably", None), "201": _answer("new, durably", None)},
            tag,
            parameters,
            of[name],
        ),
    }
    if Verb.PATCH in verbs:
        changed = {"200": _answer("changed, durably", None)} | missing
        operations["patch"] = _request(f"Change {_a(name)}", changed, tag, parameters, of[f"{name} of a PATCH"])
    if Verb.DELETE in verbs:
        gone = {"200": _answer("ended, durably; what it was stays in the history", None)} | missing
        operations["delete"] = _request(f"End {_a(name)}", gone, tag, parameters)
    return operations


def _cdrs(base: str, tag: str, of: Mapping[str, Schema]) -> Schema:
    placed = {"Location": "where the CDR can be read"}
    created = {"200": _answer("the same CDR was here before", None, placed), "201": _answer("new, durably", None, placed)}
    one = [_in_path("country_code", 2), _in_path("party_id", 3), _in_path("cdr_id", 39)]
    return {
        f"{base}/receiver/cdrs": {"post": _request("Create a CDR", created, tag, [], of["CDR"])},
        f"{base}/receiver/cdrs/{{country_code}}/{{party_id}}/{{cdr_id}}": {
            "get": _request("A CDR as its owner sent it", {"200": _answer("the CDR", of["CDR"])}, tag, one)
        },
    }


def _a(name: str) -> str:
    return f"an {name}" if name == "EVSE" else f"a {name}"


def _list(summary: str, item: Schema, tag: str, listing: Listing) -> Schema:
    def query(name: str, schema: Schema, description: str, required: bool = False) -> Schema:
        return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}

    moment: Schema = {"type": "string", "examples": ["2026-10-28T12:00:00Z"]}
    text: Schema = {"type": "string"}
    parameters = [
        query("offset", {"type": "integer", "minimum": 0, "default": 0}, "objects to leave out at the beginning"),
        query("limit", {"type": "integer", "minimum": 1}, "the most objects to return; X-Limit caps it and is its default"),
        query("cursor", text, "comes with the Link of the page before; nothing to be made up"),
    ]
    if listing.selects is not None:
        parameters += [
            query("date_from", moment, f"DateTime; {listing.selects} from then on, inclusive", listing.needs_date_from),
            query("date_to", moment, f"DateTime; {listing.selects} before then"),
        ]
    if listing.selects == "last_updated":
        strict: Schema = {"type": "string", "enum": ["0", "1"]}
        parameters.append(query("strict_windows", strict, "1: leave out late changes with an older last_updated"))
    headers = {
        "X-Total-Count": "how many objects the list has",
        "X-Limit": "the most objects that a page of this server has",
        "Link": "the next page, rel=next; the last page has none",
    }
    answers = {"200": _answer("a page, in the order in which the objects came", {"type": "array", "items": item}, headers)}
    return _request(summary, answers, tag, parameters)


def _in_path(name: str, length: int) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1, "maxLength": length}}


def _declare(spec: Spec, name: str, version: str, schemas: Schema) -> None:
    """Add an object table and all that it refers to."""
    key = f"{name}_{version}"
    if key in schemas:
        return
    schemas[key] = {}
    properties = {field: _property(spec, row, version, schemas) for field, row in spec.objects[name].items()}
    schemas[key] = {
        "title": f"{name} ({version})",
        "type": "object",
        "properties": properties,
        "required": [field for field, row in spec.objects[name].items() if row.required],
    }


def _property(spec: Spec, row: Row, version: str, schemas: Schema) -> Schema:
    schema: Schema
    match row.type:
        case "string" | "CiString" | "URL":
            schema = {"type": "string"} | ({} if row.length is None else {"maxLength": row.length})
        case "number":
            schema = {"type": "number"}
        case "decimal":
            schema = {"type": "string", "description": "a number as text", "examples": ["12.50"]}
        case "int":
            schema = {"type": "integer"}
        case "boolean":
            schema = {"type": "boolean"}
        case "DateTime":
            schema = {"type": "string", "description": "DateTime, UTC", "examples": ["2026-10-28T12:00:00Z"]}
        case kind if kind in spec.enums:
            # An open enum takes unlisted values, so the listed ones are no more than examples.
            schema = {"type": "string", "examples" if kind in spec.open_enums else "enum": list(spec.enums[kind])}
        case kind:
            _declare(spec, kind, version, schemas)
            schema = _ref(f"{kind}_{version}")
    if row.many:
        schema = {"type": "array", "items": schema} | ({"minItems": 1} if row.required else {})
    return schema if row.required else {"anyOf": [schema, {"type": "null"}]}


def _patch(whole: Schema, version: Interface) -> Schema:
    return whole | {"title": f"{whole['title']}, PATCH", "required": ["last_updated"] if version.patch_needs_last_updated else []}


def _operation(document: Schema, path: str, method: str, operation: Schema) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(p['name'])}</code><td>{escape(p['in'])}{', required' if p.get('required') else ''}"
        f"<td>{_kind(p['schema'])}<td>{escape(p.get('description', ''))}"
        for p in operation.get("parameters", [])
    )
    parameters = f"<table><tr><th>parameter<th>in<th>type<th>meaning{rows}</table>" if rows else ""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    sent = f"<p>Body: {_kind(body)}</p>" if body else ""
    answers = "".join(
        f"<tr><td>{escape(status)}<td>{escape(answer.get('description', ''))}<td>{_contents(answer)}<td>"
        + ", ".join(f"<code>{escape(name)}</code>" for name in answer.get("headers", {}))
        for status, answer in operation["responses"].items()
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}</summary>"
        f"<p>{escape(operation.get('description', ''))}</p>{parameters}{sent}"
        f"<table><tr><th>answer<th>meaning<th>body<th>headers{answers}</table></details>"
    )


def _contents(answer: Schema) -> str:
    parts = (f"{escape(media)}: {_kind(content.get('schema', {}))}" for media, content in answer.get("content", {}).items())
    return "<br>".join(parts)


def _schema(name: str, schema: Schema) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' ?'}<td>{_kind(value)}"
        f"<td>{escape(value.get('description', ''))}"
        for field, value in schema.get("properties", {}).items()
    )
    about = escape(schema.get("description", ""))
    return (
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><p>{about}</p>'
        f"<table><tr><th>field<th>type<th>meaning{rows}</table></details>"
    )


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for word, between in (("anyOf", " or "), ("allOf", " with ")):
        if word in schema:
            return between.join(map(_kind, schema[word]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "object" and "properties" in schema:
        return ", ".join(f"{escape(name)}: {_kind(value)}" for name, value in schema["properties"].items())
    limit = f" ({schema['maxLength']})" if "maxLength" in schema else ""
    return escape(str(schema.get("type", "any"))) + limit
