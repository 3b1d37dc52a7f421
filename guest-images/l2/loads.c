// SPDX-License-Identifier: GPL-2.0-or-later
#include "loads.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "crew.h"
#include "region.h"

/* An interruption takes at least a hundred times as long as a write. */
#define INTERRUPTED_FACTOR 30
#define HOT_PAGES 64
#define LINGER_PAGES 16
#define KEEPING_PAUSE_NS 300000
#define FIRST_PASSES 4
#define MOST_PASSES 1000000

/* Use another cache line on each lap, so that over time the load checks all of them. */
static size_t word_of_lap(const struct worker *worker)
{
	return worker->laps_begun * LINE_WORDS % PAGE_WORDS;
}

static bool visit_reading(struct worker *worker, size_t page)
{
	return region_check_word(worker->team->region, page, word_of_lap(worker));
}

static bool check_and_write(struct worker *worker, size_t page, bool blind)
{
	bool good = region_check_own(worker->team->region, page, worker->vcpu);

	region_write_own(worker->team->region, page, worker->vcpu, blind);
	atomic_fetch_add_explicit(&worker->writes, 1, memory_order_relaxed);
	return good;
}

static bool visit_writing(struct worker *worker, size_t page)
{
	return check_and_write(worker, page, true);
}

static bool visit_chaining(struct worker *worker, size_t page)
{
	return check_and_write(worker, page, false);
}

/* From the second lap on, only check that what was written is still there. */
static bool visit_once(struct worker *worker, size_t page)
{
	if (worker->laps_begun == 1)
		return check_and_write(worker, page, true);
	return region_check_own(worker->team->region, page, worker->vcpu);
}

/* With each page also write a hot page: the first few of the worker's own pages are written all the time. */
static bool visit_hot_and_cold(struct worker *worker, size_t page)
{
	size_t few = worker->pages < HOT_PAGES ? worker->pages : HOT_PAGES;
	size_t hot = worker->team->region->order[worker->first + page % few];
	bool good = check_and_write(worker, hot, true);

	return check_and_write(worker, page, true) && good;
}

/* Each vCPU runs a different load. */
static bool visit_mixed(struct worker *worker, size_t page)
{
	static bool (*const visits[])(struct worker *, size_t) = {
		visit_writing, visit_chaining, visit_once, visit_hot_and_cold,
	};

	return visits[worker->vcpu % (sizeof visits / sizeof *visits)](worker, page);
}

/* Visit the same few pages again and again, so that some of them are always dirty. */
static bool visit_keeping(struct worker *worker)
{
	struct timespec pause = { .tv_nsec = KEEPING_PAUSE_NS };
	bool good = true;

	for (size_t i = 0; i < HOT_PAGES && i < worker->pages; i++)
		good &= check_and_write(worker, worker->first + i, true);
	nanosleep(&pause, NULL);
	return good;
}

/*
 * Rewrite a group of pages until this vCPU is interrupted, then leave the group alone for a whole lap.
 *
 * A translation that should have been flushed may be used until something else flushes it, at worst until
 * the next exit. A write through it is lost for good only if it is the last write to its page. An exit is
 * detected by the time that it takes. One vCPU does this. The others keep dirtying pages, so that a migration
 * does not converge first.
 */
static bool visit_lingering(struct worker *worker, size_t first)
{
	struct region *region = worker->team->region;
	uint64_t last, now, shortest = UINT64_MAX;
	size_t pages = region->pages - first < LINGER_PAGES ? region->pages - first : LINGER_PAGES;
	bool good = true;

	if (worker->vcpu)
		return visit_keeping(worker);
	for (size_t i = 0; i < pages; i++)
		good &= check_and_write(worker, first + i, true);
	last = __builtin_ia32_rdtsc();
	for (unsigned pass = 0; pass < MOST_PASSES; pass++)
		for (size_t i = 0; i < pages; i++) {
			region_write_own(region, first + i, worker->vcpu, true);
			now = __builtin_ia32_rdtsc();
			if (pass >= FIRST_PASSES && now - last > INTERRUPTED_FACTOR * shortest)
				return good;
			if (pass < FIRST_PASSES && now - last < shortest)
				shortest = now - last;
			last = now;
			if (atomic_load_explicit(&worker->team->stop, memory_order_relaxed))
				return good;
		}
	return good;
}

static const struct load loads[] = {
	{ "read-shared", .writes = false, .shared = true, .visit = visit_reading },
	{ "read-own", .writes = false, .shared = false, .visit = visit_reading },
	{ "write-shared", .writes = true, .shared = true, .visit = visit_writing },
	{ "hot", .writes = true, .shared = true, .visit = visit_hot_and_cold },
	{ "sweep", .writes = true, .shared = true, .visit = visit_writing },
	{ "once", .writes = true, .shared = true, .visit = visit_once },
	{ "chain", .writes = true, .shared = true, .visit = visit_chaining },
	{ "mix", .writes = true, .shared = true, .visit = visit_mixed },
	{ "linger", .writes = true, .shared = false, .visit = visit_lingering, .group = LINGER_PAGES },
};

const struct load *find_load(const char *name)
{
	for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
		if (strcmp(loads[i].name, name) == 0)
			return &loads[i];
	return NULL;
}
