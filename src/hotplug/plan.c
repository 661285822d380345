/* SPDX-License-Identifier: MIT */
/*
 * Its directory is watched, not the file: that is replaced by renaming another over it, or (a volume of Kubernetes) over
 * a directory that it is reached through.
 */
#include "hotplug/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/log.h"
#include "hotplug/transition.h"
#include "machine/cpulist.h"
#include "machine/cpumask.h"
#include "machine/file.h"
#include "thread/freezer.h"

#define PLAN_MAX 65536 /* every second CPU of 10 000, and more */
#define CPUS_A_TURN 16
#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ONLYDIR)

static struct {
	int fd; /* -1 = not watched */
	size_t setsize;
	char *text; /* as read last, and as acted upon last: PLAN_MAX each */
	char *known;
	int known_error; /* of the read */
	cpu_set_t *left; /* what we shall be left with; every CPU without a plan */
	cpu_set_t *refused;
	cpu_set_t *work;
	uint64_t generation; /* for which CPUs were refused */
	atomic_bool begun;   /* release, pairs with kt_plan_begun(): before that the rest may go again */
} plan = {.fd = -1};

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static void read_possible(cpu_set_t *set)
{
	struct kt_view *view = kt_view_get();

	kt_cpus_copy(view->setsize, set, view->set[KT_POSSIBLE]);
	kt_view_put(view);
}

/* A plan without any CPU is a file that is being written. */
static int parse(const char *text, cpu_set_t *set)
{
	int error;

	read_possible(set); /* the last of them is what N means */
	error = kt_cpulist_parse(text, (size_t)kt_cpus_last(plan.setsize, set) + 1, plan.setsize, set);
	return !error && kt_cpus_empty(plan.setsize, set) ? -ENODATA : error;
}

/* True if it says something new that can be acted upon. */
static bool read_plan(void)
{
	const ssize_t length = kt_file_read_path(plan.text, PLAN_MAX, kt_config()->plan_file);
	const int read_error = length < 0 ? (int)length : 0;
	int error;

	if (read_error == plan.known_error && (read_error || strcmp(plan.text, plan.known) == 0))
		return false;
	plan.known_error = read_error;
	if (!read_error)
		strcpy(plan.known, plan.text);
	if (read_error == -ENOENT || read_error == -ENOTDIR) {
		memset(plan.left, 0xff, plan.setsize);
		return true;
	}
	error = read_error ? read_error : parse(plan.text, plan.work);
	if (error) {
		kt_log(PLAN_BAD, "plan_file \"%.200s\": %s; the former plan stays", kt_config()->plan_file,
		       read_error          ? strerror(-error)
		       : error == -ENODATA ? "it names no CPU"
		                           : kt_cpulist_strerror(error));
		return false;
	}
	kt_cpus_copy(plan.setsize, plan.left, plan.work);
	return true;
}

/* ---- acting ----------------------------------------------------------------------------------------------------- */

static void give_up(unsigned int cpu)
{
	const int error = kt_hotplug_give_up(cpu, KT_BY_PLAN, 0, kt_deadline(KT_PATIENCE_NS));

	if (!error || error == -EDEADLK) /* one of the CPU's own threads looks: for the next who does */
		return;
	kt_cpus_add(plan.setsize, plan.refused, cpu);
	kt_log(PLAN_NOT_DOWN, "plan_file: CPU %u cannot be given up: %s", cpu,
	       error == -EBUSY ? "nothing would be left to run on" : strerror(-error));
}

static void take_back(unsigned int cpu)
{
	const int error = kt_hotplug_take_back(cpu, KT_BY_PLAN, 0);

	if (error)
		kt_log(PLAN_NOT_UP, "plan_file: CPU %u cannot be used again: %s", cpu, strerror(-error));
}

/* One that stays first: else what goes might be the last. True: there is more to do. */
static bool act(void)
{
	unsigned int left = CPUS_A_TURN;

	read_possible(plan.work);
	for (int cpu = kt_cpus_next(plan.setsize, plan.work, 0); cpu >= 0;
	     cpu = kt_cpus_next(plan.setsize, plan.work, (unsigned int)cpu + 1)) {
		if (!kt_hotplug_given_up((unsigned int)cpu, KT_BY_PLAN) ||
		    !kt_cpus_test(plan.setsize, plan.left, (unsigned int)cpu))
			continue;
		if (left-- == 0)
			return true;
		take_back((unsigned int)cpu);
	}
	kt_cpus_andnot(plan.setsize, plan.work, plan.work, plan.left);
	kt_cpus_andnot(plan.setsize, plan.work, plan.work, plan.refused);
	for (int cpu = kt_cpus_next(plan.setsize, plan.work, 0); cpu >= 0;
	     cpu = kt_cpus_next(plan.setsize, plan.work, (unsigned int)cpu + 1)) {
		if (kt_hotplug_given_up((unsigned int)cpu, KT_BY_PLAN))
			continue;
		if (left-- == 0)
			return true;
		give_up((unsigned int)cpu);
	}
	return false;
}

static uint64_t generation(void)
{
	struct kt_view *view = kt_view_get();
	const uint64_t now = view->generation;

	kt_view_put(view);
	return now;
}

/* The directory may have come, gone, or be another one by now; a watch that is there already is the same again. */
static void watch(void)
{
	char path[PATH_MAX];
	char *slash;

	if (plan.fd < 0)
		return;
	strcpy(path, kt_config()->plan_file);
	slash = strrchr(path, '/'); /* there is one: the name is absolute */
	slash[slash == path] = '\0';
	inotify_add_watch(plan.fd, path, EVENTS); /* where that cannot be, the poll finds it */
}

bool kt_plan_begun(void)
{
	return atomic_load_explicit(&plan.begun, memory_order_acquire);
}

bool kt_plan_follow(void)
{
	bool more;

	if (!kt_plan_begun() || kt_freezer_on()) /* the monitor looks again after the thaw */
		return false;
	watch(); /* before the file is read: what changes later makes an event */
	if (read_plan() || plan.generation != generation())
		kt_cpus_zero(plan.setsize, plan.refused);
	more = act();
	plan.generation = generation();
	return more;
}

/* ---- the monitor's ---------------------------------------------------------------------------------------------- */

int kt_plan_fd(void)
{
	return plan.fd;
}

void kt_plan_drain(void)
{
	char events[4096];

	while (read(plan.fd, events, sizeof(events)) > 0)
		continue;
}

int kt_plan_start(void)
{
	struct kt_view *view;
	char *block;

	if (!kt_config()->plan_file)
		return 0;
	view = kt_view_get();
	plan.setsize = view->setsize;
	kt_view_put(view);
	block = calloc(1, 2 * PLAN_MAX + 3 * plan.setsize);
	if (!block)
		return -ENOMEM;
	plan.text = block;
	plan.known = block + PLAN_MAX;
	plan.known_error = -ENOENT;
	plan.left = (cpu_set_t *)(void *)(block + 2 * PLAN_MAX);
	plan.refused = (cpu_set_t *)(void *)(block + 2 * PLAN_MAX + plan.setsize);
	plan.work = (cpu_set_t *)(void *)(block + 2 * PLAN_MAX + 2 * plan.setsize);
	memset(plan.left, 0xff, plan.setsize);
	if (kt_config()->inotify) {
		plan.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
		if (plan.fd < 0)
			kt_log(PLAN_POLLED, "plan_file: no inotify: %s; changes are found by polling only",
			       strerror(errno));
	}
	return 0;
}

void kt_plan_begin(void)
{
	atomic_store_explicit(&plan.begun, plan.text, memory_order_release);
}

void kt_plan_stop(void)
{
	atomic_store_explicit(&plan.begun, false, memory_order_relaxed);
	if (plan.fd >= 0)
		close(plan.fd);
	plan.fd = -1;
	free(plan.text);
	plan.text = NULL;
}
