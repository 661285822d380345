/* SPDX-License-Identifier: MIT */
/*
 * A bound thread asks whether it is where it should be: it may have been moved, and nobody been told yet.
 */
#include <errno.h>
#include <sched.h>

#include "machine/cpumask.h"
#include "placement/placement.h"
#include "thread/standstill.h"
#include "thread/thread.h"

#define LOOK_WAIT_NS (10 * KT_NS_PER_MS)

/* Bound, and on none of its CPUs? Under the lock: a bind that began while k was created may end when it runs already. */
static bool runs_elsewhere(struct kthread *k, bool *ret_bound)
{
	const int cpu = sched_getcpu();
	const struct kt_group *group;
	bool elsewhere;

	kt_lock(&kt_placement_lock);
	group = k->place->group;
	*ret_bound = group->wish.mask && group->wish.kind != KTHREAD_WISH_PREFERRED;
	elsewhere = *ret_bound && cpu >= 0 && !kt_cpus_test(group->setsize, group->wish.mask, (unsigned int)cpu);
	kt_unlock(&kt_placement_lock);
	return elsewhere;
}

static int last_error(struct kt_place *place)
{
	int error;

	kt_lock(&place->lock);
	error = place->last_error;
	kt_unlock(&place->lock);
	return error;
}

/*
 * What the kernel forbids, it most likely forbids again: then look more and more rarely, as the monitor does, not at
 * each turn. Otherwise a thread that is elsewhere has been moved just now, or (EINVAL) its CPU is on its way: always
 * worth a look.
 */
static bool may_look(struct kt_place *place)
{
	const uint64_t now = kt_now();
	const int error = last_error(place);

	if (!error || error == EINVAL || kt_word(&place->thread->word) & W_PLACE_SELF)
		place->look_wait_ns = 0;
	else if (now < place->look_at)
		return false;
	if (place->look_wait_ns == 0)
		place->look_wait_ns = LOOK_WAIT_NS;
	else if (place->look_wait_ns < KT_NS_PER_S)
		place->look_wait_ns *= 2;
	place->look_at = now + place->look_wait_ns;
	return true;
}

bool kt_place_is_out_of_place(struct kthread *k)
{
	bool settled;
	bool bound;
	bool elsewhere;
	int error;

	if (kt_word(&k->word) & W_PLACE_SELF) /* a thread that never waits gets no nearer to the library than this */
		kt_hooks->place_self(k);
	elsewhere = runs_elsewhere(k, &bound);
	if (!bound)
		return false;
	if (kt_word(&k->word) & W_BROKEN)
		return true;
	if (kt_config()->simulate || !elsewhere || !may_look(k->place))
		return false;
	/* The kernel has moved us, and nobody has been told yet. */
	if (kt_standstill_held())
		return false;
	if (kt_transition_try() != 0)
		return true; /* somebody looks, or keeps the library from it: ask again */
	error = kt_placement_look(KT_DOUBT_CPUSET, NULL, &settled);
	kt_transition_end();
	if (error || kt_word(&k->word) & W_BROKEN)
		return !error;
	/* The kernel has the CPU not yet, or not any more, and does not say so: neither do we go on elsewhere. */
	return last_error(k->place) == EINVAL && runs_elsewhere(k, &bound);
}
