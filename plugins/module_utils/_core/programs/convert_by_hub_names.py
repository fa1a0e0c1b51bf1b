# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs llama.cpp's converter on tensors that newer versions of transformers have saved, by the names that it knows.

Run by the Python of the converter's virtual environment: ``convert_by_hub_names.py CONVERTER PREFIXES MODEL …``, where
``CONVERTER`` is the path of ``convert_hf_to_gguf.py``, ``PREFIXES`` are starts of names of tensors in the files of the
hub, separated by commas, and the rest are the converter's own arguments. Exit status: that of the converter.

Newer versions of transformers save some models with ``model.`` before these names. The converter knows no such tensor:
it stops, or leaves an image encoder out and ends with status 0.
"""

from __future__ import annotations

import os
import runpy
import sys
import typing as t


def patch_converter(prefixes: t.Sequence[str]) -> None:
    """Have the converter read the tensors by the names in the files of the hub; it must be importable."""
    from conversion import base as converter

    index_tensors = converter.ModelBase.index_tensors

    def index(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        filter_tensors = self.filter_tensors

        def renamed(item: tuple[str, t.Any]) -> t.Any:
            name = item[0].removeprefix("model.")
            return filter_tensors((name, item[1]) if name.startswith(tuple(prefixes)) else item)

        self.filter_tensors = renamed
        try:
            return index_tensors(self, *args, **kwargs)
        finally:
            del self.filter_tensors

    converter.ModelBase.index_tensors = index


def main(argv: t.Sequence[str]) -> int:
    """Convert.

    :param argv: path of the converter, prefixes, its own arguments.
    """
    converter, prefixes, *arguments = argv
    tree = os.path.dirname(os.path.abspath(converter))
    sys.path[:0] = [tree, os.path.join(tree, "gguf-py")]
    patch_converter(prefixes.split(","))
    sys.argv = [converter, *arguments]
    runpy.run_path(converter, run_name="__main__")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
