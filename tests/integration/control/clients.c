/* SPDX-License-Identifier: MIT */
/*
 * Clients that are slow, many, malicious, or gone: nobody else feels it, and nothing of them stays.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "client.h"

#define CLIENTS 16
#define LIMIT_NS (5000 * MS) /* what a client has to do something in */

static int fds_before;

static void begin(void)
{
	control_start(NULL);
	control_ask("version");
	fds_before = control_fds();
}

/* Every client's descriptor has been closed on the other side, too. */
static void end(void)
{
	AWAIT(control_fds() == fds_before);
	control_stop();
}

static bool answers(void)
{
	return strstr(control_ask("version"), "\"ok\":true") != NULL;
}

static void put(int fd, const char *bytes, size_t length)
{
	assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), length);
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

static void request__in_pieces(void **state)
{
	static const char line[] = "version\n";
	int fd;

	begin();
	fd = control_connect();
	for (size_t i = 0; i < strlen(line); i++) {
		assert_true(answers());
		put(fd, line + i, 1);
	}
	assert_non_null(strstr(control_rest(fd), "\"ok\":true"));
	end();
}

/* The connection has one request; what follows is nobody's, and its sender gets the answer all the same. */
static void request__with_more_behind(void **state)
{
	char more[4096] = "help\npark x\n";
	int fd;

	begin();
	fd = control_connect();
	memset(more + 12, 'x', sizeof(more) - 12);
	put(fd, more, sizeof(more));
	assert_non_null(strstr(control_rest(fd), "park NAME"));
	end();
}

static void request__half_and_no_more(void **state)
{
	int fd;

	begin();
	fd = control_connect();
	put(fd, "vers", 4);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_refusal(fd, "EINVAL", "newline");
	fd = control_connect();
	assert_int_equal(shutdown(fd, SHUT_WR), 0); /* no word */
	assert_answer(fd, "");
	fd = control_begin("version"); /* he who sends all before that is heard */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_non_null(strstr(control_rest(fd), "\"ok\":true"));
	fd = control_connect();
	put(fd, "vers", 4);
	close(fd);
	assert_true(answers());
	end();
}

static void request__too_long(void **state)
{
	char line[3000];
	int fd;

	begin();
	memset(line, 'x', sizeof(line));
	memcpy(line, "park ", 5);
	fd = control_connect();
	put(fd, line, 1023);
	assert_true(answers());
	put(fd, "\n", 1); /* just not too long */
	assert_refusal(fd, "ENOENT", "no thread");
	fd = control_connect();
	put(fd, line, 1024);
	assert_refusal(fd, "EMSGSIZE", "1023");
	fd = control_connect();
	put(fd, line, sizeof(line));
	assert_refusal(fd, "EMSGSIZE", "1023");
	end();
}

static void request__garbage(void **state)
{
	unsigned char bytes[700];
	unsigned int seed = 1;
	int fd;

	begin();
	for (int round = 0; round < 200; round++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (unsigned char)rand_r(&seed);
		bytes[sizeof(bytes) - 1] = '\n';
		fd = control_connect();
		put(fd, (const char *)bytes, sizeof(bytes));
		assert_refusal(fd, "EINVAL", "");
	}
	fd = control_connect();
	put(fd, "park x\0y\n", 9);
	assert_refusal(fd, "EINVAL", "NUL");
	fd = control_connect();
	put(fd, "\0\n", 2);
	assert_refusal(fd, "EINVAL", "NUL");
	fd = control_connect();
	put(fd, "park \xff\xfe\"\n", 9); /* what is said of it is JSON all the same */
	assert_refusal(fd, "ENOENT", "no thread is called \\\"\xef\xbf\xbd\xef\xbf\xbd\\\"\\\"");
	end();
}

/* ---- slow ones ---------------------------------------------------------------------------------------------------- */

static void request__that_is_not_finished_in_time(void **state)
{
	const uint64_t start = now_ns();
	int fd[2];

	begin();
	fd[0] = control_connect();
	fd[1] = control_connect();
	put(fd[1], "version", 7);
	assert_true(answers());
	assert_answer(fd[0], "");
	assert_true(now_ns() - start >= LIMIT_NS);
	assert_answer(fd[1], "");
	end();
}

#define MANY 800 /* threads: a dump of them does not fit into a socket */

static int sleeps(void *data)
{
	while (!kthread_should_stop())
		kthread_wait();
	return 0;
}

static void many_begin(struct kthread *k[MANY])
{
	const struct kthread_attr attr = {.size = sizeof(attr), .stack_size = 65536, .node = KTHREAD_NO_NODE};

	begin();
	for (int i = 0; i < MANY; i++) {
		k[i] = kthread_create_attr(&attr, sleeps, NULL, "one of many threads, which have a long name/%d", i);
		assert_non_null(k[i]);
		kthread_wake(k[i]);
		assert_true(kthread_tid(k[i]) > 0); /* a dump goes past those that are being made */
	}
}

static void many_end(struct kthread *k[MANY])
{
	for (int i = 0; i < MANY; i++)
		kthread_stop(k[i]);
	end();
}

/* It is cut off, and nobody waits for it meanwhile. */
static void reader_that_never_reads(void **state)
{
	struct kthread *k[MANY];
	struct pollfd gone;
	const char *text;
	uint64_t start;
	int fd;

	many_begin(k);
	text = control_ask("dump");
	assert_string_equal(text + strlen(text) - 2, "}\n");
	assert_true(strlen(text) > 400000);
	start = now_ns();
	fd = control_begin("dump");
	gone = (struct pollfd){.fd = fd, .events = POLLRDHUP};
	for (int i = 0; i < 20; i++)
		assert_true(answers());
	assert_int_equal(poll(&gone, 1, (int)(AWAIT_LIMIT_NS / MS)), 1);
	assert_true(gone.revents & POLLRDHUP);
	assert_true(now_ns() - start >= LIMIT_NS);
	text = control_rest(fd);
	assert_memory_equal(text, "{\"format\":", 10); /* a beginning, */
	assert_true(strlen(text) < 400000);            /* and no end */
	many_end(k);
}

static void reader_that_goes_in_the_middle(void **state)
{
	struct kthread *k[MANY];
	char some[1000];

	many_begin(k);
	for (int i = 0; i < 20; i++) {
		const int fd = control_begin(i % 2 ? "dump" : "dump text");

		assert_true(recv(fd, some, sizeof(some), 0) > 0);
		close(fd);
	}
	assert_true(answers());
	many_end(k);
}

/* Slowly, but all of it. */
static void reader_that_takes_its_time(void **state)
{
	struct kthread *k[MANY];
	const struct timespec pause = {.tv_nsec = (long)(2 * MS)};
	char some[4096];
	char last = '\0';
	size_t sum = 0;
	ssize_t got;
	int fd;

	many_begin(k);
	fd = control_begin("dump text");
	while ((got = recv(fd, some, sizeof(some), 0)) > 0) {
		sum += (size_t)got;
		last = some[got - 1];
		nanosleep(&pause, NULL); /* it is not waited for anything: this is how slow it is */
	}
	assert_int_equal(got, 0);
	assert_int_equal(last, '\n');
	assert_true(sum > MANY * 50);
	close(fd);
	many_end(k);
}

/* ---- many of them ------------------------------------------------------------------------------------------------- */

static void clients__more_than_there_may_be(void **state)
{
	int fd[CLIENTS];

	begin();
	for (int i = 0; i < CLIENTS; i++)
		fd[i] = control_connect();
	assert_refusal(control_connect(), "EBUSY", "as many clients");
	assert_refused("version", "EBUSY", "as many clients");
	close(fd[7]);
	AWAIT(answers());
	for (int i = 0; i < CLIENTS; i++) {
		if (i != 7) {
			control_send(fd[i], "version");
			assert_non_null(strstr(control_rest(fd[i]), "\"ok\":true"));
		}
	}
	end();
}

/* Whenever its request comes, before the refusal or after it: it hears that, and no broken connection. */
static void clients__refused_at_any_moment(void **state)
{
	int fd[CLIENTS];

	begin();
	for (unsigned int i = 0; i < 4000; i++) {
		uint64_t moment;
		int refused;

		if (i % 500 == 0) { /* in time: those that say nothing are sent away in the end */
			for (int j = 0; i > 0 && j < CLIENTS; j++)
				close(fd[j]);
			AWAIT(answers());
			for (int j = 0; j < CLIENTS; j++)
				fd[j] = control_connect();
		}
		refused = control_connect();
		moment = now_ns() + i % 400 * 100; /* those of an accept() */
		while (now_ns() < moment)
			continue;
		control_send(refused, "version");
		assert_refusal(refused, "EBUSY", "as many clients");
	}
	for (int i = 0; i < CLIENTS; i++)
		close(fd[i]);
	end();
}

static void clients__a_thousand(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int answered = 0;
	int fd[250];

	begin();
	strcpy(address.sun_path, control_path);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 250; i++) { /* the queue is shorter: they wait in connect() */
			fd[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
			assert_int_equal(connect(fd[i], (struct sockaddr *)&address, sizeof(address)), 0);
			if (i % 3)
				control_send(fd[i], i % 2 ? "version" : "dump");
		}
		for (int i = 0; i < 250; i++) {
			char some[100];

			if (i % 5 == 0 || i % 3 == 0) {
				close(fd[i]);
				continue;
			}
			answered += recv(fd[i], some, sizeof(some), 0) > 0;
			close(fd[i]);
		}
	}
	assert_int_equal(answered, 4 * 133); /* be it that there are too many */
	AWAIT(answers());
	end();
}

/* ---- others ------------------------------------------------------------------------------------------------------- */

static int another_user(void *arg)
{
	EXPECT(setgid(65534) == 0 && setuid(65534) == 0);
	{
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		char answer[200] = "";

		strcpy(address.sun_path, control_path);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
			return errno == EACCES ? 77 : 2;
		send(fd, "version\n", 8, MSG_NOSIGNAL);
		EXPECT(recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL) > 0);
		EXPECT(strstr(answer, "\"ok\":false,\"error\":\"EACCES\""));
	}
	return 0;
}

static void client__of_another_user(void **state)
{
	if (getuid() != 0)
		skip();
	begin();
	assert_int_equal(chmod(sim.root, 0755), 0);
	assert_int_equal(in_child(another_user, NULL), 77); /* kept out by the file */
	assert_int_equal(chmod(control_path, 0666), 0);
	assert_int_equal(in_child(another_user, NULL), 0); /* and by us */
	assert_true(answers());
	end();
}

/* CPU time of a thread of ours: what pthread_getcpuclockid() would say. */
static uint64_t cpu_ns(pid_t tid)
{
	struct timespec used;

	CHECK(clock_gettime((clockid_t)((~(unsigned int)tid << 3) | 6), &used) == 0);
	return (uint64_t)used.tv_sec * 1000 * MS + (uint64_t)used.tv_nsec;
}

/* poll(2) takes no more descriptors than a process may have: the monitor goes on, and does not spin. */
static void fewer_descriptors_than_the_monitor_polls(void **state)
{
	const struct timespec pause = {.tv_nsec = (long)(400 * MS)};
	struct rlimit before;
	struct rlimit few;
	uint64_t used;
	pid_t monitor;
	int fd;

	begin();
	monitor = sim_task("kthread-monitor");
	fd = control_connect();
	assert_true(answers()); /* then it has been let in, too */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 2;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	control_send(fd, "version"); /* a client that it has */
	assert_non_null(strstr(control_rest(fd), "\"ok\":true"));
	used = cpu_ns(monitor);
	nanosleep(&pause, NULL); /* what it uses meanwhile is what this is about */
	assert_true(cpu_ns(monitor) - used < (uint64_t)pause.tv_nsec / 4);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(answers());
	end();
}

/* Nobody can be let in, and nobody spins for it; later he is. */
static void no_descriptor_for_a_client(void **state)
{
	struct rlimit before;
	struct rlimit none;
	const struct timespec pause = {.tv_nsec = (long)(400 * MS)};
	uint64_t start;
	uint64_t used;
	pid_t monitor;
	int filler[129];
	int fillers = 0;
	int fd;

	begin();
	monitor = sim_task("kthread-monitor");
	fd = control_connect();
	assert_true(answers());
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	close(fd);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	AWAIT(control_fds() == fds_before + 1);
	none = before;
	none.rlim_cur = 128;
	{
		const struct timeval limit = {.tv_sec = (time_t)(AWAIT_LIMIT_NS / 1000000000u)};
		struct sockaddr_un address = {.sun_family = AF_UNIX};

		strcpy(address.sun_path, control_path);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		while ((filler[fillers] = dup(fd)) >= 0)
			fillers++;
		assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	}
	control_send(fd, "version");
	AWAIT(sim_logged("cannot accept") == 1);
	used = cpu_ns(monitor);
	nanosleep(&pause, NULL); /* what it uses meanwhile is what this is about */
	assert_true(cpu_ns(monitor) - used < (uint64_t)pause.tv_nsec / 4);
	start = now_ns();
	while (fillers > 0)
		close(filler[--fillers]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_non_null(strstr(control_rest(fd), "\"ok\":true"));
	assert_true(now_ns() - start < LIMIT_NS);
	assert_logged("cannot accept", 1); /* said once */
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(request__in_pieces),
	    cmocka_unit_test(request__with_more_behind),
	    cmocka_unit_test(request__half_and_no_more),
	    cmocka_unit_test(request__too_long),
	    cmocka_unit_test(request__garbage),
	    cmocka_unit_test(request__that_is_not_finished_in_time),
	    cmocka_unit_test(reader_that_never_reads),
	    cmocka_unit_test(reader_that_goes_in_the_middle),
	    cmocka_unit_test(reader_that_takes_its_time),
	    cmocka_unit_test(clients__more_than_there_may_be),
	    cmocka_unit_test(clients__refused_at_any_moment),
	    cmocka_unit_test(clients__a_thousand),
	    cmocka_unit_test(client__of_another_user),
	    cmocka_unit_test(fewer_descriptors_than_the_monitor_polls),
	    cmocka_unit_test(no_descriptor_for_a_client),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
