# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LangChain and litellm as clients of OpenAI's interface, for an environment with both: prints their results as JSON.

Arguments: ``langchain`` or ``litellm``. Standard input, as JSON: the URL of the interface, the model, the messages of a
question that needs no tool (``plain``) and of one that needs some (``question``), the tools, and the results by the
name and arguments of a call.
"""

from __future__ import annotations

import json
import sys
import typing as t

Request = t.Mapping[str, t.Any]


def result_of(request: Request, name: str, arguments: t.Any) -> str:
    """Return the recorded result of a call."""
    return next(each["result"] for each in request["results"] if [each["name"], each["arguments"]] == [name, arguments])


def langchain(request: Request) -> dict[str, t.Any]:
    """Chat, stream and call with ``langchain-openai``, which lists no models."""
    from langchain_core.messages import ToolMessage
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(
        base_url=request["url"], api_key="unused", model=request["model"], temperature=0, max_tokens=200, max_retries=0
    )
    calling = model.bind_tools(request["tools"])
    chunks = list(calling.stream(request["question"]))
    streamed = chunks[0]
    for chunk in chunks[1:]:
        streamed += chunk
    called = calling.invoke(request["question"])
    given = [
        ToolMessage(result_of(request, each["name"], each["args"]), tool_call_id=each["id"])
        for each in called.tool_calls
    ]
    return {
        "chat": model.invoke(request["plain"]).content,
        "stream": [chunk.content for chunk in model.stream(request["plain"])],
        "calls": [[each["name"], each["args"]] for each in called.tool_calls],
        "streamed_calls": [[each["name"], each["args"]] for each in streamed.tool_calls],
        "answer": calling.invoke([*request["question"], called, *given]).content,
    }


def litellm(request: Request) -> dict[str, t.Any]:
    """List, chat, stream and call with ``litellm``."""
    import litellm as library

    library.suppress_debug_info = True  # it is printed among the results
    common: dict[str, t.Any] = {
        "model": f"openai/{request['model']}", "api_base": request["url"], "api_key": "unused",
        "temperature": 0, "max_tokens": 200, "num_retries": 0,
    }  # fmt: skip

    def ask(messages: list[t.Any], **more: t.Any) -> t.Any:
        return library.completion(messages=messages, **common, **more)

    def calls(message: t.Any) -> list[t.Any]:
        return [[each.function.name, json.loads(each.function.arguments)] for each in message.tool_calls or []]

    tools = request["tools"]
    called = ask(request["question"], tools=tools).choices[0].message
    streamed = library.stream_chunk_builder(list(ask(request["question"], tools=tools, stream=True)))
    given = [
        {
            "role": "tool",
            "tool_call_id": each.id,
            "content": result_of(request, each.function.name, json.loads(each.function.arguments)),
        }
        for each in called.tool_calls
    ]
    return {
        "models": library.get_valid_models(
            check_provider_endpoint=True,
            custom_llm_provider="openai",
            api_base=request["url"],
            api_key="unused",
        ),
        "chat": ask(request["plain"]).choices[0].message.content,
        "stream": [chunk.choices[0].delta.content or "" for chunk in ask(request["plain"], stream=True)],
        "calls": calls(called),
        "streamed_calls": calls(streamed.choices[0].message),
        "answer": ask([*request["question"], called, *given], tools=tools).choices[0].message.content,
    }


if __name__ == "__main__":
    client = {"langchain": langchain, "litellm": litellm}[sys.argv[1]]
    print(json.dumps(client(json.load(sys.stdin))))
