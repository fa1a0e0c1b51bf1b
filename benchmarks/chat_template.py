# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long Ollama takes to render a prompt with 40 tools, with the generated TEMPLATE.

Compared with a prompt without tools, so that what remains is the template's work and not the request's. Wall clock
time is that of the request, which on a busy machine is mostly waiting; processor time is that of the server. Three
templates: tools on one line (qwen), indented (llama3), and as plain text (chatml); and qwen with descriptions whose
every character is one that Go's JSON escapes, the slowest case of the printer.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import tempfile
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import (  # noqa: E402
    served_format,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.real.conftest import Maker  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port  # noqa: E402

TIMES = int(os.environ.get("IA_BENCHMARK_TIMES", "50"))
TOOLS = 40
ASK = [{"role": "user", "content": "Quel temps fait-il ?"}]


def tools(text: str) -> list[dict[str, t.Any]]:
    """40 tools with four parameters each, one of which has a list of values.

    :param text: description of each tool and parameter.
    """
    properties: dict[str, t.Any] = {
        f"parameter_{number}": {"type": "string", "description": text} for number in range(4)
    }
    properties["parameter_0"]["enum"] = ["first", "second", "third"]
    schema = {"type": "object", "properties": properties, "required": ["parameter_0"]}
    return [
        {"type": "function", "function": {"name": f"tool_{number}", "description": text, "parameters": schema}}
        for number in range(TOOLS)
    ]


def processor_ms(server: Server) -> float:
    """Processor time of the server so far, in milliseconds."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(server: Server, body: t.Callable[[], t.Any]) -> tuple[float, float]:
    """Median duration of a call, and mean processor time of the server for one, in milliseconds."""
    spent, before = [], processor_ms(server)
    for _number in range(TIMES):
        began = time.perf_counter()
        body()
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent), (processor_ms(server) - before) / TIMES


def measure(program: str, root: Path) -> None:
    """Start a server and print the figures."""
    server = Server(program, root, free_port())
    server.start()
    try:
        ollama = Ollama(server.url, slow_timeout=120)
        model = Maker().small(root / "model.gguf")
        ollama.push_blob(model.path, model.digest)
        plain, escaped = tools("Une description d'une longueur usuelle, en français."), tools("<>&" * 18)
        print(f"Ollama {ollama.version()}, {TOOLS} tools, medians of {TIMES}")
        for name, each in (("qwen", plain), ("llama3", plain), ("chatml", plain), ("qwen", escaped)):
            served = served_format(name, date="05 Mar 2026")
            ollama.create("bench", files={"model.gguf": model.digest}, template=served.template, parser=served.parser)
            length = len(ollama.render("bench", ASK, tools=each))
            wall_without, cpu_without = measured(server, lambda: ollama.render("bench", ASK))
            wall, cpu = measured(server, functools.partial(ollama.render, "bench", ASK, tools=each))
            case = "escaped" if each is escaped else "usual"
            print(
                f"  {name:8} {case:8} {length:7} characters  {wall - wall_without:7.1f} ms, processor "
                f"{cpu - cpu_without:7.1f} ms (without tools {wall_without:.1f} and {cpu_without:.1f} ms)"
            )
    finally:
        server.stop()


def main() -> None:
    """Measure the current server, and an older one where there is one."""
    for variable in ("IA_OLLAMA_BIN", "IA_OLLAMA_OLD_BIN"):
        if os.environ.get(variable):
            with tempfile.TemporaryDirectory(dir=os.environ.get("IA_BENCHMARK_DIR")) as root:
                measure(os.environ[variable], Path(root))


if __name__ == "__main__":
    main()
