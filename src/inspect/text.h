/* SPDX-License-Identifier: MIT */
/*
 * Text that grows in memory, so that a piece of a dump is written with one call, whole or not at all.
 */
#ifndef KT_INSPECT_TEXT_H
#define KT_INSPECT_TEXT_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

/* All zero: empty. */
struct kt_text {
	char *at;
	size_t length, size;
	bool failed; /* for want of memory: something is missing. Stays so */
};

void kt_text_add(struct kt_text *text, const char *bytes, size_t length);
/* A NUL is behind it, which is not counted. */
void kt_text_print(struct kt_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The set as a cpulist. */
void kt_text_cpus(struct kt_text *text, size_t setsize, const cpu_set_t *set);
void kt_text_free(struct kt_text *text);

#endif
