/* The line to L1: a virtio-serial port, or a terminal in tests. One message is one line of text. */
#ifndef GUESTLOOP_PORT_H
#define GUESTLOOP_PORT_H

#include <stdbool.h>
#include <stddef.h>

#define LINE_BYTES 512

/* Open the port; false, with errno set, when that fails. */
bool port_open(const char *path);

/* Find the virtio-serial port with this name, as a path below /dev; false when there is none. */
bool port_find(const char *name, char *path, size_t size);

/* Send one line; threads may call it at once. Blocks until the other side is connected. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum heard { HEARD_LINE, HEARD_NOTHING, HEARD_TOO_LONG, HEARD_END };

/*
 * Wait up to `timeout_ms` for a line and store it without its newline. HEARD_END: the other side
 * is gone (it may come back on a virtio port, never on a terminal).
 */
enum heard port_read_line(char line[LINE_BYTES], int timeout_ms);

#endif
