/* SPDX-License-Identifier: MIT */
/*
 * A CPU comes (bring_up) and goes (take_down). Each step knows where it is up, so the way back from a failure at any
 * point is just the other of the two: it does what is left to do.
 *
 * `up` is what this room lets the view use. As long as no step is registered nobody has to be asked about a CPU that comes
 * back, so those that go stay in it; from the first step on they leave it when they are seen to be gone, and come in by
 * bring_up() only.
 */
#include "hotplug/transition.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "hotplug/cpuhp_thread.h"
#include "machine/cpumask.h"
#include "machine/sysfs.h"
#include "thread/standstill.h"

static struct {
	struct kt_steps steps;
	size_t setsize;
	cpu_set_t *up;                  /* changes under the lock of the steps: kthread_cpuhp_cpus() */
	cpu_set_t *given_up[KT_GIVERS]; /* as `up` */
	cpu_set_t *failed;              /* a startup failed; until they go, or somebody asks for them */
	cpu_set_t *there;               /* online and allowed, by the last look */
	cpu_set_t *work;
	bool unsettled; /* by an admission, since the last look */
	int asked_for;  /* the CPU that somebody gives up or takes back; -1 = none: what happens has been seen */
} hotplug = {.steps = {.lock = PTHREAD_MUTEX_INITIALIZER}, .asked_for = -1};

struct kt_steps *kt_hotplug_steps(void)
{
	return &hotplug.steps;
}

bool kt_hotplug_is_internal(int number)
{
	const struct kt_step *step = kt_steps_find(&hotplug.steps, number);

	return step && step->section < KTHREAD_CPUHP_PREPARE;
}

const cpu_set_t *kt_hotplug_up(void)
{
	return hotplug.up;
}

bool kt_hotplug_given_up(unsigned int cpu, enum kt_giver giver)
{
	return kt_cpus_test(hotplug.setsize, hotplug.given_up[giver], cpu);
}

/* Under the lock: kt_hotplug_offlined() may be looking. */
static void set_given_up(unsigned int cpu, enum kt_giver giver, bool given)
{
	kt_lock(&hotplug.steps.lock);
	if (given)
		kt_cpus_add(hotplug.setsize, hotplug.given_up[giver], cpu);
	else
		kt_cpus_remove(hotplug.setsize, hotplug.given_up[giver], cpu);
	kt_unlock(&hotplug.steps.lock);
}

void kt_hotplug_offlined(cpu_set_t *set)
{
	kt_lock(&hotplug.steps.lock);
	kt_cpus_or(hotplug.setsize, set, hotplug.given_up[KT_BY_CALL], hotplug.given_up[KT_BY_PLAN]);
	kt_unlock(&hotplug.steps.lock);
}

static bool given_up(unsigned int cpu)
{
	return kt_hotplug_given_up(cpu, KT_BY_CALL) || kt_hotplug_given_up(cpu, KT_BY_PLAN);
}

static bool any_step(void)
{
	return !TAILQ_EMPTY(&hotplug.steps.list);
}

/* ---- one CPU ---------------------------------------------------------------------------------------------------- */

/* cpu: the one that changes; -1 = none that is usable. */
static int admit(int cpu)
{
	const bool cooperative = cpu >= 0 && cpu == hotplug.asked_for;
	bool settled = true;
	const int error = kt_placement_admit(hotplug.up, cooperative, &settled);

	hotplug.unsettled |= error || !settled;
	return error;
}

/* Under the lock: kthread_cpuhp_cpus() may be looking. */
static int let_in(unsigned int cpu)
{
	kt_lock(&hotplug.steps.lock);
	kt_cpus_add(hotplug.setsize, hotplug.up, cpu);
	kt_unlock(&hotplug.steps.lock);
	return admit((int)cpu);
}

static int shut_out(unsigned int cpu)
{
	kt_lock(&hotplug.steps.lock);
	kt_cpus_remove(hotplug.setsize, hotplug.up, cpu);
	kt_unlock(&hotplug.steps.lock);
	return admit((int)cpu);
}

int kt_hotplug_confine(void)
{
	kt_lock(&hotplug.steps.lock);
	kt_cpus_and(hotplug.setsize, hotplug.up, hotplug.up, hotplug.there);
	kt_unlock(&hotplug.steps.lock);
	return admit(-1); /* or one that comes would be in the view before its steps have heard of it */
}

/* Whatever is still up goes down; nothing can stop it. */
static void take_down_anyway(unsigned int cpu)
{
	kt_steps_down(&hotplug.steps, KTHREAD_CPUHP_ONLINE, cpu, true);
	if (kt_view_has(KT_USABLE, cpu))
		kt_place_vacate(cpu, kt_deadline(KT_PATIENCE_NS));
	shut_out(cpu); /* for want of memory the next look does it */
	kt_place_vacated();
	kt_steps_down(&hotplug.steps, KTHREAD_CPUHP_PREPARE, cpu, true);
	kt_steps_down(&hotplug.steps, KT_CPUHP_CREATE, cpu, true);
}

static int bring_up(unsigned int cpu)
{
	int error = kt_steps_up(&hotplug.steps, KT_CPUHP_CREATE, cpu);

	if (!error)
		error = kt_steps_up(&hotplug.steps, KTHREAD_CPUHP_PREPARE, cpu);
	if (!error)
		error = let_in(cpu);
	if (!error)
		error = kt_steps_up(&hotplug.steps, KTHREAD_CPUHP_ONLINE, cpu);
	if (error)
		take_down_anyway(cpu);
	return error;
}

static int write_online(unsigned int cpu, bool online)
{
	const bool pretending = kt_config()->simulate && !kt_config()->root[0]; /* on this very machine */
	const int error = pretending ? -EPERM : kt_sysfs_write_online(cpu, online);

	if (error)
		kt_log(SYSFS_REFUSED, "CPU %u: cannot be set %s: %s", cpu, online ? "online" : "offline",
		       strerror(-error));
	return error;
}

/* Cooperatively. */
static int take_down(unsigned int cpu, unsigned int flags, uint64_t deadline)
{
	int error = kt_place_may_vacate(cpu);
	int back;

	if (!error)
		error = kt_steps_down(&hotplug.steps, KTHREAD_CPUHP_ONLINE, cpu, false);
	if (error)
		return error;
	kt_place_vacate(cpu, deadline);
	error = shut_out(cpu);
	kt_place_vacated();
	if (!error)
		error = kt_place_has_left(cpu);
	if (!error)
		error = kt_steps_down(&hotplug.steps, KTHREAD_CPUHP_PREPARE, cpu, false);
	if (!error)
		error = kt_steps_down(&hotplug.steps, KT_CPUHP_CREATE, cpu, false);
	if (!error && flags & KTHREAD_CPU_PHYSICAL)
		error = write_online(cpu, false);
	if (!error)
		return 0;
	hotplug.steps.going_back = true;
	back = bring_up(cpu);
	hotplug.steps.going_back = false;
	if (back) {
		kt_log(NO_WAY_BACK, "CPU %u: going back failed: %s; it is not used", cpu, strerror(-back));
		kt_cpus_add(hotplug.setsize, hotplug.failed, cpu);
	}
	return error;
}

/* ---- what the machine asks for ---------------------------------------------------------------------------------- */

/* A CPU that was given up is better than none. */
static void never_unusable(void)
{
	bool any = false;

	if (kt_cpus_intersect(hotplug.setsize, hotplug.up, hotplug.there))
		return;
	kt_lock(&hotplug.steps.lock);
	for (int i = 0; i < KT_GIVERS; i++) {
		any |= kt_cpus_intersect(hotplug.setsize, hotplug.given_up[i], hotplug.there);
		kt_cpus_andnot(hotplug.setsize, hotplug.given_up[i], hotplug.given_up[i], hotplug.there);
	}
	kt_unlock(&hotplug.steps.lock);
	if (any)
		kt_log(GIVEN_UP_USED, "every other CPU has gone: those that were given up are used again");
}

static void follow_gone(void)
{
	cpu_set_t *gone = hotplug.work;

	kt_cpus_andnot(hotplug.setsize, gone, hotplug.up, hotplug.there);
	for (int cpu = kt_cpus_next(hotplug.setsize, gone, 0); cpu >= 0;
	     cpu = kt_cpus_next(hotplug.setsize, gone, (unsigned int)cpu + 1))
		take_down_anyway((unsigned int)cpu);
}

static void follow_come(void)
{
	cpu_set_t *come = hotplug.work;

	kt_cpus_andnot(hotplug.setsize, come, hotplug.there, hotplug.up);
	kt_cpus_andnot(hotplug.setsize, come, come, hotplug.failed);
	for (int cpu = kt_cpus_next(hotplug.setsize, come, 0); cpu >= 0;
	     cpu = kt_cpus_next(hotplug.setsize, come, (unsigned int)cpu + 1)) {
		int error;

		if (given_up((unsigned int)cpu))
			continue;
		error = bring_up((unsigned int)cpu);
		if (error) {
			kt_log(CPU_NOT_USED, "CPU %d has come, but a step fails: %s; it is not used", cpu,
			       strerror(-error));
			kt_cpus_add(hotplug.setsize, hotplug.failed, (unsigned int)cpu);
		}
	}
}

/* Nobody has to be asked when they come. */
static void forget_gone(void)
{
	kt_cpus_complement(hotplug.setsize, hotplug.work, hotplug.there);
	for (int i = 0; i < KT_GIVERS; i++)
		kt_cpus_andnot(hotplug.setsize, hotplug.work, hotplug.work, hotplug.given_up[i]);
	if (kt_cpus_subset(hotplug.setsize, hotplug.work, hotplug.up))
		return;
	kt_lock(&hotplug.steps.lock);
	kt_cpus_or(hotplug.setsize, hotplug.up, hotplug.up, hotplug.work);
	kt_unlock(&hotplug.steps.lock);
	admit(-1);
}

static void read_there(void)
{
	struct kt_view *view = kt_view_get();

	kt_cpus_and(view->setsize, hotplug.there, view->set[KT_ONLINE], view->set[KT_ALLOWED]);
	kt_view_put(view);
}

static void follow(void)
{
	read_there();
	kt_cpus_and(hotplug.setsize, hotplug.failed, hotplug.failed, hotplug.there);
	if (any_step())
		follow_gone();
	never_unusable();
	follow_come();
	if (!any_step())
		forget_gone();
}

int kt_hotplug_look(enum kt_doubt doubt, const cpu_set_t *touched, bool *ret_settled)
{
	const int error = kt_placement_look(doubt, touched, ret_settled);

	hotplug.unsettled = false;
	follow();
	*ret_settled &= !hotplug.unsettled;
	return error;
}

int kt_hotplug_begin(void)
{
	int error = kt_library_watch();
	bool settled;

	if (!error)
		error = kt_transition_begin(KT_NEVER);
	if (!error)
		kt_hotplug_look(KT_DOUBT_NONE, NULL, &settled); /* for want of memory: with the view we have */
	return error;
}

void kt_hotplug_end(void)
{
	kt_transition_end();
}

/* ---- what somebody asks for ------------------------------------------------------------------------------------- */

/* Would nothing be left, of the usable CPUs or of the housekeepers among them? */
static bool is_last(unsigned int cpu)
{
	struct kt_view *view = kt_view_get();
	bool last;

	kt_cpus_copy(view->setsize, hotplug.work, view->set[KT_USABLE]);
	kt_cpus_remove(view->setsize, hotplug.work, cpu);
	last = kt_cpus_empty(view->setsize, hotplug.work) ||
	       (kt_cpus_test(view->setsize, view->set[KT_HOUSEKEEPING], cpu) &&
	        !kt_cpus_intersect(view->setsize, hotplug.work, view->set[KT_HOUSEKEEPING]));
	kt_view_put(view);
	return last;
}

int kt_hotplug_give_up(unsigned int cpu, enum kt_giver giver, unsigned int flags, uint64_t deadline)
{
	int error;

	hotplug.asked_for = (int)cpu;
	if (kt_view_has(KT_USABLE, cpu)) {
		error = is_last(cpu) ? -EBUSY : take_down(cpu, flags, deadline);
	} else {
		error = flags & KTHREAD_CPU_PHYSICAL && kt_view_has(KT_ONLINE, cpu) ? write_online(cpu, false) : 0;
		if (!error)
			shut_out(cpu); /* not when it comes, either */
	}
	hotplug.asked_for = -1;
	if (!error)
		set_given_up(cpu, giver, true);
	return error;
}

/* This one first, whose failure is the caller's; then all others that have come meanwhile. */
static int look_for(unsigned int cpu)
{
	bool settled;
	int error;

	kt_placement_look(KT_DOUBT_NONE, NULL, &settled);
	read_there();
	if (kt_cpus_test(hotplug.setsize, hotplug.up, cpu) || given_up(cpu) ||
	    !kt_cpus_test(hotplug.setsize, hotplug.there, cpu)) {
		follow();
		return 0;
	}
	hotplug.asked_for = (int)cpu;
	error = bring_up(cpu);
	hotplug.asked_for = -1;
	if (error) /* not tried again by follow() */
		kt_cpus_add(hotplug.setsize, hotplug.failed, cpu);
	follow();
	return error;
}

int kt_hotplug_take_back(unsigned int cpu, enum kt_giver giver, unsigned int flags)
{
	const bool had = kt_hotplug_given_up(cpu, giver);
	const bool had_failed = kt_cpus_test(hotplug.setsize, hotplug.failed, cpu);
	const bool physical = flags & KTHREAD_CPU_PHYSICAL && !kt_view_has(KT_ONLINE, cpu);
	int error = physical ? write_online(cpu, true) : 0;

	if (error)
		return error;
	set_given_up(cpu, giver, false);
	kt_cpus_remove(hotplug.setsize, hotplug.failed, cpu);
	error = look_for(cpu);
	if (!error)
		return 0;
	/* A plan does not ask again: as with any CPU that has come, and a step fails. */
	if (had && giver == KT_BY_CALL) {
		set_given_up(cpu, giver, true);
		if (!had_failed)
			kt_cpus_remove(hotplug.setsize, hotplug.failed, cpu);
	}
	if (physical)
		write_online(cpu, false);
	return error;
}

/* ---- the library's life ----------------------------------------------------------------------------------------- */

static void free_sets(void)
{
	free(hotplug.up); /* the first one of a block */
	hotplug.up = NULL;
}

int kt_transition_start(void)
{
	enum { UP, FAILED, THERE, WORK, GIVEN_UP, SETS = GIVEN_UP + KT_GIVERS };
	struct kt_view *view = kt_view_get();
	const size_t setsize = view->setsize;
	char *sets = calloc(SETS, setsize);

	kt_view_put(view);
	if (!sets)
		return -ENOMEM;
	hotplug.setsize = setsize;
	hotplug.asked_for = -1; /* a forked child may find another: of a callback that has forked */
	hotplug.up = (cpu_set_t *)(void *)sets;
	hotplug.failed = (cpu_set_t *)(void *)(sets + FAILED * setsize);
	hotplug.there = (cpu_set_t *)(void *)(sets + THERE * setsize);
	hotplug.work = (cpu_set_t *)(void *)(sets + WORK * setsize);
	for (int i = 0; i < KT_GIVERS; i++)
		hotplug.given_up[i] = (cpu_set_t *)(void *)(sets + (size_t)(GIVEN_UP + i) * setsize);
	kt_cpus_complement(setsize, hotplug.up, hotplug.up); /* every one */
	kt_steps_init(&hotplug.steps, setsize, kt_cpuhp_thread_run);
	return 0;
}

void kt_transition_stop(void)
{
	kt_cpuhp_thread_stop();
	kt_steps_forget(&hotplug.steps);
	free_sets();
}

void kt_transition_fork_prepare(void)
{
	kt_lock(&hotplug.steps.lock);
}

void kt_transition_fork_parent(void)
{
	kt_unlock(&hotplug.steps.lock);
}

void kt_transition_fork_child(void)
{
	kt_unlock(&hotplug.steps.lock);
	kt_cpuhp_thread_forked();
	if (hotplug.up) {
		kt_steps_forget(&hotplug.steps);
		free_sets();
	}
}
