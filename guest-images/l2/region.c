// SPDX-License-Identifier: GPL-2.0-or-later
#define _GNU_SOURCE
#include "region.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "port.h"

#define HUGE_BYTES (2UL << 20)
#define SPARE_MIB 4

/* Knuth's MMIX generator. Any factor that is 1 modulo 4 would do. */
#define CHAIN_FACTOR 6364136223846793005UL
#define CHAIN_TERM 1442695040888963407UL

static atomic_uint reports;

/* splitmix64's finaliser. It is cheap, and every bit of the result depends on every bit of the input. */
static uint64_t mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
	value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
	return value ^ (value >> 31);
}

static volatile uint64_t *page_words(const struct region *region, size_t page)
{
	return region->memory + page * PAGE_WORDS;
}

/* stamps.py in src/guestloop/workloads/migration inverts this to get the generation from a stamp. */
static uint64_t stamp(const struct region *region, size_t page, size_t word, uint64_t generation)
{
	if (word == 0)
		return (uintptr_t)page_words(region, page);
	return mix(region->seed * 0x9e3779b97f4a7c15 + (page << 9 | word) + (generation << 32));
}

static uint64_t chain_next(uint64_t value)
{
	return value * CHAIN_FACTOR + CHAIN_TERM;
}

/* Apply chain_next() `times` times, in as many steps as that number has bits. */
static uint64_t chain_after(uint64_t value, uint64_t times)
{
	uint64_t factor = CHAIN_FACTOR, term = CHAIN_TERM;

	for (; times; times >>= 1) {
		if (times & 1)
			value = value * factor + term;
		term *= factor + 1;
		factor *= factor;
	}
	return value;
}

static uint64_t *ledger_entry(const struct region *region, size_t page, unsigned vcpu)
{
	return &region->ledger[page * region->vcpus + vcpu];
}

/* The index of the first word of a page that belongs to this vCPU. The last one has no line of its own. */
static size_t own_word(unsigned vcpu)
{
	return vcpu < MAX_VCPUS - 1 ? (1 + vcpu) * LINE_WORDS : 1;
}

static uint64_t expected(const struct region *region, size_t page, size_t word)
{
	size_t line = word / LINE_WORDS, in_line = word % LINE_WORDS;
	uint64_t generation;

	if (word == 0)
		return stamp(region, page, word, 0);
	if (line == 0) {
		line = MAX_VCPUS;
		in_line--;
	}
	if (line > region->vcpus || in_line >= OWN_WORDS)
		return stamp(region, page, word, 0);
	generation = *ledger_entry(region, page, line - 1);
	if (in_line == 0)
		return stamp(region, page, word, generation);
	return in_line == 1 ? generation : chain_after(stamp(region, page, word, 0), generation);
}

static void stamp_all(struct region *region)
{
	for (size_t page = 0; page < region->pages; page++)
		for (size_t word = 0; word < PAGE_WORDS; word++)
			page_words(region, page)[word] = expected(region, page, word);
}

/* Fisher-Yates shuffle. The same seed results in the same order in every guest. */
static void shuffle(struct region *region)
{
	for (size_t i = 0; i < region->pages; i++)
		region->order[i] = i;
	for (size_t i = region->pages - 1; i > 0; i--) {
		size_t other = mix(region->seed + i) % (i + 1);
		uint32_t kept = region->order[i];

		region->order[i] = region->order[other];
		region->order[other] = kept;
	}
}

static bool map(struct region *region, const struct region_wish *wish)
{
	size_t bytes = wish->mib << 20;
	uintptr_t start;

	region->mapped_bytes = bytes + HUGE_BYTES;
	region->mapped = mmap(NULL, region->mapped_bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (region->mapped == MAP_FAILED)
		return false;
	start = ((uintptr_t)region->mapped + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	region->memory = (volatile uint64_t *)start;
	region->pages = bytes / PAGE_BYTES;
	/* EINVAL: a kernel without transparent huge pages. That is fine if none are wanted. */
	return !madvise((void *)start, bytes, wish->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) || !wish->huge;
}

static bool fits(const struct region_wish *wish)
{
	/* Refuse now, because running out of memory while stamping would make the guest panic. */
	struct sysinfo info;

	return sysinfo(&info) || (wish->mib + SPARE_MIB) << 20 < info.freeram * info.mem_unit;
}

bool region_make(struct region *region, const struct region_wish *wish)
{
	memset(region, 0, sizeof *region);
	if (!fits(wish)) {
		errno = ENOMEM;
		return false;
	}
	region->vcpus = wish->vcpus;
	region->seed = wish->seed;
	if (!map(region, wish))
		return false;
	region->order = calloc(region->pages, sizeof *region->order);
	region->ledger = calloc(region->pages * region->vcpus, sizeof *region->ledger);
	if (!region->order || !region->ledger) {
		region_free(region);
		errno = ENOMEM;
		return false;
	}
	shuffle(region);
	stamp_all(region);
	return wish->writable || mprotect((void *)region->memory, region->pages * PAGE_BYTES, PROT_READ) == 0;
}

void region_free(struct region *region)
{
	if (region->mapped && region->mapped != MAP_FAILED)
		munmap(region->mapped, region->mapped_bytes);
	free(region->order);
	free(region->ledger);
	memset(region, 0, sizeof *region);
}

static bool compare(size_t page, size_t word, uint64_t seen, uint64_t wanted)
{
	if (seen == wanted)
		return true;
	if (atomic_fetch_add(&reports, 1) < MAX_BAD_LINES)
		say("bad page=%zu offset=%zu wanted=%#lx seen=%#lx", page, word * sizeof(uint64_t), wanted, seen);
	return false;
}

bool region_check_word(struct region *region, size_t page, size_t word)
{
	return compare(page, word, page_words(region, page)[word], expected(region, page, word));
}

bool region_check_own(struct region *region, size_t page, unsigned vcpu)
{
	bool good = true;

	for (size_t i = 0; i < OWN_WORDS; i++)
		good &= region_check_word(region, page, own_word(vcpu) + i);
	return good;
}

/* Update the ledger after the write, so that a lost write shows on the next lap and in the check. */
void region_write_own(struct region *region, size_t page, unsigned vcpu, bool blind)
{
	volatile uint64_t *own = page_words(region, page) + own_word(vcpu);
	uint64_t *ledger = ledger_entry(region, page, vcpu);
	uint64_t generation = (blind ? *ledger : own[1]) + 1;

	own[0] = stamp(region, page, own_word(vcpu), generation);
	own[1] = generation;
	own[2] = chain_next(own[2]);
	++*ledger;
}

static bool check_page(struct region *region, size_t page)
{
	bool good = true;

	for (size_t word = 0; word < PAGE_WORDS; word++)
		good &= region_check_word(region, page, word);
	return good;
}

size_t region_check(struct region *region)
{
	size_t bad = 0;

	region_forgive_reports();
	for (size_t page = 0; page < region->pages; page++)
		bad += !check_page(region, page);
	return bad;
}

void region_forgive_reports(void)
{
	atomic_store(&reports, 0);
}
