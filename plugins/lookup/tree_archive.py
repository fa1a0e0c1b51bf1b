# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: tree_archive
short_description: Pack directories of the controller into one archive
version_added: 0.1.0
description:
  - Gives a compressed tar archive in Base64, to be written to a host as one file. M(ansible.builtin.copy) takes about a
    second for each file of a directory, and leaves behind those that are gone from it.
  - The same files give the same archive, whatever their times and owners are, so that its digest tells whether anything
    has changed. What Python has compiled is left out.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _terms:
    description: The directories. Each is packed under its own name.
    type: list
    elements: path
    required: true
  names:
    description: The names to pack them under, in the same order, instead of their own.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Write a program and its library as one file
  ansible.builtin.copy:
    content: "{{ lookup('ia_homelab.llamafactory.tree_archive', 'src', 'vendor', names=['program', 'lib']) }}"
    dest: /opt/program.tar.gz.b64
    mode: "0644"
"""

RETURN = r"""
_raw:
  description: One archive, C(tar.gz) in Base64.
  type: list
  elements: str
"""

import base64
import gzip
import io
import os
import tarfile
import typing as t
from collections.abc import Iterator

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


def archive(trees: t.Mapping[str, str]) -> str:
    """A tar archive, compressed, in Base64.

    :param trees: directory by the name it is packed under.
    """
    packed = io.BytesIO()
    # neither when nor under what name it was packed is part of the result
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, directory in trees.items():
                for path in sorted(_files(directory)):
                    with open(path, "rb") as file:
                        entry = tarfile.TarInfo(f"{name}/{os.path.relpath(path, directory)}")
                        entry.size, entry.mode = os.fstat(file.fileno()).st_size, 0o644
                        tar.addfile(entry, file)
    return base64.b64encode(packed.getvalue()).decode("ascii")


def _files(directory: str) -> Iterator[str]:
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (os.path.join(folder, name) for name in names if not name.endswith(".pyc"))


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        found = [self.find_file_in_search_path(variables, "files", term, ignore_missing=True) for term in terms]
        missing = [term for term, path in zip(terms, found) if not path or not os.path.isdir(path)]
        if missing:
            raise AnsibleLookupError(f"tree_archive: there is no directory {missing[0]!r}.")
        names = self.get_option("names") or [os.path.basename(os.path.normpath(path)) for path in found]
        if len(names) != len(found) or len(set(names)) != len(names):
            raise AnsibleLookupError("tree_archive wants one name for each directory, and none twice.")
        return [archive(dict(zip(names, found)))]
