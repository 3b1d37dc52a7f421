# SPDX-License-Identifier: GPL-2.0-or-later
"""Many results over kernels and dates: what each kernel asks for in flushes for the same work of a guest.

* What is kept: ``runs`` says what of a result, ``store`` is the file, ``series`` joins the runs of a setting.
* What is said: ``rates`` are of one cell, by the work of its guest. ``workloads`` are cells that belong
  together, ``pooled`` makes one rate of theirs, and ``trends`` finds where it changed, by ``pairs`` of
  rounds. ``neighbours`` has the verdict on each kernel against the one before it.
* What is made: ``table`` is the CSV. ``page`` fills the template with ``changes``, ``sections`` of plots, of
  which each is a ``chart``, and the ``matrix`` of cells. ``scatter`` is what calibration can learn from.
  ``record`` is the command, ``options`` are its words.
"""

from __future__ import annotations
