// SPDX-License-Identifier: GPL-2.0-or-later
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "command.h"
#include "crew.h"
#include "loads.h"
#include "platform.h"
#include "port.h"
#include "region.h"
#include "where.h"

#define PROGRESS_MS 1000 /* the default */
#define FINISHED_MS 25 /* how often to check whether a load has finished its laps */
#define MAX_MIB 65536
#define DEFAULT_WINDOW 4
#define MAX_PARTS 1024
#define MAX_GRAIN 65536

static struct region region;
static struct team team;
static unsigned vcpus;
static bool loaded;
static uint64_t started_ms, progress_ms, report_ms;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void refuse(const char *what)
{
	say("error what=%s", what);
}

static void do_load(struct command *command)
{
	const struct load *load = find_load(command_text(command, "name", NULL));
	struct region_wish wish = {
		.mib = command_number(command, "mib", 64, 1, MAX_MIB),
		.seed = command_number(command, "seed", 1, 0, UINT64_MAX),
		.huge = command_number(command, "thp", 0, 0, 1),
		.vcpus = vcpus,
		.writable = load && load->writes,
	};
	unsigned crews = command_number(command, "crews", 1, 1, MAX_CREWS);
	unsigned window = command_number(command, "window", DEFAULT_WINDOW, 1, 4096);
	unsigned pace_us = command_number(command, "pace_us", 0, 0, 100000);

	if (!command_sound(command))
		return refuse(command->fault);
	if (!load)
		return refuse("unknown-load");
	if (loaded)
		return refuse("already-loaded");
	if (wish.huge)
		allow_huge_pages();
	if (!region_make(&region, &wish)) {
		bool memory = errno == ENOMEM;

		region_free(&region);
		return refuse(memory ? "not-enough-memory" : "cannot-map");
	}
	team_prepare(&team, load, &region, crews, window, pace_us);
	loaded = true;
	say("ready name=%s pages=%zu gva=%#lx vcpus=%u crews=%u window=%u", load->name, region.pages,
	    (unsigned long)region.memory, vcpus, crews, window);
}

static void do_start(struct command *command)
{
	uint64_t laps = command_number(command, "laps", 0, 0, UINT64_MAX);
	uint64_t report = command_number(command, "report_ms", PROGRESS_MS, FINISHED_MS, 60000);
	struct share share = {
		.parts = command_number(command, "parts", 1, 1, MAX_PARTS),
		.part = command_number(command, "part", 0, 0, MAX_PARTS - 1),
		.grain = command_number(command, "grain", 1, 1, MAX_GRAIN),
	};

	if (!command_sound(command))
		return refuse(command->fault);
	if (!loaded || team.running)
		return refuse(loaded ? "already-running" : "nothing-loaded");
	/* On a share without pages the workers would spin for ever. */
	if (share.part >= share.parts || share.part * share.grain >= region.pages)
		return refuse("empty-share");
	region_forgive_reports();
	started_ms = progress_ms = now_ms();
	report_ms = report;
	if (!team_start(&team, laps, share))
		return refuse("cannot-make-threads");
	say("running");
}

static void tell_tally(const char *verb)
{
	char each[MAX_VCPUS * 24] = "";
	struct tally tally = team_tally(&team);
	size_t length = 0;

	for (unsigned i = 0; i < vcpus && length < sizeof each; i++)
		length += snprintf(each + length, sizeof each - length, " v%u=%lu", i, tally.per_vcpu[i]);
	say("%s t_ms=%lu reads=%lu writes=%lu laps=%lu bad=%lu%s", verb, now_ms() - started_ms,
	    tally.visits, tally.writes, tally.laps, tally.bad, each);
}

static void do_stop(void)
{
	if (!team.running)
		return refuse("not-running");
	team_stop(&team);
	tell_tally("stopped");
}

static void do_check(void)
{
	if (!loaded || team.running)
		return refuse(loaded ? "still-running" : "nothing-loaded");
	say("checked pages=%zu bad=%zu", region.pages, region_check(&region));
}

static void do_where(void)
{
	if (!loaded)
		return refuse("nothing-loaded");
	if (!where_tell(&region))
		return refuse("no-page-frames");
	say("where pages=%zu", region.pages);
}

static void do_unload(void)
{
	if (!loaded || team.running)
		return refuse(loaded ? "still-running" : "nothing-loaded");
	region_free(&region);
	loaded = false;
	say("unloaded");
}

static void do_hello(void)
{
	char build_id[BUILD_ID_TEXT];

	kernel_build_id(build_id);
	say("hello version=1 vcpus=%u kvmapf=%d build_id=%s", vcpus, has_async_page_faults(), build_id);
}

static void do_crash(void)
{
	crash();
	refuse("not-a-guest");
}

static void do_quit(void)
{
	team_stop(&team);
	say("bye");
}

/* Returns false after `quit`. */
static bool obey(char *line)
{
	static const struct {
		const char *verb;
		void (*act)(void);
	} simple[] = {
		{ "hello", do_hello },	 { "stop", do_stop }, { "check", do_check },
		{ "unload", do_unload }, { "quit", do_quit },   { "where", do_where },
		{ "crash", do_crash },
	};
	struct command command;

	command_parse(&command, line);
	if (strcmp(command.verb, "load") == 0) {
		do_load(&command);
		return true;
	}
	if (strcmp(command.verb, "start") == 0) {
		do_start(&command);
		return true;
	}
	if (!command_sound(&command)) {
		refuse(command.fault);
		return true;
	}
	for (size_t i = 0; i < sizeof simple / sizeof *simple; i++)
		if (strcmp(command.verb, simple[i].verb) == 0) {
			simple[i].act();
			return strcmp(command.verb, "quit") != 0;
		}
	refuse("unknown-command");
	return true;
}

static void report_progress(void)
{
	if (!team.running || now_ms() - progress_ms < report_ms)
		return;
	progress_ms = now_ms();
	tell_tally("progress");
}

bool session_run(unsigned vcpu_count)
{
	char line[LINE_BYTES];

	vcpus = vcpu_count;
	do_hello();
	for (;;) {
		switch (port_read_line(line, team.running ? FINISHED_MS : PROGRESS_MS)) {
		case HEARD_LINE:
			if (!obey(line))
				return true;
			break;
		case HEARD_TOO_LONG:
			refuse("line-too-long");
			break;
		case HEARD_END:
			return false;
		case HEARD_NOTHING:
			break;
		}
		if (team.running && team_finished(&team))
			do_stop();
		report_progress();
	}
}
