/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The protocol with L1: commands in, replies and progress out. See README.md beside this file. */
#ifndef GUESTLOOP_SESSION_H
#define GUESTLOOP_SESSION_H

#include <stdbool.h>

/* Serve commands. Returns true after `quit`, false if the other side is gone. */
bool session_run(unsigned vcpus);

#endif
