/* SPDX-License-Identifier: MIT */
/*
 * src/ktask/plan.c: properties over invented tasks and machines, small ones exhaustively, big ones by chance. Every unit
 * is in one chunk, boundaries are aligned, and no limit is ever passed.
 */
#include "ktask/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint64_t state_of_chance = 88172645463325252u;

static uint64_t chance(void)
{
	state_of_chance ^= state_of_chance << 13;
	state_of_chance ^= state_of_chance >> 7;
	state_of_chance ^= state_of_chance << 17;
	return state_of_chance;
}

/* Of every order of magnitude, and near the powers of two. */
static size_t any_size(void)
{
	const size_t value = (size_t)(chance() >> chance() % 64);

	return chance() % 4 ? value : (value & ~(value - 1)) + (size_t)(chance() % 3) - 1;
}

/* ---- shares ----------------------------------------------------------------------------------------------------- */

static void share__four_fifths_rounded_down(void **state)
{
	for (size_t cpus = 0; cpus < 10000; cpus++)
		assert_int_equal(kt_plan_share(cpus), cpus * 4 / 5);
	assert_int_equal(kt_plan_share(SIZE_MAX), SIZE_MAX / 5 * 4);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

static size_t few(void)
{
	return (size_t)(chance() % 12);
}

static void helpers__never_beyond_a_limit(void **state)
{
	size_t granted = 0;

	for (int i = 0; i < 200000; i++) {
		const struct kt_plan_limits limits = {
		    .chunks = few(),
		    .max_threads = few(),
		    .own_cpus = few(),
		    .cpus = few(),
		    .quota = few(),
		    .busy = few(),
		    .mine = few() % 4,
		};
		const size_t more = kt_plan_helpers(&limits);
		const size_t threads = limits.mine + more + 1;

		granted += more;
		if (more == 0)
			continue; /* what is beyond a limit already is not ours to end */
		assert_true(more <= limits.chunks - 1);
		assert_true(threads <= limits.chunks);
		assert_true(threads <= limits.own_cpus);
		assert_true(limits.busy + more <= limits.cpus * 4 / 5);
		if (limits.max_threads)
			assert_true(threads <= limits.max_threads);
		if (limits.quota)
			assert_true(limits.busy + more + 1 <= limits.quota);
	}
	assert_true(granted > 1000);
}

/* And not fewer than they allow. */
static void helpers__one_more_would_be_too_many(void **state)
{
	for (int i = 0; i < 200000; i++) {
		const struct kt_plan_limits limits = {few(), few(), few(), few(), few(), few(), few() % 4};
		const size_t more = kt_plan_helpers(&limits) + 1;
		const size_t threads = limits.mine + more + 1;

		assert_true(threads > limits.chunks || threads > limits.own_cpus ||
		            limits.busy + more > limits.cpus * 4 / 5 ||
		            (limits.max_threads && threads > limits.max_threads) ||
		            (limits.quota && limits.busy + more + 1 > limits.quota));
	}
}

static void helpers__plain_cases(void **state)
{
	struct kt_plan_limits limits = {.chunks = 100, .own_cpus = 8, .cpus = 8};

	assert_int_equal(kt_plan_helpers(&limits), 6);
	limits.quota = 3;
	assert_int_equal(kt_plan_helpers(&limits), 2);
	limits.quota = 1;
	assert_int_equal(kt_plan_helpers(&limits), 0);
	limits.quota = 0;
	limits.max_threads = 1;
	assert_int_equal(kt_plan_helpers(&limits), 0);
	limits = (struct kt_plan_limits){.chunks = 100, .own_cpus = 1, .cpus = 1};
	assert_int_equal(kt_plan_helpers(&limits), 0);
	limits = (struct kt_plan_limits){.chunks = 100, .own_cpus = 2, .cpus = 2};
	assert_int_equal(kt_plan_helpers(&limits), 1);
	limits = (struct kt_plan_limits){.chunks = 0, .own_cpus = 2, .cpus = 2};
	assert_int_equal(kt_plan_helpers(&limits), 0);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

#define NODES 6

/* Fill a machine helper by helper: no node beyond its share or its seats, and it ends when all are full. */
static void nodes__filled_within_their_shares(void **state)
{
	for (int round = 0; round < 20000; round++) {
		struct kt_plan_node nodes[NODES];
		const size_t count = (size_t)(chance() % NODES) + 1;
		const size_t home = (size_t)(chance() % (NODES + 1));
		size_t room = 0, placed = 0;
		ssize_t at;

		for (size_t i = 0; i < count; i++) {
			const size_t cpus = few();

			nodes[i] = (struct kt_plan_node){
			    .number = (int)i,
			    .cpus = cpus,
			    .busy = few() / 3,
			    .seats = cpus ? chance() % (cpus + 1) : 0,
			    .units = chance() % 3 ? chance() % 1000 : 0,
			    .workers = few() / 4,
			};
			if (nodes[i].busy < cpus * 4 / 5) {
				const size_t left = cpus * 4 / 5 - nodes[i].busy;

				room += left < nodes[i].seats ? left : nodes[i].seats;
			}
		}
		while ((at = kt_plan_node(nodes, count, home)) >= 0) {
			struct kt_plan_node *node = &nodes[at];

			assert_true((size_t)at < count);
			assert_true(node->seats > 0);
			assert_true(node->busy < node->cpus * 4 / 5);
			node->seats--;
			node->busy++;
			node->workers++;
			placed++;
		}
		assert_int_equal(placed, room);
	}
}

/* Where the data is, in proportion to it. */
static void nodes__helpers_follow_the_data(void **state)
{
	struct kt_plan_node nodes[3] = {
	    {.cpus = 100, .seats = 100, .units = 300},
	    {.cpus = 100, .seats = 100, .units = 100},
	    {.cpus = 100, .seats = 100, .units = 0},
	};

	for (int i = 0; i < 40; i++) {
		const ssize_t at = kt_plan_node(nodes, 3, 2);

		assert_true(at == 0 || at == 1);
		nodes[at].workers++;
		nodes[at].busy++;
		nodes[at].seats--;
	}
	assert_int_equal(nodes[0].workers, 30);
	assert_int_equal(nodes[1].workers, 10);
}

static void nodes__home_first_when_the_data_is_nowhere(void **state)
{
	struct kt_plan_node nodes[3] = {
	    {.cpus = 10, .seats = 9}, {.cpus = 5, .seats = 4}, {.cpus = 10, .seats = 10, .busy = 3}};

	assert_int_equal(kt_plan_node(nodes, 3, 1), 1);
	nodes[1].busy = 4;
	assert_int_equal(kt_plan_node(nodes, 3, 1), 0);
	assert_int_equal(kt_plan_node(nodes, 3, 77), 0);
	assert_int_equal(kt_plan_node(nodes, 0, 0), -1);
}

/* ---- chunks ----------------------------------------------------------------------------------------------------- */

static bool aligned(size_t base, size_t offset, size_t min_chunk)
{
	return (size_t)(((unsigned __int128)base + offset) % min_chunk) == 0;
}

/* All of a piece, from the front, with wishes of any size: each unit once, and in no more chunks than there are. */
static void take_all(size_t base, size_t size, size_t min_chunk)
{
	const size_t all = kt_plan_chunks(base, 0, size, min_chunk);
	size_t from = 0, chunks = 0;

	while (from < size) {
		const size_t left = kt_plan_chunks(base, from, size, min_chunk);
		const size_t want = kt_plan_want(size - from, (size_t)(chance() % 9) + 1, any_size(), min_chunk);
		const size_t end = kt_plan_end(base, size, from, want, min_chunk);

		assert_true(want >= min_chunk);
		assert_true(end > from && end <= size);
		assert_true(end == size || aligned(base, end, min_chunk));
		/* more than was wanted only up to the first boundary */
		assert_true(end - from <= want);
		assert_true(kt_plan_chunks(base, from, end, min_chunk) + kt_plan_chunks(base, end, size, min_chunk) ==
		            left);
		from = end;
		assert_true(++chunks <= all);
	}
	assert_int_equal(from, size);
}

static void chunks__every_small_task(void **state)
{
	for (size_t min_chunk = 1; min_chunk < 9; min_chunk++) {
		for (size_t base = 0; base < min_chunk; base++) {
			for (size_t size = 1; size < 40; size++)
				take_all(base, size, min_chunk);
		}
	}
}

/* Not with so small chunks that it would take for ever. */
static void chunks__tasks_of_any_size(void **state)
{
	for (int i = 0; i < 200000; i++) {
		const size_t size = any_size() | 1;
		size_t min_chunk = any_size() | 1;

		if (size / min_chunk > 500)
			min_chunk = size / 500 + 1;
		take_all((size_t)(chance() % min_chunk), size, min_chunk);
	}
}

static void chunks__of_least_size_are_counted(void **state)
{
	assert_int_equal(kt_plan_chunks(0, 0, 0, 8), 0);
	assert_int_equal(kt_plan_chunks(0, 0, 1, 8), 1);
	assert_int_equal(kt_plan_chunks(0, 0, 8, 8), 1);
	assert_int_equal(kt_plan_chunks(0, 0, 9, 8), 2);
	assert_int_equal(kt_plan_chunks(7, 0, 8, 8), 2);
	assert_int_equal(kt_plan_chunks(7, 1, 9, 8), 1);
	assert_int_equal(kt_plan_chunks(SIZE_MAX - 1, 0, SIZE_MAX, SIZE_MAX), 2);
	assert_int_equal(kt_plan_chunks(0, 0, SIZE_MAX, SIZE_MAX), 1);
	assert_int_equal(kt_plan_chunks(0, 0, SIZE_MAX, 1), SIZE_MAX);
}

static void end__at_the_edge_of_what_fits(void **state)
{
	assert_int_equal(kt_plan_end(0, SIZE_MAX, 0, SIZE_MAX, 1), SIZE_MAX);
	assert_int_equal(kt_plan_end(SIZE_MAX - 1, SIZE_MAX, 0, SIZE_MAX, SIZE_MAX), 1);
	assert_int_equal(kt_plan_end(SIZE_MAX - 1, SIZE_MAX, 1, SIZE_MAX, SIZE_MAX), SIZE_MAX);
	assert_int_equal(kt_plan_end(0, 100, 0, 64, 1000), 100);
	assert_int_equal(kt_plan_end(3, 100, 0, 4, 4), 1);
	assert_int_equal(kt_plan_end(3, 100, 1, 7, 4), 5);
}

/* Nobody takes so much in the end that the others wait for him for longer than the rest takes. */
static void want__leaves_something_for_the_others(void **state)
{
	for (int i = 0; i < 100000; i++) {
		const size_t left = any_size() | 1, threads = (size_t)(chance() % 100) + 2;
		const size_t want = kt_plan_want(left, threads, SIZE_MAX, 1);

		assert_true(want == 1 || want <= left / (2 * threads));
	}
	assert_int_equal(kt_plan_want(1000, 1, SIZE_MAX, 1), 1000);
	assert_int_equal(kt_plan_want(1000, 1, 10, 1), 10);
	assert_int_equal(kt_plan_want(1000, 2, 1, 300), 300);
}

static void grain__towards_the_target(void **state)
{
	assert_int_equal(kt_plan_grain(100, 1000, 1000), 100);
	assert_int_equal(kt_plan_grain(100, 500, 1000), 200);
	assert_int_equal(kt_plan_grain(100, 1, 1000), 400);
	assert_int_equal(kt_plan_grain(100, 0, 1000), 400);
	assert_int_equal(kt_plan_grain(100, 1000000, 1000), 1);
	assert_int_equal(kt_plan_grain(SIZE_MAX, 1, UINT64_MAX), SIZE_MAX);
	assert_int_equal(kt_plan_grain(SIZE_MAX, UINT64_MAX, 1), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(share__four_fifths_rounded_down),
	    cmocka_unit_test(helpers__never_beyond_a_limit),
	    cmocka_unit_test(helpers__one_more_would_be_too_many),
	    cmocka_unit_test(helpers__plain_cases),
	    cmocka_unit_test(nodes__filled_within_their_shares),
	    cmocka_unit_test(nodes__helpers_follow_the_data),
	    cmocka_unit_test(nodes__home_first_when_the_data_is_nowhere),
	    cmocka_unit_test(chunks__every_small_task),
	    cmocka_unit_test(chunks__tasks_of_any_size),
	    cmocka_unit_test(chunks__of_least_size_are_counted),
	    cmocka_unit_test(end__at_the_edge_of_what_fits),
	    cmocka_unit_test(want__leaves_something_for_the_others),
	    cmocka_unit_test(grain__towards_the_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
