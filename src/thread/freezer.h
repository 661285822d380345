/* SPDX-License-Identifier: MIT */
/*
 * The freezer, for the rooms above.
 */
#ifndef KT_THREAD_FREEZER_H
#define KT_THREAD_FREEZER_H

#include <stdbool.h>

#include "base/library.h"

/* Is a freeze on, or beginning? It goes on only within a transition of its own: in one of the caller's "no" stays true. */
bool kt_freezer_on(void);

/* Call fn at each thaw from now on. It may wake a thread, no more: it is called under the freezer's lock. */
void kt_freezer_hook(void (*fn)(void));

/* Its part in the library's life. */
extern const struct kt_room kt_freezer;

#endif
