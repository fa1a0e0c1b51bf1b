# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The routes, the tools and the commands that the documentation names are those of the service."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import ROOT
from ia_homelab_service.__main__ import create_service
from ia_homelab_service.mcp.tools import Tools
from ia_homelab_service.settings import Settings

DOCUMENTS = [ROOT / "README.md", ROOT / "README.fr.md", ROOT / "client" / "README.md", *(ROOT / "docs").glob("*.md")]
#: Paths that are mounted as applications of their own, and routes of Ollama and of Docker.
_OTHERS = {
    "/mcp",
    "/api/openapi.json",
    "/api/tags",
    "/api/show",
    "/api/create",
    "/api/chat",
    "/api/generate",
    "/api/version",
    "/api/ps",
}
#: The same routes below another prefix.
_SECOND_PREFIX = "/api/training/llamafactory"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The paths of all routes, with an asterisk for each parameter."""
    app = create_service(Settings(data_dir=str(tmp_path_factory.mktemp("routes")), no_token=True))
    contexts = iter_route_contexts(list(app.routes))
    found = {context.path or "" for context in contexts if isinstance(context.original_route, APIRoute)}
    return {re.sub(r"{[^}]+}", "*", path) for path in found}


def named() -> dict[str, str]:
    """Paths in code of the documents, with an asterisk for each name in capitals, and where they stand."""
    found = {}
    for document in DOCUMENTS:
        for code in re.findall(r"`+([^`]+)`+", document.read_text(encoding="utf-8")):
            for path in re.findall(r"(?<![\w.])(?:http://[\w.:-]+)?((?:/(?:api|v1)|…)/[\w/$…{}.-]+|/mcp\b)", code):
                short = re.sub(r"\$?\b[A-Z_]+\b|{[^}]+}", "*", path).rstrip("/.")
                found[short] = f"{document.name}: {path}"
    return found


def test_paths_in_the_documentation_are_routes(paths: set[str]) -> None:
    unknown = []
    for path, where in named().items():
        is_short = path.startswith("…") and any(route.endswith(path[1:]) for route in paths)
        if not is_short and path not in paths | _OTHERS | {_SECOND_PREFIX, "/v1"}:
            unknown.append(where)
    assert unknown == []
    assert len(named()) > 30


def test_every_route_of_the_interface_is_documented(paths: set[str]) -> None:
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    table = text.partition("| request | |")[2].partition("\n\n")[0]
    own = {path for path in paths if path.startswith("/api/") and not path.startswith(_SECOND_PREFIX)}
    ends = {path: path.removesuffix("/*").rpartition("/")[2] for path in own}
    assert [path for path, end in ends.items() if not re.search(rf"/{end}\b", table)] == []


def test_tools_in_the_documentation_are_those_of_mcp() -> None:
    text = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    tools = {name for name in vars(Tools) if name.startswith("llamafactory_")}
    assert set(re.findall(r"^\| `(\w+)\(", text, re.MULTILINE)) == tools
