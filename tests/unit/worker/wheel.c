/* SPDX-License-Identifier: MIT */
/*
 * The wheel against a plain table of times: under any sequence of additions, removals and looks, each work falls due at
 * the first look after its time, never before, in the order of the times; and the wheel says when to look again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/wheel.h"

#define WORKS 600

struct model {
	struct kt_wheel wheel;
	struct kthread_delayed_work works[WORKS];
	bool waits[WORKS];
	uint64_t now;
	uint64_t random;
	size_t fired;
};

static uint64_t random_below(struct model *m, uint64_t limit)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return limit ? m->random % limit : m->random;
}

/* Any order of magnitude up to `bits` bits, and sometimes an edge of a slot. */
static uint64_t random_span(struct model *m, unsigned int bits)
{
	const unsigned int size = (unsigned int)random_below(m, bits + 1);
	const uint64_t span = size < 64 ? random_below(m, 1ull << size) : random_below(m, 0);

	if (random_below(m, 4) == 0)
		return span & ~((1ull << KT_WHEEL_TICK_BITS) - 1);
	return span;
}

static void setup(struct model *m, uint64_t seed, uint64_t now)
{
	kt_wheel_init(&m->wheel);
	for (size_t i = 0; i < WORKS; i++)
		m->waits[i] = false;
	m->now = now;
	m->random = seed * 0x9e3779b97f4a7c15u + 1;
	m->fired = 0;
}

static uint64_t earliest(const struct model *m, size_t *ret_count)
{
	uint64_t first = UINT64_MAX;

	*ret_count = 0;
	for (size_t i = 0; i < WORKS; i++) {
		if (!m->waits[i])
			continue;
		++*ret_count;
		if (m->works[i].expires < first)
			first = m->works[i].expires;
	}
	return first;
}

static void add(struct model *m, size_t i, uint64_t delay)
{
	m->works[i].expires = delay < UINT64_MAX - m->now ? m->now + delay : UINT64_MAX;
	kt_wheel_add(&m->wheel, &m->works[i], m->now);
	m->waits[i] = true;
}

static void drop(struct model *m, size_t i)
{
	kt_wheel_remove(&m->wheel, &m->works[i]);
	assert_null(m->works[i].work.prev);
	m->waits[i] = false;
}

static void expire(struct model *m)
{
	const struct kthread_work *const first = kt_wheel_expire(&m->wheel, m->now);
	const struct kthread_work *last = first ? first->prev : NULL;
	uint64_t before = 0;
	size_t count;

	for (const struct kthread_work *work = first; work; work = work->next) {
		const struct kthread_delayed_work *due = (const struct kthread_delayed_work *)work;
		const size_t i = (size_t)(due - m->works);

		assert_true(m->waits[i]);
		assert_true(due->expires <= m->now);
		assert_true(due->expires >= before);
		assert_ptr_equal(work->prev, last);
		assert_false(kt_wheel_has(work));
		last = work;
		before = due->expires;
		m->waits[i] = false;
		m->fired++;
	}
	if (first)
		assert_ptr_equal(first->prev, last);
	if (earliest(m, &count) <= m->now)
		assert_int_equal(count, 0); /* UINT64_MAX of an empty one */
	assert_int_equal(count, m->wheel.count);
}

/* What the worker does: sort ahead, and sleep until the wheel says so. */
static void sleep_until_next(struct model *m, bool exact)
{
	uint64_t next;
	size_t count;
	const uint64_t first = earliest(m, &count);

	while (kt_wheel_sort_ahead(&m->wheel, 1 + (unsigned int)random_below(m, 7)))
		continue;
	next = kt_wheel_next(&m->wheel);
	assert_true(next <= first);
	if (exact)
		assert_int_equal(next, first);
	if (next != UINT64_MAX) {
		assert_true(next > m->now || first <= m->now);
		if (next > m->now)
			m->now = next;
	}
}

static void random_life(struct model *m, unsigned int steps, unsigned int bits)
{
	for (unsigned int step = 0; step < steps; step++) {
		const size_t i = random_below(m, WORKS);

		switch (random_below(m, 8)) {
		case 0:
		case 1:
		case 2:
		case 3:
			if (m->waits[i])
				drop(m, i);
			else
				add(m, i, random_span(m, bits));
			break;
		case 4: {
			const uint64_t pass = random_span(m, bits > 8 ? bits - 8 : bits);

			m->now = pass < UINT64_MAX - m->now ? m->now + pass : UINT64_MAX;
			expire(m);
			break;
		}
		case 5:
			sleep_until_next(m, false);
			expire(m);
			break;
		case 6:
			kt_wheel_sort_ahead(&m->wheel, (unsigned int)random_below(m, 20));
			break;
		default:
			expire(m);
		}
	}
}

static void wheel__agrees_with_a_table_of_times(void **state)
{
	static struct model m;
	size_t fired = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 300; seed++) {
		setup(&m, seed, seed % 3 ? seed << 40 : seed);
		random_life(&m, 2000, 12 + (unsigned int)(seed % 53));
		fired += m.fired;
	}
	assert_true(fired > 10000);
}

static void wheel__wakes_once_for_each_of_a_few_times(void **state)
{
	static struct model m;
	unsigned int looks = 0;
	size_t left;

	(void)state;
	setup(&m, 7, 1234567890123u);
	for (size_t i = 0; i < 40; i++)
		add(&m, i, (uint64_t)1 << (i + 20));
	for (earliest(&m, &left); left; earliest(&m, &left), looks++) {
		sleep_until_next(&m, true);
		expire(&m);
	}
	assert_int_equal(looks, 40);
}

static void wheel__works_of_one_time_fall_due_together_and_in_order(void **state)
{
	static struct model m;
	const struct kthread_work *work;
	size_t expected = 0;

	(void)state;
	setup(&m, 3, 0);
	/* those that come later are nearer, so they lie in other slots until the time comes */
	for (size_t i = 0; i < WORKS; i++) {
		add(&m, i, 1000000000000u - m.now);
		m.now += 1600000000u;
		expire(&m);
	}
	m.now = 1000000000000u - 1;
	assert_null(kt_wheel_expire(&m.wheel, m.now));
	for (work = kt_wheel_expire(&m.wheel, m.now + 1); work; work = work->next)
		assert_ptr_equal(work, &m.works[expected++].work);
	assert_int_equal(expected, WORKS);
}

static void wheel__a_crowded_slot_is_sorted_ahead_of_its_time(void **state)
{
	static struct model m;
	const uint64_t hour = 3600ull * 1000000000u;
	uint64_t next;

	(void)state;
	setup(&m, 11, hour);
	for (size_t i = 0; i < WORKS; i++)
		add(&m, i, 10 * hour + i * 1000000);
	/* as soon as the slot can be sorted, and long before its first work is due */
	while (kt_wheel_sort_ahead(&m.wheel, 1))
		continue;
	next = kt_wheel_next(&m.wheel);
	assert_true(next > m.now && next < 10 * hour + hour);
	for (unsigned int looks = 0; m.fired == 0; looks++) {
		assert_true(looks < 10);
		sleep_until_next(&m, false);
		expire(&m);
	}
	assert_int_equal(m.now, 11 * hour);
	/* nothing is left to be sorted when they are due */
	for (size_t i = 1; i < WORKS; i++) {
		sleep_until_next(&m, true);
		expire(&m);
		assert_int_equal(m.fired, i + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wheel__agrees_with_a_table_of_times),
	    cmocka_unit_test(wheel__wakes_once_for_each_of_a_few_times),
	    cmocka_unit_test(wheel__works_of_one_time_fall_due_together_and_in_order),
	    cmocka_unit_test(wheel__a_crowded_slot_is_sorted_ahead_of_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
