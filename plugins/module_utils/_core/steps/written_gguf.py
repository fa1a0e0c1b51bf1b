# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The GGUF file that a program has written: an exit status of 0 does not prove that it is there and complete."""

from __future__ import annotations

import contextlib
import typing as t

from ..errors import JobError, NotReadyError, StoreError
from ..formats.gguf import GgufInfo, check_complete, read_header


@contextlib.contextmanager
def as_errors_of_job(missing: str) -> t.Iterator[None]:
    """Raise what is wrong with the output of a step as errors of its job.

    :param missing: code of the error if there is no output.
    """
    try:
        yield
    except NotReadyError as error:
        raise JobError(missing) from error
    except StoreError as error:
        raise JobError("steps.gguf_incomplete", problem=error.content, details=error.details) from error


def read_complete(path: str) -> GgufInfo:
    """Return the header of a complete file.

    :raises NotReadyError: when there is no file.
    :raises StoreError: when it is incomplete.
    """
    info = read_header(path)
    check_complete(info)
    return info
