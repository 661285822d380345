/* SPDX-License-Identifier: MIT */
/*
 * CPU sets of any size: what glibc's CPU_*_S macros leave out. A set is setsize bytes, whole unsigned longs, as
 * CPU_ALLOC_SIZE() gives them; never a bare cpu_set_t, which ends at CPU 1023.
 * ASSUMPTIONS, all functions: setsize is a multiple of sizeof(unsigned long); every set given has that many bytes.
 */
#ifndef KT_MACHINE_CPUMASK_H
#define KT_MACHINE_CPUMASK_H

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define KT_LONG_BITS (sizeof(unsigned long) * CHAR_BIT)

/* Through a pointer, not through the member: the array of a cpu_set_t has a fixed bound that these sets do not keep. */
static inline unsigned long *kt_cpus_words(cpu_set_t *set)
{
	return (unsigned long *)(void *)set;
}

static inline const unsigned long *kt_cpus_const_words(const cpu_set_t *set)
{
	return (const unsigned long *)(const void *)set;
}

static inline void kt_cpus_zero(size_t setsize, cpu_set_t *set)
{
	memset(set, 0, setsize);
}

static inline void kt_cpus_copy(size_t setsize, cpu_set_t *to, const cpu_set_t *from)
{
	memcpy(to, from, setsize);
}

static inline bool kt_cpus_equal(size_t setsize, const cpu_set_t *a, const cpu_set_t *b)
{
	return memcmp(a, b, setsize) == 0;
}

/* to may be a or b, in all of these. */
static inline void kt_cpus_and(size_t setsize, cpu_set_t *to, const cpu_set_t *a, const cpu_set_t *b)
{
	for (size_t i = 0; i < setsize / sizeof(unsigned long); i++)
		kt_cpus_words(to)[i] = kt_cpus_const_words(a)[i] & kt_cpus_const_words(b)[i];
}

static inline void kt_cpus_or(size_t setsize, cpu_set_t *to, const cpu_set_t *a, const cpu_set_t *b)
{
	for (size_t i = 0; i < setsize / sizeof(unsigned long); i++)
		kt_cpus_words(to)[i] = kt_cpus_const_words(a)[i] | kt_cpus_const_words(b)[i];
}

/* a without b */
static inline void kt_cpus_andnot(size_t setsize, cpu_set_t *to, const cpu_set_t *a, const cpu_set_t *b)
{
	for (size_t i = 0; i < setsize / sizeof(unsigned long); i++)
		kt_cpus_words(to)[i] = kt_cpus_const_words(a)[i] & ~kt_cpus_const_words(b)[i];
}

static inline void kt_cpus_complement(size_t setsize, cpu_set_t *to, const cpu_set_t *of)
{
	for (size_t i = 0; i < setsize / sizeof(unsigned long); i++)
		kt_cpus_words(to)[i] = ~kt_cpus_const_words(of)[i];
}

static inline bool kt_cpus_empty(size_t setsize, const cpu_set_t *set)
{
	for (size_t i = 0; i < setsize / sizeof(unsigned long); i++) {
		if (kt_cpus_const_words(set)[i])
			return false;
	}
	return true;
}

static inline bool kt_cpus_intersect(size_t setsize, const cpu_set_t *a, const cpu_set_t *b)
{
	for (size_t i = 0; i < setsize / sizeof(unsigned long); i++) {
		if (kt_cpus_const_words(a)[i] & kt_cpus_const_words(b)[i])
			return true;
	}
	return false;
}

/* Every CPU of part is in whole. */
static inline bool kt_cpus_subset(size_t setsize, const cpu_set_t *part, const cpu_set_t *whole)
{
	for (size_t i = 0; i < setsize / sizeof(unsigned long); i++) {
		if (kt_cpus_const_words(part)[i] & ~kt_cpus_const_words(whole)[i])
			return false;
	}
	return true;
}

/* The highest CPU; -1 if there is none. */
static inline int kt_cpus_last(size_t setsize, const cpu_set_t *set)
{
	for (size_t i = setsize / sizeof(unsigned long); i-- > 0;) {
		const unsigned long word = kt_cpus_const_words(set)[i];

		if (word)
			return (int)(i * KT_LONG_BITS + KT_LONG_BITS - 1) - __builtin_clzl(word);
	}
	return -1;
}

/* The first CPU at or after `from`; -1 if there is none: for (cpu = kt_cpus_next(n, s, 0); cpu >= 0; ...). */
static inline int kt_cpus_next(size_t setsize, const cpu_set_t *set, unsigned int from)
{
	size_t i = from / KT_LONG_BITS;
	unsigned long mask = ~0ul << (from % KT_LONG_BITS);

	for (; i < setsize / sizeof(unsigned long); i++, mask = ~0ul) {
		const unsigned long word = kt_cpus_const_words(set)[i] & mask;

		if (word)
			return (int)(i * KT_LONG_BITS) + __builtin_ctzl(word);
	}
	return -1;
}

static inline bool kt_cpus_test(size_t setsize, const cpu_set_t *set, unsigned int cpu)
{
	return cpu / CHAR_BIT < setsize && (kt_cpus_const_words(set)[cpu / KT_LONG_BITS] >> cpu % KT_LONG_BITS & 1);
}

/* A cpu beyond the set is ignored. */
static inline void kt_cpus_add(size_t setsize, cpu_set_t *set, unsigned int cpu)
{
	if (cpu / CHAR_BIT < setsize)
		kt_cpus_words(set)[cpu / KT_LONG_BITS] |= 1ul << cpu % KT_LONG_BITS;
}

static inline void kt_cpus_remove(size_t setsize, cpu_set_t *set, unsigned int cpu)
{
	if (cpu / CHAR_BIT < setsize)
		kt_cpus_words(set)[cpu / KT_LONG_BITS] &= ~(1ul << cpu % KT_LONG_BITS);
}

/* Bytes for CPUs 0..count-1, whole longs. */
static inline size_t kt_cpus_size(unsigned int count)
{
	return ((size_t)count + KT_LONG_BITS - 1) / KT_LONG_BITS * sizeof(unsigned long);
}

#endif
