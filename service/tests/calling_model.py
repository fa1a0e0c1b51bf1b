# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversations in which a model calls tools, a tiny model that learns them by heart, and the MCP server of the tools.

Shared by the tests of clients that get calls. Rows, chat templates and the options of the training are chosen so that
the model answers each question of :data:`CONVERSATIONS` exactly, on both servers.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import json
import time
import typing as t

from mcp import Client
from mcp.server.mcpserver import MCPServer

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service

WAIT_SECONDS = 900.0
SYSTEM = "Tu aides au homelab."
#: Model by chat template, and the tool format that auto takes for it.
MODELS = {"qwen": "template", "chatml": "house"}

server = MCPServer("homelab")
#: Calls that the MCP server has executed.
executed: list[tuple[str, dict[str, t.Any]]] = []


@server.tool()
def request_media(title: str, year: int = 0) -> str:
    """Demande un film ou une série."""
    executed.append(("request_media", {"title": title, "year": year}))
    return f"{title} : demandé"


@server.tool()
def backup_status() -> str:
    """État des sauvegardes."""
    executed.append(("backup_status", {}))
    return "ok"


@server.tool()
def set_quality(title: str, tags: list[str], limits: dict[str, t.Any]) -> str:
    """Règle la qualité."""
    executed.append(("set_quality", {"title": title, "tags": tags, "limits": limits}))
    return "réglé"


def over_mcp(work: t.Callable[[Client], t.Awaitable[t.Any]]) -> t.Any:
    """Call a function with a client of the MCP server; in a thread, as that of a browser has an event loop already."""

    async def main() -> t.Any:
        async with Client(server) as client:
            return await work(client)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(main())).result()


@functools.cache
def tools() -> list[t.Any]:
    """The tools of the MCP server as OpenAI's API takes them."""
    listed = over_mcp(lambda client: client.list_tools()).tools
    return [
        {
            "type": "function",
            "function": {"name": each.name, "description": each.description, "parameters": each.input_schema},
        }
        for each in listed
    ]


def call(name: str, arguments: dict[str, t.Any], identity: str = "") -> dict[str, t.Any]:
    """A call as OpenAI's API writes it."""
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"type": "function", "function": function, **({"id": identity} if identity else {})}


NESTED = {"limits": {"min": 720, "sizes": [0.5, 2], "strict": True}, "tags": ['a "b" <c>', "{d}"], "title": "Ran"}
#: Question; text and calls; their results; the answer.
CONVERSATIONS: tuple[tuple[str, str, list[dict[str, t.Any]], list[str], str], ...] = (
    (
        "Ajoute Chihiro.",
        "Je le demande.",
        [call("request_media", {"title": "Chihiro", "year": 2001}, "c1")],
        ["Chihiro : demandé"],
        "C'est demandé.",
    ),
    (
        "Ajoute Heat et Ran.",
        "",
        [call("request_media", {"title": "Heat"}, "c1"), call("request_media", {"title": "Ran"}, "c2")],
        ["Heat : demandé", "Ran : demandé"],
        "Heat et Ran sont demandés.",
    ),
    ("Et les sauvegardes ?", "", [call("backup_status", {}, "c1")], ["ok"], "Tout va bien."),
    ("Règle la qualité de Ran.", "", [call("set_quality", NESTED, "c1")], ["réglé"], "Ran est réglé."),
    ("Merci.", "", [], [], "De rien."),
)


def rows() -> list[dict[str, t.Any]]:
    """The conversations as rows, the results of two calls in the other order; and one without tools."""
    made = []
    for question, text, calls, results, answer in CONVERSATIONS:
        opening = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        messages: list[dict[str, t.Any]] = [*opening]
        if calls:
            messages.append({"role": "assistant", "content": text, "tool_calls": calls})
            pairs = list(zip(calls, results))
            messages += [
                {"role": "tool", "tool_call_id": each["id"], "content": result} for each, result in reversed(pairs)
            ]
        made.append({"messages": [*messages, {"role": "assistant", "content": answer}], "tools": tools()})
    plain = [("system", SYSTEM), ("user", "Qui es-tu ?"), ("assistant", "L'assistant du homelab.")]
    return [*made, {"messages": [{"role": role, "content": text} for role, text in plain]}]


def register(service: Service, base: str, template: str, name: str = "calls", data: t.Any = None, **more: t.Any) -> str:
    """Train, convert and register a model, or only what of it is missing.

    :param name: of the dataset; :param data: its rows, those with calls if None.
    :param more: options of the training.
    """
    with service.client() as client:
        raw = json.dumps(data or rows(), ensure_ascii=False).encode()
        uploaded = client.post(f"/api/datasets/{name}", files={"file": (f"{name}.json", raw)})
        assert uploaded.status_code in (200, 201), uploaded.text
        body = {
            "name": f"{name}-{template}",
            "base_model": base,
            "dataset": name,
            "template": template,
            "method": "full",
            "epochs": 36,
            "batch_size": 6,
            "gradient_accumulation": 1,
            "learning_rate": 2e-3,
            "cutoff_len": 2048,
            "lr_scheduler": "constant",
            "quantizations": ["f16"],
            "goal": "model",
            # what clients leave open; several threads of 0.24 wait seconds for each other on a busy machine
            "parameters": {"temperature": 0, "num_thread": 1},
            **more,
        }
        submitted = client.post("/api/train", json=body)
        assert submitted.status_code in (200, 201, 202), submitted.text
        job = submitted.json()
        end = time.monotonic() + WAIT_SECONDS
        while job["status"] not in ("succeeded", "failed", "cancelled"):
            assert time.monotonic() < end, job
            time.sleep(0.5)
            job = client.get(f"/api/status/{job['job_id']}").json()
        assert job["status"] == "succeeded", job
    return str(job["model"])


def execute(calls: list[tuple[str, str, str]]) -> list[str]:
    """Execute calls with the MCP client, as an application does; the texts of their results."""

    async def work(client: Client) -> list[str]:
        return [(await client.call_tool(name, json.loads(arguments))).content[0].text for _id, name, arguments in calls]

    return t.cast("list[str]", over_mcp(work))
