/* SPDX-License-Identifier: MIT */
/*
 * How a task is split: into which chunks, over how many threads, on which nodes. Pure: no I/O, no thread, no clock.
 *
 * A unit is the client's: a byte, a page, an inode. Offsets count the units of one piece from its start.
 */
#ifndef KT_KTASK_PLAN_H
#define KT_KTASK_PLAN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Of a number of CPUs, how many may be kept busy by helpers: 80 %, rounded down. */
static inline size_t kt_plan_share(size_t cpus)
{
	return cpus - cpus / 5 - (cpus % 5 != 0);
}

/* How many helpers of the whole process may be at work: its callers are there, too, so the quota is for one more. */
static inline size_t kt_plan_most(size_t cpus, size_t quota)
{
	const size_t share = kt_plan_share(cpus);

	return quota && quota - 1 < share ? quota - 1 : share;
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

struct kt_plan_limits {
	size_t chunks;      /* of least size, that nobody has taken yet */
	size_t max_threads; /* the client's wish, its caller among them; 0 = none */
	size_t own_cpus;    /* usable ones of the caller's mask */
	size_t cpus;        /* usable housekeepers: 80 % of them for helpers of the whole process */
	size_t quota;       /* CPUs' worth of time for the whole process; 0 = no limit */
	size_t busy;        /* helpers of the whole process at work, */
	size_t mine;        /* and those of this task among them */
};

/* How many helpers more the task may have. The caller works, too, and is counted wherever threads are. */
size_t kt_plan_helpers(const struct kt_plan_limits *limits);

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

struct kt_plan_node {
	int number;
	size_t cpus;    /* usable housekeepers of the node: 80 % of them for helpers of the whole process */
	size_t busy;    /* helpers of the whole process at work there */
	size_t seats;   /* CPUs of it where one more helper of this task might be */
	size_t units;   /* of this task that nobody has taken yet, and whose data is there */
	size_t workers; /* of this task at work there, its caller among them */
};

/*
 * Where the next helper goes: to the node whose workers have the most left to do, each; if none with work has room, to
 * nodes[home], else to the one with the most room. The index; -1 if no node has room.
 */
ssize_t kt_plan_node(const struct kt_plan_node *nodes, size_t count, size_t home);

/* ---- chunks ----------------------------------------------------------------------------------------------------- */

/*
 * How many units to take: as many as the last chunks suggest (grain), but not so many of what is left that others would
 * wait for this one in the end; at least min_chunk.
 */
size_t kt_plan_want(size_t left, size_t threads, size_t grain, size_t min_chunk);

/*
 * The offset at which a chunk of about `want` units ends that begins at `from`: where the position base + offset is a
 * multiple of min_chunk, or the piece ends. Always > from.
 * ASSUMPTIONS: from < size; want, min_chunk > 0; base < min_chunk.
 */
size_t kt_plan_end(size_t base, size_t size, size_t from, size_t want, size_t min_chunk);

/* Chunks of least size between two offsets. */
size_t kt_plan_chunks(size_t base, size_t from, size_t to, size_t min_chunk);

/* The grain after a chunk of so many units took so long: what would have taken `target`, but no more than four times as
 * much, since the next units may be of another kind. */
size_t kt_plan_grain(size_t units, uint64_t ticks, uint64_t target);

#endif
