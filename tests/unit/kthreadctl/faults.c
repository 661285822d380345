/* SPDX-License-Identifier: MIT */
/* Any allocation fails: -ENOMEM and nothing leaks (AddressSanitizer sees it), never a crash. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../wrap_alloc.h"
#include "dumps.h"
#include "kthreadctl/rates.h"
#include "kthreadctl/threads.h"
#include "kthreadctl/timeline.h"

static const struct map_options options = {.width = 100};
static struct ctl_dump *dump;
static char *text;
static size_t length;
static FILE *nowhere;

static int setup(void **state)
{
	text = dump_text("cpus-8.json", &length);
	dump = dump_load("cpus-8.json");
	nowhere = fopen("/dev/null", "w");
	return nowhere ? 0 : -1;
}

static int teardown(void **state)
{
	free(text);
	model_free(dump);
	return fclose(nowhere);
}

static int try_parse(void)
{
	struct ctl_dump *d;
	char error[200] = "";
	int result = model_parse(text, length, &d, error, sizeof(error));

	assert_string_equal(error, result ? "out of memory" : "");
	model_free(d);
	return result;
}

static int try_event(void)
{
	static const char line[] = "{\"event\":\"thaw\",\"time_ns\":1}";
	struct ctl_event *e;
	char error[200] = "";
	int result = model_parse_event(line, strlen(line), &e, error, sizeof(error));

	model_event_free(e);
	return result;
}

static int try_map_text(void)
{
	return map_text(dump, &options, nowhere);
}

static int try_map_svg(void)
{
	return map_svg(dump, false, nowhere);
}

static int try_timeline(void)
{
	const struct ctl_event events[] = {
	    {.type = CTL_EVENT_CREATE, .time_ns = dump->time_ns + 1, .tid = 1, .name = "a"},
	    {.type = CTL_EVENT_AFFINE,
	     .time_ns = dump->time_ns + 2,
	     .tid = 1,
	     .name = "a",
	     .from = "0",
	     .to = "1",
	     .reason = "wish"},
	    {.type = CTL_EVENT_PARK, .time_ns = dump->time_ns + 3, .tid = 1, .name = "a"},
	    {.type = CTL_EVENT_CPU, .time_ns = dump->time_ns + 4, .cpu = 1},
	    {.type = CTL_EVENT_EXIT, .time_ns = dump->time_ns + 5, .tid = 1, .name = "a"},
	};
	struct timeline *t;
	int result = timeline_begin(dump, &t);

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]) && !result; i++)
		result = timeline_add(t, &events[i]);
	if (!result)
		result = timeline_text(t, dump->time_ns + 10, &options, nowhere);
	if (!result)
		result = timeline_svg(t, dump->time_ns + 10, nowhere);
	timeline_free(t);
	return result;
}

static int try_list(void)
{
	return threads_list(dump, true, true, nowhere) ? 0 : -ENOMEM;
}

static int try_show(void)
{
	return threads_show(dump, &dump->threads[0], true, nowhere) ? 0 : -ENOMEM;
}

static int try_rates(void)
{
	const struct table_style style = {.width = 80, .eol = "\n"};
	struct ctl_dump before = *dump;

	before.time_ns--;
	return rates_print(&before, dump, &style, 10, nowhere) && rates_print_json(&before, dump, nowhere) ? 0
	                                                                                                   : -ENOMEM;
}

static void try_all(int (*try)(void), unsigned long least)
{
	unsigned long n = 1, failed = 0;
	int result;

	for (;; n++) {
		wrap_alloc_fail_at(n);
		result = try();
		if (wrap_alloc_count() < n && !result)
			break;
		assert_true(result == 0 || result == -ENOMEM);
		failed += result != 0;
		assert_true(n < 10000);
	}
	wrap_alloc_fail_at(0);
	assert_true(failed >= least);
}

static void parse(void **state)
{
	try_all(try_parse, 60);
}

static void event(void **state)
{
	try_all(try_event, 1);
}

static void map_for_terminals(void **state)
{
	try_all(try_map_text, 12);
}

static void map_as_svg(void **state)
{
	try_all(try_map_svg, 12);
}

static void the_timeline(void **state)
{
	try_all(try_timeline, 60);
}

static void a_list(void **state)
{
	try_all(try_list, 60);
}

static void a_thread(void **state)
{
	try_all(try_show, 2);
}

static void rates_of_all(void **state)
{
	try_all(try_rates, 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parse),      cmocka_unit_test(event),        cmocka_unit_test(map_for_terminals),
	    cmocka_unit_test(map_as_svg), cmocka_unit_test(the_timeline), cmocka_unit_test(a_list),
	    cmocka_unit_test(a_thread),   cmocka_unit_test(rates_of_all),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
