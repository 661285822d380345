/* SPDX-License-Identifier: MIT */
/*
 * One thread per CPU. Its place is the per-CPU flag's: placement parks it when the CPU goes and rebinds it before it
 * resumes. What is left to do here is the order of the callbacks, and that nothing of theirs runs elsewhere.
 *
 * A registered description is an instance of one step, so that threads are made for CPUs that come, before any step of
 * the application's sees those.
 */
#include <errno.h>
#include <kthread/percpu.h>
#include <kthread/placement.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/options.h"
#include "hotplug/cpuhp.h"
#include "hotplug/transition.h"
#include "machine/cpumask.h"
#include "percpu/percpu.h"

/* How far a thread has come with its callbacks. Its own. */
enum stage {
	NEW,    /* nothing called yet */
	ACTIVE, /* setup, or unpark, has been called */
	PARKED  /* park has been called */
};

struct slot {
	struct kthread *_Atomic thread; /* NULL until the CPU is usable for the first time */
	struct kthread_percpu_state *state;
	unsigned int cpu;
	enum stage stage;
	atomic_bool kicked;
};

struct kthread_percpu_state {
	struct kthread_percpu desc; /* the caller's, as this version knows it */
	unsigned int life;
	bool begun; /* all or nothing: none begins before all have been made */
	size_t count;
	struct slot slots[];
};

/* The step, while any description is registered. Only in transitions. */
static int step;
static size_t registered;
static unsigned int life; /* of the library: what was registered in another one is not in the list of steps */

/* ---- the thread ------------------------------------------------------------------------------------------------- */

static void park(struct slot *slot)
{
	const struct kthread_percpu *desc = &slot->state->desc;

	if (slot->stage == ACTIVE && desc->park) {
		desc->park(slot->cpu, desc->arg);
		slot->stage = PARKED;
	}
	kthread_parkme();
}

/* True if that was a turn of its own: stop and park are looked at again before the first should_run. */
static bool become_active(struct slot *slot)
{
	const struct kthread_percpu *desc = &slot->state->desc;
	const enum stage before = slot->stage;

	slot->stage = ACTIVE;
	if (before == NEW && desc->setup)
		desc->setup(slot->cpu, desc->arg);
	else if (before == PARKED && desc->unpark)
		desc->unpark(slot->cpu, desc->arg);
	return before != ACTIVE;
}

static void work_or_wait(struct slot *slot)
{
	const struct kthread_percpu *desc = &slot->state->desc;

	/* acquire: pairs with kthread_percpu_kick() */
	atomic_exchange_explicit(&slot->kicked, false, memory_order_acq_rel);
	if (desc->should_run(slot->cpu, desc->arg)) {
		if (kt_thread_on_cpu(slot->cpu)) /* should_run may have taken its time */
			desc->run(slot->cpu, desc->arg);
	} else if (desc->park) {
		kthread_wait(); /* it has to call park itself */
	} else {
		kthread_wait_parkable();
	}
}

static int percpu_fn(void *data)
{
	struct slot *slot = data;
	const struct kthread_percpu *desc = &slot->state->desc;
	struct kthread *self = kthread_self();

	while (!kthread_should_stop()) {
		if (kthread_self() != self)
			return 0; /* a callback has forked, and this is the child */
		if (kthread_should_park())
			park(slot);
		else if (!kt_thread_on_cpu(slot->cpu))
			kt_thread_leave_foreign_cpu(self, slot->cpu);
		else if (!become_active(slot))
			work_or_wait(slot);
	}
	if (slot->stage != NEW && desc->cleanup)
		desc->cleanup(slot->cpu, kt_thread_on_cpu(slot->cpu) && kt_view_has(KT_USABLE, slot->cpu), desc->arg);
	return 0;
}

/* ---- threads come and go ---------------------------------------------------------------------------------------- */

static int make_thread(struct slot *slot)
{
	const struct kthread_percpu *desc = &slot->state->desc;
	struct kthread *k = kthread_create_on_cpu(percpu_fn, slot, slot->cpu, desc->name);
	int error;

	if (!k)
		return -errno;
	error = kthread_set_per_cpu(k, (int)slot->cpu);
	if (!error && desc->selfparking)
		error = kthread_park(k);
	if (!error && desc->create)
		error = desc->create(slot->cpu, desc->arg);
	if (error) {
		kthread_stop(k);
		return error > 0 ? -error : error;
	}
	atomic_store_explicit(&slot->thread, k, memory_order_release); /* pairs with who kicks or asks for it */
	return 0;
}

/* The startup of the step: a CPU is usable for the first time, or again. */
static int cpu_comes(unsigned int cpu, void *instance)
{
	struct kthread_percpu_state *state = instance;
	struct slot *slot = &state->slots[cpu];
	int error;

	if (atomic_load_explicit(&slot->thread, memory_order_relaxed))
		return 0; /* it has waited for it */
	error = make_thread(slot);
	/* Before the CPU may be used, and while others may fail yet: it begins when placement lets it. */
	if (!error && state->begun)
		kthread_wake(atomic_load_explicit(&slot->thread, memory_order_relaxed));
	return error;
}

/* All are asked before one is waited for, which may itself be waiting for another; and no handle goes before all have
 * ended: one may be kicking another. */
static void stop_threads(struct kthread_percpu_state *state)
{
	for (size_t cpu = 0; cpu < state->count; cpu++) {
		struct kthread *k = atomic_load_explicit(&state->slots[cpu].thread, memory_order_acquire);

		if (kt_handle_alive(k) == 0)
			kt_thread_ask_to_stop(k);
	}
	for (size_t cpu = 0; cpu < state->count; cpu++)
		kthread_stop(kthread_get(atomic_load_explicit(&state->slots[cpu].thread, memory_order_relaxed)));
	for (size_t cpu = 0; cpu < state->count; cpu++)
		kthread_put(atomic_exchange_explicit(&state->slots[cpu].thread, NULL, memory_order_relaxed));
}

/* ---- registration ----------------------------------------------------------------------------------------------- */

static struct kthread_percpu_state *state_new(const struct kthread_percpu *desc)
{
	struct kt_view *view = kt_view_get();
	const size_t count = view->setsize * CHAR_BIT;
	struct kthread_percpu_state *state = calloc(1, sizeof(*state) + count * sizeof(state->slots[0]));

	kt_view_put(view);
	if (!state)
		return NULL;
	state->desc = *desc;
	state->life = life;
	state->count = count;
	for (size_t cpu = 0; cpu < count; cpu++) {
		state->slots[cpu].state = state;
		state->slots[cpu].cpu = (unsigned int)cpu;
	}
	return state;
}

static void drop_step_if_unused(void)
{
	if (registered == 0)
		kt_cpuhp_remove_cpuslocked(step, false);
}

static int register_in_transition(struct kthread_percpu_state *state, struct kthread_percpu *given)
{
	int error = 0;

	if (registered == 0) {
		step = kt_cpuhp_setup_multi_cpuslocked(KT_CPUHP_CREATE, "per-CPU threads", cpu_comes, NULL);
		error = step < 0 ? step : 0;
	}
	if (error)
		return error;
	error = kt_cpuhp_add_instance_cpuslocked(step, state, true);
	if (error) {
		stop_threads(state);
		drop_step_if_unused();
		return error;
	}
	registered++;
	state->begun = true;
	given->state = state; /* before any of them runs, and may kick another */
	for (size_t cpu = 0; cpu < state->count; cpu++) {
		struct kthread *k = atomic_load_explicit(&state->slots[cpu].thread, memory_order_relaxed);

		if (k)
			kthread_wake(k);
	}
	return 0;
}

int kthread_percpu_register(struct kthread_percpu *given)
{
	struct kthread_percpu desc = KTHREAD_PERCPU_INIT;
	struct kthread_percpu_state *state;
	int error = given ? kt_options_read(&desc, sizeof(desc), sizeof(desc), given) : -EINVAL;

	if (!error && (!desc.name || !desc.should_run || !desc.run))
		error = -EINVAL;
	if (!error && desc.state)
		error = -EBUSY;
	if (!error)
		error = kt_hotplug_begin();
	if (error)
		return error;
	state = state_new(&desc);
	error = state ? register_in_transition(state, given) : -ENOMEM;
	kt_hotplug_end();
	if (error)
		free(state);
	return error;
}

/* Its threads end before it does, so one of them cannot ask for that. */
static bool is_one_of_its_threads(const struct kthread_percpu_state *state)
{
	const struct kthread *self = kthread_self();

	return self && self->fn == percpu_fn && ((const struct slot *)self->data)->state == state;
}

void kthread_percpu_unregister(struct kthread_percpu *desc)
{
	struct kthread_percpu_state *state = desc ? desc->state : NULL;
	bool here; /* a forked child, and the library's next life, have the memory and nothing else */

	if (!state)
		return;
	here = state->life == life;
	if (here && (is_one_of_its_threads(state) || kt_hotplug_begin() != 0)) {
		kt_log(PERCPU_STAYS, "%s: cannot be unregistered from here: it stays", state->desc.name);
		return;
	}
	if (here) {
		kt_cpuhp_remove_instance_cpuslocked(step, state, false);
		registered--;
		drop_step_if_unused();
	}
	stop_threads(state);
	desc->state = NULL; /* they may use it until they end */
	if (here)
		kt_hotplug_end();
	free(state);
}

/* ---- use -------------------------------------------------------------------------------------------------------- */

static struct slot *slot_of(const struct kthread_percpu *desc, unsigned int cpu)
{
	struct kthread_percpu_state *state = desc ? desc->state : NULL;

	return state && cpu < state->count ? &state->slots[cpu] : NULL;
}

bool kthread_percpu_kick(struct kthread_percpu *desc, unsigned int cpu)
{
	struct slot *slot = slot_of(desc, cpu);
	struct kthread *k = slot ? atomic_load_explicit(&slot->thread, memory_order_acquire) : NULL;

	/* acq_rel: what we did before is seen by the thread that clears it, also if another's kick is what wakes it */
	if (!k || kt_handle_alive(k) != 0 || atomic_exchange_explicit(&slot->kicked, true, memory_order_acq_rel))
		return false;
	kthread_wake(k);
	return true;
}

struct kthread *kthread_percpu_thread(struct kthread_percpu *desc, unsigned int cpu)
{
	const struct slot *slot = slot_of(desc, cpu);
	struct kthread *k = slot ? atomic_load_explicit(&slot->thread, memory_order_acquire) : NULL;

	if (kt_library_forked()) {
		errno = ECHILD;
		return NULL;
	}
	if (k)
		return k;
	errno = EINVAL;
	if (slot && kt_view_has(KT_POSSIBLE, cpu))
		errno = ENOENT;
	return NULL;
}

/* ---- the library's life ----------------------------------------------------------------------------------------- */

static void forget(void)
{
	registered = 0;
	life++;
}

const struct kt_room kt_percpu_room = {
    .name = "percpu",
    .stop = forget,
    .fork_child = forget,
};
