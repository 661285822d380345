/* SPDX-License-Identifier: MIT */
/*
 * One runtime: answers requests from standard input. See split.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "split.h"

#define PAGE ((size_t)4096)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static char *memory;
static volatile uint64_t sink;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Each step needs the one before it: nothing to vectorise, and no memory. */
static uint64_t turn(uint64_t value, size_t steps)
{
	while (steps-- > 0) {
		value = value * 6364136223846793005u + 1442695040888963407u;
		__asm__ volatile("" : "+r"(value));
	}
	return value;
}

static void even(size_t from, size_t to)
{
	uint64_t value = from;

	for (size_t i = from; i < to; i++)
		value ^= turn(value + i, 160);
	if (value == 42)
		sink = value;
}

static void skewed(size_t from, size_t to)
{
	uint64_t value = from;

	for (size_t i = from; i < to; i++)
		value ^= turn(value + i, i / 16);
	if (value == 42)
		sink = value;
}

static void zero(size_t from, size_t to)
{
	memset(memory + from * PAGE, 0, (to - from) * PAGE);
}

static void populate(size_t from, size_t to)
{
	if (madvise(memory + from * PAGE, (to - from) * PAGE, MADV_POPULATE_WRITE) != 0)
		zero(from, to); /* before Linux 5.14 */
}

static void nothing(size_t from, size_t to)
{
	__asm__ volatile("" : : "r"(from), "r"(to) : "memory");
}

static const split_body bodies[] = {
    [SPLIT_EVEN] = even,         [SPLIT_SKEWED] = skewed,   [SPLIT_ZERO] = zero,
    [SPLIT_POPULATE] = populate, [SPLIT_NOTHING] = nothing,
};

static void *fresh(size_t pages)
{
	void *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		exit(1);
	madvise(at, pages * PAGE, MADV_NOHUGEPAGE);
	return at;
}

/* Memory that is free may have to be had from a hypervisor first: touch as much, and give it back. */
static void memory_begin(size_t pages)
{
	memory = fresh(pages);
	populate(0, pages);
	munmap(memory, pages * PAGE);
	memory = fresh(pages);
}

static double cpu_seconds(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void pause_for(uint64_t ns, int asleep)
{
	const struct timespec time = {.tv_sec = 0, .tv_nsec = (long)ns};
	const uint64_t until = now_ns() + ns;

	if (asleep)
		nanosleep(&time, NULL);
	while (!asleep && now_ns() < until)
		continue;
}

static struct split_answer measure(const struct split_request *request)
{
	const split_body body = bodies[request->work];
	const int pages = request->work == SPLIT_ZERO || request->work == SPLIT_POPULATE;
	uint64_t begin, total = 0;
	double cpu;

	if (pages)
		memory_begin(request->count);
	split_run(request->variant, 1000, 10, even); /* its threads are there, */
	for (int i = 0; i < 30; i++)
		split_run(request->variant, 64, 16, nothing); /* and it has seen what it does now */
	pause_for(2000000, 1);
	begin = now_ns();
	cpu = cpu_seconds();
	for (uint32_t i = 0; i < request->repeat; i++) {
		uint64_t start;

		if (request->pause_ns)
			pause_for(request->pause_ns, (int)request->sleep);
		start = now_ns();
		split_run(request->variant, request->count, request->chunk, body);
		total += now_ns() - start;
	}
	cpu = cpu_seconds() - cpu;
	begin = now_ns() - begin;
	if (pages)
		munmap(memory, request->count * PAGE);
	return (struct split_answer){(double)total / request->repeat, cpu * 1e9 / (double)begin};
}

int main(int argc, char **argv)
{
	struct split_request request;

	split_start(argc > 1 ? atoi(argv[1]) : 2);
	while (read(STDIN_FILENO, &request, sizeof(request)) == (ssize_t)sizeof(request)) {
		const struct split_answer answer = measure(&request);

		if (write(STDOUT_FILENO, &answer, sizeof(answer)) != (ssize_t)sizeof(answer))
			return 1;
	}
	return 0;
}
