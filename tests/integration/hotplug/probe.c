/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char trace[65536];
static size_t length;
static atomic_int inside;

static void note(const struct probe *probe, char what, unsigned int cpu)
{
	pthread_mutex_lock(&lock);
	if (length + 32 < sizeof(trace)) /* a storm does not look at it */
		length += (size_t)sprintf(trace + length, "%s%s%c%u", length ? " " : "", probe->tag, what, cpu);
	pthread_mutex_unlock(&lock);
}

const char *probe_trace(void)
{
	static char last[sizeof(trace)];

	pthread_mutex_lock(&lock);
	strcpy(last, trace);
	trace[0] = '\0';
	length = 0;
	pthread_mutex_unlock(&lock);
	return last;
}

static int called(struct probe *probe, char what, unsigned int cpu)
{
	const unsigned int bit = 1u << cpu;
	const bool fails = (what == '+' ? atomic_load(&probe->fail_up) : atomic_load(&probe->fail_down)) & bit;

	CHECK(atomic_fetch_add(&inside, 1) == 0);
	if (!(atomic_fetch_and(&probe->torn, ~bit) & bit))
		CHECK(!(atomic_load(&probe->on) & bit) == (what == '+'));
	note(probe, what, cpu);
	atomic_store(&probe->tid, gettid());
	if (!fails)
		atomic_fetch_add(what == '+' ? &probe->ups : &probe->downs, 1);
	if (probe->hook)
		probe->hook(probe, what, cpu);
	if (fails && what == '-')
		atomic_fetch_or(&probe->torn, bit);
	if (!fails && what == '+')
		atomic_fetch_or(&probe->on, bit);
	else if (!fails || what == '+') /* where a teardown had failed, it was not up nevertheless */
		atomic_fetch_and(&probe->on, ~bit);
	atomic_fetch_sub(&inside, 1);
	if (!fails)
		return 0;
	return probe->error ? probe->error : -EIO;
}

int probe_up(unsigned int cpu, void *probe)
{
	return called(probe, '+', cpu);
}

int probe_down(unsigned int cpu, void *probe)
{
	return called(probe, '-', cpu);
}

int probe_setup(struct probe *probe, int section)
{
	return probe->step = kthread_cpuhp_setup(section, probe->tag, probe_up, probe_down, probe);
}

unsigned int probe_cpus(int step)
{
	unsigned int bits = 0;
	cpu_set_t set;

	CHECK(kthread_cpuhp_cpus(step, sizeof(set), &set) == 0);
	for (unsigned int cpu = 0; cpu < 32; cpu++)
		bits |= (unsigned int)CPU_ISSET(cpu, &set) << cpu;
	return bits;
}

void probe_online(unsigned int cpus)
{
	sim_online(cpus);
	assert_int_equal(kthread_rescan(), 0);
}
