# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs an evaluation to ask 50 rows, to the report: compared with the same requests by ``curl``, and by a bare
HTTP client.

The model answers everything with the same 600 characters, on the current Ollama. Needs the variables that
``./test.sh tools`` prints, and ``curl``.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import interleaved, well

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.evaluation import (  # noqa: E402
    Subject,
    evaluate,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.items import Item  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import OPTIONS  # noqa: E402
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import (  # noqa: E402
    Server,
    free_port,
    program_of,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.parrot import write_parrot  # noqa: E402

TIMES = int(os.environ.get("IA_BENCHMARK_TIMES", "5"))
ROWS = 50
MODEL = "parrot:latest"
ANSWER = " ".join(f"Le service numéro {number} écoute sur le port {8000 + 7 * number}." for number in range(12))
ITEMS = [
    Item(
        f"{number:064x}", "held_out", ({"role": "user", "content": f"Question {number} ?"},), reference={"content": "?"}
    )
    for number in range(ROWS)
]


def body(item: Item) -> bytes:
    """The request for a question, as an evaluation makes it."""
    asked = {"model": MODEL, "messages": list(item.messages), "options": OPTIONS, "stream": False}
    return json.dumps(asked).encode()


def by_curl(server: Server) -> None:
    """Ask all questions with curl, one call each."""
    for item in ITEMS:
        argv = ["curl", "-sf", "-o", os.devnull, "--data-binary", "@-", f"{server.url}/api/chat"]
        well(subprocess.run(argv, input=body(item), check=False).returncode, argv)


def by_client(server: Server) -> None:
    """Ask all questions within this process."""
    for item in ITEMS:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", "/api/chat", body(item))
        json.loads(connection.getresponse().read())
        connection.close()


def main() -> None:
    """Print the medians."""
    with tempfile.TemporaryDirectory(prefix="benchmark.", dir=os.environ.get("IA_BENCHMARK_DIR")) as made:
        root = Path(made)
        write_parrot(root / "parrot.gguf", ANSWER)
        digest = f"sha256:{hashlib.sha256((root / 'parrot.gguf').read_bytes()).hexdigest()}"
        server = Server(program_of("current"), root / "server", free_port())
        server.root.mkdir()
        server.start()
        try:
            ollama = Ollama(server.url, slow_timeout=300)
            ollama.push_blob(str(root / "parrot.gguf"), digest)
            ollama.create(MODEL, files={"model.gguf": digest}, template="{{ .Prompt }}")
            by_client(server)  # loads the model
            numbers = iter(range(TIMES))

            def by_evaluation() -> None:
                directory = root / f"evaluation-{next(numbers)}"
                directory.mkdir()
                report = evaluate(ollama, str(directory), ITEMS, Subject("parrot", {"candidate": MODEL}, "candidate"))
                assert report["items"] == ROWS, report

            found = interleaved(
                {"evaluation": by_evaluation, "curl": lambda: by_curl(server), "client": lambda: by_client(server)},
                TIMES,
            )
        finally:
            server.stop()
    walls = {name: [spent.wall for spent in each] for name, each in found.items()}
    for name, each in walls.items():
        print(f"{name:12} {statistics.median(each):6.2f} s (median of {TIMES}), {min(each):6.2f} s (the fastest)")
    for other in ("curl", "client"):
        pairs = statistics.median(one / two for one, two in zip(walls["evaluation"], walls[other]))
        fastest = min(walls["evaluation"]) / min(walls[other])
        print(f"evaluation / {other}: {pairs:.2f} (median of pairs), {fastest:.2f} (the fastest of each)")


if __name__ == "__main__":
    main()
