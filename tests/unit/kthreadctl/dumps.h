/* SPDX-License-Identifier: MIT */
#ifndef TEST_KTHREADCTL_DUMPS_H
#define TEST_KTHREADCTL_DUMPS_H

#include "kthreadctl/model.h"

/* The text of dumps/NAME, with a NUL behind it that *ret_length does not count. Caller frees. */
char *dump_text(const char *name, size_t *ret_length);
/* Parsed, which must succeed. */
struct ctl_dump *dump_load(const char *name);
/* Give each line of dumps/NAME to fn, parsed. */
void dump_events(const char *name, void (*fn)(const struct ctl_event *, void *arg), void *arg);
/* One that is made: all CPUs usable, on nodes of 64; every 16th thread is broken. Caller frees. */
char *dump_make(unsigned int cpus, unsigned int threads, size_t *ret_length);
/* The same, parsed. */
struct ctl_dump *dump_made(unsigned int cpus, unsigned int threads);
/* "0-3" of that many CPUs' set, equal? */
bool dump_set_is(const struct ctl_dump *d, const cpu_set_t *set, const char *list);

#endif
