/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads that run a load. A crew has one worker per vCPU, pinned to that vCPU.
 *
 * While one crew sleeps on pages that are being read in, the other crews go on. More crews therefore mean
 * more faults in flight at once.
 */
#ifndef GUESTLOOP_CREW_H
#define GUESTLOOP_CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "region.h"

#define MAX_CREWS 16

struct load;
struct team;

struct worker {
	struct team *team;
	unsigned vcpu, crew;
	size_t first, pages; /* its range in region->order */
	uint64_t laps_begun; /* used only by this worker */
	_Alignas(64) atomic_ulong visits; /* since the start; also its position, for the others of its crew */
	atomic_ulong writes; /* pages written, each once for a visit that writes it */
	atomic_ulong laps;
};

/* Which pages a start visits: page p if p / grain % parts == part. {0, 1, 1} means all pages. */
struct share {
	uint64_t part, parts, grain;
};

struct team {
	const struct load *load;
	struct share share;
	struct region *region;
	unsigned crews, window, pace_us;
	uint64_t laps_wanted; /* 0: run until stopped */
	atomic_bool stop;
	atomic_ulong bad;
	bool running;
	struct worker workers[MAX_CREWS * MAX_VCPUS];
};

struct tally {
	uint64_t visits, writes, laps, bad; /* laps: those of the slowest worker */
	uint64_t per_vcpu[MAX_VCPUS];
};

/*
 * Divide the region's pages among the workers of a load. Each worker takes `pace_us` per page (0: as fast as
 * possible). In a shared load no worker gets more than `window` pages ahead of the others of its crew, so
 * that all of them fault on the same page at about the same time. (A barrier at each page would cost a
 * context switch per page where the vCPUs have to share a CPU.)
 */
void team_prepare(struct team *team, const struct load *load, struct region *region, unsigned crews,
		  unsigned window, unsigned pace_us);

/*
 * Start the threads for `laps` laps of each worker over a share of the pages (0: run until stopped). All
 * counts start at 0. Returns false if a thread cannot be created; no thread is left running then.
 */
bool team_start(struct team *team, uint64_t laps, struct share share);

/* Returns true if every worker has finished the laps that it was started for. */
bool team_finished(struct team *team);

/* Stop the threads and wait until they have ended. */
void team_stop(struct team *team);

/* Get what was done since the last start. */
struct tally team_tally(struct team *team);

#endif
