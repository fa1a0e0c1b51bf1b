# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client for an environment with ``mcp`` 1.x: prints its results as JSON.

Arguments: the service's URL, the base model, the dataset, and the command line of a server for stdio.
"""

from __future__ import annotations

import asyncio
import json
import sys
import typing as t

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


async def talk(session: ClientSession, base: str, dataset: str) -> dict[str, t.Any]:
    """Use each tool and resource once."""
    hello = await session.initialize()
    tools = (await session.list_tools()).tools
    arguments = {"model": base, "dataset": dataset, "options": {"template": "qwen"}}
    started = await session.call_tool("llamafactory_train", arguments)
    job_id = (started.structuredContent or {})["job_id"]
    status = await session.call_tool("llamafactory_status", {"job_id": job_id})
    wrong = await session.call_tool("llamafactory_status", {"job_id": "no-such-job"})
    log = await session.read_resource(t.cast(t.Any, f"llamafactory://jobs/{job_id}/log"))
    return {
        "server": hello.serverInfo.name,
        "tools": {tool.name: tool.annotations.readOnlyHint if tool.annotations else None for tool in tools},
        "schemas": all(tool.outputSchema for tool in tools),
        "job_id": job_id,
        "next": (started.structuredContent or {})["next"],
        "status": (status.structuredContent or {})["status"],
        "wrong": [wrong.isError, t.cast(t.Any, wrong.content[0]).text],
        "log": t.cast(t.Any, log.contents[0]).mimeType,
    }


async def main(url: str, base: str, dataset: str, command: list[str]) -> None:
    """Run over both transports."""
    async with streamablehttp_client(f"{url}/mcp") as (read, write, _session):
        async with ClientSession(read, write) as session:
            over_http = await talk(session, base, dataset)
    import os

    parameters = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        over_stdio = await talk(session, base, dataset)
    print(json.dumps({"http": over_http, "stdio": over_stdio}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
