/* SPDX-License-Identifier: MIT */
/*
 * The public calls about steps and CPUs.
 */
#include "hotplug/cpuhp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hotplug/cpuhp_thread.h"
#include "hotplug/transition.h"
#include "machine/cpumask.h"
#include "thread/freezer.h"

/* ---- steps ------------------------------------------------------------------------------------------------------ */

static struct kt_step *add_step(int section, const char *name, bool multi, kthread_cpuhp_fn startup,
                                kthread_cpuhp_fn teardown)
{
	int error = section == KTHREAD_CPUHP_ONLINE ? kt_cpuhp_thread_start() : 0;

	if (!error)
		error = kt_hotplug_confine();
	if (error) {
		errno = -error;
		return NULL;
	}
	return kt_steps_add(kt_hotplug_steps(), section, name, multi, startup, teardown);
}

static int setup(int section, const char *name, kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown, void *arg,
                 bool calls)
{
	struct kt_step *step;
	int error;

	if (section < KTHREAD_CPUHP_PREPARE)
		return -EINVAL;
	error = kt_hotplug_begin();
	if (error)
		return error;
	step = add_step(section, name, false, startup, teardown);
	error = step ? kt_instance_add(kt_hotplug_steps(), step, arg, kt_hotplug_up(), calls) : -errno;
	if (step && error)
		kt_steps_drop(kt_hotplug_steps(), step);
	else if (!error)
		error = step->number;
	kt_hotplug_end();
	return error;
}

int kthread_cpuhp_setup(int section, const char *name, kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown, void *arg)
{
	return setup(section, name, startup, teardown, arg, true);
}

int kthread_cpuhp_setup_nocalls(int section, const char *name, kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown,
                                void *arg)
{
	return setup(section, name, startup, teardown, arg, false);
}

int kt_cpuhp_remove_cpuslocked(int number, bool calls)
{
	struct kt_steps *steps = kt_hotplug_steps();
	struct kt_step *step = kt_steps_find(steps, number);
	int error = 0;

	if (!step)
		return -EINVAL;
	if (step->multi && !LIST_EMPTY(&step->instances))
		return -EBUSY;
	if (!step->multi)
		error = kt_instance_remove(steps, step, LIST_FIRST(&step->instances), calls);
	kt_steps_drop(steps, step);
	return error;
}

static int remove_step(int number, bool calls)
{
	int error = kt_hotplug_begin();

	if (error)
		return error;
	error = kt_hotplug_is_internal(number) ? -EINVAL : kt_cpuhp_remove_cpuslocked(number, calls);
	kt_hotplug_end();
	return error;
}

int kthread_cpuhp_remove(int step)
{
	return remove_step(step, true);
}

int kthread_cpuhp_remove_nocalls(int step)
{
	return remove_step(step, false);
}

/* ---- instances -------------------------------------------------------------------------------------------------- */

int kt_cpuhp_setup_multi_cpuslocked(int section, const char *name, kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown)
{
	const struct kt_step *step = add_step(section, name, true, startup, teardown);

	return step ? step->number : -errno;
}

int kthread_cpuhp_setup_multi(int section, const char *name, kthread_cpuhp_fn startup, kthread_cpuhp_fn teardown)
{
	int number;

	if (section < KTHREAD_CPUHP_PREPARE)
		return -EINVAL;
	number = kt_hotplug_begin();
	if (number)
		return number;
	number = kt_cpuhp_setup_multi_cpuslocked(section, name, startup, teardown);
	kt_hotplug_end();
	return number;
}

int kt_cpuhp_add_instance_cpuslocked(int number, void *address, bool calls)
{
	struct kt_step *step = kt_steps_find(kt_hotplug_steps(), number);

	if (!step || !step->multi || !address)
		return -EINVAL;
	return kt_instance_add(kt_hotplug_steps(), step, address, kt_hotplug_up(), calls);
}

int kt_cpuhp_remove_instance_cpuslocked(int number, void *address, bool calls)
{
	struct kt_step *step = kt_steps_find(kt_hotplug_steps(), number);
	struct kt_instance *instance;

	if (!step || !step->multi || !address)
		return -EINVAL;
	instance = kt_instance_find(step, address);
	return instance ? kt_instance_remove(kt_hotplug_steps(), step, instance, calls) : -ENOENT;
}

static int change_instance(int number, void *address, bool calls, int (*change)(int, void *, bool))
{
	int error = kt_hotplug_begin();

	if (error)
		return error;
	error = kt_hotplug_is_internal(number) ? -EINVAL : change(number, address, calls);
	kt_hotplug_end();
	return error;
}

int kthread_cpuhp_add_instance(int step, void *instance)
{
	return change_instance(step, instance, true, kt_cpuhp_add_instance_cpuslocked);
}

int kthread_cpuhp_add_instance_nocalls(int step, void *instance)
{
	return change_instance(step, instance, false, kt_cpuhp_add_instance_cpuslocked);
}

int kthread_cpuhp_remove_instance(int step, void *instance)
{
	return change_instance(step, instance, true, kt_cpuhp_remove_instance_cpuslocked);
}

int kthread_cpuhp_remove_instance_nocalls(int step, void *instance)
{
	return change_instance(step, instance, false, kt_cpuhp_remove_instance_cpuslocked);
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

/* One of the application's. With the lock. */
static const struct kt_step *find(int number)
{
	return kt_hotplug_is_internal(number) ? NULL : kt_steps_find(kt_hotplug_steps(), number);
}

int kthread_cpuhp_cpus(int number, size_t setsize, cpu_set_t *set)
{
	struct kt_steps *steps = kt_hotplug_steps();
	const struct kt_step *step;
	int error = kt_library_up();

	if (error)
		return error;
	kt_lock(&steps->lock);
	step = find(number);
	error = step && set && setsize >= steps->setsize ? 0 : -EINVAL;
	if (!error) {
		memset(set, 0, setsize);
		kt_step_cpus(steps, step, kt_hotplug_up(), set);
	}
	kt_unlock(&steps->lock);
	return error;
}

int64_t kthread_cpuhp_failures(int number)
{
	struct kt_steps *steps = kt_hotplug_steps();
	const struct kt_step *step;
	int64_t failures = kt_library_up();

	if (failures)
		return failures;
	kt_lock(&steps->lock);
	step = find(number);
	failures = step ? step->failures : -EINVAL;
	kt_unlock(&steps->lock);
	return failures;
}

static size_t count_instances(const struct kt_step *step)
{
	const struct kt_instance *instance;
	size_t count = 0;

	LIST_FOREACH(instance, &step->instances, link) {
		count++;
	}
	return count;
}

static int report(const struct kt_steps *steps, const struct kt_step *step, struct kt_step_report *ret)
{
	ret->name = strdup(step->name);
	if (!ret->name)
		return -ENOMEM;
	ret->number = step->number;
	ret->section = step->section;
	ret->multi = step->multi;
	ret->instances = count_instances(step);
	ret->failures = step->failures;
	kt_step_cpus(steps, step, kt_hotplug_up(), ret->up);
	return 0;
}

int kt_cpuhp_next_step(int section, int number, struct kt_step_report *ret)
{
	struct kt_steps *steps = kt_hotplug_steps();
	const struct kt_step *step;
	int error = -ENOENT;

	kt_lock(&steps->lock);
	/* ascending by section, in each by number */
	TAILQ_FOREACH(step, &steps->list, link) {
		if (step->section >= KTHREAD_CPUHP_PREPARE &&
		    (step->section > section || (step->section == section && step->number > number))) {
			error = report(steps, step, ret);
			break;
		}
	}
	kt_unlock(&steps->lock);
	return error;
}

/* ---- CPUs ------------------------------------------------------------------------------------------------------- */

static int checked(unsigned int cpu, unsigned int flags, int (*change)(unsigned int cpu, unsigned int flags))
{
	struct kt_view *view;
	bool settled;
	int error;

	if (flags & ~KTHREAD_CPU_PHYSICAL)
		return -EINVAL;
	error = kt_hotplug_begin();
	if (error)
		return error;
	view = kt_view_get();
	if (!kt_cpus_test(view->setsize, view->set[KT_POSSIBLE], cpu))
		error = -EINVAL;
	else /* a frozen thread would not park: no freeze begins before this transition has ended */
		error = kt_freezer_on() ? -EBUSY : change(cpu, flags);
	kt_view_put(view);
	if (flags & KTHREAD_CPU_PHYSICAL) /* our view says so, too, when we return: also of what was taken back */
		kt_hotplug_look(KT_DOUBT_NONE, NULL, &settled);
	kt_hotplug_end();
	return error;
}

static int give_up(unsigned int cpu, unsigned int flags)
{
	return kt_hotplug_give_up(cpu, KT_BY_CALL, flags, KT_NEVER);
}

static int take_back(unsigned int cpu, unsigned int flags)
{
	return kt_hotplug_take_back(cpu, KT_BY_CALL, flags);
}

int kthread_cpu_down(unsigned int cpu, unsigned int flags)
{
	return checked(cpu, flags, give_up);
}

int kthread_cpu_up(unsigned int cpu, unsigned int flags)
{
	return checked(cpu, flags, take_back);
}
