/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "thread/standstill.h"
#include "thread/thread.h"

pthread_mutex_t kt_registry_lock = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(threads, kthread) threads = TAILQ_HEAD_INITIALIZER(threads); /* by number, ascending */
static uint64_t last_number;
static size_t count;

void kt_registry_add(struct kthread *k)
{
	kt_lock(&kt_registry_lock);
	k->number = ++last_number;
	k->listed = true;
	TAILQ_INSERT_TAIL(&threads, k, link);
	count += k->kind != KT_INTERNAL;
	kt_unlock(&kt_registry_lock);
}

static void remove_locked(struct kthread *k)
{
	TAILQ_REMOVE(&threads, k, link);
	k->listed = false;
	count -= k->kind != KT_INTERNAL;
}

void kt_registry_remove(struct kthread *k)
{
	kt_lock(&kt_registry_lock);
	if (k->listed)
		remove_locked(k);
	kt_unlock(&kt_registry_lock);
}

/*
 * A listed thread has a reference of its own (alive) or its adopter's, and leaves the list before that goes: so a
 * reference may be taken under the lock. `after` may have left the list meanwhile; numbers keep the place.
 */
struct kthread *kt_registry_next(struct kthread *after)
{
	struct kthread *k;

	kt_lock(&kt_registry_lock);
	if (after && after->listed) {
		k = TAILQ_NEXT(after, link);
	} else {
		k = TAILQ_FIRST(&threads);
		while (after && k && k->number <= after->number)
			k = TAILQ_NEXT(k, link);
	}
	kthread_get(k);
	kt_unlock(&kt_registry_lock);
	kthread_put(after);
	return k;
}

void kt_registry_if_listed(struct kthread *k, void (*fn)(struct kthread *k))
{
	kt_lock(&kt_registry_lock);
	if (k->listed)
		fn(k);
	kt_unlock(&kt_registry_lock);
}

size_t kt_registry_count(void)
{
	size_t now;

	kt_lock(&kt_registry_lock);
	now = count;
	kt_unlock(&kt_registry_lock);
	return now;
}

bool kt_registry_has(pid_t tid)
{
	struct kthread *k;

	kt_lock(&kt_registry_lock);
	TAILQ_FOREACH(k, &threads, link) {
		if ((pid_t)atomic_load_explicit(&k->tid, memory_order_relaxed) == tid)
			break;
	}
	kt_unlock(&kt_registry_lock);
	return k != NULL;
}

/* ---- the library's life --------------------------------------------------------------------------------------- */

static int start(void)
{
	kt_standstill_start();
	return 0;
}

static void stop(void)
{
	kt_interrupt_restore();
}

static void fork_prepare(void)
{
	kt_lock(&kt_registry_lock);
	kt_standstill_fork_prepare();
}

static void fork_parent(void)
{
	kt_standstill_fork_parent();
	kt_unlock(&kt_registry_lock);
}

/* None of these threads exists here. Their handles do, as long as somebody holds them. */
static void fork_child(void)
{
	const struct kthread *self = kthread_self();
	struct kthread *k;

	kt_standstill_fork_child();
	kt_thread_set_self(NULL);
	while ((k = TAILQ_FIRST(&threads))) {
		remove_locked(k);
		kt_word_set(&k->word, W_EXITED);
		if (k->kind == KT_ADOPTED && (!k->adopted_itself || k == self))
			continue; /* nothing of the thread's own to drop, or the thread is here and will drop it */
		if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
			kt_thread_free(k);
	}
	kt_unlock(&kt_registry_lock);
}

const struct kt_room kt_thread_room = {
    .name = "thread",
    .start = start,
    .stop = stop,
    .fork_prepare = fork_prepare,
    .fork_parent = fork_parent,
    .fork_child = fork_child,
};
