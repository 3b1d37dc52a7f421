/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts about the machine that the payload runs on, and its duties as process 1. */
#ifndef GUESTLOOP_PLATFORM_H
#define GUESTLOOP_PLATFORM_H

#include <stdbool.h>

/*
 * Returns true if the paravirtual async page fault is in use, with its page-ready interrupt. This is the bit
 * of CPUID leaf 0x40000001 that kvm_guest_cpu_init() (arch/x86/kernel/kvm.c) checks.
 */
bool has_async_page_faults(void);

#define BUILD_ID_TEXT 65 /* the longest build id in hex, with its end */

/* The GNU build id of the running kernel in hex, empty if it cannot be read (kernel/ksysfs.c: notes). */
void kernel_build_id(char text[BUILD_ID_TEXT]);

/* The number of vCPUs that are online. */
unsigned online_vcpus(void);

/* As process 1: mount what the payload needs. */
void mount_early(void);

/* As process 1: enable transparent huge pages for regions that ask for them (madvise). */
void allow_huge_pages(void);

/* As process 1: make the guest's kernel panic. Returns if that fails, or if this is not process 1. */
void crash(void);

/* End the guest. QEMU with `-no-reboot` then exits. Does not return. */
void leave(void) __attribute__((noreturn));

#endif
