/* SPDX-License-Identifier: MIT */
/*
 * What has changed from one look to the next, as lines of text.
 */
#ifndef STEADY_EVENTS_H
#define STEADY_EVENTS_H

#include "look.h"

enum mood { MOOD_PLAIN, MOOD_BAD, MOOD_GOOD };

/* who is a thread's name, or "machine"; what is one line without its end. */
typedef void (*event_fn)(uint64_t at_ns, enum mood mood, const char *who, const char *what);

/*
 * Tell each change; before NULL: everything is new. The number of changes. Fills in now's `astray`, and sets back the
 * effective mask of a thread that the library has not got round to yet.
 */
size_t events(const struct look *before, struct look *now, event_fn tell);

#endif
