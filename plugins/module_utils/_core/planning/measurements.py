# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that measure GGUF files with llama.cpp: how many tokens they read, and whether the programs are there."""

from __future__ import annotations

import os
import typing as t

from ..base_models.entry import Shape
from ..errors import InputError, NotReadyError
from ..estimates import duration, measurements
from ..runs.spec import Toolchain
from ..training.hyperparameters import Hyperparameters
from ..training.known_names import DIRECT_QUANTIZATIONS, NEED_IMATRIX
from .pipeline import Imatrix, Likelihood

#: Which rows quantized files are compared on (``steps.likelihood``).
VALIDATION, HELD_OUT, OTHERS = "validation", "held_out", "others"
#: Tokens that an importance matrix is made from: 64 pieces of 512.
IMATRIX_TOKENS = 32768
#: Tokens on which quantized files are compared: 16 pieces of 512, of which half of the tokens is predicted. The
#: probabilities of the 16-bit file take as many bytes for each as the vocabulary has tokens.
LIKELIHOOD_TOKENS = 8192
#: Increased when the same tokens give another matrix, or other figures.
_MATRIX_RECIPE = 1
_LIKELIHOOD_RECIPE = 1


def imatrix(
    hyper: Hyperparameters, dataset: str, results: t.Mapping[str, t.Any], shape: Shape | None, toolchain: Toolchain
) -> Imatrix | None:
    """Return the importance matrix of a fine-tune; None if none is declared.

    :param dataset: fingerprint of the dataset; :param results: its statistics.
    :param shape: shape of the base model; None if it is unknown.
    :raises NotReadyError: if llama.cpp was installed without the program.
    """
    if not hyper["imatrix"]:
        return None
    require_program(toolchain, "llama-imatrix", "imatrix")
    settings = {"tokens": IMATRIX_TOKENS, "recipe": _MATRIX_RECIPE}
    tokens = _tokens(hyper, results, 1.0, IMATRIX_TOKENS)
    takes = {"takes": measurements.imatrix(shape, tokens).as_dict()} if shape else {}
    return Imatrix(dataset, settings, takes)


def _tokens(hyper: Hyperparameters, results: t.Mapping[str, t.Any], share: float, most: int) -> float:
    """Return how many tokens of a dataset are read, as far as its size tells.

    :param share: share of its rows; :param most: the largest number.
    """
    tokens = duration.total_tokens(results, share, int(hyper["cutoff_len"]))
    return most if tokens is None else min(most, tokens)


def likelihood(
    hyper: Hyperparameters,
    dataset: str,
    results: t.Mapping[str, t.Any],
    rows: str,
    shape: Shape | None,
    toolchain: Toolchain,
) -> Likelihood:
    """Return the comparison of the quantized files of a fine-tune with the 16-bit one.

    :param dataset: fingerprint of the dataset whose rows they read; :param results: its statistics.
    :param rows: which of them (:func:`rows_for`).
    :param shape: shape of the base model; None if it is unknown.
    :raises NotReadyError: if llama.cpp was installed without the program.
    """
    require_program(toolchain, "llama-perplexity", "evaluation.likelihood")
    settings = {"tokens": LIKELIHOOD_TOKENS, "recipe": _LIKELIHOOD_RECIPE, "rows": rows}
    share = {HELD_OUT: hyper["held_out"], VALIDATION: hyper["validation_share"]}.get(rows, 1.0)
    tokens = _tokens(hyper, results, float(share), LIKELIHOOD_TOKENS)
    files = sum(name != "f16" for name in hyper.quantizations)
    takes = {"takes": measurements.likelihood(shape, LIKELIHOOD_TOKENS, tokens, files).as_dict()} if shape else {}
    return Likelihood(dataset, settings, takes)


def rows_for(name: str, hyper: Hyperparameters, others: bool) -> str:
    """Return which rows that are not trained on quantized files are compared on.

    :param name: name of the fine-tune.
    :param others: whether a dataset that is not trained on is declared.
    :raises InputError: if there are none.
    """
    if others:
        return OTHERS
    if hyper["held_out"]:
        return HELD_OUT
    if hyper["validation_share"]:
        return VALIDATION
    raise InputError("planning.likelihood_without_rows", name=name)


def check_comparable(name: str, export: str, quantizations: t.Sequence[str]) -> None:
    """Check that there are quantized files of this fine-tune to compare with the 16-bit one.

    :param name: name of the fine-tune.
    :raises InputError: if not.
    """
    if export == "adapter":
        raise InputError("planning.likelihood_of_shared_base", name=name)
    if all(each in DIRECT_QUANTIZATIONS for each in quantizations):
        raise InputError("planning.nothing_to_compare", name=name, quantizations=list(quantizations))


def check_base_type(name: str, quantization: str) -> None:
    """Check that the base can be quantized as the fine-tune, to compare them: it has no rows for an importance matrix.

    :param name: name of the fine-tune.
    :param quantization: the type declared first.
    :raises InputError: if it cannot.
    """
    if quantization in NEED_IMATRIX:
        raise InputError("planning.base_needs_imatrix", name=name, type=quantization)


def require_program(toolchain: Toolchain, program: str, option: str) -> None:
    """Check that a program of llama.cpp is installed, which earlier versions of this collection did not build.

    An image is not looked into, and llama.cpp that is not there at all is reported by the steps.

    :param option: the option that needs it.
    :raises NotReadyError: if it is not.
    """
    directory = os.path.join(toolchain.llama_cpp_dir, "bin")
    if toolchain.llama_cpp_image or not toolchain.llama_cpp_dir or not os.path.isdir(directory):
        return
    if not os.path.exists(os.path.join(directory, program)):
        raise NotReadyError("planning.program_missing", program=program, directory=directory, option=option)
