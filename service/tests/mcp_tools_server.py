# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An MCP server with tools of a homelab, made with the package mcp: version 2 or version 1.

    python mcp_tools_server.py PORT SET [json] [stateless]

SET is a file that names the set to serve, ``homelab``, ``more`` or ``circle``; it is read when the server starts.
"""

from __future__ import annotations

import sys
import typing as t

import pydantic

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:  # version 1
    MCPServer = None


class Season(pydantic.BaseModel):
    """A season of a series."""

    series: str = pydantic.Field(description="Titre de la série")
    number: int = pydantic.Field(ge=0)


class Node(pydantic.BaseModel):
    """A directory, which may have others in it."""

    name: str
    inner: list[Node] = []


def request_media(title: str, kind: t.Literal["film", "série"] = "film", year: int | None = None) -> str:
    """Demande un film ou une série à Overseerr."""
    raise AssertionError(f"{title}, {kind}, {year}: no tool may be called")


def search_season(season: Season) -> str:
    """Cherche une saison dans Sonarr."""
    raise AssertionError(f"{season}: no tool may be called")


def list_backups() -> str:
    """Liste les sauvegardes."""
    raise AssertionError("no tool may be called")


def walk(node: Node) -> str:
    """Parcourt un dossier."""
    raise AssertionError(f"{node}: no tool may be called")


def rate(stars: t.Annotated[int, pydantic.Field(json_schema_extra={"required": True})]) -> str:
    """Note un film ; le schéma de ses arguments est invalide."""
    raise AssertionError(f"{stars}: no tool may be called")


SETS = {
    "homelab": (search_season, request_media),
    "more": (search_season, request_media, list_backups),
    "circle": (request_media, walk),
    "invalid": (request_media, rate),
}


def main() -> None:
    port, wanted = int(sys.argv[1]), sys.argv[2]
    options: dict[str, t.Any] = {"json_response": "json" in sys.argv, "stateless_http": "stateless" in sys.argv}
    if MCPServer is not None:
        server: t.Any = MCPServer("homelab", log_level="WARNING")
    else:
        from mcp.server.fastmcp import FastMCP

        server = FastMCP("homelab", port=port, log_level="WARNING", **options)
    for function in SETS[wanted]:
        server.tool()(function)
    if MCPServer is not None:
        server.run("streamable-http", port=port, **options)
    else:
        server.run("streamable-http")


if __name__ == "__main__":
    main()
