/* SPDX-License-Identifier: MIT */
#include "ktask/plan.h"

#include <stdbool.h>

static size_t less(size_t a, size_t b)
{
	return a > b ? a - b : 0;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t kt_plan_helpers(const struct kt_plan_limits *limits)
{
	const size_t threads = limits->mine + 1;
	size_t more = less(limits->chunks, threads);

	more = least(more, less(limits->own_cpus, threads));
	more = least(more, less(kt_plan_most(limits->cpus, limits->quota), limits->busy));
	if (limits->max_threads)
		more = least(more, less(limits->max_threads, threads));
	return more;
}

static size_t room(const struct kt_plan_node *node)
{
	return least(node->seats, less(kt_plan_share(node->cpus), node->busy));
}

/* What is left for each worker, if there were one more. */
static double load(const struct kt_plan_node *node)
{
	return (double)node->units / (double)(node->workers + 1);
}

ssize_t kt_plan_node(const struct kt_plan_node *nodes, size_t count, size_t home)
{
	ssize_t busiest = -1, widest = -1;

	for (size_t i = 0; i < count; i++) {
		if (room(&nodes[i]) == 0)
			continue;
		if (nodes[i].units && (busiest < 0 || load(&nodes[i]) > load(&nodes[busiest])))
			busiest = (ssize_t)i;
		if (widest < 0 || room(&nodes[i]) > room(&nodes[widest]))
			widest = (ssize_t)i;
	}
	if (busiest >= 0)
		return busiest;
	return home < count && room(&nodes[home]) ? (ssize_t)home : widest;
}

size_t kt_plan_want(size_t left, size_t threads, size_t grain, size_t min_chunk)
{
	size_t want = threads > 1 ? left / 2 / threads : left;

	if (want > grain)
		want = grain;
	return want > min_chunk ? want : min_chunk;
}

/* How far `from` lies behind the last multiple of min_chunk; the sum may not fit. */
static size_t behind(size_t base, size_t from, size_t min_chunk)
{
	const size_t rest = from % min_chunk;

	return rest >= min_chunk - base ? rest - (min_chunk - base) : base + rest;
}

size_t kt_plan_end(size_t base, size_t size, size_t from, size_t want, size_t min_chunk)
{
	const size_t into = behind(base, from, min_chunk);
	const size_t beyond = behind(into, want, min_chunk); /* the boundary before from + want */
	const size_t length = beyond < want ? want - beyond : min_chunk - into;

	return length < size - from ? from + length : size;
}

size_t kt_plan_chunks(size_t base, size_t from, size_t to, size_t min_chunk)
{
	const size_t first = min_chunk - behind(base, from, min_chunk);

	if (from >= to)
		return 0;
	if (to - from <= first)
		return 1;
	return 1 + (to - from - first) / min_chunk + ((to - from - first) % min_chunk != 0);
}

size_t kt_plan_grain(size_t units, uint64_t ticks, uint64_t target)
{
	const size_t most = units > SIZE_MAX / 4 ? SIZE_MAX : units * 4;
	const double fit = ticks ? (double)units * (double)target / (double)ticks : (double)most;

	if (fit >= (double)most)
		return most;
	return fit < 1 ? 1 : (size_t)fit;
}
