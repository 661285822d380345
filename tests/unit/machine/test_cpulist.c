/* SPDX-License-Identifier: MIT */
/*
 * kthread_cpulist_parse(), kthread_cpulist_format(): the kernel's grammar, its whole error table, and parse(format(x))
 * == x. Each case with and without a newline at its end.
 */
#include <errno.h>
#include <kthread/placement.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpulist.h"
#include "machine/cpumask.h"
#include "support.h"

#define MOST 4096u
#define SETSIZE (MOST / 8)

static unsigned long words[SETSIZE / sizeof(unsigned long)];
#define set ((cpu_set_t *)(void *)words)

static void check_list(const char *list, unsigned int width, const char *expected)
{
	assert_int_equal(kt_cpulist_parse(list, width, SETSIZE, set), 0);
	assert_cpus(SETSIZE, set, expected);
}

static void check_error(const char *list, unsigned int width, int error)
{
	memset(words, 0x5a, sizeof(words));
	assert_int_equal(kt_cpulist_parse(list, width, SETSIZE, set), error);
	for (size_t i = 0; i < SETSIZE; i++)
		assert_int_equal(((unsigned char *)words)[i], 0x5a);
}

static void parse__well_formed_lists(void **state)
{
	static const struct {
		const char *list;
		unsigned int width;
		const char *expected;
	} cases[] = {
	    {"", 8, ""},
	    {" ", 8, ""},
	    {",,, ,", 8, ""},
	    {" ,  ,  , ,   ,", 8, ""},
	    {"0", 8, "0"},
	    {"7", 8, "7"},
	    {"00003", 8, "3"},
	    {"0-0", 8, "0"},
	    {"0-3,8", 16, "0-3,8"},
	    {"4-5,0-1", 8, "0-1,4-5"},
	    {"1,1,0-2,2", 8, "0-2"},
	    {" \t1\v,\f2\r, 5 ", 8, "1-2,5"},
	    {"3 5", 8, "3,5"},
	    {"N", 8, "7"},
	    {"N-N", 8, "7"},
	    {"2-N", 8, "2-7"},
	    {"0,N", 4096, "0,4095"},
	    {"all", 8, "0-7"},
	    {"ALL", 8, "0-7"},
	    {"aLl,3", 8, "0-7"},
	    {"all:1/2", 8, "0,2,4,6"},
	    {"0-31:2/8", 32, "0-1,8-9,16-17,24-25"},
	    {"0-7:0/1", 8, ""},
	    {"0-7:0/3", 8, ""},
	    {"0-7:3/3", 8, "0-7"},
	    {"1-6:2/4", 8, "1-2,5-6"},
	    {"0-5:2/4", 8, "0-1,4-5"},
	    {"0-4:2/4", 8, "0-1,4"},
	    {"0-7:N/N", 8, "0-7"},
	    {"0-7:1/N", 8, "0,7"},
	    {"0-3:1/2N", 8, "0,2,7"},
	    {"0-3:1/2,N", 8, "0,2,7"},
	    {"5-5:1/1", 8, "5"},
	    {"0-3:1/4294967295", 8, "0"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[64];

		check_list(cases[i].list, cases[i].width, cases[i].expected);
		snprintf(line, sizeof(line), "%s\n", cases[i].list);
		check_list(line, cases[i].width, cases[i].expected);
		snprintf(line, sizeof(line), "%s\njunk", cases[i].list);
		check_list(line, cases[i].width, cases[i].expected);
	}
}

static void parse__the_kernels_long_example(void **state)
{
	assert_int_equal(kt_cpulist_parse("100-2000:2/25", MOST, SETSIZE, set), 0);
	for (unsigned int cpu = 0; cpu < MOST; cpu++)
		assert_int_equal(kt_cpus_test(SETSIZE, set, cpu), cpu >= 100 && cpu <= 2000 && (cpu - 100) % 25 < 2);
}

static void parse__malformed_lists(void **state)
{
	static const struct {
		const char *list;
		unsigned int width;
		int error;
	} cases[] = {
	    {"-1", 8, -EINVAL},
	    {"-0", 8, -EINVAL},
	    {"+1", 8, -EINVAL},
	    {"0-", 8, -EINVAL},
	    {"0--3", 8, -EINVAL},
	    {"0-3-5", 8, -EINVAL},
	    {"0 -3", 8, -EINVAL},
	    {"0- 3", 8, -EINVAL},
	    {"10-1", 16, -EINVAL},
	    {"10-1", 4, -EINVAL},
	    {"N-0", 8, -EINVAL},
	    {"a", 8, -EINVAL},
	    {"0x3", 8, -EINVAL},
	    {"3a", 8, -EINVAL},
	    {"a-31", 8, -EINVAL},
	    {"0-a1", 8, -EINVAL},
	    {"n", 8, -EINVAL},
	    {"NN", 8, -EINVAL},
	    {"N3", 8, -EINVAL},
	    {"al", 8, -EINVAL},
	    {"allx", 8, -EINVAL},
	    {"all-3", 8, -EINVAL},
	    {"1.5", 8, -EINVAL},
	    {"1;2", 8, -EINVAL},
	    {"(null)", 8, -EINVAL},
	    {"5:1/2", 8, -EINVAL},
	    {"N:1/2", 8, -EINVAL},
	    {"0-7:", 8, -EINVAL},
	    {"0-7:1", 8, -EINVAL},
	    {"0-7:1/", 8, -EINVAL},
	    {"0-7:/2", 8, -EINVAL},
	    {"0-7:1-2", 8, -EINVAL},
	    {"0-7:0/0", 8, -EINVAL},
	    {"0-7:1/0", 8, -EINVAL},
	    {"0-7:10/1", 8, -EINVAL},
	    {"0-7:a/1", 8, -EINVAL},
	    {"0-7:1/a", 8, -EINVAL},
	    {"0-7:-1/2", 8, -EINVAL},
	    {"0-31:10/1", 8, -EINVAL}, /* before -ERANGE */
	    {"8", 8, -ERANGE},
	    {"8-8", 8, -ERANGE},
	    {"0-8", 8, -ERANGE},
	    {"0-31:1/2", 8, -ERANGE},
	    {"16-N", 4, -EINVAL}, /* a backward range there */
	    {"4294967295", 8, -ERANGE},
	    {"0,1,2,8", 8, -ERANGE},
	    {"0-3,x", 8, -EINVAL},
	    {"4294967296", 8, -EOVERFLOW},
	    {"0-98765432123456789", 8, -EOVERFLOW},
	    {"0-98765432123456789:10/1", 8, -EOVERFLOW},
	    {"0-7:4294967296/1", 8, -EOVERFLOW},
	    {"0-7:1/99999999999999999999999999", 8, -EOVERFLOW},
	    {"0", 0, -ERANGE},
	    {"N", 0, -ERANGE},
	    {"all", 0, -ERANGE},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[64];

		check_error(cases[i].list, cases[i].width, cases[i].error);
		snprintf(line, sizeof(line), "%s\n", cases[i].list);
		check_error(line, cases[i].width, cases[i].error);
		snprintf(line, sizeof(line), "0,%s", cases[i].list);
		if (cases[i].width > 0)
			check_error(line, cases[i].width, cases[i].error);
	}
}

static void read__cpus_beyond_the_width_are_left_out(void **state)
{
	assert_int_equal(kt_cpulist_read("0-3,6-9,12,20-4294967295", 8, SETSIZE, set), 0);
	assert_cpus(SETSIZE, set, "0-3,6-7");
	assert_int_equal(kt_cpulist_read("0-3,", 0, SETSIZE, set), 0);
	assert_cpus(SETSIZE, set, "");
	assert_int_equal(kt_cpulist_read("0-3,x", 8, SETSIZE, set), -EINVAL);
}

static void public_parse__width_is_the_sets(void **state)
{
	assert_int_equal(kthread_cpulist_parse("1,N", 8, set), 0);
	assert_cpus(8, set, "1,63");
	assert_int_equal(kthread_cpulist_parse("64", 8, set), -ERANGE);
	assert_int_equal(kthread_cpulist_parse("", 0, set), 0);
	assert_int_equal(kthread_cpulist_parse("0", 0, set), -ERANGE);
	assert_int_equal(kthread_cpulist_parse(NULL, 8, set), -EINVAL);
	assert_int_equal(kthread_cpulist_parse("0", 8, NULL), -EINVAL);
}

/* A setsize need not be whole longs; what lies behind it is the caller's. */
static void public_parse__odd_setsize_writes_nothing_behind_it(void **state)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	unsigned long space[4];
	unsigned char *bytes = (unsigned char *)space;

	for (size_t size = 1; size < 2 * sizeof(long); size++) {
		memset(space, 0xa5, sizeof(space));
		assert_int_equal(kthread_cpulist_parse("0,N", size, (cpu_set_t *)(void *)space), 0);
		assert_int_equal(bytes[0], size > 1 ? 0x01 : 0x81);
		assert_int_equal(bytes[size - 1], size > 1 ? 0x80 : 0x81);
		assert_int_equal(bytes[size], 0xa5);
	}
#else
	skip();
#endif
}

/* Not the machine's: what a list means does not depend on where it is read. */
static void public_parse__width_is_the_sets_while_up_too(void **state)
{
	const char *root = tree_make();

	tree_machine("sparse"); /* the last possible CPU is 19 */
	assert_int_equal(room_start(root, NULL), 0);
	assert_int_equal(kthread_cpulist_parse("3-N", SETSIZE, set), 0);
	assert_cpus(SETSIZE, set, "3-4095");
	room_stop();
	tree_remove();
}

static void format__snprintf_rule(void **state)
{
	char buf[16];

	kt_cpulist_parse("0-3,8,100-101", MOST, SETSIZE, set);
	assert_int_equal(kthread_cpulist_format(SETSIZE, set, NULL, 0), 13);
	for (size_t len = 0; len <= sizeof(buf); len++) {
		memset(buf, '#', sizeof(buf));
		assert_int_equal(kthread_cpulist_format(SETSIZE, set, buf, len), 13);
		if (len > 0) {
			assert_int_equal(strlen(buf), len - 1 < 13 ? len - 1 : 13);
			assert_int_equal(strncmp(buf, "0-3,8,100-101", strlen(buf)), 0);
		}
		if (len < sizeof(buf))
			assert_int_equal(buf[len > 13 ? 14 : len], '#');
	}
	assert_int_equal(kthread_cpulist_format(SETSIZE, NULL, buf, sizeof(buf)), -EINVAL);
	assert_int_equal(kthread_cpulist_format(SETSIZE, set, NULL, 1), -EINVAL);
}

static void format__empty_set_is_the_empty_string(void **state)
{
	char buf[4] = "###";

	kt_cpus_zero(SETSIZE, set);
	assert_int_equal(kthread_cpulist_format(SETSIZE, set, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	assert_int_equal(kthread_cpulist_format(0, set, buf, sizeof(buf)), 0);
}

static void format__odd_setsize_reads_nothing_behind_it(void **state)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	unsigned char *bytes = malloc(5); /* a sanitizer sees a read behind it */
	char buf[32];

	memset(bytes, 0x80, 5);
	assert_int_equal(kthread_cpulist_format(5, (cpu_set_t *)(void *)bytes, buf, sizeof(buf)), 13);
	assert_string_equal(buf, "7,15,23,31,39");
	free(bytes);
#else
	skip();
#endif
}

static void property__parse_of_format_is_the_same(void **state)
{
	const char *given = getenv("KT_TEST_SEED");
	const unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 0) : 20120716u;
	static unsigned long wanted[SETSIZE / sizeof(unsigned long)];
	static char text[65536], twin[65536];

	print_message("KT_TEST_SEED=%u\n", seed);
	srandom(seed);
	for (int round = 0; round < 2000; round++) {
		const unsigned int width = 1 + (unsigned int)random() % MOST;
		const size_t size = kt_cpus_size(width);
		unsigned int cpu = (unsigned int)random() % width;

		memset(wanted, 0, sizeof(wanted));
		/* runs and gaps of random length, from single CPUs to hundreds */
		while (cpu < width) {
			unsigned int run = 1 + (unsigned int)random() % (1u << random() % 10);

			for (; run > 0 && cpu < width; run--, cpu++)
				kt_cpus_add(size, (cpu_set_t *)(void *)wanted, cpu);
			cpu += 1 + (unsigned int)random() % (1u << random() % 10);
		}
		assert_true(kthread_cpulist_format(size, (cpu_set_t *)(void *)wanted, text, sizeof(text)) <
		            (int)sizeof(text));
		assert_int_equal(kt_cpulist_parse(text, width, size, set), 0);
		assert_memory_equal(words, wanted, size);
		kthread_cpulist_format(size, set, twin, sizeof(twin));
		assert_string_equal(text, twin);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parse__well_formed_lists),
	    cmocka_unit_test(parse__the_kernels_long_example),
	    cmocka_unit_test(parse__malformed_lists),
	    cmocka_unit_test(read__cpus_beyond_the_width_are_left_out),
	    cmocka_unit_test(public_parse__width_is_the_sets),
	    cmocka_unit_test(public_parse__odd_setsize_writes_nothing_behind_it),
	    cmocka_unit_test(public_parse__width_is_the_sets_while_up_too),
	    cmocka_unit_test(format__snprintf_rule),
	    cmocka_unit_test(format__empty_set_is_the_empty_string),
	    cmocka_unit_test(format__odd_setsize_reads_nothing_behind_it),
	    cmocka_unit_test(property__parse_of_format_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
