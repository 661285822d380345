/* SPDX-License-Identifier: MIT */
/*
 * What top shows: two dumps, and what has happened per second between them. Pure functions of the dumps.
 */
#ifndef KTHREADCTL_RATES_H
#define KTHREADCTL_RATES_H

#include <stddef.h>
#include <stdio.h>

#include "kthreadctl/model.h"
#include "kthreadctl/table.h"

/* A thread and its rates per second; negative: not known, because it is new, or has no such thing. */
struct rate {
	const struct ctl_thread *thread;
	double wakes, works, chunks;
};

/*
 * An array of now->n_threads, to be freed: broken threads first, then the busiest, then by name. before: NULL at first,
 * and ignored if it is another process's. NULL: no memory.
 */
struct rate *rates(const struct ctl_dump *before, const struct ctl_dump *now);

/* The whole block in at most height lines (0: as many as it takes). False: no memory. */
bool rates_print(const struct ctl_dump *before, const struct ctl_dump *now, const struct table_style *style,
                 size_t height, FILE *out);
/* One line. False: no memory. */
bool rates_print_json(const struct ctl_dump *before, const struct ctl_dump *now, FILE *out);

#endif
