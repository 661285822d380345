/* SPDX-License-Identifier: MIT */
/*
 * The freezer, for the rooms above.
 */
#ifndef KT_THREAD_FREEZER_H
#define KT_THREAD_FREEZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/library.h"

struct kthread;

/* Is a freeze on, or beginning? It goes on only within a transition of its own: in one of the caller's "no" stays true. */
bool kt_freezer_on(void);

/* kthread_freeze_all(); who has not frozen is named to refused, too, under the freezer's lock. */
typedef void kt_refusal_fn(const struct kthread *k, void *arg);
int kt_freeze_all(uint64_t timeout_ns, kt_refusal_fn *refused, void *arg);

/* Call fn at each thaw from now on. It may wake a thread, no more: it is called under the freezer's lock. */
void kt_freezer_hook(void (*fn)(void));

/* Its part in the library's life. */
extern const struct kt_room kt_freezer;

#endif
