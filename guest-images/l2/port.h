/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The connection to L1: a virtio-serial port, or a terminal in tests. A message is a line of text. */
#ifndef GUESTLOOP_PORT_H
#define GUESTLOOP_PORT_H

#include <stdbool.h>
#include <stddef.h>

#define LINE_BYTES 512
#define SAY_BYTES 2048 /* the report of a load has a word for each of 64 vCPUs */

/* Open the port. Returns false, with errno set, if that fails. */
bool port_open(const char *path);

/* Find the virtio-serial port with this name, as a path below /dev. Returns false if there is none. */
bool port_find(const char *name, char *path, size_t size);

/* Send one line. Several threads may call this at once. Blocks until the other side is connected. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum heard { HEARD_LINE, HEARD_NOTHING, HEARD_TOO_LONG, HEARD_END };

/*
 * Wait up to `timeout_ms` for a line and store it without its newline. HEARD_END means that the other side
 * is gone. It may come back on a virtio port, but not on a terminal.
 */
enum heard port_read_line(char line[LINE_BYTES], int timeout_ms);

#endif
