/* SPDX-License-Identifier: MIT */
#include "counter.h"

#include <errno.h>
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BATCH 5000u /* in a cell, before its CPU's thread is kicked */

/* The lowest bit of a cell says that its CPU counts; the count is above it. */
#define OPEN 1u
#define ONE 2u

struct cell {
	alignas(128) atomic_uint_least64_t word; /* two cache lines: processors fetch them in pairs */
};

static struct cell *cells;
static size_t cell_count;
static size_t setsize;
static cpu_set_t *there; /* for counter_agrees() */
static int step;
static bool forgetful;

/* Guards the pot, and the moves from a cell to it: a sum sees what is moved once. Whoever adds to a cell needs it not. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t pot;
static struct counter_moves moves;

/* ---- a CPU comes and goes --------------------------------------------------------------------------------------- */

/* PREPARE: before anything of ours runs on the CPU, and after the last of it has left. */
static int cpu_comes(unsigned int cpu, void *arg)
{
	(void)arg;
	atomic_store_explicit(&cells[cpu].word, OPEN, memory_order_release);
	return 0;
}

static int cpu_goes(unsigned int cpu, void *arg)
{
	uint64_t word;

	(void)arg;
	pthread_mutex_lock(&lock);
	word = atomic_exchange_explicit(&cells[cpu].word, 0, memory_order_acq_rel); /* closed, and ours, at once */
	if (!forgetful)
		pot += word / ONE;
	moves.handovers++;
	pthread_mutex_unlock(&lock);
	return 0;
}

/* ---- the CPU's thread ------------------------------------------------------------------------------------------- */

static bool is_full(unsigned int cpu, void *arg)
{
	(void)arg;
	return atomic_load_explicit(&cells[cpu].word, memory_order_relaxed) / ONE >= BATCH;
}

static void fold(unsigned int cpu, void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	pot += atomic_fetch_and_explicit(&cells[cpu].word, OPEN, memory_order_acq_rel) / ONE;
	moves.folds++;
	pthread_mutex_unlock(&lock);
}

static struct kthread_percpu folders = KTHREAD_PERCPU_INIT;

/* ---- use -------------------------------------------------------------------------------------------------------- */

bool counter_add(unsigned int cpu)
{
	uint64_t word = 0;

	if (cpu < cell_count)
		word = atomic_load_explicit(&cells[cpu].word, memory_order_relaxed);
	while (word & OPEN) {
		/* release: what was done before the addition is seen by who finds it in a sum */
		if (!atomic_compare_exchange_weak_explicit(&cells[cpu].word, &word, word + ONE, memory_order_release,
		                                           memory_order_relaxed))
			continue;
		if ((word / ONE + 1) % BATCH == 0)
			kthread_percpu_kick(&folders, cpu);
		return true;
	}
	pthread_mutex_lock(&lock);
	pot++;
	pthread_mutex_unlock(&lock);
	return false;
}

/* Also in the midst of a transition: with the lock each count is in the pot, or in a cell that is open. */
uint64_t counter_sum(void)
{
	uint64_t sum;

	pthread_mutex_lock(&lock);
	sum = pot;
	for (size_t cpu = 0; cpu < cell_count; cpu++)
		sum += atomic_load_explicit(&cells[cpu].word, memory_order_acquire) / ONE;
	pthread_mutex_unlock(&lock);
	return sum;
}

/* With the read lock no CPU comes or goes. */
bool counter_agrees(void)
{
	bool agrees = true;

	if (!kthread_cpus_read_trylock())
		return true;
	kthread_cpuhp_cpus(step, setsize, there);
	for (unsigned int cpu = 0; cpu < cell_count; cpu++) {
		if (CPU_ISSET_S(cpu, setsize, there))
			agrees &= atomic_load(&cells[cpu].word) & OPEN;
		else
			agrees &= atomic_load(&cells[cpu].word) == 0;
	}
	kthread_cpus_read_unlock();
	return agrees;
}

struct counter_moves counter_moves(void)
{
	struct counter_moves copy;

	pthread_mutex_lock(&lock);
	copy = moves;
	pthread_mutex_unlock(&lock);
	return copy;
}

/* ---- start and end ---------------------------------------------------------------------------------------------- */

static void free_cells(void)
{
	free(cells);
	free(there);
	cells = NULL;
	there = NULL;
	cell_count = 0;
}

static int make_cells(void)
{
	setsize = kthread_setsize();
	cell_count = setsize * 8;
	cells = aligned_alloc(alignof(struct cell), cell_count * sizeof(*cells));
	there = calloc(1, setsize);
	if (!cells || !there || setsize == 0) {
		free_cells();
		return -ENOMEM;
	}
	for (size_t cpu = 0; cpu < cell_count; cpu++)
		atomic_init(&cells[cpu].word, 0);
	return 0;
}

int counter_start(bool forget)
{
	int error = make_cells();

	if (error)
		return error;
	forgetful = forget;
	step = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "counter", cpu_comes, cpu_goes, NULL);
	if (step < 0) {
		free_cells();
		return step;
	}
	folders.name = "fold/%u";
	folders.should_run = is_full;
	folders.run = fold;
	error = kthread_percpu_register(&folders);
	if (error) {
		kthread_cpuhp_remove(step);
		free_cells();
	}
	return error;
}

void counter_stop(void)
{
	kthread_percpu_unregister(&folders);
	kthread_cpuhp_remove(step); /* every CPU hands over: all is in the pot */
	free_cells();
}
