/* SPDX-License-Identifier: MIT */
/* From the events to lanes. lanes.c has which of them are shown; timeline_svg.c and timeline_text.c draw. */
#include "kthreadctl/timeline.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/lanes.h"
#include "machine/cpumask.h"

#define CHANGES_MOST 200000

struct lane_text {
	struct lane_text *next;
	char text[];
};

/* ---- lanes ---- */

static const char *keep(struct timeline *t, const char *text)
{
	const size_t size = strlen(text) + 1;
	struct lane_text *kept = malloc(sizeof(*kept) + size);

	if (!kept)
		return NULL;
	memcpy(kept->text, text, size);
	kept->next = t->texts;
	t->texts = kept;
	return kept->text;
}

/* The array with room for one more element: it doubles. NULL: no memory, and it is as it was. */
static void *grown(void *array, size_t count, size_t size)
{
	if (count > 0 && count & (count - 1))
		return array;
	return realloc(array, (count ? 2 * count : 1) * size);
}

static int append_segment(struct timeline *t, struct lane *lane, int64_t time, enum lane_state state, const char *cpus)
{
	struct segment *last = lane->n_segments ? &lane->segments[lane->n_segments - 1] : NULL;
	struct segment *segments;

	if (last && last->state == state && strcmp(last->cpus, cpus) == 0)
		return 0;
	if (last && last->begin >= time) { /* several events of one moment */
		last->state = state;
		last->cpus = cpus;
		return 0;
	}
	segments = grown(lane->segments, lane->n_segments, sizeof(*segments));
	if (!segments)
		return -ENOMEM;
	lane->segments = segments;
	segments[lane->n_segments++] = (struct segment){.begin = time, .state = state, .cpus = cpus};
	t->changes++;
	return 0;
}

static int append_marker(struct timeline *t, struct lane *lane, int64_t time, enum marker_kind kind, const char *text)
{
	struct marker *markers = grown(lane->markers, lane->n_markers, sizeof(*markers));

	if (!markers)
		return -ENOMEM;
	lane->markers = markers;
	text = keep(t, text);
	if (!text)
		return -ENOMEM;
	markers[lane->n_markers++] = (struct marker){.time = time, .kind = kind, .text = text};
	t->changes++;
	return 0;
}

static enum lane_state state_now(const struct lane *lane)
{
	if (lane->gone)
		return LANE_GONE;
	if (lane->stopping)
		return LANE_STOPPING;
	if (lane->parked)
		return LANE_PARKED;
	if (lane->frozen)
		return LANE_FROZEN;
	if (lane->created)
		return LANE_CREATED;
	return lane->broken ? LANE_BROKEN : LANE_ACTIVE;
}

static int update(struct timeline *t, struct lane *lane, int64_t time)
{
	return append_segment(t, lane, time, state_now(lane), lane->gone ? "" : lane->cpus);
}

static int by_tid(const void *a, const void *b)
{
	const struct lane *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static struct lane *find_number(const struct timeline *t, int64_t tid)
{
	const struct lane key = {.tid = tid};
	void *found = tfind(&key, (void *const *)&t->by_tid, by_tid);

	return found ? *(struct lane **)found : NULL;
}

/* The place in the list of one of that name; of NULL if there is none. */
static struct lane **find_unnumbered(struct timeline *t, const char *name)
{
	struct lane **at = &t->unnumbered;

	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next_unnumbered;
	return at;
}

static int set_number(struct timeline *t, struct lane *lane, int64_t tid)
{
	struct lane *old = find_number(t, tid);

	if (old) /* its number is another's now */
		tdelete(old, &t->by_tid, by_tid);
	lane->tid = tid;
	return tsearch(lane, &t->by_tid, by_tid) ? 0 : -ENOMEM;
}

/* One that has just come, or was there before it is heard of. */
static struct lane *add_lane(struct timeline *t, int64_t tid, const char *name)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->cpus = "";
	lane->name = strdup(name);
	if (!lane->name || (tid != 0 && set_number(t, lane, tid))) {
		free(lane->name);
		free(lane);
		return NULL;
	}
	if (tid == 0) {
		lane->next_unnumbered = t->unnumbered;
		t->unnumbered = lane;
	}
	*t->last_thread = lane;
	t->last_thread = &lane->next;
	t->n_threads++;
	return lane;
}

/* The youngest of that name that is there, by whoever does not know its number. */
static struct lane *find_name(const struct timeline *t, const char *name)
{
	struct lane *found = NULL;

	for (struct lane *lane = t->threads; lane; lane = lane->next) {
		if (!lane->gone && strcmp(lane->name, name) == 0)
			found = lane;
	}
	return found;
}

/*
 * The lane of this thread; NULL and 0: nothing has been heard of it. What happens to a thread that has just come may be
 * told before that.
 */
static int find_lane(struct timeline *t, const struct ctl_event *e, struct lane **ret)
{
	const bool comes = e->type == CTL_EVENT_CREATE || e->type == CTL_EVENT_ADOPT;
	struct lane **unnumbered;

	*ret = e->tid != 0 ? find_number(t, e->tid) : NULL;
	if (*ret && comes && strcmp((*ret)->name, e->name) != 0) /* the end of another of that number has been lost */
		*ret = NULL;
	if (*ret)
		return 0;
	unnumbered = find_unnumbered(t, e->name);
	*ret = *unnumbered;
	if (*ret && e->tid != 0) {
		*unnumbered = (*ret)->next_unnumbered;
		return set_number(t, *ret, e->tid);
	}
	if (!*ret && e->tid == 0 && !comes)
		*ret = find_name(t, e->name);
	return 0;
}

static void forget_lane(struct timeline *t, struct lane *lane)
{
	if (lane->tid != 0)
		tdelete(lane, &t->by_tid, by_tid);
	for (struct lane **at = &t->unnumbered; *at; at = &(*at)->next_unnumbered) {
		if (*at == lane) {
			*at = lane->next_unnumbered;
			break;
		}
	}
}

/* ---- the begin ---- */

static enum lane_state cpu_state(const struct timeline *t, unsigned int cpu)
{
	if (!kt_cpus_test(t->dump->setsize, t->online, cpu))
		return LANE_OFFLINE;
	return kt_cpus_test(t->dump->setsize, t->usable, cpu) ? LANE_USABLE : LANE_UNUSABLE;
}

static int update_cpus(struct timeline *t, int64_t time)
{
	int error = 0;

	for (unsigned int cpu = 0; cpu < t->dump->width && !error; cpu++)
		error = append_segment(t, &t->cpus[cpu], time, cpu_state(t, cpu), "");
	return error;
}

static int begin_thread(struct timeline *t, const struct ctl_thread *thread)
{
	struct lane *lane;
	char *cpus;

	if (thread->state == CTL_EXITED)
		return 0;
	lane = add_lane(t, thread->tid, thread->name);
	if (!lane)
		return -ENOMEM;
	cpus = model_list(t->dump, thread->effective);
	lane->cpus = cpus ? keep(t, cpus) : NULL;
	free(cpus);
	if (!lane->cpus) {
		lane->cpus = "";
		return -ENOMEM;
	}
	lane->created = thread->state == CTL_CREATED;
	lane->parked = thread->state == CTL_PARKED;
	lane->frozen = thread->state == CTL_FROZEN;
	lane->stopping = thread->state == CTL_STOPPING;
	lane->broken = thread->broken;
	return update(t, lane, t->begin);
}

int timeline_begin(const struct ctl_dump *dump, struct timeline **ret)
{
	struct timeline *t = calloc(1, sizeof(*t));
	int error = -ENOMEM;

	*ret = NULL;
	if (!t)
		return -ENOMEM;
	t->dump = dump;
	t->begin = dump->time_ns;
	t->full = INT64_MAX;
	t->last_thread = &t->threads;
	t->cpus = calloc(dump->width, sizeof(*t->cpus));
	t->online = malloc(dump->setsize);
	t->usable = malloc(dump->setsize);
	if (t->cpus && t->online && t->usable) {
		kt_cpus_copy(dump->setsize, t->online, dump->view.set[CTL_ONLINE]);
		kt_cpus_copy(dump->setsize, t->usable, dump->view.set[CTL_USABLE]);
		error = update_cpus(t, t->begin);
	}
	for (size_t i = 0; i < dump->n_threads && !error; i++)
		error = begin_thread(t, &dump->threads[i]);
	t->changes = 0; /* how a crowd was at the begin is no change */
	if (error) {
		timeline_free(t);
		return error;
	}
	*ret = t;
	return 0;
}

static void forget(void *lane)
{
	(void)lane; /* the list has it */
}

void timeline_free(struct timeline *t)
{
	if (!t)
		return;
	tdestroy(t->by_tid, forget);
	for (struct lane *lane = t->threads; lane;) {
		struct lane *next = lane->next;

		free(lane->name);
		free(lane->segments);
		free(lane->markers);
		free(lane);
		lane = next;
	}
	for (unsigned int cpu = 0; t->cpus && cpu < t->dump->width; cpu++)
		free(t->cpus[cpu].segments);
	for (struct lane_text *text = t->texts; text;) {
		struct lane_text *next = text->next;

		free(text);
		text = next;
	}
	free(t->cpus);
	free(t->online);
	free(t->usable);
	free(t);
}

/* ---- events ---- */

static int affine(struct timeline *t, struct lane *lane, const struct ctl_event *e)
{
	const char *from = e->from ? e->from : "many CPUs", *to = e->to ? e->to : "many CPUs";
	char *text;
	int error;

	lane->broken = e->broken;
	if (!e->error && strcmp(to, lane->cpus) != 0) {
		const char *kept = keep(t, to);

		if (!kept)
			return -ENOMEM;
		lane->cpus = kept;
	}
	if (!e->error && e->from && e->to && strcmp(from, to) == 0)
		return 0;
	if (!e->error && !*from) /* its first place */
		return 0;
	if (asprintf(&text, "%s \xe2\x86\x92 %s: %s%s%s", from, to, e->reason, e->error ? ", refused: " : "",
	             e->error ? e->error : "") < 0)
		return -ENOMEM;
	error = append_marker(t, lane, e->time_ns, e->error ? MARKER_REFUSED : MARKER_MOVE, text);
	free(text);
	return error;
}

static int thread_event(struct timeline *t, const struct ctl_event *e)
{
	struct lane *lane;
	int error = find_lane(t, e, &lane);

	if (error)
		return error;
	if (!lane) {
		lane = add_lane(t, e->tid, e->name);
		if (!lane)
			return -ENOMEM;
		lane->came = true;
		lane->created = e->type == CTL_EVENT_CREATE;
	}
	switch (e->type) {
	case CTL_EVENT_START:
		lane->created = false;
		break;
	case CTL_EVENT_PARK:
	case CTL_EVENT_UNPARK:
		lane->parked = e->type == CTL_EVENT_PARK;
		lane->created = false;
		if (lane->parked)
			error = append_marker(t, lane, e->time_ns, MARKER_PARK, "parked");
		break;
	case CTL_EVENT_FREEZE:
	case CTL_EVENT_THAW:
		lane->frozen = e->type == CTL_EVENT_FREEZE;
		break;
	case CTL_EVENT_STOP:
		lane->stopping = true;
		error = append_marker(t, lane, e->time_ns, MARKER_STOP, "asked to stop");
		break;
	case CTL_EVENT_EXIT:
	case CTL_EVENT_UNADOPT:
		lane->gone = true;
		forget_lane(t, lane);
		break;
	case CTL_EVENT_AFFINE:
		error = affine(t, lane, e);
		break;
	default:
		break;
	}
	return error ? error : update(t, lane, e->time_ns);
}

int timeline_add(struct timeline *t, const struct ctl_event *e)
{
	if (e->time_ns < t->begin)
		return 0;
	if (t->changes >= CHANGES_MOST) {
		t->full = t->left_out++ ? t->full : e->time_ns;
		return 0;
	}
	t->events++;
	if (e->type >= CTL_EVENT_CREATE && e->type <= CTL_EVENT_AFFINE)
		return thread_event(t, e);
	switch (e->type) {
	case CTL_EVENT_VIEW:
		if (e->online)
			model_cpus(t->dump, e->online, t->online);
		if (e->usable_cpus)
			model_cpus(t->dump, e->usable_cpus, t->usable);
		return update_cpus(t, e->time_ns);
	case CTL_EVENT_CPU:
		if (e->cpu >= (int64_t)t->dump->width)
			return 0;
		if (e->usable) {
			kt_cpus_add(t->dump->setsize, t->usable, (unsigned int)e->cpu);
			kt_cpus_add(t->dump->setsize, t->online, (unsigned int)e->cpu);
		} else {
			kt_cpus_remove(t->dump->setsize, t->usable, (unsigned int)e->cpu);
		}
		return append_segment(t, &t->cpus[e->cpu], e->time_ns, cpu_state(t, (unsigned int)e->cpu), "");
	case CTL_EVENT_LOST:
		t->first_lost = t->lost > 0 ? t->first_lost : e->time_ns;
		t->lost += e->count;
		return 0;
	default:
		return 0;
	}
}
