// SPDX-License-Identifier: GPL-2.0-or-later
#include "platform.h"

#include <cpuid.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#define HYPERVISOR_LEAF 0x40000000
#define HYPERVISOR_BIT (1U << 31)
#define KVM_FEATURE_ASYNC_PF_INT 14

/* arch/x86/kernel/kvm.c: parse_no_kvmapf. */
static bool is_switched_off(void)
{
	char line[4096] = "";
	FILE *file = fopen("/proc/cmdline", "re");

	if (!file)
		return false;
	if (!fgets(line, sizeof line, file))
		line[0] = '\0';
	fclose(file);
	return strstr(line, "no-kvmapf");
}

bool has_async_page_faults(void)
{
	uint32_t eax, ebx, ecx, edx, signature[3];

	if (is_switched_off())
		return false;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & HYPERVISOR_BIT))
		return false;
	__cpuid(HYPERVISOR_LEAF, eax, signature[0], signature[1], signature[2]);
	if (memcmp(signature, "KVMKVMKVM\0\0\0", sizeof signature) != 0)
		return false;
	__cpuid(HYPERVISOR_LEAF + 1, eax, ebx, ecx, edx);
	return eax >> KVM_FEATURE_ASYNC_PF_INT & 1;
}

unsigned online_vcpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

void mount_early(void)
{
	mkdir("/dev", 0755);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
}

/* Only as process 1 of a guest, never as a process on someone's host. */
static bool write_in_guest(const char *path, const char *text)
{
	int file = getpid() == 1 ? open(path, O_WRONLY | O_CLOEXEC) : -1;
	bool written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

	if (file >= 0)
		close(file);
	return written;
}

void allow_huge_pages(void)
{
	/* Off by default below 512 MiB (mm/huge_memory.c: hugepage_init). */
	if (!write_in_guest("/sys/kernel/mm/transparent_hugepage/enabled", "madvise") && getpid() == 1)
		dprintf(2, "guestloop-payload: no transparent huge pages\n");
}

void crash(void)
{
	/* Documentation/admin-guide/sysrq.rst: the trigger file is not subject to the sysrq mask. */
	write_in_guest("/proc/sysrq-trigger", "c");
}

void leave(void)
{
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
