/* SPDX-License-Identifier: MIT */
/*
 * The lines of the control socket: what they mean, and what is wrong with those that mean nothing.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inspect/request.h"

/* Of a copy in memory of exactly the size that is promised: what is read or written behind it is seen. */
static int parse_bytes(const char *bytes, size_t length, struct kt_request *ret, char rest[1024], const char **ret_why)
{
	char *line = malloc(length + 1);
	int error;

	assert_non_null(line);
	memcpy(line, bytes, length);
	error = kt_request_parse(line, length, ret, ret_why);
	if (!error && ret->rest) {
		strcpy(rest, ret->rest);
		ret->rest = rest;
	}
	free(line);
	return error;
}

static void requests__mean(void **state)
{
	static const struct {
		const char *line;
		struct kt_request request;
	} cases[] = {
	    {"version", {.verb = KT_ASK_VERSION}},
	    {"  version\t \t", {.verb = KT_ASK_VERSION}},
	    {"version\r", {.verb = KT_ASK_VERSION}},
	    {"help", {.verb = KT_ASK_HELP}},
	    {"dump", {.verb = KT_ASK_DUMP}},
	    {"dump json", {.verb = KT_ASK_DUMP}},
	    {"dump   text ", {.verb = KT_ASK_DUMP, .text = true}},
	    {"watch", {.verb = KT_ASK_WATCH}},
	    {"rescan", {.verb = KT_ASK_RESCAN}},
	    {"park poll/3", {.verb = KT_ASK_PARK, .rest = "poll/3"}},
	    {"park \t a  name of words ", {.verb = KT_ASK_PARK, .rest = "a  name of words "}},
	    {"park tid", {.verb = KT_ASK_PARK, .rest = "tid"}},
	    {"park Tid=3", {.verb = KT_ASK_PARK, .rest = "Tid=3"}},
	    {"park \xff\x01", {.verb = KT_ASK_PARK, .rest = "\xff\x01"}},
	    {"park tid=42", {.verb = KT_ASK_PARK, .number = 42}},
	    {"unpark tid=2147483647\r", {.verb = KT_ASK_UNPARK, .number = INT_MAX}},
	    {"unpark poll/3\r", {.verb = KT_ASK_UNPARK, .rest = "poll/3"}},
	    {"housekeeping 0-3,8", {.verb = KT_ASK_HOUSEKEEPING, .rest = "0-3,8"}},
	    {"housekeeping default", {.verb = KT_ASK_HOUSEKEEPING}},
	    {"housekeeping defaults", {.verb = KT_ASK_HOUSEKEEPING, .rest = "defaults"}},
	    {"cpu down 3", {.verb = KT_ASK_CPU_DOWN, .number = 3}},
	    {"cpu  up  0  physical ", {.verb = KT_ASK_CPU_UP, .physical = true}},
	    {"cpu down 007 physical", {.verb = KT_ASK_CPU_DOWN, .number = 7, .physical = true}},
	    {"freeze", {.verb = KT_ASK_FREEZE, .number = 20000}},
	    {"freeze 0", {.verb = KT_ASK_FREEZE, .number = 0}},
	    {"freeze 4294967295", {.verb = KT_ASK_FREEZE, .number = UINT_MAX}},
	    {"thaw", {.verb = KT_ASK_THAW}},
	};
	char rest[1024];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct kt_request *wanted = &cases[i].request;
		struct kt_request got;
		const char *why;

		memset(&got, 0xaa, sizeof(got));
		assert_int_equal(parse_bytes(cases[i].line, strlen(cases[i].line), &got, rest, &why), 0);
		assert_null(why);
		assert_int_equal(got.verb, wanted->verb);
		assert_int_equal(got.number, wanted->number);
		assert_int_equal(got.text, wanted->text);
		assert_int_equal(got.physical, wanted->physical);
		assert_int_equal(!got.rest, !wanted->rest);
		if (got.rest)
			assert_string_equal(got.rest, wanted->rest);
	}
}

static void requests__mean_nothing(void **state)
{
	static const struct {
		const char *line, *about;
	} cases[] = {
	    {"", "no request"},
	    {" \t ", "no request"},
	    {"\r", "no request"},
	    {"\r\r", "no such request"},
	    {"Version", "no such request"},
	    {"versions", "no such request"},
	    {"version\vx", "no such request"},
	    {"version 1", "nothing may follow"},
	    {"help me", "nothing may follow"},
	    {"dump xml", "format"},
	    {"dump json text", "nothing may follow"},
	    {"watch all", "nothing may follow"},
	    {"rescan now", "nothing may follow"},
	    {"thaw 1", "nothing may follow"},
	    {"park", "which thread"},
	    {"unpark  \t", "which thread"},
	    {"park tid=", "tid="},
	    {"park tid=0", "tid="},
	    {"park tid=-1", "tid="},
	    {"park tid=1x", "tid="},
	    {"park tid= 1", "tid="},
	    {"park tid=2147483648", "tid="},
	    {"park tid=18446744073709551617", "tid="},
	    {"housekeeping", "which CPUs"},
	    {"cpu", "cpu down N"},
	    {"cpu sideways 1", "cpu down N"},
	    {"cpu down", "which CPU"},
	    {"cpu up +1", "which CPU"},
	    {"cpu up 2147483648", "which CPU"},
	    {"cpu up 1 logical", "physical"},
	    {"cpu up 1 physical please", "nothing may follow"},
	    {"freeze soon", "milliseconds"},
	    {"freeze 4294967296", "milliseconds"},
	    {"freeze 1 2", "nothing may follow"},
	};
	char rest[1024];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kt_request got;
		const char *why = NULL;

		assert_int_equal(parse_bytes(cases[i].line, strlen(cases[i].line), &got, rest, &why), -EINVAL);
		assert_non_null(why);
		if (!strstr(why, cases[i].about))
			fail_msg("\"%s\": %s", cases[i].line, why);
	}
}

static void request__with_a_nul(void **state)
{
	static const char line[] = "park x\0y";
	struct kt_request got;
	const char *why;
	char rest[1024];

	for (size_t length = 7; length < sizeof(line); length++) {
		assert_int_equal(parse_bytes(line, length, &got, rest, &why), -EINVAL);
		assert_non_null(strstr(why, "NUL"));
	}
	assert_int_equal(parse_bytes("\0", 1, &got, rest, &why), -EINVAL);
	assert_int_equal(parse_bytes("version\0", 8, &got, rest, &why), -EINVAL);
	assert_int_equal(parse_bytes(line, 6, &got, rest, &why), 0);
}

static void request__of_the_greatest_length(void **state)
{
	char line[KT_REQUEST_MAX + 2];
	struct kt_request got;
	const char *why;
	char rest[1024];

	memset(line, 'x', sizeof(line));
	memcpy(line, "park ", 5);
	assert_int_equal(parse_bytes(line, KT_REQUEST_MAX, &got, rest, &why), 0);
	assert_int_equal(strlen(got.rest), KT_REQUEST_MAX - 5);
	assert_int_equal(parse_bytes(line, KT_REQUEST_MAX + 1, &got, rest, &why), -EINVAL);
	assert_non_null(strstr(why, "too long"));
}

static void kt_request_changes__all_but_those_that_look(void **state)
{
	for (int verb = KT_ASK_VERSION; verb <= KT_ASK_THAW; verb++) {
		const bool looks =
		    verb == KT_ASK_VERSION || verb == KT_ASK_HELP || verb == KT_ASK_DUMP || verb == KT_ASK_WATCH;

		assert_int_equal(kt_request_changes((enum kt_verb)verb), !looks);
	}
}

/* Each request that the help names is one. */
static void kt_request_help__is_true(void **state)
{
	static const char *const words[] = {"version", "help",         "dump", "watch",  "rescan", "park",
	                                    "unpark",  "housekeeping", "cpu",  "freeze", "thaw"};
	struct kt_request got;
	const char *why;
	char rest[1024];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		assert_non_null(strstr(kt_request_help, words[i]));
		parse_bytes(words[i], strlen(words[i]), &got, rest, &why);
		assert_true(!why || !strstr(why, "no such request"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(requests__mean),
	    cmocka_unit_test(requests__mean_nothing),
	    cmocka_unit_test(request__with_a_nul),
	    cmocka_unit_test(request__of_the_greatest_length),
	    cmocka_unit_test(kt_request_changes__all_but_those_that_look),
	    cmocka_unit_test(kt_request_help__is_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
