# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The training service under load, compared with a bare FastAPI application in the same run.

Status requests per second and their p99 with 200 event streams attached; start and memory with 10 000 jobs in the
store. ``IA_BENCHMARK_JOBS``, ``IA_BENCHMARK_STREAMS`` and ``IA_BENCHMARK_SECONDS`` change how many and how long.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "playbooks" / "collections"))

from ansible_collections.ia_homelab.llamafactory.tests.support.service_lab import Service, free_port  # noqa: E402

JOBS = int(os.environ.get("IA_BENCHMARK_JOBS", "10000"))
STREAMS = int(os.environ.get("IA_BENCHMARK_STREAMS", "200"))
SECONDS = float(os.environ.get("IA_BENCHMARK_SECONDS", "10"))
CLIENTS = 8

#: The minimum that FastAPI can do: send the same bytes, prepared in advance.
BARE = """
import sys, uvicorn
from fastapi import FastAPI, Response
app = FastAPI()
body = open(sys.argv[2], "rb").read()
@app.get("/api/status/{job_id}")
async def status(job_id: str) -> Response:
    return Response(body, media_type="application/json")
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
"""


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bytes:
    """Get one response over a persistent connection."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n", 1)[0], head
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return await reader.readexactly(length)


async def load(port: int, path: str) -> tuple[float, float]:
    """Requests per second of several clients without pauses, and the p99 in milliseconds."""
    times: list[float] = []
    end = time.perf_counter() + SECONDS

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            begin = time.perf_counter()
            await get(reader, writer, path)
            times.append(time.perf_counter() - begin)
        writer.close()

    await asyncio.gather(*(client() for _number in range(CLIENTS)))
    times.sort()
    return len(times) / SECONDS, 1000 * times[int(len(times) * 0.99)]


async def attach(port: int, job_id: str) -> list[asyncio.StreamWriter]:
    """Open event streams and keep them open."""
    found = []
    for _number in range(STREAMS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ask = f"GET /api/jobs/{job_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        writer.write(ask.encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        found.append(writer)
    return found


def fill(service: Service) -> None:
    """Create a store with a number of finished runs, copies of a real one."""
    run = service.lab.run("filled")
    service.lab.apply(run)
    source = Path(service.lab.record(run).directory)
    for number in range(JOBS - 1):
        name = f"{run.id[:-6]}{number:06d}"
        target = source.parent / name
        shutil.copytree(source, target)
        value = json.loads((target / "run.json").read_text())
        (target / "run.json").write_text(json.dumps({**value, "id": name}))


def resident(pid: int) -> float:
    """Memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far; on a busy machine wall clock time is not meaningful."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(service: Service, what: str) -> None:
    """Start the service; return the time until it answers."""
    begin = time.perf_counter()
    service.start(own=True)
    assert service.process is not None
    pid = service.process.pid
    took, computed = time.perf_counter() - begin, processor_seconds(pid)
    print(f"start with {what}: {took:.2f} s ({computed:.2f} s of processor), {resident(pid):.0f} MB", flush=True)


async def measure(service: Service, root: Path) -> None:
    """Measure and print all figures, one per line."""
    assert service.process is not None
    occupant = service.occupy()
    path = f"/api/status/{occupant}"
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    (root / "body").write_bytes(await get(reader, writer, path))
    port = free_port()
    argv = [sys.executable, "-c", BARE, str(port), str(root / "body")]
    bare = subprocess.Popen(argv)
    try:
        for _attempt in range(300):
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        streams = await attach(service.port, occupant)
        rates = {}
        for name, where in (("bare FastAPI", port), (f"service, {STREAMS} streams", service.port)):
            rates[name] = await load(where, path)
            print(f"{name:28} {rates[name][0]:8.0f} status requests/s   p99 {rates[name][1]:7.2f} ms")
        print(f"ratio {list(rates.values())[1][0] / list(rates.values())[0][0]:.2f}")
        for stream in streams:
            stream.close()
    finally:
        bare.kill()
        bare.wait()
    writer.close()
    before = resident(service.process.pid)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for record in service.lab.store.done_ids(JOBS):
        await get(reader, writer, f"/api/status/{record}")
    print(f"memory {before:.0f} MB, after a look at each of {JOBS} jobs {resident(service.process.pid):.0f} MB")
    writer.close()


def main() -> None:
    """Fill the store, start the service, measure."""
    root = Path(tempfile.mkdtemp(prefix="ia-homelab-bench."))
    service = Service(root / "service", {})
    try:
        start(service, "an empty store")
        service.stop()
        fill(service)
        start(service, f"{JOBS} jobs")
        asyncio.run(measure(service, root))
    finally:
        service.close()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
