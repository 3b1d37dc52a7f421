/*
 * The threads that run a load: one worker for each vCPU in each crew, pinned to its vCPU.
 *
 * A crew is one worker per vCPU. While one crew sleeps on pages that are being read in, others go
 * on, so more crews mean more faults under way at once.
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
	size_t first, pages; /* its part of region->order */
	uint64_t laps_begun; /* by this worker alone */
	_Alignas(64) atomic_ulong visits; /* since the start: also where it is, for the others of its crew */
	atomic_ulong laps;
};

/* Which pages a start visits: page p when p / grain % parts == part. All of them: {0, 1, 1}. */
struct share {
	uint64_t part, parts, grain;
};

struct team {
	const struct load *load;
	struct share share;
	struct region *region;
	unsigned crews, window, pace_us;
	uint64_t laps_wanted; /* 0: until stopped */
	atomic_bool stop;
	atomic_ulong bad;
	bool running;
	struct worker workers[MAX_CREWS * MAX_VCPUS];
};

struct tally {
	uint64_t visits, laps, bad; /* laps: of the slowest worker */
	uint64_t per_vcpu[MAX_VCPUS];
};

/*
 * Divide the region's pages among the workers of a load. Each worker takes `pace_us` per page (0: as fast
 * as it can). In a shared load no worker gets more than `window` pages ahead of the others of its crew, so
 * that all fault on the same page at about the same time. (A barrier at each page would cost a switch of threads per page where the vCPUs
 * themselves have to share a CPU.)
 */
void team_prepare(struct team *team, const struct load *load, struct region *region, unsigned crews,
		  unsigned window, unsigned pace_us);

/*
 * Start the threads, counting from 0, for so many laps of each worker (0: until stopped) over a share of
 * the pages. False when one cannot be made (none is left then).
 */
bool team_start(struct team *team, uint64_t laps, struct share share);

/* Whether every worker has done the laps it was started for. */
bool team_finished(struct team *team);

/* Stop them and wait until they have ended. */
void team_stop(struct team *team);

/* What was done since the last start. */
struct tally team_tally(struct team *team);

#endif
