/* The parts of L1's init. */
#ifndef GUESTLOOP_L1_H
#define GUESTLOOP_L1_H

#include <stdbool.h>
#include <stddef.h>

/* note.c: a line in the kernel's log, and so on the console. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* mounts.c: every file system that L1 needs; what cannot be mounted is noted, not fatal. */
void mount_all(void);

/* network.c: loopback, and eth0 with the address that QEMU's user network expects. */
void network_up(void);

/* disks.c */
/* The device of the virtio disk with this serial; false when there is none. */
bool find_disk(const char *serial, char *device, size_t size);
/* /dev/disk/by-serial/NAME for every virtio disk that has a serial. */
void link_disks(void);

/* readahead.c: read the files named in `list` into the page cache, in the background. */
void read_ahead(const char *list);

#endif
