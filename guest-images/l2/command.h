/* A command as it is received: `verb key=value key=value`. */
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
	const char *fault; /* what is wrong with it, NULL so far; the first fault stays */
	char fault_text[96];
};

/* Split a line in place; `command` points into it. */
void command_parse(struct command *command, char *line);

/* The value of a key; `otherwise` when it is not given (NULL: it must be given, else a fault). */
const char *command_text(struct command *command, const char *key, const char *otherwise);

/* A number (decimal or 0x) from `least` to `most`; anything else is a fault and gives `otherwise`. */
uint64_t command_number(struct command *command, const char *key, uint64_t otherwise, uint64_t least,
			uint64_t most);

/* True when the command is sound and every key in it was asked for. */
bool command_sound(struct command *command);

#endif
