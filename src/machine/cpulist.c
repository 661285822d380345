/* SPDX-License-Identifier: MIT */
#include "machine/cpulist.h"

#include <errno.h>
#include <kthread/placement.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "machine/cpumask.h"

struct region {
	size_t from, to;    /* inclusive */
	size_t used, group; /* of each `group` CPUs the first `used` */
};

/* No isspace(): it would ask the application's locale. */
static bool is_separator(char c)
{
	return c == ',' || c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

static bool ends_list(char c)
{
	return c == '\0' || c == '\n';
}

static bool ends_region(char c)
{
	return is_separator(c) || ends_list(c);
}

static int parse_number(const char **at, size_t last, size_t *ret)
{
	const char *p = *at;
	uint64_t value = 0;

	if (*p == 'N') {
		*ret = last;
		*at = p + 1;
		return 0;
	}
	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (uint64_t)(*p - '0');
		if (value > UINT32_MAX)
			return -EOVERFLOW;
	}
	*ret = (size_t)value;
	*at = p;
	return 0;
}

/* ":used/group". No separator need follow it: in the kernel, "0-3:1/2N" names the last CPU, too. */
static int parse_pattern(const char **at, size_t last, struct region *region)
{
	int error;

	++*at;
	error = parse_number(at, last, &region->used);
	if (error)
		return error;
	if (**at != '/')
		return -EINVAL;
	++*at;
	error = parse_number(at, last, &region->group);
	if (error)
		return error;
	return region->group == 0 || region->used > region->group ? -EINVAL : 0;
}

static int parse_region(const char **at, size_t last, struct region *region)
{
	int error;

	*region = (struct region){.used = 1, .group = 1};
	if (strncasecmp(*at, "all", 3) == 0) {
		region->to = last;
		*at += 3;
	} else {
		error = parse_number(at, last, &region->from);
		if (error)
			return error;
		region->to = region->from;
		if (ends_region(**at))
			return 0;
		if (**at != '-')
			return -EINVAL;
		++*at;
		error = parse_number(at, last, &region->to);
		if (error)
			return error;
	}
	if (ends_region(**at))
		error = 0;
	else if (**at == ':')
		error = parse_pattern(at, last, region);
	else
		error = -EINVAL;
	return !error && region->from > region->to ? -EINVAL : error;
}

/*
 * The byte of a set that holds a CPU. By bytes, because a caller's setsize need not be whole longs, and what lies
 * behind it is not ours.
 */
static size_t byte_of(size_t cpu)
{
	const size_t within = cpu % KT_LONG_BITS / CHAR_BIT;
	const size_t base = cpu / KT_LONG_BITS * sizeof(unsigned long);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return base + sizeof(unsigned long) - 1 - within;
#else
	return base + within;
#endif
}

static bool test_cpu(size_t cpu, size_t setsize, const cpu_set_t *set)
{
	const size_t byte = byte_of(cpu);

	return byte < setsize && (((const unsigned char *)set)[byte] >> cpu % CHAR_BIT & 1);
}

static void add_cpus(size_t from, size_t to, size_t setsize, cpu_set_t *set)
{
	unsigned char *bytes = (unsigned char *)set;

	while (from <= to) {
		const size_t byte = byte_of(from);

		if (from % CHAR_BIT == 0 && to - from >= CHAR_BIT - 1) {
			if (byte < setsize)
				bytes[byte] = UCHAR_MAX;
			from += CHAR_BIT;
		} else {
			if (byte < setsize)
				bytes[byte] |= (unsigned char)(1u << from % CHAR_BIT);
			from++;
		}
	}
}

static void add_region(const struct region *region, size_t setsize, cpu_set_t *set)
{
	if (region->used == region->group) {
		add_cpus(region->from, region->to, setsize, set);
		return;
	}
	for (size_t start = region->from; region->used > 0 && start <= region->to; start += region->group) {
		const size_t end = start + region->used - 1;

		add_cpus(start, end < region->to ? end : region->to, setsize, set);
	}
}

/* Walk the list. set NULL: only check it, so that an error on its last region leaves the caller's set alone. */
static int walk(const char *list, size_t width, bool clip, size_t setsize, cpu_set_t *set)
{
	const size_t last = width > 0 ? width - 1 : 0;
	struct region region;
	int error;

	for (;;) {
		while (is_separator(*list))
			list++;
		if (ends_list(*list))
			return 0;
		error = parse_region(&list, last, &region);
		if (error)
			return error;
		if (region.to >= width) {
			if (!clip)
				return -ERANGE;
			if (region.from >= width)
				continue;
			region.to = width - 1;
		}
		if (set)
			add_region(&region, setsize, set);
	}
}

static int parse(const char *list, size_t width, bool clip, size_t setsize, cpu_set_t *set)
{
	int error;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	/* The low CPUs of a long that is not whole would lie behind the caller's bytes. */
	if (width / CHAR_BIT >= setsize)
		width = setsize / sizeof(unsigned long) * KT_LONG_BITS;
#else
	if (width / CHAR_BIT >= setsize)
		width = setsize * CHAR_BIT;
#endif
	if (width > UINT32_MAX)
		width = UINT32_MAX;
	error = walk(list, width, clip, setsize, NULL);
	if (error || setsize == 0)
		return error;
	memset(set, 0, setsize);
	return walk(list, width, clip, setsize, set);
}

int kt_cpulist_parse(const char *list, size_t width, size_t setsize, cpu_set_t *set)
{
	return parse(list, width, false, setsize, set);
}

int kt_cpulist_read(const char *list, size_t width, size_t setsize, cpu_set_t *set)
{
	return parse(list, width, true, setsize, set);
}

const char *kt_cpulist_strerror(int error)
{
	switch (error) {
	case -ERANGE:
		return "it names a CPU beyond the last possible one";
	case -EOVERFLOW:
		return "a number in it has more than 32 bits";
	default:
		return "its syntax is not that of a CPU list";
	}
}

int kthread_cpulist_parse(const char *list, size_t setsize, cpu_set_t *set)
{
	if (!list || !set)
		return -EINVAL;
	return kt_cpulist_parse(list, SIZE_MAX, setsize, set);
}

int kthread_cpulist_format(size_t setsize, const cpu_set_t *set, char *buf, size_t len)
{
	/* Whole longs, so that on a big-endian machine a partial one is looked at, too (byte_of). */
	const size_t width = (setsize + sizeof(unsigned long) - 1) / sizeof(unsigned long) * KT_LONG_BITS;
	size_t total = 0;

	if (!set || (!buf && len > 0))
		return -EINVAL;
	if (len > 0)
		buf[0] = '\0';
	for (size_t cpu = 0; cpu < width; cpu++) {
		char run[2 * 20 + sizeof(",-")];
		size_t first = cpu, length, room;

		if (!test_cpu(cpu, setsize, set))
			continue;
		while (cpu + 1 < width && test_cpu(cpu + 1, setsize, set))
			cpu++;
		length = (size_t)snprintf(run, sizeof(run), cpu > first ? "%s%zu-%zu" : "%s%zu", total ? "," : "",
		                          first, cpu);
		room = total < len ? len - total - 1 : 0;
		if (buf && room > 0) {
			const size_t part = length < room ? length : room;

			memcpy(buf + total, run, part);
			buf[total + part] = '\0';
		}
		total += length;
	}
	return total <= INT_MAX ? (int)total : -EOVERFLOW;
}
