/* SPDX-License-Identifier: MIT */
/*
 * Workers: a thread and its queue of works, which it runs one after the other, in the order in which they were queued.
 * Source: the kernel's kthread_worker.
 *
 *   idle --queue--> pending --the worker takes it--> running --fn returns--> idle
 *    ^                 |                                |
 *    +-----cancel------+                                +--queue--> pending and running: it runs once more
 *
 * A work is pending at most once. It may queue itself, queue others, and free itself: once its function is entered, the
 * library does not touch it. It belongs to one worker at a time: while it runs on one and is queued on another, it is
 * queued where it runs, so it never overlaps itself. Once idle it may go to another worker.
 *
 * What the caller did before it queued (also if the answer was false) is seen by the function; what the function did is
 * seen by whoever flushed or cancelled it.
 */
#ifndef KTHREAD_WORKER_H
#define KTHREAD_WORKER_H

#include <kthread/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

KTHREAD_BEGIN_DECLS

struct kthread;
struct kthread_attr;
struct kthread_worker;

/* A work, to be embedded in what is to be worked on. Members are private. The memory is the caller's: from kthread_init_work() until it
 * is idle for the last time, i.e. its function has been entered or it has been cancelled, and nobody uses it any more. */
struct kthread_work {
	uint32_t state;
	uint32_t slot; /* of a delayed work */
	void (*fn)(struct kthread_work *work);
	struct kthread_work *next;
	struct kthread_work *prev;
	struct kthread_worker *worker;
};

/* A work that is queued when its time has come. fn gets &dwork->work. */
struct kthread_delayed_work {
	struct kthread_work work;
	uint64_t expires; /* private */
};

#define KTHREAD_WORK_INIT(fn) \
	{ \
		0, 0, (fn), NULL, NULL, NULL \
	}
#define KTHREAD_DELAYED_WORK_INIT(fn) \
	{ \
		KTHREAD_WORK_INIT(fn), 0 \
	}

/* Make a work ready for use. Not while it is pending. Once for a work, or anew when another function is to be called, and for every work in a forked
 * child and after kthread_fini(). */
KTHREAD_API void kthread_init_work(struct kthread_work *work, void (*fn)(struct kthread_work *work));
KTHREAD_API void kthread_init_delayed_work(struct kthread_delayed_work *dwork, void (*fn)(struct kthread_work *work));

/* flags */
/* Its thread takes part in kthread_freeze_all(): it freezes between two works, or idle; what is queued meanwhile waits. */
#define KTHREAD_WORKER_FREEZABLE 1u
/* Of a worker on a CPU: it works there or not at all. When its CPU goes it parks, and its queue waits for the CPU. With
 * kthread_cpu_down() it first runs, there, what had been queued by then. Without this flag it is a bound thread: it works
 * elsewhere while its CPU is gone, and returns with it. */
#define KTHREAD_WORKER_PER_CPU 2u

/*
 * Create a worker. Its thread is created, not started: give it a place, then kthread_wake(kthread_worker_thread()), or
 * queue something, which starts it. kthread_run_worker() does both. The thread is a kthread as any other: it can be
 * parked (between two works), bound while it is parked, and stopped. Its timer slack is 1 ns.
 *
 * NULL with errno: EINVAL (unknown flags, KTHREAD_WORKER_PER_CPU without a CPU), ENOMEM, and whatever the function of
 * <kthread/thread.h> with the same ending says. Source: kthread_create_worker(), kthread_create_worker_on_cpu().
 */
KTHREAD_API struct kthread_worker *kthread_create_worker(unsigned int flags, const char *namefmt, ...)
    KTHREAD_PRINTF(2, 3);
KTHREAD_API struct kthread_worker *kthread_create_worker_on_node(unsigned int flags, int node, const char *namefmt, ...)
    KTHREAD_PRINTF(3, 4);
KTHREAD_API struct kthread_worker *kthread_create_worker_on_cpu(unsigned int cpu, unsigned int flags,
                                                                const char *namefmt);
/* attr as in kthread_create_attr(): stack, policy, nice, node. KTHREAD_INTERRUPT breaks system calls of its works. */
KTHREAD_API struct kthread_worker *kthread_create_worker_attr(const struct kthread_attr *attr, unsigned int flags,
                                                              const char *namefmt, ...) KTHREAD_PRINTF(3, 4);
/* Create and start. */
KTHREAD_API struct kthread_worker *kthread_run_worker(unsigned int flags, const char *namefmt, ...)
    KTHREAD_PRINTF(2, 3);
KTHREAD_API struct kthread_worker *kthread_run_worker_on_cpu(unsigned int cpu, unsigned int flags, const char *namefmt);

/* The thread of a worker, whose reference is the worker's: kthread_get() it to keep it longer. NULL for NULL. */
KTHREAD_API struct kthread *kthread_worker_thread(struct kthread_worker *w);

/*
 * Drain, stop and free a worker. From the call on nothing is accepted any more (queueing answers false, also to its own works);
 * every work that was accepted before has run on return, also if the worker was parked, frozen, or not started: it resumes.
 * In its works kthread_should_stop() is true then, and KTHREAD_INTERRUPT breaks their system calls. A delayed work whose
 * time has not come does not run: it is idle then, and a warning is logged; cancel it before. The same when kthread_stop()
 * ends its thread; the worker then still has to be destroyed.
 *
 * Others may still be queueing, flushing and cancelling when this is called; no new call with this worker may begin after
 * it has returned. Works stay good: to cancel or flush one afterwards, or to queue it on another worker, is allowed.
 * Waits for the works: from one of them it is refused and logged. NULL is allowed. Source: kthread_destroy_worker().
 */
KTHREAD_API void kthread_destroy_worker(struct kthread_worker *w);

/*
 * Queue a work at the end. True if it was idle and is now pending; false if it was pending already or is being
 * cancelled, if the worker is being destroyed or has been stopped, and for NULL. Any thread; never allocates, never
 * sleeps; without a lock, but where a work changes its worker. Producers that meet step aside for microseconds. Starts a
 * worker that has only been created. Source: kthread_queue_work().
 */
KTHREAD_API bool kthread_queue_work(struct kthread_worker *w, struct kthread_work *work);

/*
 * Queue a work after delay_ns nanoseconds of CLOCK_MONOTONIC, which stands still while the system is suspended; never
 * earlier. Until then it is pending. A delay of 0 queues it at once. Works whose time has come are queued in the order of
 * their times, as soon as the worker looks: between two works at the latest. UINT64_MAX: never, unless modified.
 * True if it was idle. Never allocates, and may wait for a lock that is held for some list operations.
 * Source: kthread_queue_delayed_work().
 */
KTHREAD_API bool kthread_queue_delayed_work(struct kthread_worker *w, struct kthread_delayed_work *dwork,
                                            uint64_t delay_ns);

/*
 * Give a delayed work another time, or queue it if it is idle. A pending one stays with the worker that has it.
 * False: it was idle, and is now pending (or the worker accepts nothing any more). True: it was pending, and has the new
 * time; or it is being cancelled, and nothing was done. So a reference that the pending work holds is taken when, and
 * only when, the answer is false. Source: kthread_mod_delayed_work().
 */
KTHREAD_API bool kthread_mod_delayed_work(struct kthread_worker *w, struct kthread_delayed_work *dwork,
                                          uint64_t delay_ns);

/*
 * Wait until the instance that is pending, or else the one that is running, at the call has ended; later ones are not
 * waited for. At once back if there is none, if it is a delayed work whose time has not come, and from a work of the
 * same worker, which could only wait for itself. A parked or frozen worker keeps those waiting whose works are in its
 * queue, not those who wait for one that has ended.
 * Two workers whose works flush each other's wait for ever. Source: kthread_flush_work().
 */
KTHREAD_API void kthread_flush_work(struct kthread_work *work);
/* The same for everything that is queued, or running, at the call. Source: kthread_flush_worker(). */
KTHREAD_API void kthread_flush_worker(struct kthread_worker *w);

/*
 * Take a work out of the queue, and wait for its end if it is running. On return it is neither pending nor running, even if
 * it queues itself; while this goes on, queueing answers false. Several at once are allowed. Called from a work of the
 * same worker it does not wait for the running one. True if it was pending, and so will not run for that.
 * Both work for both kinds. Source: kthread_cancel_work_sync(), kthread_cancel_delayed_work_sync().
 */
KTHREAD_API bool kthread_cancel_work_sync(struct kthread_work *work);
KTHREAD_API bool kthread_cancel_delayed_work_sync(struct kthread_delayed_work *dwork);

KTHREAD_END_DECLS

#endif
