/* SPDX-License-Identifier: MIT */
/*
 * Each reader has a flag of its own, so readers share no cache line that anybody writes. A reader raises its flag and
 * then looks whether a transition is on; a transition says that it is on and then looks at the flags: one of them sees
 * the other. With membarrier(2) the cost of that order is the transition's alone.
 */
#include "thread/standstill.h"

#include <errno.h>
#include <kthread/hotplug.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/queue.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/futex.h"
#include "base/log.h"
#include "thread/thread.h"

/*
 * Words that are slept on until they change. Who sleeps says so in the word: a wake of nobody costs, too, because the
 * kernel looks through a chain that all sleeping threads of the process may be in.
 */
enum { ON = 1, WAITED = 2, STEP = 4 };

static atomic_uint transition; /* ON: one goes on, or waits for the readers to leave. Who is kept out sleeps on it */
static atomic_uint left;       /* changes when a reader leaves during one, which sleeps on it */
static atomic_bool asymmetric; /* membarrier() is to be had; from false to true only, within a transition */
static bool asked_for_membarrier;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;

enum listing { UNLISTED, LISTED, NEVER };

struct reader {
	atomic_uint inside;
	LIST_ENTRY(reader) link;
};

/* Every thread that has read, while it lives. */
static LIST_HEAD(, reader) readers = LIST_HEAD_INITIALIZER(readers);
static pthread_mutex_t readers_lock = PTHREAD_MUTEX_INITIALIZER;
/* Of threads that cannot be listed: a count. */
static atomic_uint unlisted;

static _Thread_local struct reader me __attribute__((tls_model("initial-exec")));
static _Thread_local struct {
	unsigned int depth; /* of read locks and transitions */
	enum listing listing;
	bool in_transition;
	bool ending;
} mine __attribute__((tls_model("initial-exec")));

/* ---- who reads -------------------------------------------------------------------------------------------------- */

/* -ETIMEDOUT or 0. */
static int sleep_on(atomic_uint *word, unsigned int seen, uint64_t deadline)
{
	if (seen & WAITED || atomic_compare_exchange_strong_explicit(word, &seen, seen | WAITED, memory_order_seq_cst,
	                                                             memory_order_relaxed))
		return kt_futex_wait(word, seen | WAITED, KT_FUTEX_ALL, deadline);
	return 0;
}

static void change(atomic_uint *word, unsigned int clear)
{
	unsigned int now = atomic_load_explicit(word, memory_order_relaxed);

	/* release: what was done before is seen by who finds it changed */
	while (!atomic_compare_exchange_weak_explicit(word, &now, (now & ~(WAITED | clear)) + STEP,
	                                              memory_order_seq_cst, memory_order_relaxed))
		continue;
	if (now & WAITED)
		kt_futex_wake(word, INT_MAX, KT_FUTEX_ALL);
}

static void say_left(void)
{
	if (atomic_load_explicit(&transition, memory_order_seq_cst) & ON)
		change(&left, 0);
}

/* A thread ends: its flag goes with its memory. Another destructor may come after us, to read, or to give up what has
 * been given up here. */
static void thread_ends(void *arg)
{
	struct reader *reader = arg;

	mine.listing = NEVER;
	mine.depth = 0;
	kt_lock(&readers_lock);
	LIST_REMOVE(reader, link);
	kt_unlock(&readers_lock);
	say_left();
}

static void make_key(void)
{
	have_key = pthread_key_create(&key, thread_ends) == 0;
}

static void enlist(void)
{
	pthread_once(&once, make_key);
	if (!have_key || pthread_setspecific(key, &me) != 0) {
		mine.listing = NEVER;
		return;
	}
	kt_lock(&readers_lock);
	LIST_INSERT_HEAD(&readers, &me, link);
	kt_unlock(&readers_lock);
	mine.listing = LISTED;
}

static void raise_flag(void)
{
	if (mine.listing == NEVER)
		atomic_fetch_add_explicit(&unlisted, 1, memory_order_seq_cst);
	else if (atomic_load_explicit(&asymmetric, memory_order_relaxed))
		atomic_store_explicit(&me.inside, 1, memory_order_relaxed);
	else
		atomic_exchange_explicit(&me.inside, 1, memory_order_seq_cst);
	atomic_signal_fence(memory_order_seq_cst); /* the processor's part is membarrier()'s */
}

/* Release: what was done inside is seen by the transition that finds the flag down. */
static void lower_flag(void)
{
	if (mine.listing == NEVER)
		atomic_fetch_sub_explicit(&unlisted, 1, memory_order_seq_cst);
	else if (atomic_load_explicit(&asymmetric, memory_order_relaxed))
		atomic_store_explicit(&me.inside, 0, memory_order_release);
	else
		atomic_exchange_explicit(&me.inside, 0, memory_order_seq_cst);
	atomic_signal_fence(memory_order_seq_cst);
	say_left();
}

void kt_standstill_ending(void)
{
	mine.ending = true;
}

/* The calling kthread has been asked to park or stop, or is on its way out: somebody may be waiting for it. seq_cst:
 * pairs with kt_standstill_asked(), which looks at `transition` after the request. */
static bool awaited(void)
{
	return mine.ending || __atomic_load_n(kthread_current_word, __ATOMIC_SEQ_CST) & (W_STOP | W_PARK_ANY);
}

/* Whoever is on may be waiting for us to leave a CPU, which nobody else may make us do. True if we had to. */
static bool place_self(void)
{
	struct kthread *k = kthread_self();

	if (!k || !(kt_word(&k->word) & W_PLACE_SELF))
		return false;
	kt_hooks->place_self(k);
	return true;
}

/* ---- readers ---------------------------------------------------------------------------------------------------- */

static bool enter(bool wait)
{
	if (mine.listing == UNLISTED)
		enlist();
	for (;;) {
		unsigned int now;

		raise_flag();
		/* acquire: pairs with kt_transition_end(); seq_cst: see awaited() */
		now = atomic_load_explicit(&transition, memory_order_seq_cst);
		if (!(now & ON) || awaited())
			return true;
		lower_flag();
		if (!wait)
			return false;
		if (!place_self())
			sleep_on(&transition, now, KT_NEVER);
	}
}

void kthread_cpus_read_lock(void)
{
	if (mine.depth++ == 0)
		enter(true);
}

bool kthread_cpus_read_trylock(void)
{
	if (mine.depth == 0 && !enter(false))
		return false;
	mine.depth++;
	return true;
}

void kthread_cpus_read_unlock(void)
{
	if (mine.depth > 0 && --mine.depth == 0)
		lower_flag();
}

bool kt_standstill_held(void)
{
	return mine.depth > 0;
}

/* ---- transitions ------------------------------------------------------------------------------------------------ */

/* Who reads for the first time from here on finds our lock released after `transition` was on, and so sees that. */
static bool nobody_has_read(void)
{
	bool nobody;

	kt_lock(&readers_lock);
	nobody = LIST_EMPTY(&readers);
	kt_unlock(&readers_lock);
	return nobody && !atomic_load_explicit(&unlisted, memory_order_seq_cst);
}

static bool anybody_inside(void)
{
	const struct reader *reader;
	bool any;

	if (atomic_load_explicit(&unlisted, memory_order_seq_cst))
		return true;
	kt_lock(&readers_lock);
	LIST_FOREACH(reader, &readers, link) {
		/* acquire: pairs with lower_flag() */
		if (atomic_load_explicit(&reader->inside, memory_order_seq_cst))
			break;
	}
	any = reader != NULL;
	kt_unlock(&readers_lock);
	return any;
}

/* By one who need not fear others: alone, or in a transition that has not looked for readers yet. */
static void ask_for_membarrier(void)
{
	if (asked_for_membarrier)
		return;
	asked_for_membarrier = true;
	atomic_store_explicit(&asymmetric, syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0) == 0,
	                      memory_order_relaxed);
}

void kt_standstill_start(void)
{
	if (__libc_single_threaded)
		ask_for_membarrier();
}

/*
 * After this every reader that does not see us is one whose flag we see: by its own barrier, as long as it has not seen
 * `asymmetric`, else by ours. To register costs milliseconds in a process of several threads: then it is left to the
 * first transition that may wait, as a rule the monitor's.
 */
static void order_readers(bool may_register)
{
	if (may_register)
		ask_for_membarrier();
	if (atomic_load_explicit(&asymmetric, memory_order_relaxed))
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0);
}

static int begin(bool wait, uint64_t deadline)
{
	unsigned int now;
	unsigned int seen;
	int error;

	if (mine.depth > 0)
		return -EDEADLK;
	now = atomic_load_explicit(&transition, memory_order_seq_cst);
	for (;;) {
		if (!(now & ON)) {
			if (atomic_compare_exchange_weak_explicit(&transition, &now, now | ON, memory_order_seq_cst,
			                                          memory_order_seq_cst))
				break;
			continue;
		}
		if (!wait)
			return -EBUSY;
		if (awaited())
			return -EDEADLK;
		if (!place_self() && sleep_on(&transition, now, deadline) != 0)
			return -ETIMEDOUT;
		now = atomic_load_explicit(&transition, memory_order_seq_cst);
	}
	if (nobody_has_read())
		return 0;
	order_readers(wait);
	for (;;) {
		seen = atomic_load_explicit(&left, memory_order_acquire);
		if (!anybody_inside())
			return 0;
		if (!wait || awaited())
			error = wait ? -EDEADLK : -EBUSY;
		else
			error = sleep_on(&left, seen, deadline);
		if (error) {
			change(&transition, ON);
			return error;
		}
	}
}

static void take_part(bool now)
{
	mine.in_transition = now;
	mine.depth = now;
}

/* Messages are kept until the end, because the log function may call what -EDEADLK would be the answer to here; and the
 * thread is not cancelled: a transition half done would stay so. */
static int begin_holding(bool wait, uint64_t deadline)
{
	int error;

	kt_log_hold();
	error = begin(wait, deadline);
	if (error)
		kt_log_release();
	else
		take_part(true);
	return error;
}

int kt_transition_begin(uint64_t deadline)
{
	return begin_holding(true, deadline);
}

int kt_transition_try(void)
{
	return begin_holding(false, KT_NEVER);
}

void kt_transition_end(void)
{
	take_part(false);
	change(&transition, ON);
	kt_log_release();
	place_self(); /* not in it: on its new CPU this thread may be starved */
}

void kt_transition_join(void)
{
	kt_log_hold();
	take_part(true);
}

void kt_transition_leave(struct kt_kept *ret_messages)
{
	kt_log_take(ret_messages);
	take_part(false);
	kt_log_release();
}

void kt_standstill_asked(void)
{
	if (!(atomic_load_explicit(&transition, memory_order_seq_cst) & ON))
		return;
	change(&transition, 0);
	change(&left, 0);
}

/* ---- fork ------------------------------------------------------------------------------------------------------- */

void kt_standstill_fork_prepare(void)
{
	kt_lock(&readers_lock);
}

void kt_standstill_fork_parent(void)
{
	kt_unlock(&readers_lock);
}

/* Nobody reads here but perhaps the caller, and a transition of the parent's is not ours. */
void kt_standstill_fork_child(void)
{
	if (mine.in_transition) { /* a callback has forked */
		take_part(false);
		kt_log_release();
	}
	LIST_INIT(&readers);
	if (mine.listing == LISTED)
		LIST_INSERT_HEAD(&readers, &me, link);
	atomic_store_explicit(&unlisted, mine.listing == NEVER && mine.depth > 0, memory_order_relaxed);
	atomic_store_explicit(&transition, 0, memory_order_relaxed);
	atomic_store_explicit(&asymmetric, false, memory_order_relaxed);
	asked_for_membarrier = false;
	kt_unlock(&readers_lock);
}
