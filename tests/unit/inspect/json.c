/* SPDX-License-Identifier: MIT */
/*
 * The JSON writer: what it writes exactly, and that another reader reads the same values from it.
 */
#include <jansson.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../wrap_alloc.h"
#include "inspect/json.h"
#include "machine/cpumask.h"

static void assert_text(struct kt_json *json, const char *expected)
{
	assert_false(json->text.failed);
	kt_text_add(&json->text, "", 1);
	assert_string_equal(json->text.at, expected);
	kt_text_free(&json->text);
}

static void commas_and_lines(void **state)
{
	struct kt_json json = {.comma = false};

	kt_json_open(&json, NULL, '{');
	kt_json_number(&json, "a", 0);
	kt_json_line(&json);
	kt_json_open(&json, "b", '[');
	kt_json_close(&json, ']');
	kt_json_open(&json, "c", '[');
	kt_json_bool(&json, NULL, true);
	kt_json_bool(&json, NULL, false);
	kt_json_null(&json, NULL);
	kt_json_line(&json);
	kt_json_close(&json, ']');
	kt_json_open(&json, "d", '{');
	kt_json_open(&json, "e", '{');
	kt_json_close(&json, '}');
	kt_json_number(&json, "f", UINT64_MAX);
	kt_json_close(&json, '}');
	kt_json_string(&json, "g", NULL);
	kt_json_close(&json, '}');
	assert_text(&json, "{\"a\":0,\n\"b\":[],\"c\":[true,false,null\n],\"d\":{\"e\":{},\"f\":18446744073709551615},"
	                   "\"g\":null}");
}

#define BAD "\xef\xbf\xbd"

static void strings(void **state)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
	    {"", ""},
	    {"plain / slash 'quote'", "plain / slash 'quote'"},
	    {"\"", "\\\""},
	    {"\\", "\\\\"},
	    {"\b\f\n\r\t", "\\u0008\\u000c\\u000a\\u000d\\u0009"},
	    {"\x01\x1f\x7f ", "\\u0001\\u001f\\u007f "},
	    {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
	    /* the first and last of each length */
	    {"\xc2\xa0\xdf\xbf", "\xc2\xa0\xdf\xbf"},
	    {"\xc2\x80\xc2\x9f", "\\u0080\\u009f"}, /* some terminals act upon these */
	    {"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
	    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
	    /* not UTF-8: each byte by itself */
	    {"\x80", BAD},
	    {"a\xffz", "a" BAD "z"},
	    {"\xc3", BAD},
	    {"\xc3(", BAD "("},
	    {"\xe2\x82", BAD BAD},
	    {"\xe2\x82\"", BAD BAD "\\\""},
	    {"\xf0\x9f\x98", BAD BAD BAD},
	    {"\xc0\x80\xc1\xbf", BAD BAD BAD BAD},         /* longer than need be */
	    {"\xe0\x9f\xbf", BAD BAD BAD},                 /* the same */
	    {"\xf0\x8f\xbf\xbf", BAD BAD BAD BAD},         /* the same */
	    {"\xed\xa0\x80", BAD BAD BAD},                 /* a surrogate */
	    {"\xf4\x90\x80\x80\xf5", BAD BAD BAD BAD BAD}, /* beyond U+10FFFF */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kt_json json = {.comma = false};
		char expected[128];

		snprintf(expected, sizeof(expected), "\"%s\"", cases[i].to);
		kt_json_string(&json, NULL, cases[i].from);
		assert_text(&json, expected);
	}
}

/* Whatever the bytes are, jansson, which refuses what is not UTF-8, reads the text; and reads these bytes if they are. */
static void any_two_and_three_bytes(void **state)
{
	struct kt_json json = {.comma = false};

	for (unsigned int i = 0; i < 1 << 16; i++) {
		const char bytes[3] = {(char)(i >> 8), (char)i, (char)(i % 3 ? 0xbf : 'x')};
		json_error_t error;
		json_t *value;

		json.comma = false;
		json.text.length = 0;
		kt_json_string_of(&json, NULL, bytes, sizeof(bytes));
		value = json_loadb(json.text.at, json.text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
		assert_non_null(value);
		if (!memmem(json_string_value(value), json_string_length(value), BAD, 3)) {
			assert_int_equal(json_string_length(value), 3);
			assert_memory_equal(json_string_value(value), bytes, 3);
		}
		json_decref(value);
	}
	kt_text_free(&json.text);
}

static void part_of_a_string_and_keys(void **state)
{
	struct kt_json json = {.comma = false};

	kt_json_open(&json, NULL, '{');
	kt_json_string_of(&json, "cl\"ass", "poll/3", 4);
	kt_json_string_of(&json, "cut", "\xe2\x82\xac", 2);
	kt_json_close(&json, '}');
	assert_text(&json, "{\"cl\\\"ass\":\"poll\",\"cut\":\"" BAD BAD "\"}");
}

static void cpu_sets(void **state)
{
	const size_t setsize = 8192;
	cpu_set_t *set = calloc(1, setsize);
	struct kt_json json = {.comma = false};
	char *expected = malloc(1 << 20), *end = expected;

	kt_json_open(&json, NULL, '[');
	kt_json_cpus(&json, NULL, setsize, NULL);
	kt_json_cpus(&json, NULL, setsize, set);
	end += sprintf(end, "[null,\"\",\"");
	for (unsigned int cpu = 0; cpu < setsize * CHAR_BIT; cpu += 2) { /* longer than any first guess of its size */
		kt_cpus_add(setsize, set, cpu);
		end += sprintf(end, "%s%u", cpu ? "," : "", cpu);
	}
	strcpy(end, "\"]");
	kt_json_cpus(&json, NULL, setsize, set);
	kt_json_close(&json, ']');
	assert_text(&json, expected);
	free(expected);
	free(set);
}

/* Without memory the text is marked, what comes after is not put behind a gap, and nothing is written beyond the end. */
static void no_memory(void **state)
{
	const cpu_set_t set = {{0x5555555555555555, 0x5555555555555555, 0x5555555555555555, 0x5555555555555555}};
	unsigned long n = 1;
	bool failed = true;

	for (; failed; n++) {
		struct kt_json json = {.comma = false};

		wrap_alloc_fail_at(n);
		kt_json_open(&json, NULL, '{');
		for (int i = 0; i < 200; i++)
			kt_json_string(&json, "key", "\x01value\xff");
		kt_json_cpus(&json, "cpus", sizeof(set), &set);
		kt_json_number(&json, "n", 1);
		kt_json_close(&json, '}');
		failed = json.text.failed;
		assert_true(failed || wrap_alloc_count() < n);
		if (!failed)
			assert_int_equal(json.text.at[json.text.length - 1], '}');
		wrap_alloc_fail_at(0);
		kt_text_free(&json.text);
	}
	assert_true(n > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(commas_and_lines),
	    cmocka_unit_test(strings),
	    cmocka_unit_test(any_two_and_three_bytes),
	    cmocka_unit_test(part_of_a_string_and_keys),
	    cmocka_unit_test(cpu_sets),
	    cmocka_unit_test(no_memory),
	};

	return cmocka_run_group_tests_name("inspect_json", tests, NULL, NULL);
}
