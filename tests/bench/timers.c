/* SPDX-License-Identifier: MIT */
/*
 * P8: delayed works, and the wheel in which they lie, against the timers of event loops. A loop's timer is its own
 * thread's: it takes no lock, and for the time of now what was when the loop last looked. Ours can be armed by anybody,
 * and begin with the call; "locked, the time of now" is what one has to add to a loop for that.
 */
#include "timers.h"

#include <kthread/kthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define MAX_KINDS 8
#define MOVES 200000u

static unsigned int count; /* timers at once */
static uint64_t *delays;   /* of each, and where it is moved */
static uint64_t *others;
static uint32_t *shuffled;

/* ---- add, cancel, move ---------------------------------------------------------------------------------------------- */

static uint64_t random64(void)
{
	static uint64_t state = 88172645463325252ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* From 2 to 12 s: none falls due while they are changed. */
static void choose_delays(unsigned int how_many)
{
	count = how_many;
	for (unsigned int i = 0; i < count; i++) {
		delays[i] = 2 * BENCH_S + random64() % (10 * BENCH_S);
		others[i] = 2 * BENCH_S + random64() % (10 * BENCH_S);
		shuffled[i] = i;
	}
	for (unsigned int i = count - 1; i > 0; i--) {
		const unsigned int j = (unsigned int)(random64() % (i + 1));
		const uint32_t one = shuffled[i];

		shuffled[i] = shuffled[j];
		shuffled[j] = one;
	}
}

enum { ADD, CANCEL, MOVE };

/* In a random order, but the additions. */
static void change(const void *arg, double *values)
{
	const struct timers_kind *kind = arg;
	const unsigned int moves = bench_is_quick() ? count : MOVES;
	void *timers = kind->start(count);
	uint64_t begin = bench_now();

	for (unsigned int i = 0; i < count; i++)
		kind->add(timers, i, delays[i]);
	values[ADD] = bench_each(begin, count);
	begin = bench_now();
	for (unsigned int i = 0; i < moves; i++)
		kind->move(timers, shuffled[i % count], others[i % count]);
	values[MOVE] = bench_each(begin, moves);
	begin = bench_now();
	for (unsigned int i = 0; i < count; i++)
		kind->cancel(timers, shuffled[count - 1 - i]);
	values[CANCEL] = bench_each(begin, count);
	kind->stop(timers);
}

/* ---- falling due ----------------------------------------------------------------------------------------------------- */

#define SQUEEZED (50 * BENCH_MS)

/* All within 50 ms, and looked at after that. The wheel in steps has the ten seconds. */
static void expire(const void *arg, double *values)
{
	const struct timers_kind *kind = arg;
	const uint64_t within = kind == &timers_wheel_steps ? UINT64_MAX : SQUEEZED;
	void *timers = kind->start(count);
	uint64_t begin;

	kind->hold(timers);
	begin = bench_now();
	for (unsigned int i = 0; i < count; i++)
		kind->add(timers, i, 1 + delays[i] % within);
	while (bench_now() < begin + 2 * SQUEEZED)
		bench_sleep(SQUEEZED / 10);
	begin = bench_now();
	kind->run_due(timers);
	values[0] = bench_each(begin, count);
	kind->stop(timers);
}

/* ---- how late --------------------------------------------------------------------------------------------------------- */

uint64_t lateness_arm(struct lateness *late)
{
	const uint64_t delay = (late->until ? 1 : 1 + late->taken % 3) * BENCH_MS;

	late->due = bench_now() + delay;
	return delay;
}

bool lateness_take(struct lateness *late)
{
	const uint64_t now = bench_now();

	BENCH_CHECK(late->taken < late->wanted);
	late->samples[late->taken++] = (double)now - (double)late->due;
	return late->taken < late->wanted && (!late->until || now < late->until);
}

static void quantiles(struct lateness *late, double *values)
{
	values[0] = bench_quantile(late->samples, late->taken, 0.5);
	values[1] = bench_quantile(late->samples, late->taken, 0.99);
}

/* values: p50, p99 */
static void one_late(const void *arg, double *values)
{
	const struct timers_kind *kind = arg;
	struct lateness late = {.wanted = bench_count(120, 6)};
	void *timers = kind->start ? kind->start(0) : NULL;

	late.samples = calloc(late.wanted, sizeof(double));
	BENCH_CHECK(late.samples);
	kind->late(timers, &late);
	if (kind->stop)
		kind->stop(timers);
	quantiles(&late, values);
	free(late.samples);
}

/* The same, while a million others fall due in ten seconds. */
static void late_in_crowd(const struct timers_kind *kind, double *values)
{
	const uint64_t during = bench_count(10000, 100) * BENCH_MS;
	struct lateness late = {.wanted = (unsigned int)(during / BENCH_MS)};
	void *timers = kind->start(count);
	uint64_t begin;

	late.samples = calloc(late.wanted, sizeof(double));
	BENCH_CHECK(late.samples);
	begin = bench_now();
	for (unsigned int i = 0; i < count; i++)
		kind->add(timers, i, delays[i] % during + during / 20);
	late.until = begin + during;
	kind->late(timers, &late);
	kind->stop(timers);
	quantiles(&late, values);
	free(late.samples);
}

/* ------------------------------------------------------------------------------------------------------------------------ */

/* kinds: NULL where one was not found. */
static size_t contest(const struct timers_kind *const *kinds, size_t many, const struct timers_kind **found,
                      void (*run)(const void *arg, double *values))
{
	struct bench_variant variants[MAX_KINDS];
	size_t have = 0;

	for (size_t i = 0; i < many; i++) {
		if (!kinds[i])
			continue;
		variants[have] = (struct bench_variant){kinds[i]->name, run, kinds[i]};
		found[have++] = kinds[i];
	}
	bench_rounds(variants, have);
	return have;
}

static void changes(unsigned int how_many, const char *pending)
{
	const struct timers_kind *const kinds[] = {&timers_ours, &timers_wheel,
	                                           timers_ev,    timers_ev_locked,
	                                           timers_uv,    how_many <= 100000 ? timers_event : NULL};
	static const char *const names[] = {"add", "cancel", "move"};
	const struct timers_kind *found[MAX_KINDS];
	char what[64];
	size_t have;

	choose_delays(how_many);
	have = contest(kinds, sizeof(kinds) / sizeof(kinds[0]), found, change);
	for (size_t value = ADD; value <= MOVE; value++) {
		snprintf(what, sizeof(what), "%s, %s pending", names[value], pending);
		for (size_t i = 2; i < have; i++) {
			const double target = found[i] == timers_ev   ? 0.5
			                      : found[i] == timers_uv ? 0.15
			                                              : BENCH_NO_TARGET;

			if (found[i] != timers_ev_locked)
				bench_figure("P8a", what, 1, i, value, target, "ns");
			bench_figure("P8a-public", what, 0, i, value, found[i] == timers_ev ? BENCH_NO_TARGET : 1.0,
			             "ns");
		}
	}
}

static void expiry(unsigned int how_many, const char *pending)
{
	const bool few = how_many <= 100000;
	const struct timers_kind *const kinds[] = {&timers_ours, &timers_wheel,          &timers_wheel_steps,
	                                           timers_ev,    few ? timers_uv : NULL, few ? timers_event : NULL};
	const struct timers_kind *found[MAX_KINDS];
	char what[64];
	size_t have;

	choose_delays(how_many);
	have = contest(kinds, sizeof(kinds) / sizeof(kinds[0]), found, expire);
	snprintf(what, sizeof(what), "%s fall due", pending);
	for (size_t i = 3; i < have; i++) {
		bench_figure("P8b", what, 1, i, 0, 0.5, "ns");
		if (found[i] == timers_ev)
			bench_figure("P8b", what, 2, i, 0, 0.5, "ns");
		bench_figure("P8b-public", what, 0, i, 0, 1.0, "ns");
	}
}

static void lateness(void)
{
	const struct timers_kind *const kinds[] = {&timers_ours, &timers_timerfd, &timers_cond, timers_uv, timers_ev};
	const struct timers_kind *found[MAX_KINDS];
	const size_t have = contest(kinds, sizeof(kinds) / sizeof(kinds[0]), found, one_late);

	for (size_t i = 1; i < have; i++) {
		bench_figure("P8c", "late p50, after 1 to 3 ms", 0, i, 0,
		             found[i] == &timers_timerfd ? 1.05
		             : found[i] == &timers_cond  ? 1.0
		                                         : 0.7,
		             "ns");
		bench_figure("P8c-p99", "late p99, after 1 to 3 ms", 0, i, 1, BENCH_NO_TARGET, "ns");
	}
}

static void in_crowd(unsigned int how_many)
{
	const struct timers_kind *const peers[] = {timers_ev, timers_uv};
	double ours[BENCH_VALUES];

	choose_delays(how_many);
	late_in_crowd(&timers_ours, ours);
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		double theirs[BENCH_VALUES];

		if (!peers[i])
			continue;
		late_in_crowd(peers[i], theirs);
		bench_number("P8c-crowd", "late p50, 1 ms, 1M others over 10 s", ours[0], theirs[0], peers[i]->name,
		             1.0, "ns");
		bench_number("P8c-crowd", "late p99, 1 ms, 1M others over 10 s", ours[1], theirs[1], peers[i]->name,
		             1.0, "ns");
	}
}

int main(int argc, char **argv)
{
	unsigned int many;

	bench_open(argc, argv, "timers");
	BENCH_CHECK(kthread_init(NULL) == 0);
	many = bench_count(1000000, 2000);
	delays = calloc(many, sizeof(*delays));
	others = calloc(many, sizeof(*others));
	shuffled = calloc(many, sizeof(*shuffled));
	BENCH_CHECK(delays && others && shuffled);
	if (!timers_ev)
		bench_note("libev was not found at build time: left out");
	if (!timers_uv)
		bench_note("libuv was not found at build time: left out");
	if (!timers_event)
		bench_note("libevent was not found at build time: left out");
	changes(bench_count(100000, 1000), "100k");
	changes(many, "1M");
	expiry(bench_count(100000, 1000), "100k");
	expiry(many, "1M");
	lateness();
	in_crowd(many);
	free(delays);
	free(others);
	free(shuffled);
	BENCH_CHECK(kthread_fini() == 0);
	return bench_close();
}
