/* SPDX-License-Identifier: MIT */
/*
 * The word: every interleaving, at the places where a thread may be held up, that a few thousand random schedules reach.
 *
 * Three actors (the kthread, two controllers) are real threads of which one at a time runs: the library's futex calls
 * and sched_yield() are wrapped, and hand the baton to an actor drawn by lot. So a waker may be held up between its
 * change of the word and its futex wake, and a sleeper between its look at the word and its futex wait, for as long as
 * the lot wills. The futex is a model, too: with every actor asleep in it nothing can ever move again, which is how a lost
 * wake-up shows, at once and with the seed that repeats it.
 *
 * Checked besides: after kthread_park() has returned 0, and until somebody begins to unpark, the kthread runs no user
 * code; nor from when it has been found to stand in a freeze until somebody begins to thaw it.
 *
 * WORD_SCHEDULE=N in the environment plays only that one.
 */
#include "thread/thread.h"

#include <kthread/freezer.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

enum { KTHREAD, FIRST, SECOND, ACTORS };
#define SCHEDULES 3000

/* ---- the scheduler ------------------------------------------------------------------------------------------------ */

struct actor {
	pthread_t thread;
	pthread_cond_t turn;
	bool ended;
	/* asleep in the model's futex */
	atomic_uint *asleep_on;
	uint32_t bits;
	bool timed; /* its wait may time out at any moment */
	bool timed_out;
};

static struct {
	pthread_mutex_t lock;
	struct actor actors[ACTORS];
	int running;
	unsigned int lot;
	unsigned int schedule;
	unsigned long switches;
} sched = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local int me = -1;

static unsigned int draw(unsigned int below)
{
	sched.lot = sched.lot * 1664525u + 1013904223u;
	return (sched.lot >> 8) % below;
}

static void goes_wrong(const char *what)
{
	fprintf(stderr, "schedule %u: %s\n", sched.schedule, what);
	abort();
}

/* Hand the baton to somebody who can run; the lock is held. Who sleeps with a time limit may be woken by it. */
static void pass_on(void)
{
	int can[ACTORS];
	unsigned int count = 0;
	bool anybody = false;

	for (int i = 0; i < ACTORS; i++) {
		struct actor *actor = &sched.actors[i];

		anybody |= !actor->ended;
		if (!actor->ended && (!actor->asleep_on || actor->timed))
			can[count++] = i;
	}
	if (!anybody)
		return;
	if (count == 0)
		goes_wrong("everybody sleeps: a wake-up was lost");
	sched.running = can[draw(count)];
	sched.switches++;
	if (sched.actors[sched.running].asleep_on) {
		sched.actors[sched.running].asleep_on = NULL;
		sched.actors[sched.running].timed_out = true;
	}
	pthread_cond_signal(&sched.actors[sched.running].turn);
}

static void await_turn(void)
{
	while (sched.running != me)
		pthread_cond_wait(&sched.actors[me].turn, &sched.lock);
}

/* Anybody may be next. */
static void pause_here(void)
{
	pthread_mutex_lock(&sched.lock);
	pass_on();
	await_turn();
	pthread_mutex_unlock(&sched.lock);
}

static long model_wait(atomic_uint *word, unsigned int expected, uint32_t bits, bool timed)
{
	struct actor *actor = &sched.actors[me];

	pause_here();
	if (atomic_load(word) != expected) {
		errno = EAGAIN;
		return -1;
	}
	if (draw(16) == 0) {
		errno = EINTR; /* or a wake for somebody who slept here before */
		return -1;
	}
	pthread_mutex_lock(&sched.lock);
	actor->asleep_on = word;
	actor->bits = bits;
	actor->timed = timed;
	actor->timed_out = false;
	pass_on();
	await_turn();
	pthread_mutex_unlock(&sched.lock);
	errno = ETIMEDOUT;
	return actor->timed_out ? -1 : 0;
}

static long model_wake(const atomic_uint *word, int count, uint32_t bits)
{
	pause_here();
	pthread_mutex_lock(&sched.lock);
	for (int i = 0; i < ACTORS && count > 0; i++) {
		if (sched.actors[i].asleep_on == word && sched.actors[i].bits & bits) {
			sched.actors[i].asleep_on = NULL;
			count--;
		}
	}
	pthread_mutex_unlock(&sched.lock);
	return 0;
}

long __wrap_syscall(long number, ...);
long __real_syscall(long number, ...);
int __wrap_sched_yield(void);
int __wrap_eventfd_read(int fd, eventfd_t *value);
int __wrap_eventfd_write(int fd, eventfd_t value);

/* futex(word, op, value, timeout, word2, bits): the only system call that the library makes in this way */
long __wrap_syscall(long number, ...)
{
	va_list args;
	atomic_uint *word;
	int op;
	unsigned int value;
	const void *timeout;
	uint32_t bits;

	va_start(args, number);
	word = va_arg(args, atomic_uint *);
	op = va_arg(args, int);
	value = va_arg(args, unsigned int);
	timeout = va_arg(args, const void *);
	(void)va_arg(args, void *);
	bits = va_arg(args, uint32_t);
	va_end(args);
	if (me < 0 || number != KT_SYS_FUTEX)
		return __real_syscall(number, word, op, value, timeout, NULL, bits);
	if (op == FUTEX_WAIT_BITSET_PRIVATE)
		return model_wait(word, value, bits, timeout != NULL);
	return model_wake(word, (int)value, bits);
}

int __wrap_sched_yield(void)
{
	if (me >= 0)
		pause_here();
	return 0;
}

/* The thread has an fd, so that it may be held up between the end of a sleep and its next look, too. */
int __wrap_eventfd_read(int fd, eventfd_t *value)
{
	(void)fd;
	*value = 0;
	pause_here();
	return 0;
}

int __wrap_eventfd_write(int fd, eventfd_t value)
{
	(void)fd;
	(void)value;
	pause_here();
	return 0;
}

/* A system call that only KTHREAD_INTERRUPT's signal ends, and one that comes before it is lost. */
static atomic_uint blocked;

static void block(void)
{
	struct actor *actor = &sched.actors[me];

	pause_here();
	pthread_mutex_lock(&sched.lock);
	actor->asleep_on = &blocked;
	actor->timed = false;
	pass_on();
	await_turn();
	pthread_mutex_unlock(&sched.lock);
}

void __wrap_kt_interrupt_send(struct kthread *k);
void __wrap_kt_interrupt_send(struct kthread *k)
{
	(void)k;
	pause_here();
	pthread_mutex_lock(&sched.lock);
	if (sched.actors[KTHREAD].asleep_on == &blocked)
		sched.actors[KTHREAD].asleep_on = NULL;
	pthread_mutex_unlock(&sched.lock);
}

/* ---- the actors --------------------------------------------------------------------------------------------------- */

static struct {
	struct kthread *k;
	bool parked;   /* granted, and nobody has begun to unpark */
	bool frozen;   /* the same, and thaw */
	bool freezing; /* one of them at a time, as kthread_freeze_all() has it */
	int working;   /* controllers that have not ended */
	unsigned int turns;
	bool interruptible; /* another play: requests are taken back, the thread blocks */
} play;

static void no_hook(struct kthread *k)
{
	(void)k;
}

static const struct kt_thread_hooks no_hooks = {.unparking = no_hook};

static void user_code(void)
{
	if (play.parked || play.frozen)
		goes_wrong("the thread runs while it is parked or frozen");
	play.turns++;
	pause_here();
	if (play.parked || play.frozen)
		goes_wrong("the thread was declared parked or frozen in the middle of user code");
}

static void ends(void)
{
	kt_thread_set_self(NULL);
	if (kt_word_set(&play.k->word, W_EXITED) & W_WATCHED)
		kt_futex_wake(&play.k->word, INT_MAX, KT_WAKE_WATCHERS);
}

static void kthread_plays(void)
{
	while (!kthread_should_stop()) {
		user_code();
		if (kthread_should_park()) {
			kthread_parkme();
			continue;
		}
		kthread_try_to_freeze();
		switch (draw(4)) {
		case 0:
			kthread_wait();
			break;
		case 1:
			kthread_wait_parkable();
			break;
		case 2:
			kthread_wait_for(1000000);
			break;
		default:
			break;
		}
	}
}

/* It looks before it blocks. Told to park, it may look again first, and find the request taken back. */
static void kthread_plays_interruptible(void)
{
	while (!kthread_should_stop()) {
		play.turns++;
		if (kthread_should_park()) {
			pause_here();
			if (draw(2))
				kthread_parkme();
		} else if (kthread_try_to_freeze()) {
			continue;
		} else if (draw(4)) {
			block();
		} else {
			kthread_wait_for(1000000);
		}
	}
}

#define PATIENCE 20000

/* The thread comes by once more, whatever it was about to do. */
static void await_turn_after(unsigned int turns, const char *else_what)
{
	unsigned int patience = PATIENCE;

	while (play.turns == turns) {
		pause_here();
		if (--patience == 0)
			goes_wrong(else_what);
	}
}

static void one_park(void)
{
	unsigned int turns;
	int result = kthread_park(play.k);

	if (result == 0) {
		play.parked = true;
		for (unsigned int i = draw(4); i > 0; i--)
			pause_here();
		play.parked = false;
		turns = play.turns;
		kthread_unpark(play.k);
		await_turn_after(turns, "the thread never came back after an unpark");
	} else if (result != -EBUSY && result != -ENOSYS) {
		goes_wrong("a park nobody took back was not granted");
	}
}

/* kthread_freeze_all() and kthread_thaw_all(), of one thread. */
static void one_freeze(void)
{
	if (play.freezing)
		return;
	play.freezing = true;
	kt_thread_ask_to_freeze(play.k);
	if (!kt_thread_await_standing(play.k, KT_NEVER))
		goes_wrong("a freeze without a limit has come to its end");
	play.frozen = true;
	for (unsigned int i = draw(6); i > 0; i--)
		pause_here();
	play.frozen = false;
	kt_thread_thaw(play.k);
	play.freezing = false;
}

/* A wake is a token. */
static void wake_and_await(void)
{
	const unsigned int turns = play.turns;

	kthread_wake(play.k);
	await_turn_after(turns, "the thread never came back after a wake");
}

/* So does who shall place itself, if only as far as the library. */
static void place_and_await(void)
{
	unsigned int patience = PATIENCE;

	for (unsigned int i = 1 + draw(3); i > 0; i--) {
		kt_thread_place_self(play.k);
		pause_here();
	}
	while (kt_word(&play.k->word) & W_PLACE_SELF) {
		pause_here();
		if (--patience == 0)
			goes_wrong("the thread never placed itself");
	}
}

/* Only who was granted the park unparks: the flag would mean nothing otherwise. */
static void controller_plays(void)
{
	for (unsigned int i = 5 + draw(20); i > 0; i--) {
		switch (draw(8)) {
		case 0:
		case 1:
			one_park();
			break;
		case 5:
		case 6:
			one_freeze();
			break;
		case 2:
			kthread_wake(play.k);
			break;
		case 3:
			place_and_await();
			break;
		case 4:
			wake_and_await();
			break;
		default:
			pause_here();
		}
	}
}

/* The last one stops it: what kthread_stop() does, but for pthread_join(). */
static void controller_ends(void)
{
	if (--play.working > 0)
		return;
	kthread_get(play.k);
	kt_word_set(&play.k->word, W_REAPED);
	kthread_stop(play.k);
	if (!(kt_word(&play.k->word) & W_EXITED))
		goes_wrong("stop has not waited for the end");
}

/* Each park ends, by being granted or taken back: else its asker and the thread both sleep for good. */
static void controller_plays_interruptible(void)
{
	for (unsigned int i = 5 + draw(20); i > 0; i--) {
		if (me == FIRST) {
			kthread_park(play.k);
			pause_here();
		}
		if (me == SECOND && draw(2))
			one_freeze();
		kthread_unpark(play.k);
		for (unsigned int wait = draw(8); wait > 0; wait--)
			pause_here();
	}
}

static void *act(void *arg)
{
	const int number = (int)(intptr_t)arg;

	me = number;
	pthread_mutex_lock(&sched.lock);
	await_turn();
	pthread_mutex_unlock(&sched.lock);
	if (number == KTHREAD) {
		kt_thread_set_self(play.k);
		play.interruptible ? kthread_plays_interruptible() : kthread_plays();
		ends();
	} else {
		play.interruptible ? controller_plays_interruptible() : controller_plays();
		controller_ends();
	}
	pthread_mutex_lock(&sched.lock);
	sched.actors[number].ended = true;
	pass_on();
	pthread_mutex_unlock(&sched.lock);
	return NULL;
}

static void place_self(struct kthread *k)
{
	kt_word_clear(&k->word, W_PLACE_SELF);
	pause_here();
}

static void play_schedules(bool interruptible)
{
	static struct kt_thread_hooks hooks;
	const char *given = getenv("WORD_SCHEDULE");
	unsigned int turns = 0;

	hooks = no_hooks;
	hooks.place_self = place_self;
	kt_thread_hook(&hooks);
	for (unsigned int n = given ? (unsigned int)atoi(given) : 0; n < SCHEDULES; n++) {
		memset(&play, 0, sizeof(play));
		play.k = kt_thread_alloc(KT_KTHREAD, (char *)"played");
		assert_non_null(play.k);
		kt_word_set(&play.k->word, W_STARTED | W_ENTERED | W_FREEZABLE);
		play.interruptible = interruptible;
		play.k->interrupt_signal = interruptible;
		if (n % 2)
			play.k->event_fd = eventfd(0, EFD_CLOEXEC);
		play.working = ACTORS - 1;
		sched.schedule = n;
		sched.lot = n * 2654435761u + 1;
		sched.running = -1;
		for (int i = 0; i < ACTORS; i++) {
			sched.actors[i] = (struct actor){.turn = PTHREAD_COND_INITIALIZER};
			assert_int_equal(pthread_create(&sched.actors[i].thread, NULL, act, (void *)(intptr_t)i), 0);
		}
		pthread_mutex_lock(&sched.lock);
		pass_on();
		pthread_mutex_unlock(&sched.lock);
		for (int i = 0; i < ACTORS; i++)
			pthread_join(sched.actors[i].thread, NULL);
		turns += play.turns;
		kt_thread_free(play.k);
		if (given)
			break;
	}
	assert_true(turns > 0);
	print_message("%lu switches, %u turns of the thread\n", sched.switches, turns);
}

static void word__no_wake_up_is_lost_and_no_park_broken(void **state)
{
	(void)state;
	play_schedules(false);
}

static void word__no_request_leaves_the_thread_in_a_system_call(void **state)
{
	(void)state;
	play_schedules(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(word__no_wake_up_is_lost_and_no_park_broken),
	    cmocka_unit_test(word__no_request_leaves_the_thread_in_a_system_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
