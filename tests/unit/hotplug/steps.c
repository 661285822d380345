/* SPDX-License-Identifier: MIT */
/*
 * The step machine against a model that knows only the rules: for a sequence of registrations, removals, CPUs that come
 * and go, and answers of the functions, exactly these calls, in this order, with this result and this state afterwards.
 *
 *   exhaustive   every sequence of a few operations, with every choice of which calls fail, up to so many; calls made on
 *                the way back count as any other
 *   random       long ones, with more of everything. TEST_SEED=N repeats a run; the seed is printed
 *
 * The functions of steps that have both keep an account besides: no startup where it is up, no teardown where it is not.
 */
#include "hotplug/steps.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/log.h"
#include "machine/cpumask.h"

enum { SLOTS = 6, INSTANCES = 4, CPUS = 4, MOST_CALLS = SLOTS * INSTANCES * CPUS * 2 };
#define SETSIZE ((size_t)16)

/* Of different words of a set. */
static const unsigned int numbers[CPUS] = {0, 1, 64, 127};

static int index_of(unsigned int cpu)
{
	for (int i = 0; i < CPUS; i++) {
		if (numbers[i] == cpu)
			return i;
	}
	fail_msg("called for CPU %u", cpu);
	return 0;
}

static char things[INSTANCES];

/* Number 0 is NULL, which a single step may have for its arg. */
static void *address_of(int instance)
{
	return instance ? &things[instance] : NULL;
}

enum what { STARTUP, TEARDOWN };

struct call {
	enum what what;
	int slot, instance, cpu;
	bool there; /* on that CPU */
	int answer;
};

struct calls {
	struct call list[MOST_CALLS];
	size_t count;
};

static struct calls expected, made;
static char history[4096]; /* of this sequence, for a message */

/* ---- what happens is chosen -------------------------------------------------------------------------------------- */

/* Each choice of a run, the last of which is another in the next run. */
static struct {
	bool random;
	struct {
		unsigned int value, below;
	} trail[256];
	size_t depth, length;
	unsigned int failures; /* how many more may be chosen */
	unsigned int one_in;   /* random: a call fails so often; 0 = never */
	unsigned int lot;
} chooser;

static unsigned int draw(unsigned int below)
{
	chooser.lot = chooser.lot * 1664525u + 1013904223u;
	return (chooser.lot >> 8) % below;
}

static unsigned int choose(unsigned int below)
{
	if (chooser.random)
		return draw(below);
	if (chooser.depth == chooser.length) {
		assert_true(chooser.length < sizeof(chooser.trail) / sizeof(chooser.trail[0]));
		chooser.trail[chooser.length].value = 0;
		chooser.trail[chooser.length++].below = below;
	}
	assert_int_equal(chooser.trail[chooser.depth].below, below);
	return chooser.trail[chooser.depth++].value;
}

/* False: every run has been. */
static bool next_run(void)
{
	while (chooser.length > 0 &&
	       chooser.trail[chooser.length - 1].value + 1 == chooser.trail[chooser.length - 1].below)
		chooser.length--;
	if (chooser.length == 0)
		return false;
	chooser.trail[chooser.length - 1].value++;
	return true;
}

static bool chooses_failure(void)
{
	if (chooser.random)
		return chooser.one_in && draw(chooser.one_in) == 0;
	if (chooser.failures == 0 || choose(2) == 0)
		return false;
	chooser.failures--;
	return true;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

struct model_step {
	bool exists;
	int number, section;
	bool multi;
	bool has[2];
	int64_t failures;
	int instances[INSTANCES]; /* newest first */
	int count;
	bool up[INSTANCES][CPUS];
};

static struct model_step model[SLOTS];
static int64_t model_failures; /* of all that ever were */
static int last_number;

/* A call that the rules ask for: the answer that it shall get, as an error. */
static int expect(enum what what, int slot, int instance, int cpu)
{
	const struct model_step *step = &model[slot];
	struct call *call = &expected.list[expected.count];
	const int number = 100 + (int)expected.count;

	if (!step->has[what])
		return 0;
	assert_true(expected.count < MOST_CALLS);
	*call = (struct call){what, slot, instance, cpu, step->section == KTHREAD_CPUHP_ONLINE, 0};
	if (chooses_failure())
		call->answer = expected.count % 2 ? number : -number;
	expected.count++;
	return call->answer ? -number : 0;
}

static void failed_for_nothing(int slot)
{
	model[slot].failures++;
	model_failures++;
}

struct pair {
	int slot, instance;
};

static int before(int slot, int other)
{
	const struct model_step *a = &model[slot];
	const struct model_step *b = &model[other];

	return a->section != b->section ? a->section < b->section : a->number < b->number;
}

/* All of a section: steps ascending or descending, the instances of each newest first. */
static size_t pairs_of(int section, bool ascending, struct pair *pairs)
{
	int order[SLOTS];
	int steps = 0;
	size_t count = 0;

	for (int slot = 0; slot < SLOTS; slot++) {
		int at = steps;

		if (!model[slot].exists || model[slot].section != section)
			continue;
		for (; at > 0 && before(slot, order[at - 1]) == ascending; at--)
			order[at] = order[at - 1];
		order[at] = slot;
		steps++;
	}
	for (int i = 0; i < steps; i++) {
		for (int j = 0; j < model[order[i]].count; j++)
			pairs[count++] = (struct pair){order[i], model[order[i]].instances[j]};
	}
	return count;
}

static int expect_pass(int section, int cpu, bool up, bool forced)
{
	struct pair pairs[SLOTS * INSTANCES];
	bool done[SLOTS][INSTANCES] = {{false}};
	size_t count = pairs_of(section, up, pairs);
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		const struct pair p = pairs[i];

		if (model[p.slot].up[p.instance][cpu] == up)
			continue;
		error = expect(up ? STARTUP : TEARDOWN, p.slot, p.instance, cpu);
		if (error && forced) {
			failed_for_nothing(p.slot);
			error = 0;
		}
		if (!error) {
			model[p.slot].up[p.instance][cpu] = up;
			done[p.slot][p.instance] = true;
		}
	}
	if (!error)
		return 0;
	count = pairs_of(section, !up, pairs);
	for (size_t i = 0; i < count; i++) {
		const struct pair p = pairs[i];

		if (!done[p.slot][p.instance])
			continue;
		if (expect(up ? TEARDOWN : STARTUP, p.slot, p.instance, cpu) == 0)
			model[p.slot].up[p.instance][cpu] = !up;
		else
			failed_for_nothing(p.slot);
		if (up)
			model[p.slot].up[p.instance][cpu] = false;
	}
	return error;
}

static int expect_gone(int slot, int instance, bool calls)
{
	struct model_step *step = &model[slot];
	int first = 0;

	for (int cpu = 0; cpu < CPUS; cpu++) {
		const int error = calls && step->up[instance][cpu] ? expect(TEARDOWN, slot, instance, cpu) : 0;

		if (error)
			failed_for_nothing(slot);
		first = first ? first : error;
		step->up[instance][cpu] = false;
	}
	for (int i = 0, to = 0; i < step->count; i++) {
		if (step->instances[i] != instance)
			step->instances[to++] = step->instances[i];
	}
	step->count--;
	return first;
}

static bool has_instance(int slot, int instance)
{
	for (int i = 0; i < model[slot].count; i++) {
		if (model[slot].instances[i] == instance)
			return true;
	}
	return false;
}

static int expect_new(int slot, int instance, unsigned int cpus, bool calls)
{
	struct model_step *step = &model[slot];
	int error = 0;

	if (has_instance(slot, instance))
		return -EEXIST;
	memmove(&step->instances[1], &step->instances[0], (size_t)step->count * sizeof(step->instances[0]));
	step->instances[0] = instance;
	step->count++;
	for (int cpu = 0; cpu < CPUS && !error; cpu++) {
		if (!(cpus >> cpu & 1))
			continue;
		error = calls ? expect(STARTUP, slot, instance, cpu) : 0;
		step->up[instance][cpu] = !error;
	}
	if (error)
		expect_gone(slot, instance, true);
	return error;
}

/* ---- the machine, and its functions ------------------------------------------------------------------------------ */

static struct kt_steps steps;
static int hop = -1; /* the CPU we are on */
static int64_t logged;
static bool account[SLOTS][INSTANCES][CPUS];
static bool failure_ends_it; /* a teardown that fails now does not leave it up */

static int on_cpu(unsigned int cpu, int (*job)(void *arg), void *arg)
{
	int result;

	assert_int_equal(hop, -1);
	hop = (int)cpu;
	result = job(arg);
	hop = -1;
	return result;
}

static void count_message(int level, const char *message, void *arg)
{
	assert_int_equal(level, LOG_ERR);
	logged++;
}

static int called(enum what what, int slot, unsigned int number, void *arg)
{
	const int cpu = index_of(number);
	const int instance = arg ? (int)((char *)arg - things) : 0;
	bool *up = &account[slot][instance][cpu];
	struct call *call = &made.list[made.count];

	assert_true(made.count < MOST_CALLS);
	*call = (struct call){what, slot, instance, cpu, hop == (int)number, 0};
	assert_true(call->there || hop < 0);
	assert_int_equal(pthread_mutex_trylock(&steps.lock), 0); /* nobody who looks on has to wait for us */
	pthread_mutex_unlock(&steps.lock);
	if (made.count < expected.count)
		call->answer = expected.list[made.count].answer;
	made.count++;
	if (!model[slot].has[STARTUP] || !model[slot].has[TEARDOWN])
		return call->answer;
	if (*up == (what == STARTUP))
		fail_msg("%sslot %d, instance %d, CPU %u: unpaired %s", history, slot, instance, number,
		         what == STARTUP ? "startup" : "teardown");
	if (!call->answer || (what == TEARDOWN && failure_ends_it))
		*up = what == STARTUP;
	return call->answer;
}

#define SLOT(n) \
	static int startup_##n(unsigned int cpu, void *arg) \
	{ \
		return called(STARTUP, n, cpu, arg); \
	} \
	static int teardown_##n(unsigned int cpu, void *arg) \
	{ \
		return called(TEARDOWN, n, cpu, arg); \
	}
SLOT(0)
SLOT(1)
SLOT(2)
SLOT(3)
SLOT(4)
SLOT(5)

/* A step is told by its functions: an address may be an instance of several. */
static const kthread_cpuhp_fn functions[SLOTS][2] = {{startup_0, teardown_0}, {startup_1, teardown_1},
                                                     {startup_2, teardown_2}, {startup_3, teardown_3},
                                                     {startup_4, teardown_4}, {startup_5, teardown_5}};

static cpu_set_t *set_of(unsigned int cpus)
{
	static cpu_set_t set;

	kt_cpus_zero(SETSIZE, &set);
	for (int cpu = 0; cpu < CPUS; cpu++) {
		if (cpus >> cpu & 1)
			kt_cpus_add(SETSIZE, &set, numbers[cpu]);
	}
	return &set;
}

static void assert_same_calls(const char *doing)
{
	for (size_t i = 0; i < expected.count || i < made.count; i++) {
		const struct call *e = &expected.list[i];
		const struct call *m = &made.list[i];
		char texts[2][80] = {"nothing", "nothing"};

		if (i < expected.count)
			snprintf(texts[0], sizeof(texts[0]), "%s %d/%d CPU %d%s", e->what ? "teardown" : "startup",
			         e->slot, e->instance, e->cpu, e->there ? " there" : "");
		if (i < made.count)
			snprintf(texts[1], sizeof(texts[1]), "%s %d/%d CPU %d%s", m->what ? "teardown" : "startup",
			         m->slot, m->instance, m->cpu, m->there ? " there" : "");
		if (strcmp(texts[0], texts[1]) != 0)
			fail_msg("%s%s: call %zu: %s, wanted %s", history, doing, i, texts[1], texts[0]);
	}
}

/* One step as it is kept, and as who looks on is told. */
static void assert_same_step(int slot, const struct kt_step *step)
{
	const struct model_step *m = &model[slot];
	const struct kt_instance *instance = LIST_FIRST(&step->instances);
	unsigned int all = m->count ? 0xf : 0x5;
	cpu_set_t set;

	assert_int_equal(step->section, m->section);
	assert_int_equal(step->failures, m->failures);
	for (int i = 0; i < m->count; i++, instance = LIST_NEXT(instance, link)) {
		unsigned int up = 0;

		if (!instance || instance->address != address_of(m->instances[i]))
			fail_msg("%sstep %d: other instances", history, slot);
		assert_ptr_equal(kt_instance_find(step, instance->address), instance);
		for (int cpu = 0; cpu < CPUS; cpu++)
			up |= (unsigned int)m->up[m->instances[i]][cpu] << cpu;
		if (!kt_cpus_equal(SETSIZE, instance->up, set_of(up)))
			fail_msg("%sstep %d, instance %d: up elsewhere", history, slot, m->instances[i]);
		all &= up;
	}
	assert_null(instance);
	memset(&set, 0xa5, sizeof(set));
	kt_step_cpus(&steps, step, set_of(0x5), &set); /* what it is told only counts without an instance */
	assert_true(kt_cpus_equal(SETSIZE, &set, set_of(all)));
}

static void assert_same_state(void)
{
	const struct kt_step *step;
	int count = 0;
	int last_section = KT_CPUHP_CREATE;
	int last = 0;

	for (int slot = 0; slot < SLOTS; slot++) {
		if (!model[slot].exists)
			continue;
		count++;
		step = kt_steps_find(&steps, model[slot].number);
		assert_non_null(step);
		assert_same_step(slot, step);
	}
	TAILQ_FOREACH(step, &steps.list, link) {
		count--;
		last = step->section == last_section ? last : 0;
		assert_true(step->section >= last_section && step->number > last);
		last_section = step->section;
		last = step->number;
	}
	assert_int_equal(count, 0);
	assert_int_equal(logged, model_failures);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

enum kind { SETUP, ADD, REMOVE, REMOVE_INSTANCE, UP, DOWN, FORCED, KINDS };
static const char *const kind_names[] = {"setup", "add", "remove", "remove instance", "up", "down", "forced down"};

struct op {
	enum kind kind;
	int slot;
	int section; /* setup, up, down */
	bool multi;  /* setup */
	bool has[2]; /* setup */
	int instance;
	int cpu;
	unsigned int cpus;
	bool calls;
};

static void describe(const struct op *op, char *text, size_t size)
{
	snprintf(text, size, "%s slot %d section %d%s%s%s instance %d cpu %d cpus %#x%s", kind_names[op->kind],
	         op->slot, op->section, op->multi ? " multi" : "", op->has[STARTUP] ? "" : " no startup",
	         op->has[TEARDOWN] ? "" : " no teardown", op->instance, op->cpu, op->cpus, op->calls ? "" : " nocalls");
}

static void keep_account(int slot, int instance, unsigned int cpus)
{
	for (int cpu = 0; cpu < CPUS; cpu++)
		account[slot][instance][cpu] = cpus >> cpu & 1;
}

static int machine_adds(struct kt_step *step, const struct op *op)
{
	keep_account(op->slot, op->instance, step->startup && step->teardown && !op->calls ? op->cpus : 0);
	return kt_instance_add(&steps, step, address_of(op->instance), set_of(op->cpus), op->calls);
}

static int do_setup(const struct op *op, int *ret_expected)
{
	struct model_step *m = &model[op->slot];
	struct kt_step *step;
	char name[16];
	int result = 0;

	snprintf(name, sizeof(name), "step/%d", op->slot);
	if (m->exists) {
		errno = 0;
		assert_null(kt_steps_add(&steps, m->section, name, op->multi, NULL, NULL));
		*ret_expected = -EBUSY;
		return -errno;
	}
	*m = (struct model_step){
	    .exists = true, .section = op->section, .multi = op->multi, .has = {op->has[STARTUP], op->has[TEARDOWN]}};
	m->number = last_number + 1; /* for its place in the order */
	*ret_expected = op->multi ? 0 : expect_new(op->slot, op->instance, op->cpus, op->calls);
	step =
	    kt_steps_add(&steps, op->section, name, op->multi, op->has[STARTUP] ? functions[op->slot][STARTUP] : NULL,
	                 op->has[TEARDOWN] ? functions[op->slot][TEARDOWN] : NULL);
	assert_non_null(step);
	assert_true(step->number > last_number);
	last_number = m->number = step->number;
	if (!op->multi)
		result = machine_adds(step, op);
	if (result)
		kt_steps_drop(&steps, step);
	m->exists = *ret_expected == 0;
	return result;
}

static int do_remove(const struct op *op, int *ret_expected)
{
	struct model_step *m = &model[op->slot];
	struct kt_step *step = kt_steps_find(&steps, m->number);
	const int instance = m->instances[0];
	int result = 0;

	if (!m->exists || (m->multi && m->count)) {
		*ret_expected = 0; /* for the caller of the machine to refuse */
		return 0;
	}
	*ret_expected = m->multi ? 0 : expect_gone(op->slot, instance, op->calls);
	if (!m->multi)
		result = kt_instance_remove(&steps, step, LIST_FIRST(&step->instances), op->calls);
	kt_steps_drop(&steps, step);
	keep_account(op->slot, instance, 0);
	m->exists = false;
	return result;
}

static int do_change_instance(const struct op *op, int *ret_expected)
{
	struct model_step *m = &model[op->slot];
	struct kt_step *step = kt_steps_find(&steps, m->number);
	struct kt_instance *instance;
	int result;

	*ret_expected = 0;
	if (!m->exists || !m->multi)
		return 0;
	instance = kt_instance_find(step, address_of(op->instance));
	assert_int_equal(instance != NULL, has_instance(op->slot, op->instance));
	if (op->kind == ADD) {
		*ret_expected = expect_new(op->slot, op->instance, op->cpus, op->calls);
		return instance ? kt_instance_add(&steps, step, address_of(op->instance), set_of(op->cpus), op->calls)
		                : machine_adds(step, op);
	}
	if (!instance)
		return 0;
	*ret_expected = expect_gone(op->slot, op->instance, op->calls);
	result = kt_instance_remove(&steps, step, instance, op->calls);
	keep_account(op->slot, op->instance, 0);
	return result;
}

static int do_pass(const struct op *op, int *ret_expected)
{
	*ret_expected = expect_pass(op->section, op->cpu, op->kind == UP, op->kind == FORCED);
	if (op->kind == UP)
		return kt_steps_up(&steps, op->section, numbers[op->cpu]);
	return kt_steps_down(&steps, op->section, numbers[op->cpu], op->kind == FORCED);
}

static void play(const struct op *op)
{
	static int (*const plays[KINDS])(const struct op *, int *) = {
	    do_setup, do_change_instance, do_remove, do_change_instance, do_pass, do_pass, do_pass};
	int wanted;
	int result;
	char text[160];

	describe(op, text, sizeof(text));
	expected.count = made.count = 0;
	failure_ends_it = op->kind != DOWN;
	result = plays[op->kind](op, &wanted);
	assert_same_calls(text);
	if (strlen(history) + sizeof(text) + 64 < sizeof(history)) {
		strcat(strcat(history, text), " [");
		for (size_t i = 0; i < made.count && i < 32; i++)
			strcat(history, made.list[i].answer ? "!" : ".");
		strcat(history, "]\n");
	}
	if (result != wanted)
		fail_msg("%sresult %d, wanted %d", history, result, wanted);
	assert_same_state();
}

static void begin(void)
{
	kt_steps_init(&steps, SETSIZE, on_cpu);
	memset(model, 0, sizeof(model));
	memset(account, 0, sizeof(account));
	history[0] = '\0';
	last_number = 0;
	model_failures = logged = 0;
}

/* Everything is taken down and away, without a failure: nothing is up any more. */
static void end(void)
{
	const unsigned int one_in = chooser.one_in;

	chooser.failures = chooser.one_in = 0;
	for (int slot = 0; slot < SLOTS; slot++) {
		while (model[slot].exists && model[slot].multi && model[slot].count)
			play(&(struct op){.kind = REMOVE_INSTANCE,
			                  .slot = slot,
			                  .instance = model[slot].instances[model[slot].count - 1],
			                  .calls = true});
		play(&(struct op){.kind = REMOVE, .slot = slot, .calls = true});
	}
	for (size_t i = 0; i < sizeof(account); i++)
		assert_false(((const bool *)account)[i]);
	chooser.one_in = one_in;
	kt_steps_forget(&steps);
}

/* ---- every short sequence ---------------------------------------------------------------------------------------- */

static const struct op setups[] = {
    {.kind = SETUP, .section = KTHREAD_CPUHP_PREPARE, .has = {true, true}, .cpus = 3, .calls = true},
    {.kind = SETUP, .section = KTHREAD_CPUHP_PREPARE, .has = {true, true}, .cpus = 1, .calls = false},
    {.kind = SETUP, .section = KTHREAD_CPUHP_PREPARE, .has = {true, false}, .cpus = 3, .calls = true},
    {.kind = SETUP, .section = KTHREAD_CPUHP_ONLINE, .has = {true, true}, .cpus = 3, .calls = true},
    {.kind = SETUP, .section = KTHREAD_CPUHP_PREPARE, .multi = true, .has = {true, true}},
};
enum { SETUP_KINDS = sizeof(setups) / sizeof(setups[0]) };

static int free_slot(void)
{
	int slot = 0;

	while (slot < SLOTS && model[slot].exists)
		slot++;
	return slot;
}

/* What can be done to one step. */
static size_t options_for(int slot, struct op *options)
{
	const struct model_step *step = &model[slot];
	struct op op = {.slot = slot, .cpus = 3, .calls = true};
	size_t count = 0;

	if (step->multi) {
		for (op.instance = 1; op.instance <= 2; op.instance++) {
			op.kind = has_instance(slot, op.instance) ? REMOVE_INSTANCE : ADD;
			options[count++] = op;
		}
	}
	if (!step->multi || step->count == 0) {
		op.kind = REMOVE;
		options[count++] = op;
		op.calls = false;
		options[count++] = op;
	}
	return count;
}

static size_t options(struct op *options)
{
	size_t count = 0;

	for (int i = 0; i < SETUP_KINDS && free_slot() < 5; i++) {
		options[count] = setups[i];
		options[count++].slot = free_slot();
	}
	for (int slot = 0; slot < SLOTS; slot++) {
		if (model[slot].exists)
			count += options_for(slot, &options[count]);
	}
	for (int section = KTHREAD_CPUHP_PREPARE; section <= KTHREAD_CPUHP_ONLINE; section++) {
		struct pair pairs[SLOTS * INSTANCES];

		for (enum kind kind = UP; kind <= FORCED && pairs_of(section, true, pairs) > 0; kind++)
			options[count++] = (struct op){.kind = kind, .section = section};
	}
	return count;
}

static void every_sequence(unsigned int length, unsigned int failures, void (*furnish)(void))
{
	unsigned long runs = 0;

	chooser.random = false;
	chooser.length = 0;
	do {
		chooser.failures = 0;
		begin();
		furnish();
		chooser.depth = 0;
		chooser.failures = failures;
		for (unsigned int i = 0; i < length; i++) {
			struct op found[4 * SLOTS + SETUP_KINDS + 6];

			play(&found[choose((unsigned int)options(found))]);
		}
		end();
		runs++;
	} while (next_run());
	print_message("%lu sequences of %u, up to %u failures\n", runs, length, failures);
}

static void furnish_nothing(void)
{
}

/* A step of each sort, between others, a multi one with two instances; CPU 0 is up everywhere, 1 on some. */
static void furnish(void)
{
	struct op op = setups[0];

	play(&op);
	op = setups[4];
	op.slot = 1;
	play(&op);
	for (int instance = 1; instance <= 2; instance++)
		play(&(struct op){
		    .kind = ADD, .slot = 1, .instance = instance, .cpus = (unsigned int)instance | 1, .calls = true});
	op = setups[3];
	op.slot = 2;
	play(&op);
	op = setups[1];
	op.slot = 3;
	play(&op);
}

static void steps__every_short_sequence_with_every_failure(void **state)
{
	every_sequence(4, 2, furnish_nothing);
}

static void steps__every_failure_among_several_steps(void **state)
{
	every_sequence(2, 3, furnish);
	every_sequence(3, 1, furnish);
}

/* ---- long ones ---------------------------------------------------------------------------------------------------- */

static struct op any_op(void)
{
	static const enum kind kinds[] = {SETUP, SETUP, ADD, ADD,  ADD,  REMOVE, REMOVE_INSTANCE,
	                                  UP,    UP,    UP,  DOWN, DOWN, DOWN,   FORCED};
	struct op op = {
	    .kind = kinds[draw(sizeof(kinds) / sizeof(kinds[0]))],
	    .slot = (int)draw(SLOTS),
	    .section = (int)draw(3) + KT_CPUHP_CREATE,
	    .multi = draw(2) == 0,
	    .has = {draw(8) != 0, draw(8) != 0},
	    .cpu = (int)draw(CPUS),
	    .cpus = draw(1u << CPUS),
	    .calls = draw(4) != 0,
	};

	/* a single step may have NULL */
	op.instance = op.kind == SETUP ? (int)draw(INSTANCES) : 1 + (int)draw(INSTANCES - 1);
	return op;
}

static void steps__long_random_sequences(void **state)
{
	const char *given = getenv("TEST_SEED");
	const unsigned int seed = given ? (unsigned int)strtoul(given, NULL, 10) : (unsigned int)time(NULL);

	print_message("TEST_SEED=%u\n", seed);
	chooser.random = true;
	chooser.lot = seed;
	for (int run = 0; run < 1000; run++) {
		begin();
		for (int i = 0; i < 200; i++) {
			const struct op op = any_op();

			chooser.one_in = draw(2) ? 0 : 2 + draw(12);
			play(&op);
		}
		end();
	}
}

/* ---- what is refused ---------------------------------------------------------------------------------------------- */

static void kt_steps_add__refuses(void **state)
{
	struct kt_step *step;

	begin();
	errno = 0;
	assert_null(kt_steps_add(&steps, KT_CPUHP_CREATE - 1, "a", false, NULL, NULL));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kt_steps_add(&steps, KTHREAD_CPUHP_ONLINE + 1, "a", false, NULL, NULL));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kt_steps_add(&steps, KTHREAD_CPUHP_PREPARE, NULL, false, NULL, NULL));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kt_steps_add(&steps, KTHREAD_CPUHP_PREPARE, "", false, NULL, NULL));
	assert_int_equal(errno, EINVAL);
	step = kt_steps_add(&steps, KTHREAD_CPUHP_PREPARE, "a", false, NULL, NULL);
	assert_non_null(step);
	/* in whatever section, but for the library's own */
	errno = 0;
	assert_null(kt_steps_add(&steps, KTHREAD_CPUHP_ONLINE, "a", true, NULL, NULL));
	assert_int_equal(errno, EBUSY);
	assert_non_null(kt_steps_add(&steps, KT_CPUHP_CREATE, "a", true, NULL, NULL));
	kt_steps_drop(&steps, step);
	assert_non_null(kt_steps_add(&steps, KTHREAD_CPUHP_ONLINE, "a", true, NULL, NULL));
	kt_steps_forget(&steps);
	assert_true(TAILQ_EMPTY(&steps.list));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kt_steps_add__refuses),
	    cmocka_unit_test(steps__every_short_sequence_with_every_failure),
	    cmocka_unit_test(steps__every_failure_among_several_steps),
	    cmocka_unit_test(steps__long_random_sequences),
	};

	kt_log_to(count_message, NULL, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
