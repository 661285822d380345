/* SPDX-License-Identifier: MIT */
/*
 * ktask: one big job over many CPUs and nodes. The range is split into chunks; the caller and helpers of the library's
 * own work on them, helpers near the data; the first error stops it, and what had been done can be undone.
 * Source: the kernel's ktask series (v4) and padata_do_multithreaded().
 *
 * Helpers are threads of the library's, one to a CPU, made when they are first needed; between jobs they sleep. Not more
 * of them work, over all jobs of the process, than 80 % of the CPUs where unbound threads may run (usable housekeepers,
 * as they are now), 80 % of those of each node, and one less than the CPUs' worth of time that the cgroup grants (cpu.max,
 * rounded up). A job has no more threads, its caller among them, than it has chunks, than max_threads, and than usable
 * CPUs in its caller's mask. CPUs that go take no chunk with them, CPUs that come are used.
 *
 * Helpers give way (unless told otherwise by ktask_ctl_set_give_way()). Where they may raise their priority again (as
 * root, with CAP_SYS_NICE, or RLIMIT_NICE) they run at nice 19; a caller that has nothing left but to wait lends them its
 * policy and priority, one at a time, so that what a helper has begun is not starved by others: a chunk, or a move of the
 * iterator that the caller waits for. Without that right they run under SCHED_BATCH at nice 0, or where their first caller
 * was, if that cannot be left: they preempt nobody who wakes, but have a full share of a busy CPU, and nothing is lent.
 */
#ifndef KTHREAD_KTASK_H
#define KTHREAD_KTASK_H

#include <kthread/export.h>
#include <stdbool.h>
#include <stddef.h>

KTHREAD_BEGIN_DECLS

/*
 * Work on [start, end). Called by several threads at the same time, each with a chunk of its own; every unit is in one
 * chunk. 0, or any other value: the client's error. It has cleaned up after itself then: a chunk that failed is not
 * undone. It has to return: kthread_exit(), pthread_exit() and a cancellation in it end its thread, and count as the
 * error -ECANCELED. It may call anything, ktask_run() included.
 */
typedef int (*ktask_fn)(void *start, void *end, void *arg);
/* Undo what was done for [start, end), which may be several chunks. Called by the caller's thread only, once everybody is
 * done: in the order of the pieces, upwards in each. It cannot fail. */
typedef void (*ktask_undo_fn)(void *start, void *end, void *arg);
/* The position `size` units behind this one. Its calls for one piece come one after the other, in order, by whoever takes
 * a chunk of it. */
typedef void *(*ktask_iter_fn)(void *position, size_t size);
/* How many of all units are done. Called by the caller's thread, between its own chunks and while it waits; each time
 * with a larger number than before; with done == total at the end of a job without an error. */
typedef void (*ktask_progress_fn)(size_t done, size_t total, void *arg);

#define KTASK_RETURN_SUCCESS 0

/* A piece of a job whose data is on a node; nid -1 (KTHREAD_NO_NODE), or a node without usable CPUs: anywhere. */
struct ktask_node {
	void *start;
	size_t size; /* units; 0 is allowed */
	int nid;
};

/* What is to be done, and how. Start from DEFINE_KTASK_CTL or KTASK_CTL_INIT, and use the setters. Never written by
 * ktask_run(), so several jobs may share one. */
struct ktask_ctl {
	size_t size; /* sizeof(struct ktask_ctl) */
	ktask_fn fn;
	void *arg;
	size_t min_chunk; /* units: the least that is worth the trouble of handing it to another thread; > 0 */
	ktask_iter_fn iter;
	ktask_undo_fn undo;
	size_t max_threads;
	ktask_progress_fn progress;
	void *progress_arg;
	bool keep_pace;
};

#define KTASK_CTL_INIT(fn, arg, min_chunk) \
	{ \
		sizeof(struct ktask_ctl), (fn), (arg), (min_chunk), NULL, NULL, 0, NULL, NULL, false \
	}
#define DEFINE_KTASK_CTL(name, fn, arg, min_chunk) struct ktask_ctl name = KTASK_CTL_INIT(fn, arg, min_chunk)

/*
 * Set the iterator, for ranges that are not contiguous. Without one a unit is a byte of address: start + size is the end, and each chunk
 * but the last ends where the position is a multiple of min_chunk. With one, where the offset is.
 */
static __inline__ void ktask_ctl_set_iter_func(struct ktask_ctl *ctl, ktask_iter_fn iter)
{
	ctl->iter = iter;
}

/* Set what takes back, after an error, what had been done. */
static __inline__ void ktask_ctl_set_undo_func(struct ktask_ctl *ctl, ktask_undo_fn undo)
{
	ctl->undo = undo;
}

/* Limit the number of threads. The caller is one of them; 0 = as many as the limits allow. 1: everything is done by the caller. */
static __inline__ void ktask_ctl_set_max_threads(struct ktask_ctl *ctl, size_t max_threads)
{
	ctl->max_threads = max_threads;
}

/* Set what all functions of the job get as arg, but progress. */
static __inline__ void ktask_ctl_set_arg(struct ktask_ctl *ctl, void *arg)
{
	ctl->arg = arg;
}

/* Set who is told how far it is. */
static __inline__ void ktask_ctl_set_progress(struct ktask_ctl *ctl, ktask_progress_fn progress, void *arg)
{
	ctl->progress = progress;
	ctl->progress_arg = arg;
}

/* Choose at whose cost. true, the default: helpers run below everybody else. false: they run at the caller's own policy
 * and priority, as far as the process may give it to them: for a job that others have to wait for. */
static __inline__ void ktask_ctl_set_give_way(struct ktask_ctl *ctl, bool give_way)
{
	ctl->keep_pace = !give_way;
}

/*
 * Do fn for every unit of [start, start + size), or of the pieces, and return when all is done.
 *
 * 0, also if there is nothing to do (then nothing is called). The first error that fn returned: from then on no chunk
 * begins; when those under way have ended, undo, if there is one, is called for everything that had been completed.
 * Before anything is called: -EINVAL ctl, fn or nodes is NULL, min_chunk is 0, nid < -1, a ctl->size that is too small;
 * -E2BIG unknown fields of ctl are set; -EOVERFLOW start + size, or the sum of the sizes, does not fit; what
 * kthread_init(NULL) returns, where that is the first call; -ECHILD. A child that one of the functions has forked, and in
 * which that one returns, gets -ECHILD, too: nothing more is called there. Never fails for want of memory or threads: then it works with fewer, or alone.
 *
 * Not to be called while another thread is inside kthread_fini(), which answers -EBUSY during a job with helpers.
 */
KTHREAD_API int ktask_run(void *start, size_t size, struct ktask_ctl *ctl);
KTHREAD_API int ktask_run_numa(struct ktask_node *nodes, size_t nr, struct ktask_ctl *ctl);

KTHREAD_END_DECLS

#endif
