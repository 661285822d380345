/* SPDX-License-Identifier: MIT */
/* The timeline: each event changes the lane that it must, and the pictures stay within their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dumps.h"
#include "kthreadctl/lanes.h"
#include "kthreadctl/text.h"
#include "svg_check.h"

#define SECOND INT64_C(1000000000)

static void add(const struct ctl_event *event, void *timeline)
{
	assert_int_equal(timeline_add(timeline, event), 0);
}

__attribute__((format(printf, 2, 3))) static void happens(struct timeline *t, const char *format, ...)
{
	struct ctl_event *event;
	char line[1024], error[200];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (model_parse_event(line, strlen(line), &event, error, sizeof(error)))
		fail_msg("%s: %s", line, error);
	add(event, t);
	model_event_free(event);
}

static struct timeline *begin(const struct ctl_dump *d)
{
	struct timeline *t;

	assert_int_equal(timeline_begin(d, &t), 0);
	return t;
}

static const struct lane *lane_of(const struct timeline *t, const char *name, int64_t tid)
{
	for (const struct lane *lane = t->threads; lane; lane = lane->next) {
		if (strcmp(lane->name, name) == 0 && (tid < 0 || lane->tid == tid))
			return lane;
	}
	fail_msg("no lane of \"%s\"", name);
	return NULL;
}

static void segment_is(const struct timeline *t, const struct lane *lane, size_t i, int64_t ms, enum lane_state state,
                       const char *cpus)
{
	assert_true(i < lane->n_segments);
	assert_int_equal((lane->segments[i].begin - t->begin) / 1000000, ms);
	assert_int_equal(lane->segments[i].state, state);
	assert_string_equal(lane->segments[i].cpus, cpus);
}

static void threads(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	struct timeline *t = begin(d);
	const struct lane *lane;

	dump_events("events-8.jsonl", add, t);

	lane = lane_of(t, "poll/3", -1);
	assert_int_equal(lane->n_segments, 3);
	segment_is(t, lane, 0, 0, LANE_ACTIVE, "3");
	segment_is(t, lane, 1, 1200, LANE_PARKED, "3");
	segment_is(t, lane, 2, 3920, LANE_ACTIVE, "3");
	assert_int_equal(lane->n_markers, 1);
	assert_int_equal(lane->markers[0].kind, MARKER_PARK);

	lane = lane_of(t, "rx/0", -1);
	assert_int_equal(lane->n_segments, 3);
	segment_is(t, lane, 1, 2010, LANE_BROKEN, "0-2");
	segment_is(t, lane, 2, 3010, LANE_ACTIVE, "4");
	assert_int_equal(lane->n_markers, 2);
	assert_int_equal(lane->markers[0].kind, MARKER_MOVE);
	assert_string_equal(lane->markers[0].text, "4 \xe2\x86\x92 0-2: cpus");

	lane = lane_of(t, "tx", -1); /* refused: it stays where it is */
	assert_int_equal(lane->n_segments, 2);
	segment_is(t, lane, 0, 0, LANE_BROKEN, "0-4");
	segment_is(t, lane, 1, 8020, LANE_ACTIVE, "6");
	assert_int_equal(lane->markers[0].kind, MARKER_REFUSED);
	assert_non_null(strstr(lane->markers[0].text, "refused: EINVAL"));

	lane = lane_of(t, "compact", -1);
	segment_is(t, lane, 0, 0, LANE_FROZEN, "1");
	segment_is(t, lane, 1, 6000, LANE_ACTIVE, "1");

	lane = lane_of(t, "ktask/1", -1);
	segment_is(t, lane, 0, 0, LANE_STOPPING, "0-4");
	segment_is(t, lane, 1, 7500, LANE_GONE, "");

	lane = lane_of(t, "batch/0", -1);
	segment_is(t, lane, 0, 6500, LANE_CREATED, "");
	segment_is(t, lane, 1, 6520, LANE_CREATED, "0-1");
	segment_is(t, lane, 2, 6550, LANE_ACTIVE, "0-1");
	segment_is(t, lane, lane->n_segments - 2, 8600, LANE_STOPPING, "0-1");
	segment_is(t, lane, lane->n_segments - 1, 9200, LANE_GONE, "");
	assert_int_equal(lane->markers[lane->n_markers - 1].kind, MARKER_STOP);

	assert_false(lane_is_busy(lane_of(t, "poll/0", -1)));
	assert_int_equal(t->lost, 12);
	timeline_free(t);
	model_free(d);
}

static void cpus(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	struct timeline *t = begin(d);

	dump_events("events-8.jsonl", add, t);
	assert_int_equal(t->cpus[0].n_segments, 1);
	assert_int_equal(t->cpus[3].n_segments, 3);
	segment_is(t, &t->cpus[3], 0, 0, LANE_USABLE, "");
	segment_is(t, &t->cpus[3], 1, 1210, LANE_OFFLINE, "");
	segment_is(t, &t->cpus[3], 2, 3900, LANE_USABLE, "");
	segment_is(t, &t->cpus[4], 1, 2000, LANE_UNUSABLE,
	           ""); /* it has gone cooperatively: the kernel has it online */
	segment_is(t, &t->cpus[5], 0, 0, LANE_OFFLINE, "");
	segment_is(t, &t->cpus[6], 0, 0, LANE_UNUSABLE, "");
	segment_is(t, &t->cpus[6], 1, 8000, LANE_USABLE, "");
	timeline_free(t);
	model_free(d);
}

static void strange_orders(void **state)
{
	struct ctl_dump *d = dump_load("cpus-2.json");
	const long long now = d->time_ns, tid = d->threads[1].tid; /* poll/0 */
	struct timeline *t = begin(d);

	/* older than the dump, which knows it */
	happens(t, "{\"event\":\"thread_park\",\"time_ns\":%lld,\"tid\":%lld,\"name\":\"poll/0\"}", now - 1, tid);
	assert_false(lane_is_busy(lane_of(t, "poll/0", -1)));
	/* of a thread that nobody has heard of */
	happens(t, "{\"event\":\"thread_park\",\"time_ns\":%lld,\"tid\":77,\"name\":\"late\"}", now + 5 * SECOND);
	segment_is(t, lane_of(t, "late", 77), 0, 5000, LANE_PARKED, "");
	assert_true(lane_is_busy(lane_of(t, "late", 77)));
	/* a number that is used again, whether the end of its former owner was seen or not */
	happens(t, "{\"event\":\"thread_create\",\"time_ns\":%lld,\"tid\":%lld,\"name\":\"new\"}", now + 6 * SECOND,
	        tid);
	happens(t, "{\"event\":\"thread_start\",\"time_ns\":%lld,\"tid\":%lld,\"name\":\"new\"}", now + 7 * SECOND,
	        tid);
	assert_int_equal(lane_of(t, "new", tid)->n_segments, 2);
	assert_int_equal(lane_of(t, "poll/0", tid)->n_segments, 1);
	happens(t, "{\"event\":\"thread_exit\",\"time_ns\":%lld,\"tid\":%lld,\"name\":\"new\",\"result\":0}",
	        now + 8 * SECOND, tid);
	happens(t, "{\"event\":\"thread_adopt\",\"time_ns\":%lld,\"tid\":%lld,\"name\":\"third\"}", now + 9 * SECOND,
	        tid);
	assert_int_equal(lane_of(t, "new", tid)->n_segments, 3);
	segment_is(t, lane_of(t, "third", tid), 0, 9000, LANE_ACTIVE, "");
	/* lists that did not fit, CPUs beyond the possible, an event of a newer library */
	happens(
	    t,
	    "{\"event\":\"thread_affine\",\"time_ns\":%lld,\"tid\":%lld,\"name\":\"third\",\"from\":null,\"to\":null,"
	    "\"reason\":\"wish\",\"errno\":null,\"broken\":false}",
	    now + 9 * SECOND + 1, tid);
	happens(t, "{\"event\":\"cpu\",\"time_ns\":%lld,\"cpu\":4000,\"usable\":false,\"cause\":\"observed\"}",
	        now + 10 * SECOND);
	happens(
	    t,
	    "{\"event\":\"view\",\"time_ns\":%lld,\"generation\":3,\"online\":null,\"usable\":null,\"housekeeping\":null}",
	    now + 10 * SECOND);
	happens(t, "{\"event\":\"thread_dreams\",\"time_ns\":%lld}", now + 10 * SECOND);
	assert_int_equal(t->cpus[0].n_segments, 1);
	timeline_free(t);
	model_free(d);
}

/* The creator did not wait until the thread has a number: 0 stands for it, and the name tells who it is. */
static void numbers_that_come_late(void **state)
{
	struct ctl_dump *d = dump_load("cpus-2.json");
	const long long now = d->time_ns;
	struct timeline *t = begin(d);
	const size_t before = t->n_threads;

	for (int i = 0; i < 3; i++)
		happens(t, "{\"event\":\"thread_create\",\"time_ns\":%lld,\"tid\":0,\"name\":\"x/%d\"}", now + SECOND,
		        i);
	happens(t,
	        "{\"event\":\"thread_affine\",\"time_ns\":%lld,\"tid\":0,\"name\":\"x/1\",\"from\":\"\",\"to\":\"1\","
	        "\"reason\":\"start\",\"errno\":null,\"broken\":false}",
	        now + 2 * SECOND);
	happens(t, "{\"event\":\"thread_start\",\"time_ns\":%lld,\"tid\":501,\"name\":\"x/1\"}", now + 3 * SECOND);
	happens(t, "{\"event\":\"thread_start\",\"time_ns\":%lld,\"tid\":500,\"name\":\"x/0\"}", now + 3 * SECOND);
	happens(t, "{\"event\":\"thread_exit\",\"time_ns\":%lld,\"tid\":0,\"name\":\"x/2\",\"result\":-4}",
	        now + 4 * SECOND);
	happens(t, "{\"event\":\"thread_exit\",\"time_ns\":%lld,\"tid\":501,\"name\":\"x/1\",\"result\":0}",
	        now + 5 * SECOND);
	happens(t, "{\"event\":\"thread_create\",\"time_ns\":%lld,\"tid\":0,\"name\":\"x/2\"}", now + 6 * SECOND);
	/* of one whose number is known, told by somebody who does not know it */
	happens(t, "{\"event\":\"thread_stop\",\"time_ns\":%lld,\"tid\":0,\"name\":\"x/0\"}", now + 7 * SECOND);
	/* its first place is told before that it has come */
	happens(t,
	        "{\"event\":\"thread_affine\",\"time_ns\":%lld,\"tid\":502,\"name\":\"y\",\"from\":\"\",\"to\":\"0\","
	        "\"reason\":\"start\",\"errno\":null,\"broken\":false}",
	        now + 8 * SECOND);
	happens(t, "{\"event\":\"thread_create\",\"time_ns\":%lld,\"tid\":502,\"name\":\"y\"}", now + 9 * SECOND);
	assert_int_equal(t->n_threads, before + 5);
	segment_is(t, lane_of(t, "x/0", 500), 2, 7000, LANE_STOPPING, "");
	segment_is(t, lane_of(t, "y", 502), 0, 8000, LANE_ACTIVE, "0");
	segment_is(t, lane_of(t, "x/1", 501), 0, 1000, LANE_CREATED, "");
	segment_is(t, lane_of(t, "x/1", 501), 1, 2000, LANE_CREATED, "1");
	segment_is(t, lane_of(t, "x/1", 501), 2, 3000, LANE_ACTIVE, "1");
	segment_is(t, lane_of(t, "x/1", 501), 3, 5000, LANE_GONE, "");
	segment_is(t, lane_of(t, "x/0", 500), 1, 3000, LANE_ACTIVE, "");
	segment_is(t, lane_of(t, "x/2", 0), 1, 4000, LANE_GONE, "");
	timeline_free(t);
	model_free(d);
}

/* Caller frees. */
static char *svg_of(const struct timeline *t, int64_t end)
{
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(timeline_svg(t, end, f), 0);
	assert_int_equal(fclose(f), 0);
	return text;
}

static char *text_of(const struct timeline *t, int64_t end, struct map_options options)
{
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(timeline_text(t, end, &options, f), 0);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void svg(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	struct timeline *t = begin(d);
	char *picture;

	dump_events("events-8.jsonl", add, t);
	picture = svg_of(t, d->time_ns + 10 * SECOND);
	svg_check(picture);
	assert_non_null(strstr(picture, "<title>1.20 s: parked</title>"));
	assert_non_null(strstr(picture, "<title>2.01 s: 4 \xe2\x86\x92 0-2: cpus</title>"));
	assert_non_null(strstr(picture, "<title>broken: runs elsewhere, CPUs 0-2, 2.01 to 3.01 s</title>"));
	assert_non_null(strstr(picture, "12 events are missing, at 9.500 s"));
	assert_non_null(strstr(picture, "for 10.0s"));
	free(picture);
	/* It may end before all that has been heard of, and at once. */
	for (int64_t end = d->time_ns - SECOND; end < d->time_ns + 12 * SECOND; end += SECOND / 3) {
		picture = svg_of(t, end);
		svg_check(picture);
		free(picture);
	}
	timeline_free(t);
	model_free(d);
}

static void terminal(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	struct timeline *t = begin(d);
	char *is, *expected;
	size_t length;

	dump_events("events-8.jsonl", add, t);
	is = text_of(t, d->time_ns + 10 * SECOND, (struct map_options){.width = 100, .utf8 = true, .every = true});
	expected = dump_text("timeline-8.txt", &length);
	if (strcmp(is, expected) != 0)
		fail_msg("timeline-8.txt is now\n%s", is);
	free(expected);
	free(is);
	for (unsigned int width = 1; width < 300; width += 7) {
		is = text_of(t, d->time_ns + 10 * SECOND, (struct map_options){.width = width});
		assert_null(strstr(is, "poll/0 ")); /* nothing happened to it */
		assert_non_null(strstr(is, "Threads left out"));
		for (char *rest = is, *line; (line = strsep(&rest, "\n"));)
			assert_true(text_columns(line) <= (width < 40 ? 40 : width));
		free(is);
	}
	timeline_free(t);
	model_free(d);
}

/* Colours change nothing else, are told once where they begin, and are off at each line's end. */
static void terminal_in_colour(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	struct timeline *t = begin(d);
	char *plain, *colourful, *to;
	char on[32] = "";

	dump_events("events-8.jsonl", add, t);
	plain = text_of(t, d->time_ns + 10 * SECOND, (struct map_options){.width = 100});
	colourful = text_of(t, d->time_ns + 10 * SECOND, (struct map_options){.width = 100, .colour = true});
	assert_non_null(strstr(colourful, "\033[0;1;31m!"));
	to = colourful;
	for (char *from = colourful; *from; from++) {
		if (*from == '\033') {
			char *end = strchr(from, 'm');

			assert_non_null(end);
			*end = '\0';
			assert_string_not_equal(from, on);
			snprintf(on, sizeof(on), "%s", strcmp(from, "\033[0") == 0 ? "" : from);
			from = end;
		} else {
			assert_true(*from != '\n' || !*on);
			*to++ = *from;
		}
	}
	*to = '\0';
	assert_string_equal(colourful, plain);
	free(plain);
	free(colourful);
	timeline_free(t);
	model_free(d);
}

static void huge_is_bounded(void **state)
{
	struct ctl_dump *d = dump_made(4096, 10000);
	struct timeline *t = begin(d);
	struct svg_facts facts;
	char *picture;

	for (unsigned int i = 0; i < 250000; i++) { /* made without JSON, for the sake of sanitized builds */
		char name[32];
		const struct ctl_event event = {.type = i / 10000 % 2 ? CTL_EVENT_UNPARK : CTL_EVENT_PARK,
		                                .time_ns = d->time_ns + (int64_t)i * 40000,
		                                .tid = 100 + (i % 10000 < 5000 ? i % 100 : i % 10000),
		                                .name = name};

		snprintf(name, sizeof(name), "w%u/%u", i % 10000 / 100, i % 100);
		add(&event, t);
	}
	for (unsigned int cpu = 0; cpu < 4096; cpu += 2)
		happens(t, "{\"event\":\"cpu\",\"time_ns\":%lld,\"cpu\":%u,\"usable\":false,\"cause\":\"observed\"}",
		        (long long)(d->time_ns + 11 * SECOND), cpu);
	assert_true(t->left_out > 0);
	picture = svg_of(t, d->time_ns + 12 * SECOND);
	facts = svg_check(picture);
	assert_true(facts.width < 1500 && facts.height < 8000);
	assert_true(strlen(picture) < 8000000);
	assert_non_null(strstr(picture, "Events left out: "));
	assert_non_null(strstr(picture, "Threads left out, for there are too many, to which something happened: "));
	free(picture);
	free(text_of(t, d->time_ns + 12 * SECOND, (struct map_options){.width = 80}));
	timeline_free(t);
	model_free(d);
}

/* CPUs with one history are one lane where there are many. */
static void many_cpus(void **state)
{
	struct ctl_dump *d = dump_load("cpus-256.json");
	struct timeline *t = begin(d);
	struct lane_view view;

	for (unsigned int cpu = 10; cpu < 20; cpu++)
		happens(t, "{\"event\":\"cpu\",\"time_ns\":%lld,\"cpu\":%u,\"usable\":false,\"cause\":\"cooperative\"}",
		        (long long)(d->time_ns + SECOND), cpu);
	assert_int_equal(lanes_view(t, d->time_ns + 2 * SECOND, 32, 50, true, &view), 0);
	assert_int_equal(view.n_cpus, 3);
	assert_string_equal(view.cpus[0].cpus, "0-9,20-99,101-199,208-255");
	assert_string_equal(view.cpus[1].cpus, "10-19");
	assert_string_equal(view.cpus[2].cpus, "100,200-207");
	assert_int_equal(view.n_threads, 50);
	assert_int_equal(view.quiet_left_out, d->n_threads - 50);
	lanes_view_free(&view);
	timeline_free(t);
	model_free(d);
}

static void ticks(void **state)
{
	char text[32];

	assert_int_equal(lanes_tick(10 * SECOND, 12), SECOND);
	assert_int_equal(lanes_tick(10 * SECOND, 6), 2 * SECOND);
	assert_int_equal(lanes_tick(1, 10), 1000);
	assert_true(lanes_tick(INT64_MAX, 10) >= INT64_MAX / 10);
	lanes_seconds(1250000000, 50000000, text);
	assert_string_equal(text, "1.25");
	lanes_seconds(3 * SECOND, SECOND, text);
	assert_string_equal(text, "3");
	lanes_seconds(3 * SECOND + 5000, 1000, text);
	assert_string_equal(text, "3.000005");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(threads),
	    cmocka_unit_test(cpus),
	    cmocka_unit_test(strange_orders),
	    cmocka_unit_test(numbers_that_come_late),
	    cmocka_unit_test(svg),
	    cmocka_unit_test(terminal),
	    cmocka_unit_test(terminal_in_colour),
	    cmocka_unit_test(huge_is_bounded),
	    cmocka_unit_test(many_cpus),
	    cmocka_unit_test(ticks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
