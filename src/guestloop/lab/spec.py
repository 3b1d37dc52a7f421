"""What a lab is told when it starts, and how a test finds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from guestloop.machines.host import Accelerator, Vendor
from guestloop.vm.l1 import L1Parts
from guestloop.vm.link import Keys

# How a test process finds the lab of its run and where results go.
SOCKET_VARIABLE = "GUESTLOOP_LAB"
OUT_VARIABLE = "GUESTLOOP_OUT"


@dataclass(frozen=True)
class LabSpec:
    """The L1s by kernel name, and the directory for their consoles.

    ``socket`` is a name in the abstract namespace: it has no file that could be left behind.
    ``requests`` gives the number of KVM_REQ_TLB_FLUSH per kernel.
    """

    socket: str
    directory: Path
    vendor: Vendor
    parts: Mapping[str, L1Parts]
    requests: Mapping[str, int]

    def dump(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), default=str)


def parse_lab_spec(text: str) -> LabSpec:
    """The inverse of ``LabSpec.dump``."""
    data = json.loads(text)
    return LabSpec(
        socket=data["socket"],
        directory=Path(data["directory"]),
        vendor=Vendor(data["vendor"]),
        parts={name: _parse_parts(part) for name, part in data["parts"].items()},
        requests=data["requests"],
    )


def _parse_parts(data: Mapping[str, str | Mapping[str, str]]) -> L1Parts:
    keys, plain = data["keys"], {key: str(value) for key, value in data.items() if key != "keys"}
    assert isinstance(keys, Mapping)
    return L1Parts(
        name=plain["name"],
        accelerator=Accelerator(plain["accelerator"]),
        program=Path(plain["program"]),
        kernel=Path(plain["kernel"]),
        build_id=plain["build_id"],
        root=Path(plain["root"]),
        payload=Path(plain["payload"]),
        keys=Keys(Path(keys["client"]), keys["host_public"]),
    )
