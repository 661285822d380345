/* SPDX-License-Identifier: MIT */
/*
 * struct kthread, and what the rooms above this one may do with it.
 */
#ifndef KT_THREAD_THREAD_H
#define KT_THREAD_THREAD_H

#include <kthread/thread.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/queue.h>

#include "base/library.h"
#include "base/spin.h"
#include "thread/word.h"

struct kt_place; /* placement's part of a thread */

enum kt_kind {
	KT_KTHREAD,  /* ours, with a life */
	KT_INTERNAL, /* the same, but the library's own: not counted, not shown */
	KT_ADOPTED   /* a foreign thread: placement only */
};

#define KT_TID_AWAITED (UINT_MAX - 1)

struct kthread {
	atomic_uint word; /* first: kthread_current_word points here, and here is the handle (ABI) */
	/* Users count two each; one more while the thread itself lives and uses the handle. So 3 is "the last user of a
	 * living thread". A thread adopted by another does not use the handle. */
	atomic_uint refs;
	atomic_uint tid;     /* 0 until the thread has begun, KT_TID_AWAITED if somebody sleeps for it */
	atomic_int event_fd; /* -1 = none */
	unsigned int epoch;
	enum kt_kind kind;
	int node;             /* for its stack's memory; KTHREAD_NO_NODE */
	bool adopted_itself;  /* KT_ADOPTED by the thread itself, which so holds its handle until it ends */
	int interrupt_signal; /* 0 = no KTHREAD_INTERRUPT */
	int result;           /* the thread's, until EXITED */
	int (*fn)(void *data);
	void *data;
	pthread_t pthread;
	struct kt_birth *birth;               /* the creator waits for it; NULL = it doesn't */
	struct kthread_completion *exit_done; /* kthread_complete_and_exit() */
	bool enters_stopped;                  /* fn is entered also if it was stopped first: it has something to end */
	struct kt_place *place;               /* in the handle's own memory; NULL once it has none any more */
	atomic_bool looks_at_its_cpu;         /* has called kthread_bound_should_stop(); relaxed */
	/* Counters for who looks: relaxed. */
	atomic_uint_fast64_t wakes;
	atomic_uint_fast64_t parks;
	atomic_uint_fast64_t freezes;
	/* Written by the thread alone: */
	atomic_uint_fast64_t chunks;        /* of ktask's jobs */
	atomic_uint_fast64_t works_run;     /* a worker's, that have begun */
	atomic_uint_fast64_t longest_queue; /* a worker's, as it has found it */
	/* The registry's, under its lock. */
	TAILQ_ENTRY(kthread) link;
	uint64_t number;
	bool listed;
	char *name;
	max_align_t place_memory[]; /* kt_hooks->place_size bytes, zero; then the name */
};
_Static_assert(offsetof(struct kthread, word) == 0, "kthread_current_word is the handle");

/* What placement does at the turns of a thread's life. Set once, before the first thread; called under no lock. */
struct kt_thread_hooks {
	/* What k->place_memory is to hold: so that the thread has nothing to free when it ends, which would cost it a heap
	 * arena of its own. */
	size_t place_size;
	/* By the creator, before the thread exists: give it its place. 0 or -errno. */
	int (*created)(struct kthread *k, int node, int cpu);
	/* By the thread, before anything of the user's runs: take the place. */
	void (*born)(struct kthread *k);
	/* The last act, by the thread, or by the creator if it never came to life. */
	void (*gone)(struct kthread *k);
	/* The last reference to an adopted thread goes: give it its mask back, and forget it. May be called again. */
	void (*released)(struct kthread *k);
	/* By who unparks, before the thread can resume: rebind a per-CPU thread. */
	void (*unparking)(struct kthread *k);
	/* By the thread, which found W_PLACE_SELF: set your own mask. */
	void (*place_self)(struct kthread *k);
	/* By a thread: is it bound, and not where it should be (after looking again, if it seems so)? */
	bool (*out_of_place)(struct kthread *k);
};

void kt_thread_hook(const struct kt_thread_hooks *hooks);
extern const struct kt_thread_hooks *kt_hooks;

extern const struct kt_room kt_thread_room;

/* Life, for the library's own purposes. */
struct kthread *kt_thread_spawn(enum kt_kind kind, int (*fn)(void *data), void *data, const char *name);
/* A handle without a thread of ours behind it (adoption). Not listed yet. NULL and errno. */
struct kthread *kt_thread_alloc(enum kt_kind kind, char *name);
void kt_thread_free(struct kthread *k);
char *kt_name_format(const char *format, va_list args);
/* "name" cut to the kernel's 15 bytes: a number at its end survives. */
void kt_comm(const char *name, char comm[16]);
/* Make k what kthread_self() answers in the calling thread; NULL = nobody. */
void kt_thread_set_self(struct kthread *k);
/* The calling kthread; NULL for foreign and adopted threads, which have no life here. */
struct kthread *kt_thread_self_alive(void);

/* 0 if k is a handle of this process, else -EINVAL, -ECHILD. */
static inline int kt_handle(const struct kthread *k)
{
	if (!k)
		return -EINVAL;
	return k->epoch == atomic_load_explicit(&kt_epoch, memory_order_relaxed) ? 0 : -ECHILD;
}

/* The same for life: also -EOPNOTSUPP. */
static inline int kt_handle_alive(const struct kthread *k)
{
	const int error = kt_handle(k);

	return !error && k->kind == KT_ADOPTED ? -EOPNOTSUPP : error;
}

/* kthread_stop() without the wait. */
void kt_thread_ask_to_stop(struct kthread *k);
/* kthread_park() without the wait: 0 it is parked; -EINPROGRESS it has been asked, and kthread_unpark() takes that back;
 * -EBUSY, -ENOSYS (also if it has been asked to stop). The handle is alive. */
int kt_thread_ask_to_park(struct kthread *k);

/* Placement's requests to a thread. Any thread; they do not wait. */
/* Unless it has been asked to stop. False: ask again soon, its KTHREAD_INTERRUPT signal may have come too early. */
bool kt_thread_park_for_cpu(struct kthread *k);
void kt_thread_unpark_for_cpu(struct kthread *k); /* leaves a park that kthread_park() asked for */
/* It has parked because of that (and nothing is said of other reasons), or will before its function is entered. */
bool kt_thread_parked_for_cpu(const struct kthread *k);
/* Wait until it has, or is not asked to any more, or stops; true. False at the deadline. */
bool kt_thread_await_parked_for_cpu(struct kthread *k, uint64_t deadline);
void kt_thread_set_broken(struct kthread *k, bool broken);
void kt_thread_place_self(struct kthread *k);
/* May its place be changed now? True while created, parked or adopted, and for the library's own. */
bool kt_thread_placeable(const struct kthread *k);
/* Waits until it is known; k->pthread is, too, then. -ESRCH if the thread never came to life. */
pid_t kt_thread_tid(const struct kthread *k);
/* The same for who may not wait: 0 if it is not known yet, or never came to life. */
pid_t kt_thread_known_tid(const struct kthread *k);

/* The freezer's requests to a freezable thread (freezer.c). They do not wait. */
void kt_thread_ask_to_freeze(struct kthread *k);
void kt_thread_thaw(struct kthread *k);
/* Wait until it is frozen or parked, has ended, or is not asked any more; true. False at the deadline. */
bool kt_thread_await_standing(struct kthread *k, uint64_t deadline);

/* Sleep in the word, marked as sleeping (and with `mark`). *seen is the word as it was looked at, and becomes what it was
 * when the marks were taken back. 0 or -ETIMEDOUT. */
int kt_thread_sleep(struct kthread *k, unsigned int *seen, unsigned int mark, uint64_t deadline);
/* By the thread: stay here while it is asked for one of `requests` (of W_PARK_ANY, W_FREEZE), and as long as it is frozen
 * by whoever unparked it in a freeze. Returns how it was held: W_PARKED, W_FROZEN, both, or 0. */
unsigned int kt_thread_hold(struct kthread *k, unsigned int requests);
/* kthread_parkme(), but who has been unparked and asked anew before it got to run comes back between the two. */
void kt_thread_park_once(struct kthread *k);
/*
 * A turn of its life: kt_word_change(), and if that succeeded, what it has become by that is counted and told (turn.c).
 * For every change that may set or clear PARKED or FROZEN, or set STOP, ENTERED or EXITED.
 */
bool kt_thread_turn(struct kthread *k, unsigned int *seen, unsigned int now);
/* By the thread, before its tid can be known: it has been created. Whoever knows the tid finds that told. */
void kt_thread_tell_created(const struct kthread *k, pid_t tid);
/* An event of a thread, with the fields that each of those has. */
struct kt_trace_event;
void kt_thread_event(struct kt_trace_event *event, const struct kthread *k);
/* By the thread itself. */
static inline void kt_thread_count(atomic_uint_fast64_t *counter, uint64_t more)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more,
	                      memory_order_relaxed);
}
/* Sleep until one of `bits` is set or one of `unless` is clear, at most until the deadline; a thread that has
 * KTHREAD_INTERRUPT is sent signals, ever more rarely, until one of `noticed` is set, too. Returns the word. */
unsigned int kt_thread_watch(struct kthread *k, unsigned int bits, unsigned int unless, unsigned int noticed,
                             uint64_t deadline);
/* By the thread: kthread_wait() and its siblings, until the deadline. parkable: as kthread_wait_parkable(). */
int kt_thread_wait(uint64_t deadline, bool parkable);
/* By a thread that may work on this CPU only: is it there? If not, the kernel has moved it without a word: placement
 * looks, and brings it back or has it park; sleeps a little if it can do neither yet. */
bool kt_thread_on_cpu(unsigned int cpu);
void kt_thread_leave_foreign_cpu(struct kthread *self, unsigned int cpu);
/* Wake those who sleep on the word, given the word as it was before it changed. The event fd is told besides, by whoever
 * has made a request or a token: a poll loop that it wakes for less finds nothing to do. */
void kt_thread_roused(struct kthread *k, unsigned int before);
void kt_event_fd_notify(struct kthread *k);
void kt_event_fd_drain(struct kthread *k);
void kt_event_fd_close(int fd); /* -1: nothing */

/* KTHREAD_INTERRUPT. */
int kt_interrupt_prepare(int wanted); /* the signal to use, handler in place; or -errno */
void kt_interrupt_send(struct kthread *k);
void kt_interrupt_restore(void); /* give the library's own choice back */
#define KT_INTERRUPT_FIRST_NS KT_NS_PER_MS

/* The registry: all living threads, oldest first. */
void kt_registry_add(struct kthread *k);
void kt_registry_remove(struct kthread *k);
/* The first thread (after == NULL), or the one after `after`, with a reference; drops that of `after`. */
struct kthread *kt_registry_next(struct kthread *after);
/* Run fn under the registry's lock, if k is still listed, so that its tid is its own. */
void kt_registry_if_listed(struct kthread *k, void (*fn)(struct kthread *k));
size_t kt_registry_count(void); /* kthreads and adopted ones, without the library's own */
bool kt_registry_has(pid_t tid);
extern pthread_mutex_t kt_registry_lock; /* innermost of the library's locks */

#endif
