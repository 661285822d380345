/* SPDX-License-Identifier: MIT */
/*
 * What is printed for people: durations and ages, tables, the list and the page of a thread, events.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "dumps.h"
#include "kthreadctl/events.h"
#include "kthreadctl/human.h"
#include "kthreadctl/table.h"
#include "kthreadctl/threads.h"

/* ---- times ------------------------------------------------------------------------------------------------------ */

static void human_parse_duration__units(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns; /* 0: refused */
	} table[] = {
	    {"1", 1000000000},
	    {"10s", 10000000000},
	    {"250ms", 250000000},
	    {"1.5", 1500000000},
	    {".5s", 500000000},
	    {"2m", 120000000000},
	    {"2min", 120000000000},
	    {"1.5h", 5400000000000},
	    {"1ms", 1000000},
	    {"", 0},
	    {"s", 0},
	    {"0", 0},
	    {"0.5ms", 0},
	    {"-1", 0},
	    {"+1", 0},
	    {" 1", 0},
	    {"1 s", 0},
	    {"0x10", 0},
	    {"1e3", 0},
	    {"inf", 0},
	    {"nan", 0},
	    {"1..2", 0},
	    {"10 seconds", 0},
	    {"1d", 0},
	    {"99999999999999999999h", 0},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		uint64_t ns = 0;
		const bool done = human_parse_duration(table[i].text, &ns);

		if (done != (table[i].ns != 0) || ns != table[i].ns)
			fail_msg("\"%s\": %d, %llu", table[i].text, done, (unsigned long long)ns);
	}
}

static void human_age__grows(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} table[] = {
	    {-1, "?"},
	    {0, "0ms"},
	    {340000000, "340ms"},
	    {7290000000, "7.2s"},
	    {59999999999, "59.9s"},
	    {60000000000, "1m 00s"},
	    {725000000000, "12m 05s"},
	    {12000000000000, "3h 20m"},
	    {86400000000000, "1d 00h"},
	    {INT64_MAX, "106751d 23h"},
	};
	char text[32];

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		human_age(text, sizeof(text), table[i].ns);
		assert_string_equal(text, table[i].text);
	}
}

static void human_rate__keeps_four_digits(void **state)
{
	static const struct {
		double rate;
		const char *text;
	} table[] = {
	    {-1, "-"},      {0, "0"},         {0.04, "0.0"},    {9.96, "10.0"},     {99.9, "99.9"},
	    {99.96, "100"}, {1234.4, "1234"}, {12345, "12.3k"}, {999949, "999.9k"}, {999951, "1.0M"},
	};
	char text[32];

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		human_rate(text, sizeof(text), table[i].rate);
		assert_string_equal(text, table[i].text);
	}
}

static void human_clock__from_a_dumps_time(void **state)
{
	const int64_t epoch = human_epoch_ns("2026-11-21T20:00:00.123Z", 7345000000000);
	char text[32];

	human_clock(text, sizeof(text), epoch, 7345000000000);
	assert_string_equal(text, "20:00:00.123");
	human_clock(text, sizeof(text), epoch, 7344000000000);
	assert_string_equal(text, "19:59:59.123");
	assert_int_equal(human_epoch_ns("yesterday", 1), 0);
	assert_int_equal(human_epoch_ns("2026-11-21T20:00:00.123", 1), 0);
	assert_int_equal(human_epoch_ns("9999999-11-21T20:00:00Z", 1), 0);
	assert_int_equal(human_epoch_ns(NULL, 1), 0);
	human_clock(text, sizeof(text), 0, 1500000000);
	assert_string_equal(text, "1.500");
	human_clock(text, sizeof(text), INT64_MAX, INT64_MAX);
	assert_non_null(strstr(text, "9223372036.85"));
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

static void table_print__columns_colour_and_width(void **state)
{
	static const char *const head[] = {"NAME", "N", "REST"}, *const row[] = {"a\033[2J\xc2\x9b"
	                                                                         "b",
	                                                                         "17", NULL};
	struct table_style style = {.colour = true, .utf8 = true, .eol = "\n"};
	struct table *table = table_new(3, 1u << 1);
	size_t size;
	char *text;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(table);
	assert_true(table_add(table, NULL, head));
	assert_true(table_add(table, "31", row));
	table_print(table, &style, 0, SIZE_MAX, out);
	style.colour = false;
	style.width = 9;
	style.eol = "|";
	table_print(table, &style, 1, 1, out);
	fclose(out);
	assert_string_equal(text, "NAME      N  REST\n"
	                          "\033[31ma?[2J?b  17  -\033[0m\n"
	                          "a?[2J?b|");
	free(text);
	table_free(table);
}

/* ---- the list --------------------------------------------------------------------------------------------------- */

static char *list_of(const struct ctl_dump *dump, bool colour)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_true(threads_list(dump, colour, true, out));
	fclose(out);
	return text;
}

static void threads_list__two_cpus(void **state)
{
	struct ctl_dump *dump = dump_load("cpus-2.json");
	char *text = list_of(dump, false);

	assert_string_equal(text, "NAME              TID  STATE    WISH       EFFECTIVE  ACTUAL  CPU  SINCE\n"
	                          "kthread-monitor  4712  waiting  none       0-1        0-1       0  45.0s\n"
	                          "log              4715  waiting  none       0-1        0-1       1  45.0s\n"
	                          "main             4716  adopted  none       0-1        0-1       0  45.0s\n"
	                          "poll/0           4713  waiting  per-cpu 0  0          0         0  45.0s\n"
	                          "poll/1           4714  waiting  per-cpu 1  1          1         1  45.0s\n");
	free(text);
	model_free(dump);
}

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		count++;
	return count;
}

/* A line each, sorted; broken ones are to be seen with and without colours; nothing that controls a terminal. */
static void threads_list__of_every_recorded_machine(void **state)
{
	static const char *const names[] = {"cpus-2.json", "cpus-8.json", "cpus-64.json", "cpus-256.json"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct ctl_dump *dump = dump_load(names[i]);
		char *text = list_of(dump, false), *colourful = list_of(dump, true);
		size_t broken = 0;

		for (size_t t = 0; t < dump->n_threads; t++)
			broken += dump->threads[t].broken;
		assert_int_equal(count_of(text, "\n"), dump->n_threads + 1);
		assert_int_equal(count_of(text, "  broken "), broken);
		assert_int_equal(count_of(text, "\033"), 0);
		assert_int_equal(count_of(colourful, "\033[31m"), broken);
		free(text);
		free(colourful);
		model_free(dump);
	}
}

static void threads_list__numbers_are_in_order(void **state)
{
	size_t length;
	char *json = dump_make(16, 110, &length), *text;
	struct ctl_dump *dump;
	char error[200];

	assert_int_equal(model_parse(json, length, &dump, error, sizeof(error)), 0);
	text = list_of(dump, false);
	assert_true(strstr(text, "\nw0/2 ") < strstr(text, "\nw0/10 "));
	assert_true(strstr(text, "\nw0/99 ") < strstr(text, "\nw1/0 "));
	free(text);
	free(json);
	model_free(dump);
}

/* ---- one thread ------------------------------------------------------------------------------------------------- */

static char *page_of(const struct ctl_dump *dump, const char *name, bool colour)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (size_t i = 0; i < dump->n_threads; i++) {
		if (strcmp(dump->threads[i].name, name) == 0)
			assert_true(threads_show(dump, &dump->threads[i], colour, out));
	}
	fclose(out);
	return text;
}

static void threads_show__a_broken_thread(void **state)
{
	struct ctl_dump *dump = dump_load("cpus-8.json");
	char *text = page_of(dump, "rx/1", false), *colourful = page_of(dump, "rx/1", true);

	assert_int_equal(strncmp(text, "rx/1\n  tid            826\n", 25), 0);
	assert_non_null(strstr(text, "\n  wish           bound 5\n"));
	assert_non_null(strstr(text, "\n  broken         for 45.0s\n"));
	assert_non_null(strstr(text, "\n  so             none of its CPUs (bound 5) is usable"));
	assert_non_null(strstr(text, " 45.0s ago (19:59:15.123): "));
	assert_null(strstr(text, "\033"));
	assert_non_null(strstr(colourful, "\033[31m"));
	free(text);
	free(colourful);
	model_free(dump);
}

static void threads_show__why_others_are_where_they_are(void **state)
{
	static const struct {
		const char *name, *text;
	} table[] = {
	    {"poll/5", "its CPU is not usable: it is parked until that is"},
	    {"poll/4", "all of its CPUs are usable"},
	    {"rx/0", "it has those of its CPUs that are usable"},
	    {"main", "it has no wish"},
	    {"libfoo-resolver-thread", "somebody else has changed its mask"},
	    {"compact", "it has those of its CPUs that are usable and housekeeping"},
	};
	struct ctl_dump *dump = dump_load("cpus-8.json");

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		char *text = page_of(dump, table[i].name, false);

		if (!strstr(text, table[i].text))
			fail_msg("%s does not say \"%s\"", text, table[i].text);
		free(text);
	}
	model_free(dump);
}

static void threads_show__refusals(void **state)
{
	struct ctl_dump *dump = dump_load("cpus-8.json");
	struct ctl_refusal refusals[] = {{"EINVAL", 2}, {"EPERM", 1}};
	char *text;

	dump->threads[0].refusals = refusals;
	dump->threads[0].n_refusals = 2;
	dump->threads[0].last.error = "EINVAL";
	text = page_of(dump, dump->threads[0].name, false);
	assert_non_null(strstr(text, "\n  refused        by the kernel: EINVAL"));
	assert_non_null(strstr(text, "\n  refusals       EINVAL: 2\n  refusals       EPERM: 1\n"));
	free(text);
	model_free(dump);
}

/* ---- events ----------------------------------------------------------------------------------------------------- */

static void events_print__a_line_each(void **state)
{
	static const struct {
		const char *json, *line;
	} table[] = {
	    {"{\"event\":\"watch\",\"format\":\"kthread-events\",\"version\":1,\"library\":\"0.1.0\",\"pid\":7,\"process\":"
	     "\"steady\",\"time_ns\":1000000000,\"time\":\"2026-11-21T20:00:00.000Z\"}",
	     "steady            watching (pid 7, libkthread 0.1.0)"},
	    {"{\"event\":\"thread_create\",\"time_ns\":1000000000,\"tid\":5,\"name\":\"a\\u001b[2J\\nb\"}",
	     "a?[2J?b           created (thread 5)"},
	    {"{\"event\":\"thread_park\",\"time_ns\":1000000000,\"tid\":5,\"name\":\"a-name-that-is-longer\"}",
	     "a-name-that-is-longer  parked"},
	    {"{\"event\":\"thread_exit\",\"time_ns\":1000000000,\"tid\":5,\"name\":\"a\",\"result\":-4}",
	     "a                 ended, result: -4 (Interrupted system call)"},
	    {"{\"event\":\"thread_exit\",\"time_ns\":1000000000,\"tid\":5,\"name\":\"a\",\"result\":12}",
	     "a                 ended, result: 12"},
	    {"{\"event\":\"thread_affine\",\"time_ns\":1000000000,\"tid\":5,\"name\":\"poll/3\",\"from\":\"3\",\"to\":\"0-2\","
	     "\"reason\":\"cpus\",\"errno\":null,\"broken\":true}",
	     "poll/3            broken: 3 -> 0-2 (CPUs or the cpuset changed)"},
	    {"{\"event\":\"thread_affine\",\"time_ns\":1000000000,\"tid\":5,\"name\":\"poll/3\",\"from\":\"3\",\"to\":null,"
	     "\"reason\":\"magic\",\"errno\":\"EINVAL\",\"broken\":false}",
	     "poll/3            the kernel refused 3 -> (many) with EINVAL (magic)"},
	    {"{\"event\":\"thread_affine\",\"time_ns\":1000000000,\"tid\":5,\"name\":\"poll/3\",\"from\":null,\"to\":\"0-2\","
	     "\"reason\":\"start\",\"errno\":null,\"broken\":false}",
	     "poll/3            runs on 0-2 (it started)"},
	    {"{\"event\":\"view\",\"time_ns\":1000000000,\"generation\":4,\"online\":\"0-7\",\"usable\":\"0-3\","
	     "\"housekeeping\":\"\"}",
	     "machine           view 4: online 0-7, usable 0-3, housekeeping no CPU"},
	    {"{\"event\":\"cpu\",\"time_ns\":1000000000,\"cpu\":3,\"usable\":false,\"cause\":\"cooperative\"}",
	     "machine           CPU 3 is not usable any more (cooperative)"},
	    {"{\"event\":\"step\",\"time_ns\":1000000000,\"name\":\"cache\",\"cpu\":3,\"call\":\"startup\",\"result\":0}",
	     "cache             step: startup on CPU 3: done"},
	    {"{\"event\":\"step\",\"time_ns\":1000000000,\"name\":\"cache\",\"cpu\":3,\"call\":\"teardown\",\"result\":-12}",
	     "cache             step: teardown on CPU 3: -12 (Cannot allocate memory)"},
	    {"{\"event\":\"freeze\",\"time_ns\":1000000000}", "all               a freeze begins"},
	    {"{\"event\":\"log\",\"time_ns\":1000000000,\"level\":4,\"id\":17,\"message\":\"too few CPUs\"}",
	     "library           warning: too few CPUs"},
	    {"{\"event\":\"log\",\"time_ns\":1000000000,\"level\":99,\"id\":17,\"message\":\"x\"}",
	     "library           ?: x"},
	    {"{\"event\":\"log\",\"time_ns\":1000000000,\"level\":6,\"id\":null,\"message\":\"x\"}",
	     "library           information: x"},
	    {"{\"event\":\"lost\",\"time_ns\":1000000000,\"count\":12}",
	     "watch             too slow: 12 events are missing here"},
	    {"{\"event\":\"brandnew\",\"time_ns\":1000000000}", "?                 brandnew (of a newer library)"},
	};
	const int64_t epoch = human_epoch_ns("2026-11-21T20:00:00.000Z", 1000000000);

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct ctl_event *event;
		char error[200], *text, *line;
		size_t size;
		FILE *out = open_memstream(&text, &size);

		if (model_parse_event(table[i].json, strlen(table[i].json), &event, error, sizeof(error)))
			fail_msg("%s: %s", table[i].json, error);
		assert_true(events_print(event, epoch, false, out));
		fclose(out);
		assert_true(asprintf(&line, "20:00:00.000  %s\n", table[i].line) > 0);
		assert_string_equal(text, line);
		free(line);
		free(text);
		model_event_free(event);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(human_parse_duration__units),
	    cmocka_unit_test(human_age__grows),
	    cmocka_unit_test(human_rate__keeps_four_digits),
	    cmocka_unit_test(human_clock__from_a_dumps_time),
	    cmocka_unit_test(table_print__columns_colour_and_width),
	    cmocka_unit_test(threads_list__two_cpus),
	    cmocka_unit_test(threads_list__of_every_recorded_machine),
	    cmocka_unit_test(threads_list__numbers_are_in_order),
	    cmocka_unit_test(threads_show__a_broken_thread),
	    cmocka_unit_test(threads_show__why_others_are_where_they_are),
	    cmocka_unit_test(threads_show__refusals),
	    cmocka_unit_test(events_print__a_line_each),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
