/* SPDX-License-Identifier: MIT */
/*
 * What the tests on real kernels share: cases that run one by one, each in a process of its own; a machine whose CPUs
 * can be taken away; a crew of threads, and the mask rule worked out a second time, for a machine of at most 64 CPUs.
 *
 * Nothing waits for a time: it waits until the condition holds, with a limit that only a broken library reaches.
 */
#ifndef TESTS_VM_H
#define TESTS_VM_H

#include <errno.h>
#include <kthread/kthread.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_NS 20000000000ull
#define MS 1000000ull

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void pause_ns(uint64_t ns)
{
	const struct timespec time = {.tv_sec = 0, .tv_nsec = (long)ns};

	nanosleep(&time, NULL);
}

/* ---- cases (harness.c) ------------------------------------------------------------------------------------------ */

struct vm_case {
	const char *name;
	void (*run)(void);
	const char *taskset; /* a cpulist: the case's process is started with this mask */
};

struct vm_suite {
	const char *name;
	const struct vm_case *cases; /* ended by one without a name */
};

extern const struct vm_case cases_places[], cases_sources[], cases_cgroup2[], cases_cgroup1[], cases_storm[],
    cases_steps[], cases_percpu[], cases_figures[], cases_boot[], cases_plug[], cases_ktask[], cases_spread[],
    cases_worker[];

/* From any thread: says it, and ends the case. */
_Noreturn void vm_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define FAIL(...) vm_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition) \
	do { \
		if (!(condition)) \
			FAIL("not so: %s", #condition); \
	} while (0)
/* A call that returns 0 or a negative errno. */
#define CHECK0(call) \
	do { \
		const int check_error = (call); \
		if (check_error) \
			FAIL("%s: %d (%s)", #call, check_error, strerror(-check_error)); \
	} while (0)
#define AWAIT(condition) \
	do { \
		const uint64_t await_until = now_ns() + LIMIT_NS; \
		while (!(condition)) { \
			if (now_ns() > await_until) \
				FAIL("waited in vain for: %s", #condition); \
			pause_ns(MS); \
		} \
	} while (0)

/* This kernel or guest cannot show it. Ends the case. */
_Noreturn void vm_skip(const char *why);

bool kernel_is(const char *series);

/* Chance: xorshift64, a state per thread. */
uint64_t first_seed(void); /* says it */
uint64_t next_random(uint64_t *state);
unsigned int below(uint64_t *state, unsigned int limit);

/* ---- the machine (machine.c) ------------------------------------------------------------------------------------ */

typedef uint64_t cpus_t;

#define ALL_CPUS 64u
#define CPU(n) ((cpus_t)1 << (n))
#define EACH_CPU(cpu, set) \
	for (unsigned int cpu = 0; cpu < ALL_CPUS; cpu++) \
		if ((set)&CPU(cpu))

cpus_t cpus_of(const char *list); /* "0-3,8": ours, not the library's parser */
unsigned int random_cpu(uint64_t *state, cpus_t cpus);
const char *cpus_text(cpus_t set);   /* one of some buffers of the calling thread */
cpus_t sysfs_cpus(const char *file); /* online, possible, present, isolated, nohz_full; "" is the empty set */
cpus_t task_cpus(pid_t tid);         /* the kernel's Cpus_allowed_list of a thread of ours; empty: it is gone */
int task_last_cpu(pid_t tid);        /* where it ran last, field 39 of stat; -1 it is gone */
pid_t task_named(const char *comm);  /* a thread of ours; -1 there is none */
cpus_t api_cpus(enum kthread_cpus which);
cpus_t api_mask(const struct kthread *k, enum kthread_mask which);

/* The write to the CPU's file in sysfs, and no more; has to succeed. */
void cpu_set(unsigned int cpu, bool online);
int cpu_try(unsigned int cpu, bool online); /* 0 or the errno */
#define cpu_off(cpu) cpu_set((cpu), false)
#define cpu_on(cpu) cpu_set((cpu), true)

void write_file(const char *path, const char *text); /* has to succeed */
int try_write(const char *path, const char *text);   /* 0 or the errno */
/* Below the mount of the cpuset: cgroup v2's, or v1's where that is mounted. */
const char *cgroup_path(const char *group, const char *file);
bool cgroup_v1(void);
void cgroup_make(const char *group, const char *cpus); /* v2: the parent's cpuset controller is enabled for it */
void cgroup_cpus(const char *group, const char *cpus);
void cgroup_enter(const char *group); /* this whole process */
cpus_t cgroup_effective(const char *group);
/* Every CPU online, every cgroup gone, real-time threads limited. */
void machine_reset(void);
void everything_on(void);

/* A real-time thread of this priority on each of these CPUs, which never sleeps; until the end nobody else runs there, but
 * for a twentieth of the time that the kernel leaves to others, as long as that is not taken from them, too. */
void real_time_hogs(cpus_t cpus, int priority);
void real_time_hogs_end(void);
void real_time_unlimited(void);

/*
 * A number for each CPU: odd while the kernel may move a thread of this CPU without anybody's fault: in our own write that
 * takes it away; and, where it is back before the library has looked, until the mask is right again, because a thread that
 * was moved may be at home by chance meanwhile. A cooperative transition leaves it alone.
 */
void kernel_moves(unsigned int cpu); /* at the beginning, and at the end */
unsigned int kernel_moved(unsigned int cpu);
/* Seen elsewhere than on its CPU, though nobody has taken that away since `before`. */
bool strays(unsigned int cpu, unsigned int before, unsigned int seen);

/* ---- the crew (crew.c) ------------------------------------------------------------------------------------------ */

enum activity {
	BUSY,    /* runs all the time */
	TICKING, /* runs every other millisecond */
	SLEEPING,
	PARKED,   /* by us, from the beginning: its function is not entered */
	REPARKED, /* by us, after it has run */
	CREATED,  /* never woken */
	ACTIVITIES
};

enum origin { KTHREAD, ADOPTS_ITSELF, ADOPTED_BY_TID };

struct member {
	char name[48];
	enum origin origin;
	enum activity activity;
	enum kthread_wish wish;
	cpus_t cpus; /* of the wish */
	int node;
	struct kthread *k;
	pthread_t pthread; /* of an adopted one */
	atomic_int tid;
	atomic_bool end;
	atomic_int cpu;
	atomic_ulong turns;
	unsigned long turns_before; /* see crew_settled() */
	atomic_bool foreign;        /* a per-CPU thread has run elsewhere than on its CPU */
	cpus_t came_with;           /* an adopted one's mask before */
	struct member *next;
};

/* The machine as it should be seen now. cpu_set() keeps `online`; the rest is the case's to keep. */
struct world {
	cpus_t possible;
	_Atomic cpus_t online;
	cpus_t allowed;
	cpus_t housekeeping; /* not cut yet */
	bool moving;         /* CPUs go and come at this very moment: what depends on them cannot be checked */
};
extern struct world world;

void world_reset(void); /* all that is possible is allowed and housekeeping */

struct member *crew_add(enum origin origin, enum activity activity, enum kthread_wish wish, const char *cpus_or_node);
/* One of every kind that makes sense with this wish: see crew.c. */
void crew_of_all(const char *cpus);
void crew_of_calm(const char *cpus, enum activity calm); /* none that does more: SLEEPING, nobody runs by itself */
void crew_remove(struct member *member);
void crew_bereave(struct member *member); /* the same for an adopted one that ends without anybody's knowledge */
size_t crew_size(void);
struct member *crew_first(void);
/* What the rule gives, worked out here. */
cpus_t crew_rule(const struct member *member, bool *ret_broken);
/* Until every one of them is in its place, in the library's view and in the kernel's; and then it runs there. */
void crew_settled(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The masks alone: nobody has to run, and the library is not asked to look again. */
void crew_masks(const char *what);
void crew_end(void);

void start_library(unsigned int poll_ms, bool uevents, bool inotify);
void give_wish(struct member *member, enum kthread_wish wish, cpus_t cpus, int node);
cpu_set_t *as_set(cpus_t cpus, cpu_set_t *set);

#endif
