# SPDX-License-Identifier: GPL-2.0-or-later
"""Idle-page aging: which pages of an L2 does L1 take for idle, and what does finding out cost?

Between the two ends of a scan the vCPUs touch a known half of a region and leave the other half
alone; in the next scan it is the other way round. Each driver then says what it believes, page by page.

* reclaim: the classic LRU (mm/vmscan.c: shrink_folio_list, shrink_active_list) asks
  ``folio_referenced()`` (mm/rmap.c), whose notifier is ``clear_flush_young``: the one that flushes.
* page-idle, MGLRU and DAMON use ``clear_young`` and ``test_young``, which do not flush (virt/kvm/kvm_main.c).

A driver is one file in ``drivers/``, see driver.py.
"""

from guestloop.workloads.aging.cells import AXES, scene_of
from guestloop.workloads.aging.driver import Scene
from guestloop.workloads.aging.round import measure, run

__all__ = ["AXES", "Scene", "measure", "run", "scene_of"]
