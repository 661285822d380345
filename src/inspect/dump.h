/* SPDX-License-Identifier: MIT */
/*
 * A dump in pieces: a head, then a node, a thread, a step at a time. Between two pieces no lock is held, and a thread at
 * most. Nothing is waited for, so a thread that is being made is left out, and of the machine's topology there is what has
 * been read before. The library stays up until the end.
 */
#ifndef KT_INSPECT_DUMP_H
#define KT_INSPECT_DUMP_H

#include <kthread/inspect.h>
#include <stdbool.h>
#include <stdio.h>

struct kt_dump;

/* NULL and errno: EINVAL (the format), ENOMEM. The library is up. */
struct kt_dump *kt_dump_begin(enum kthread_format format);
/* Write the next piece, with one call of the stream. False: that was the last, or it could not be written. */
bool kt_dump_next(struct kt_dump *dump, FILE *out);
/* Why it ended before its end: -ENOMEM, -ECHILD (this is a child, forked since it began), -errno of the stream; 0. */
int kt_dump_error(const struct kt_dump *dump);
void kt_dump_end(struct kt_dump *dump);

#endif
