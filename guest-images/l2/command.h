/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A command line as received: `verb key=value key=value`. */
#ifndef GUESTLOOP_COMMAND_H
#define GUESTLOOP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMAND_KEYS 16

struct command {
	const char *verb;
	size_t count;
	struct {
		const char *key, *value;
		bool used;
	} pairs[COMMAND_KEYS];
	const char *fault; /* what is wrong with it, NULL if nothing; the first fault is kept */
	char fault_text[96];
};

/* Split a line in place. `command` then points into it. */
void command_parse(struct command *command, char *line);

/* Get the value of a key, or `otherwise` if it is missing. With NULL a missing key is a fault. */
const char *command_text(struct command *command, const char *key, const char *otherwise);

/* Get a number (decimal or 0x) from `least` to `most`. Anything else is a fault and returns `otherwise`. */
uint64_t command_number(struct command *command, const char *key, uint64_t otherwise, uint64_t least,
			uint64_t most);

/* Returns true if the command has no fault and each of its keys was used. */
bool command_sound(struct command *command);

#endif
