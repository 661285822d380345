/* SPDX-License-Identifier: MIT */
/*
 * End to end: kthreadctl and the example daemon, on an invented machine of 8 CPUs. All that one can see or have done.
 */
#include "ctl.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/prctl.h>

#include "../await.h"

static const char *steady, *machine; /* the daemon; the script that makes its machine */
static char control[128], root[128];
static pid_t daemon_pid;

static void machine_do(const char *what)
{
	char *command;

	assert_true(asprintf(&command, "sh '%s' '%s' %s", machine, root, what) > 0);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): a script of ours, without foreign words */
	free(command);
}

static void daemon_start(void)
{
	daemon_pid = fork();
	if (daemon_pid == 0) {
		const int out = open("/dev/null", O_RDWR);

		/* If this test is ended by force, nobody else ends it; nor must it hold the outputs that others wait for. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out, 0);
		dup2(out, 1);
		dup2(out, 2);
		setenv("KTHREAD_CONTROL", control, 1);
		execl(steady, steady, "--simulate", root, "--poll-ms", "20", "--plain", NULL);
		_exit(127);
	}
	CHECK(daemon_pid > 0);
}

static void daemon_end(int signal)
{
	int status;

	kill(daemon_pid, signal);
	assert_int_equal(waitpid(daemon_pid, &status, 0), daemon_pid);
	assert_true(signal == SIGKILL ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Does a run say this, on either output? */
static bool says(const char *words, const char *text)
{
	struct run r = run("-s %s %s", control, words);
	const bool found = strstr(r.out, text) || strstr(r.err, text);

	run_free(&r);
	return found;
}

static const char *const names[] = {"poll/1",  "poll/3",  "poll/5",  "poll/7",   "exact/7", "flush",
                                    "cache/0", "cache/3", "index/0", "report/0", "foreign"};

/* One that is just being made is in no list yet. */
static bool lists_all(void)
{
	struct run r = run("-s %s list --names", control);
	bool all = true;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char line[64];

		snprintf(line, sizeof(line), "%s\n", names[i]);
		all = all && strstr(r.out, line);
	}
	run_free(&r);
	return all;
}

static int start(void **state)
{
	snprintf(control, sizeof(control), "%s/control", ctl_dir);
	snprintf(root, sizeof(root), "%s/machine", ctl_dir);
	machine_do("make");
	daemon_start();
	AWAIT(lists_all());
	return 0;
}

static int stop(void **state)
{
	daemon_end(SIGTERM);
	return 0;
}

/* The rest of the line that begins with key, blanks cut; static. */
static const char *value_of(const char *text, const char *key)
{
	static char value[256];
	char *begin;

	assert_true(asprintf(&begin, "\n%s ", key) > 0);
	text = strstr(text, begin);
	if (!text)
		fail_msg("nothing begins with \"%s\"", key);
	text += strlen(begin);
	text += strspn(text, " ");
	snprintf(value, sizeof(value), "%.*s", (int)strcspn(text, "\n"), text);
	free(begin);
	return value;
}

/* "  state   waiting" of `show NAME` */
static bool shows(const char *name, const char *key, const char *value)
{
	struct run r = run("-s %s show %s", control, name);
	char *full;
	bool same;

	assert_true(asprintf(&full, "  %s", key) > 0);
	same = r.status == 0 && strncmp(value_of(r.out, full), value, strlen(value)) == 0;
	free(full);
	run_free(&r);
	return same;
}

static void look__at_all_threads(void **state)
{
	struct run list = run("-s %s list", control);

	assert_int_equal(list.status, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char line[64];

		snprintf(line, sizeof(line), "\n%s ", names[i]);
		assert_non_null(strstr(list.out, line));
	}
	assert_non_null(strstr(value_of(list.out, "poll/3"), "bound 3"));
	assert_non_null(strstr(value_of(list.out, "cache/3"), "node 3"));
	run_free(&list);
	expect(0, "\"name\":\"poll/3\"", NULL, "-s %s list --json", control);
	expect(0, "\n  wish           bound 3\n", NULL, "-s %s show poll/3", control);
	expect(0, "\nend\n", NULL, "-s %s dump --text", control);
	expect(0, "{\"format\":\"kthread-dump\",\"version\":1,", NULL, "-s %s dump", control);
	expect(0, "kthread_thread_wakes_total{class=\"poll\",index=\"3\",", NULL, "-s %s prometheus", control);
	expect(0, "poll", NULL, "-s %s map", control);
	expect(0, "<svg", NULL, "-s %s map --svg -", control);
	expect(0, "0 broken  simulated\n", NULL, "-s %s top -c 1", control);
	expect(0, "poll/3", NULL, "--pid %d list", (int)daemon_pid);
}

static void park__and_unpark(void **state)
{
	expect(0, NULL, NULL, "-s %s park poll/3", control);
	assert_true(shows("poll/3", "state", "parked"));
	expect(0, NULL, NULL, "-s %s unpark poll/3", control);
	assert_false(shows("poll/3", "state", "parked"));
	expect(0, "{\"ok\":true}\n", NULL, "-s %s park --json poll/3", control);
	expect(0, "{\"ok\":true}\n", NULL, "-s %s unpark --json poll/3", control);
	expect(1, NULL, "nobody", "-s %s park nobody", control);
	expect(1, NULL, "kthreadctl: ", "-s %s park foreign", control); /* it is not the library's to park */
	expect(1, "{\"ok\":false,", "nobody", "-s %s park --json nobody", control);
}

static void cpu__down_and_up(void **state)
{
	expect(0, NULL, NULL, "-s %s cpu down 3", control);
	assert_true(shows("poll/3", "broken ", "for "));
	assert_true(shows("exact/7", "effective", "7"));
	expect(0, "usable 0-2,4-7 ", NULL, "-s %s top -c 1", control);
	expect(0, "kthread_threads_broken 1\n", NULL, "-s %s prometheus", control);
	expect(1, NULL, "kthreadctl: ", "-s %s cpu down 99", control);
	expect(0, NULL, NULL, "-s %s cpu up 3", control);
	assert_true(shows("poll/3", "effective", "3"));
	expect(0, "kthread_threads_broken 0\n", NULL, "-s %s prometheus", control);
	expect(0, "{\"name\":\"kthread_threads_broken\",", NULL, "-s %s prometheus --json", control);
}

static void housekeeping__and_rescan(void **state)
{
	expect(0, NULL, NULL, "-s %s housekeeping 0-1", control);
	assert_true(shows("report/0", "effective", "0-1"));
	expect(1, NULL, "kthreadctl: ", "-s %s housekeeping 0-", control);
	expect(1, NULL, "kthreadctl: ", "-s %s housekeeping 77", control);
	expect(0, NULL, NULL, "-s %s housekeeping default", control);
	assert_true(shows("report/0", "effective", "0-7"));
	expect(0, NULL, NULL, "-s %s rescan", control);
}

/* None of the example's threads can be frozen: the freeze is on at once all the same. */
static void freeze__and_thaw(void **state)
{
	expect(0, NULL, NULL, "-s %s freeze --timeout 20s", control);
	expect(0, NULL, NULL, "-s %s thaw", control);
}

/* A terminal, so that the lines come as they are made, and a CPU that goes under the daemon. */
static void watch__what_happens(void **state)
{
	struct terminal t;
	size_t at = 0;

	terminal_start(&t, 24, 200, "dumb", "-s %s watch", control);
	terminal_await(&t, &at, "watching (pid ");
	machine_do("off 5");
	terminal_await(&t, &at, "CPU 5 is not usable any more (observed)");
	terminal_await(&t, &at, "poll/5            broken: 5 -> ");
	machine_do("on 5");
	terminal_await(&t, &at, "CPU 5 is usable now (observed)");
	terminal_await(&t, &at, "poll/5 ");
	expect(0, NULL, NULL, "-s %s park poll/1", control);
	terminal_await(&t, &at, "poll/1            parked");
	expect(0, NULL, NULL, "-s %s unpark poll/1", control);
	terminal_await(&t, &at, "poll/1            unparked");
	terminal_type(&t, "\003");
	assert_int_equal(terminal_end(&t), 1000 + SIGINT);
	free(t.text);
	expect(0, "{\"event\":\"watch\",", NULL, "-s %s watch --json --for 100ms", control);
}

static void timeline__of_a_cpu_that_goes(void **state)
{
	struct terminal t;
	size_t at = 0;

	terminal_start(&t, 40, 120, "dumb", "-s %s timeline --for 3s", control);
	terminal_await(&t, &at, "watching for 3.0s");
	expect(0, NULL, NULL, "-s %s cpu down 3", control);
	expect(0, NULL, NULL, "-s %s cpu up 3", control);
	terminal_await(&t, &at, "poll/3");
	assert_int_equal(terminal_end(&t), 0);
	free(t.text);
	expect(0, NULL, NULL, "-s %s timeline --for 100ms --svg %s/timeline.svg", control, ctl_dir);
	expect(1, NULL, "cannot be written", "-s %s timeline --for 1h --svg %s/no/timeline.svg", control, ctl_dir);
	expect(0, "</svg>\n", NULL, "-s %s timeline --for 100ms --svg -", control);
}

/* Whoever has seen enough need not wait for an hour to see it drawn. */
static void timeline__until_ctrl_c(void **state)
{
	struct terminal t;
	size_t at = 0;

	terminal_start(&t, 40, 120, "dumb", "-s %s timeline --every --for 1h", control);
	terminal_await(&t, &at, "watching for 1h 00m");
	terminal_type(&t, "\003");
	terminal_await(&t, &at, "poll/3");
	assert_int_equal(terminal_end(&t), 0);
	free(t.text);
}

/* The dump in a line, then the stream as `watch --json` has it: all that the picture is drawn from. */
static void timeline__as_json(void **state)
{
	struct terminal t;
	size_t at = 0;

	terminal_start(&t, 24, 200, "dumb", "-s %s timeline --json", control);
	terminal_await(&t, &at, "{\"format\":\"kthread-dump\",");
	terminal_await(&t, &at, "\"steps\":[]}\r\n{\"event\":\"watch\",");
	machine_do("off 5");
	terminal_await(&t, &at, "\r\n{\"event\":\"cpu\",");
	machine_do("on 5");
	terminal_await(&t, &at, "\"usable\":true");
	kill(t.pid, SIGTERM);
	assert_int_equal(terminal_end(&t), 1000 + SIGTERM);
	assert_null(strstr(t.text, "watching")); /* nothing but JSON on either output */
	free(t.text);
	expect(2, NULL, "--json and --svg: give one of them", "-s %s timeline --json --svg x", control);
}

static void top__on_a_terminal(void **state)
{
	struct terminal t;
	size_t at = 0;

	terminal_start(&t, 40, 120, "xterm", "-s %s top -d 100ms", control);
	terminal_await(&t, &at, "\033[J");
	terminal_await(&t, &at, "\033[J");
	terminal_await(&t, &at, "poll/3");
	expect(0, NULL, NULL, "-s %s cpu down 3", control);
	terminal_await(&t, &at, "\033[31mpoll/3");
	expect(0, NULL, NULL, "-s %s cpu up 3", control);
	terminal_await(&t, &at, " 0 broken");
	terminal_type(&t, "q");
	assert_int_equal(terminal_end(&t), 0);
	free(t.text);
}

static void daemon__killed_while_it_is_watched(void **state)
{
	struct terminal t;
	size_t at = 0;

	terminal_start(&t, 24, 80, "dumb", "-s %s watch", control);
	terminal_await(&t, &at, "watching");
	daemon_end(SIGKILL);
	assert_int_equal(terminal_end(&t), 3);
	assert_non_null(strstr(t.text + at, "the daemon has ended"));
	free(t.text);
	expect(3, NULL, "nobody listens there any more", "-s %s list", control);
	daemon_start(); /* over the socket that is left */
	AWAIT(says("list", "foreign"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(look__at_all_threads),
	    cmocka_unit_test(park__and_unpark),
	    cmocka_unit_test(cpu__down_and_up),
	    cmocka_unit_test(housekeeping__and_rescan),
	    cmocka_unit_test(freeze__and_thaw),
	    cmocka_unit_test(watch__what_happens),
	    cmocka_unit_test(timeline__of_a_cpu_that_goes),
	    cmocka_unit_test(timeline__until_ctrl_c),
	    cmocka_unit_test(timeline__as_json),
	    cmocka_unit_test(top__on_a_terminal),
	    cmocka_unit_test(daemon__killed_while_it_is_watched),
	};
	int failed;

	CHECK(argc == 4);
	ctl_program = argv[1];
	steady = argv[2];
	machine = argv[3];
	setenv("LC_ALL", "C", 1);
	unsetenv("NO_COLOR");
	CHECK(ctl_setup(NULL) == 0);
	failed = cmocka_run_group_tests(tests, start, stop);
	ctl_teardown(NULL);
	return failed;
}
