/* SPDX-License-Identifier: MIT */
/*
 * What the timeline keeps, for those who draw it: a lane for each CPU and each thread, of segments that each last to the
 * next one's begin.
 */
#ifndef KTHREADCTL_LANES_H
#define KTHREADCTL_LANES_H

#include "kthreadctl/timeline.h"

/* Of a CPU: _USABLE to _OFFLINE; of a thread: _GONE (not yet or no longer there) and those after it. */
enum lane_state {
	LANE_USABLE,
	LANE_UNUSABLE,
	LANE_OFFLINE,
	LANE_GONE,
	LANE_CREATED,
	LANE_ACTIVE,
	LANE_PARKED,
	LANE_FROZEN,
	LANE_STOPPING,
	LANE_BROKEN,
	LANE_STATES
};

struct segment {
	int64_t begin;
	enum lane_state state;
	const char *cpus; /* effective ones; "" = not known */
};

enum marker_kind { MARKER_MOVE, MARKER_REFUSED, MARKER_PARK, MARKER_STOP, MARKERS };

struct marker {
	int64_t time;
	enum marker_kind kind;
	const char *text; /* "3 -> 0-2: cpus"; "" */
};

struct lane {
	struct lane *next, *next_unnumbered;
	char *name;                                           /* of a thread */
	int64_t tid;                                          /* 0: not yet known */
	bool came;                                            /* after the begin */
	bool created, parked, frozen, stopping, broken, gone; /* what it is now */
	const char *cpus;
	size_t n_segments, n_markers;
	struct segment *segments;
	struct marker *markers;
};

struct timeline {
	const struct ctl_dump *dump;
	int64_t begin, full; /* full: when the first change was left out; INT64_MAX = none */
	size_t changes, left_out, events;
	int64_t lost, first_lost; /* events that the daemon could not tell us; when */
	struct lane *cpus;        /* dump->width of them */
	cpu_set_t *online, *usable;
	struct lane *threads, **last_thread; /* in the order of their coming */
	size_t n_threads;
	struct lane *unnumbered; /* those whose creator has not yet waited for the number: found by name */
	void *by_tid;            /* tsearch(3): those that are there */
	struct lane_text *texts;
};

/* What a picture shows: lanes by what happened in them, and in what they were. */
struct lane_view {
	size_t n_cpus, n_threads;
	struct lane_group *cpus; /* CPUs with the same history are one lane if there are many */
	const struct lane **threads;
	size_t cpus_left_out, quiet_left_out, busy_left_out; /* CPUs; threads to which nothing happened; others */
	int64_t begin, end;
};

struct lane_group {
	const struct lane *lane;
	char *cpus; /* "0-3,8" */
};

/*
 * At most so many lanes of each kind: first the threads to which something happened and those that are broken; the others
 * with `quiet`. -ENOMEM.
 */
int lanes_view(const struct timeline *t, int64_t end_ns, size_t cpus_most, size_t threads_most, bool quiet,
               struct lane_view *ret);
void lanes_view_free(struct lane_view *view);

/* "parked"; "usable". */
const char *lane_state_name(enum lane_state state);
/* Something happened to it after the begin, or it is broken. */
bool lane_is_busy(const struct lane *lane);
/* 0.1-second ticks and the like: the step for at most `most` of them, a 1, 2 or 5 with zeros. */
int64_t lanes_tick(int64_t span_ns, unsigned int most);
/* "1.25" seconds, with the decimals that a multiple of `step` needs. */
void lanes_seconds(int64_t ns, int64_t step, char text[32]);

#endif
