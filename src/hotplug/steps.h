/* SPDX-License-Identifier: MIT */
/*
 * The steps of CPU hotplug: their order, which of them are up on which CPU, and what is called when a CPU comes or goes
 * and when something fails. No thread, no look at the machine; the callers take turns. The lock is only for who looks on.
 *
 * A step has instances: one, made of its arg, or, if it is a multi step, any number. The rule that everything here keeps:
 * teardown is called for an instance and a CPU only if it is up there, startup only if it is not.
 */
#ifndef KT_HOTPLUG_STEPS_H
#define KT_HOTPLUG_STEPS_H

#include <kthread/hotplug.h>
#include <pthread.h>
#include <sys/queue.h>

/* Before the public sections: what a CPU's threads need to exist. */
#define KT_CPUHP_CREATE (-1)

struct kt_instance {
	LIST_ENTRY(kt_instance) link;
	void *address;
	uint64_t pass; /* the last one that called it with success */
	cpu_set_t *up; /* the CPUs it is up on; setsize bytes */
};

struct kt_step {
	TAILQ_ENTRY(kt_step) link;
	int number;
	int section;
	bool multi;
	kthread_cpuhp_fn startup;
	kthread_cpuhp_fn teardown;
	LIST_HEAD(, kt_instance) instances; /* newest first, the order in which they are called */
	int64_t failures;                   /* those that could stop nothing */
	char name[];
};

TAILQ_HEAD(kt_step_list, kt_step);

struct kt_steps {
	pthread_mutex_t lock;     /* guards the changes of what follows; not held during a call */
	struct kt_step_list list; /* ascending */
	int last_number;
	uint64_t pass;
	bool going_back; /* set by who takes back a down: a startup that fails now can stop nothing */
	size_t setsize;
	/* Run job(arg) on the CPU, for the ONLINE section, and return its result. */
	int (*on_cpu)(unsigned int cpu, int (*job)(void *arg), void *arg);
};

void kt_steps_init(struct kt_steps *steps, size_t setsize,
                   int (*on_cpu)(unsigned int cpu, int (*job)(void *arg), void *arg));
/* All of them, without a call. */
void kt_steps_forget(struct kt_steps *steps);

/* A new step, without an instance. NULL and errno: EINVAL (section, name), EBUSY (the name), ENOMEM. */
struct kt_step *kt_steps_add(struct kt_steps *steps, int section, const char *name, bool multi,
                             kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown);
struct kt_step *kt_steps_find(const struct kt_steps *steps, int number);
/* Without a call, with all its instances. */
void kt_steps_drop(struct kt_steps *steps, struct kt_step *step);

/*
 * A new instance: its startup is called (`calls`) for each CPU of cpus, ascending. A failure undoes what was done, and the
 * instance is gone. 0, -EEXIST, -ENOMEM, or the failure.
 */
int kt_instance_add(struct kt_steps *steps, struct kt_step *step, void *address, const cpu_set_t *cpus, bool calls);
struct kt_instance *kt_instance_find(const struct kt_step *step, const void *address);
/* Its teardown is called (`calls`) wherever it is up, ascending, and it is gone. 0 or the first failure. */
int kt_instance_remove(struct kt_steps *steps, struct kt_step *step, struct kt_instance *instance, bool calls);

/* Set to the CPUs it is up on, with all its instances; without one those of `all`. With the lock held. */
void kt_step_cpus(const struct kt_steps *steps, const struct kt_step *step, const cpu_set_t *all, cpu_set_t *set);

/*
 * The steps of one section for one CPU: up ascending, down descending. A failure undoes what this call did and is
 * returned; with `forced` (down) it is counted instead, and the rest is done nevertheless.
 */
int kt_steps_up(struct kt_steps *steps, int section, unsigned int cpu);
int kt_steps_down(struct kt_steps *steps, int section, unsigned int cpu, bool forced);

#endif
