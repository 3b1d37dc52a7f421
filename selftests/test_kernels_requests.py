# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM_REQ_TLB_FLUSH is read from the source, whatever its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestloop.ground.errors import LabError
from guestloop.kernels.requests import flush_request, parse_flush_request

TINY = Path(__file__).with_name("data") / "kernels" / "tiny"


def test_value_of_6_12() -> None:
    assert flush_request(TINY) == 0x300


def test_number_and_flags_may_change() -> None:
    text = "#define KVM_REQUEST_WAIT BIT(12)\n#define KVM_REQ_TLB_FLUSH (7 | KVM_REQUEST_WAIT)\n"
    assert parse_flush_request(text) == 7 | 1 << 12


@pytest.mark.parametrize(
    "text",
    ["", "#define KVM_REQ_TLB_FLUSH KVM_ARCH_REQ(3)\n", "#define KVM_REQ_TLB_FLUSH (0 | KVM_REQUEST_WAIT)\n"],
)
def test_what_is_not_understood_is_an_error_not_a_guess(text: str) -> None:
    with pytest.raises(LabError, match="KVM_REQ_TLB_FLUSH"):
        parse_flush_request(text)
