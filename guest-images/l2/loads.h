/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of loads. A new load is a visit function and a line in that table (loads.c). */
#ifndef GUESTLOOP_LOADS_H
#define GUESTLOOP_LOADS_H

#include <stdbool.h>
#include <stddef.h>

struct worker;

struct load {
	const char *name;
	bool writes; /* false: the pages are mapped read-only in the guest's own page tables */
	bool shared; /* true: all vCPUs visit the same pages in step; false: each has its own part */
	/* 0: visit single pages in random order. Otherwise visit groups of this many pages, last group first. */
	size_t group;
	/* Visit one page, or the group that begins with it. Returns false if it held wrong data. */
	bool (*visit)(struct worker *worker, size_t page);
};

/* Get the load with this name, or NULL. */
const struct load *find_load(const char *name);

#endif
