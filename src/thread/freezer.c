/* SPDX-License-Identifier: MIT */
/*
 * All freezable threads are asked (W_FREEZE), then waited for one by one (W_FROZEN, or W_PARKED). From the request on
 * each change of a thread's word keeps it held: what was found to stand stays so until the thaw, or a stop.
 */
#include "thread/freezer.h"

#include <errno.h>
#include <kthread/freezer.h>

#include "base/log.h"
#include "base/trace.h"
#include "thread/standstill.h"
#include "thread/thread.h"

/*
 * Under the lock a freeze begins and ends, with all requests of it: so that no thread is asked after the thaw. It is
 * taken by who becomes freezable, too: he is found by the walk over all threads, or finds that a freeze is on.
 */
static struct {
	pthread_mutex_t lock;
	atomic_bool on;      /* from false to true only in a transition */
	uint64_t generation; /* of freezes */
	uint64_t left_out;   /* the number of the kthread that has begun it; 0 = none */
	void (*thawed)(void);
} freezer = {.lock = PTHREAD_MUTEX_INITIALIZER};

bool kt_freezer_on(void)
{
	return atomic_load_explicit(&freezer.on, memory_order_acquire);
}

void kt_freezer_hook(void (*fn)(void))
{
	freezer.thawed = fn;
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

/* A transition must not wait for the thaw. */
static bool freeze_here(struct kthread *k)
{
	return kt_word(&k->word) & W_FREEZE && !kt_standstill_held() && kt_thread_hold(k, W_FREEZE) & W_FROZEN;
}

bool kthread_set_freezable(void)
{
	struct kthread *k = kt_thread_self_alive();
	bool asked;

	if (!k)
		return false;
	kt_lock(&freezer.lock);
	asked = kt_freezer_on() && freezer.left_out != k->number;
	kt_word_set(&k->word, W_FREEZABLE | (asked ? W_FREEZE : 0));
	kt_unlock(&freezer.lock);
	return freeze_here(k);
}

bool kthread_try_to_freeze(void)
{
	struct kthread *k = kt_thread_self_alive();

	return k && freeze_here(k);
}

bool kthread_freezable_should_stop(bool *was_frozen)
{
	const bool froze = kthread_try_to_freeze();

	if (was_frozen)
		*was_frozen = froze;
	return kthread_should_stop();
}

/* ---- one thread ------------------------------------------------------------------------------------------------- */

void kt_thread_ask_to_freeze(struct kthread *k)
{
	unsigned int before = kt_word(&k->word);
	unsigned int after;

	do {
		if (before & (W_STOP | W_EXITED | W_FREEZE))
			return;
		after = before | W_FREEZE;
		/* Asleep inside the library: it is frozen where it is. What it did before, it did before it set IN_PLACE. */
		if (!(before & W_PARKED))
			after |= before & W_IN_PLACE ? W_FROZEN : W_TOKEN;
	} while (!kt_thread_turn(k, &before, after));
	if (after & (W_PARKED | W_FROZEN))
		return;
	kt_thread_roused(k, before & W_SLEEPING);
	kt_event_fd_notify(k);
	if (k->interrupt_signal)
		kt_interrupt_send(k); /* the first one to each, before one is waited for */
}

/* Asleep in place it sleeps on, unless it has been woken meanwhile. */
void kt_thread_thaw(struct kthread *k)
{
	unsigned int before = kt_word(&k->word);

	do {
		if (!(before & W_FREEZE))
			return;
	} while (!kt_thread_turn(k, &before, before & ~(unsigned int)(W_FREEZE | W_FROZEN | W_WATCHED)));
	if (!(before & W_FROZEN) || (before & W_IN_PLACE && !(before & W_TOKEN)))
		before &= ~(unsigned int)W_SLEEPING;
	kt_thread_roused(k, before);
}

static bool stands(unsigned int now)
{
	return now & (W_FROZEN | W_PARKED | W_EXITED);
}

bool kt_thread_await_standing(struct kthread *k, uint64_t deadline)
{
	const unsigned int answers = W_FROZEN | W_PARKED | W_STOP | W_EXITED;
	unsigned int now = kt_thread_watch(k, answers, W_FREEZE, 0, deadline);

	/* it will not freeze any more, and has the rest of its code to run */
	if ((now & (W_STOP | W_EXITED)) == W_STOP)
		now = kt_thread_watch(k, W_EXITED, 0, W_TOLD_STOP, deadline);
	return stands(now) || !(now & (W_FREEZE | W_STOP));
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

static bool concerned(const struct kthread *k, const struct kthread *self)
{
	return kt_word(&k->word) & W_FREEZABLE && k != self;
}

static void begin_locked(const struct kthread *self)
{
	struct kthread *k = NULL;

	atomic_store_explicit(&freezer.on, true, memory_order_release);
	kt_trace("freeze", &KT_TRACE_EMPTY);
	freezer.generation++;
	freezer.left_out = self ? self->number : 0;
	while ((k = kt_registry_next(k))) {
		if (concerned(k, self))
			kt_thread_ask_to_freeze(k);
	}
}

static void thaw_locked(void)
{
	struct kthread *k = NULL;

	if (!kt_freezer_on())
		return;
	atomic_store_explicit(&freezer.on, false, memory_order_release);
	kt_trace("thaw", &KT_TRACE_EMPTY);
	while ((k = kt_registry_next(k)))
		kt_thread_thaw(k);
	if (freezer.thawed)
		freezer.thawed();
}

/* Within a transition: none that waits for threads is under way, and the next finds that a freeze is on. */
static int begin(const struct kthread *self, uint64_t deadline, uint64_t *ret_generation)
{
	int error = kt_transition_begin(deadline);

	if (error == -ETIMEDOUT)
		kt_log(NO_FREEZE, "no freeze: CPUs are going or coming, or somebody holds kthread_cpus_read_lock()");
	if (error)
		return error;
	kt_lock(&freezer.lock);
	if (kt_freezer_on()) {
		error = -EBUSY;
	} else {
		begin_locked(self);
		*ret_generation = freezer.generation;
	}
	kt_unlock(&freezer.lock);
	kt_transition_end();
	return error;
}

static bool await_all(const struct kthread *self, uint64_t deadline)
{
	struct kthread *k = NULL;
	bool all = true;

	while ((k = kt_registry_next(k)))
		all &= !concerned(k, self) || kt_thread_await_standing(k, deadline);
	return all;
}

static size_t name_refusers(const struct kthread *self, kt_refusal_fn *refused, void *arg)
{
	struct kthread *k = NULL;
	size_t count = 0;

	while ((k = kt_registry_next(k))) {
		const unsigned int now = kt_word(&k->word);

		if (!concerned(k, self) || stands(now))
			continue;
		kt_log(NOT_FROZEN, "%s (%d): %s", k->name, (int)kt_thread_tid(k),
		       now & W_STOP ? "has been asked to stop, and does not end" : "does not freeze");
		if (refused)
			refused(k, arg);
		count++;
	}
	return count;
}

int kthread_freeze_all(uint64_t timeout_ns)
{
	return kt_freeze_all(timeout_ns, NULL, NULL);
}

int kt_freeze_all(uint64_t timeout_ns, kt_refusal_fn *refused, void *arg)
{
	const uint64_t deadline = kt_deadline(timeout_ns);
	const struct kthread *self = kt_thread_self_alive();
	uint64_t generation;
	int error = kt_library_up();
	bool all;

	if (!error)
		error = begin(self, deadline, &generation);
	if (error)
		return error;
	all = await_all(self, deadline);
	kt_lock(&freezer.lock); /* messages are kept until everybody may run again: to deliver them may need somebody */
	if (!kt_freezer_on() || freezer.generation != generation) {
		error = -ECANCELED;
	} else if (!all && name_refusers(self, refused, arg) > 0) {
		error = -ETIMEDOUT;
		thaw_locked();
	}
	kt_unlock(&freezer.lock);
	return error;
}

void kthread_thaw_all(void)
{
	kt_lock(&freezer.lock);
	thaw_locked();
	kt_unlock(&freezer.lock);
}

/* ---- the library's life ----------------------------------------------------------------------------------------- */

/* There are no threads any more; and it does not last into the library's next life. */
static void stop(void)
{
	kthread_thaw_all();
}

static void fork_prepare(void)
{
	kt_lock(&freezer.lock);
}

static void fork_parent(void)
{
	kt_unlock(&freezer.lock);
}

static void fork_child(void)
{
	atomic_store_explicit(&freezer.on, false, memory_order_relaxed);
	kt_unlock(&freezer.lock);
}

const struct kt_room kt_freezer = {
    .name = "freezer",
    .stop = stop,
    .fork_prepare = fork_prepare,
    .fork_parent = fork_parent,
    .fork_child = fork_child,
};
