/* SPDX-License-Identifier: MIT */
/*
 * The word: everything about a thread's life that more than one thread may change, in one 32-bit atomic that is also
 * what the thread and those who wait for it sleep on. src/README.md has the table of states and who changes them.
 *
 * Requests and answers meet in read-modify-writes of this one word, so none of them can miss the other. Orders: every
 * request is acq_rel (what the asker did before is seen by who finds the bit), every look is acquire; the store of
 * PARKED, FROZEN and EXITED is a release (what the thread did before is seen by who finds it).
 */
#ifndef KT_THREAD_WORD_H
#define KT_THREAD_WORD_H

#include <kthread/thread.h>

#include "base/futex.h"

enum {
	W_STOP = KTHREAD_WORD_STOP, /* asked to stop; never taken back */
	W_PARK = 0x2,               /* asked to park by kthread_park() */
	W_PARK_CPU = 0x4,           /* asked to park because its CPU has gone, or is about to */
	W_PARKED = 0x8,      /* has parked: set by the thread, or for it while it sleeps in place; cleared by unpark */
	W_TOKEN = 0x10,      /* the next wait returns at once */
	W_SLEEPING = 0x20,   /* the thread is in, or going into, the futex: whoever changes its fate wakes it */
	W_IN_PLACE = 0x40,   /* ... in a library sleep in which it may be declared parked */
	W_WATCHED = 0x80,    /* somebody sleeps until PARKED, FROZEN, STOP or EXITED */
	W_STARTED = 0x100,   /* woken or parked for the first time */
	W_ENTERED = 0x200,   /* fn has been entered */
	W_TOLD_STOP = 0x400, /* the thread has got a true answer about stop, */
	W_TOLD_PARK = 0x800, /* about park */
	W_BROKEN = 0x1000,   /* set by placement: no CPU of a bound thread's wish is usable */
	W_PLACE_SELF = 0x2000, /* set by placement: it has to set its mask itself, see placement/settle.c */
	W_EXITED = 0x4000,     /* the result is there; no code of the user's runs any more, but key destructors */
	W_REAPED = 0x8000,     /* somebody has taken on pthread_join() or pthread_detach() */
	W_TOLD_PAST = 0x10000, /* about a park that was taken back before the one it is asked for now */
	W_FREEZABLE = 0x20000, /* has called kthread_set_freezable() */
	W_FREEZE = 0x40000,    /* asked to freeze; only if FREEZABLE */
	W_FROZEN =
	    0x80000, /* has frozen: as PARKED, and never both; cleared by thaw. Unparked in a freeze it is FROZEN at once */
	W_PARK_ANY = W_PARK | W_PARK_CPU,
	W_TOLD_ANY = W_TOLD_PARK | W_TOLD_PAST /* if fn returns now, that is its way to park */
};
_Static_assert((W_PARK_ANY) == KTHREAD_WORD_PARK, "the public mask of park requests");

/* Who sleeps on the word: futex bitsets. */
#define KT_WAKE_THREAD 1u
#define KT_WAKE_WATCHERS 2u

static inline unsigned int kt_word(const atomic_uint *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* seq_cst, not acq_rel: kt_event_fd_notify() looks at the fd after such a change, kthread_event_fd() at the word after
 * it has stored the fd; one of them must see the other. */
static inline unsigned int kt_word_set(atomic_uint *word, unsigned int bits)
{
	return atomic_fetch_or_explicit(word, bits, memory_order_seq_cst);
}

static inline unsigned int kt_word_clear(atomic_uint *word, unsigned int bits)
{
	return atomic_fetch_and_explicit(word, ~bits, memory_order_acq_rel);
}

/*
 * For a new request to park: a thread that was told of one taken back since has not been told of this one. But it may be
 * on its way to return because of it, which is its way to park still.
 */
static inline unsigned int kt_word_untold(unsigned int word)
{
	return word & W_TOLD_PARK && !(word & W_PARK_ANY) ? (word & ~(unsigned int)W_TOLD_PARK) | W_TOLD_PAST : word;
}

/* On failure *seen is the word as it is now. */
static inline bool kt_word_change(atomic_uint *word, unsigned int *seen, unsigned int now)
{
	return atomic_compare_exchange_weak_explicit(word, seen, now, memory_order_seq_cst, memory_order_acquire);
}

#endif
