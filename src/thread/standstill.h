/* SPDX-License-Identifier: MIT */
/*
 * The lock behind kthread_cpus_read_lock(): any number of readers, or one transition (a look at the machine, a CPU going
 * or coming with all its callbacks). Not a mutex: a transition may last, runs functions of the application, and waits
 * for threads.
 *
 * So that it cannot wait for itself, a thread that has been asked to park or to stop is let in by the read lock at any
 * time (the transition, or a callback of it, may be waiting for just that thread), and refused by the transition's.
 */
#ifndef KT_THREAD_STANDSTILL_H
#define KT_THREAD_STANDSTILL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

/*
 * Begin a transition, once every other has ended and no reader is inside. 0; -EDEADLK if the caller holds the read lock,
 * is in a transition already, or is a kthread that has been asked to park or stop; -ETIMEDOUT.
 */
int kt_transition_begin(uint64_t deadline);
/* The same without waiting: -EBUSY. */
int kt_transition_try(void);
void kt_transition_end(void);

/* Does the calling thread hold the read lock, or take part in a transition? */
bool kt_standstill_held(void);
/* The calling thread acts for the transition that is going on. What it logs is for who began that: kt_log_give(). */
void kt_transition_join(void);
void kt_transition_leave(struct kt_kept *ret_messages);

/* Somebody has been asked to park, to stop, or to place itself: if it waits here it shall look again. */
void kt_standstill_asked(void);
/* The calling kthread ends: from here on whoever stops it may be waiting for it, whatever its word says. */
void kt_standstill_ending(void);

/* Part of the thread room's. Start: where there is but one thread the kernel registers us for membarrier(2) at once. */
void kt_standstill_start(void);
void kt_standstill_fork_prepare(void);
void kt_standstill_fork_parent(void);
void kt_standstill_fork_child(void);

#endif
