/* SPDX-License-Identifier: MIT */
/*
 * What tables and pages say of a thread: its words, its order among others, and the two subcommands that are only that.
 * Pure functions of a dump.
 */
#ifndef KTHREADCTL_THREADS_H
#define KTHREADCTL_THREADS_H

#include <stdio.h>

#include "kthreadctl/model.h"

#define RED "31"
#define YELLOW "33"
#define GREEN "32"
#define BOLD "1"

/* By class, number and tid, as for qsort(). */
int threads_compare(const struct ctl_thread *left, const struct ctl_thread *right);
/* All in an order that qsort() is told, or in that one: an array of pointers, to be freed. NULL: no memory. */
const struct ctl_thread **threads_by(const struct ctl_dump *dump, int (*compare)(const void *a, const void *b));
const struct ctl_thread **threads_sorted(const struct ctl_dump *dump);

/* A cpulist, to be freed; "-" for no CPU, and for NULL. NULL: no memory. */
char *threads_cpus(const struct ctl_dump *dump, const cpu_set_t *set);
/* "bound 3", "node 1", "none", to be freed. NULL: no memory. */
char *threads_wish(const struct ctl_dump *dump, const struct ctl_thread *thread);
/* Why a thread was given its CPUs, for people: "CPUs or the cpuset changed" for "cpus". */
const char *threads_why(const char *reason);
/* Does the kernel say something else than the library told it? */
bool threads_astray(const struct ctl_dump *dump, const struct ctl_thread *thread);

/* False: no memory. */
bool threads_list(const struct ctl_dump *dump, bool colour, bool utf8, FILE *out);
bool threads_show(const struct ctl_dump *dump, const struct ctl_thread *thread, bool colour, FILE *out);

#endif
