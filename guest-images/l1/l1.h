/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of L1's init. */
#ifndef GUESTLOOP_L1_H
#define GUESTLOOP_L1_H

#include <stdbool.h>
#include <stddef.h>

/* note.c: write a line to the kernel's log, and therefore to the console. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* mounts.c: mount every file system that L1 needs. A failed mount is logged and is not fatal. */
void mount_all(void);

/* network.c: bring up loopback, and eth0 with the address that QEMU's user network expects. */
void network_up(void);

/* disks.c */
/* Get the device of the virtio disk with this serial. Returns false if there is none. */
bool find_disk(const char *serial, char *device, size_t size);
/* Create /dev/disk/by-serial/NAME for every virtio disk that has a serial. */
void link_disks(void);

/* readahead.c: read the files that `list` names into the page cache, in the background. */
void read_ahead(const char *list);

#endif
