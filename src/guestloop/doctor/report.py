# SPDX-License-Identifier: GPL-2.0-or-later
"""All lines together: as text, as JSON, as labels, and as an exit status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guestloop.doctor.check import Check
from guestloop.doctor.facts import Facts
from guestloop.doctor.hardware import check_hardware
from guestloop.doctor.room import check_room, has_room
from guestloop.doctor.surroundings import check_surroundings
from guestloop.ground.codec import encode
from guestloop.ground.errors import Exit
from guestloop.machines.choice import KINDS, labels

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Report:
    """What the doctor found. ``labels`` are those that a scheduler wants."""

    facts: Facts
    checks: tuple[Check, ...]
    labels: tuple[str, ...]
    exit_status: Exit


def examine(facts: Facts) -> Report:
    """Every line about these facts."""
    checks = [*check_hardware(facts), *check_surroundings(facts), *check_room(facts)]
    status = Exit.OK if has_room(checks) else Exit.LAB
    return Report(facts, tuple(checks), labels(facts.host), status)


def render_text(report: Report) -> str:
    return "\n".join(map(str, report.checks))


def render_json(report: Report) -> str:
    """Everything, for programs."""
    return json.dumps(_data(report), indent=1, sort_keys=True)


def _data(report: Report) -> Mapping[str, Any]:
    host, facts = report.facts.host, encode(report.facts)
    facts["host"]["flags"].sort()
    return {
        "schema_version": SCHEMA_VERSION,
        "exit_status": int(report.exit_status),
        "features": list(report.labels),
        "accelerators": {kind.name: kind.availability(host).usable for kind in KINDS},
        "checks": encode(list(report.checks)),
        "facts": facts,
    }
