/* SPDX-License-Identifier: MIT */
/*
 * P14: what a dump costs with very many threads, beside reading from /proc alone what it asks there.
 */
#include <fcntl.h>
#include <kthread/kthread.h>
#include <stdio.h>

#include "bench.h"
#include "crowd.h"

static struct crowd crowd;
static FILE *nowhere;

static void dump(const void *arg, double *values)
{
	const enum kthread_format *format = arg;
	const uint64_t start = bench_now();

	BENCH_CHECK(kthread_dump(nowhere, *format) == 0);
	values[0] = (double)(bench_now() - start);
	values[1] = values[0] / (double)crowd.count;
}

static void read_file(pid_t tid, const char *name)
{
	char path[64];
	char text[4096];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	BENCH_CHECK(fd >= 0 && read(fd, text, sizeof(text)) > 0);
	close(fd);
}

static void read_proc(const void *arg, double *values)
{
	const uint64_t start = bench_now();

	(void)arg;
	for (size_t i = 0; i < crowd.count; i++) {
		read_file(kthread_tid(crowd.threads[i]), "status");
		read_file(kthread_tid(crowd.threads[i]), "stat");
	}
	values[0] = (double)(bench_now() - start);
	values[1] = values[0] / (double)crowd.count;
}

int main(int argc, char **argv)
{
	static const enum kthread_format json = KTHREAD_JSON, text = KTHREAD_TEXT;
	static const struct bench_variant variants[] = {
	    {"/proc/.../status and stat", read_proc, NULL}, {"JSON", dump, &json}, {"text", dump, &text}};

	bench_open(argc, argv, "dump");
	nowhere = fopen("/dev/null", "we");
	BENCH_CHECK(nowhere);
	crowd = crowd_create(bench_count(10000, 100));
	bench_rounds(variants, 3);
	bench_figure("P14", "a dump of 10 000 threads, as JSON", 1, 0, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P14-text", "as text", 2, 0, 0, BENCH_NO_TARGET, "ns");
	bench_figure("P14-thread", "a thread of it", 1, 0, 1, BENCH_NO_TARGET, "ns");
	crowd_stop(&crowd);
	fclose(nowhere);
	return bench_close();
}
