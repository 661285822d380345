/* SPDX-License-Identifier: MIT */
/*
 * Views made by hand: no machine, no I/O.
 */
#ifndef TESTS_PLACEMENT_VIEW_H
#define TESTS_PLACEMENT_VIEW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "machine/cpumask.h"
#include "placement/rule.h"

/* Of `count` CPUs, every set empty. */
static inline struct kt_view *view_make(unsigned int count)
{
	const size_t setsize = kt_cpus_size(count);
	struct kt_view *view = calloc(1, sizeof(*view) + KT_SETS * setsize);

	assert_non_null(view);
	view->setsize = setsize;
	for (int i = 0; i < KT_SETS; i++)
		view->set[i] = (cpu_set_t *)(void *)((char *)(view + 1) + (size_t)i * setsize);
	return view;
}

/* The first CPUs of a set as the bits of a number, for machines of up to 64. */
static inline void set_bits(size_t setsize, cpu_set_t *set, uint64_t bits)
{
	kt_cpus_zero(setsize, set);
	for (unsigned int cpu = 0; cpu < 64; cpu++) {
		if (bits >> cpu & 1)
			kt_cpus_add(setsize, set, cpu);
	}
}

static inline uint64_t get_bits(size_t setsize, const cpu_set_t *set)
{
	uint64_t bits = 0;

	for (unsigned int cpu = 0; cpu < 64; cpu++)
		bits |= (uint64_t)kt_cpus_test(setsize, set, cpu) << cpu;
	return bits;
}

#endif
