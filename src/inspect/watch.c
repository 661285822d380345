/* SPDX-License-Identifier: MIT */
#include <kthread/library.h>
#include <time.h>

#include "base/trace.h"
#include "inspect/control.h"
#include "inspect/head.h"

#define EVENTS 8192 /* bytes in a turn */

static void roused(void *arg)
{
	(void)arg;
	kt_control_ring();
}

static void put_head(struct kt_json *json)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	kt_json_open(json, NULL, '{');
	kt_json_string(json, "event", "watch");
	kt_json_string(json, "format", "kthread-events");
	kt_json_number(json, "version", 1);
	kt_json_string(json, "library", kthread_version());
	kt_head_put_process(json);
	kt_json_number(json, "time_ns", kt_now());
	kt_head_put_time(json, &now);
	kt_control_end_line(json);
}

int kt_watch_begin(uint64_t *ret_cursor, struct kt_text *ret_head)
{
	struct kt_json json = {0};
	int error;

	put_head(&json);
	error = json.text.failed ? -ENOMEM : kt_trace_attach(roused, NULL);
	if (error) {
		kt_text_free(&json.text);
		return error;
	}
	*ret_cursor = kt_trace_tail();
	*ret_head = json.text;
	return 0;
}

void kt_watch_end(void)
{
	kt_trace_detach();
}

static void put_lost(struct kt_text *text, uint64_t count)
{
	struct kt_json json = {.text = *text};

	kt_json_open(&json, NULL, '{');
	kt_json_string(&json, "event", "lost");
	kt_json_number(&json, "time_ns", kt_now());
	kt_json_number(&json, "count", count);
	kt_control_end_line(&json);
	*text = json.text;
}

bool kt_watch_more(uint64_t *cursor, struct kt_text *lines)
{
	char events[EVENTS];
	uint64_t lost;
	const size_t length = kt_trace_read(cursor, events, sizeof(events), &lost);

	if (lost)
		put_lost(lines, lost);
	kt_text_add(lines, events, length);
	return length > 0 || lost > 0;
}
