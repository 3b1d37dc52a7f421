// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The first L2 is started soon after boot. Reading its QEMU's program and libraries into the page cache now
 * makes that start faster. A child at the lowest priority does it, so it only uses idle CPU time.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "l1.h"

static void read_file(const char *path)
{
	static char buffer[1 << 17];
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0) {
		note("read ahead: %s: %m", path);
		return;
	}
	while (read(file, buffer, sizeof buffer) > 0)
		continue;
	close(file);
}

void read_ahead(const char *list)
{
	char path[256];
	FILE *paths;

	if (fork() != 0)
		return;
	setpriority(PRIO_PROCESS, 0, 19);
	paths = fopen(list, "re");
	while (paths && fgets(path, sizeof path, paths)) {
		path[strcspn(path, "\n")] = '\0';
		read_file(path);
	}
	note("read ahead: done");
	_exit(0);
}
