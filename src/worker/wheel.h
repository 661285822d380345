/* SPDX-License-Identifier: MIT */
/*
 * The delayed works of one worker, by the time at which they fall due. Pure: no clock, no lock, no memory of its own.
 *
 * A hierarchical timing wheel (G. Varghese, T. Lauck, 1987). Time is cut into ticks; a slot of level l spans 256^l of
 * them. A work lies in the lowest level whose slots reach it: each level has two rounds of 256, this one and the next. So
 * a slot can be sorted into the lower levels up to one of its spans before its time comes, in small pieces while the
 * worker has nothing else to do, and not all at once when works are due. Ticks only sort: due is decided by the
 * nanosecond.
 */
#ifndef KT_WORKER_WHEEL_H
#define KT_WORKER_WHEEL_H

#include <kthread/worker.h>
#include <stdbool.h>

#define KT_WHEEL_TICK_BITS 16u /* 65.5 us */
#define KT_WHEEL_LEVELS 6u     /* 16 + 6 * 8 = 64 bits of nanoseconds */
#define KT_WHEEL_SLOTS 512u

/* A chain by `next` and `prev`; both ends are NULL. */
struct kt_wheel_slot {
	struct kthread_work *first, *last;
};

struct kt_wheel {
	uint64_t at;    /* the tick before which nothing is left in level 0 */
	uint64_t upper; /* no slot of a level above 0 begins before this tick */
	size_t count;
	uint64_t filled[KT_WHEEL_LEVELS][KT_WHEEL_SLOTS / 64];
	/* Only those that are filled are valid, so a wheel that is not used costs no memory. */
	struct kt_wheel_slot slots[KT_WHEEL_LEVELS][KT_WHEEL_SLOTS];
};

void kt_wheel_init(struct kt_wheel *wheel);

/* dwork->expires says when. now: not before the last one that kt_wheel_expire() was given. */
void kt_wheel_add(struct kt_wheel *wheel, struct kthread_delayed_work *dwork, uint64_t now);
void kt_wheel_remove(struct kt_wheel *wheel, struct kthread_delayed_work *dwork);

static inline bool kt_wheel_has(const struct kthread_work *work)
{
	return work->slot != 0;
}

/* Take out all that is due at now, in the order of their times: a chain by `next` and `prev`; the first's prev is the last,
 * whose next is NULL. */
struct kthread_work *kt_wheel_expire(struct kt_wheel *wheel, uint64_t now);

/* Sort up to `most` works into lower levels ahead of their time. True if some that could be are left. */
bool kt_wheel_sort_ahead(struct kt_wheel *wheel, unsigned int most);

/*
 * When to look again, if nothing is left to sort ahead: the time of the first that falls due; or, if finding it would
 * take long, when its slot can be sorted. UINT64_MAX: not before something is added.
 */
uint64_t kt_wheel_next(const struct kt_wheel *wheel);

#endif
