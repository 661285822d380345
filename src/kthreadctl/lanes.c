/* SPDX-License-Identifier: MIT */
/* Which lanes of a timeline are shown, and the words and numbers beside them: what its two pictures have in common. */
#include "kthreadctl/lanes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpumask.h"

bool lane_is_busy(const struct lane *lane)
{
	return lane->came || lane->broken || lane->n_segments > 1 || lane->n_markers > 0;
}

static int compare_history(const struct lane *a, const struct lane *b)
{
	if (a->n_segments != b->n_segments)
		return a->n_segments < b->n_segments ? -1 : 1;
	for (size_t i = 0; i < a->n_segments; i++) {
		const struct segment *x = &a->segments[i], *y = &b->segments[i];

		if (x->begin != y->begin)
			return x->begin < y->begin ? -1 : 1;
		if (x->state != y->state)
			return x->state < y->state ? -1 : 1;
	}
	return 0;
}

static int by_history(const void *a, const void *b)
{
	const struct lane_group *x = a, *y = b;
	const int order = compare_history(x->lane, y->lane);

	if (order)
		return order;
	return x->lane < y->lane ? -1 : x->lane > y->lane;
}

static int by_cpu(const void *a, const void *b)
{
	const struct lane_group *x = a, *y = b;

	return x->lane < y->lane ? -1 : x->lane > y->lane;
}

/* The CPUs that are there; with more than `most`, those with one history are one lane. */
static int view_cpus(const struct timeline *t, size_t most, struct lane_view *v)
{
	const size_t setsize = t->dump->setsize;
	const cpu_set_t *present = t->dump->view.set[CTL_PRESENT];
	const bool any = !kt_cpus_empty(setsize, present);
	cpu_set_t *set = malloc(setsize);
	size_t n = 0, count;
	bool merge;

	v->cpus = calloc(t->dump->width, sizeof(*v->cpus));
	if (!set || !v->cpus)
		goto no_memory;
	for (unsigned int cpu = 0; cpu < t->dump->width; cpu++) {
		if (!any || kt_cpus_test(setsize, present, cpu) || t->cpus[cpu].n_segments > 1)
			v->cpus[n++].lane = &t->cpus[cpu];
	}
	merge = n > most;
	if (merge)
		qsort(v->cpus, n, sizeof(*v->cpus), by_history);
	for (size_t i = 0; i < n; i += count) {
		const struct lane *first = v->cpus[i].lane;

		kt_cpus_zero(setsize, set);
		for (count = 0; i + count < n && (merge || count < 1); count++) {
			if (compare_history(first, v->cpus[i + count].lane) != 0)
				break;
			kt_cpus_add(setsize, set, (unsigned int)(v->cpus[i + count].lane - t->cpus));
		}
		if (v->n_cpus == most) {
			v->cpus_left_out += count;
			continue;
		}
		v->cpus[v->n_cpus].lane = first; /* at or before i: those behind have been read */
		v->cpus[v->n_cpus].cpus = model_list(t->dump, set);
		if (!v->cpus[v->n_cpus++].cpus)
			goto no_memory;
	}
	qsort(v->cpus, v->n_cpus, sizeof(*v->cpus), by_cpu);
	free(set);
	return 0;
no_memory:
	free(set);
	return -ENOMEM;
}

static int view_threads(const struct timeline *t, size_t most, bool quiet, struct lane_view *v)
{
	size_t busy = 0, quiet_room;

	v->threads = calloc(most + 1, sizeof(const struct lane *));
	if (!v->threads)
		return -ENOMEM;
	for (const struct lane *lane = t->threads; lane; lane = lane->next)
		busy += lane_is_busy(lane);
	quiet_room = quiet && busy < most ? most - busy : 0;
	for (const struct lane *lane = t->threads; lane; lane = lane->next) {
		if (lane_is_busy(lane)) {
			if (v->n_threads + quiet_room < most)
				v->threads[v->n_threads++] = lane;
			else
				v->busy_left_out++;
		} else if (quiet_room > 0) {
			v->threads[v->n_threads++] = lane;
			quiet_room--;
		} else {
			v->quiet_left_out++;
		}
	}
	return 0;
}

int lanes_view(const struct timeline *t, int64_t end_ns, size_t cpus_most, size_t threads_most, bool quiet,
               struct lane_view *ret)
{
	int error;

	*ret = (struct lane_view){.begin = t->begin, .end = end_ns < t->full ? end_ns : t->full};
	if (ret->end <= ret->begin)
		ret->end = ret->begin + 1000000; /* nothing to see, but nothing to divide by either */
	error = view_cpus(t, cpus_most, ret);
	if (!error)
		error = view_threads(t, threads_most, quiet, ret);
	if (error)
		lanes_view_free(ret);
	return error;
}

void lanes_view_free(struct lane_view *v)
{
	for (size_t i = 0; v->cpus && i < v->n_cpus; i++)
		free(v->cpus[i].cpus);
	free(v->cpus);
	free(v->threads);
	*v = (struct lane_view){0};
}

const char *lane_state_name(enum lane_state state)
{
	static const char *const names[LANE_STATES] = {
	    "usable",        "not for us", "offline", "not there", "not started",
	    "runs or waits", "parked",     "frozen",  "stopping",  "broken: runs elsewhere"};

	return state < LANE_STATES ? names[state] : "?";
}

int64_t lanes_tick(int64_t span_ns, unsigned int most)
{
	static const int64_t factors[] = {1, 2, 5};

	for (int64_t power = 1000; power <= INT64_MAX / 100; power *= 10) {
		for (int i = 0; i < 3; i++) {
			if (span_ns / (power * factors[i]) < most)
				return power * factors[i];
		}
	}
	return INT64_MAX;
}

void lanes_seconds(int64_t ns, int64_t step, char text[32])
{
	int64_t fraction = ns % 1000000000;
	int decimals = 9;

	while (decimals > 0 && step % 10 == 0) {
		step /= 10;
		fraction /= 10;
		decimals--;
	}
	if (decimals > 0)
		snprintf(text, 32, "%" PRId64 ".%0*" PRId64, ns / 1000000000, decimals, fraction);
	else
		snprintf(text, 32, "%" PRId64, ns / 1000000000);
}
