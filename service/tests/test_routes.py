# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every route of the service with every kind of caller, compared with the scope that the route declares."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import typing as t

import httpx
import pytest
from fastapi import APIRouter, FastAPI, params
from fastapi.routing import APIRoute, iter_route_contexts
from nicegui import app as nicegui_app
from starlette.routing import BaseRoute, Route

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service
from ia_homelab_service.__main__ import create_service
from ia_homelab_service.http.access import READ, SCOPES, TRAIN
from ia_homelab_service.http.routing import ServiceRoute
from ia_homelab_service.http.security import PUBLIC, SecuredApp, declaration, needs
from ia_homelab_service.mcp.tools import Tools
from ia_homelab_service.settings import Settings
from ia_homelab_service.web.app import PageRoute, PrefixRoute
from ia_homelab_service.web.visitors import Visitors

#: The tokens of the service by name.
TOKENS = {"reader": [READ], "only trains": [TRAIN], "trainer": [READ, TRAIN]}
#: Every kind of caller, and the scopes that it has.
CALLERS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "wrong token": frozenset(),
    **{name: SCOPES & set(scopes) for name, scopes in TOKENS.items()},
    "session of reader": frozenset({READ}),
    "session of trainer": frozenset({READ, TRAIN}),
}


@dataclasses.dataclass(frozen=True)
class Reached:
    """A method of a route."""

    method: str
    path: str
    security: params.Security

    @property
    def on_the_page(self) -> bool:
        """Whether sessions of browsers count."""
        return isinstance(getattr(self.security.dependency, "__self__", None), Visitors)


def walk(routes: t.Iterable[BaseRoute]) -> t.Iterator[Reached]:
    """Yield every method of every route.

    :raises TypeError: for a route without a declared scope.
    """
    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        if isinstance(route, PageRoute):
            yield from walk(route.routes)
            continue
        methods, path = context.methods or (), context.path or ""
        if isinstance(route, PrefixRoute):
            security, path = route.app.security, f"{path}socket.io/?EIO=4&transport=polling"
        elif isinstance(route, APIRoute):
            security = declaration(path, route.dependencies)
        elif isinstance(route, Route) and isinstance(route.endpoint, SecuredApp):
            security = route.endpoint.security
        else:
            raise TypeError(f"{route!r} declares no scope.")
        for method in sorted(methods or {"GET", "POST", "DELETE"}):
            yield Reached(method, re.sub(r"{[^}]+}", "nothing", path), security)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The application, as the service runs it."""
    return create_service(Settings(data_dir=str(tmp_path_factory.mktemp("routes")), no_token=True))


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Service]:
    """A service with all kinds of tokens."""
    root = tmp_path_factory.mktemp("closed")
    entries = [
        {"name": name, "scopes": scopes, "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name, scopes in TOKENS.items()
    ]
    (root / "tokens.json").write_text(json.dumps(entries))
    service = Service(root / "service", {"tokens_file": str(root / "tokens.json")})
    yield service.start()
    service.close()


def client_of(service: Service, caller: str) -> httpx.Client:
    """Return a client that sends what such a caller sends."""
    if not caller.startswith("session"):
        return service.client("" if caller == "none" else caller)
    with service.client() as browser:
        form_token = re.search(r'name="form_token" value="([0-9a-f]{64})"', browser.get("/login").text)
        assert form_token
        data = {"form_token": form_token.group(1), "token": caller.removeprefix("session of ")}
        assert browser.post("/login", data=data, headers={"Origin": service.url}).status_code == 303
        client = service.client(cookies=dict(browser.cookies))
    client.headers["Origin"] = service.url
    return client


def expected_denial(reached: Reached, caller: str) -> int:
    """Return the status with which a caller is refused; 0 for one who may pass."""
    if reached.security is PUBLIC:
        return 0
    granted = CALLERS[caller]
    if not granted or (caller.startswith("session") and not reached.on_the_page):
        return 401
    return 0 if set(reached.security.scopes or ()) <= granted else 403


def denial(client: httpx.Client, reached: Reached) -> int:
    """Return the status with which a request is refused for its caller; 0 when it passes."""
    body = {"json": {}} if reached.method == "POST" else {}
    # streams of events are not awaited
    with client.stream(reached.method, reached.path, **body) as reply:
        kind = reply.headers.get("content-type", "")
        if reply.status_code not in (401, 403) or kind.startswith("text/html"):
            return 0
        content = json.loads(reply.read())
    if reached.path.startswith("/v1/"):
        assert kind == "application/json"
        assert content["error"]["type"] in ("authentication_error", "permission_error")
    else:
        assert (kind, content["status"]) == ("application/problem+json", reply.status_code)
    if reply.status_code == 401:
        assert reply.headers["www-authenticate"].startswith("Bearer")
    return reply.status_code


def test_no_route_fails_for_a_name_with_a_null_byte(closed: Service, app: FastAPI) -> None:
    found = {}
    with client_of(closed, "trainer") as client:
        for one in walk(app.routes):
            if "nothing" in one.path and not one.path.startswith("/_nicegui"):
                body = {"json": {}} if one.method == "POST" else {}
                with client.stream(one.method, one.path.replace("nothing", "%00"), **body) as reply:
                    found[f"{one.method} {one.path}"] = reply.status_code
    assert len(found) > 30
    assert {where: status for where, status in found.items() if status == 500} == {}
    assert found["GET /api/status/nothing"] == found["GET /api/jobs/nothing/log"] == 404


@pytest.mark.parametrize("caller", CALLERS)
def test_every_route_admits_the_callers_it_declares(closed: Service, app: FastAPI, caller: str) -> None:
    reached = list(walk(app.routes))
    assert len(reached) > 80
    with client_of(closed, caller) as client:
        found = {f"{one.method} {one.path}": denial(client, one) for one in reached}
    expected = {f"{one.method} {one.path}": expected_denial(one, caller) for one in reached}
    assert found == expected


def test_what_changes_something_needs_the_scope_train(app: FastAPI) -> None:
    """The list of all that does without, so that an addition is looked at."""
    reached = list(walk(app.routes))
    public = {f"{one.method} {one.path}" for one in reached if one.security is PUBLIC}
    login = {"GET /login", "POST /login", "GET /language/nothing"}
    assets = {f"{method} /_nicegui/socket.io/?EIO=4&transport=polling" for method in ("GET", "HEAD")}
    assert public == {"GET /healthz", "GET /readyz", *login, *assets}
    unsafe = {
        f"{one.method} {one.path}"
        for one in reached
        if one.method not in ("GET", "HEAD") and one.security is not PUBLIC and TRAIN not in (one.security.scopes or ())
    }
    prefixes = ("/api", "/api/training/llamafactory")
    rest = {f"POST {prefix}/{name}" for prefix in prefixes for name in ("plan", "datasets/nothing/validate")}
    openai = {f"POST /v1/{name}" for name in ("chat/completions", "completions", "embeddings")}
    mcp = {f"{method} /mcp{slash}" for method in ("POST", "DELETE") for slash in ("", "/")}
    websocket = {f"{method} /_nicegui_ws/socket.io/?EIO=4&transport=polling" for method in ("POST", "DELETE")}
    assert unsafe == {*rest, *openai, *mcp, *websocket, "POST /logout"}


def test_a_route_without_a_scope_cannot_be_created(app: FastAPI) -> None:
    async def endpoint() -> None: ...

    for router in (APIRouter(route_class=ServiceRoute), app.router):
        before = len(router.routes)
        for dependencies in ([], [needs(READ), needs(TRAIN)]):
            with pytest.raises(TypeError, match="/forgotten must declare one scope"):
                router.add_api_route("/forgotten", endpoint, dependencies=dependencies)
        assert len(router.routes) == before


def test_routes_of_the_library_are_behind_a_prefix_or_not_served(closed: Service, app: FastAPI) -> None:
    prefixes = tuple(route.path for route in app.routes if isinstance(route, PrefixRoute))
    assert prefixes == ("/_nicegui/", "/_nicegui_ws/")
    (page,) = (route for route in app.routes if isinstance(route, PageRoute))
    others = [route for route in nicegui_app.routes if route not in page.routes]
    assert others
    for route in others:
        assert f"{getattr(route, 'path', '')}/".startswith(prefixes), route
    with closed.client("trainer") as client:
        # NiceGUI adds this route when it starts
        assert client.get("/favicon.ico").status_code == 404
        assert client.post("/_nicegui/client/x/upload/1").status_code == 404


@pytest.mark.parametrize("caller", [name for name in CALLERS if READ not in CALLERS[name]])
def test_the_websocket_of_the_page_needs_the_scope_read(closed: Service, caller: str) -> None:
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": closed.url,
    }  # fmt: skip
    with client_of(closed, caller) as client:
        reply = client.get("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", headers=upgrade)
    assert reply.status_code == 403


def test_every_tool_declares_a_scope() -> None:
    tools = {name: getattr(Tools, name).scope for name in vars(Tools) if name.startswith("llamafactory_")}
    changing = {"llamafactory_train", "llamafactory_cancel", "llamafactory_export"}
    assert changing < set(tools)
    assert tools == {name: TRAIN if name in changing else READ for name in tools}
    assert {getattr(Tools, name).scope for name in ("log", "job", "receipt")} == {READ}
