/* SPDX-License-Identifier: MIT */
/*
 * pzero: clear N GiB of fresh memory with 1, 2, 4, ... threads, and draw how many GiB a second that makes.
 *
 * usage: pzero [GIB]    (0.25)
 */
#include <errno.h>
#include <kthread/kthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MIB ((size_t)1 << 20)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The kernel clears the pages and maps them, in one go; before Linux 5.14 each page is a fault. */
static int clear(void *start, void *end, void *arg)
{
	const size_t size = (size_t)((char *)end - (char *)start);

	(void)arg;
	if (madvise(start, size, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	memset(start, 0, size);
	return 0;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Seconds; negative errno. */
static double run(size_t size, size_t threads)
{
	DEFINE_KTASK_CTL(ctl, clear, NULL, 2 * MIB);
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	double start = now();
	int error;

	if (memory == MAP_FAILED)
		return -errno;
	ktask_ctl_set_max_threads(&ctl, threads);
	error = ktask_run(memory, size, &ctl);
	start = now() - start;
	munmap(memory, size);
	return error ? error : start;
}

static size_t usable_cpus(void)
{
	const size_t setsize = kthread_setsize();
	cpu_set_t *set = calloc(1, setsize ? setsize : 1);
	size_t count = 0;

	if (set && kthread_cpus(KTHREAD_CPUS_USABLE, setsize, set) == 0)
		count = (size_t)CPU_COUNT_S(setsize, set);
	free(set);
	return count ? count : 1;
}

static void bar(size_t threads, double speed, double most)
{
	int width = (int)(speed / most * 50 + 0.5);

	printf("%4zu %s %7.2f GiB/s  ", threads, threads == 1 ? "thread " : "threads", speed);
	while (width-- > 0)
		putchar('#');
	putchar('\n');
}

int main(int argc, char **argv)
{
	const double gib = argc > 1 ? atof(argv[1]) : 0.25;
	const size_t size = (size_t)(gib * 512) * 2 * MIB, cpus = usable_cpus();
	double speed[64], most = 0;
	size_t threads[64], count = 0;

	if (argc > 2 || size == 0) {
		fprintf(stderr, "usage: pzero [GIB]\n");
		return 2;
	}
	run(size, 0); /* the machine gets the memory from its hypervisor, and helpers are made */
	for (size_t n = 1; count < 64; n = n * 2 < cpus ? n * 2 : cpus) {
		const double seconds = run(size, n);

		if (seconds < 0) {
			fprintf(stderr, "pzero: %s\n", strerror((int)-seconds));
			return 1;
		}
		threads[count] = n;
		speed[count] = gib / seconds;
		if (speed[count] > most)
			most = speed[count];
		count++;
		if (n == cpus)
			break;
	}
	printf("clearing %g GiB of fresh memory, %zu usable CPUs (helpers: 4 of 5)\n", gib, cpus);
	for (size_t i = 0; i < count; i++)
		bar(threads[i], speed[i], most);
	return 0;
}
