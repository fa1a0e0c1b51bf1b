# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints. The golden values are frozen: if one of them changes, every user must retrain every model."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import (
    SCHEME,
    canonical_json,
    digest,
    fingerprint,
)

BASE, DATASET = "b" * 64, "d" * 64

SYSTEM = "Tu es l'assistant du homelab : réponds en français."

GOLDEN: list[tuple[str, dict[str, t.Any], dict[str, str], str]] = [
    (
        "base",
        {"source": "hub", "repo": "Qwen/Qwen2.5-0.5B-Instruct", "commit": "7ae557604adf67be50417f59c2c2f167def9a775"},
        {},
        "6547abde7da7a83647464991d145abb6ad074bfa1ba5b59edc40cef64e9c4617",
    ),
    (
        "dataset",
        {"format": "alpaca", "rows": "0" * 64},
        {},
        "6403939e92854495c6bb288db4c5819ce7918ab85130f4e897065594a19e9bb9",
    ),
    # printf '{"scheme":1,"settings":{},"step":"train","upstream":{"base":"bbb…","dataset":"ddd…"}}' | sha256sum
    (
        "train",
        {},
        {"base": BASE, "dataset": DATASET},
        "b89d9c847e21ac7fec0fc3ab91e1a9a99d9ccc6b4f57cff165a47cf7ecd71a6d",
    ),
    (
        "train",
        {"lora_rank": 8, "learning_rate": 1e-4, "epochs": 5, "extra": {"warmup_ratio": 0.1}},
        {"base": BASE, "dataset": DATASET},
        "1653e9749221dfaa0745f7bc28c927ec518cfe1dc530f823a4546d4da1ba560e",
    ),
    (
        "merge",
        {},
        {"base": BASE, "train": "7" * 64},
        "741306c98aa4e6b4bc53448cf0a8f99c4fa4788455cf4537207c2e353e3eed26",
    ),
    # printf '{"scheme":1,"settings":{"quantization":"q4_K_M"},"step":"gguf","upstream":{"merge":"333…"}}' | sha256sum
    (
        "gguf",
        {"quantization": "q4_K_M"},
        {"merge": "3" * 64},
        "493747dde58ee7905de73ee18762dd7cd92037b7664c8cf2025e732ab8fc33d0",
    ),
    (
        "register",
        {"name": "homelab-model", "system": SYSTEM, "parameters": {"temperature": 0.0, "stop": ["<|im_end|>"]}},
        {"gguf": "6" * 64},
        "e8cdc42bcc3ac507924476028a8ba83957518f3c7d813dc5c4da4f7bd85aa67a",
    ),
]


@pytest.mark.parametrize(("kind", "settings", "upstream", "expected"), GOLDEN)
def test_golden_fingerprints(kind: str, settings: dict[str, t.Any], upstream: dict[str, str], expected: str) -> None:
    assert fingerprint(kind, settings, upstream) == expected


def test_the_scheme_is_unchanged() -> None:
    assert SCHEME == 1


def test_the_canonical_form() -> None:
    value = {"b": [1.0, 0.0002, True, None, "é\n"], "a": {"y": None, "x": -0.0}, "c": 2**60, "d": 1e300}
    assert canonical_json(value) == '{"a":{"x":0},"b":[1,0.0002,true,null,"é\\n"],"c":1152921504606846976,"d":1e+300}'


def test_equal_declarations_have_equal_fingerprints() -> None:
    value = fingerprint("train", {"epochs": 3, "rate": 2e-4, "extra": {"a": 1, "b": None}}, {"base": BASE})
    assert value == fingerprint("train", {"extra": {"a": 1.0}, "rate": 0.0002, "epochs": 3.0}, {"base": BASE})
    assert value != fingerprint("train", {"epochs": "3", "rate": 2e-4, "extra": {"a": 1}}, {"base": BASE})
    assert value != fingerprint("merge", {"epochs": 3, "rate": 2e-4, "extra": {"a": 1}}, {"base": BASE})
    assert value != fingerprint("train", {"epochs": 3, "rate": 2e-4, "extra": {"a": 1}}, {"base": DATASET})
    assert fingerprint("x", {"a": True}, {}) != fingerprint("x", {"a": 1}, {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), {1, 2}, b"x", object(), "\ud800"])
def test_values_that_cannot_be_declared(value: object) -> None:
    with pytest.raises(InputError):
        digest({"a": [value]})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('abcé"\\'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc"), json_values), st.randoms())
def test_order_and_unset_values_do_not_matter(value: dict[str, t.Any], random: t.Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)
    assert digest({**value, "later": None}) == digest(value)


@given(json_values, json_values)
def test_different_canonical_forms_have_different_digests(one: t.Any, other: t.Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (digest(one) == digest(other))
