// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The payload of an L2 guest. As process 1 it is the guest's whole user space and communicates through the
 * virtio-serial port named "guestloop". With the path of a terminal as its argument it does the same as an
 * ordinary process, so that it can be tested without a guest; a second argument is the number of vCPUs.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "platform.h"
#include "port.h"
#include "region.h"
#include "session.h"

#define PORT_NAME "guestloop"
#define PORT_TRIES 6000 /* a minute: this guest may be starved of CPU time */
#define PORT_PAUSE_US 10000

/* A port appears when the host side has answered the driver, shortly after boot. */
static bool open_guest_port(void)
{
	char path[512];

	for (int i = 0; i < PORT_TRIES; i++) {
		if (port_find(PORT_NAME, path, sizeof path) && port_open(path))
			return true;
		usleep(PORT_PAUSE_US);
	}
	return false;
}

static unsigned usable_vcpus(unsigned vcpus)
{
	return vcpus < MAX_VCPUS ? vcpus : MAX_VCPUS;
}

static int serve_as_guest(void)
{
	mount_early();
	if (!open_guest_port()) {
		printf("guestloop-payload: no virtio-serial port named %s\n", PORT_NAME);
		leave();
	}
	/* Commands must be received even while workers spin on every vCPU. */
	setpriority(PRIO_PROCESS, 0, -20);
	while (!session_run(usable_vcpus(online_vcpus())))
		usleep(PORT_PAUSE_US); /* the host side closed the port: wait until it is opened again */
	leave();
}

int main(int argc, char **argv)
{
	if (getpid() == 1)
		return serve_as_guest();
	if (argc < 2 || argc > 3 || !port_open(argv[1])) {
		fprintf(stderr, "usage: %s TERMINAL [VCPUS] (only tests run it like this)\n", argv[0]);
		return 2;
	}
	return session_run(usable_vcpus(argc > 2 ? strtoul(argv[2], NULL, 10) : online_vcpus())) ? 0 : 1;
}
