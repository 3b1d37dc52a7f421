// SPDX-License-Identifier: GPL-2.0-or-later
/* The file systems that L1 mounts. */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "l1.h"

struct file_system {
	const char *type, *where, *options;
};

/* In this order: a directory below another mount must come after that mount. */
static const struct file_system file_systems[] = {
	{ "proc", "/proc", NULL },
	{ "sysfs", "/sys", NULL },
	{ "devtmpfs", "/dev", NULL },
	{ "devpts", "/dev/pts", "ptmxmode=0666" },
	{ "tmpfs", "/dev/shm", NULL },
	{ "hugetlbfs", "/dev/hugepages", NULL },
	{ "tmpfs", "/run", "mode=0755" },
	{ "tmpfs", "/tmp", NULL },
	{ "tmpfs", "/var/tmp", NULL },
	{ "tmpfs", "/root", "mode=0700" },
	{ "debugfs", "/sys/kernel/debug", NULL },
	{ "tracefs", "/sys/kernel/tracing", NULL },
	{ "cgroup2", "/sys/fs/cgroup", NULL },
	/* Files here may hold the RAM of L2 guests, so this tmpfs may use nearly all of L1's memory. */
	{ "tmpfs", "/run/guestloop", "mode=0700,size=90%" },
};

static const char *const directories[] = { "/run/sshd", "/run/lock" };

void mount_all(void)
{
	const struct file_system *const end = file_systems + sizeof file_systems / sizeof *file_systems;

	for (const struct file_system *fs = file_systems; fs < end; fs++) {
		mkdir(fs->where, 0755); /* it exists on the root or in sysfs, or is created in a tmpfs */
		/* EBUSY: the kernel has mounted devtmpfs itself (CONFIG_DEVTMPFS_MOUNT). */
		if (mount(fs->type, fs->where, fs->type, MS_NOSUID, fs->options) && errno != EBUSY)
			note("cannot mount %s on %s: %s", fs->type, fs->where, strerror(errno));
	}
	for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
		mkdir(directories[i], 0755);
}
