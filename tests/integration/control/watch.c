/* SPDX-License-Identifier: MIT */
/*
 * The stream of events, as clients of the control socket see it.
 */
#include <poll.h>
#include <sys/socket.h>

#include "base/trace.h"
#include "client.h"

#define LIMIT_NS (5000 * MS)

/* The number behind this key; -1 = it is not there. */
static long long number_of(const char *line, const char *key)
{
	const char *at = strstr(line, key);

	return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

/* The first line, after which nothing is missed. */
static int watch(void)
{
	const int fd = control_begin("watch");
	const char *line = control_line(fd);
	char wanted[160];

	snprintf(
	    wanted, sizeof(wanted),
	    "{\"event\":\"watch\",\"format\":\"kthread-events\",\"version\":1,\"library\":\"%s\",\"pid\":%d,\"process\":\"",
	    kthread_version(), (int)getpid());
	assert_non_null(line);
	assert_memory_equal(line, wanted, strlen(wanted));
	assert_true(number_of(line, "\"time_ns\":") > 0);
	assert_non_null(strstr(line, "\"time\":\"20"));
	assert_string_equal(line + strlen(line) - 3, "Z\"}");
	return fd;
}

static bool is(const char *line, const char *event)
{
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "{\"event\":\"%s\",\"time_ns\":", event);
	return strncmp(line, wanted, strlen(wanted)) == 0;
}

/* Read on to this event of this thread (NULL: of nobody's). */
static const char *find(int fd, const char *event, const char *name)
{
	char wanted[64] = "";

	if (name)
		snprintf(wanted, sizeof(wanted), "\"name\":\"%s\"", name);
	for (;;) {
		const char *line = control_line(fd);

		assert_non_null(line);
		assert_false(is(line, "lost"));
		if (is(line, event) && strstr(line, wanted))
			return line;
	}
}

static void watch__a_life(void **state)
{
	static const char *const life[] = {"thread_create", "thread_start", "thread_park",
	                                   "thread_unpark", "thread_stop",  "thread_exit"};
	struct kthread *k;
	long long last = 0;
	pid_t tid;
	int fd;

	control_start(NULL);
	fd = watch();
	k = kthread_run(obedient, AS_DATA(7), "k");
	tid = kthread_tid(k);
	await_waiting(k);
	assert_done("park k");
	assert_done("unpark k");
	assert_int_equal(kthread_stop(k), 7);
	for (size_t i = 0; i < sizeof(life) / sizeof(life[0]); i++) {
		const char *line = find(fd, life[i], "k");

		assert_int_equal(number_of(line, "\"tid\":"), tid);
		assert_true(number_of(line, "\"time_ns\":") >= last);
		last = number_of(line, "\"time_ns\":");
		if (i == 5)
			assert_int_equal(number_of(line, "\"result\":"), 7);
	}
	close(fd);
	control_stop();
}

static void watch__cpus(void **state)
{
	struct kthread *k;
	const char *line;
	int fd;

	control_start(NULL);
	k = kthread_run_on_cpu(obedient, NULL, 3, "on");
	assert_null(k);
	k = kthread_run_on_cpu(obedient, NULL, 3, "on/%u");
	await_waiting(k);
	fd = watch();
	assert_done("cpu down 3");
	line = find(fd, "cpu", NULL);
	assert_non_null(strstr(line, "\"cpu\":3,\"usable\":false,\"cause\":\"cooperative\""));
	line = find(fd, "view", NULL);
	assert_non_null(strstr(line, "\"usable\":\"0-2,4-7\""));
	line = find(fd, "thread_affine", "on/3");
	assert_non_null(strstr(line, "\"from\":\"3\",\"to\":\"0-2,4-7\""));
	assert_non_null(strstr(line, "\"broken\":true"));
	close(fd);
	kthread_stop(k);
	control_stop();
}

/* The thread that does it for the client is one, too, and made while somebody watches. */
static void watch__by_several(void **state)
{
	struct kthread *k;
	int fd[15];

	control_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	await_waiting(k);
	for (int i = 0; i < 15; i++)
		fd[i] = watch();
	assert_done("park k");
	for (int i = 0; i < 15; i++)
		find(fd[i], "thread_park", "k");
	for (int i = 0; i < 14; i++)
		close(fd[i]);
	assert_done("unpark k");
	find(fd[14], "thread_unpark", "k");
	assert_true(atomic_load(&kt_trace_on));
	close(fd[14]);
	AWAIT(!atomic_load(&kt_trace_on)); /* and nobody pays for it any more */
	fd[0] = watch();
	assert_done("park k");
	find(fd[0], "thread_park", "k");
	assert_int_equal(kthread_control_close(), 0);
	while (control_line(fd[0]))
		continue;
	close(fd[0]);
	assert_false(atomic_load(&kt_trace_on));
	kthread_stop(k);
	control_stop();
}

static void pairs(struct kthread *k, int count)
{
	for (int i = 0; i < count; i++) {
		assert_int_equal(kthread_park(k), 0);
		kthread_unpark(k);
	}
}

/* Who is too slow is told how much he has missed: nothing is told twice, and all that is not told is counted. */
static void watch__too_slowly(void **state)
{
	int count = 0;
	struct kthread *k;
	long long seen = 0;
	long long lost = 0;
	int fd;

	control_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	await_waiting(k);
	fd = watch();
	/* More than the library keeps, until that is so: who takes nothing for five seconds is cut off. */
	for (int turns = 0; lost == 0 || turns < 2; turns++) {
		const uint64_t begin = now_ns();
		struct kthread *marker;
		const char *line;

		assert_true(turns < 100);
		for (int i = 0; i < 40 && now_ns() - begin < 2000 * MS; i++, count += 100)
			pairs(k, 100);
		marker = kthread_create(obedient, NULL, "marker");
		assert_non_null(marker);
		for (;;) {
			line = control_line(fd);
			assert_non_null(line);
			if (is(line, "lost"))
				lost += number_of(line, "\"count\":");
			else if (is(line, "thread_park") || is(line, "thread_unpark"))
				seen++;
			else if (is(line, "thread_create") && strstr(line, "\"marker\""))
				break;
		}
		kthread_stop(marker);
		assert_int_equal(seen + lost, 2 * count);
	}
	close(fd);
	kthread_stop(k);
	control_stop();
}

/* Nobody waits for it, and in the end it is cut off. */
static void watch__and_never_read(void **state)
{
	struct kthread *k;
	struct pollfd gone;
	uint64_t start;
	int fd;

	control_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	await_waiting(k);
	fd = watch();
	start = now_ns();
	gone = (struct pollfd){.fd = fd, .events = POLLRDHUP};
	while (poll(&gone, 1, 0) == 0) {
		assert_true(now_ns() - start < AWAIT_LIMIT_NS);
		pairs(k, 100);
		assert_non_null(strstr(control_ask("version"), "\"ok\":true"));
	}
	assert_true(gone.revents & POLLRDHUP);
	assert_true(now_ns() - start >= LIMIT_NS);
	assert_false(atomic_load(&kt_trace_on));
	close(fd);
	kthread_stop(k);
	control_stop();
}

/* While nothing happens it may be silent as long as it likes. */
static void watch__in_silence(void **state)
{
	const struct timespec longer = {.tv_sec = 6};
	struct kthread *k;
	int fd;

	control_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	await_waiting(k);
	fd = watch();
	nanosleep(&longer, NULL); /* than anybody may be silent who is to say something */
	assert_done("park k");
	find(fd, "thread_park", "k");
	close(fd);
	kthread_stop(k);
	control_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(watch__a_life),         cmocka_unit_test(watch__cpus),
	    cmocka_unit_test(watch__by_several),     cmocka_unit_test(watch__too_slowly),
	    cmocka_unit_test(watch__and_never_read), cmocka_unit_test(watch__in_silence),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
