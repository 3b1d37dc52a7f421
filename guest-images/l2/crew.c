// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE
#include "crew.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "loads.h"

/* How often a worker checks on the others before it yields the vCPU to another crew. */
#define SPINS 200
/* After so many turns it is no longer a matter of microseconds. */
#define PATIENT_TURNS 2000
#define PATIENT_PAUSE_NS 5000000
#define PACED_PAGES 8

static pthread_t threads[MAX_CREWS * MAX_VCPUS];

static unsigned worker_count(const struct team *team)
{
	return team->crews * team->region->vcpus;
}

/* Assign part `index` of `count` parts of the pages, as equal in size as possible. */
static void assign(struct worker *worker, size_t pages, unsigned index, unsigned count)
{
	worker->first = pages * index / count;
	worker->pages = pages * (index + 1) / count - worker->first;
}

void team_prepare(struct team *team, const struct load *load, struct region *region, unsigned crews,
		  unsigned window, unsigned pace_us)
{
	memset(team, 0, sizeof *team);
	team->load = load;
	team->region = region;
	team->crews = crews;
	team->window = window;
	team->pace_us = pace_us;
	for (unsigned i = 0; i < worker_count(team); i++) {
		struct worker *worker = &team->workers[i];

		worker->team = team;
		worker->vcpu = i % region->vcpus;
		worker->crew = i / region->vcpus;
		if (load->shared)
			assign(worker, region->pages, worker->crew, crews);
		else
			assign(worker, region->pages, i, worker_count(team));
	}
}

/*
 * A worker that waits for one whose page never comes must not keep the CPU busy: whoever watches the guest
 * from outside could not tell it from one that is at work.
 */
static void let_others_run(unsigned turns)
{
	struct timespec pause = { .tv_nsec = PATIENT_PAUSE_NS };

	if (turns < PATIENT_TURNS)
		sched_yield();
	else
		nanosleep(&pause, NULL);
}

/* Wait until no worker of the crew is `window` pages behind. Returns false if the load is being stopped. */
static bool keep_step(struct worker *worker, const struct worker *crew)
{
	struct team *team = worker->team;
	uint64_t mine = atomic_load_explicit(&worker->visits, memory_order_relaxed);

	for (unsigned other = 0; other < team->region->vcpus; other++)
		for (unsigned spins = 1;; spins++) {
			if (atomic_load_explicit(&team->stop, memory_order_relaxed))
				return false;
			if (mine < atomic_load_explicit(&crew[other].visits, memory_order_relaxed) + team->window)
				break;
			if (spins % SPINS == 0)
				let_others_run(spins / SPINS);
			__builtin_ia32_pause();
		}
	return true;
}

/* For the calling thread. Pinning fails, harmlessly, where tests run on fewer CPUs. */
static void settle_on(unsigned vcpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(vcpu, &set);
	sched_setaffinity(0, sizeof set, &set);
	/* Drop the priority inherited from the main thread, which alone needs it to receive commands. */
	setpriority(PRIO_PROCESS, 0, 0);
}

static bool is_in(const struct share *share, size_t page)
{
	return page / share->grain % share->parts == share->part;
}

/* The page to visit at a step of a lap. */
static size_t page_at(const struct worker *worker, size_t step)
{
	size_t group = worker->team->load->group;

	if (!group)
		return worker->team->region->order[worker->first + step];
	/* Downwards: a migration sends dirty pages in ascending order, so the two meet. */
	return worker->first + (worker->pages - 1 - step) / group * group;
}

/* Pause after several pages, because the timer is too coarse for a pause after each page. */
static void keep_pace(const struct worker *worker, size_t step)
{
	struct timespec pause = { .tv_nsec = PACED_PAGES * worker->team->pace_us * 1000L };

	if (pause.tv_nsec && step % PACED_PAGES == PACED_PAGES - 1)
		nanosleep(&pause, NULL);
}

static bool visit_all(struct worker *worker)
{
	struct team *team = worker->team;
	const struct worker *crew = &team->workers[worker->crew * team->region->vcpus];

	for (size_t i = 0; i < worker->pages; i++) {
		if (atomic_load_explicit(&team->stop, memory_order_relaxed))
			return false;
		if (!is_in(&team->share, team->region->order[worker->first + i]))
			continue;
		if (team->load->shared && !keep_step(worker, crew))
			return false;
		if (!team->load->visit(worker, page_at(worker, i)))
			atomic_fetch_add(&team->bad, 1);
		atomic_fetch_add_explicit(&worker->visits, 1, memory_order_relaxed);
		keep_pace(worker, i);
	}
	return true;
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	settle_on(worker->vcpu);
	for (worker->laps_begun = 1; visit_all(worker); worker->laps_begun++)
		if (atomic_fetch_add(&worker->laps, 1) + 1 == worker->team->laps_wanted)
			break;
	return NULL;
}

static void stop_first(struct team *team, unsigned count)
{
	atomic_store(&team->stop, true);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	team->running = false;
}

static void forget_counts(struct team *team)
{
	atomic_store(&team->stop, false);
	atomic_store(&team->bad, 0);
	for (unsigned i = 0; i < worker_count(team); i++) {
		atomic_store(&team->workers[i].visits, 0);
		atomic_store(&team->workers[i].writes, 0);
		atomic_store(&team->workers[i].laps, 0);
	}
}

bool team_start(struct team *team, uint64_t laps, struct share share)
{
	forget_counts(team);
	team->share = share;
	team->laps_wanted = laps;
	for (unsigned i = 0; i < worker_count(team); i++)
		if (pthread_create(&threads[i], NULL, work, &team->workers[i])) {
			stop_first(team, i);
			return false;
		}
	team->running = true;
	return true;
}

void team_stop(struct team *team)
{
	if (team->running)
		stop_first(team, worker_count(team));
}

struct tally team_tally(struct team *team)
{
	struct tally tally = { .laps = UINT64_MAX, .bad = atomic_load(&team->bad) };

	for (unsigned i = 0; i < worker_count(team); i++) {
		uint64_t visits = atomic_load(&team->workers[i].visits);
		uint64_t laps = atomic_load(&team->workers[i].laps);

		tally.visits += visits;
		tally.writes += atomic_load(&team->workers[i].writes);
		tally.per_vcpu[team->workers[i].vcpu] += visits;
		if (laps < tally.laps)
			tally.laps = laps;
	}
	return tally;
}

bool team_finished(struct team *team)
{
	return team->laps_wanted && team_tally(team).laps >= team->laps_wanted;
}
