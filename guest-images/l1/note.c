// SPDX-License-Identifier: GPL-2.0-or-later
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "l1.h"

void note(const char *format, ...)
{
	static const char prefix[] = "guestloop-init: ";
	const size_t start = sizeof prefix - 1;
	char text[512];
	int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC), file = kmsg >= 0 ? kmsg : STDERR_FILENO;
	va_list arguments;

	memcpy(text, prefix, sizeof prefix);
	va_start(arguments, format);
	vsnprintf(text + start, sizeof text - start - 1, format, arguments);
	va_end(arguments);
	strcat(text, "\n");
	/* The kernel's log adds a time stamp. A write is a record, and dprintf() fails on this device. */
	if (write(file, text, strlen(text)) < 0)
		perror("guestloop-init: note");
	if (kmsg >= 0)
		close(kmsg);
}
