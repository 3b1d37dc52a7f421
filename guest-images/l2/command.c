// SPDX-License-Identifier: GPL-2.0-or-later
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fault(struct command *command, const char *what, const char *where)
{
	if (command->fault)
		return;
	/* The reply is a key=value line too, so the fault must be one word. */
	snprintf(command->fault_text, sizeof command->fault_text, "%s:%s", what, where);
	command->fault = command->fault_text;
}

void command_parse(struct command *command, char *line)
{
	char *rest = NULL, *word = strtok_r(line, " \t\r", &rest);

	memset(command, 0, sizeof *command);
	command->verb = word ? word : "";
	while (word && (word = strtok_r(NULL, " \t\r", &rest))) {
		char *equals = strchr(word, '=');

		if (!equals || equals == word) {
			fault(command, "not-key=value", word);
			return;
		}
		if (command->count == COMMAND_KEYS) {
			fault(command, "too-many-keys", word);
			return;
		}
		*equals = '\0';
		command->pairs[command->count].key = word;
		command->pairs[command->count++].value = equals + 1;
	}
}

const char *command_text(struct command *command, const char *key, const char *otherwise)
{
	const char *value = NULL;

	for (size_t i = 0; i < command->count; i++)
		if (strcmp(command->pairs[i].key, key) == 0) {
			if (value)
				fault(command, "given-twice", key);
			command->pairs[i].used = true;
			value = command->pairs[i].value;
		}
	if (!value && !otherwise)
		fault(command, "missing", key);
	return value ? value : otherwise ? otherwise : "";
}

uint64_t command_number(struct command *command, const char *key, uint64_t otherwise, uint64_t least,
			uint64_t most)
{
	const char *text = command_text(command, key, "");
	char *end;
	uint64_t number;

	if (!*text)
		return otherwise;
	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || *end || *text == '-' || number < least || number > most) {
		fault(command, "bad-number", key);
		return otherwise;
	}
	return number;
}

bool command_sound(struct command *command)
{
	for (size_t i = 0; i < command->count; i++)
		if (!command->pairs[i].used)
			fault(command, "unknown-key", command->pairs[i].key);
	return !command->fault;
}
