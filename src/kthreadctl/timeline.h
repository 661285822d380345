/* SPDX-License-Identifier: MIT */
/*
 * The timeline: what happened to CPUs and threads from a dump on, by the events that followed it.
 *
 *   timeline_begin(dump, &t); while (...) timeline_add(t, event); timeline_svg(t, now, f); timeline_free(t);
 *
 * Attach to the stream before the dump is made, else what happens in between is lost; events that are older than the dump
 * are passed over.
 */
#ifndef KTHREADCTL_TIMELINE_H
#define KTHREADCTL_TIMELINE_H

#include <stdio.h>

#include "kthreadctl/map.h"
#include "kthreadctl/model.h"

struct timeline;

/* The dump must outlive it. -ENOMEM. */
int timeline_begin(const struct ctl_dump *dump, struct timeline **ret);
/* Takes NULL. */
void timeline_free(struct timeline *t);

/*
 * Copies what it needs of the event. Bounded: after 200 000 changes no more are kept, the pictures end there and say so.
 * -ENOMEM.
 */
int timeline_add(struct timeline *t, const struct ctl_event *event);

/*
 * The picture from the dump to end_ns (CLOCK_MONOTONIC, as the events). Bounded: it says what it left out. -ENOMEM. Write
 * errors are left to the stream.
 */
int timeline_svg(const struct timeline *t, int64_t end_ns, FILE *f);
/* The same for a terminal: a character for each stretch of time. options->every: threads to which nothing happened, too. */
int timeline_text(const struct timeline *t, int64_t end_ns, const struct map_options *options, FILE *f);

#endif
