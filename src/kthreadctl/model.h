/* SPDX-License-Identifier: MIT */
/*
 * What a daemon said of itself: a dump or one event of the stream, parsed and checked. The pictures and tables are made
 * from it alone.
 *
 * CPU sets are `setsize` bytes of their dump (whole longs, every possible CPU fits; machine/cpumask.h works on them).
 * Numbers that are null or missing are -1, texts and sets NULL. Texts are UTF-8 without NUL, but may hold any other control
 * character: what goes to a terminal goes through text_print() (text.h). Everything lives until model_free().
 */
#ifndef KTHREADCTL_MODEL_H
#define KTHREADCTL_MODEL_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_VERSION 1 /* of the dump and of the events */
#define CTL_CPUS_MAX 16384

enum ctl_set {
	CTL_POSSIBLE,
	CTL_PRESENT,
	CTL_ONLINE,
	CTL_ALLOWED,
	CTL_OFFLINED, /* by cooperative hotplug */
	CTL_USABLE,
	CTL_ISOLATED,
	CTL_HOUSEKEEPING,
	CTL_SETS
};

enum ctl_kind { CTL_KTHREAD, CTL_ADOPTED, CTL_INTERNAL, CTL_KIND_OTHER };

enum ctl_wish { CTL_WISH_NONE, CTL_WISH_NODE, CTL_WISH_PREFERRED, CTL_WISH_BOUND, CTL_WISH_PER_CPU, CTL_WISH_OTHER };

/* _OTHER: one that a newer library has; its name is there. */
enum ctl_state {
	CTL_CREATED,
	CTL_RUNNING,
	CTL_WAITING,
	CTL_PARKED,
	CTL_STOPPING,
	CTL_EXITED,
	CTL_STATE_ADOPTED,
	CTL_FROZEN,
	CTL_STATE_OTHER,
	CTL_STATES
};

struct ctl_source {
	const char *set, *file;
};

struct ctl_view {
	int64_t generation;
	bool confined;
	int64_t quota; /* CPUs' worth of time, rounded up; -1 = no limit */
	cpu_set_t *set[CTL_SETS];
	size_t n_sources;
	struct ctl_source *sources;
};

struct ctl_node {
	int64_t node;
	cpu_set_t *cpus;
};

struct ctl_cache {
	int64_t level;
	cpu_set_t *cpus;
};

struct ctl_refusal {
	const char *error; /* "EINVAL" */
	int64_t count;
};

/* The last attempt to give a thread its mask. */
struct ctl_last {
	int64_t time_ns;       /* -1: there was none, all else is NULL */
	const char *reason;    /* "cpus" */
	const char *from, *to; /* cpulists: model_cpus() makes sets of them */
	const char *error;     /* "EINVAL"; NULL = it worked */
};

struct ctl_thread {
	const char *name, *class; /* "poll/3", "poll" */
	int64_t index;            /* 3 */
	int64_t tid;
	enum ctl_kind kind;
	enum ctl_state state;
	const char *kind_name, *state_name, *wish_name;
	enum ctl_wish wish;
	cpu_set_t *wish_cpus; /* those of them that are possible */
	int64_t wish_node;
	cpu_set_t *effective; /* never NULL */
	cpu_set_t *actual;
	int64_t cpu; /* where it ran last */
	bool broken;
	int64_t broken_since_ns, broken_ns;
	struct ctl_last last;
	int64_t wakes, parks, freezes, reaffines;
	size_t n_refusals;
	struct ctl_refusal *refusals;
	int64_t works_run, longest_queue, ktask_chunks;
};

struct ctl_step {
	int64_t step;
	const char *name, *section;
	bool multi;
	int64_t instances;
	cpu_set_t *up;
	int64_t failures;
};

struct ctl_dump {
	const char *library, *process, *time; /* "0.1.0", "steady", "2026-11-21T20:00:00.123Z" */
	int64_t pid, time_ns;
	bool simulate;
	size_t setsize;
	unsigned int width; /* highest possible CPU + 1 */
	struct ctl_view view;
	size_t n_nodes, n_caches, n_threads, n_steps;
	struct ctl_node *nodes;
	struct ctl_cache *caches;
	struct ctl_thread *threads;
	struct ctl_step *steps;
	/* private */
	void *json, *arena;
};

enum ctl_event_type {
	CTL_EVENT_WATCH,
	CTL_EVENT_CREATE,
	CTL_EVENT_START,
	CTL_EVENT_PARK,
	CTL_EVENT_UNPARK,
	CTL_EVENT_FREEZE,
	CTL_EVENT_THAW,
	CTL_EVENT_STOP,
	CTL_EVENT_EXIT,
	CTL_EVENT_ADOPT,
	CTL_EVENT_UNADOPT,
	CTL_EVENT_AFFINE,
	CTL_EVENT_VIEW,
	CTL_EVENT_CPU,
	CTL_EVENT_STEP,
	CTL_EVENT_FREEZE_ALL,
	CTL_EVENT_THAW_ALL,
	CTL_EVENT_LOG,
	CTL_EVENT_LOST,
	CTL_EVENT_OTHER /* of a newer library: only type_name and time_ns are set */
};

/* Which members are set depends on the type; the others are NULL, -1 or false. */
struct ctl_event {
	enum ctl_event_type type;
	const char *type_name; /* "thread_park" */
	int64_t time_ns;
	int64_t tid;
	const char *name;                                /* of the thread; of the step */
	int64_t result;                                  /* exit; step. May be negative */
	const char *from, *to;                           /* affine: cpulists; NULL = did not fit */
	const char *reason, *error;                      /* affine */
	bool broken;                                     /* affine */
	int64_t generation;                              /* view */
	const char *online, *usable_cpus, *housekeeping; /* view: cpulists; NULL = did not fit */
	int64_t cpu;                                     /* cpu; step */
	bool usable;                                     /* cpu */
	const char *cause;                               /* cpu */
	const char *call;                                /* step: "startup" or "teardown" */
	int64_t level, id;                               /* log; id -1: it has none */
	const char *message;                             /* log */
	int64_t count;                                   /* lost */
	const char *library, *process, *time;            /* watch */
	int64_t pid;                                     /* watch */
	/* private */
	void *json;
};

/*
 * The text of a whole dump. Fields that are not known are passed over.
 * 0; else *ret is NULL and error (error_size > 0) says what is wrong: -EINVAL malformed or truncated, -ENOTSUP of a newer
 * version, -ENOMEM.
 */
int model_parse(const char *json, size_t length, struct ctl_dump **ret, char *error, size_t error_size);
/* Takes NULL. */
void model_free(struct ctl_dump *dump);

/* One line of the stream, with or without its newline. The same errors. */
int model_parse_event(const char *json, size_t length, struct ctl_event **ret, char *error, size_t error_size);
/* Takes NULL. */
void model_event_free(struct ctl_event *event);

/* A cpulist of the daemon's as a set (dump->setsize bytes); CPUs that the dump holds impossible are left out. -EINVAL. */
int model_cpus(const struct ctl_dump *dump, const char *list, cpu_set_t *set);

/* A set as a cpulist, to be freed; "" for no CPU. NULL: no memory. */
char *model_list(const struct ctl_dump *dump, const cpu_set_t *set);

/* "possible", "present", ... */
const char *model_set_name(enum ctl_set set);

#endif
