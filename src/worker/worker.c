/* SPDX-License-Identifier: MIT */
/*
 * The thread of a worker, and its life from creation to destruction.
 *
 * The memory of a worker is kept for the next one until the end of the library: a work remembers its worker, and may be
 * cancelled, flushed or queued elsewhere after that has been destroyed; and a producer that races with the destruction
 * finds a closed inbox, not freed memory.
 */
#include <errno.h>
#include <kthread/freezer.h>
#include <kthread/placement.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "base/futex.h"
#include "base/log.h"
#include "base/probe.h"
#include "machine/view.h"
#include "thread/thread.h"
#include "worker/worker.h"

static pthread_mutex_t workers_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(workers, kthread_worker) living = LIST_HEAD_INITIALIZER(living);
static struct workers unused = LIST_HEAD_INITIALIZER(unused);

/* Sorted ahead between two looks at the inbox: some microseconds. */
#define SORT_AHEAD 64u

/* About what a sleep and a wake cost on two CPUs. */
#define BRIEFLY_NS (KT_NS_PER_MS / 20)

/* ---- waking ----------------------------------------------------------------------------------------------------- */

bool kt_worker_owes_wake(struct kthread_worker *w)
{
	if (w->asleep)
		w->wakes_owed++;
	else
		atomic_store_explicit(&w->beckoned, true, memory_order_relaxed);
	return w->asleep;
}

void kt_worker_wake(struct kthread_worker *w)
{
	kthread_wake(w->thread);
	/* release: our last use of the handle; pairs with settle_wakes() */
	atomic_fetch_add_explicit(&w->wakes_made, 1, memory_order_release);
}

/* Nobody is about to use the handle after this. Who is has replaced INBOX_SLEEPING, or counted himself under the lock,
 * and nobody can do that any more. */
static void settle_wakes(struct kthread_worker *w)
{
	unsigned int turn = 0;
	unsigned int made;

	while ((made = atomic_load_explicit(&w->wakes_made, memory_order_acquire)) != w->wakes_owed) {
		if (turn < KT_SPIN_PAUSES + KT_SPIN_YIELDS)
			kt_spin(turn++);
		else /* it has been preempted there; nobody wakes us for it */
			kt_futex_wait(&w->wakes_made, made, KT_FUTEX_ALL, kt_deadline(KT_NS_PER_MS));
	}
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

/* Under the lock: what it was asleep for has come. */
static void awake(struct kthread_worker *w)
{
	struct kthread_work *seen = INBOX_SLEEPING;

	w->asleep = false;
	if (!w->closed && !atomic_compare_exchange_strong_explicit(&w->inbox, &seen, NULL, memory_order_relaxed,
	                                                           memory_order_relaxed))
		w->wakes_owed++; /* by the producer that replaced it */
}

/* Under the lock: may it sleep? Then producers know. */
static bool fall_asleep(struct kthread_worker *w)
{
	struct kthread_work *seen = NULL;

	if (w->list.next != &w->list)
		return false;
	/* pairs with push(): one of them sees the other */
	if (!w->closed && !atomic_compare_exchange_strong_explicit(&w->inbox, &seen, INBOX_SLEEPING,
	                                                           memory_order_relaxed, memory_order_relaxed))
		return false;
	w->asleep = true;
	w->wake_at = kt_wheel_next(&w->wheel);
	return true;
}

/* Did its last sleep, with what it did after that until it idled again, take no longer than a sleep and a wake cost? */
static bool naps(struct kthread_worker *w, uint64_t now)
{
	if (w->slept_at)
		w->naps = now - w->slept_at < BRIEFLY_NS;
	w->slept_at = 0;
	return w->naps;
}

/*
 * Nothing to do: a little longer, because a work often has a successor; then until somebody wakes it. Yields only as long
 * as they spare it sleeps that are not worth it: the scheduler takes them for a renunciation, and then the next wake does
 * not preempt.
 */
static void idle(struct kthread_worker *w)
{
	const uint64_t now = kt_now();
	const unsigned int turns = KT_SPIN_PAUSES + (naps(w, now) ? KT_SPIN_YIELDS : 0);
	bool more_to_sort;

	for (unsigned int turn = 0; turn < turns; turn++) {
		if (atomic_load_explicit(&w->inbox, memory_order_relaxed) ||
		    atomic_load_explicit(&w->beckoned, memory_order_relaxed))
			break;
		kt_spin(turn);
	}
	kt_worker_lock(w);
	more_to_sort = kt_wheel_sort_ahead(&w->wheel, SORT_AHEAD);
	if (more_to_sort || !fall_asleep(w)) {
		kt_worker_unlock(w);
		return;
	}
	kt_worker_unlock(w);
	w->slept_at = now;
	/* A per-CPU one is not parked in its sleep: what has just been queued is to run before. */
	kt_thread_wait(w->wake_at, !(w->flags & KTHREAD_WORKER_PER_CPU));
	kt_worker_lock(w);
	awake(w);
	kt_worker_unlock(w);
}

/* False: this is the child of a fork() in the work's function, where the worker may be gone. */
static bool run(struct kthread_worker *w, struct kthread_work *work)
{
	const unsigned int epoch = atomic_load_explicit(&kt_epoch, memory_order_relaxed);
	void (*const fn)(struct kthread_work * work) = work->fn;

	KT_PROBE3(work_begin, w, work, fn);
	fn(work);
	KT_PROBE2(work_end, w, work);
	return epoch == atomic_load_explicit(&kt_epoch, memory_order_relaxed);
}

/* Its CPU is about to go: on that CPU, and before it parks, what has been queued by now. */
static bool run_what_is_queued(struct kthread_worker *w)
{
	struct kthread_work *work = NULL;

	kt_worker_lock(w);
	kt_worker_gather(w);
	kt_worker_append(w, &w->last);
	kt_worker_unlock(w);
	while (work != &w->last && kt_thread_on_cpu(w->cpu)) {
		work = kt_worker_next(w);
		if (work != &w->last && !run(w, work))
			return false;
	}
	kt_worker_lock(w);
	kt_worker_gather(w);
	if (work != &w->last)
		kt_worker_unlink(w, &w->last);
	kt_worker_unlock(w);
	return true;
}

static bool park(struct kthread_worker *w)
{
	if (w->flags & KTHREAD_WORKER_PER_CPU && kt_word(&w->thread->word) & W_PARK_CPU &&
	    kt_view_has(KT_USABLE, w->cpu) && !run_what_is_queued(w))
		return false;
	kt_worker_rest(w);
	kt_thread_park_once(w->thread); /* what has been queued between two parks is to run, too */
	return true;
}

static void say_lost(const char *name, size_t works, const char *why)
{
	if (works)
		kt_log(WORKS_LOST, "worker %s: %zu works will not run: %s", name, works, why);
}

#define NOT_DUE "their time had not come; cancel delayed works before their worker is stopped"
#define DIED "its thread has ended before them"

static void close_down(struct kthread_worker *w)
{
	size_t not_due;

	kt_worker_lock(w);
	not_due = kt_worker_close(w);
	kt_worker_unlock(w);
	say_lost(kthread_name(w->thread), not_due, NOT_DUE);
}

/* One turn; false: that was the last. */
static bool turn(struct kthread_worker *w)
{
	const unsigned int asked = kt_word(&w->thread->word) & (W_STOP | W_PARK_ANY | W_FREEZE);
	const bool stopping = asked && kthread_should_stop();
	struct kthread_work *work;

	if (stopping) {
		close_down(w);
	} else if (asked && kthread_should_park()) {
		return park(w);
	} else if (w->flags & KTHREAD_WORKER_PER_CPU && !kt_thread_on_cpu(w->cpu)) {
		kt_worker_rest(w);
		kt_thread_leave_foreign_cpu(w->thread, w->cpu);
		return true;
	}
	if (asked & W_FREEZE) { /* only if FREEZABLE */
		kt_worker_rest(w);
		if (kthread_try_to_freeze())
			return true; /* stopped, perhaps */
	}
	work = kt_worker_next(w);
	if (work)
		return run(w, work);
	if (!stopping)
		idle(w);
	return !stopping;
}

static void abandon(struct kthread_worker *w)
{
	size_t not_due;
	size_t lost;

	kt_worker_lock(w);
	not_due = kt_worker_close(w);
	lost = kt_worker_abandon(w);
	kt_worker_unlock(w);
	say_lost(kthread_name(w->thread), not_due, NOT_DUE);
	say_lost(kthread_name(w->thread), lost, DIED);
}

/* A work has ended the thread: kthread_exit(), pthread_exit(). */
static void died(void *data)
{
	struct kthread_worker *w = data;

	if (kt_worker_is_ours(w))
		abandon(w);
}

static int worker_fn(void *data)
{
	struct kthread_worker *w = data;

	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
	if (w->flags & KTHREAD_WORKER_FREEZABLE)
		kthread_set_freezable();
	kt_worker_lock(w);
	awake(w);
	kt_worker_unlock(w);
	pthread_cleanup_push(died, w);
	while (turn(w))
		continue;
	pthread_cleanup_pop(0);
	return 0;
}

bool kt_worker_has(const struct kthread *k)
{
	return k->fn == worker_fn;
}

/* ---- creation --------------------------------------------------------------------------------------------------- */

/* Memory for a worker, new or of one that has been destroyed. Its inbox is closed. */
static struct kthread_worker *take_memory(void)
{
	struct kthread_worker *w;

	kt_lock(&workers_lock);
	w = LIST_FIRST(&unused);
	if (w)
		LIST_REMOVE(w, link);
	kt_unlock(&workers_lock);
	if (w)
		return w;
	w = aligned_alloc(_Alignof(struct kthread_worker), sizeof(*w));
	if (!w) {
		errno = ENOMEM;
		return NULL;
	}
	atomic_init(&w->inbox, INBOX_CLOSED);
	atomic_init(&w->wakes_made, 0);
	w->wakes_owed = 0;
	atomic_init(&w->lock, KT_FUTEX_FREE);
	return w;
}

static void give_memory_back(struct kthread_worker *w)
{
	kt_lock(&workers_lock);
	LIST_INSERT_HEAD(&unused, w, link);
	kt_unlock(&workers_lock);
}

static bool flags_are_good(unsigned int flags, bool on_cpu)
{
	const unsigned int known = KTHREAD_WORKER_FREEZABLE | (on_cpu ? KTHREAD_WORKER_PER_CPU : 0);

	if (!(flags & ~known))
		return true;
	errno = EINVAL;
	return false;
}

static struct kthread_worker *prepare(unsigned int flags)
{
	struct kthread_worker *w = take_memory();

	if (!w)
		return NULL;
	kt_worker_lock(w); /* a late canceller of one of the former works may be looking */
	w->asleep = true;
	w->closed = false;
	w->wake_at = KT_NEVER;
	w->slept_at = 0;
	w->naps = false;
	w->list = (struct kthread_work){.fn = NULL, .next = &w->list, .prev = &w->list};
	atomic_store_explicit(&w->beckoned, false, memory_order_relaxed);
	atomic_store_explicit(&w->batched, 0, memory_order_relaxed);
	w->taken = 0;
	atomic_store_explicit(&w->current, NULL, memory_order_relaxed);
	w->last = (struct kthread_work){.fn = NULL};
	w->length = 0;
	w->thread = NULL;
	atomic_store_explicit(&w->epoch, atomic_load_explicit(&kt_epoch, memory_order_relaxed), memory_order_relaxed);
	w->flags = flags;
	kt_wheel_init(&w->wheel);
	kt_worker_unlock(w);
	return w;
}

/* thread NULL: it could not be made, errno says why. */
static struct kthread_worker *bring_up(struct kthread_worker *w, struct kthread *thread)
{
	if (!thread) {
		const int error = errno;

		give_memory_back(w);
		errno = error;
		return NULL;
	}
	thread->enters_stopped = true; /* works have been accepted */
	kt_worker_lock(w);
	w->thread = thread;
	kt_worker_unlock(w);
	kt_lock(&workers_lock);
	LIST_INSERT_HEAD(&living, w, link);
	kt_unlock(&workers_lock);
	/* Who queues starts it. release: pairs with push(). */
	atomic_store_explicit(&w->inbox, INBOX_SLEEPING, memory_order_release);
	return w;
}

static struct kthread_worker *create(const struct kthread_attr *attr, unsigned int flags, const char *namefmt,
                                     va_list args)
{
	char *name = flags_are_good(flags, false) ? kt_name_format(namefmt, args) : NULL;
	struct kthread_worker *w = name ? prepare(flags) : NULL;

	if (w)
		w = bring_up(w, kthread_create_attr(attr, worker_fn, w, "%s", name));
	free(name);
	return w;
}

struct kthread_worker *kthread_create_worker(unsigned int flags, const char *namefmt, ...)
{
	struct kthread_worker *w;
	va_list args;

	va_start(args, namefmt);
	w = create(NULL, flags, namefmt, args);
	va_end(args);
	return w;
}

struct kthread_worker *kthread_create_worker_on_node(unsigned int flags, int node, const char *namefmt, ...)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread_worker *w;
	va_list args;

	attr.node = node;
	va_start(args, namefmt);
	w = create(&attr, flags, namefmt, args);
	va_end(args);
	return w;
}

struct kthread_worker *kthread_create_worker_attr(const struct kthread_attr *attr, unsigned int flags,
                                                  const char *namefmt, ...)
{
	struct kthread_worker *w;
	va_list args;

	va_start(args, namefmt);
	w = create(attr, flags, namefmt, args);
	va_end(args);
	return w;
}

struct kthread_worker *kthread_create_worker_on_cpu(unsigned int cpu, unsigned int flags, const char *namefmt)
{
	struct kthread_worker *w = flags_are_good(flags, true) ? prepare(flags) : NULL;
	struct kthread *thread;

	if (!w)
		return NULL;
	w->cpu = cpu;
	thread = kthread_create_on_cpu(worker_fn, w, cpu, namefmt);
	if (thread && flags & KTHREAD_WORKER_PER_CPU) {
		const int error = kthread_set_per_cpu(thread, (int)cpu);

		if (error) {
			kthread_stop(thread);
			thread = NULL;
			errno = -error;
		}
	}
	return bring_up(w, thread);
}

struct kthread_worker *kthread_run_worker(unsigned int flags, const char *namefmt, ...)
{
	struct kthread_worker *w;
	va_list args;

	va_start(args, namefmt);
	w = create(NULL, flags, namefmt, args);
	va_end(args);
	kthread_wake(kthread_worker_thread(w));
	return w;
}

struct kthread_worker *kthread_run_worker_on_cpu(unsigned int cpu, unsigned int flags, const char *namefmt)
{
	struct kthread_worker *w = kthread_create_worker_on_cpu(cpu, flags, namefmt);

	kthread_wake(kthread_worker_thread(w));
	return w;
}

struct kthread *kthread_worker_thread(struct kthread_worker *w)
{
	return w ? w->thread : NULL;
}

/* ---- destruction ------------------------------------------------------------------------------------------------ */

static void end(struct kthread_worker *w)
{
	close_down(w);
	/* It runs its list before it ends, also if it is parked, frozen, or has not begun. */
	kthread_stop(kthread_get(w->thread));
	settle_wakes(w);
}

void kthread_destroy_worker(struct kthread_worker *w)
{
	struct kthread *thread = kthread_worker_thread(w);

	if (!thread)
		return;
	if (kthread_self() == thread) {
		kt_log(WORKER_STAYS, "worker %s: cannot be destroyed by one of its works: it stays",
		       kthread_name(thread));
		return;
	}
	if (kt_worker_is_ours(w))
		end(w);
	kt_worker_lock(w);
	w->thread = NULL;
	kt_worker_unlock(w);
	kthread_put(thread);
	kt_lock(&workers_lock);
	LIST_REMOVE(w, link);
	LIST_INSERT_HEAD(&unused, w, link);
	kt_unlock(&workers_lock);
}

/* ---- the library's life ----------------------------------------------------------------------------------------- */

static void free_unused(void)
{
	struct kthread_worker *w;

	while ((w = LIST_FIRST(&unused))) {
		LIST_REMOVE(w, link);
		free(w);
	}
}

static void fork_prepare(void)
{
	kt_lock(&workers_lock);
}

static void fork_parent(void)
{
	kt_unlock(&workers_lock);
}

/* Locks may have been held by threads that do not exist here; and nobody will run anything. */
static void fork_child(void)
{
	struct kthread_worker *w;

	LIST_FOREACH(w, &living, link) {
		atomic_store_explicit(&w->lock, KT_FUTEX_FREE, memory_order_relaxed);
		atomic_store_explicit(&w->inbox, INBOX_CLOSED, memory_order_relaxed);
		w->closed = true;
		/* Wakes under way, or made and not taken note of: for who gets this memory next none is owed. */
		atomic_store_explicit(&w->wakes_made, w->wakes_owed, memory_order_relaxed);
	}
	LIST_FOREACH(w, &unused, link)
		atomic_store_explicit(&w->lock, KT_FUTEX_FREE, memory_order_relaxed);
	kt_unlock(&workers_lock);
}

const struct kt_room kt_worker_room = {
    .name = "worker",
    .stop = free_unused,
    .fork_prepare = fork_prepare,
    .fork_parent = fork_parent,
    .fork_child = fork_child,
};
