/* SPDX-License-Identifier: MIT */
/*
 * Foreign threads under the care of placement.
 *
 * A thread that adopts itself finds its handle by kthread_self(), so it holds it (the odd one of the reference count)
 * until it un-adopts itself or ends; a key destructor tells the latter. One that was adopted by its tid knows nothing.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/probe.h"
#include "base/trace.h"
#include "placement/placement.h"

pthread_mutex_t kt_adopt_lock = PTHREAD_MUTEX_INITIALIZER; /* two adoptions of one thread meet here */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t self_key;
static int key_error;

/* ---- the end of it ---------------------------------------------------------------------------------------------- */

/* The mask it came with; every CPU if none of that is usable now (the kernel cuts to our cpuset). tid 0: the caller's; a
 * sandbox may allow nothing else. */
static int give_back(const cpu_set_t *came_with, pid_t tid)
{
	struct kt_view *view = kt_view_get();
	const size_t setsize = view->setsize;
	cpu_set_t *every;
	int error = 0;

	kt_view_put(view);
	if (sched_setaffinity(tid, setsize, came_with) != 0)
		error = -errno;
	if (error == -EINVAL && (every = malloc(setsize))) {
		memset(every, 0xff, setsize);
		sched_setaffinity(tid, setsize, every);
		free(every);
	}
	return error;
}

static void tell_event(const char *name, const struct kthread *k)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;

	if (!kt_trace_is_on())
		return;
	kt_thread_event(&event, k);
	kt_trace(name, &event);
}

/* Take k out of the library's care. Any number of times; the first has the result. */
static int release(struct kthread *k, bool ended)
{
	const pid_t tid = (pid_t)atomic_load_explicit(&k->tid, memory_order_relaxed);
	const bool own = tid == gettid();
	cpu_set_t *came_with = NULL;
	uint64_t start;
	int error = -ESRCH;

	kt_lock(&kt_adopt_lock);
	if (k->place) {
		const int unknown = ended ? -ESRCH : kt_thread_start_time(tid, &start);

		if (unknown != -ESRCH && (unknown || start == k->place->thread_start))
			error = 0;
		came_with = k->place->came_with;
		k->place->came_with = NULL;
		/* Out of the group first: a look would take the mask that we give back for a lost one, and mend it. */
		kt_place_gone(k);
		kt_registry_remove(k); /* last: it counts for kthread_fini() until its group is left */
		kt_word_set(&k->word, W_EXITED);
		KT_PROBE2(thread_unadopt, tid, k->name);
		tell_event("thread_unadopt", k);
		if (!error && came_with && !own)
			error = give_back(came_with, tid);
	}
	kt_unlock(&kt_adopt_lock);
	if (!error && came_with && own) /* with no lock held: on its CPUs of before it may be starved */
		error = give_back(came_with, 0);
	free(came_with);
	return error;
}

void kt_adopted_released(struct kthread *k)
{
	release(k, false);
}

/* The thread's own hold on its handle. */
static void drop_self(struct kthread *k)
{
	kt_thread_set_self(NULL);
	if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
		kt_thread_free(k);
}

static void thread_ends(void *arg)
{
	struct kthread *k = arg;

	if (kt_handle(k) == 0)
		release(k, true);
	drop_self(k);
}

static void make_key(void)
{
	key_error = pthread_key_create(&self_key, thread_ends);
}

int kthread_unadopt(struct kthread *k)
{
	int error = kt_handle(k);

	if (error == -ECHILD)
		kthread_put(k);
	if (error)
		return error;
	if (k->kind != KT_ADOPTED)
		return -EINVAL;
	error = release(k, false);
	if (k->adopted_itself && pthread_getspecific(self_key) == k) {
		pthread_setspecific(self_key, NULL);
		drop_self(k);
	}
	kthread_put(k);
	return error;
}

/* ---- the beginning ---------------------------------------------------------------------------------------------- */

/* What it came with; simulated masks are never given to it, so nothing has to be given back. */
static int remember(struct kthread *k, pid_t tid)
{
	struct kt_place *place = k->place;
	size_t setsize = place->group->setsize;
	int error = kt_thread_start_time(tid, &place->thread_start);

	if (error || kt_config()->simulate) /* nothing is taken, so nothing to give back */
		return error;
	place->came_with = calloc(1, setsize);
	return place->came_with ? kt_actual_mask(tid, setsize, place->came_with) : -ENOMEM;
}

/* An adopted thread that ended unseen is listed until its handle is given up; its tid may be another thread's by now. */
static void release_ended(pid_t tid)
{
	struct kthread *k = NULL;

	while ((k = kt_registry_next(k))) {
		uint64_t start;
		bool ended;
		int error;

		if (k->kind != KT_ADOPTED || (pid_t)atomic_load_explicit(&k->tid, memory_order_relaxed) != tid)
			continue;
		kt_lock(&kt_adopt_lock);
		error = k->place ? kt_thread_start_time(tid, &start) : 0;
		ended = k->place && (error == -ESRCH || (!error && start != k->place->thread_start));
		kt_unlock(&kt_adopt_lock);
		if (ended)
			release(k, true);
	}
}

static int adopt_locked(struct kthread *k, pid_t tid)
{
	const struct kt_wish wish = {.kind = KTHREAD_WISH_NONE, .number = KTHREAD_NO_NODE};
	int error;

	if (kt_registry_has(tid))
		return -EALREADY;
	error = kt_place_new(k, &wish);
	if (error)
		return error;
	atomic_store_explicit(&k->tid, (unsigned int)tid, memory_order_relaxed);
	error = remember(k, tid);
	if (error) {
		kt_place_gone(k);
		return error;
	}
	kt_registry_add(k);
	KT_PROBE2(thread_adopt, tid, k->name);
	tell_event("thread_adopt", k);
	return 0;
}

static int become_self(struct kthread *k)
{
	struct kthread *former;
	int error;

	pthread_once(&once, make_key);
	if (key_error)
		return -key_error;
	former = pthread_getspecific(self_key); /* of an adoption that somebody else, or a fork, has ended */
	error = pthread_setspecific(self_key, k);
	if (error)
		return -error;
	if (former)
		drop_self(former);
	kt_thread_set_self(k);
	k->adopted_itself = true;
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return 0;
}

/* Takes the name. */
static struct kthread *adopt(pid_t tid, char *name)
{
	struct kthread *k;
	int error;

	if (!name)
		return NULL;
	error = kt_library_watch();
	k = error ? NULL : kt_thread_alloc(KT_ADOPTED, name);
	free(name);
	if (!k) {
		errno = error ? -error : ENOMEM;
		return NULL;
	}
	if (kt_registry_has(tid))
		release_ended(tid);
	kt_lock(&kt_adopt_lock);
	error = adopt_locked(k, tid);
	kt_unlock(&kt_adopt_lock);
	if (!error && tid == gettid()) {
		error = become_self(k);
		if (error)
			release(k, false);
	}
	if (!error) {
		kt_place_born(k, KTHREAD_REASON_START); /* with no lock held: it may be the caller who goes elsewhere */
		return k;
	}
	kthread_put(k);
	errno = -error;
	return NULL;
}

struct kthread *kthread_adopt(const char *namefmt, ...)
{
	va_list args;
	char *name;

	va_start(args, namefmt);
	name = kt_name_format(namefmt, args);
	va_end(args);
	return adopt(gettid(), name);
}

struct kthread *kthread_adopt_tid(pid_t tid, const char *namefmt, ...)
{
	va_list args;
	char *name;

	if (tid <= 0) {
		errno = EINVAL;
		return NULL;
	}
	va_start(args, namefmt);
	name = kt_name_format(namefmt, args);
	va_end(args);
	return adopt(tid, name);
}
