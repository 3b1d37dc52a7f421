// SPDX-License-Identifier: GPL-2.0-or-later
/* Find disks by the serial that L0 set: their order on the bus is not guaranteed. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "l1.h"

#define BLOCKS "/sys/block"
#define LINKS "/dev/disk/by-serial"
#define SERIAL_BYTES 64

static bool read_serial(const char *disk, char serial[SERIAL_BYTES])
{
	char path[512];
	FILE *file;
	bool found;

	snprintf(path, sizeof path, BLOCKS "/%s/serial", disk);
	file = fopen(path, "re");
	if (!file)
		return false;
	found = fgets(serial, SERIAL_BYTES, file) != NULL;
	fclose(file);
	if (found)
		serial[strcspn(serial, "\n")] = '\0';
	return found && *serial;
}

/* Call `use` for each disk with a serial, until it returns true. */
static bool for_each_disk(bool (*use)(const char *disk, const char *serial, void *data), void *data)
{
	DIR *blocks = opendir(BLOCKS);
	struct dirent *entry;
	char serial[SERIAL_BYTES];
	bool done = false;

	while (blocks && !done && (entry = readdir(blocks)))
		if (entry->d_name[0] != '.' && read_serial(entry->d_name, serial))
			done = use(entry->d_name, serial, data);
	if (blocks)
		closedir(blocks);
	return done;
}

struct wanted {
	const char *serial;
	char *device;
	size_t size;
};

static bool take_if_wanted(const char *disk, const char *serial, void *data)
{
	struct wanted *wanted = data;

	if (strcmp(serial, wanted->serial) != 0)
		return false;
	snprintf(wanted->device, wanted->size, "/dev/%s", disk);
	return true;
}

bool find_disk(const char *serial, char *device, size_t size)
{
	struct wanted wanted = { serial, device, size };

	return for_each_disk(take_if_wanted, &wanted);
}

static bool link_one(const char *disk, const char *serial, void *data)
{
	char device[512], name[512];

	(void)data;
	snprintf(device, sizeof device, "/dev/%s", disk);
	snprintf(name, sizeof name, LINKS "/%s", serial);
	if (symlink(device, name))
		note("cannot make %s: %m", name);
	return false;
}

void link_disks(void)
{
	mkdir("/dev/disk", 0755);
	mkdir(LINKS, 0755);
	for_each_disk(link_one, NULL);
}
