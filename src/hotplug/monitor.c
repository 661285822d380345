/* SPDX-License-Identifier: MIT */
/*
 * Whatever wakes the monitor only says "look again"; how well it has to look depends on who says it:
 *
 *   uevent           threads whose CPUs have all been touched may have lost their mask, though the CPUs are back by now
 *   cpuset file      the kernel may have rewritten every mask
 *   bounded poll     anything may have happened (suspend, a namespace without uevents, somebody with taskset)
 *
 * After an event it looks once more a little later: the cpuset follows CPUs a moment after sysfs does.
 */
#include "hotplug/monitor.h"

#include <errno.h>
#include <kthread/library.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "hotplug/cpuhp_thread.h"
#include "hotplug/plan.h"
#include "hotplug/transition.h"
#include "machine/cpumask.h"
#include "machine/events.h"
#include "thread/freezer.h"
#include "thread/standstill.h"
#include "thread/thread.h"

#define SETTLE_NS (10 * KT_NS_PER_MS)
/* Whom the monitor serves does not wait longer than that for a transition of somebody else's; the look is tried again. */
#define SERVING_NS (100 * KT_NS_PER_MS)
/* Where it cannot poll. */
#define BLIND_NS (100 * KT_NS_PER_MS)

static struct monitor {
	struct kthread *thread;
	int asked;   /* its event fd */
	int uevents; /* fds; -1 = no such source */
	int cpuset;
	bool watch_failed;  /* said so */
	cpu_set_t *touched; /* of view->setsize */
	size_t setsize;
	uint64_t poll_at; /* KT_NEVER: not */
	uint64_t settle_at;
	uint64_t settle_ns;          /* how long to wait before the next try */
	atomic_int served;           /* a room's below: release, pairs with the acquire in turn(); -1 = none */
	void (*_Atomic serve)(void); /* relaxed: the next fd may be on its way while a turn serves the last */
} monitor = {.uevents = -1, .cpuset = -1, .served = -1};

static uint64_t next_poll(void)
{
	return kt_config()->poll_ms ? kt_deadline(kt_config()->poll_ms * KT_NS_PER_MS) : KT_NEVER;
}

static void renew_watches(struct monitor *m)
{
	const int error = m->cpuset >= 0 ? kt_cpuset_watch_renew(m->cpuset) : 0;

	if (error && !m->watch_failed)
		kt_log(CPUSET_POLLED, "cannot watch the cpuset files: %s; changes are found by polling only",
		       strerror(-error));
	m->watch_failed = error != 0;
}

/*
 * What CPUs are there is acted upon before the rest is looked at; and a long plan is followed in several transitions, so
 * that who wants to read does not wait for all of it.
 */
static int look_and_follow(enum kt_doubt doubt, const cpu_set_t *touched, uint64_t patience_ns, bool *ret_settled)
{
	bool more = true;
	int error = 0;

	while (more && !error) {
		error = kt_transition_begin(kt_deadline(patience_ns));
		if (error)
			break;
		error = kt_hotplug_look(doubt, touched, ret_settled);
		more = doubt == KT_DOUBT_TOUCHED || kt_plan_follow();
		kt_transition_end();
		doubt = KT_DOUBT_NONE;
	}
	return error;
}

int kthread_rescan(void)
{
	const int error = kt_library_up();
	bool settled;

	if (error)
		return error;
	return kt_log_inside() ? -EDEADLK : look_and_follow(KT_DOUBT_ALL, NULL, KT_NEVER, &settled);
}

/* `again`: this was caused by an event, so look once more when the machine has settled. */
static void look(struct monitor *m, enum kt_doubt doubt, bool again)
{
	const bool serves = atomic_load_explicit(&m->served, memory_order_relaxed) >= 0;
	bool settled = false;

	if (look_and_follow(doubt, m->touched, serves ? SERVING_NS : KT_NEVER, &settled) != 0)
		settled = false; /* no memory, or no time: as if the machine were changing */
	renew_watches(m);
	m->poll_at = next_poll();
	m->settle_at = KT_NEVER;
	if (again || settled)
		m->settle_ns = SETTLE_NS;
	else if (m->settle_ns < KT_NS_PER_S)
		m->settle_ns *= 2;
	if (again || !settled)
		m->settle_at = kt_deadline(m->settle_ns);
}

static void sleep_until_event(struct pollfd *fds, nfds_t count, uint64_t deadline)
{
	const uint64_t now = kt_now();
	const uint64_t left = deadline > now ? deadline - now : 0;
	const struct timespec until_then = kt_timespec(left);
	const struct timespec blind = kt_timespec(left < BLIND_NS ? left : BLIND_NS);
	bool no_poll;

	errno = 0;
	if (ppoll(fds, count, deadline == KT_NEVER ? NULL : &until_then, NULL) > 0)
		return;
	/* RLIMIT_NOFILE is below `count` by now: instead of spinning it looks at each of them after a while */
	no_poll = errno == EINVAL;
	if (no_poll)
		nanosleep(&blind, NULL);
	for (nfds_t i = 0; i < count; i++)
		fds[i].revents = no_poll && fds[i].fd >= 0 ? POLLIN : 0;
}

static void turn(struct monitor *m)
{
	struct pollfd fds[] = {{.fd = m->asked, .events = POLLIN},
	                       {.fd = m->uevents, .events = POLLIN},
	                       {.fd = m->cpuset, .events = POLLIN},
	                       {.fd = kt_plan_fd(), .events = POLLIN},
	                       {.fd = atomic_load_explicit(&m->served, memory_order_acquire), .events = POLLIN}};
	bool cpus;
	bool cpuset;

	sleep_until_event(fds, sizeof(fds) / sizeof(fds[0]), m->poll_at < m->settle_at ? m->poll_at : m->settle_at);
	if (fds[0].revents)
		kt_event_fd_drain(m->thread); /* asked to stop, or to follow a plan that a freeze has held up */
	if (kt_word(&m->thread->word) & W_PLACE_SELF)
		kt_hooks->place_self(m->thread); /* it never comes by a wait, where other threads do that */
	kt_cpus_zero(m->setsize, m->touched);
	cpus = fds[1].revents && kt_uevents_drain(m->uevents, m->setsize, m->touched);
	cpuset = fds[2].revents && kt_cpuset_watch_drain(m->cpuset);
	if (fds[3].revents)
		kt_plan_drain();
	if (cpuset)
		look(m, KT_DOUBT_CPUSET, true);
	else if (cpus)
		look(m, KT_DOUBT_TOUCHED, true);
	else if (fds[3].revents || (fds[0].revents && !kthread_should_stop()))
		look(m, KT_DOUBT_NONE, false);
	else if (kt_now() >= m->poll_at || kt_now() >= m->settle_at)
		look(m, KT_DOUBT_ALL, false);
	if (fds[4].revents) /* after what the CPUs want */
		atomic_load_explicit(&m->serve, memory_order_relaxed)();
}

static int monitor_fn(void *data)
{
	renew_watches(data);
	look(data, KT_DOUBT_NONE, false); /* what changed between the first view and the first watch */
	/* nobody: a child that the log function has forked came back from it, and is no monitor */
	while (kthread_self() && !kthread_should_stop())
		turn(data);
	return 0;
}

/* ---- the library's life ----------------------------------------------------------------------------------------- */

static void close_sources(struct monitor *m)
{
	if (m->uevents >= 0)
		close(m->uevents);
	if (m->cpuset >= 0)
		close(m->cpuset);
	m->uevents = -1;
	m->cpuset = -1;
	kt_plan_stop();
	free(m->touched);
	m->touched = NULL;
}

static int open_source(bool wanted, int (*open_it)(void), const char *what)
{
	const int fd = wanted ? open_it() : -1;

	if (wanted && fd < 0)
		kt_log(NO_SOURCE, "no %s: %s; changes are found by polling only", what, strerror(-fd));
	return fd < 0 ? -1 : fd;
}

/* The handle stays: a fork() may come at any moment. */
static void quiet(void)
{
	if (monitor.thread)
		kthread_stop(kthread_get(monitor.thread));
	kt_cpuhp_thread_quiet();
}

static void stop_monitor(void)
{
	if (monitor.thread)
		kthread_stop(monitor.thread);
	monitor.thread = NULL;
	close_sources(&monitor);
}

static void stop(void)
{
	stop_monitor();
	kt_transition_stop();
}

/* A plan may have been held up. The handle is there from before the plan's beginning until after the freezer's end. */
static void thawed(void)
{
	if (kt_plan_begun())
		kthread_wake(monitor.thread);
}

static int start(void)
{
	kt_freezer_hook(thawed);
	return kt_transition_start();
}

static int watch(void)
{
	struct kt_view *view = kt_view_get();
	int error;

	monitor.setsize = view->setsize;
	kt_view_put(view);
	monitor.touched = calloc(1, monitor.setsize);
	error = monitor.touched ? kt_plan_start() : -ENOMEM;
	if (error) {
		close_sources(&monitor);
		return error;
	}
	monitor.uevents = open_source(kt_config()->uevents, kt_uevents_open, "CPU uevents");
	monitor.cpuset = open_source(kt_config()->inotify, kt_cpuset_watch_open, "inotify");
	monitor.watch_failed = false;
	monitor.settle_ns = SETTLE_NS;
	monitor.thread = kt_thread_spawn(KT_INTERNAL, monitor_fn, &monitor, "kthread-monitor");
	monitor.asked = monitor.thread ? kthread_event_fd(monitor.thread) : -errno;
	if (monitor.asked < 0) {
		stop_monitor();
		return monitor.asked;
	}
	kt_plan_begin();
	kthread_wake(monitor.thread);
	kt_placement_watched();
	return 0;
}

void kt_monitor_serve(int fd, void (*serve)(void))
{
	if (fd >= 0)
		atomic_store_explicit(&monitor.serve, serve, memory_order_relaxed);
	atomic_store_explicit(&monitor.served, fd, memory_order_release);
	if (fd >= 0)
		kthread_wake(monitor.thread); /* it polls the new set */
}

/* The parent's sockets; and the handle, of a thread that is not here. */
static void fork_child(void)
{
	kthread_put(monitor.thread);
	monitor.thread = NULL;
	close_sources(&monitor);
	atomic_store_explicit(&monitor.served, -1, memory_order_relaxed);
	kt_transition_fork_child();
}

const struct kt_room kt_hotplug_room = {
    .name = "hotplug",
    .start = start,
    .watch = watch,
    .quiet = quiet,
    .stop = stop,
    .fork_prepare = kt_transition_fork_prepare,
    .fork_parent = kt_transition_fork_parent,
    .fork_child = fork_child,
};
