/* SPDX-License-Identifier: MIT */
/*
 * CPUs that go and come, as a machine of ordered, reversible steps.
 *
 * A step is a pair of functions. When a CPU becomes usable every step's startup is called for it, in ascending order;
 * when it goes every step's teardown, in descending order. So at any time each startup has one teardown to come.
 *
 *     up:    PREPARE steps  ->  threads may use the CPU, per-CPU threads resume  ->  ONLINE steps (on that CPU)
 *     down:  ONLINE steps (on that CPU)  ->  its threads park, the others leave  ->  PREPARE steps
 *
 * A CPU goes in one of two ways:
 *
 *   cooperative  kthread_cpu_down(), or the plan_file of the configuration. All of the above happens while the CPU is
 *                still there, so nothing runs in a wrong place at any moment, and a failure takes everything back. Then
 *                the CPU counts as offlined: this process does not use it, whatever the machine says, until
 *                kthread_cpu_up(), or until every other CPU has gone.
 *   observed     somebody else took the CPU away, or our cpuset lost it. The kernel moves user threads first and tells
 *                afterwards (sysfs, then the uevent; after a suspend nothing at all), so the teardowns run late, on another
 *                CPU, and cannot refuse; one that fails is logged and counted. A CPU that is away for less time than it
 *                takes to look is not seen at all. A startup that fails leaves the CPU unused until it goes and comes again,
 *                or until kthread_cpu_up().
 *
 * What user space cannot have: a veto over a CPU that somebody else takes; a word before it goes, but by a plan; a section
 * with interrupts off. A CPU can go in the middle of a callback that runs on it: the kernel then moves the callback.
 *
 * Callbacks are called one at a time, under no lock of the library's, by the thread that asks for the change, by the
 * monitor, or (ONLINE) by a thread that is bound to the CPU. While one runs, kthread_cpus_read_lock() keeps others
 * waiting; so a callback must not wait for a thread that waits for that lock, and holds it itself. These functions (but
 * the read lock), kthread_rescan() and kthread_housekeeping_set() answer -EDEADLK in a callback, to the holder of the
 * read lock, and to a kthread that has been asked to park or stop if they would have to wait for somebody, who may be
 * waiting for it. A callback that forks must not return in the child.
 *
 * Source: the kernel's cpuhp state machine (cpuhp_setup_state() and family), cpus_read_lock(), remove_cpu(), add_cpu().
 */
#ifndef KTHREAD_HOTPLUG_H
#define KTHREAD_HOTPLUG_H

#include <kthread/export.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

KTHREAD_BEGIN_DECLS

/* Sections. Inside one, steps keep the order of their registration. */
enum { KTHREAD_CPUHP_PREPARE, KTHREAD_CPUHP_ONLINE };

/* What a step does for a CPU. 0, or a negative errno of the callback's choice, which is handed on (a positive one as its
 * negative). It must return. */
typedef int (*kthread_cpuhp_fn)(unsigned int cpu, void *arg);

/*
 * Register a step; either function may be NULL, which is a success. The name is copied, and may be had once.
 * setup() calls startup for each usable CPU, ascending; if one fails, teardown is called for those that had succeeded and
 * the step is gone. The _nocalls form takes it for granted that all that has been done.
 * > 0 the step's number, never used again; -EINVAL (no such section, no name); -EBUSY the name is taken; the error of
 * startup; -ENOMEM, -EAGAIN (no thread to run ONLINE steps on); -EDEADLK; -ECHILD.
 */
KTHREAD_API int kthread_cpuhp_setup(int section, const char *name, kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown,
                                    void *arg);
KTHREAD_API int kthread_cpuhp_setup_nocalls(int section, const char *name, kthread_cpuhp_fn startup,
                                            kthread_cpuhp_fn teardown, void *arg);

/*
 * Remove a step, after calling its teardown for each CPU that it is up on, ascending (_nocalls: without). A teardown
 * that fails is logged and its error returned, but the step is gone all the same.
 * 0; -EINVAL no such step; -EBUSY it has instances; the first error of teardown; -EDEADLK; -ECHILD.
 */
KTHREAD_API int kthread_cpuhp_remove(int step);
KTHREAD_API int kthread_cpuhp_remove_nocalls(int step);

/*
 * A step whose functions are called once per instance; an instance is an address, handed to them as arg. Instances are
 * called newest first, in both directions; if one fails on the way, those that were done on this way are undone.
 * Errors of setup_multi() as of kthread_cpuhp_setup(). add: as setup() does, for this one instance; -EINVAL not a multi
 * step, or instance NULL; -EEXIST it has been added; -ENOMEM. remove: as kthread_cpuhp_remove(); -ENOENT not an instance
 * of the step's.
 */
KTHREAD_API int kthread_cpuhp_setup_multi(int section, const char *name, kthread_cpuhp_fn startup,
                                          kthread_cpuhp_fn teardown);
KTHREAD_API int kthread_cpuhp_add_instance(int step, void *instance);
KTHREAD_API int kthread_cpuhp_add_instance_nocalls(int step, void *instance);
KTHREAD_API int kthread_cpuhp_remove_instance(int step, void *instance);
KTHREAD_API int kthread_cpuhp_remove_instance_nocalls(int step, void *instance);

/* The CPUs on which the step is up. 0; -EINVAL (no such step, setsize below kthread_setsize(), NULL); -ECHILD. May be
 * called in a callback. */
KTHREAD_API int kthread_cpuhp_cpus(int step, size_t setsize, cpu_set_t *set);
/* How often one of its functions failed where that could stop nothing (observed, removal, rollback). -EINVAL; -ECHILD. */
KTHREAD_API int64_t kthread_cpuhp_failures(int step);

/* After the cooperative part of a down, before that of an up: also write the CPU's file "online" in sysfs. */
#define KTHREAD_CPU_PHYSICAL 1u

/*
 * Give a CPU up. When it returns 0 no managed thread runs there (the kernel has been asked); its per-CPU threads, and
 * bound threads that look at kthread_bound_should_stop(), are parked; bound ones that never look run elsewhere, broken,
 * as after any loss. Waits for the former to park, as kthread_park() does. A CPU that is not usable now will not be used
 * when it comes. 0 also if it had been given up already.
 * -EBUSY the last usable, or the last usable housekeeping CPU, or a freeze is on (<kthread/freezer.h>); the error of a
 * teardown; -EPERM a thread may not be moved, or sysfs may not be written or has no such file (a CPU that cannot go), or
 * this machine is only simulated; -EBUSY and others from sysfs; -EINVAL (not a possible CPU, unknown flags); -ENOMEM;
 * -EDEADLK also to a thread that the call would wait for; -ECHILD. After any of these everything is as it was before.
 */
KTHREAD_API int kthread_cpu_down(unsigned int cpu, unsigned int flags);

/*
 * Use a CPU again. 0 also if it had not been given up. Where the CPU is offline or not allowed it is used as soon as it
 * comes: ask kthread_cpus(KTHREAD_CPUS_USABLE). So is one that the plan_file does not list, when it lists it again. Errors
 * as of kthread_cpu_down(); a failing startup is taken back and returned.
 */
KTHREAD_API int kthread_cpu_up(unsigned int cpu, unsigned int flags);

/*
 * Keep the CPUs as they are. While it is held no CPU set of this header's and placement.h's changes, and no transition goes on: the library does
 * not look at the machine (the machine may change nevertheless). Nests. Costs a few nanoseconds, and readers do not
 * disturb each other. Keep it short: threads that lost their CPU stay where they are meanwhile. A thread that is asked
 * to park or stop gets it even during a transition, which may be waiting for just that thread: the sets may change under
 * it, and a callback may run beside it. A thread that ends gives it up. Do not park while holding it.
 * Without effect in a step's callback. Any thread. trylock: false if a transition is going on.
 */
KTHREAD_API void kthread_cpus_read_lock(void);
KTHREAD_API bool kthread_cpus_read_trylock(void);
KTHREAD_API void kthread_cpus_read_unlock(void);

KTHREAD_END_DECLS

#endif
