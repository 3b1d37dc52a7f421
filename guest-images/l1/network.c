// SPDX-License-Identifier: GPL-2.0-or-later
/* Network of L1: loopback, and the fixed address of QEMU's user network, because DHCP would take a second. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "l1.h"

static bool set_address(int socket, unsigned long request, const char *interface, const char *address)
{
	struct ifreq ifr = { 0 };
	struct sockaddr_in in = { .sin_family = AF_INET };

	strncpy(ifr.ifr_name, interface, IFNAMSIZ - 1);
	inet_pton(AF_INET, address, &in.sin_addr);
	memcpy(&ifr.ifr_addr, &in, sizeof in);
	return ioctl(socket, request, &ifr) == 0;
}

static void bring_up(int socket, const char *interface, const char *address, const char *netmask)
{
	struct ifreq ifr = { .ifr_flags = IFF_UP | IFF_RUNNING };

	strncpy(ifr.ifr_name, interface, IFNAMSIZ - 1);
	if (!set_address(socket, SIOCSIFADDR, interface, address) ||
	    !set_address(socket, SIOCSIFNETMASK, interface, netmask) || ioctl(socket, SIOCSIFFLAGS, &ifr))
		note("FAILED: network interface %s: %s", interface, strerror(errno));
}

void network_up(void)
{
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	bring_up(control, "lo", "127.0.0.1", "255.0.0.0");
	bring_up(control, "eth0", "10.0.2.15", "255.255.255.0");
	close(control);
}
