/* SPDX-License-Identifier: MIT */
/*
 * kthreadctl on a terminal: top is redrawn in place, follows the window, is left by q, Ctrl-C and signals, and gives the
 * terminal back as it was, also when it is stopped and when the daemon goes. Colours: where, and where not.
 */
#include "ctl.h"

#include <ctype.h>

#include "../await.h"

#define ENTERED "\033[?1049h"
#define LEFT "\033[?25h\033[?1049l"
#define FRAME "\033[H"
#define FRAME_END "\033[J"

static struct fake fake;
static atomic_int served, ignored;
static atomic_bool silent; /* the daemon takes requests, and does not answer */

#define THREAD(name, wakes, broken) \
	"{\"name\":\"" name "\",\"class\":\"x\",\"index\":null,\"tid\":4" wakes \
	",\"kind\":\"kthread\",\"state\":\"waiting\",\"wish\":{\"kind\":\"bound\",\"cpus\":\"1\",\"node\":null}," \
	"\"effective\":\"0-1\",\"actual\":\"0-1\",\"cpu\":0,\"broken\":" broken \
	",\"broken_since_ns\":500000000,\"broken_ns\":5,\"last\":null,\"counters\":{\"wakes\":%d,\"parks\":0,\"freezes\":0," \
	"\"reaffines\":0,\"refusals\":{},\"works_run\":null,\"longest_queue\":null,\"ktask_chunks\":null}}"

/* The n-th dump is of the n-th second: the busy thread has 10 wakes in each. */
static char *reply(const char *request, size_t *length)
{
	const int n = atomic_fetch_add(&served, 1) + 1;
	char *text;
	int size;

	if (atomic_load(&silent)) {
		atomic_fetch_add(&ignored, 1);
		return NULL;
	}
	size = asprintf(
	    &text,
	    "{\"format\":\"kthread-dump\",\"version\":1,\"library\":\"0.1.0\",\"pid\":7,\"process\":\"fake\",\"time_ns\":"
	    "%d000000000,\"time\":\"2026-11-21T20:00:00.123Z\",\"simulate\":false,\"view\":{\"generation\":1,\"confined\":"
	    "false,\"quota\":null,\"possible\":\"0-1\",\"present\":\"0-1\",\"online\":\"0-1\",\"allowed\":\"0-1\","
	    "\"offlined\":\"\",\"usable\":\"0-1\",\"isolated\":\"\",\"housekeeping\":\"0-1\",\"sources\":{}},\"nodes\":[],"
	    "\"caches\":[],\"steps\":[],\"threads\":[" THREAD("busy", "1", "false") "," THREAD("lost", "2",
	                                                                                       "true") "]}\n",
	    n, 10 * n, 0);
	CHECK(size > 0);
	*length = (size_t)size;
	return text;
}

static int start(void **state)
{
	atomic_store(&silent, false);
	atomic_store(&served, 0);
	fake_start(&fake, reply);
	return 0;
}

static int stop(void **state)
{
	fake_stop(&fake);
	return 0;
}

/* It has drawn, and has the terminal for itself. */
static struct terminal start_top(size_t *at)
{
	struct terminal t;

	*at = 0;
	terminal_start(&t, 24, 100, "xterm", "-s %s top -d 50ms", fake.path);
	terminal_await(&t, at, ENTERED);
	terminal_await(&t, at, FRAME_END);
	assert_false(terminal_restored(&t));
	return t;
}

/* It has ended well, and everything is as it was. */
static void expect_left(struct terminal *t)
{
	bool restored;

	/* The slave is closed by terminal_end(): look before, when the program is gone. */
	CHECK(waitid(P_PID, (id_t)t->pid, &(siginfo_t){0}, WEXITED | WNOWAIT) == 0);
	restored = terminal_restored(t);
	assert_int_equal(terminal_end(t), 0);
	assert_true(restored);
	assert_true(t->length > strlen(LEFT));
	assert_string_equal(t->text + t->length - strlen(LEFT), LEFT);
	free(t->text);
}

static void top__is_redrawn_and_q_ends_it(void **state)
{
	size_t at;
	struct terminal t = start_top(&at);

	for (int i = 0; i < 3; i++)
		terminal_await(&t, &at, FRAME);
	terminal_await(&t, &at, "lost");   /* broken ones first */
	terminal_await(&t, &at, "busy");   /* ... */
	terminal_await(&t, &at, " 10.0 "); /* by the daemon's clock */
	assert_true(atomic_load(&served) >= 3);
	terminal_type(&t, "xyzq");
	expect_left(&t);
}

static void top__ctrl_c_and_signals_end_it(void **state)
{
	static const int signals[] = {0, SIGTERM, SIGHUP, SIGINT, SIGQUIT};

	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		size_t at;
		struct terminal t = start_top(&at);

		if (signals[i])
			kill(t.pid, signals[i]);
		else
			terminal_type(&t, "\003");
		expect_left(&t);
	}
}

static void top__ctrl_c_ends_it_when_the_daemon_says_nothing(void **state)
{
	size_t at;
	struct terminal t = start_top(&at);

	atomic_store(&silent, true);
	AWAIT(atomic_load(&ignored) > 0);
	terminal_type(&t, "\003");
	expect_left(&t);
}

/* What a frame has in its longest line, in columns. */
static size_t widest(const char *frame, size_t length)
{
	size_t column = 0, most = 0;

	for (size_t i = 0; i < length; i++) {
		if (frame[i] == '\033') {
			while (i < length && !isalpha((unsigned char)frame[i]))
				i++;
			continue;
		}
		column = frame[i] == '\n' || frame[i] == '\r' ? 0 : column + 1;
		most = column > most ? column : most;
	}
	return most;
}

static void top__follows_the_window(void **state)
{
	size_t at, begin;
	struct terminal t = start_top(&at);

	terminal_resize(&t, 5, 30);
	/* Five lines: the head, the headings, how many threads there are, and one that stays free. */
	terminal_await(&t, &at, "and 2 more");
	terminal_await(&t, &at, FRAME);
	begin = at;
	terminal_await(&t, &at, FRAME_END);
	assert_true(widest(t.text + begin, at - begin - strlen(FRAME_END)) <= 30);
	terminal_resize(&t, 24, 100);
	terminal_await(&t, &at, "busy");
	terminal_type(&t, "q");
	expect_left(&t);
}

static void top__gives_the_terminal_back_while_it_is_stopped(void **state)
{
	size_t at;
	struct terminal t = start_top(&at);
	int status;

	terminal_type(&t, "\032");
	terminal_await(&t, &at, LEFT);
	CHECK(waitpid(t.pid, &status, WUNTRACED) == t.pid && WIFSTOPPED(status));
	assert_true(terminal_restored(&t));
	kill(t.pid, SIGCONT);
	terminal_await(&t, &at, ENTERED);
	terminal_await(&t, &at, FRAME_END);
	assert_false(terminal_restored(&t));
	terminal_type(&t, "Q");
	expect_left(&t);
}

static void top__when_the_daemon_goes(void **state)
{
	size_t at;
	struct terminal t = start_top(&at);
	bool restored;

	fake_stop(&fake);
	terminal_await(&t, &at, LEFT);
	terminal_await(&t, &at, "kthreadctl: ");
	CHECK(waitid(P_PID, (id_t)t.pid, &(siginfo_t){0}, WEXITED | WNOWAIT) == 0);
	restored = terminal_restored(&t);
	assert_int_equal(terminal_end(&t), 3);
	assert_true(restored);
	assert_null(strstr(t.text + at, "\033")); /* the line is not drawn over */
	free(t.text);
}

static void top__ends_after_so_many(void **state)
{
	struct terminal t;

	terminal_start(&t, 24, 100, "xterm", "-s %s top -d 1ms -c 3", fake.path);
	expect_left(&t);
	assert_int_equal(atomic_load(&served), 3);
}

/* A terminal that can do nothing: blocks, and no sequences at all. */
static void top__on_a_dumb_terminal(void **state)
{
	struct terminal t;

	terminal_start(&t, 24, 100, "dumb", "-s %s top -d 1ms -c 2", fake.path);
	assert_int_equal(terminal_end(&t), 0);
	assert_null(strstr(t.text, "\033"));
	assert_non_null(strstr(t.text, "\r\n\r\nfake (pid 7)"));
	free(t.text);
}

static void colours__where_they_are_wanted(void **state)
{
	static const struct {
		const char *term, *options, *no_color;
		bool colour;
	} table[] = {
	    {"xterm", "", NULL, true},
	    {"xterm", "", "", true},
	    {"xterm", "", "1", false},
	    {"dumb", "", NULL, false},
	    {"", "", NULL, false},
	    {"xterm", "--color=never", NULL, false},
	    {"dumb", "--color=always", "1", true},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct terminal t;

		if (table[i].no_color)
			setenv("NO_COLOR", table[i].no_color, 1);
		terminal_start(&t, 24, 100, table[i].term, "-s %s %s list", fake.path, table[i].options);
		unsetenv("NO_COLOR");
		assert_int_equal(terminal_end(&t), 0);
		if (!strstr(t.text, "\033[31mlost") == table[i].colour)
			fail_msg("%zu: %s", i, t.text);
		free(t.text);
	}
	expect(0, "\nlost", NULL, "-s %s list", fake.path);
	expect(0, "\033[31mlost", NULL, "-s %s list --color always", fake.path);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    CASE(top__is_redrawn_and_q_ends_it),
	    CASE(top__ctrl_c_and_signals_end_it),
	    CASE(top__ctrl_c_ends_it_when_the_daemon_says_nothing),
	    CASE(top__follows_the_window),
	    CASE(top__gives_the_terminal_back_while_it_is_stopped),
	    cmocka_unit_test_setup(top__when_the_daemon_goes, start),
	    CASE(top__ends_after_so_many),
	    CASE(top__on_a_dumb_terminal),
	    CASE(colours__where_they_are_wanted),
	};

	CHECK(argc == 2);
	ctl_program = argv[1];
	setenv("LC_ALL", "C", 1);
	unsetenv("NO_COLOR");
	return cmocka_run_group_tests(tests, ctl_setup, ctl_teardown);
}
