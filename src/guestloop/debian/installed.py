# SPDX-License-Identifier: GPL-2.0-or-later
"""What dpkg knows of an installed package."""

from __future__ import annotations

from guestloop.ground import proc
from guestloop.ground.errors import LabError


def query_installed(package: str, *fields: str, what: str = "package", hint: str) -> list[str]:
    """Return fields of an installed package, as dpkg-query names them.

    Raises LabError if the package is not installed, and with ``hint`` on a machine without dpkg.
    """
    query = proc.find_program("dpkg-query", hint=hint)
    form = "\\n".join(f"${{{field}}}" for field in ("db:Status-Status", *fields))
    found = proc.read([query, "-W", "-f", form, package], check=False)
    state, *values = found.lines or [""]
    if found.status != 0 or state != "installed":
        raise LabError(f"{what} {package} is not installed", hint=f"apt-get install {package}")
    return values
