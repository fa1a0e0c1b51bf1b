# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs llama.cpp's converter on a base model, and changes its tensors by an adapter as they pass.

Run by the Python of the converter's virtual environment: ``convert_with_adapter.py CONVERTER CHANGES BASE …``, where
``CONVERTER`` is the path of ``convert_hf_to_gguf.py`` and what follows ``CHANGES`` are its own arguments. ``CHANGES``
is a JSON file: ``adapter`` (path of ``adapter_model.safetensors``) and ``changes`` (see ``training.one_pass.Change``:
by name of a tensor of the base its ``a``, ``b``, ``scale``, ``magnitude``, ``replacement``); and ``prefixes``, starts
of names to which newer versions of transformers add ``model.``, which the converter does not know.
Exit status: that of the converter; 1 when it has left out a tensor that the adapter changes.

The tensors are read, changed and written one by one, so merged weights exist neither on the disk nor in memory as a
whole. Sums are computed in 32 bits and rounded once, to the type of the file.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import typing as t


def changed(adapter: t.Any, change: t.Mapping[str, t.Any]) -> t.Callable[[t.Any], t.Any]:
    """Return the function that computes a tensor with the adapter in 32 bits from the base's.

    :param adapter: the open safetensors file.
    :param change: one entry of ``changes``.
    """
    import torch

    def read(key: str) -> t.Any:
        return adapter.get_tensor(change[key]).to(torch.float32)

    if change["replacement"]:
        return lambda weight: read("replacement")

    def merged(weight: t.Any) -> t.Any:
        # a copy, because the base's file is mapped read-only
        total = weight.to(torch.float32, copy=True)
        total.addmm_(read("b"), read("a"), alpha=change["scale"])
        if change["magnitude"]:
            lengths = torch.linalg.vector_norm(total, dim=1)
            total.mul_((read("magnitude") / lengths).unsqueeze(1))
        return total

    return merged


def patch_converter(
    adapter_file: str, changes: t.Mapping[str, t.Mapping[str, t.Any]], prefixes: t.Sequence[str]
) -> t.Callable[[], list[str]]:
    """Have the converter read changed tensors; it must be importable.

    :param prefixes: starts of names as the converter knows them.
    :returns: a function that names the tensors that the converter has not read.
    """
    import torch
    from conversion import base as converter
    from safetensors import safe_open

    adapter = safe_open(adapter_file, "pt")
    lazy, index_tensors = converter.LazyTorchTensor, converter.ModelBase.index_tensors
    used: set[str] = set()

    def pass_by(name: str, generator: t.Callable[[], t.Any]) -> t.Callable[[], t.Any]:
        if name not in changes:
            return generator
        compute = changed(adapter, changes[name])

        def generate() -> t.Any:
            used.add(name)
            weight = generator()
            meta = lazy.meta_with_dtype_and_shape(torch.float32, weight.shape)
            return lazy(meta=meta, args=(weight,), func=compute)

        return generate

    def index(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        # names are the checkpoint's before this filter, and the converter's own after it
        filter_tensors = self.filter_tensors

        def known(name: str) -> str:
            hub_name = name.removeprefix("model.")
            return hub_name if hub_name.startswith(tuple(prefixes)) else name

        self.filter_tensors = lambda item: filter_tensors((known(item[0]), pass_by(*item)))
        try:
            return index_tensors(self, *args, **kwargs)
        finally:
            del self.filter_tensors

    converter.ModelBase.index_tensors = index
    return lambda: sorted(set(changes) - used)


def main(argv: t.Sequence[str]) -> int:
    """Convert.

    :param argv: path of the converter, path of the changes, arguments of the converter.
    """
    converter, changes_file, *arguments = argv
    with open(changes_file, encoding="utf-8") as stream:
        request = json.load(stream)
    tree = os.path.dirname(os.path.abspath(converter))
    sys.path[:0] = [tree, os.path.join(tree, "gguf-py")]
    unused = patch_converter(request["adapter"], request["changes"], request["prefixes"])
    sys.argv = [converter, *arguments]
    try:
        runpy.run_path(converter, run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    left_over = unused()
    if left_over:
        names = ", ".join(left_over[:10])
        sys.stderr.write(f"The converter has left out {len(left_over)} tensors that the adapter changes: {names}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
