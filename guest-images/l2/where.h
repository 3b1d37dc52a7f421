/* Where the pages of the region are in the guest's physical memory, for whoever looks from outside. */
#ifndef GUESTLOOP_WHERE_H
#define GUESTLOOP_WHERE_H

#include <stdbool.h>

#include "region.h"

/*
 * Say lines `frames at=PAGE runs=FRAME+PAGES,...` (FRAME in hex: guest physical address / 4096) that together
 * cover the region in order. False when the kernel does not tell (no root, no PROC_PAGE_MONITOR, a page
 * that is not in memory).
 */
bool where_tell(const struct region *region);

#endif
