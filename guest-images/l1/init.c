// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * init of the L1 guest: does what systemd would do, but in milliseconds.
 *
 * The root is read-only because several L1s share one disk. Everything that is written is in a tmpfs. The
 * order is chosen for speed: the agent and sshd start in parallel, and reading ahead comes last.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "l1.h"

#define STATE "/run/guestloop"
#define START STATE "/start"
#define AGENT STATE "/agent/__main__.py"
#define AGENT_LOG STATE "/agent.log"
#define PAYLOAD_SERIAL "payload"
#define TAIL_BYTES 4096

/* Start a program in its own session. Its output goes to the file `log`, or to the console if NULL. */
static pid_t start(const char *const argv[], const char *log)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	setsid();
	if (log) {
		int file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);

		dup2(file, STDOUT_FILENO);
		dup2(file, STDERR_FILENO);
	}
	execv(argv[0], (char *const *)argv);
	note("cannot start %s: %m", argv[0]);
	_exit(127);
}

static int run(const char *const argv[])
{
	int status = -1;

	waitpid(start(argv, NULL), &status, 0);
	return status;
}

/* The payload disk is a plain tar file: it needs no file system, and L0 writes it very quickly. */
static void unpack_payload(void)
{
	char device[64];
	const char *const tar[] = { "/bin/busybox", "tar", "-x", "-f", device, "-C", STATE, NULL };
	int status;

	if (!find_disk(PAYLOAD_SERIAL, device, sizeof device)) {
		note("no virtio-blk disk with serial=" PAYLOAD_SERIAL ": no agent is started");
		return;
	}
	status = run(tar);
	if (status)
		note("FAILED: tar -x -f %s: wait status %#x", device, status);
}

static pid_t start_agent(void)
{
	const char *const own[] = { START, NULL };
	const char *const usual[] = { "/usr/bin/python3", "-I", AGENT, NULL };

	if (access(START, X_OK) == 0)
		return start(own, AGENT_LOG);
	if (access(AGENT, R_OK) == 0)
		return start(usual, AGENT_LOG);
	note("neither " START " nor " AGENT " is in the payload");
	return -1;
}

static pid_t start_sshd(void)
{
	/* -r: fork for a connection without executing sshd again, which would load its 30 libraries again. */
	const char *const sshd[] = { "/usr/sbin/sshd", "-D", "-r", "-e", NULL };

	return start(sshd, "/run/sshd.log");
}

/* Print the end of a program's output on the console, where L0 reads it, after the program has ended. */
static void show_tail(const char *log)
{
	char text[TAIL_BYTES + 1], *rest = text, *line;
	int file = open(log, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (file < 0)
		return;
	if (lseek(file, -TAIL_BYTES, SEEK_END) < 0)
		lseek(file, 0, SEEK_SET);
	length = read(file, text, TAIL_BYTES);
	close(file);
	text[length > 0 ? length : 0] = '\0';
	while ((line = strsep(&rest, "\n")))
		if (*line)
			note("| %s", line);
}

static void reap_for_ever(pid_t agent, pid_t sshd)
{
	for (;;) {
		int status;
		pid_t pid = wait(&status);

		if (pid < 0)
			pause();
		if (pid != agent && pid != sshd)
			continue;
		note("FAILED: %s ended, wait status %#x", pid == agent ? "the agent" : "sshd", status);
		show_tail(pid == agent ? AGENT_LOG : "/run/sshd.log");
	}
}

int main(void)
{
	pid_t agent, sshd;

	mount_all();
	umask(022);
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	chdir("/root");
	note("mounted");
	network_up();
	sshd = start_sshd();
	link_disks();
	unpack_payload();
	agent = start_agent();
	note("agent and sshd started");
	read_ahead("/etc/guestloop/readahead");
	reap_for_ever(agent, sshd);
}
