#include "loads.h"

#include <string.h>

#include "crew.h"
#include "region.h"

/* Another cache line on each lap, so that in time the load itself has looked at all of them. */
static size_t word_of_lap(const struct worker *worker)
{
	return worker->laps_begun * LINE_WORDS % PAGE_WORDS;
}

static bool visit_reading(struct worker *worker, size_t page)
{
	return region_check_word(worker->team->region, page, word_of_lap(worker), 0);
}

/* The ledger follows the write, so a write that gets lost shows on the next lap and in the check. */
static bool visit_writing(struct worker *worker, size_t page)
{
	struct region *region = worker->team->region;
	uint32_t *generation = &region->ledger[page * region->vcpus + worker->vcpu];
	size_t word = region_own_word(worker->vcpu);
	bool good = region_check_word(region, page, word, *generation);

	region->memory[page * PAGE_WORDS + word] = region_stamp(region, page, word, *generation + 1);
	++*generation;
	return good;
}

static const struct load loads[] = {
	{ "read-shared", .writes = false, .shared = true, .visit = visit_reading },
	{ "read-own", .writes = false, .shared = false, .visit = visit_reading },
	{ "write-shared", .writes = true, .shared = true, .visit = visit_writing },
};

const struct load *find_load(const char *name)
{
	for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
		if (strcmp(loads[i].name, name) == 0)
			return &loads[i];
	return NULL;
}
