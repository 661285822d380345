/* SPDX-License-Identifier: MIT */
/*
 * The queue of a worker: inbox, list, batch; and waiting for a place in it.
 *
 * The inbox is a stack onto which producers push without a lock; whoever holds the lock may take all of it at once, turn
 * it round, and append it to the list, in which anything can be found and taken out. Nothing is popped from the stack one
 * by one, so it has no ABA.
 */
#include <kthread/completion.h>

#include "base/futex.h"
#include "thread/thread.h"
#include "worker/worker.h"

/* ---- the list, under the lock ----------------------------------------------------------------------------------- */

static void pass_barrier(struct kthread_work *work);

/* The application's, and not one that waits for others or marks a place. */
static bool is_work(const struct kthread_work *work)
{
	return work->fn && work->fn != pass_barrier;
}

static void insert_after(struct kthread_worker *w, struct kthread_work *where, struct kthread_work *work)
{
	w->length += is_work(work);
	work->prev = where;
	work->next = where->next;
	where->next->prev = work;
	where->next = work;
}

void kt_worker_append(struct kthread_worker *w, struct kthread_work *work)
{
	insert_after(w, w->list.prev, work);
}

void kt_worker_unlink(struct kthread_worker *w, struct kthread_work *work)
{
	w->length -= is_work(work);
	work->next->prev = work->prev;
	work->prev->next = work->next;
	work->prev = NULL;
}

static struct kthread_work *first(struct kthread_worker *w)
{
	return w->list.next == &w->list ? NULL : w->list.next;
}

void kt_worker_take_inbox(struct kthread_worker *w)
{
	struct kthread_work *after = &w->list;
	struct kthread_work *before = w->list.prev;
	/* acquire: pairs with push() */
	struct kthread_work *last = atomic_exchange_explicit(&w->inbox, NULL, memory_order_acquire);
	w->list.prev = last;
	while (last) {
		struct kthread_work *earlier = last->next;

		if (earlier)
			__builtin_prefetch(earlier->next);
		last->next = after;
		after->prev = last;
		after = last;
		last = earlier;
		w->length++;
	}
	before->next = after;
	after->prev = before;
}

void kt_worker_gather_due(struct kthread_worker *w)
{
	const size_t count = w->wheel.count;
	struct kthread_work *const due = count ? kt_wheel_expire(&w->wheel, kt_now()) : NULL;
	struct kthread_work *last;

	if (!due)
		return;
	last = due->prev;
	due->prev = w->list.prev;
	due->prev->next = due;
	last->next = &w->list;
	w->list.prev = last;
	w->length += count - w->wheel.count;
}

/* ---- the batch -------------------------------------------------------------------------------------------------- */

void kt_worker_empty_batch(struct kthread_worker *w)
{
	unsigned int slot = atomic_load_explicit(&w->batched, memory_order_relaxed);

	atomic_store_explicit(&w->batched, 0, memory_order_relaxed);
	while (slot-- > 0) {
		/* acquire: pairs with next_of_batch(), so `current` is the one that we do not find */
		struct kthread_work *work = atomic_load_explicit(&w->batch[slot], memory_order_acquire);

		if (!work)
			break; /* those before it have been taken, too */
		work = atomic_exchange_explicit(&w->batch[slot], NULL, memory_order_acquire);
		if (!work)
			break;
		insert_after(w, &w->list, work);
	}
}

void kt_worker_gather(struct kthread_worker *w)
{
	kt_worker_recall_batch(w);
	kt_worker_gather_inbox(w);
	kt_worker_gather_due(w);
}

/* Under the lock, by the thread, whose batch is empty: the list's first works. */
static void fill_batch(struct kthread_worker *w)
{
	struct kthread_work *work = w->list.next;
	unsigned int slot = 0;

	while (slot < BATCH && is_work(work)) {
		struct kthread_work *next = work->next;

		__builtin_prefetch(next->next);
		work->prev = NULL;
		atomic_store_explicit(&w->batch[slot++], work, memory_order_relaxed);
		work = next;
	}
	w->length -= slot;
	w->list.next = work;
	work->prev = &w->list;
	w->taken = 0;
	atomic_store_explicit(&w->batched, slot, memory_order_relaxed);
}

/*
 * By the thread: the next one is current. While it was about to take the one that it has made current, somebody may have
 * brought that back into the list: then NULL, and the lock tells. Who finds there a `current` that does not run waits for
 * it in vain, but not for long.
 */
static struct kthread_work *next_of_batch(struct kthread_worker *w)
{
	struct kthread_work *work = w->taken < atomic_load_explicit(&w->batched, memory_order_relaxed)
	                                ? atomic_load_explicit(&w->batch[w->taken], memory_order_relaxed)
	                                : NULL;

	if (!work)
		return NULL;
	/* release: what the one before did is seen by who finds that it runs no more; pairs with kt_worker_is_current() */
	atomic_store_explicit(&w->current, work, memory_order_release);
	/* release: pairs with kt_worker_empty_batch() */
	return atomic_exchange_explicit(&w->batch[w->taken++], NULL, memory_order_acq_rel);
}

static void note_length(const struct kthread_worker *w)
{
	atomic_uint_fast64_t *longest = &w->thread->longest_queue;

	if (w->length > atomic_load_explicit(longest, memory_order_relaxed))
		atomic_store_explicit(longest, w->length, memory_order_relaxed);
}

/*
 * From here on it may be queued again. acq_rel: what anybody did before he queued it, or was told that it is pending, is
 * seen by the function; pairs with claim().
 */
static struct kthread_work *begin(struct kthread_worker *w, struct kthread_work *work, unsigned int works)
{
	kt_thread_count(&w->thread->works_run, works);
	atomic_fetch_and_explicit(kt_work_state(work), ~(unsigned int)WORK_PENDING, memory_order_acq_rel);
	return work;
}

/* Not inlined: the way through the batch needs no registers but the caller's. */
__attribute__((noinline)) static struct kthread_work *next_of_list(struct kthread_worker *w)
{
	struct kthread_work *work;

	kt_worker_lock(w);
	if (!first(w) || w->wheel.count) /* what is due goes before what is queued from now on */
		kt_worker_gather(w);
	note_length(w);
	work = first(w);
	atomic_store_explicit(&w->current, work, memory_order_relaxed);
	if (work)
		kt_worker_unlink(w, work);
	else
		atomic_store_explicit(&w->beckoned, false, memory_order_relaxed);
	if (!w->wheel.count)
		fill_batch(w);
	kt_worker_unlock(w);
	return work ? begin(w, work, is_work(work)) : NULL;
}

struct kthread_work *kt_worker_next(struct kthread_worker *w)
{
	struct kthread_work *work = next_of_batch(w);

	return work ? begin(w, work, 1) : next_of_list(w);
}

/* ---- waiting for a place in the queue --------------------------------------------------------------------------- */

struct barrier {
	struct kthread_work work;
	struct kthread_completion done;
};

static void pass_barrier(struct kthread_work *work)
{
	kthread_complete(&((struct barrier *)work)->done);
}
_Static_assert(offsetof(struct barrier, work) == 0, "a barrier begins with its work");

void kt_worker_rest(struct kthread_worker *w)
{
	struct kthread_work *work;

	kt_worker_lock(w);
	kt_worker_recall_batch(w);
	atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
	while ((work = first(w)) && work->fn == pass_barrier) {
		kt_worker_unlink(w, work);
		pass_barrier(work);
	}
	kt_worker_unlock(w);
}

void kt_worker_wait_behind(struct kthread_worker *w, struct kthread_work *where)
{
	struct barrier barrier = {.work = KTHREAD_WORK_INIT(pass_barrier), .done = KTHREAD_COMPLETION_INIT};
	bool wake;

	barrier.work.state = WORK_PENDING;
	insert_after(w, where, &barrier.work);
	wake = kt_worker_owes_wake(w);
	kt_worker_unlock(w);
	if (wake)
		kt_worker_wake(w);
	kthread_wait_for_completion(&barrier.done);
}

void kthread_flush_worker(struct kthread_worker *w)
{
	if (!w || !kt_worker_is_ours(w))
		return;
	kt_worker_lock(w);
	kt_worker_gather(w);
	if (kt_worker_inside(w) || (!first(w) && kt_worker_is_current(w, NULL)))
		kt_worker_unlock(w);
	else
		kt_worker_wait_behind(w, w->list.prev);
}

size_t kt_worker_abandon(struct kthread_worker *w)
{
	struct kthread_work *work;
	size_t works = 0;

	kt_worker_recall_batch(w);
	atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
	while ((work = first(w))) {
		kt_worker_unlink(w, work);
		if (work == &w->last)
			continue;
		if (work->fn == pass_barrier) {
			pass_barrier(work);
			continue;
		}
		works++;
		atomic_fetch_and_explicit(kt_work_state(work), ~(unsigned int)WORK_PENDING, memory_order_acq_rel);
	}
	return works;
}

size_t kt_worker_close(struct kthread_worker *w)
{
	struct kthread_work *work;
	size_t works = 0;

	if (w->closed)
		return 0;
	w->closed = true;
	for (;;) {
		struct kthread_work *seen;

		kt_worker_gather_inbox(w);
		seen = atomic_load_explicit(&w->inbox, memory_order_relaxed);
		if (seen && seen != INBOX_SLEEPING)
			continue;
		if (!atomic_compare_exchange_strong_explicit(&w->inbox, &seen, INBOX_CLOSED, memory_order_relaxed,
		                                             memory_order_relaxed))
			continue;
		if (w->asleep && seen != INBOX_SLEEPING)
			w->wakes_owed++; /* by the producer that replaced it */
		break;
	}
	kt_worker_gather_due(w);
	for (work = kt_wheel_expire(&w->wheel, KT_NEVER); work; works++) {
		struct kthread_work *next = work->next;

		work->prev = NULL;
		atomic_fetch_and_explicit(kt_work_state(work), ~(unsigned int)WORK_PENDING, memory_order_acq_rel);
		work = next;
	}
	return works;
}
