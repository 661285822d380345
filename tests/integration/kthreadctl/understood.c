/* SPDX-License-Identifier: MIT */
/*
 * What the library says, the command understands: a dump and the events of a process, this one, on real and invented
 * machines, by the command's own parser; and the pictures made of them.
 */
#include "../await.h"

#include "../../unit/kthreadctl/svg_check.h"
#include "base/trace.h"
#include "kthreadctl/lanes.h"
#include "kthreadctl/timeline.h"
#include "sim.h"

static int works(void *data)
{
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		kthread_wait_parkable();
	}
	return 3;
}

static struct ctl_dump *dump(void)
{
	struct ctl_dump *d;
	char error[200], *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(kthread_dump(f, KTHREAD_JSON), 0);
	assert_int_equal(fclose(f), 0);
	if (model_parse(text, size, &d, error, sizeof(error)))
		fail_msg("%s\n%s", error, text);
	free(text);
	return d;
}

static const struct ctl_thread *found(const struct ctl_dump *d, const struct kthread *k)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		if (d->threads[i].tid == kthread_tid(k))
			return &d->threads[i];
	}
	fail_msg("\"%s\" is not in the dump", kthread_name(k));
	return NULL;
}

static void says_the_same(const struct ctl_dump *d, const struct kthread *k, const char *state)
{
	const struct ctl_thread *t = found(d, k);
	const size_t size = kthread_setsize();
	cpu_set_t *is = calloc(1, size);
	char list[1024], *model = model_list(d, t->effective);

	assert_non_null(is);
	assert_non_null(model);
	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_EFFECTIVE, size, is), 0);
	assert_true(kthread_cpulist_format(size, is, list, sizeof(list)) < (int)sizeof(list));
	assert_string_equal(model, list);
	assert_string_equal(t->name, kthread_name(k));
	assert_string_equal(t->state_name, state);
	assert_true(t->state != CTL_STATE_OTHER && t->kind != CTL_KIND_OTHER && t->wish != CTL_WISH_OTHER);
	free(model);
	free(is);
}

static void draws(const struct ctl_dump *d)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(map_svg(d, false, f), 0);
	assert_int_equal(fclose(f), 0);
	svg_check(text);
	free(text);
}

/* Three threads of each wish that matters. */
static void dumps_of_this(unsigned int cpus)
{
	struct kthread *any = kthread_run(works, NULL, "any"), *own = kthread_run_on_cpu(works, NULL, 0, "own/%u"),
		       *parked;
	struct ctl_dump *d;

	assert_non_null(any);
	assert_non_null(own);
	parked = kthread_run(works, NULL, "a \"name\"\\ \xff\n/7");
	assert_non_null(parked);
	assert_int_equal(kthread_park(parked), 0);
	await_waiting(any);
	await_waiting(own);
	d = dump();
	if (cpus)
		assert_int_equal(d->width, cpus);
	says_the_same(d, any, "waiting");
	says_the_same(d, own, "waiting");
	assert_string_equal(found(d, parked)->name, "a \"name\"\\ \xef\xbf\xbd\n/7");
	assert_int_equal(found(d, parked)->state, CTL_PARKED);
	assert_int_equal(found(d, parked)->index, 7);
	draws(d);
	model_free(d);
	kthread_stop(any);
	kthread_stop(own);
	kthread_stop(parked);
}

static void dumps(void **state)
{
	static const struct {
		const char *name;
		unsigned int cpus;
	} machines[] = {{"uni", 1}, {"numa", 8}, {"sparse", 0}, {"cgroup2", 0}, {"huge", 4096}};

	for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		sim_tree(machines[i].name);
		sim_start(NULL);
		dumps_of_this(machines[i].cpus);
		sim_stop();
	}
	assert_int_equal(kthread_init(NULL), 0); /* and this one */
	dumps_of_this(0);
	assert_int_equal(kthread_fini(), 0);
}

static void nobody(void *arg)
{
}

/* All that has been told, into the timeline; each line must be known. */
static void listen(struct timeline *t, uint64_t *cursor)
{
	char *text = malloc(KT_TRACE_RING), *rest, *line, error[200];
	uint64_t lost = 0;
	size_t length;

	assert_non_null(text);
	while ((length = kt_trace_read(cursor, text, KT_TRACE_RING - 1, &lost)) > 0) {
		text[length] = '\0';
		for (rest = text; (line = strsep(&rest, "\n")) && *line;) {
			struct ctl_event *e;

			if (model_parse_event(line, strlen(line), &e, error, sizeof(error)))
				fail_msg("%s: %s", error, line);
			assert_int_not_equal(e->type, CTL_EVENT_OTHER);
			assert_int_equal(timeline_add(t, e), 0);
			model_event_free(e);
		}
	}
	assert_int_equal(lost, 0);
	free(text);
}

static const struct lane *lane_of(const struct timeline *t, int64_t tid)
{
	for (const struct lane *lane = t->threads; lane; lane = lane->next) {
		if (lane->tid == tid)
			return lane;
	}
	fail_msg("no lane");
	return NULL;
}

static bool was(const struct lane *lane, enum lane_state state, const char *cpus)
{
	for (size_t i = 0; i < lane->n_segments; i++) {
		if (lane->segments[i].state == state && strcmp(lane->segments[i].cpus, cpus) == 0)
			return true;
	}
	return false;
}

static void events(void **state)
{
	struct kthread *moves, *comes, *own;
	const struct lane *lane;
	struct ctl_dump *d;
	struct timeline *t;
	uint64_t cursor;
	pid_t moves_tid, comes_tid;
	char *text;
	size_t size;
	FILE *f;

	sim_tree("numa");
	sim_start(NULL);
	moves = kthread_create(works, NULL, "moves");
	own = kthread_run_on_cpu(works, NULL, 3, "own/%u");
	assert_non_null(moves);
	assert_non_null(own);
	assert_int_equal(kthread_bind(moves, 3), 0);
	kthread_wake(moves);
	moves_tid = kthread_tid(moves);
	await_waiting(moves);
	await_waiting(own);

	assert_int_equal(kt_trace_attach(nobody, NULL), 0);
	cursor = kt_trace_tail();
	d = dump();
	assert_int_equal(timeline_begin(d, &t), 0);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	comes = kthread_run(works, NULL, "comes");
	assert_non_null(comes);
	comes_tid = kthread_tid(comes);
	await_waiting(comes);
	assert_int_equal(kthread_park(comes), 0);
	kthread_unpark(comes);
	assert_int_equal(kthread_stop(comes), 3);
	listen(t, &cursor);
	kt_trace_detach();

	assert_int_equal(t->cpus[3].n_segments, 3);
	assert_int_equal(t->cpus[3].segments[1].state, LANE_UNUSABLE);
	assert_int_equal(t->cpus[3].segments[2].state, LANE_USABLE);
	lane = lane_of(t, moves_tid);
	assert_true(was(lane, LANE_ACTIVE, "3") && was(lane, LANE_BROKEN, "0-2,4-7"));
	assert_int_equal(lane->segments[lane->n_segments - 1].state, LANE_ACTIVE);
	assert_int_equal(lane->n_markers, 2);
	lane = lane_of(t, comes_tid);
	assert_true(lane->came && lane->gone);
	assert_true(was(lane, LANE_ACTIVE, "0-7") && was(lane, LANE_PARKED, "0-7"));

	f = open_memstream(&text, &size);
	assert_non_null(f);
	assert_int_equal(timeline_svg(t, (int64_t)now_ns(), f), 0);
	assert_int_equal(fclose(f), 0);
	svg_check(text);
	free(text);
	timeline_free(t);
	model_free(d);
	kthread_stop(moves);
	kthread_stop(own);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(dumps),
	    cmocka_unit_test(events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
