// SPDX-License-Identifier: GPL-2.0-or-later
#include "where.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "port.h"

/* Documentation/admin-guide/mm/pagemap.rst: one entry of 64 bits for each page of the address space. */
#define PRESENT (1ULL << 63)
#define FRAME_MASK ((1ULL << 55) - 1)
#define BATCH 512
#define RUN_BYTES 32 /* the longest run as text, with its comma */

struct run {
	uint64_t frame;
	size_t pages;
};

/* A line under construction: runs are added as long as another one is sure to fit. */
struct line {
	char text[LINE_BYTES - 64];
	size_t length, at, next; /* `at`: the first page in it, `next`: the first page that is not */
};

static void flush_line(struct line *line)
{
	if (line->length)
		say("frames at=%zu runs=%.*s", line->at, (int)line->length - 1, line->text);
	line->at = line->next;
	line->length = 0;
}

static void add_run(struct line *line, const struct run *run)
{
	if (!run->pages)
		return;
	if (line->length + RUN_BYTES > sizeof line->text)
		flush_line(line);
	line->length += snprintf(line->text + line->length, RUN_BYTES, "%llx+%zu,",
				 (unsigned long long)run->frame, run->pages);
	line->next += run->pages;
}

static bool tell_batch(struct line *line, struct run *run, const uint64_t *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t frame = entries[i] & FRAME_MASK;

		if (!(entries[i] & PRESENT) || !frame)
			return false;
		if (run->pages && frame == run->frame + run->pages) {
			run->pages++;
			continue;
		}
		add_run(line, run);
		*run = (struct run){ frame, 1 };
	}
	return true;
}

bool where_tell(const struct region *region)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entries[BATCH];
	struct line line = { .length = 0 };
	struct run run = { .pages = 0 };
	bool told = pagemap >= 0;

	for (size_t page = 0; told && page < region->pages; page += BATCH) {
		size_t count = region->pages - page < BATCH ? region->pages - page : BATCH;
		off_t offset = ((uintptr_t)region->memory / PAGE_BYTES + page) * sizeof *entries;

		told = pread(pagemap, entries, count * sizeof *entries, offset) ==
			       (ssize_t)(count * sizeof *entries) &&
		       tell_batch(&line, &run, entries, count);
	}
	if (told) {
		add_run(&line, &run);
		flush_line(&line);
	}
	if (pagemap >= 0)
		close(pagemap);
	return told;
}
