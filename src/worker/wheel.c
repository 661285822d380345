/* SPDX-License-Identifier: MIT */
#include "worker/wheel.h"

#include <string.h>

#define LEVEL_BITS 8u
#define SLOT_MASK (KT_WHEEL_SLOTS - 1u)
#define NOTHING UINT64_MAX
#define FEW 64u /* so many are looked through for the first of them */

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

static bool is_filled(const struct kt_wheel *wheel, unsigned int level, unsigned int slot)
{
	return wheel->filled[level][slot / 64] >> (slot % 64) & 1;
}

static void mark(struct kt_wheel *wheel, unsigned int level, unsigned int slot, bool filled)
{
	const uint64_t bit = 1ull << (slot % 64);

	wheel->filled[level][slot / 64] &= ~bit;
	wheel->filled[level][slot / 64] |= filled ? bit : 0;
}

static void append(struct kt_wheel *wheel, unsigned int level, unsigned int slot, struct kthread_work *work)
{
	struct kthread_work **first = &wheel->slots[level][slot];

	work->slot = 1 + level * KT_WHEEL_SLOTS + slot;
	work->next = NULL;
	if (!is_filled(wheel, level, slot)) {
		mark(wheel, level, slot, true);
		work->prev = work;
		*first = work;
		return;
	}
	work->prev = (*first)->prev;
	work->prev->next = work;
	(*first)->prev = work;
}

static void take_out(struct kt_wheel *wheel, struct kthread_work *work)
{
	const unsigned int level = (work->slot - 1) / KT_WHEEL_SLOTS;
	const unsigned int slot = (work->slot - 1) % KT_WHEEL_SLOTS;
	struct kthread_work **first = &wheel->slots[level][slot];

	if (work->next)
		work->next->prev = work->prev;
	else
		(*first)->prev = work->prev;
	if (*first != work)
		work->prev->next = work->next;
	else if (work->next)
		*first = work->next;
	else
		mark(wheel, level, slot, false);
	work->prev = NULL;
	work->slot = 0;
}

static struct kthread_work *take_all(struct kt_wheel *wheel, unsigned int level, unsigned int slot)
{
	if (!is_filled(wheel, level, slot))
		return NULL;
	mark(wheel, level, slot, false);
	return wheel->slots[level][slot];
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

static void insert(struct kt_wheel *wheel, struct kthread_work *work)
{
	uint64_t tick = tick_of(expires_of(work));
	unsigned int level = 0;

	if (tick < wheel->at)
		tick = wheel->at;
	/* this round of the level or the next */
	while (span_of(tick, level + 1) - span_of(wheel->at, level + 1) > 1)
		level++;
	append(wheel, level, span_of(tick, level) & SLOT_MASK, work);
	if (level && start_of(span_of(tick, level), level) < wheel->upper)
		wheel->upper = start_of(span_of(tick, level), level);
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

static void insert_all(struct kt_wheel *wheel, struct kthread_work *work)
{
	while (work) {
		struct kthread_work *next = work->next;

		if (next)
			__builtin_prefetch(next->next);
		insert(wheel, work);
		work = next;
	}
}

/* `at` is where slots of upper levels begin: what is in them goes down, from the top. */
static void enter_upper(struct kt_wheel *wheel)
{
	for (unsigned int level = KT_WHEEL_LEVELS - 1; level > 0; level--)
		insert_all(wheel, take_all(wheel, level, span_of(wheel->at, level) & SLOT_MASK));
	look_for_upper(wheel);
}

/* ---- falling due ------------------------------------------------------------------------------------------------ */

static bool in_order(const struct kthread_work *a, const struct kthread_work *b)
{
	return expires_of(a) <= expires_of(b);
}

static struct kthread_work *merge(struct kthread_work *a, struct kthread_work *b)
{
	struct kthread_work *first;
	struct kthread_work **last = &first;

	while (a && b) {
		struct kthread_work **earlier = in_order(a, b) ? &a : &b;

		*last = *earlier;
		last = &(*last)->next;
		*earlier = *last;
	}
	*last = a ? a : b;
	return first;
}

/* Cut the run that is in order already off a chain, and return the rest. */
static struct kthread_work *cut_run(struct kthread_work *work)
{
	struct kthread_work *rest;

	while (work->next && in_order(work, work->next))
		work = work->next;
	rest = work->next;
	work->next = NULL;
	return rest;
}

/* A stable merge sort of runs. */
static struct kthread_work *sort(struct kthread_work *work)
{
	struct kthread_work *sorted[64]; /* [n]: 2^n runs, or NULL */
	struct kthread_work *rest = cut_run(work);
	unsigned int used = 0;

	while (rest) {
		struct kthread_work *run = work;
		unsigned int n;

		work = rest;
		rest = cut_run(work);
		for (n = 0; n < used && sorted[n]; n++) {
			run = merge(sorted[n], run);
			sorted[n] = NULL;
		}
		sorted[n] = run;
		used = n < used ? used : n + 1;
	}
	for (unsigned int n = 0; n < used; n++)
		work = merge(sorted[n], work);
	return work;
}

struct chain {
	struct kthread_work *first;
	struct kthread_work *last;
	struct kthread_work **end;
};

/* Slots come in the order of their times, so it is enough to sort each; that is done in the cache, and so is all else that
 * takes a look at each of them. */
static void append_sorted(struct chain *due, struct kthread_work *work)
{
	*due->end = work && work->next ? sort(work) : work;
	while ((work = *due->end)) {
		work->prev = due->last;
		due->last = work;
		due->end = &work->next;
	}
}

/* All of a slot. */
static void move_slot(struct kt_wheel *wheel, unsigned int slot, struct chain *due)
{
	struct kthread_work *const first = take_all(wheel, 0, slot);

	for (struct kthread_work *work = first; work; work = work->next) {
		if (work->next)
			__builtin_prefetch(work->next->next);
		work->slot = 0;
		wheel->count--;
	}
	append_sorted(due, first);
}

/* Those of the slot in which `now` lies whose nanosecond has come. */
static void move_due(struct kt_wheel *wheel, unsigned int slot, uint64_t now, struct chain *due)
{
	struct kthread_work *work = is_filled(wheel, 0, slot) ? wheel->slots[0][slot] : NULL;
	struct chain here = {.end = &here.first};

	while (work) {
		struct kthread_work *next = work->next;

		if (expires_of(work) <= now) {
			take_out(wheel, work);
			wheel->count--;
			work->next = NULL;
			*here.end = work;
			here.end = &work->next;
		}
		work = next;
	}
	append_sorted(due, here.first);
}

struct kthread_work *kt_wheel_expire(struct kt_wheel *wheel, uint64_t now)
{
	const uint64_t last = tick_of(now);
	struct chain due = {.end = &due.first};

	while (wheel->count) {
		const uint64_t tick = first_span(wheel, 0);

		if (wheel->upper <= tick && wheel->upper <= last) {
			if (wheel->upper > wheel->at)
				wheel->at = wheel->upper;
			enter_upper(wheel);
		} else if (tick < last) {
			wheel->at = tick;
			move_slot(wheel, tick & SLOT_MASK, &due);
		} else {
			break;
		}
	}
	if (last > wheel->at)
		wheel->at = last;
	move_due(wheel, wheel->at & SLOT_MASK, now, &due);
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

		while (is_filled(wheel, level, slot)) {
			struct kthread_work *work = wheel->slots[level][slot];

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
		when = earliest(wheel->slots[level][span & SLOT_MASK], level ? FEW : SIZE_MAX);
		if (when == NOTHING && level)
			when = start_of(span - 1, level) << KT_WHEEL_TICK_BITS;
		if (when < next)
			next = when;
	}
	return next;
}
