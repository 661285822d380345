/* SPDX-License-Identifier: MIT */
#include "crew.h"

#include <errno.h>
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD_NS 100000000u
#define BOUND_MAX 4u
#define NODES_MAX 4u
#define CREW_MAX 32u

struct job {
	struct kthread *k;
	char name[32];
	uint32_t checksum;
	unsigned char page[4096];
};

static struct job *crew[CREW_MAX];
static size_t crew_size;

/* The CPUs to choose from, ascending. */
static unsigned int *cpus;
static size_t ncpus;

/* ---- the work ------------------------------------------------------------------------------------------------- */

/* What stands here for the daemon's trade: keep a page alive, and its checksum (FNV-1a). */
static void work(struct job *job)
{
	uint32_t sum = 2166136261u;

	for (size_t i = 0; i < sizeof(job->page); i++)
		sum = (sum ^ job->page[i]) * 16777619u;
	job->page[sum % sizeof(job->page)]++;
	job->checksum = sum;
}

/* Goes on elsewhere while its place is gone: late work is better than none. */
static int serve(void *data)
{
	int turns = 0;

	while (!kthread_should_stop()) {
		kthread_parkme();
		work(data);
		turns++;
		kthread_wait_for(PERIOD_NS);
	}
	return turns;
}

/* Never does its work but on its own CPU, as a driver of that CPU's hardware would: while it is gone, it waits. */
static int serve_exactly(void *data)
{
	int turns = 0;

	while (!kthread_bound_should_stop()) {
		work(data);
		turns++;
		kthread_wait_for(PERIOD_NS);
	}
	return turns;
}

/* ---- an adopted thread ---------------------------------------------------------------------------------------- */

/* As if some other library had made it: its life is not ours, its place is. */
static struct foreign {
	bool started;
	pthread_t thread;
	struct kthread_completion adopted, stop;
	unsigned int cpu;
	int error;
	int turns;
	struct job *job;
} foreign;

static void *foreign_thread(void *arg)
{
	struct kthread *self = kthread_adopt("%s", foreign.job->name);

	(void)arg;
	foreign.error = self ? kthread_bind(self, foreign.cpu) : -errno;
	kthread_complete(&foreign.adopted);
	while (kthread_wait_for_completion_timeout(&foreign.stop, PERIOD_NS) == -ETIMEDOUT) {
		work(foreign.job);
		foreign.turns++;
	}
	kthread_unadopt(self);
	return NULL;
}

static int foreign_stop(void)
{
	kthread_complete(&foreign.stop);
	pthread_join(foreign.thread, NULL);
	foreign.started = false;
	free(foreign.job);
	return foreign.turns;
}

static int foreign_start(unsigned int cpu)
{
	int error;

	foreign.job = calloc(1, sizeof(*foreign.job));
	if (!foreign.job)
		return -ENOMEM;
	strcpy(foreign.job->name, "foreign");
	foreign.cpu = cpu;
	foreign.turns = 0;
	kthread_init_completion(&foreign.adopted);
	kthread_init_completion(&foreign.stop);
	error = -pthread_create(&foreign.thread, NULL, foreign_thread, NULL);
	if (error) {
		free(foreign.job);
		return error;
	}
	foreign.started = true;
	kthread_wait_for_completion(&foreign.adopted);
	if (foreign.error)
		foreign_stop();
	return foreign.error;
}

/* ---- our own threads ------------------------------------------------------------------------------------------ */

static int enlist(struct job *job, struct kthread *k)
{
	const int error = errno;

	if (!k) {
		fprintf(stderr, "steady: cannot create the thread %s: %s\n", job->name, strerror(error));
		free(job);
		return -error;
	}
	job->k = k;
	crew[crew_size++] = job;
	return 0;
}

static struct job *new_job(const char *class, int number)
{
	struct job *job = crew_size < CREW_MAX ? calloc(1, sizeof(*job)) : NULL;

	if (!job)
		fprintf(stderr, "steady: no room for a thread more\n");
	else if (number < 0)
		snprintf(job->name, sizeof(job->name), "%s", class);
	else
		snprintf(job->name, sizeof(job->name), "%s/%d", class, number);
	return job;
}

static int on_cpu(const char *class, int (*fn)(void *data), unsigned int cpu)
{
	struct job *job = new_job(class, (int)cpu);
	char format[32];

	if (!job)
		return -ENOMEM;
	snprintf(format, sizeof(format), "%s/%%u", class);
	return enlist(job, kthread_run_on_cpu(fn, job, cpu, format));
}

static int on_node(const char *class, int node)
{
	struct job *job = new_job(class, node);
	int error;

	if (!job)
		return -ENOMEM;
	error = enlist(job, kthread_create_on_node(serve, job, node, "%s", job->name));
	if (!error)
		kthread_wake(job->k);
	return error;
}

/* A thread with a mask of CPUs [first, first + count) of our list. give is kthread_bind_mask or the like; NULL: none. */
static int on_mask(const char *class, int number, size_t first, size_t count,
                   int (*give)(struct kthread *k, size_t setsize, const cpu_set_t *set))
{
	struct job *job = new_job(class, number);
	const size_t setsize = kthread_setsize();
	cpu_set_t *set = calloc(1, setsize);
	int error = -ENOMEM;

	if (job && set) {
		for (size_t i = first; i < first + count && i < ncpus; i++)
			CPU_SET_S(cpus[i], setsize, set);
		error = enlist(job, kthread_create(serve, job, "%s", job->name));
	} else {
		free(job);
	}
	if (!error && give) {
		/* A place is given before the thread is woken, or while it is parked. */
		error = give(job->k, setsize, set);
		if (error)
			fprintf(stderr, "steady: cannot place %s: %s\n", job->name, strerror(-error));
	}
	if (!error)
		kthread_wake(job->k);
	free(set);
	return error;
}

/* Up to four CPUs, spread evenly: 1, 3, 5, 7 of eight. */
static int start_bound(void)
{
	size_t last = ncpus;
	int error = 0;

	for (size_t i = 0; i < BOUND_MAX && !error; i++) {
		const size_t at = (2 * i + 1) * ncpus / (2 * BOUND_MAX);

		if (at != last)
			error = on_cpu("poll", serve, cpus[at]);
		last = at;
	}
	if (!error)
		error = on_cpu("exact", serve_exactly, cpus[last]);
	if (!error)
		error = on_mask("flush", -1, ncpus > 2 ? ncpus - 2 : 0, 2, kthread_bind_mask);
	return error;
}

static int start_on_nodes(void)
{
	int nodes[NODES_MAX];
	size_t count = 0;
	int error = 0;

	for (size_t i = 0; i < ncpus && count < NODES_MAX && !error; i++) {
		const int node = kthread_cpu_node(cpus[i]);
		size_t known = 0;

		while (known < count && nodes[known] != node)
			known++;
		if (node == KTHREAD_NO_NODE || known < count)
			continue;
		nodes[count++] = node;
		error = on_node("cache", node);
	}
	return error;
}

static int start_soft(void)
{
	int error = on_mask("index", 0, ncpus / 4, 2, kthread_affine_preferred);

	if (!error)
		error = on_mask("index", 1, ncpus / 2, 2, kthread_affine_preferred);
	for (int i = 0; i < 2 && !error; i++)
		error = on_mask("report", i, 0, 0, NULL);
	return error;
}

static int read_cpus(void)
{
	const size_t setsize = kthread_setsize();
	cpu_set_t *usable = calloc(1, setsize ? setsize : 1);
	int error;

	if (!usable)
		return -ENOMEM;
	error = kthread_cpus(KTHREAD_CPUS_USABLE, setsize, usable);
	if (!error) {
		cpus = calloc((size_t)CPU_COUNT_S(setsize, usable) + 1, sizeof(*cpus));
		error = cpus ? 0 : -ENOMEM;
	}
	ncpus = 0;
	for (unsigned int cpu = 0; !error && cpu < setsize * 8; cpu++) {
		if (CPU_ISSET_S(cpu, setsize, usable))
			cpus[ncpus++] = cpu;
	}
	free(usable);
	if (!error && ncpus == 0)
		error = -ENODEV;
	if (error)
		fprintf(stderr, "steady: cannot tell the usable CPUs: %s\n", strerror(-error));
	return error;
}

static void ignore(const char *name, int result)
{
	(void)name;
	(void)result;
}

int crew_start(void)
{
	int error = read_cpus();

	if (!error)
		error = start_bound();
	if (!error)
		error = start_on_nodes();
	if (!error)
		error = start_soft();
	if (!error) {
		error = foreign_start(cpus[ncpus / 2]);
		if (error)
			fprintf(stderr, "steady: cannot adopt a thread: %s\n", strerror(-error));
	}
	free(cpus);
	cpus = NULL;
	if (error)
		crew_stop(ignore);
	return error;
}

void crew_stop(void (*tell)(const char *name, int result))
{
	if (foreign.started)
		tell("foreign", foreign_stop());
	while (crew_size > 0) {
		struct job *job = crew[--crew_size];

		/* Gives up our reference, too: the handle is gone now. */
		tell(job->name, kthread_stop(job->k));
		free(job);
	}
}
