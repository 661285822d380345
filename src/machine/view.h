/* SPDX-License-Identifier: MIT */
/*
 * The view: one immutable, numbered snapshot of every CPU set the library decides by.
 */
#ifndef KT_MACHINE_VIEW_H
#define KT_MACHINE_VIEW_H

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/library.h"

enum kt_set {
	KT_POSSIBLE,
	KT_PRESENT,
	KT_ONLINE,
	KT_ALLOWED,      /* by our cpuset, cut by the mask the process was started with */
	KT_USABLE,       /* online & allowed, less what hotplug does not admit */
	KT_ISOLATED,     /* isolcpus=domain and cpuset partitions */
	KT_HOUSEKEEPING, /* set or derived, & allowed */
	KT_SETS
};

struct kt_view {
	atomic_uint refs;
	uint64_t generation; /* 1 for the first one of a library's life */
	size_t setsize;      /* bytes of each set: holds every possible CPU; whole longs */
	/* Our cpuset is not the root one: the kernel rewrites our threads' masks whenever it changes or a CPU of it goes or
	 * comes. */
	bool confined;
	unsigned int quota; /* CPUs' worth of time that our cgroup may use, rounded up; 0 = no limit */
	cpu_set_t *set[KT_SETS];
};

/* The current view with a reference. Never NULL between kt_machine_start() and kt_machine_stop(). Any thread. */
struct kt_view *kt_view_get(void);
void kt_view_put(struct kt_view *view);
/* The current one's generation, or 0; one load: has anything changed? Whoever finds a new number gets that view, or a
 * later one, from kt_view_get(). */
uint64_t kt_view_number(void);
/* Where the sets of the last look come from: files, below the root; "" = unknown, or none. */
struct kt_view_sources {
	const char *possible, *present, *online; /* NULL = a guess */
	const char *isolated;                    /* NULL = none */
	char partitions[PATH_MAX];               /* and these, if any are isolated so */
	char cpuset[PATH_MAX];
	bool start_mask;          /* `allowed` is cut by the mask that the process was started with */
	const char *housekeeping; /* "derived", "configured" or "set" */
};
void kt_view_sources(struct kt_view_sources *ret);
/* Is the CPU in this set of the current one? */
bool kt_view_has(enum kt_set set, unsigned int cpu);

/*
 * Read sysfs and the cgroup files again and publish a new view if any set differs. The callers take turns (the
 * placement's look lock). 0, or -ENOMEM (the old view stays). What cannot be read keeps its last value, and is
 * logged once, not each time. *ret_changed only on success.
 */
int kt_view_renew(bool *ret_changed);

/*
 * The same of what a CPU that comes or goes changes at once, and what it takes to say whether it may be used; of everything
 * where that will not do. For the sake of time: in a guest, whose memory the hypervisor maps anew when a CPU comes, each
 * file that is looked up then costs what all of them cost else. The rest is as it was: a full one has to follow.
 */
int kt_view_renew_briefly(bool *ret_changed);

/*
 * A new view of what was seen last, with another housekeeping mask (NULL: back to the configured or derived one). -EINVAL if it holds no usable
 * or an impossible CPU, -ENOMEM; nothing has changed then.
 */
int kt_view_renew_housekeeping(size_t setsize, const cpu_set_t *set, bool *ret_changed);

/*
 * A new view of what was seen last, in which only these CPUs (setsize bytes of the view) are usable; all of them, if that
 * would leave none. cooperative: what changes has been asked for (it is told so, no more). 0; -ENOMEM: the next renewal does
 * it.
 */
int kt_view_renew_admitted(const cpu_set_t *admitted, bool cooperative, bool *ret_changed);

/* The room's part in the library's life. Start reads the first view; -EINVAL with a log message if the configured
 * housekeeping list is malformed or has no usable CPU; -ENOMEM. */
int kt_machine_start(void);
void kt_machine_stop(void);
/* With the fork handlers: the room's locks are the last to be taken; the child keeps nothing, as after a stop. */
extern const struct kt_room kt_machine_room;

#endif
