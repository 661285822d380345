/* SPDX-License-Identifier: MIT */
/*
 * From what was seen last (look.h) to the sets the library decides by, and their publication.
 */
#include "machine/view.h"

#include <errno.h>
#include <kthread/placement.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/library.h"
#include "base/log.h"
#include "base/probe.h"
#include "base/trace.h"
#include "machine/cpulist.h"
#include "machine/cpumask.h"
#include "machine/cpuset.h"
#include "machine/look.h"
#include "machine/scan.h"
#include "machine/topology.h"

static pthread_mutex_t scan = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t publish = PTHREAD_MUTEX_INITIALIZER;

/* Guarded by `publish`: readers get their reference under it, so that the last put cannot come in between. */
static struct kt_view *current;
static atomic_uint_fast64_t current_number; /* release; pairs with kt_view_number() */

/* Guarded by `scan`. */
static struct {
	struct kt_view *next; /* what the next view is worked out in: a look that finds nothing new allocates nothing */
	cpu_set_t *asked;     /* housekeeping set at run time, or NULL */
	cpu_set_t *configured;
	cpu_set_t *admitted;           /* by hotplug; NULL = every CPU */
	bool said_void, said_unusable; /* told of in the log */
} state;

void kt_scan_lock(void)
{
	kt_lock(&scan);
}

void kt_scan_unlock(void)
{
	kt_unlock(&scan);
}

/* ---- references ------------------------------------------------------------------------------------------------ */

static struct kt_view *view_new(size_t setsize)
{
	struct kt_view *view = calloc(1, sizeof(*view) + KT_SETS * setsize);

	if (!view)
		return NULL;
	atomic_init(&view->refs, 1);
	view->setsize = setsize;
	for (int i = 0; i < KT_SETS; i++)
		view->set[i] = (cpu_set_t *)(void *)((char *)(view + 1) + (size_t)i * setsize);
	return view;
}

struct kt_view *kt_view_get(void)
{
	struct kt_view *view;

	kt_lock(&publish);
	view = current;
	atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed); /* the lock orders it before any last put */
	kt_unlock(&publish);
	return view;
}

void kt_view_put(struct kt_view *view)
{
	/* Release: my reads of the view come before; acquire: all others' come before the free. */
	if (view && atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) == 1)
		free(view);
}

uint64_t kt_view_number(void)
{
	return atomic_load_explicit(&current_number, memory_order_acquire);
}

bool kt_view_has(enum kt_set set, unsigned int cpu)
{
	struct kt_view *view = kt_view_get();
	const bool has = kt_cpus_test(view->setsize, view->set[set], cpu);

	kt_view_put(view);
	return has;
}

/* Takes over the caller's reference; NULL: there is no view any more. */
static void view_publish(struct kt_view *view)
{
	struct kt_view *old;

	kt_lock(&publish);
	old = current;
	current = view;
	atomic_store_explicit(&current_number, view ? view->generation : 0, memory_order_release);
	kt_unlock(&publish);
	kt_view_put(old);
}

/* ---- derivation ------------------------------------------------------------------------------------------------ */

/*
 * What the cpuset gives: of the online CPUs the ones the kernel lets us run on, of the offline ones those that are
 * configured, as we shall get them when they come.
 */
static void derive_cpuset(const struct kt_look *look, cpu_set_t *allowed, cpu_set_t *work)
{
	const cpu_set_t *online = look->set[KT_SEEN_ONLINE];

	kt_cpus_andnot(look->setsize, allowed, look->set[KT_SEEN_GRANTED], online);
	kt_cpus_and(look->setsize, work, look->set[KT_SEEN_EFFECTIVE], online);
	kt_cpus_or(look->setsize, allowed, allowed, work);
}

/* The start mask cuts unless nothing would be left, as in the kernel: a task's mask outside its cpuset is void. */
static void cut_by_start(const struct kt_look *look, cpu_set_t *allowed, cpu_set_t *work)
{
	bool is_void = false;

	if (look->start_cuts) {
		kt_cpus_and(look->setsize, work, allowed, look->set[KT_SEEN_START]);
		is_void = !kt_cpus_intersect(look->setsize, work, look->set[KT_SEEN_ONLINE]);
		if (!is_void)
			kt_cpus_copy(look->setsize, allowed, work);
	}
	if (is_void && !state.said_void)
		kt_log(START_MASK_VOID,
		       "no CPU of the mask this process was started with is usable: ignored until one is");
	state.said_void = is_void;
}

/*
 * A task always runs somewhere, so an answer without an online CPU is a misreading (a file cut short between two of
 * ours, a cpuset that just changed). Then believe less of it: the configuration alone, else the machine alone.
 */
static void never_unusable(const struct kt_look *look, cpu_set_t *allowed)
{
	const cpu_set_t *online = look->set[KT_SEEN_ONLINE];
	const bool unusable = !kt_cpus_intersect(look->setsize, allowed, online);

	if (unusable) {
		const bool granted = kt_cpus_intersect(look->setsize, look->set[KT_SEEN_GRANTED], online);

		kt_cpus_copy(look->setsize, allowed, look->set[granted ? KT_SEEN_GRANTED : KT_SEEN_POSSIBLE]);
	}
	if (unusable && !state.said_unusable)
		kt_log(CPUSET_EMPTY, "the cpuset as read has no online CPU: taking what is %s",
		       kt_cpus_equal(look->setsize, allowed, look->set[KT_SEEN_POSSIBLE]) ? "possible" : "configured");
	state.said_unusable = unusable;
}

static void derive_housekeeping(const struct kt_look *look, const cpu_set_t *asked, struct kt_view *view)
{
	cpu_set_t *housekeeping = view->set[KT_HOUSEKEEPING];

	if (asked) {
		kt_cpus_copy(view->setsize, housekeeping, asked);
	} else {
		kt_cpus_andnot(view->setsize, housekeeping, look->set[KT_SEEN_POSSIBLE], view->set[KT_ISOLATED]);
		kt_cpus_andnot(view->setsize, housekeeping, housekeeping, look->set[KT_SEEN_NOHZ_FULL]);
	}
	kt_cpus_and(view->setsize, housekeeping, housekeeping, view->set[KT_ALLOWED]);
}

/* asked: the housekeeping mask, NULL to derive it. */
static void derive(const struct kt_look *look, const cpu_set_t *asked, struct kt_view *view)
{
	const size_t setsize = view->setsize;
	cpu_set_t *work = view->set[KT_USABLE]; /* written last */

	view->confined = look->confined;
	view->quota = look->quota;
	kt_cpus_copy(setsize, view->set[KT_POSSIBLE], look->set[KT_SEEN_POSSIBLE]);
	kt_cpus_copy(setsize, view->set[KT_PRESENT], look->set[KT_SEEN_PRESENT]);
	kt_cpus_copy(setsize, view->set[KT_ONLINE], look->set[KT_SEEN_ONLINE]);
	kt_cpus_or(setsize, view->set[KT_ISOLATED], look->set[KT_SEEN_ISOLATED], look->set[KT_SEEN_PARTITIONS]);
	derive_cpuset(look, view->set[KT_ALLOWED], work);
	cut_by_start(look, view->set[KT_ALLOWED], work);
	never_unusable(look, view->set[KT_ALLOWED]);
	derive_housekeeping(look, asked, view);
	kt_cpus_and(setsize, view->set[KT_USABLE], view->set[KT_ALLOWED], view->set[KT_ONLINE]);
	/* While the last admitted CPU is gone, and hotplug has not taken others back yet, there has to be one. */
	if (state.admitted && kt_cpus_intersect(setsize, view->set[KT_USABLE], state.admitted))
		kt_cpus_and(setsize, view->set[KT_USABLE], view->set[KT_USABLE], state.admitted);
}

static bool views_differ(const struct kt_view *a, const struct kt_view *b)
{
	/* The sets of a view are one block. */
	return a->confined != b->confined || a->quota != b->quota ||
	       memcmp(a->set[0], b->set[0], KT_SETS * a->setsize) != 0;
}

void kt_view_sources(struct kt_view_sources *ret)
{
	const struct kt_look *look;

	kt_lock(&scan);
	look = kt_look_last();
	ret->possible = look->source[KT_SEEN_POSSIBLE];
	ret->present = look->source[KT_SEEN_PRESENT];
	ret->online = look->source[KT_SEEN_ONLINE];
	ret->isolated = look->source[KT_SEEN_ISOLATED];
	kt_cpuset_source(ret->cpuset, ret->partitions);
	if (kt_cpus_empty(look->setsize, look->set[KT_SEEN_PARTITIONS]))
		ret->partitions[0] = '\0';
	ret->start_mask = look->start_cuts && !state.said_void;
	ret->housekeeping = state.asked ? "set" : state.configured ? "configured" : "derived";
	kt_unlock(&scan);
}

/* ---- telling --------------------------------------------------------------------------------------------------- */

static void tell_set(struct kt_trace_event *event, const char *key, const struct kt_view *view, enum kt_set set)
{
	char list[KT_TRACE_LIST];

	kt_trace_text(event, key,
	              kthread_cpulist_format(view->setsize, view->set[set], list, sizeof(list)) < 0 ? NULL : list);
}

static void tell_cpu(const struct kt_view *view, unsigned int cpu, bool cooperative)
{
	const bool usable = kt_cpus_test(view->setsize, view->set[KT_USABLE], cpu);
	struct kt_trace_event event = KT_TRACE_EMPTY;

	KT_PROBE3(cpu, cpu, usable, cooperative);
	if (!kt_trace_is_on())
		return;
	kt_trace_number(&event, "cpu", cpu);
	kt_trace_bool(&event, "usable", usable);
	kt_trace_text(&event, "cause", cooperative ? "cooperative" : "observed");
	kt_trace("cpu", &event);
}

/* Each CPU whose usability differs, then the view as a whole. Before it is published: before anything follows from it. */
static void tell(const struct kt_view *former, const struct kt_view *view, bool cooperative)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;

	for (unsigned int cpu = 0; cpu < view->setsize * CHAR_BIT; cpu++) {
		if (kt_cpus_test(view->setsize, view->set[KT_USABLE], cpu) !=
		    kt_cpus_test(view->setsize, former->set[KT_USABLE], cpu))
			tell_cpu(view, cpu, cooperative);
	}
	if (!kt_trace_is_on())
		return;
	kt_trace_number(&event, "generation", (int64_t)view->generation);
	tell_set(&event, "online", view, KT_ONLINE);
	tell_set(&event, "usable", view, KT_USABLE);
	tell_set(&event, "housekeeping", view, KT_HOUSEKEEPING);
	kt_trace("view", &event);
}

/* ---- renewal --------------------------------------------------------------------------------------------------- */

/* Publish what the last look gives, if it is new. Needs a spare view to work in the next time: -ENOMEM without. */
static int renew_locked(const cpu_set_t *asked, bool cooperative, bool *ret_changed)
{
	struct kt_view *spare;

	derive(kt_look_last(), asked, state.next);
	*ret_changed = views_differ(current, state.next); /* only we, under `scan`, write `current` */
	if (!*ret_changed)
		return 0;
	spare = view_new(current->setsize);
	if (!spare)
		return -ENOMEM;
	state.next->generation = current->generation + 1;
	tell(current, state.next, cooperative);
	view_publish(state.next);
	state.next = spare;
	return 0;
}

static const cpu_set_t *housekeeping_in_force(void)
{
	return state.asked ? state.asked : state.configured;
}

static int look_and_renew(bool briefly, bool *ret_changed)
{
	bool changed;
	int error;

	kt_lock(&scan);
	if (!briefly || !kt_look_briefly())
		kt_look_again();
	error = renew_locked(housekeeping_in_force(), false, &changed);
	kt_unlock(&scan);
	if (!error)
		*ret_changed = changed;
	return error;
}

int kt_view_renew(bool *ret_changed)
{
	return look_and_renew(false, ret_changed);
}

int kt_view_renew_briefly(bool *ret_changed)
{
	return look_and_renew(true, ret_changed);
}

int kt_view_renew_admitted(const cpu_set_t *admitted, bool cooperative, bool *ret_changed)
{
	bool changed;
	int error = 0;

	kt_lock(&scan);
	if (!state.admitted)
		state.admitted = malloc(current->setsize);
	if (!state.admitted)
		error = -ENOMEM;
	else
		kt_cpus_copy(current->setsize, state.admitted, admitted);
	if (!error)
		error = renew_locked(housekeeping_in_force(), cooperative, &changed);
	kt_unlock(&scan);
	if (!error)
		*ret_changed = changed;
	return error;
}

/* A possible set of at least one usable CPU, as judged by the last look. */
static bool good_housekeeping(const cpu_set_t *set)
{
	const struct kt_look *look = kt_look_last();

	if (!kt_cpus_subset(look->setsize, set, look->set[KT_SEEN_POSSIBLE]))
		return false;
	derive(look, set, state.next);
	return kt_cpus_intersect(look->setsize, set, state.next->set[KT_USABLE]);
}

/* The caller's set in our size, in memory of its own. -EINVAL if it has a CPU that does not fit. */
static int copy_set(size_t setsize, const cpu_set_t *set, cpu_set_t **ret)
{
	const size_t ours = kt_look_last()->setsize;
	cpu_set_t *copy;

	for (size_t i = ours; i < setsize; i++) {
		if (((const unsigned char *)set)[i])
			return -EINVAL;
	}
	copy = calloc(1, ours);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, set, setsize < ours ? setsize : ours);
	*ret = copy;
	return 0;
}

int kt_view_renew_housekeeping(size_t setsize, const cpu_set_t *set, bool *ret_changed)
{
	cpu_set_t *asked = NULL;
	bool changed;
	int error;

	kt_lock(&scan);
	error = set ? copy_set(setsize, set, &asked) : 0;
	if (asked && !good_housekeeping(asked))
		error = -EINVAL;
	if (!error)
		error = renew_locked(asked ? asked : state.configured, false, &changed);
	if (!error) {
		free(state.asked);
		state.asked = asked;
		*ret_changed = changed;
	} else {
		free(asked);
	}
	kt_unlock(&scan);
	return error;
}

/* ---- start and stop -------------------------------------------------------------------------------------------- */

static int configure_housekeeping(const char *list)
{
	const struct kt_look *look = kt_look_last();
	const int last = kt_cpus_last(look->setsize, look->set[KT_SEEN_POSSIBLE]); /* what N means */
	int error;

	state.configured = calloc(1, look->setsize);
	if (!state.configured)
		return -ENOMEM;
	error = kt_cpulist_parse(list, (size_t)last + 1, look->setsize, state.configured);
	if (error) {
		kt_log(HOUSEKEEPING_SYNTAX, "housekeeping: \"%.200s\": %s", list, kt_cpulist_strerror(error));
		return -EINVAL;
	}
	if (!good_housekeeping(state.configured)) {
		char usable[128];

		kthread_cpulist_format(look->setsize, state.next->set[KT_USABLE], usable, sizeof(usable));
		if (!kt_cpus_subset(look->setsize, state.configured, look->set[KT_SEEN_POSSIBLE]))
			kt_log(HOUSEKEEPING_IMPOSSIBLE, "housekeeping: \"%.200s\": it names a CPU that is not possible",
			       list);
		else
			kt_log(HOUSEKEEPING_UNUSABLE, "housekeeping: \"%.200s\": none of these CPUs is usable; %s are",
			       list, usable);
		return -EINVAL;
	}
	return 0;
}

static void clean_up(void)
{
	view_publish(NULL);
	free(state.next);
	free(state.asked);
	free(state.configured);
	free(state.admitted);
	memset(&state, 0, sizeof(state));
	kt_topology_forget();
	kt_look_stop();
}

static int start_locked(void)
{
	const char *list = kt_config()->housekeeping;
	struct kt_view *first;
	int error = kt_look_start();

	if (error)
		return error;
	state.next = view_new(kt_look_last()->setsize);
	first = view_new(kt_look_last()->setsize);
	error = state.next && first ? 0 : -ENOMEM;
	if (!error && list)
		error = configure_housekeeping(list);
	if (error) {
		free(first);
		clean_up();
		return error;
	}
	derive(kt_look_last(), state.configured, first);
	first->generation = 1;
	view_publish(first);
	return 0;
}

int kt_machine_start(void)
{
	int error;

	kt_lock(&scan);
	error = start_locked();
	kt_unlock(&scan);
	return error;
}

void kt_machine_stop(void)
{
	kt_lock(&scan);
	clean_up();
	kt_unlock(&scan);
}

/* ---- fork ------------------------------------------------------------------------------------------------------ */

static void fork_prepare(void)
{
	kt_lock(&scan);
	kt_topology_lock();
	kt_lock(&publish);
}

static void fork_parent(void)
{
	kt_unlock(&publish);
	kt_topology_unlock();
	kt_unlock(&scan);
}

/* References of threads that are not here any more keep their view for ever: a few hundred bytes in a child that does
 * not exec. */
static void fork_child(void)
{
	kt_unlock(&publish);
	kt_topology_unlock();
	clean_up();
	kt_unlock(&scan);
}

const struct kt_room kt_machine_room = {
    .name = "machine",
    .start = kt_machine_start,
    .stop = kt_machine_stop,
    .fork_await = kt_topology_await_reading,
    .fork_prepare = fork_prepare,
    .fork_parent = fork_parent,
    .fork_child = fork_child,
};
