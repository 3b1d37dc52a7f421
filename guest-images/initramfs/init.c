// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * init of the initramfs of an L1 whose kernel has drivers of its root as modules: inserts the modules, mounts
 * the root and goes on with its init.
 *
 * /modules/order lists the files in /modules, one a line, in load order. The root is always L1's read-only ext4
 * image on the first virtio disk, so nothing is read from the kernel's command line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MODULES "/modules"
#define ORDER MODULES "/order"
#define ROOT_DISK "/dev/vda"
#define NEW_ROOT "/root"
#define NEXT_INIT "/sbin/init"

enum { POLL_MS = 10, DISK_TIMEOUT_MS = 60000 };

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Write a line to the kernel's log, and therefore to the console. */
static void note(const char *format, ...)
{
	static int kmsg = -1;
	char text[512] = "guestloop-initramfs: ";
	const size_t start = strlen(text);
	va_list arguments;

	if (kmsg < 0)
		kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	va_start(arguments, format);
	vsnprintf(text + start, sizeof text - start, format, arguments);
	va_end(arguments);
	if (write(kmsg, text, strlen(text)) < 0)
		perror(text);
}

/* The kernel panics when its init ends, and L0 shows the lines before that. */
static void give_up(const char *what)
{
	note("FAILED: %s: %s", what, strerror(errno));
	exit(1);
}

/* A module that is refused is not fatal here: what it is needed for will say so. */
static void insert(const char *name)
{
	char path[300];
	int file;

	snprintf(path, sizeof path, MODULES "/%s", name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || syscall(SYS_finit_module, file, "", 0))
		note("cannot load %s: %s", name, strerror(errno));
	if (file >= 0)
		close(file);
	unlink(path); /* the initramfs stays in memory, behind the root */
}

static void insert_all(void)
{
	char name[256];
	FILE *order = fopen(ORDER, "re");

	if (!order)
		give_up(ORDER);
	while (fgets(name, sizeof name, order)) {
		name[strcspn(name, "\n")] = '\0';
		insert(name);
	}
	fclose(order);
}

/* Devices may be probed asynchronously, after a driver's module was inserted. */
static void wait_for_disk(void)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };

	for (int waited = 0; access(ROOT_DISK, F_OK) != 0; waited += POLL_MS) {
		if (waited >= DISK_TIMEOUT_MS)
			give_up(ROOT_DISK);
		nanosleep(&pause, NULL);
	}
}

/* Documentation/filesystems/ramfs-rootfs-initramfs.rst: the new root is moved over the old one. */
static void switch_root(void)
{
	if (mount(ROOT_DISK, NEW_ROOT, "ext4", MS_RDONLY, NULL))
		give_up("mount " ROOT_DISK);
	if (mount("/dev", NEW_ROOT "/dev", NULL, MS_MOVE, NULL))
		give_up("move /dev");
	unlink("/init");
	if (chdir(NEW_ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot("."))
		give_up("change to " ROOT_DISK);
}

int main(void)
{
	/* EBUSY: not with an initramfs, but the kernel may learn to mount it itself. */
	if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL) && errno != EBUSY)
		give_up("mount /dev");
	insert_all();
	wait_for_disk();
	switch_root();
	execl(NEXT_INIT, NEXT_INIT, NULL);
	give_up(NEXT_INIT);
}
