/* SPDX-License-Identifier: MIT */
/*
 * libevent's timers. libev has functions of the same names, for programs that were written for this one, so it is loaded
 * into a space of its own.
 */
#include "bench.h"
#include "timers.h"

#ifdef BENCH_EVENT
#include <dlfcn.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>

static struct {
	__typeof__(event_base_new) *base_new;
	__typeof__(event_base_free) *base_free;
	__typeof__(event_base_loop) *base_loop;
	__typeof__(event_assign) *assign;
	__typeof__(event_add) *add;
	__typeof__(event_del) *del;
} api;

struct peer {
	struct event_base *base;
	unsigned int count, fired;
	struct event events[];
};

static void load(void)
{
	const struct {
		const char *name;
		void **to;
	} names[] = {
	    {"event_base_new", (void **)&api.base_new},
	    {"event_base_free", (void **)&api.base_free},
	    {"event_base_loop", (void **)&api.base_loop},
	    {"event_assign", (void **)&api.assign},
	    {"event_add", (void **)&api.add},
	    {"event_del", (void **)&api.del},
	};
	void *library = dlopen(BENCH_EVENT, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);

	if (!library)
		bench_die("%s", dlerror());
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		*names[i].to = dlsym(library, names[i].name);
		BENCH_CHECK(*names[i].to);
	}
}

static void fire(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	((struct peer *)arg)->fired++;
}

static void *start(unsigned int count)
{
	struct peer *peer = calloc(1, sizeof(*peer) + count * sizeof(struct event));

	if (!api.del)
		load();
	BENCH_CHECK(peer);
	peer->base = api.base_new();
	BENCH_CHECK(peer->base);
	peer->count = count;
	for (unsigned int i = 0; i < count; i++)
		api.assign(&peer->events[i], peer->base, -1, 0, fire, peer);
	return peer;
}

/* event_add() moves one that is there. */
static void add(void *timers, unsigned int i, uint64_t delay_ns)
{
	const struct timeval delay = {.tv_sec = (time_t)(delay_ns / BENCH_S),
	                              .tv_usec = (suseconds_t)(delay_ns % BENCH_S / 1000)};

	api.add(&((struct peer *)timers)->events[i], &delay);
}

static void cancel(void *timers, unsigned int i)
{
	api.del(&((struct peer *)timers)->events[i]);
}

static void hold(void *timers)
{
	(void)timers;
}

static void run_due(void *timers)
{
	struct peer *peer = timers;

	while (peer->fired < peer->count)
		api.base_loop(peer->base, EVLOOP_NONBLOCK);
}

static void stop(void *timers)
{
	struct peer *peer = timers;

	for (unsigned int i = 0; i < peer->count; i++)
		cancel(timers, i);
	api.base_free(peer->base);
	free(peer);
}

static const struct timers_kind event = {"libevent", start, add, add, cancel, hold, run_due, NULL, stop};
const struct timers_kind *const timers_event = &event;
#else
const struct timers_kind *const timers_event = NULL;
#endif
