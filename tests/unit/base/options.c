/* SPDX-License-Identifier: MIT */
/*
 * kt_options_read(): sized option structs of callers from the past, the present and the future.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/options.h"

struct first { /* the first version */
	size_t size;
	int a;
	int b;
};

struct now {
	size_t size;
	int a;
	int b;
	int c;
	int d;
};

struct future {
	size_t size;
	int a;
	int b;
	int c;
	int d;
	int e;
	char f;
};

static const struct now defaults = {.size = sizeof(struct now), .a = 1, .b = 2, .c = 3, .d = 4};

static void kt_options_read__of_now(void **state)
{
	const struct now given = {.size = sizeof(given), .a = 11, .b = 12, .c = 13, .d = 14};
	struct now known = defaults;

	assert_int_equal(kt_options_read(&known, sizeof(known), sizeof(struct first), &given), 0);
	assert_memory_equal(&known, &given, sizeof(known));
}

static void kt_options_read__from_the_past(void **state)
{
	struct first *given = malloc(sizeof(*given)); /* so that a byte too many is seen */
	struct now known = defaults;

	*given = (struct first){.size = sizeof(*given), .a = 11, .b = 12};
	assert_int_equal(kt_options_read(&known, sizeof(known), sizeof(struct first), given), 0);
	free(given);
	assert_int_equal(known.size, sizeof(known)); /* ours, not the caller's */
	assert_int_equal(known.a, 11);
	assert_int_equal(known.b, 12);
	assert_int_equal(known.c, 3);
	assert_int_equal(known.d, 4);
}

static void kt_options_read__from_the_future_with_zeros(void **state)
{
	struct future given;
	struct now known = defaults;

	memset(&given, 0, sizeof(given));
	given.size = sizeof(given);
	given.d = 14;
	assert_int_equal(kt_options_read(&known, sizeof(known), sizeof(struct first), &given), 0);
	assert_int_equal(known.size, sizeof(known));
	assert_int_equal(known.d, 14);
	assert_int_equal(known.a, 0);
}

static void kt_options_read__from_the_future_with_more(void **state)
{
	for (size_t at = offsetof(struct future, e); at < sizeof(struct future); at++) {
		struct future given;
		struct now known = defaults;

		memset(&given, 0, sizeof(given));
		given.size = sizeof(given);
		((unsigned char *)&given)[at] = 1;
		assert_int_equal(kt_options_read(&known, sizeof(known), sizeof(struct first), &given), -E2BIG);
		assert_memory_equal(&known, &defaults, sizeof(known));
	}
}

static void kt_options_read__too_small(void **state)
{
	for (size_t size = 0; size < sizeof(struct first); size++) {
		struct first given = {.size = size, .a = 11};
		struct now known = defaults;

		assert_int_equal(kt_options_read(&known, sizeof(known), sizeof(struct first), &given), -EINVAL);
		assert_memory_equal(&known, &defaults, sizeof(known));
	}
}

/* A size between two versions: half a field is no field of ours, but of the caller's making. */
static void kt_options_read__odd_sizes(void **state)
{
	for (size_t size = sizeof(struct first); size <= sizeof(struct now); size++) {
		struct now given;
		struct now known = defaults;

		memset(&given, 0, sizeof(given));
		given.size = size;
		assert_int_equal(kt_options_read(&known, sizeof(known), sizeof(struct first), &given), 0);
		assert_int_equal(known.size, sizeof(known));
		assert_int_equal(known.a, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kt_options_read__of_now),
	    cmocka_unit_test(kt_options_read__from_the_past),
	    cmocka_unit_test(kt_options_read__from_the_future_with_zeros),
	    cmocka_unit_test(kt_options_read__from_the_future_with_more),
	    cmocka_unit_test(kt_options_read__too_small),
	    cmocka_unit_test(kt_options_read__odd_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
