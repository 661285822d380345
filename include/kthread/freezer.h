/* SPDX-License-Identifier: MIT */
/*
 * The freezer: hold all freezable threads at points of their own choice, and let them go on.
 *
 *     the threads                                    whoever wants them to stand still
 *
 *     kthread_set_freezable();
 *     while (!kthread_should_stop()) {
 *             kthread_try_to_freeze();               if (kthread_freeze_all(timeout_ns) == 0) {
 *             pthread_mutex_lock(&accounts);                 pid = fork(); (a snapshot: nobody is in there)
 *             transfer();                                    kthread_thaw_all();
 *             pthread_mutex_unlock(&accounts);       }
 *     }
 *
 * Threads are not freezable unless they say so. One freezes, i.e. stays in the library and runs none of its own code,
 *
 *   - in kthread_try_to_freeze(), kthread_freezable_should_stop(), and at once in kthread_set_freezable();
 *   - in kthread_wait_parkable(): asleep there it counts as frozen without being woken, and wakes that come meanwhile are
 *     kept for it; also in kthread_bound_should_stop() while its CPU is away;
 *   - parked, which counts as frozen: unparked in a freeze it does not run before the thaw;
 *   - never while it holds kthread_cpus_read_lock(), or in the callback of a hotplug step.
 *
 * To one that is elsewhere the request hands out the token (its kthread_wait() returns, its kthread_event_fd() is
 * readable), and KTHREAD_INTERRUPT breaks its blocking system calls until it has frozen.
 *
 * Stop beats freeze: a frozen thread that is stopped resumes, and ends. A park of a frozen thread is granted at once
 * where it is frozen in kthread_wait_parkable() (or in a park), else after the thaw, as in the kernel: who thaws must not
 * wait for that. While a freeze is on no CPU goes or comes cooperatively: kthread_cpu_down() and _up() answer -EBUSY, a
 * plan_file is followed after the thaw. CPUs that the machine takes and gives are followed; who would have to park for
 * that does so after the thaw. A system suspend, the freezer of cgroups and a debugger ask nobody: this is not about them.
 *
 * Source: the kernel's freezer (kernel/freezer.c, kernel/power/process.c).
 */
#ifndef KTHREAD_FREEZER_H
#define KTHREAD_FREEZER_H

#include <kthread/export.h>
#include <stdbool.h>
#include <stdint.h>

KTHREAD_BEGIN_DECLS

/*
 * Self: be freezable. From here on a freeze waits for this thread, for its life. If one is on, freeze at once: true if it has frozen
 * (and has been thawed, or stopped). False outside a kthread. Source: set_freezable().
 */
KTHREAD_API bool kthread_set_freezable(void);

/*
 * Self: freeze here if asked to, until thawed or stopped; true if that was so. At once back, false, otherwise (one load),
 * if asked to stop, and outside a kthread. What the thread did before happens-before the return of kthread_freeze_all();
 * what was done before kthread_thaw_all() happens-before this returns. Source: try_to_freeze().
 */
KTHREAD_API bool kthread_try_to_freeze(void);

/* Self: freeze here if asked to, then answer as kthread_should_stop(). Whether it froze is told by *was_frozen, which may be NULL.
 * Source: kthread_freezable_should_stop(). */
KTHREAD_API bool kthread_freezable_should_stop(bool *was_frozen);

/*
 * Freeze all freezable threads, and wait until each is frozen, parked, or has ended; at most timeout_ns nanoseconds
 * (UINT64_MAX: no limit). A kthread that calls this is left out itself, until the thaw. One that has been asked to stop
 * is waited for until it has ended. Threads that become freezable later freeze as they do so: after a 0 none runs code
 * of its own before the thaw, but those stopped meanwhile.
 * It begins when no transition is on (see <kthread/hotplug.h>): one that is, if only a look at the machine, is waited for,
 * as are those who hold kthread_cpus_read_lock(). So 0 nanoseconds may be too short even for those who stand already.
 *
 * 0; -EBUSY a freeze is on already (somebody else's: it does not nest); -ETIMEDOUT somebody has not frozen: each is named
 * in the log (LOG_WARNING), and all are thawed again; -ECANCELED somebody called kthread_thaw_all() meanwhile; -EDEADLK in
 * the callback of a hotplug step, with kthread_cpus_read_lock() held, and to a kthread asked to park or stop that would
 * have to wait for a transition; -ECHILD; what starting the library returned. After all of these but -EBUSY nobody is
 * frozen by this call.
 * A work that waits for one of a frozen worker does not freeze before that, so it is waited for until the timeout.
 * Any thread. Two kthreads that wait for each other, one here and one in kthread_stop() or _park(), do so until the
 * timeout. Source: freeze_kernel_threads().
 */
KTHREAD_API int kthread_freeze_all(uint64_t timeout_ns);

/*
 * End the freeze, also one that is not complete yet, whoever began it. Nothing if none is on. Does not wait for the
 * threads to run. A freeze also ends with kthread_fini(); in a forked child there is none. Source: thaw_processes().
 */
KTHREAD_API void kthread_thaw_all(void);

KTHREAD_END_DECLS

#endif
