# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A million alpaca rows: published by the collection, rewritten by ``jq -c``, loaded and written by ``datasets``.

``IA_BENCHMARK=dataset ./test.sh bench``, or run directly with ``--rows``, ``--turns``, ``--lf-venv``.

Each reads the same file of JSON lines and writes the same rows with the same four fields in the same order. What this
collection additionally checks every row, digests the file and the rows, finds duplicates and contradictions,
and publishes (fsync and rename). ``jq`` is the distribution's; ``datasets`` is the one in LLaMA-Factory's virtual
environment. They run alternately; the figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TEXT = (
    "serveur conteneur réseau sauvegarde média bibliothèque utilisateur accès « partage » série film l'épisode "
    "télécharge redémarre vérifie ajoute supprime disque espace température processeur mémoire journal machine"
)

OURS = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
done = registry.apply(Layout(sys.argv[3]), registry.Declaration("rows"), [Source("rows.jsonl", sys.argv[2])])
print(done.dataset.data_file)
"""
#: The same four fields in every row.
JQ = '{instruction, input: (.input // ""), output, system: (.system // "")}'
DATASETS = """
import os, sys
os.environ.update(HF_HOME=sys.argv[2] + ".cache", HF_DATASETS_CACHE=sys.argv[2] + ".cache", HF_HUB_OFFLINE="1")
import datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train")
fields = ("instruction", "input", "output", "system")
def whole(row):
    return {name: row.get(name) or "" for name in fields}
if any(column not in fields for column in rows.column_names) or any(
    None in rows.data.column(column).slice(0, 1).to_pylist() for column in rows.column_names
):
    rows = rows.map(whole)
rows.select_columns(list(fields)).to_json(sys.argv[2], force_ascii=False)
"""


def write_rows(path: str, count: int) -> None:
    """Write realistic rows: French, some escapes, about 300 bytes each; the same count gives the same rows."""
    pick, known = random.Random(20260101), TEXT.split()
    with open(path, "w", encoding="utf-8") as out:
        for number in range(count):
            words = pick.choices(known, k=36)
            row = {
                "instruction": f"{' '.join(words[:10])} {number} ?",
                "input": "" if number % 4 else words[10],
                "output": " ".join(words[11:]) + ("\n" if number % 10 == 0 else "."),
                "system": "Tu es un assistant homelab spécialisé.",
            }
            out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


class Run(t.NamedTuple):
    """One execution of a program: wall time and processor time in seconds, and peak memory in MB."""

    seconds: float
    processor: float
    megabytes: float


def measure(argv: t.Sequence[str], out: str | None = None) -> Run:
    """Run a program; its peak memory is that of the kernel's accounting (this process is too small to affect it)."""
    begin = time.monotonic()
    with open(out or os.devnull, "wb") as stream:
        process = subprocess.Popen(argv, stdout=stream, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        _pid, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv[0]} ended with {process.returncode}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def same(first: str, second: str) -> bool:
    """Whether two files contain the same rows."""
    with open(first, encoding="utf-8") as one, open(second, encoding="utf-8") as other:
        for left, right in zip(one, other):
            if json.loads(left) != json.loads(right):
                return False
        return not one.readline() and not other.readline()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=int(os.environ.get("IA_BENCHMARK_TIMES", "3")), help="how often")
    parser.add_argument("--lf-venv", default=os.environ.get("IA_LF_VENV", ""), help="virtual environment with datasets")
    parser.add_argument("--work", default=os.environ.get("IA_BENCHMARK_DIR"), help="directory for the files (3 GB)")
    asked = parser.parse_args()
    work = tempfile.mkdtemp(prefix="bench-dataset-", dir=asked.work)
    try:
        source = os.path.join(work, "rows.jsonl")
        write_rows(source, asked.rows)
        collections = os.path.join(ROOT, "playbooks", "collections")
        runs: dict[str, list[Run]] = {"this collection": [], "jq -c": []}
        if asked.lf_venv:
            runs["datasets"] = []
        for turn in range(asked.turns):
            data = os.path.join(work, f"data-{turn}")
            report = os.path.join(work, "report")
            runs["this collection"].append(measure([sys.executable, "-c", OURS, collections, source, data], report))
            published = open(report, encoding="utf-8").read().strip()
            jq = os.path.join(work, "jq.jsonl")
            runs["jq -c"].append(measure(["jq", "-c", JQ, source], jq))
            if asked.lf_venv:
                python = os.path.join(asked.lf_venv, "bin", "python")
                hub = os.path.join(work, f"datasets-{turn}.jsonl")
                runs["datasets"].append(measure([python, "-c", DATASETS, source, hub]))
            if not turn:
                assert same(published, jq), "jq wrote other rows"
                assert not asked.lf_venv or same(published, hub), "datasets wrote other rows"
            shutil.rmtree(data)
            if asked.lf_venv:
                os.unlink(hub)
                shutil.rmtree(hub + ".cache")
        ours = statistics.median(run.seconds for run in runs["this collection"])
        print(f"{asked.rows} rows, {os.path.getsize(source) / 1e6:.0f} MB; Python {platform.python_version()}, "
              f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
        print("| | seconds | processor seconds | most memory, MB | × ours |\n|---|---|---|---|---|")
        for name, found in runs.items():
            middle = [statistics.median(values) for values in zip(*found)]
            print(f"| {name} | {middle[0]:.1f} | {middle[1]:.1f} | {middle[2]:.0f} | {middle[0] / ours:.2f} |")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
