/* The loads, as a table: a new one is a visit function and a line here. */
#ifndef GUESTLOOP_LOADS_H
#define GUESTLOOP_LOADS_H

#include <stdbool.h>
#include <stddef.h>

struct worker;

struct load {
	const char *name;
	bool writes; /* false: the pages are mapped read-only in the guest's own page tables */
	bool shared; /* true: all vCPUs visit the same pages in step; false: each has its own part */
	/* 0: pages are visited one by one in random order; else so many at once, from the last group down. */
	size_t group;
	/* Visit one page, or the group that begins with it; false when something wrong was in it. */
	bool (*visit)(struct worker *worker, size_t page);
};

/* The load of this name, or NULL. */
const struct load *find_load(const char *name);

#endif
