/* What the payload needs to know about the machine it runs on, and its duties as process 1. */
#ifndef GUESTLOOP_PLATFORM_H
#define GUESTLOOP_PLATFORM_H

#include <stdbool.h>

/*
 * Is the paravirtual async page fault in use, with its page-ready interrupt? (The bit of leaf
 * 0x40000001 that arch/x86/kernel/kvm.c, kvm_guest_cpu_init(), asks for.)
 */
bool has_async_page_faults(void);

/* vCPUs that are online. */
unsigned online_vcpus(void);

/* Mount what the payload needs; only as process 1. */
void mount_early(void);

/* As process 1: let the kernel give transparent huge pages to who asks for them. */
void allow_huge_pages(void);

/* As process 1: have the guest's kernel panic. Returns when it cannot, or when this is a process on a host. */
void crash(void);

/* End the guest: with `-no-reboot` QEMU exits. Does not return. */
void leave(void) __attribute__((noreturn));

#endif
