# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core's reader of GGUF headers and the ``gguf`` package of the converter's environment say the same.

The core reads headers on hosts without the package (docs/dependencies.md says where), so it has tables of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats import gguf

#: Prints the tables of the package.
_TABLES = """
import gguf, json
sizes = {int(kind): [kind.name, *size] for kind, size in gguf.GGML_QUANT_SIZES.items()}
print(json.dumps([sizes, {int(kind): kind.name.partition("_")[2] for kind in gguf.LlamaFileType}]))
"""

#: Writes a file with an array, a text and numbers, and a tensor of each type; prints what the package reads of it.
_WRITE_AND_READ = """
import gguf, json, numpy, sys
writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
writer.add_tokenizer_model("llama")
writer.add_token_list(["<unk>", "<s>", "</s>", "\\u00e9"])
writer.add_eos_token_id(2)
writer.add_add_bos_token(True)
writer.add_rope_freq_base(10000.0)
for kind, (values, width) in gguf.GGML_QUANT_SIZES.items():
    if kind.name != "Q8_1":
        writer.add_tensor(kind.name, numpy.zeros((2, 3 * width), numpy.uint8), raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
reader = gguf.GGUFReader(sys.argv[1])
tensors = {
    tensor.name: [[int(size) for size in tensor.shape], int(tensor.data_offset), int(tensor.n_bytes)]
    for tensor in reader.tensors
}
print(json.dumps([sorted(key for key in reader.fields if not key.startswith("GGUF.")), tensors]))
"""


def ask_package(code: str, *arguments: str) -> t.Any:
    """Run code with the converter's Python and return the JSON that it prints."""
    python = os.path.join(os.environ["IA_CONV_VENV"], "bin", "python")
    done = subprocess.run([python, "-c", code, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_the_tables_are_those_of_the_package() -> None:
    sizes, file_types = ask_package(_TABLES)
    known = {number: entry for number, entry in gguf.TENSOR_TYPES.items() if str(number) in sizes}
    # ggml-common.h: block_q8_1 has two 16-bit numbers; the package counts two of 32 bits. No file has this type.
    assert known.pop(9) == ("Q8_1", 32, 36)
    assert sizes.pop("9") == ["Q8_1", 32, 40]
    assert {str(number): list(entry) for number, entry in known.items()} == sizes
    named = {str(number): name for number, name in gguf.FILE_TYPES.items() if str(number) in file_types}
    assert file_types.pop("38") == f"{named.pop('38')}_MOE"
    # a file whose type the converter guessed
    assert file_types.pop("1024") == ""
    assert named == file_types


def test_a_file_of_the_package_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    keys, tensors = ask_package(_WRITE_AND_READ, str(path))
    info = gguf.read_header(str(path))
    gguf.check_complete(info)
    assert sorted(info.metadata) == keys
    assert (info.architecture, info.file_type, info.token("eos"), info.adds_bos) == ("llama", "Q4_K_M", "</s>", True)
    assert info.metadata["llama.rope.freq_base"] == 10000.0
    found = {one.name: [list(one.shape), info.data_offset + one.offset, one.size] for one in info.tensors}
    assert found == tensors
    assert {one.type_name for one in info.tensors} == set(tensors)
