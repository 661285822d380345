/* SPDX-License-Identifier: MIT */
/*
 * What all parts of the command share: what was asked for on the command line, the exit statuses, and the subcommands.
 * A part that fails says why on stderr, in a line that tells what to do, and returns the status.
 */
#ifndef KTHREADCTL_CTL_H
#define KTHREADCTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kthreadctl/find.h"

enum ctl_status {
	CTL_DONE,
	CTL_REFUSED, /* by the daemon; or we cannot do it ourselves: no memory, a file that cannot be written */
	CTL_USAGE,
	CTL_LOST,        /* no daemon found, the connection broke, or what came is no reply */
	CTL_INTERRUPTED, /* never of the whole command: interrupt_fd was readable while we waited */
};

#define CTL_ERROR_SIZE 2048
#define CTL_FOREVER UINT64_MAX

struct ctl {
	struct find_target target;
	bool json;
	bool text;
	bool names;
	bool physical;
	bool colour; /* decided: --color, NO_COLOR, TERM, and whether stdout is a terminal */
	bool utf8;   /* what is printed may be more than ASCII */
	bool every;
	uint64_t wait_ns; /* for each reply */
	uint64_t for_ns;
	uint64_t timeout_ns; /* of a freeze; CTL_FOREVER: the daemon's own */
	uint64_t delay_ns;
	uint64_t count; /* of blocks; 0: without end */
	const char *svg;
	int interrupt_fd; /* ends the wait for a reply, or for events, when it is readable; -1: none */
	int argc;         /* what follows the name of the subcommand */
	char **argv;
};

/* "kthreadctl: ...\n" to stderr; returns status. */
enum ctl_status ctl_fail(enum ctl_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum ctl_status ctl_no_memory(void);
/* What the daemon said, and a newline, to stdout: as it is, or, on a terminal, without what could control that. */
void ctl_print(const char *text);
/* Has all of stdout been written? */
enum ctl_status ctl_flush(void);

/* The subcommands (main.c has their table). */
enum ctl_status run_list(const struct ctl *ctl);
enum ctl_status run_show(const struct ctl *ctl);
enum ctl_status run_top(const struct ctl *ctl);
enum ctl_status run_watch(const struct ctl *ctl);
enum ctl_status run_map(const struct ctl *ctl);
enum ctl_status run_timeline(const struct ctl *ctl);
enum ctl_status run_dump(const struct ctl *ctl);
enum ctl_status run_prometheus(const struct ctl *ctl);
enum ctl_status run_park(const struct ctl *ctl);
enum ctl_status run_unpark(const struct ctl *ctl);
enum ctl_status run_housekeeping(const struct ctl *ctl);
enum ctl_status run_cpu(const struct ctl *ctl);
enum ctl_status run_freeze(const struct ctl *ctl);
enum ctl_status run_thaw(const struct ctl *ctl);
enum ctl_status run_rescan(const struct ctl *ctl);

#endif
