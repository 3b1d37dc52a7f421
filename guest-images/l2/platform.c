// SPDX-License-Identifier: GPL-2.0-or-later
#include "platform.h"

#include <cpuid.h>
#include <elf.h>
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

/* One entry of a note section (elf.h: Elf64_Nhdr); name and descriptor are padded to 4 bytes. */
static const char *find_build_id(const char *notes, size_t length, size_t *size)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= length;) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)(notes + at);
		size_t name = at + sizeof *note, id = name + ((note->n_namesz + 3UL) & ~3UL);

		at = id + ((note->n_descsz + 3UL) & ~3UL);
		if (at > length)
			break;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && !memcmp(notes + name, "GNU", 4)) {
			*size = note->n_descsz;
			return notes + id;
		}
	}
	return NULL;
}

void kernel_build_id(char text[BUILD_ID_TEXT])
{
	_Alignas(Elf64_Nhdr) char notes[4096];
	int file = open("/sys/kernel/notes", O_RDONLY | O_CLOEXEC);
	ssize_t length = file >= 0 ? read(file, notes, sizeof notes) : -1;
	size_t size = 0;
	const char *id = length > 0 ? find_build_id(notes, length, &size) : NULL;

	if (file >= 0)
		close(file);
	text[0] = '\0';
	for (size_t i = 0; id && i < size && 2 * i + 3 <= BUILD_ID_TEXT; i++)
		snprintf(text + 2 * i, 3, "%02x", (unsigned char)id[i]);
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
