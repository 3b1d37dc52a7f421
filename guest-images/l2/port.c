// SPDX-License-Identifier: GPL-2.0-or-later
#include "port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"

static int port = -1;
static pthread_mutex_t saying = PTHREAD_MUTEX_INITIALIZER;

bool port_open(const char *path)
{
	port = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	return port >= 0;
}

static bool has_name(const char *entry, const char *wanted)
{
	char path[512], name[64] = "";
	FILE *file;

	snprintf(path, sizeof path, PORTS "/%s/name", entry);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fgets(name, sizeof name, file))
		name[strcspn(name, "\n")] = '\0';
	fclose(file);
	return strcmp(name, wanted) == 0;
}

bool port_find(const char *name, char *path, size_t size)
{
	DIR *ports = opendir(PORTS);
	struct dirent *entry;
	bool found = false;

	while (ports && !found && (entry = readdir(ports)))
		if (entry->d_name[0] != '.' && has_name(entry->d_name, name)) {
			snprintf(path, size, "/dev/%s", entry->d_name);
			found = true;
		}
	if (ports)
		closedir(ports);
	return found;
}

void say(const char *format, ...)
{
	char line[SAY_BYTES];
	va_list arguments;
	int length, sent = 0;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof line - 1, format, arguments);
	va_end(arguments);
	if (length > (int)sizeof line - 2)
		length = sizeof line - 2;
	line[length++] = '\n';

	pthread_mutex_lock(&saying);
	while (sent < length) {
		ssize_t written = write(port, line + sent, length - sent);

		if (written < 0 && errno != EINTR && errno != EAGAIN)
			break; /* the other side is gone */
		if (written > 0)
			sent += written;
	}
	pthread_mutex_unlock(&saying);
}

/* What was received and not yet returned as a line. */
static char pending[LINE_BYTES];
static size_t pending_bytes;

static bool take_line(char line[LINE_BYTES])
{
	char *end = memchr(pending, '\n', pending_bytes);
	size_t length;

	if (!end)
		return false;
	length = end - pending;
	memcpy(line, pending, length);
	line[length] = '\0';
	pending_bytes -= length + 1;
	memmove(pending, end + 1, pending_bytes);
	return true;
}

enum heard port_read_line(char line[LINE_BYTES], int timeout_ms)
{
	struct pollfd waiting = { .fd = port, .events = POLLIN };
	ssize_t received;

	if (take_line(line))
		return HEARD_LINE;
	if (pending_bytes == sizeof pending) {
		pending_bytes = 0;
		return HEARD_TOO_LONG;
	}
	if (poll(&waiting, 1, timeout_ms) <= 0)
		return HEARD_NOTHING;
	received = read(port, pending + pending_bytes, sizeof pending - pending_bytes);
	if (received <= 0)
		return received < 0 && (errno == EINTR || errno == EAGAIN) ? HEARD_NOTHING : HEARD_END;
	pending_bytes += received;
	return take_line(line) ? HEARD_LINE : HEARD_NOTHING;
}
