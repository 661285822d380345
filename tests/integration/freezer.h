/* SPDX-License-Identifier: MIT */
/*
 * What the freezer's tests share: threads of each kind that freeze, and a look whether they stand.
 */
#ifndef TESTS_FREEZER_H
#define TESTS_FREEZER_H

#include <poll.h>
#include <sys/eventfd.h>

#include "await.h"

/* A long time for a freeze that succeeds. */
#define LONG AWAIT_LIMIT_NS

struct subject {
	struct kthread_completion freezable; /* it has said so */
	atomic_ulong turns;
	unsigned long plain; /* the same, unprotected: only a frozen thread may be looked at, ThreadSanitizer checks */
	unsigned long from_outside; /* written while it is frozen, read by it */
	atomic_int frozen;          /* how often it says that it was */
	atomic_int entries;
	int fd;
	int result;
};

static inline void subject_turn(struct subject *subject)
{
	subject->plain++;
	CHECK(subject->from_outside <= subject->plain);
	atomic_fetch_add_explicit(&subject->turns, 1, memory_order_relaxed);
}

static inline void subject_begins(struct subject *subject)
{
	atomic_fetch_add(&subject->entries, 1);
	if (kthread_set_freezable())
		atomic_fetch_add(&subject->frozen, 1);
	kthread_complete_all(&subject->freezable);
}

static inline bool subject_should_stop(struct subject *subject)
{
	bool frozen;
	const bool stop = kthread_freezable_should_stop(&frozen);

	atomic_fetch_add(&subject->frozen, frozen);
	return stop;
}

/* Runs all the time, and has one point at which it freezes, one at which it parks. */
static inline int busy(void *data)
{
	struct subject *subject = data;

	subject_begins(subject);
	while (!subject_should_stop(subject)) {
		subject_turn(subject);
		kthread_parkme();
	}
	return subject->result;
}

/* The same, and parks by coming back. */
static inline int comes_back(void *data)
{
	struct subject *subject = data;

	subject_begins(subject);
	while (!subject_should_stop(subject)) {
		subject_turn(subject);
		if (kthread_should_park())
			break;
	}
	return subject->result;
}

/* Has to be woken to look. */
static inline int waits(void *data)
{
	struct subject *subject = data;

	subject_begins(subject);
	while (!subject_should_stop(subject)) {
		subject_turn(subject);
		kthread_parkme();
		CHECK(kthread_wait() == 0);
	}
	return subject->result;
}

/* Sleeps where it may be held in place, and has no other point. */
static inline int waits_parkable(void *data)
{
	struct subject *subject = data;

	subject_begins(subject);
	while (!kthread_should_stop()) {
		subject_turn(subject);
		CHECK(kthread_wait_parkable() == 0);
	}
	return subject->result;
}

/* KTHREAD_INTERRUPT: in a system call that nothing else ends. */
static inline int reads(void *data)
{
	struct subject *subject = data;
	char byte;

	subject_begins(subject);
	while (!subject_should_stop(subject)) {
		subject_turn(subject);
		kthread_parkme();
		subject_turn(subject); /* a wake would not make it */
		CHECK(read(subject->fd, &byte, 1) == -1 && errno == EINTR);
	}
	return subject->result;
}

/* A poll loop on its event fd. */
static inline int polls(void *data)
{
	struct subject *subject = data;
	struct pollfd pollfd = {.fd = kthread_event_fd(kthread_self()), .events = POLLIN};
	eventfd_t count;

	CHECK(pollfd.fd >= 0);
	subject_begins(subject);
	while (!subject_should_stop(subject)) {
		subject_turn(subject);
		kthread_parkme();
		CHECK(poll(&pollfd, 1, -1) == 1);
		eventfd_read(pollfd.fd, &count);
	}
	return subject->result;
}

static int (*const kinds[])(void *data) = {busy, comes_back, waits, waits_parkable, reads, polls};
enum { BUSY, COMES_BACK, WAITS, WAITS_PARKABLE, READS, POLLS, KINDS };

/* A thread of this kind, which has said that it is freezable. */
static inline struct kthread *start_subject(struct subject *subject, int kind)
{
	static int silent[2] = {-1, -1};
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;

	if (silent[0] < 0)
		CHECK(pipe(silent) == 0);
	*subject = (struct subject){.fd = silent[0], .result = 10 + kind};
	kthread_init_completion(&subject->freezable);
	attr.flags = kind == READS ? KTHREAD_INTERRUPT : 0;
	k = kthread_create_attr(&attr, kinds[kind], subject, "subject/%d", kind);
	CHECK(k);
	kthread_wake(k);
	AWAIT_DONE(&subject->freezable);
	return k;
}

static inline unsigned long turns(const struct subject *subject)
{
	return atomic_load_explicit(&subject->turns, memory_order_relaxed);
}

static inline enum kthread_state state_of(const struct kthread *k)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK(kthread_info(k, &info) == 0);
	return info.state;
}

/* It stands still now: what it did is there, and nothing more comes. */
static inline void check_still(struct subject *subject)
{
	const unsigned long plain = subject->plain;

	subject->from_outside = plain; /* which is seen after the thaw */
	for (int i = 0; i < 5; i++) {
		sched_yield();
		CHECK(subject->plain == plain);
	}
	CHECK(turns(subject) == plain);
}

/* It has moved since it was last seen to stand: one that sleeps does so when it is woken. */
static inline void check_moves(struct kthread *k, const struct subject *subject)
{
	kthread_wake(k);
	AWAIT(turns(subject) != subject->from_outside && state_of(k) != KTHREAD_FROZEN);
}

#endif
