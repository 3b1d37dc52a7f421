/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory under test: stamped pages, the order in which they are visited, and the ledger of what was
 * written. With the ledger every byte of every page can be checked at any time.
 *
 * Word 0 of a page is the page's own address, so a page in the wrong place shows where it came from. Every
 * other word is a hash of seed, page, word and generation. Cache line 1 + v belongs to vCPU v. Only that vCPU
 * writes the line's first three words (the last vCPU those after the address, as there are 64 lines):
 *  - a stamp, which is such a hash;
 *  - the generation itself, 64 bits;
 *  - a chain, in which each value is computed from the one before, so that a lost write stays lost.
 * The generation is in the ledger too. All other words stay at generation 0.
 */
#ifndef GUESTLOOP_REGION_H
#define GUESTLOOP_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define LINE_WORDS 8
#define OWN_WORDS 3
#define MAX_VCPUS 64 /* as many as there are lines in a page */
#define MAX_BAD_LINES 16

struct region {
	volatile uint64_t *memory;
	size_t pages;
	unsigned vcpus;
	uint64_t seed;
	uint32_t *order;  /* a permutation of the pages */
	uint64_t *ledger; /* [page * vcpus + vcpu]: the generation of that vCPU's words */
	size_t mapped_bytes;
	void *mapped;
};

struct region_wish {
	size_t mib;
	unsigned vcpus;
	uint64_t seed;
	bool huge;     /* transparent huge pages: request them, or prevent them */
	bool writable; /* false: map it read-only in the guest's own page tables after stamping */
};

/* Map, stamp and protect. Returns false, with errno set, if there is not enough memory. */
bool region_make(struct region *region, const struct region_wish *wish);
void region_free(struct region *region);

/*
 * Read a word and compare it with what the ledger says. A wrong word is reported, if it is one of the first
 * 16 since region_forgive_reports().
 */
bool region_check_word(struct region *region, size_t page, size_t word);

/* Do region_check_word() for all three words of a vCPU. */
bool region_check_own(struct region *region, size_t page, unsigned vcpu);

/*
 * Write the next generation of a vCPU's words. If `blind`, stamp and generation come from the ledger, which
 * heals them if an earlier write was lost. Otherwise they are computed from what the page holds.
 */
void region_write_own(struct region *region, size_t page, unsigned vcpu, bool blind);

/* Check every word of every page against the ledger. Returns the number of pages with a wrong word. */
size_t region_check(struct region *region);

/* Allow 16 more reports. */
void region_forgive_reports(void);

#endif
