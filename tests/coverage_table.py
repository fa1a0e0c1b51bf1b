# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints how many statements of each package the unit tests run, from a data file of coverage.py.

Usage: coverage_table.py DATA_FILE. Only what ran in the process of the tests is in that file: supervisors and workers
are processes of their own, so the true figures of ``engine`` and ``steps`` are higher.
"""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import coverage

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


class Count(t.NamedTuple):
    """Statements of some files.

    :param statements: how many there are.
    :param missed: how many never ran.
    """

    statements: int = 0
    missed: int = 0

    @property
    def percent(self) -> float:
        """Percentage that ran; 100 where there is no statement."""
        return 100.0 * (self.statements - self.missed) / self.statements if self.statements else 100.0

    def plus(self, other: Count) -> Count:
        """The sum of two counts."""
        return Count(self.statements + other.statements, self.missed + other.missed)


def package_of(path: Path) -> str:
    """The row a file belongs to: its directory, with the packages within a package of the core taken together."""
    parts = path.relative_to(PLUGINS).parts[:-1]
    return "/".join(parts[:3] if parts[:2] == ("module_utils", "_core") else parts[:2])


def count(data_file: str) -> dict[str, dict[Path, Count]]:
    """The counts of all Python files of the collection, by package; a file that no test imports counts as missed."""
    measured = coverage.Coverage(data_file=data_file)
    measured.load()
    packages: dict[str, dict[Path, Count]] = {}
    for path in sorted(PLUGINS.rglob("*.py")):
        _name, statements, _excluded, missing, _text = measured.analysis2(str(path))
        packages.setdefault(package_of(path), {})[path] = Count(len(statements), len(missing))
    return packages


def table(packages: t.Mapping[str, t.Mapping[Path, Count]]) -> list[str]:
    """Lines: each package with its statements, the percentage that ran, and the file with the most missed ones."""
    lines = [f"{'package':42} {'statements':>10} {'ran':>5}  most missed"]
    total = Count()
    for name, files in sorted(packages.items()):
        whole = Count()
        for each in files.values():
            whole = whole.plus(each)
        total = total.plus(whole)
        worst = max(files, key=lambda path: files[path].missed)
        note = f"{worst.name} ({files[worst].missed})" if files[worst].missed else ""
        lines.append(f"{name:42} {whole.statements:10} {whole.percent:4.0f}%  {note}".rstrip())
    lines.append(f"{'all':42} {total.statements:10} {total.percent:4.0f}%")
    return lines


if __name__ == "__main__":
    print("\n".join(table(count(sys.argv[1]))))
