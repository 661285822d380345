/* SPDX-License-Identifier: MIT */
#include "hotplug/steps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/trace.h"
#include "machine/cpumask.h"

/* ---- the list --------------------------------------------------------------------------------------------------- */

void kt_steps_init(struct kt_steps *steps, size_t setsize,
                   int (*on_cpu)(unsigned int cpu, int (*job)(void *arg), void *arg))
{
	*steps = (struct kt_steps){.lock = PTHREAD_MUTEX_INITIALIZER, .setsize = setsize, .on_cpu = on_cpu};
	TAILQ_INIT(&steps->list);
}

void kt_steps_forget(struct kt_steps *steps)
{
	struct kt_step *step;

	while ((step = TAILQ_FIRST(&steps->list)))
		kt_steps_drop(steps, step);
}

struct kt_step *kt_steps_find(const struct kt_steps *steps, int number)
{
	struct kt_step *step;

	TAILQ_FOREACH(step, &steps->list, link) {
		if (step->number == number)
			break;
	}
	return step;
}

/* The library's own steps have names for the log only. */
static bool name_is_taken(const struct kt_steps *steps, int section, const char *name)
{
	const struct kt_step *step;

	TAILQ_FOREACH(step, &steps->list, link) {
		if (strcmp(step->name, name) == 0 && (step->section == KT_CPUHP_CREATE) == (section == KT_CPUHP_CREATE))
			return true;
	}
	return false;
}

static void insert(struct kt_steps *steps, struct kt_step *step)
{
	struct kt_step *before = TAILQ_LAST(&steps->list, kt_step_list);

	while (before && before->section > step->section)
		before = TAILQ_PREV(before, kt_step_list, link);
	kt_lock(&steps->lock);
	if (before)
		TAILQ_INSERT_AFTER(&steps->list, before, step, link);
	else
		TAILQ_INSERT_HEAD(&steps->list, step, link);
	kt_unlock(&steps->lock);
}

struct kt_step *kt_steps_add(struct kt_steps *steps, int section, const char *name, bool multi,
                             kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown)
{
	struct kt_step *step;

	errno = EINVAL;
	if (!name || !name[0] || section < KT_CPUHP_CREATE || section > KTHREAD_CPUHP_ONLINE)
		return NULL;
	errno = EBUSY;
	if (name_is_taken(steps, section, name))
		return NULL;
	step = calloc(1, sizeof(*step) + strlen(name) + 1);
	if (!step)
		return NULL;
	step->number = ++steps->last_number;
	step->section = section;
	step->multi = multi;
	step->startup = startup;
	step->teardown = teardown;
	LIST_INIT(&step->instances);
	strcpy(step->name, name);
	insert(steps, step);
	return step;
}

void kt_steps_drop(struct kt_steps *steps, struct kt_step *step)
{
	struct kt_instance *instance;

	kt_lock(&steps->lock);
	TAILQ_REMOVE(&steps->list, step, link);
	kt_unlock(&steps->lock);
	while ((instance = LIST_FIRST(&step->instances))) {
		LIST_REMOVE(instance, link);
		free(instance);
	}
	free(step);
}

/* ---- one call --------------------------------------------------------------------------------------------------- */

static bool is_up(const struct kt_steps *steps, const struct kt_instance *instance, unsigned int cpu)
{
	return kt_cpus_test(steps->setsize, instance->up, cpu);
}

static void set_up(struct kt_steps *steps, struct kt_instance *instance, unsigned int cpu, bool up)
{
	kt_lock(&steps->lock);
	if (up)
		kt_cpus_add(steps->setsize, instance->up, cpu);
	else
		kt_cpus_remove(steps->setsize, instance->up, cpu);
	kt_unlock(&steps->lock);
}

static void tell(const struct kt_step *step, unsigned int cpu, const char *what, int result)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;

	kt_trace_text(&event, "name", step->name);
	kt_trace_number(&event, "cpu", cpu);
	kt_trace_text(&event, "call", what);
	kt_trace_number(&event, "result", result);
	kt_trace("step", &event);
}

/* NULL is a success. A positive answer would read as the number of a step. */
static int call(const struct kt_step *step, kthread_cpuhp_fn fn, const char *what, unsigned int cpu, void *address)
{
	int error;

	if (!fn)
		return 0;
	KT_PROBE3(step_begin, &step->name[0], cpu, what);
	error = fn(cpu, address);
	if (error > 0)
		error = -error;
	KT_PROBE4(step_end, &step->name[0], cpu, what, error);
	if (kt_trace_is_on())
		tell(step, cpu, what, error);
	return error;
}

static int start(struct kt_steps *steps, const struct kt_step *step, struct kt_instance *instance, unsigned int cpu)
{
	int error;

	if (is_up(steps, instance, cpu))
		return 0;
	error = call(step, step->startup, "startup", cpu, instance->address);
	if (!error) {
		set_up(steps, instance, cpu, true);
		instance->pass = steps->pass;
	}
	return error;
}

static int tear_down(struct kt_steps *steps, const struct kt_step *step, struct kt_instance *instance, unsigned int cpu)
{
	int error;

	if (!is_up(steps, instance, cpu))
		return 0;
	error = call(step, step->teardown, "teardown", cpu, instance->address);
	if (!error) {
		set_up(steps, instance, cpu, false);
		instance->pass = steps->pass;
	}
	return error;
}

#define GOING_BACK "startup while going back"

static void note_failure(struct kt_steps *steps, struct kt_step *step, unsigned int cpu, const char *what, int error)
{
	kt_lock(&steps->lock);
	step->failures++;
	kt_unlock(&steps->lock);
	kt_log(STEP_FAILED, "CPU %u: step \"%s\": %s failed: %s", cpu, step->name, what, strerror(-error));
}

/* Whatever it answers, it is not up afterwards. */
static int tear_down_anyway(struct kt_steps *steps, struct kt_step *step, struct kt_instance *instance,
                            unsigned int cpu)
{
	const int error = tear_down(steps, step, instance, cpu);

	if (error) {
		note_failure(steps, step, cpu, "teardown", error);
		set_up(steps, instance, cpu, false);
	}
	return error;
}

static void start_again(struct kt_steps *steps, struct kt_step *step, struct kt_instance *instance, unsigned int cpu)
{
	const int error = start(steps, step, instance, cpu);

	if (error)
		note_failure(steps, step, cpu, GOING_BACK, error);
}

/* ---- on the CPU ------------------------------------------------------------------------------------------------- */

struct job {
	struct kt_steps *steps;
	struct kt_step *step;
	struct kt_instance *instance;
	unsigned int cpu;
	int section;
	bool forced;
};

/* Where such a section's functions have to run. */
static int run(int (*fn)(void *arg), struct job *job)
{
	if (job->section != KTHREAD_CPUHP_ONLINE)
		return fn(job);
	return job->steps->on_cpu(job->cpu, fn, job);
}

/* ---- instances -------------------------------------------------------------------------------------------------- */

static int start_job(void *arg)
{
	const struct job *job = arg;

	return start(job->steps, job->step, job->instance, job->cpu);
}

static int tear_down_job(void *arg)
{
	const struct job *job = arg;

	return tear_down_anyway(job->steps, job->step, job->instance, job->cpu);
}

/* Wherever it is up, ascending. 0 or the first failure. */
static int tear_down_everywhere(struct kt_steps *steps, struct kt_step *step, struct kt_instance *instance)
{
	struct job job = {.steps = steps, .step = step, .instance = instance, .section = step->section};
	int first = 0;

	for (int cpu = kt_cpus_next(steps->setsize, instance->up, 0); cpu >= 0;
	     cpu = kt_cpus_next(steps->setsize, instance->up, (unsigned int)cpu + 1)) {
		int error;

		job.cpu = (unsigned int)cpu;
		error = step->teardown ? run(tear_down_job, &job) : 0;
		first = first ? first : error;
	}
	return first;
}

struct kt_instance *kt_instance_find(const struct kt_step *step, const void *address)
{
	struct kt_instance *instance;

	LIST_FOREACH(instance, &step->instances, link) {
		if (instance->address == address)
			break;
	}
	return instance;
}

int kt_instance_add(struct kt_steps *steps, struct kt_step *step, void *address, const cpu_set_t *cpus, bool calls)
{
	struct job job = {.steps = steps, .step = step, .section = step->section};
	struct kt_instance *instance;
	int error = 0;

	if (kt_instance_find(step, address))
		return -EEXIST;
	instance = calloc(1, sizeof(*instance) + steps->setsize);
	if (!instance)
		return -ENOMEM;
	instance->address = address;
	instance->up = (cpu_set_t *)(void *)(instance + 1);
	job.instance = instance;
	if (!calls || !step->startup)
		kt_cpus_copy(steps->setsize, instance->up, cpus);
	for (int cpu = kt_cpus_next(steps->setsize, cpus, 0); cpu >= 0 && !error;
	     cpu = kt_cpus_next(steps->setsize, cpus, (unsigned int)cpu + 1)) {
		job.cpu = (unsigned int)cpu;
		error = is_up(steps, instance, job.cpu) ? 0 : run(start_job, &job);
	}
	if (error) {
		tear_down_everywhere(steps, step, instance);
		free(instance);
		return error;
	}
	kt_lock(&steps->lock);
	LIST_INSERT_HEAD(&step->instances, instance, link);
	kt_unlock(&steps->lock);
	return 0;
}

int kt_instance_remove(struct kt_steps *steps, struct kt_step *step, struct kt_instance *instance, bool calls)
{
	const int error = calls ? tear_down_everywhere(steps, step, instance) : 0;

	kt_lock(&steps->lock);
	LIST_REMOVE(instance, link);
	kt_unlock(&steps->lock);
	free(instance);
	return error;
}

void kt_step_cpus(const struct kt_steps *steps, const struct kt_step *step, const cpu_set_t *all, cpu_set_t *set)
{
	const struct kt_instance *instance = LIST_FIRST(&step->instances);

	kt_cpus_copy(steps->setsize, set, instance ? instance->up : all);
	for (; instance; instance = LIST_NEXT(instance, link))
		kt_cpus_and(steps->setsize, set, set, instance->up);
}

/* ---- a CPU comes ------------------------------------------------------------------------------------------------ */

/* Undo what this pass has started in the step, newest first. */
static void undo_started(struct kt_steps *steps, struct kt_step *step, unsigned int cpu)
{
	struct kt_instance *instance;

	LIST_FOREACH(instance, &step->instances, link) {
		if (instance->pass == steps->pass)
			tear_down_anyway(steps, step, instance, cpu);
	}
}

static int up_job(void *arg)
{
	const struct job *job = arg;
	struct kt_steps *steps = job->steps;
	struct kt_instance *instance;
	struct kt_step *step;
	int error = 0;

	TAILQ_FOREACH(step, &steps->list, link) {
		if (step->section != job->section)
			continue;
		LIST_FOREACH(instance, &step->instances, link) {
			error = start(steps, step, instance, job->cpu);
			if (error)
				break;
		}
		if (error)
			break;
	}
	if (error && steps->going_back)
		note_failure(steps, step, job->cpu, GOING_BACK, error);
	for (; error && step && step->section == job->section; step = TAILQ_PREV(step, kt_step_list, link))
		undo_started(steps, step, job->cpu);
	return error;
}

/* ---- a CPU goes ------------------------------------------------------------------------------------------------- */

static void undo_torn_down(struct kt_steps *steps, struct kt_step *step, unsigned int cpu)
{
	struct kt_instance *instance;

	LIST_FOREACH(instance, &step->instances, link) {
		if (instance->pass == steps->pass)
			start_again(steps, step, instance, cpu);
	}
}

static int down_job(void *arg)
{
	const struct job *job = arg;
	struct kt_steps *steps = job->steps;
	struct kt_instance *instance;
	struct kt_step *step;
	int error = 0;

	TAILQ_FOREACH_REVERSE(step, &steps->list, kt_step_list, link)
	{
		if (step->section != job->section)
			continue;
		LIST_FOREACH(instance, &step->instances, link) {
			if (job->forced)
				tear_down_anyway(steps, step, instance, job->cpu);
			else
				error = tear_down(steps, step, instance, job->cpu);
			if (error)
				break;
		}
		if (error)
			break;
	}
	for (; error && step && step->section == job->section; step = TAILQ_NEXT(step, link))
		undo_torn_down(steps, step, job->cpu);
	return error;
}

/* ---- a section -------------------------------------------------------------------------------------------------- */

static bool has_section(const struct kt_steps *steps, int section)
{
	const struct kt_step *step;

	TAILQ_FOREACH(step, &steps->list, link) {
		if (step->section == section)
			return true;
	}
	return false;
}

static int pass(struct kt_steps *steps, int section, unsigned int cpu, int (*fn)(void *arg), bool forced)
{
	struct job job = {.steps = steps, .cpu = cpu, .section = section, .forced = forced};

	steps->pass++;
	return has_section(steps, section) ? run(fn, &job) : 0;
}

int kt_steps_up(struct kt_steps *steps, int section, unsigned int cpu)
{
	return pass(steps, section, cpu, up_job, false);
}

int kt_steps_down(struct kt_steps *steps, int section, unsigned int cpu, bool forced)
{
	return pass(steps, section, cpu, down_job, forced);
}
