/* SPDX-License-Identifier: MIT */
/*
 * From kthread_wake() to the line after kthread_wait() in a daemon whose control socket is used, by clients in a process of
 * their own: nobody connected; one that watches; and one request after the other, as fast as they are answered, beside a
 * dump and a watch that nobody reads.
 */
#include <kthread/kthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bench.h"

enum mode { NOBODY, WATCH, STORM, MODES };

static unsigned int wakes;
static char path[100];

/* ---- the clients --------------------------------------------------------------------------------------------------- */

static int orders[2];
static unsigned int connections;

static int ask(const char *line)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	BENCH_CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	send(fd, line, strlen(line), MSG_NOSIGNAL);
	return fd;
}

static void read_some(int fd)
{
	char some[8192];

	BENCH_CHECK(recv(fd, some, sizeof(some), 0) > 0);
}

static bool has_order(void)
{
	char byte;

	return recv(orders[1], &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0; /* or there will be none any more */
}

static void be(enum mode mode)
{
	int fd[2] = {-1, -1};

	if (mode == WATCH) {
		fd[0] = ask("watch\n");
		read_some(fd[0]);
	} else if (mode == STORM) {
		fd[0] = ask("dump\n");
		fd[1] = ask("watch\n");
	}
	send(orders[1], &connections, sizeof(connections), 0);
	while (!has_order()) {
		char some[8192];

		if (mode == STORM) {
			const int one = ask("version\n");

			read_some(one);
			close(one);
			connections++;
		} else {
			if (mode == WATCH)
				recv(fd[0], some, sizeof(some), MSG_DONTWAIT);
			bench_sleep(1000000);
		}
	}
	for (int i = 0; i < 2; i++) {
		if (fd[i] >= 0)
			close(fd[i]);
	}
}

static void clients(void)
{
	char mode;

	while (recv(orders[1], &mode, 1, 0) == 1)
		be((enum mode)mode);
}

/* They are as ordered when this returns. How often they have connected so far. */
static unsigned int order(enum mode mode)
{
	const char byte = (char)mode;
	unsigned int count;

	BENCH_CHECK(send(orders[0], &byte, 1, 0) == 1);
	BENCH_CHECK(recv(orders[0], &count, sizeof(count), MSG_WAITALL) == (ssize_t)sizeof(count));
	return count;
}

/* ---- the daemon ---------------------------------------------------------------------------------------------------- */

static struct kthread *waiter;
static atomic_uint_fast64_t awake;

static int be_woken(void *data)
{
	(void)data;
	while (!kthread_should_stop()) {
		kthread_wait();
		atomic_store_explicit(&awake, bench_now(), memory_order_release);
	}
	return 0;
}

/* values: p50, p99; connections a second */
static void latency(const void *arg, double values[BENCH_VALUES])
{
	const enum mode mode = *(const enum mode *)arg;
	const unsigned int before = order(mode);
	const uint64_t start = bench_now();
	double *samples = calloc(wakes, sizeof(*samples));

	BENCH_CHECK(samples);
	for (unsigned int i = 0; i < wakes; i++) {
		uint64_t asked;
		uint64_t woken;

		bench_sleep(200000);
		atomic_store(&awake, 0);
		asked = bench_now();
		kthread_wake(waiter);
		while ((woken = atomic_load_explicit(&awake, memory_order_acquire)) == 0)
			bench_sleep(20000);
		samples[i] = (double)(woken - asked);
	}
	values[2] = (double)(order(NOBODY) - before) * 1e9 / (double)(bench_now() - start);
	values[0] = bench_quantile(samples, wakes, 0.5);
	values[1] = bench_quantile(samples, wakes, 0.99);
	free(samples);
}

int main(int argc, char **argv)
{
	static const enum mode modes[MODES] = {NOBODY, WATCH, STORM};
	static const struct bench_variant variants[MODES] = {
	    {"nobody", latency, &modes[NOBODY]},
	    {"watch", latency, &modes[WATCH]},
	    {"storm", latency, &modes[STORM]},
	};
	pid_t pid;

	bench_open(argc, argv, "control");
	wakes = bench_count(2000, 100);
	BENCH_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, orders) == 0);
	snprintf(path, sizeof(path), "/tmp/kthread-bench-%d.sock", (int)getpid());
	pid = fork();
	BENCH_CHECK(pid >= 0);
	if (pid == 0) {
		close(orders[0]);
		clients();
		_exit(0);
	}
	close(orders[1]);
	BENCH_CHECK(kthread_control_listen(path) == 0);
	bench_pin(bench_cpu(0));
	waiter = kthread_create_on_cpu(be_woken, NULL, (unsigned int)(bench_cpu(1) < 0 ? bench_cpu(0) : bench_cpu(1)),
	                               "waiter/%u");
	BENCH_CHECK(waiter);
	kthread_wake(waiter);
	bench_rounds(variants, MODES);
	bench_figure("control_wake_watch_p50", "kthread_wake() while somebody watches, to nobody, p50", WATCH, NOBODY,
	             0, BENCH_NO_TARGET, "ns");
	bench_figure("control_wake_watch_p99", "kthread_wake() while somebody watches, to nobody, p99", WATCH, NOBODY,
	             1, BENCH_NO_TARGET, "ns");
	bench_figure("control_wake_storm_p50", "kthread_wake() in a storm of requests, to nobody, p50", STORM, NOBODY,
	             0, BENCH_NO_TARGET, "ns");
	bench_figure("control_wake_storm_p99", "kthread_wake() in a storm of requests, to nobody, p99", STORM, NOBODY,
	             1, BENCH_NO_TARGET, "ns");
	bench_note("the storm: %.0f requests a second, each a connection of its own; its clients need CPUs, too",
	           bench_median(STORM, 2));
	BENCH_CHECK(kthread_stop(waiter) == 0);
	BENCH_CHECK(kthread_fini() == 0);
	close(orders[0]);
	waitpid(pid, NULL, 0);
	return bench_close();
}
