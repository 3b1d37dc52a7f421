/* The conversation with L1: commands in, replies and news out. See README.md beside this file. */
#ifndef GUESTLOOP_SESSION_H
#define GUESTLOOP_SESSION_H

#include <stdbool.h>

/* Serve commands until `quit` (true) or until the other side is gone (false). */
bool session_run(unsigned vcpus);

#endif
