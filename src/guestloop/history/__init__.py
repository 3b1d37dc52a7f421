# SPDX-License-Identifier: GPL-2.0-or-later
"""Many results over kernels and dates: what each kernel asks for in flushes for the same work of a guest.

``runs`` is what is kept of a result, ``store`` the file, ``series`` joins the runs of one setting. ``rates``
are per work of the guest. ``table`` is the CSV, ``record`` the command.
"""

from __future__ import annotations
