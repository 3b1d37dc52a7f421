/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the region's pages are in guest-physical memory, so that L1 can look at them from outside. */
#ifndef GUESTLOOP_WHERE_H
#define GUESTLOOP_WHERE_H

#include <stdbool.h>

#include "region.h"

/*
 * Send lines `frames at=PAGE runs=FRAME+PAGES,...` that together cover the region in order. FRAME is the
 * guest-physical address / 4096, in hex. Returns false if the kernel does not report it: no root, no
 * CONFIG_PROC_PAGE_MONITOR, or a page that is not in memory.
 */
bool where_tell(const struct region *region);

#endif
