# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second fine-tune on the same base: ``export: adapter`` compared with merging.

A first fine-tune of each kind is made beforehand, so that the one-time cost of a base (fetching, and for adapters its
GGUF) is not counted. Then the learning rate is changed repeatedly, as users do. The base has 6 million parameters, so
that the files are larger than receipts and logs. Bytes are those on disk at the end; checkpoints, which are equal in
both cases, have been removed by then.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from lab import PlayLab, compare, interleaved, workplace

TIMES = int(os.environ.get("IA_BENCHMARK_TIMES", "3"))
WAYS = ("merged", "adapter")
SHAPE = ("--hidden", "512", "--ffn", "1024", "--layers", "2")


def held(*roots: Path) -> int:
    """Total size of all files below a directory."""
    return sum(path.lstat().st_size for root in roots for path in root.rglob("*") if path.is_file())


def main() -> None:
    """Run both alternately, each time with another learning rate."""
    with workplace(*SHAPE) as lab:
        # never repeated, because a training for one kind would be reused by the other
        rates = iter(range(1, 2 * TIMES + 3))
        written: dict[str, list[int]] = {way: [] for way in WAYS}
        roots = [lab.data / "models", lab.data / "outputs", lab.server.root / "models" / "blobs"]

        def again(way: str) -> None:
            before = held(*roots)
            declared = {**lab.declared["finetunes"][0], "name": f"by-{way}", "export": way}
            declared["learning_rate"] = next(rates) * 1e-4
            apply(lab, declared)
            written[way].append(held(*roots) - before)

        for way in WAYS:
            again(way)
        found = interleaved({way: lambda way=way: again(way) for way in WAYS}, TIMES)  # type: ignore[misc]
        compare(found, "adapter", "merged")
        for way in WAYS:
            once, more = written[way][0], statistics.median(written[way][1:])
            print(f"{way}: {once / 1e6:.2f} MB kept for the first, {more / 1e6:.2f} MB for each one more")


def apply(lab: PlayLab, declared: dict[str, object]) -> None:
    """Apply one fine-tune."""
    assert lab.play(timeout=3600, finetunes=[declared]).well().recap["changed"] > 0


if __name__ == "__main__":
    main()
