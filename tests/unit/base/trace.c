/* SPDX-License-Identifier: MIT */
/*
 * The event stream: every line is one valid object, readers find all of them in order or are told how many they have
 * missed, and nobody who tells waits for anybody.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/futex.h"
#include "base/trace.h"

/* A child of fork() may find a thread that has ended and has not been joined yet. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_thread_leaks=0";
}

void *__real_malloc(size_t size);

static atomic_bool no_memory;

void *__wrap_malloc(size_t size)
{
	return atomic_load_explicit(&no_memory, memory_order_relaxed) ? NULL : __real_malloc(size);
}

static atomic_uint times_roused;

static void roused(void *arg)
{
	atomic_fetch_add_explicit((atomic_uint *)arg, 1, memory_order_relaxed);
}

static int attach(void **state)
{
	atomic_store(&times_roused, 0);
	return kt_trace_attach(roused, &times_roused);
}

static int detach(void **state)
{
	kt_trace_detach();
	return kt_trace_is_on();
}

static void tell_number(const char *name, int64_t number)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;

	kt_trace_number(&event, "number", number);
	kt_trace(name, &event);
}

/* The next line, parsed; NULL: there is none. */
static json_t *next_line(uint64_t *cursor, uint64_t *lost)
{
	char line[KT_TRACE_LINE];
	const size_t length = kt_trace_read(cursor, line, sizeof(line), lost);
	const char *end = length ? memchr(line, '\n', length) : NULL;
	json_t *event;

	if (!length)
		return NULL;
	assert_int_equal(line[length - 1], '\n');
	assert_non_null(end);
	/* several may have fitted: only the first is wanted here */
	for (const char *at = end + 1; at < line + length; at++)
		*cursor -= *at == '\n';
	event = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(event);
	return event;
}

static int64_t number_of(const json_t *event, const char *key)
{
	assert_true(json_is_integer(json_object_get(event, key)));
	return json_integer_value(json_object_get(event, key));
}

static const char *text_of(const json_t *event, const char *key)
{
	assert_true(json_is_string(json_object_get(event, key)));
	return json_string_value(json_object_get(event, key));
}

static void assert_next(uint64_t *cursor, const char *name, int64_t number)
{
	uint64_t lost;
	json_t *event = next_line(cursor, &lost);

	assert_non_null(event);
	assert_int_equal(lost, 0);
	assert_string_equal(text_of(event, "event"), name);
	assert_int_equal(number_of(event, "number"), number);
	json_decref(event);
}

static void assert_no_more(uint64_t *cursor)
{
	uint64_t lost;

	assert_null(next_line(cursor, &lost));
	assert_int_equal(lost, 0);
}

/* ---- lines ------------------------------------------------------------------------------------------------------ */

static void kt_trace__nobody_watches(void **state)
{
	const uint64_t tail = kt_trace_tail();
	uint64_t cursor = tail;
	uint64_t lost;
	char line[KT_TRACE_LINE];

	assert_false(kt_trace_is_on());
	tell_number("unheard", 1);
	assert_false(kt_trace_lock());
	assert_int_equal(kt_trace_tail(), tail);
	assert_int_equal(kt_trace_read(&cursor, line, sizeof(line), &lost), 0);
	assert_int_equal(lost, 0);
	kt_trace_detach(); /* a forked child's: there is nothing to give back */
}

static void kt_trace__all_kinds_of_fields(void **state)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;
	uint64_t cursor = kt_trace_tail();
	const uint64_t before = kt_now();
	json_t *line;
	uint64_t lost;

	kt_trace_number(&event, "least", INT64_MIN);
	kt_trace_number(&event, "most", INT64_MAX);
	kt_trace_bool(&event, "yes", true);
	kt_trace_bool(&event, "no", false);
	kt_trace_text(&event, "text", "poll/3");
	kt_trace_text(&event, "empty", "");
	kt_trace_text(&event, "null", NULL);
	kt_trace_errno(&event, "error", EINVAL);
	kt_trace_errno(&event, "odd", 4000);
	kt_trace_errno(&event, "none", 0);
	kt_trace("everything", &event);
	line = next_line(&cursor, &lost);
	assert_non_null(line);
	assert_int_equal(json_object_size(line), 12);
	assert_string_equal(text_of(line, "event"), "everything");
	assert_in_range(number_of(line, "time_ns"), before, kt_now());
	assert_true(number_of(line, "least") == INT64_MIN && number_of(line, "most") == INT64_MAX);
	assert_true(json_is_true(json_object_get(line, "yes")) && json_is_false(json_object_get(line, "no")));
	assert_string_equal(text_of(line, "text"), "poll/3");
	assert_string_equal(text_of(line, "empty"), "");
	assert_true(json_is_null(json_object_get(line, "null")) && json_is_null(json_object_get(line, "none")));
	assert_string_equal(text_of(line, "error"), "EINVAL");
	assert_string_equal(text_of(line, "odd"), "errno 4000");
	json_decref(line);
	assert_no_more(&cursor);
}

/* What a thread may be called, and what then is read. */
static void kt_trace_text__escapes(void **state)
{
	static const struct {
		const char *given, *read;
	} cases[] = {
	    {"a \"quoted\" \\ name", "a \"quoted\" \\ name"},
	    {"\x01\n\t\x1f\x7f", "\x01\n\t\x1f\x7f"},
	    {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\xa6\x80", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\xa6\x80"},
	    {"\xff", "\xef\xbf\xbd"},
	    {"a\xc3", "a\xef\xbf\xbd"},                                               /* cut */
	    {"\xe2\x82z", "\xef\xbf\xbd\xef\xbf\xbdz"},                               /* cut, and it goes on */
	    {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                                 /* overlong "/" */
	    {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* a surrogate */
	    {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* beyond U+10FFFF */
	    {"\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong again */
	};
	uint64_t cursor = kt_trace_tail();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct kt_trace_event event = KT_TRACE_EMPTY;
		uint64_t lost;
		json_t *line;

		kt_trace_text(&event, "name", cases[i].given);
		kt_trace("thread_create", &event);
		line = next_line(&cursor, &lost);
		assert_non_null(line);
		assert_string_equal(text_of(line, "name"), cases[i].read);
		json_decref(line);
	}
}

/* The longest of everything that a line of the library's has: nothing is missing, and it keeps to its limit. */
static void kt_trace__the_longest_line(void **state)
{
	uint64_t cursor = kt_trace_tail();
	char name[2000];
	char list[KT_TRACE_LIST];
	struct kt_trace_event event = KT_TRACE_EMPTY;
	char line[4 * KT_TRACE_LINE];
	uint64_t lost;
	size_t length;
	json_t *read;

	for (size_t i = 0; i < sizeof(name) - 1; i += 2)
		memcpy(name + i, "\xc3\xbc", 2);
	name[sizeof(name) - 2] = name[sizeof(name) - 1] = '\0';
	memset(list, '9', sizeof(list) - 1);
	list[sizeof(list) - 1] = '\0';
	kt_trace_number(&event, "tid", INT32_MAX);
	kt_trace_text(&event, "name", name);
	kt_trace_text(&event, "from", list);
	kt_trace_text(&event, "to", list);
	kt_trace_text(&event, "reason", "housekeeping");
	kt_trace_errno(&event, "errno", EINVAL);
	kt_trace_bool(&event, "broken", false);
	kt_trace("thread_affine", &event);
	length = kt_trace_read(&cursor, line, sizeof(line), &lost);
	assert_in_range(length, 1, KT_TRACE_LINE);
	read = json_loadb(line, length, 0, NULL);
	assert_non_null(read);
	assert_in_range(strlen(text_of(read, "name")), 200, 256);
	assert_int_equal(strlen(text_of(read, "name")) % 2, 0); /* cut at a whole character */
	assert_string_equal(text_of(read, "from"), list);
	assert_string_equal(text_of(read, "to"), list);
	assert_string_equal(text_of(read, "reason"), "housekeeping");
	assert_string_equal(text_of(read, "errno"), "EINVAL");
	assert_true(json_is_false(json_object_get(read, "broken")));
	json_decref(read);
}

/* Of a message as much as there is room for, also if each byte of it needs six. */
static void kt_trace__a_message_of_control_characters(void **state)
{
	uint64_t cursor = kt_trace_tail();
	struct kt_trace_event event = KT_TRACE_EMPTY;
	char message[512];
	uint64_t lost;
	json_t *line;

	memset(message, '\x01', sizeof(message) - 1);
	message[sizeof(message) - 1] = '\0';
	kt_trace_number(&event, "level", 4);
	kt_trace_text(&event, "message", message);
	kt_trace("log", &event);
	line = next_line(&cursor, &lost);
	assert_non_null(line);
	assert_in_range(strlen(text_of(line, "message")), 100, 200);
	json_decref(line);
}

static void kt_trace__more_fields_than_fit_leave_a_valid_line(void **state)
{
	uint64_t cursor = kt_trace_tail();
	struct kt_trace_event event = KT_TRACE_EMPTY;
	uint64_t lost;
	json_t *line;

	for (int i = 0; i < 40; i++) {
		char key[8];

		snprintf(key, sizeof(key), "t%d", i);
		kt_trace_text(&event, key, "0-1,3-4,6-7,9-10,12-13,15-16,18-19,21-22,24-25,27-28,30-31,33-34");
		snprintf(key, sizeof(key), "n%d", i);
		kt_trace_number(&event, key, INT64_MIN);
	}
	kt_trace("full", &event);
	line = next_line(&cursor, &lost);
	assert_non_null(line);
	assert_in_range(json_object_size(line), 8, 40);
	json_decref(line);
}

/* ---- readers ---------------------------------------------------------------------------------------------------- */

static void kt_trace_read__in_order_and_each_reader_for_himself(void **state)
{
	uint64_t early = kt_trace_tail();
	uint64_t late;

	tell_number("one", 1);
	late = kt_trace_tail();
	tell_number("two", 2);
	assert_next(&late, "two", 2);
	assert_no_more(&late);
	assert_next(&early, "one", 1);
	assert_next(&early, "two", 2);
	assert_no_more(&early);
	tell_number("three", 3);
	assert_next(&late, "three", 3);
	assert_next(&early, "three", 3);
}

static void kt_trace_read__whole_lines_only(void **state)
{
	uint64_t cursor = kt_trace_tail();
	char buf[KT_TRACE_LINE];
	uint64_t lost;
	size_t got;
	int lines = 0;

	for (int i = 0; i < 100; i++)
		tell_number("line", i);
	while ((got = kt_trace_read(&cursor, buf, sizeof(buf), &lost)) > 0) {
		assert_int_equal(buf[0], '{');
		assert_int_equal(buf[got - 1], '\n');
		for (size_t i = 0; i < got; i++)
			lines += buf[i] == '\n';
	}
	assert_int_equal(lines, 100);
	tell_number("line", 100);
	assert_int_equal(kt_trace_read(&cursor, buf, 10, &lost), 0); /* does not fit: it stays */
	assert_next(&cursor, "line", 100);
}

/* Read all that is left: how many, each by one more than the one before; the first is `first`. */
static int64_t read_numbers(uint64_t *cursor, int64_t first)
{
	int64_t count = 0;
	uint64_t lost;
	json_t *event;

	while ((event = next_line(cursor, &lost))) {
		assert_int_equal(lost, 0);
		assert_int_equal(number_of(event, "number"), first + count++);
		json_decref(event);
	}
	return count;
}

static void overrun(int64_t told, const char *filler, int64_t at_least, int64_t at_most)
{
	uint64_t cursor = kt_trace_tail();
	uint64_t lost;
	int64_t first;
	json_t *event;

	for (int64_t i = 0; i < told; i++) {
		struct kt_trace_event line = KT_TRACE_EMPTY;

		kt_trace_number(&line, "number", i);
		kt_trace_text(&line, "message", filler);
		kt_trace("n", &line);
	}
	event = next_line(&cursor, &lost);
	assert_non_null(event);
	first = number_of(event, "number");
	json_decref(event);
	assert_int_equal(lost, first); /* just those that are missing */
	assert_in_range(told - first, at_least, at_most);
	assert_int_equal(read_numbers(&cursor, first + 1), told - first - 1);
	tell_number("n", -1);
	assert_next(&cursor, "n", -1); /* and from here on all is well again */
	assert_no_more(&cursor);
}

static void kt_trace_read__overrun_by_bytes(void **state)
{
	char filler[600];

	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	for (size_t length = 0; length < 7; length++) /* the ends of lines fall on all sides of the ring's end */
		overrun(2000, filler + length, KT_TRACE_RING / 700, KT_TRACE_RING / 600);
}

static void kt_trace_read__overrun_by_lines(void **state)
{
	uint64_t cursor = kt_trace_tail();
	uint64_t lost;

	for (unsigned int i = 0; i < KT_TRACE_EVENTS + 5; i++) {
		const struct kt_trace_event nothing = KT_TRACE_EMPTY;

		kt_trace("n", &nothing);
	}
	json_decref(next_line(&cursor, &lost));
	assert_in_range(lost, 5, KT_TRACE_EVENTS);
	overrun(20000, "", KT_TRACE_RING / 100, KT_TRACE_EVENTS);
}

/* The last reader to come by is told, too, when he finds that what he has missed is all there was. */
static void kt_trace_read__of_a_former_ring(void **state)
{
	uint64_t cursor = kt_trace_tail();
	char buf[KT_TRACE_LINE];
	uint64_t lost;

	tell_number("one", 1);
	tell_number("two", 2);
	kt_trace_detach();
	tell_number("unheard", 3);
	assert_int_equal(kt_trace_attach(roused, &times_roused), 0);
	assert_int_equal(kt_trace_read(&cursor, buf, sizeof(buf), &lost), 0);
	assert_int_equal(lost, 2);
	tell_number("four", 4);
	assert_next(&cursor, "four", 4);
}

static void kt_trace_attach__rouses_once_for_all_that_is_new(void **state)
{
	uint64_t cursor = kt_trace_tail();

	tell_number("one", 1);
	assert_int_equal(atomic_load(&times_roused), 1);
	tell_number("two", 2);
	assert_int_equal(atomic_load(&times_roused), 1);
	assert_next(&cursor, "one", 1); /* next_line() goes back to where it stood: it had seen all */
	assert_next(&cursor, "two", 2);
	tell_number("three", 3);
	assert_int_equal(atomic_load(&times_roused), 2);
	assert_next(&cursor, "three", 3);
	assert_no_more(&cursor);
	tell_number("four", 4);
	tell_number("five", 5);
	assert_int_equal(atomic_load(&times_roused), 3);
}

static void kt_trace_attach__several_watchers(void **state)
{
	atomic_uint other;

	assert_int_equal(kt_trace_attach(roused, &other), -EBUSY);
	assert_int_equal(kt_trace_attach(roused, &times_roused), 0);
	kt_trace_detach();
	assert_true(kt_trace_is_on()); /* one is left */
	tell_number("one", 1);
	assert_int_equal(atomic_load(&times_roused), 1);
}

static void kt_trace_attach__no_memory(void **state)
{
	int error;

	atomic_store(&no_memory, true);
	error = kt_trace_attach(roused, &times_roused);
	atomic_store(&no_memory, false);
	assert_int_equal(error, -ENOMEM);
	assert_false(kt_trace_is_on());
	assert_false(kt_trace_lock());
}

/* ---- many threads ----------------------------------------------------------------------------------------------- */

#define TELLERS 4
#define EACH 20000

static atomic_uint telling;

static void *tell_many(void *arg)
{
	const char *name = arg;

	for (int i = 0; i < EACH; i++)
		tell_number(name, i);
	atomic_fetch_sub_explicit(&telling, 1, memory_order_release);
	return NULL;
}

struct reader {
	uint64_t cursor;
	uint64_t lost;
	uint64_t read;
	int64_t last[TELLERS];
	bool good;
};

/* Every line is whole, time and each teller's numbers grow. sscanf(): jansson is too slow to keep up. */
static bool check_lines(struct reader *reader, char *buf, size_t length, unsigned long long *last_time)
{
	for (char *line = buf; line < buf + length; line = strchr(line, '\n') + 1) {
		unsigned long long time;
		unsigned int teller;
		long long number;

		if (sscanf(line, "{\"event\":\"%u\",\"time_ns\":%llu,\"number\":%lld}", &teller, &time, &number) != 3 ||
		    teller >= TELLERS || time < *last_time || number <= reader->last[teller])
			return false;
		reader->last[teller] = number;
		*last_time = time;
		reader->read++;
	}
	return true;
}

static void *read_many(void *arg)
{
	struct reader *reader = arg;
	unsigned long long last_time = 0;
	bool done = false;

	while (reader->good) {
		char buf[4096 + 1];
		uint64_t lost;
		size_t length;

		done = atomic_load_explicit(&telling, memory_order_acquire) ==
		       0; /* before the look: then it was the last */
		length = kt_trace_read(&reader->cursor, buf, sizeof(buf) - 1, &lost);
		buf[length] = '\0';
		reader->lost += lost;
		reader->good = check_lines(reader, buf, length, &last_time);
		if (!length && done)
			break;
		if (!length)
			sched_yield();
	}
	return NULL;
}

static void kt_trace__many_tell_and_several_read(void **state)
{
	static char *const names[TELLERS] = {"0", "1", "2", "3"};
	struct reader readers[2];
	pthread_t tellers[TELLERS];
	pthread_t threads[2];

	atomic_store(&telling, TELLERS);
	for (int i = 0; i < 2; i++) {
		readers[i] = (struct reader){.cursor = kt_trace_tail(), .good = true, .last = {-1, -1, -1, -1}};
		assert_int_equal(pthread_create(&threads[i], NULL, read_many, &readers[i]), 0);
	}
	for (int i = 0; i < TELLERS; i++)
		assert_int_equal(pthread_create(&tellers[i], NULL, tell_many, names[i]), 0);
	for (int i = 0; i < TELLERS; i++)
		pthread_join(tellers[i], NULL);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_true(readers[i].good);
		assert_int_equal(readers[i].read + readers[i].lost, TELLERS * EACH);
		assert_true(readers[i].read > 0);
	}
}

/* Attached and detached while others tell: nobody finds a ring that has gone. */
static void kt_trace__watchers_come_and_go(void **state)
{
	static char *const names[] = {"0", "1"};
	pthread_t tellers[2];
	int attached = 0;

	atomic_store(&telling, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&tellers[i], NULL, tell_many, names[i]), 0);
	do {
		assert_int_equal(kt_trace_attach(roused, &times_roused), 0);
		sched_yield();
		kt_trace_detach();
		attached++;
	} while (atomic_load(&telling) > 0);
	for (int i = 0; i < 2; i++)
		pthread_join(tellers[i], NULL);
	assert_true(attached > 0);
	assert_false(kt_trace_is_on());
}

static void roused_by_an_eventfd(void *arg)
{
	eventfd_write(*(int *)arg, 1);
}

static void *tells_while_cancelled(void *arg)
{
	pthread_cancel(pthread_self());
	tell_number("cancelled", 1);
	atomic_store((atomic_bool *)arg, true);
	pthread_testcancel();
	return NULL;
}

/* What rouses is a cancellation point; the lock is not lost there. */
static void kt_trace__cancelled(void **state)
{
	int bell = eventfd(0, EFD_CLOEXEC);
	atomic_bool returned = false;
	pthread_t thread;
	void *result;

	assert_true(bell >= 0);
	assert_int_equal(kt_trace_attach(roused_by_an_eventfd, &bell), 0);
	assert_int_equal(pthread_create(&thread, NULL, tells_while_cancelled, &returned), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_true(atomic_load(&returned));
	kt_trace_detach();
	close(bell);
}

/* A child that comes while another thread tells: nothing hangs, nobody watches, and it may watch anew. */
static void kt_trace__fork(void **state)
{
	pthread_t teller;
	int status;

	atomic_store(&telling, 1);
	assert_int_equal(pthread_create(&teller, NULL, tell_many, "0"), 0);
	do {
		pid_t pid;

		kt_trace_fork_prepare();
		pid = fork();
		if (pid == 0) {
			uint64_t cursor;
			uint64_t lost;
			char line[KT_TRACE_LINE];

			alarm(30);
			kt_trace_fork_child();
			if (kt_trace_is_on() || kt_trace_lock())
				_exit(1);
			kt_trace_detach(); /* the parent's watcher, who does not know yet */
			if (kt_trace_attach(roused, &times_roused) != 0)
				_exit(2);
			cursor = kt_trace_tail();
			tell_number("child", 1);
			_exit(kt_trace_read(&cursor, line, sizeof(line), &lost) > 0 && lost == 0 ? 0 : 3);
		}
		kt_trace_fork_parent();
		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	} while (atomic_load(&telling) > 0);
	pthread_join(teller, NULL);
	assert_true(kt_trace_is_on());
}

int main(void)
{
#define WATCHED(test) cmocka_unit_test_setup_teardown(test, attach, detach)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kt_trace__nobody_watches),
	    WATCHED(kt_trace__all_kinds_of_fields),
	    WATCHED(kt_trace_text__escapes),
	    WATCHED(kt_trace__the_longest_line),
	    WATCHED(kt_trace__a_message_of_control_characters),
	    WATCHED(kt_trace__more_fields_than_fit_leave_a_valid_line),
	    WATCHED(kt_trace_read__in_order_and_each_reader_for_himself),
	    WATCHED(kt_trace_read__whole_lines_only),
	    WATCHED(kt_trace_read__overrun_by_bytes),
	    WATCHED(kt_trace_read__overrun_by_lines),
	    WATCHED(kt_trace_read__of_a_former_ring),
	    WATCHED(kt_trace_attach__rouses_once_for_all_that_is_new),
	    WATCHED(kt_trace_attach__several_watchers),
	    cmocka_unit_test(kt_trace_attach__no_memory),
	    WATCHED(kt_trace__many_tell_and_several_read),
	    cmocka_unit_test(kt_trace__watchers_come_and_go),
	    cmocka_unit_test(kt_trace__cancelled),
	    WATCHED(kt_trace__fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
