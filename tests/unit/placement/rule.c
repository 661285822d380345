/* SPDX-License-Identifier: MIT */
/*
 * kt_rule(): the table of the design's section 3 row by row, and properties of random views and wishes against a model
 * that knows nothing of bit sets.
 *
 * TEST_SEED=N repeats a run; the seed is printed.
 */
#include <string.h>
#include <time.h>

#include "view.h"

/* ---- the table, on 8 CPUs as bits -------------------------------------------------------------------------------- */

struct row {
	const char *about;
	enum kthread_wish kind;
	uint8_t wish; /* mask, or the node's CPUs */
	uint8_t usable, housekeeping;
	uint8_t effective;
	bool broken;
};

#define NONE KTHREAD_WISH_NONE
#define NODE KTHREAD_WISH_NODE
#define PREFERRED KTHREAD_WISH_PREFERRED
#define BOUND KTHREAD_WISH_BOUND
#define PER_CPU KTHREAD_WISH_PER_CPU

static const struct row rows[] = {
    /* E = (preferred | node | HK) & HK & usable */
    {"nothing", NONE, 0, 0xff, 0xff, 0xff, false},
    {"nothing, isolated CPUs", NONE, 0, 0xff, 0x0f, 0x0f, false},
    {"nothing, CPUs off", NONE, 0, 0x3c, 0x0f, 0x0c, false},
    {"preferred", PREFERRED, 0x0c, 0xff, 0xff, 0x0c, false},
    {"preferred, one off", PREFERRED, 0x0c, 0xf7, 0xff, 0x04, false},
    {"preferred, one isolated", PREFERRED, 0x0c, 0xff, 0xf7, 0x04, false},
    {"preferred, one off, the other isolated", PREFERRED, 0x0c, 0xf7, 0xfb, 0xf3, false},
    {"node", NODE, 0x30, 0xff, 0xff, 0x30, false},
    {"node, half off", NODE, 0x30, 0xdf, 0xff, 0x10, false},
    {"node, half isolated", NODE, 0x30, 0xff, 0xdf, 0x10, false},
    /* empty -> HK & usable */
    {"preferred, all off", PREFERRED, 0x0c, 0xf3, 0xff, 0xf3, false},
    {"preferred, all isolated", PREFERRED, 0xc0, 0xff, 0x0f, 0x0f, false},
    {"preferred, all off, others isolated", PREFERRED, 0x0c, 0xf3, 0x0f, 0x03, false},
    {"node, all off", NODE, 0x30, 0xcf, 0xff, 0xcf, false},
    {"node without CPUs", NODE, 0, 0xff, 0x0f, 0x0f, false},
    /* empty -> usable */
    {"nothing, housekeeping all off", NONE, 0, 0xf0, 0x0f, 0xf0, false},
    {"nothing, no housekeeping at all", NONE, 0, 0xff, 0, 0xff, false},
    {"preferred on line, housekeeping all off", PREFERRED, 0x30, 0xf0, 0x0f, 0xf0, false},
    {"node on line, housekeeping all off", NODE, 0x30, 0xf0, 0x0f, 0xf0, false},
    /* bound: E = wish & usable */
    {"bound", BOUND, 0x08, 0xff, 0xff, 0x08, false},
    {"bound, isolated", BOUND, 0x80, 0xff, 0x0f, 0x80, false},
    {"bound mask", BOUND, 0x0c, 0xff, 0x0f, 0x0c, false},
    {"bound mask, one off", BOUND, 0x0c, 0xf7, 0xff, 0x04, false},
    {"bound mask across housekeeping", BOUND, 0x18, 0xff, 0x0f, 0x18, false},
    {"bound, housekeeping all off", BOUND, 0x20, 0xf0, 0x0f, 0x20, false},
    /* empty -> broken: HK & usable, flagged */
    {"bound, off", BOUND, 0x08, 0xf7, 0xff, 0xf7, true},
    {"bound, off, others isolated", BOUND, 0x08, 0xf7, 0x0f, 0x07, true},
    {"bound mask, all off", BOUND, 0x0c, 0xf3, 0xff, 0xf3, true},
    {"bound, off, housekeeping all off", BOUND, 0x08, 0xf0, 0x0f, 0xf0, true},
    /* {cpu} if usable, else parked; what it may run on meanwhile is as for a bound one */
    {"per-CPU", PER_CPU, 0x40, 0xff, 0x0f, 0x40, false},
    {"per-CPU, off", PER_CPU, 0x40, 0xbf, 0x0f, 0x0f, true},
    {"per-CPU, off, housekeeping all off", PER_CPU, 0x40, 0xb0, 0x0f, 0xb0, true},
    /* one CPU left */
    {"bound to the last", BOUND, 0x01, 0x01, 0xff, 0x01, false},
    {"nothing, the last, isolated", NONE, 0, 0x80, 0x0f, 0x80, false},
    {"preferred elsewhere, the last", PREFERRED, 0x0c, 0x01, 0xff, 0x01, false},
};

static void kt_rule__the_table(void **state)
{
	struct kt_view *view = view_make(8);
	cpu_set_t *mask = calloc(1, view->setsize);
	cpu_set_t *effective = malloc(view->setsize);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		const struct kt_wish wish = {
		    .kind = row->kind, .number = -1, .mask = row->kind == NONE || row->kind == NODE ? NULL : mask};
		bool broken;

		set_bits(view->setsize, view->set[KT_POSSIBLE], 0xff);
		set_bits(view->setsize, view->set[KT_USABLE], row->usable);
		set_bits(view->setsize, view->set[KT_HOUSEKEEPING], row->housekeeping);
		set_bits(view->setsize, mask, row->wish);
		memset(effective, 0xa5, view->setsize);
		broken = kt_rule(&wish, row->kind == NODE ? mask : NULL, view, effective);
		if (broken != row->broken || get_bits(view->setsize, effective) != row->effective)
			fail_msg("%s: %#lx%s, wanted %#x%s", row->about,
			         (unsigned long)get_bits(view->setsize, effective), broken ? " broken" : "",
			         row->effective, row->broken ? " broken" : "");
	}
	free(effective);
	free(mask);
	free(view);
}

/* ---- a model without bit sets ------------------------------------------------------------------------------------ */

#define MOST 4096

struct model {
	unsigned int count;
	bool usable[MOST], housekeeping[MOST];
	enum kthread_wish kind;
	bool wish[MOST];
};

struct answer {
	bool on[MOST];
	bool broken;
};

static unsigned int seed;

static unsigned int below(unsigned int limit)
{
	return (unsigned int)rand_r(&seed) % limit;
}

/* CPU by CPU, in words: may this one be used in this round? */
static bool grants(const struct model *model, unsigned int cpu, int round)
{
	const bool bound = model->kind == BOUND || model->kind == PER_CPU;

	if (!model->usable[cpu])
		return false;
	switch (round) {
	case 0: /* the wish; one without is the housekeepers' */
		if (bound)
			return model->wish[cpu];
		return model->housekeeping[cpu] && (model->kind == NONE || model->wish[cpu]);
	case 1: /* any housekeeper */
		return model->housekeeping[cpu];
	default:
		return true;
	}
}

static void ask_model(const struct model *model, struct answer *answer)
{
	const bool bound = model->kind == BOUND || model->kind == PER_CPU;

	memset(answer, 0, sizeof(*answer));
	for (int round = 0; round < 3; round++) {
		bool any = false;

		for (unsigned int cpu = 0; cpu < model->count; cpu++) {
			answer->on[cpu] = grants(model, cpu, round);
			any |= answer->on[cpu];
		}
		if (any)
			return;
		answer->broken = bound;
	}
}

/* A set of the density that is asked for, in 8ths; sometimes just one CPU. */
static void random_set(bool *set, unsigned int count, unsigned int density)
{
	for (unsigned int cpu = 0; cpu < MOST; cpu++)
		set[cpu] = cpu < count && below(8) < density;
	if (below(4) == 0) {
		memset(set, 0, MOST);
		set[below(count)] = true;
	}
}

static void random_model(struct model *model)
{
	static const unsigned int sizes[] = {1, 2, 8, 63, 64, 65, 128, 1000, 1023, 1024, 1025, 4095, 4096};

	model->count = below(2) ? sizes[below(sizeof(sizes) / sizeof(sizes[0]))] : 1 + below(MOST);
	random_set(model->usable, model->count, below(9));
	random_set(model->housekeeping, model->count, below(9));
	model->kind = (enum kthread_wish)below(5);
	if (model->kind == PER_CPU) {
		memset(model->wish, 0, sizeof(model->wish));
		model->wish[below(model->count)] = true;
	} else {
		random_set(model->wish, model->count, model->kind == NODE ? below(9) : 1 + below(8));
	}
	if (model->kind == BOUND || model->kind == PREFERRED) /* these are never empty */
		model->wish[below(model->count)] = true;
}

/* As `bool` of each CPU into bits. */
static void copy_set(const struct model *model, const bool *from, size_t setsize, cpu_set_t *to)
{
	kt_cpus_zero(setsize, to);
	for (unsigned int cpu = 0; cpu < model->count; cpu++) {
		if (from[cpu])
			kt_cpus_add(setsize, to, cpu);
	}
}

/* A place for everything one question needs. */
struct question {
	struct kt_view *view;
	cpu_set_t *mask, *effective;
	bool broken;
};

static void ask(const struct model *model, struct question *q)
{
	const bool masked = model->kind == BOUND || model->kind == PER_CPU || model->kind == PREFERRED;
	struct kt_wish wish = {.kind = model->kind, .number = -1};

	q->view = view_make(model->count);
	q->mask = calloc(1, q->view->setsize);
	q->effective = malloc(q->view->setsize);
	memset(q->effective, (int)below(256), q->view->setsize);
	for (unsigned int cpu = 0; cpu < model->count; cpu++)
		kt_cpus_add(q->view->setsize, q->view->set[KT_POSSIBLE], cpu);
	copy_set(model, model->usable, q->view->setsize, q->view->set[KT_USABLE]);
	copy_set(model, model->housekeeping, q->view->setsize, q->view->set[KT_HOUSEKEEPING]);
	copy_set(model, model->wish, q->view->setsize, q->mask);
	wish.mask = masked ? q->mask : NULL;
	q->broken = kt_rule(&wish, model->kind == NODE ? q->mask : NULL, q->view, q->effective);
}

static void done(struct question *q)
{
	free(q->effective);
	free(q->mask);
	free(q->view);
}

static void assert_answer(const struct model *model, const struct question *q, const struct answer *answer)
{
	for (unsigned int cpu = 0; cpu < model->count; cpu++) {
		if (kt_cpus_test(q->view->setsize, q->effective, cpu) != answer->on[cpu])
			fail_msg("%u CPUs, kind %d: CPU %u: wanted %d", model->count, (int)model->kind, cpu,
			         answer->on[cpu]);
	}
	assert_true(kt_cpus_last(q->view->setsize, q->effective) < (int)model->count);
	assert_int_equal(q->broken, answer->broken);
}

#define TURNS 1500

static void kt_rule__agrees_with_the_model(void **state)
{
	static struct model model;
	static struct answer answer;

	for (int turn = 0; turn < TURNS; turn++) {
		struct question q;

		random_model(&model);
		ask_model(&model, &answer);
		ask(&model, &q);
		assert_answer(&model, &q, &answer);
		done(&q);
	}
}

static void kt_rule__never_empty_and_never_beyond_usable(void **state)
{
	static struct model model;

	for (int turn = 0; turn < TURNS; turn++) {
		const cpu_set_t *usable;
		struct question q;

		random_model(&model);
		ask(&model, &q);
		usable = q.view->set[KT_USABLE];
		assert_true(kt_cpus_subset(q.view->setsize, q.effective, usable));
		assert_int_equal(kt_cpus_empty(q.view->setsize, q.effective), kt_cpus_empty(q.view->setsize, usable));
		done(&q);
	}
}

static void kt_rule__bound_ignores_housekeeping_and_is_broken_only_without_a_cpu(void **state)
{
	static struct model model;

	for (int turn = 0; turn < TURNS; turn++) {
		struct question before;
		struct question after;
		bool meets = false;

		random_model(&model);
		if (model.kind != PER_CPU) {
			model.kind = BOUND;
			model.wish[below(model.count)] = true;
		}
		for (unsigned int cpu = 0; cpu < model.count; cpu++)
			meets |= model.wish[cpu] && model.usable[cpu];
		ask(&model, &before);
		random_set(model.housekeeping, model.count, below(9));
		ask(&model, &after);
		assert_int_equal(before.broken, !meets);
		assert_int_equal(after.broken, !meets);
		if (meets)
			assert_true(kt_cpus_equal(before.view->setsize, before.effective, after.effective));
		done(&before);
		done(&after);
	}
}

/* A CPU goes and comes back: so does the answer. And more usable CPUs never take a bound thread off those it had. */
static void kt_rule__what_returns_gives_the_wish_back(void **state)
{
	static struct model model;

	for (int turn = 0; turn < TURNS; turn++) {
		struct question before;
		struct question without;
		struct question after;
		unsigned int cpu;

		random_model(&model);
		cpu = below(model.count);
		model.usable[cpu] = true;
		ask(&model, &before);
		model.usable[cpu] = false;
		ask(&model, &without);
		assert_false(kt_cpus_test(without.view->setsize, without.effective, cpu));
		model.usable[cpu] = true;
		ask(&model, &after);
		assert_int_equal(before.broken, after.broken);
		assert_true(kt_cpus_equal(before.view->setsize, before.effective, after.effective));
		if ((model.kind == BOUND || model.kind == PER_CPU) && !without.broken)
			assert_true(kt_cpus_subset(after.view->setsize, without.effective, after.effective));
		if ((model.kind == BOUND || model.kind == PER_CPU) && model.wish[cpu]) {
			assert_false(after.broken);
			assert_true(kt_cpus_test(after.view->setsize, after.effective, cpu));
		}
		done(&before);
		done(&without);
		done(&after);
	}
}

/* Preferred and node: the wish, then the other housekeepers, then what there is; never a mix. */
static void kt_rule__unbound_falls_back_in_order(void **state)
{
	static struct model model;

	for (int turn = 0; turn < TURNS; turn++) {
		bool wished = false;
		bool kept = false;
		struct question q;

		random_model(&model);
		model.kind = below(2) ? PREFERRED : NODE;
		ask(&model, &q);
		for (unsigned int cpu = 0; cpu < model.count; cpu++) {
			wished |= model.wish[cpu] && model.housekeeping[cpu] && model.usable[cpu];
			kept |= model.housekeeping[cpu] && model.usable[cpu];
		}
		for (unsigned int cpu = 0; cpu < model.count; cpu++) {
			if (!kt_cpus_test(q.view->setsize, q.effective, cpu))
				continue;
			if (wished)
				assert_true(model.wish[cpu]);
			if (kept)
				assert_true(model.housekeeping[cpu]);
		}
		assert_false(q.broken);
		done(&q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kt_rule__the_table),
	    cmocka_unit_test(kt_rule__agrees_with_the_model),
	    cmocka_unit_test(kt_rule__never_empty_and_never_beyond_usable),
	    cmocka_unit_test(kt_rule__bound_ignores_housekeeping_and_is_broken_only_without_a_cpu),
	    cmocka_unit_test(kt_rule__what_returns_gives_the_wish_back),
	    cmocka_unit_test(kt_rule__unbound_falls_back_in_order),
	};
	const char *text = getenv("TEST_SEED");

	seed = text ? (unsigned int)strtoul(text, NULL, 10) : (unsigned int)time(NULL);
	printf("TEST_SEED=%u\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
