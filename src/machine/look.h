/* SPDX-License-Identifier: MIT */
/*
 * One look at the machine: every source read, the last usable value of each kept. What the view is derived from.
 *
 * ASSUMPTIONS: the caller holds the room's scan lock.
 */
#ifndef KT_MACHINE_LOOK_H
#define KT_MACHINE_LOOK_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

enum kt_seen {
	KT_SEEN_POSSIBLE,
	KT_SEEN_PRESENT,
	KT_SEEN_ONLINE,
	KT_SEEN_ISOLATED,   /* at boot: isolcpus=domain */
	KT_SEEN_PARTITIONS, /* isolated cpuset partitions */
	KT_SEEN_NOHZ_FULL,
	KT_SEEN_EFFECTIVE, /* by our cpuset, now; every possible CPU if there is none */
	KT_SEEN_GRANTED,   /* by our cpuset's configuration, offline CPUs included */
	KT_SEEN_START,     /* the mask the process was started with; of use if start_cuts */
	KT_SEEN_SETS
};

struct kt_look {
	size_t setsize; /* whole longs, fixed while the library is up */
	bool confined;
	unsigned int quota;               /* CPUs' worth of time that our cgroup grants; 0 = no limit */
	const char *source[KT_SEEN_SETS]; /* of the first four: kt_sysfs_source(); NULL = a guess, or none */
	bool start_cuts;                  /* the process was started with less than its cpuset gave: taskset */
	cpu_set_t *set[KT_SEEN_SETS];
};

/*
 * The first look. Always ends with at least one possible and one online CPU, whatever is unreadable.
 * ERRORS: -ENOMEM (nothing is left behind).
 */
int kt_look_start(void);
void kt_look_stop(void);

/* Look again. Cannot fail: what is unreadable keeps its value, and is logged once. */
void kt_look_again(void);

/*
 * Only what a CPU that comes or goes changes at once, and what it takes to say whether it may be used: ONLINE and EFFECTIVE.
 * A seventh of the files. False if that will not do: look again, all of it.
 */
bool kt_look_briefly(void);

/* What was seen last. Only between start and stop. */
const struct kt_look *kt_look_last(void);

#endif
