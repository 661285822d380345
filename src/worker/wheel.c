/* SPDX-License-Identifier: MIT */
#include "worker/wheel.h"

#include <string.h>

#define LEVEL_BITS 8u
#define SLOT_MASK (KT_WHEEL_SLOTS - 1u)
#define NOTHING UINT64_MAX
#define DIGIT_BITS 8u /* of the radix sort of a slot */
#define FEW 64u       /* so many are looked through for the first of them */

/* All works in a wheel are delayed ones. */
static uint64_t expires_of(const struct kthread_work *work)
{
	return ((const struct kthread_delayed_work *)work)->expires;
}
_Static_assert(offsetof(struct kthread_delayed_work, work) == 0, "a delayed work begins with its work");

static uint64_t tick_of(uint64_t ns)
{
	return ns >> KT_WHEEL_TICK_BITS;
}

/* The span of `tick` on this level: its slot is that modulo the number of slots. */
static uint64_t span_of(uint64_t tick, unsigned int level)
{
	return tick >> (LEVEL_BITS * level);
}

static uint64_t start_of(uint64_t span, unsigned int level)
{
	return span << (LEVEL_BITS * level);
}

void kt_wheel_init(struct kt_wheel *wheel)
{
	wheel->at = 0;
	wheel->upper = NOTHING;
	wheel->count = 0;
	memset(wheel->filled, 0, sizeof(wheel->filled));
}

/* ---- slots ------------------------------------------------------------------------------------------------------ */

static bool is_filled(const uint64_t *filled, unsigned int slot)
{
	return filled[slot / 64] >> (slot % 64) & 1;
}

static void mark_empty(uint64_t *filled, unsigned int slot)
{
	filled[slot / 64] &= ~(1ull << (slot % 64));
}

static void append(uint64_t *filled, struct kt_wheel_slot *slots, unsigned int slot, struct kthread_work *work)
{
	struct kt_wheel_slot *chain = &slots[slot];

	work->next = NULL;
	if (is_filled(filled, slot)) {
		work->prev = chain->last;
		chain->last->next = work;
	} else {
		filled[slot / 64] |= 1ull << (slot % 64);
		work->prev = NULL;
		chain->first = work;
	}
	chain->last = work;
}

static void take_out(struct kt_wheel *wheel, struct kthread_work *work)
{
	const unsigned int level = (work->slot - 1) / KT_WHEEL_SLOTS;
	const unsigned int slot = (work->slot - 1) % KT_WHEEL_SLOTS;
	struct kt_wheel_slot *chain = &wheel->slots[level][slot];

	if (work->next)
		work->next->prev = work->prev;
	else
		chain->last = work->prev;
	if (work->prev)
		work->prev->next = work->next;
	else
		chain->first = work->next;
	if (!chain->first)
		mark_empty(wheel->filled[level], slot);
	work->prev = NULL;
	work->slot = 0;
}

/*
 * All of a slot that is filled, and how many. From both ends: what takes time is to get at works that are not in the
 * cache, each of which tells where the next one is; so there are two on their way, and whoever goes through them after
 * that has them near.
 */
static struct kt_wheel_slot take_all(struct kt_wheel *wheel, unsigned int level, unsigned int slot, size_t *ret_count)
{
	const struct kt_wheel_slot chain = wheel->slots[level][slot];
	struct kthread_work *front = chain.first, *back = chain.last;
	size_t count = 1;

	mark_empty(wheel->filled[level], slot);
	for (; front != back; front = front->next, back = back->prev) {
		front->slot = back->slot = 0;
		count += 2;
		if (front->next == back) {
			count--;
			break;
		}
	}
	front->slot = 0;
	*ret_count = count;
	return chain;
}

/* The first span of a level, from that of `at` on, whose slot is filled. */
static uint64_t first_span(const struct kt_wheel *wheel, unsigned int level)
{
	const uint64_t from = span_of(wheel->at, level);
	const uint64_t *filled = wheel->filled[level];
	unsigned int slot = from & SLOT_MASK;
	uint64_t bits = filled[slot / 64] >> (slot % 64);

	if (bits)
		return from + (unsigned int)__builtin_ctzll(bits);
	/* the other words, and at last the lower bits of the first */
	for (unsigned int step = 1; step <= KT_WHEEL_SLOTS / 64; step++) {
		const unsigned int word = (slot / 64 + step) % (KT_WHEEL_SLOTS / 64);

		if (filled[word])
			return from + ((word * 64 + (unsigned int)__builtin_ctzll(filled[word]) - slot) & SLOT_MASK);
	}
	return NOTHING;
}

static void look_for_upper(struct kt_wheel *wheel)
{
	wheel->upper = NOTHING;
	for (unsigned int level = 1; level < KT_WHEEL_LEVELS; level++) {
		const uint64_t span = first_span(wheel, level);

		if (span != NOTHING && start_of(span, level) < wheel->upper)
			wheel->upper = start_of(span, level);
	}
}

/* ---- in and out ------------------------------------------------------------------------------------------------- */

/* The lowest level that reaches a tick: in this round of it or the next. Without a branch, which nobody could foretell. */
static unsigned int level_of(const struct kt_wheel *wheel, uint64_t tick)
{
	const uint64_t distance = tick - wheel->at;
	const unsigned int level = distance ? (63u - (unsigned int)__builtin_clzll(distance)) / LEVEL_BITS : 0;
	const unsigned int one_lower = span_of(tick, level) - span_of(wheel->at, level) <= 1;

	return level - (one_lower & (level > 0));
}

static void insert(struct kt_wheel *wheel, struct kthread_work *work)
{
	const uint64_t tick = tick_of(expires_of(work)) > wheel->at ? tick_of(expires_of(work)) : wheel->at;
	const unsigned int level = level_of(wheel, tick);
	const uint64_t span = span_of(tick, level);
	const unsigned int slot = span & SLOT_MASK;

	work->slot = 1 + level * KT_WHEEL_SLOTS + slot;
	append(wheel->filled[level], wheel->slots[level], slot, work);
	if (level && start_of(span, level) < wheel->upper)
		wheel->upper = start_of(span, level);
}

void kt_wheel_add(struct kt_wheel *wheel, struct kthread_delayed_work *dwork, uint64_t now)
{
	if (wheel->count++ == 0 && tick_of(now) > wheel->at)
		wheel->at = tick_of(now); /* has not been looked at while it was empty */
	insert(wheel, &dwork->work);
}

void kt_wheel_remove(struct kt_wheel *wheel, struct kthread_delayed_work *dwork)
{
	wheel->count--;
	take_out(wheel, &dwork->work);
}

/* `at` is where slots of upper levels begin: what is in them goes down, from the top. */
static void enter_upper(struct kt_wheel *wheel)
{
	for (unsigned int level = KT_WHEEL_LEVELS - 1; level > 0; level--) {
		const unsigned int slot = span_of(wheel->at, level) & SLOT_MASK;
		struct kthread_work *work;
		size_t count;

		if (!is_filled(wheel->filled[level], slot))
			continue;
		work = take_all(wheel, level, slot, &count).first;
		while (work) {
			struct kthread_work *next = work->next;

			insert(wheel, work);
			work = next;
		}
	}
	look_for_upper(wheel);
}

/* ---- falling due ------------------------------------------------------------------------------------------------ */

/* A chain of chains. */
static void join(struct kt_wheel_slot *chain, struct kt_wheel_slot more)
{
	if (!more.first)
		return;
	more.first->prev = chain->last;
	if (chain->last)
		chain->last->next = more.first;
	else
		chain->first = more.first;
	chain->last = more.last;
}

/* By eight bits of how long after `start` they are due: keeps the order of those that do not differ in them. */
static struct kt_wheel_slot sort_by(struct kthread_work *work, uint64_t start, unsigned int shift)
{
	struct kt_wheel_slot sorted = {NULL, NULL};
	struct kt_wheel_slot places[1u << DIGIT_BITS];
	uint64_t filled[(1u << DIGIT_BITS) / 64] = {0};

	while (work) {
		struct kthread_work *next = work->next;
		const uint64_t after = expires_of(work) > start ? expires_of(work) - start : 0;

		append(filled, places, (after >> shift) & ((1u << DIGIT_BITS) - 1), work);
		work = next;
	}
	for (unsigned int word = 0; word < sizeof(filled) / sizeof(filled[0]); word++) {
		for (uint64_t bits = filled[word]; bits; bits &= bits - 1)
			join(&sorted, places[word * 64 + (unsigned int)__builtin_ctzll(bits)]);
	}
	return sorted;
}

/* All of one tick, so that the nanoseconds within it say their order. */
static struct kt_wheel_slot sort(struct kt_wheel_slot chain, uint64_t tick)
{
	const uint64_t start = tick << KT_WHEEL_TICK_BITS;

	if (chain.first == chain.last)
		return chain;
	for (unsigned int shift = 0; shift < KT_WHEEL_TICK_BITS; shift += DIGIT_BITS)
		chain = sort_by(chain.first, start, shift);
	return chain;
}
_Static_assert(KT_WHEEL_TICK_BITS % DIGIT_BITS == 0, "whole digits");

/* All of a slot: slots come in the order of their times, so it is enough to sort each. */
static void move_slot(struct kt_wheel *wheel, uint64_t tick, struct kt_wheel_slot *due)
{
	size_t count;
	const struct kt_wheel_slot chain = take_all(wheel, 0, tick & SLOT_MASK, &count);

	wheel->count -= count;
	join(due, sort(chain, tick));
}

/* Those of the slot in which `now` lies whose nanosecond has come. */
static void move_due(struct kt_wheel *wheel, uint64_t now, struct kt_wheel_slot *due)
{
	const unsigned int slot = wheel->at & SLOT_MASK;
	struct kthread_work *work = is_filled(wheel->filled[0], slot) ? wheel->slots[0][slot].first : NULL;
	struct kt_wheel_slot here = {NULL, NULL};

	while (work) {
		struct kthread_work *next = work->next;

		if (expires_of(work) <= now) {
			take_out(wheel, work);
			wheel->count--;
			work->next = NULL;
			join(&here, (struct kt_wheel_slot){work, work});
		}
		work = next;
	}
	join(due, sort(here, wheel->at));
}

struct kthread_work *kt_wheel_expire(struct kt_wheel *wheel, uint64_t now)
{
	const uint64_t last = tick_of(now);
	struct kt_wheel_slot due = {NULL, NULL};

	while (wheel->count) {
		const uint64_t tick = first_span(wheel, 0);

		if (wheel->upper <= tick && wheel->upper <= last) {
			if (wheel->upper > wheel->at)
				wheel->at = wheel->upper;
			enter_upper(wheel);
		} else if (tick < last) {
			wheel->at = tick;
			move_slot(wheel, tick, &due);
		} else {
			break;
		}
	}
	if (last > wheel->at)
		wheel->at = last;
	move_due(wheel, now, &due);
	if (due.first)
		due.first->prev = due.last;
	return due.first;
}

/* ---- ahead of it ------------------------------------------------------------------------------------------------ */

bool kt_wheel_sort_ahead(struct kt_wheel *wheel, unsigned int most)
{
	if (!wheel->count)
		return false;
	for (unsigned int level = KT_WHEEL_LEVELS - 1; level > 0; level--) {
		const unsigned int slot = (span_of(wheel->at, level) + 1) & SLOT_MASK;

		while (is_filled(wheel->filled[level], slot)) {
			struct kthread_work *work = wheel->slots[level][slot].first;

			if (most-- == 0)
				return true;
			take_out(wheel, work);
			insert(wheel, work);
		}
	}
	return false;
}

/* The earliest of a chain; NOTHING if there are more than `most`. */
static uint64_t earliest(const struct kthread_work *work, size_t most)
{
	uint64_t first = NOTHING;

	for (; work; work = work->next) {
		if (most-- == 0)
			return NOTHING;
		if (expires_of(work) < first)
			first = expires_of(work);
	}
	return first;
}

uint64_t kt_wheel_next(const struct kt_wheel *wheel)
{
	uint64_t next = NOTHING;

	for (unsigned int level = 0; level < KT_WHEEL_LEVELS && wheel->count; level++) {
		const uint64_t span = first_span(wheel, level);
		uint64_t when;

		if (span == NOTHING || start_of(span, level) << KT_WHEEL_TICK_BITS >= next)
			continue;
		when = earliest(wheel->slots[level][span & SLOT_MASK].first, level ? FEW : SIZE_MAX);
		if (when == NOTHING && level)
			when = start_of(span - 1, level) << KT_WHEEL_TICK_BITS;
		if (when < next)
			next = when;
	}
	return next;
}
