# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: tree_archive
short_description: Pack directories on the controller into one archive
version_added: 0.1.0
description:
  - Returns a compressed tar archive in Base64, to be written to a host as one file. M(ansible.builtin.copy) takes about
    a second for each file of a directory, and does not remove files that no longer exist in the source.
  - The archive depends only on names and content of the files, not on their times and owners, so that its digest shows
    whether anything has changed. Compiled Python files are left out.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _terms:
    description: The directories. Each is packed under its own name.
    type: list
    elements: path
    required: true
  names:
    description: Names of the directories in the archive, in the same order, instead of their own names.
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
    """Return a compressed tar archive in Base64.

    :param trees: path of each directory by its name in the archive.
    """
    packed = io.BytesIO()
    # without time and file name in the header, equal content gives equal bytes
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
        directories = [self.find_file_in_search_path(variables, "files", term, ignore_missing=True) for term in terms]
        missing = [term for term, path in zip(terms, directories) if not path or not os.path.isdir(path)]
        if missing:
            raise AnsibleLookupError(f"tree_archive: there is no directory {missing[0]!r}.")
        names = self.get_option("names") or [os.path.basename(os.path.normpath(path)) for path in directories]
        if len(names) != len(directories) or len(set(names)) != len(names):
            raise AnsibleLookupError("tree_archive expects one unique name for each directory.")
        return [archive(dict(zip(names, directories)))]
