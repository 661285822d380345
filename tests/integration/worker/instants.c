/* SPDX-License-Identifier: MIT */
/*
 * Two things at once, at every instant: one thread makes a call, is held up after its nth instruction (the processor's
 * single-step trap), another makes its call from beginning to end, or as far as it gets without the first one, and only
 * then the first goes on. Or it is the worker's thread that is held up, on its way from a work to its sleep.
 *
 * Each pair of calls, in each of some states of the work; a few instants of each pair drawn by lot, all of them with
 * KTHREAD_INSTANTS=all in the environment. KTHREAD_INSTANTS=SEED repeats a run.
 *
 * However it goes: both calls return, and for each work accepted == ran + cancelled + given up for its time had not come.
 */
#include "works.h"

#include <ucontext.h>

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define TRAP 0x100

static struct {
	unsigned long left; /* instructions until it is held up; 0: it is not to be */
	struct kthread_completion arrived;
	struct kthread_completion go;
	bool held;
	bool of_worker;
	atomic_bool over; /* its thread is to end: all signals are blocked then */
} step;

static void on_trap(int signal, siginfo_t *info, void *context)
{
	const int saved = errno;

	if (--step.left > 0 && !atomic_load(&step.over))
		return;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
	if (atomic_load(&step.over)) {
		errno = saved;
		return;
	}
	step.held = true;
	kthread_complete(&step.arrived);
	kthread_wait_for_completion(&step.go);
	errno = saved;
}

static void steps_begin(void)
{
	sigset_t trap;

	sigemptyset(&trap);
	sigaddset(&trap, SIGTRAP);
	pthread_sigmask(SIG_UNBLOCK, &trap, NULL);
	if (step.left)
		__asm__ volatile("pushfq; orq %0, (%%rsp); popfq" ::"i"(TRAP) : "memory", "cc");
}

static void steps_end(void)
{
	__asm__ volatile("pushfq; andq %0, (%%rsp); popfq" ::"i"(~TRAP) : "memory", "cc");
}

/* ---- the scene --------------------------------------------------------------------------------------------------- */

static struct scene {
	struct kthread_worker *w, *other;
	struct kthread_delayed_work work; /* what it is about */
	atomic_bool running;
	atomic_int accepted, ran, cancelled;
	struct kthread *_Atomic ran_by;
	atomic_int other_accepted, other_ran;
	struct gated gate; /* runs on w, before the work */
	struct kthread_work second;
	atomic_bool self_gated; /* the work waits */
	atomic_bool destroyed;
	struct kthread_completion self_begun, self_go;
	struct kthread_work stepped; /* the worker's own steps begin with this one */
	struct call canceller;
} s;

static void work_fn(struct kthread_work *work)
{
	CHECK(!atomic_exchange(&s.running, true));
	if (atomic_exchange(&s.self_gated, false)) {
		kthread_complete(&s.self_begun);
		AWAIT_DONE(&s.self_go);
	}
	atomic_store(&s.ran_by, kthread_self());
	atomic_store(&s.running, false);
	atomic_fetch_add(&s.ran, 1);
}

static void second_fn(struct kthread_work *work)
{
	atomic_fetch_add(&s.other_ran, 1);
}

static void stepped_fn(struct kthread_work *work)
{
	steps_begin();
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

static intptr_t do_queue(void *unused)
{
	if (kthread_queue_work(s.w, &s.work.work))
		atomic_fetch_add(&s.accepted, 1);
	return 0;
}

static intptr_t do_queue_other(void *unused)
{
	if (kthread_queue_work(s.other, &s.work.work))
		atomic_fetch_add(&s.accepted, 1);
	return 0;
}

static intptr_t do_queue_second(void *unused)
{
	if (kthread_queue_work(s.w, &s.second))
		atomic_fetch_add(&s.other_accepted, 1);
	return 0;
}

static intptr_t do_delay(void *unused)
{
	if (kthread_queue_delayed_work(s.w, &s.work, 30000))
		atomic_fetch_add(&s.accepted, 1);
	return 0;
}

static intptr_t do_mod(void *unused)
{
	return kthread_mod_delayed_work(s.other, &s.work, 0);
}

static intptr_t do_mod_late(void *unused)
{
	kthread_mod_delayed_work(s.w, &s.work, 20000);
	return 0;
}

static intptr_t do_flush_work(void *unused)
{
	kthread_flush_work(&s.work.work);
	return 0;
}

static intptr_t do_flush_worker(void *unused)
{
	kthread_flush_worker(s.w);
	return 0;
}

static intptr_t do_cancel(void *unused)
{
	if (kthread_cancel_delayed_work_sync(&s.work))
		atomic_fetch_add(&s.cancelled, 1);
	return 0;
}

/* On return of a cancel, to queue it is not refused for nothing; it is pending, and runs. */
static intptr_t do_cancel_and_queue(void *unused)
{
	int ran;

	do_cancel(NULL);
	ran = atomic_load(&s.ran);
	do_queue_other(NULL);
	kthread_flush_work(&s.work.work);
	return atomic_load(&s.ran) - ran;
}

static intptr_t do_stop(void *unused)
{
	atomic_store(&step.over, step.of_worker);
	kthread_stop(kthread_get(kthread_worker_thread(s.w)));
	return 0;
}

static intptr_t do_park(void *unused)
{
	kthread_park(kthread_worker_thread(s.w));
	kthread_unpark(kthread_worker_thread(s.w));
	return 0;
}

static intptr_t do_freeze(void *unused)
{
	if (kthread_freeze_all(AWAIT_LIMIT_NS) == 0)
		kthread_thaw_all();
	return 0;
}

static intptr_t do_destroy(void *unused)
{
	atomic_store(&step.over, step.of_worker);
	atomic_store(&s.destroyed, true);
	kthread_destroy_worker(s.w);
	return 0;
}

enum kind {
	PLAIN,
	BLIND,  /* whether it has queued is not told */
	THREAD, /* uses the worker's thread: the worker must not be destroyed meanwhile */
	STOPS,
	DESTROYS
};

static const struct deed {
	const char *name;
	intptr_t (*fn)(void *unused);
	enum kind kind;
	bool leaves_pending; /* what another has queued stays so, or runs */
} deeds[] = {
    {"queue", do_queue, PLAIN, true},
    {"queue elsewhere", do_queue_other, PLAIN, true},
    {"queue another", do_queue_second, PLAIN, true},
    {"queue delayed", do_delay, PLAIN, false},
    {"mod", do_mod, BLIND, false}, /* it moves behind who flushes it */
    {"mod later", do_mod_late, BLIND, false},
    {"flush work", do_flush_work, PLAIN, true},
    {"flush worker", do_flush_worker, PLAIN, true},
    {"cancel", do_cancel, PLAIN, false},
    {"cancel and queue", do_cancel_and_queue, PLAIN, false},
    {"stop", do_stop, STOPS, false},
    {"park", do_park, THREAD, true},
    {"freeze", do_freeze, PLAIN, true},
    {"destroy", do_destroy, DESTROYS, false},
};
#define DEEDS ((int)(sizeof(deeds) / sizeof(*deeds)))

enum state { NEW, CREATED, IDLE, PENDING, RUNNING, RUNNING_AND_PENDING, DELAYED, CANCELLED, STATES };
static const char *const states[STATES] = {
    "new",     "of a created worker", "idle",    "pending",
    "running", "running and pending", "delayed", "running, and being cancelled by one who will queue it"};

static void begin(enum state state)
{
	s = (struct scene){.self_gated = false};
	s.w = state == CREATED ? kthread_create_worker(KTHREAD_WORKER_FREEZABLE, "w")
	                       : kthread_run_worker(KTHREAD_WORKER_FREEZABLE, "w");
	s.other = kthread_run_worker(0, "other");
	CHECK(s.w && s.other);
	kthread_init_delayed_work(&s.work, work_fn);
	kthread_init_work(&s.second, second_fn);
	kthread_init_completion(&s.self_begun);
	kthread_init_completion(&s.self_go);
	gated_init(&s.gate);
	switch (state) {
	case IDLE:
		do_queue(NULL);
		kthread_flush_work(&s.work.work);
		break;
	case PENDING:
		gated_begin(s.w, &s.gate);
		do_queue(NULL);
		break;
	case RUNNING:
	case RUNNING_AND_PENDING:
	case CANCELLED:
		atomic_store(&s.self_gated, true);
		do_queue(NULL);
		AWAIT_DONE(&s.self_begun);
		if (state == RUNNING_AND_PENDING)
			do_queue(NULL);
		if (state == CANCELLED) {
			call_begin(&s.canceller, do_cancel_and_queue, NULL);
			call_blocks(&s.canceller);
		}
		break;
	case DELAYED:
		CHECK(kthread_queue_delayed_work(s.w, &s.work, HOUR));
		atomic_fetch_add(&s.accepted, 1);
		break;
	default:
		break;
	}
}

static void let_all_run(void)
{
	kthread_complete(&s.gate.go);
	kthread_complete(&s.self_go);
}

/* What is accepted and did not run: only delayed works, and only of a worker that has ended before their time. */
static void end(bool counted, bool may_be_given_up)
{
	int given_up;

	if (kthread_cancel_delayed_work_sync(&s.work))
		atomic_fetch_add(&s.cancelled, 1);
	atomic_store(&step.over, step.of_worker);
	if (!s.destroyed)
		kthread_destroy_worker(s.w);
	kthread_destroy_worker(s.other);
	CHECK(!s.running);
	CHECK(s.other_accepted == s.other_ran);
	given_up = s.accepted - s.ran - s.cancelled;
	if (counted)
		CHECK(given_up == 0 || (given_up == 1 && may_be_given_up));
	CHECK(!kthread_cancel_delayed_work_sync(&s.work));
}

/* ---- pairs ------------------------------------------------------------------------------------------------------ */

static struct {
	int first, second; /* deeds; first -1: the worker's thread */
	enum state state;
	unsigned long n;
} now;

static void say(int signal)
{
	char text[256];
	const int length = snprintf(text, sizeof(text), "%s held up after %lu instructions, then %s; the work is %s\n",
	                            now.first < 0 ? "the worker" : deeds[now.first].name, now.n, deeds[now.second].name,
	                            states[now.state]);

	(void)!write(2, text, (size_t)length);
	(void)signal;
}

static intptr_t stepped_call(void *data)
{
	const struct deed *deed = data;
	intptr_t answer;

	steps_begin();
	answer = deed->fn(NULL);
	steps_end();
	kthread_complete(&step.arrived); /* if it has not been held up: then it is done */
	return answer;
}

static struct kthread_completion second_go;

static intptr_t second_call(void *data)
{
	AWAIT_DONE(&second_go);
	return ((const struct deed *)data)->fn(NULL);
}

/* As far as it gets. */
static void await_done_or_stuck(struct call *call)
{
	for (int look = 0; look < 20 && !atomic_load(&call->done); look++) {
		if (look > 3 && task_asleep(atomic_load(&call->tid)))
			break;
		sched_yield();
	}
}

/* False: it was done before its nth instruction. */
static bool play(int first, int second, enum state state, unsigned long n)
{
	struct call calls[2];
	bool held;
	bool second_was_first;
	const struct deed *a = first < 0 ? NULL : &deeds[first];
	const struct deed *b = &deeds[second];
	const bool counted = b->kind != BLIND && (!a || a->kind != BLIND);
	const bool ends = b->kind >= STOPS || (a && a->kind >= STOPS);

	now.first = first;
	now.second = second;
	now.state = state;
	now.n = n;
	begin(state);
	/* before: the first may be held up with a lock of malloc() or pthread_create() */
	kthread_init_completion(&second_go);
	call_begin(&calls[1], second_call, (void *)b);
	step.left = n;
	step.held = false;
	step.of_worker = first < 0;
	atomic_store(&step.over, false);
	kthread_init_completion(&step.arrived);
	kthread_init_completion(&step.go);
	if (first < 0) {
		kthread_init_work(&s.stepped, stepped_fn);
		CHECK(kthread_queue_work(s.w, &s.stepped));
		let_all_run();
		AWAIT(step.held || task_asleep(kthread_tid(kthread_worker_thread(s.w))));
	} else {
		call_begin(&calls[0], stepped_call, (void *)a);
		for (int i = 0; !kthread_wait_for_completion_timeout(&step.arrived, i < 3 ? 1 * MS : 0); i++)
			break;
		AWAIT(step.held || atomic_load(&calls[0].done) || task_asleep(atomic_load(&calls[0].tid)));
	}
	held = step.held;
	kthread_complete(&second_go);
	usleep(20);
	await_done_or_stuck(&calls[1]);
	let_all_run();
	await_done_or_stuck(&calls[1]);
	if (state == CANCELLED)
		await_done_or_stuck(&s.canceller);
	second_was_first = atomic_load(&calls[1].done);
	kthread_complete_all(&step.go);
	if (first >= 0)
		call_end(&calls[0]);
	call_end(&calls[1]);
	if (a && a->fn == do_mod && state == PENDING && b->fn == do_flush_worker && second_was_first &&
	    !calls[0].answer) {
		/* it had ended where it was pending */
		kthread_flush_worker(s.other);
		CHECK(s.ran == 2 && s.ran_by == kthread_worker_thread(s.other));
	}
	if (state == CANCELLED && call_end(&s.canceller) == 0)
		CHECK((a && !a->leaves_pending) || !b->leaves_pending);
	if (b->fn == do_cancel_and_queue && (!a || a->leaves_pending) && state != CANCELLED)
		CHECK(calls[1].answer > 0);
	if (a && a->fn == do_cancel_and_queue && b->leaves_pending && state != CANCELLED)
		CHECK(calls[0].answer > 0);
	end(counted, ends);
	return held;
}

/* Every call with a worker has begun before its destruction returns, so that comes second; and it comes once. */
static bool allowed(int first, int second)
{
	const struct deed *a = first < 0 ? NULL : &deeds[first];
	const struct deed *b = &deeds[second];

	if (!a)
		return true;
	if (a->kind == DESTROYS)
		return b->fn == do_cancel || b->fn == do_flush_work || b->fn == do_queue_other;
	return b->kind != DESTROYS || a->kind == PLAIN || a->kind == BLIND;
}

static unsigned int random_state;

static unsigned int draw(unsigned int below)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % below;
}

static uint64_t until; /* on a loaded machine, or under a sanitizer, fewer of them */

static unsigned long play_pair(int first, int second, enum state state, bool all)
{
	unsigned long played = 0;
	unsigned long n = 1;

	if (!allowed(first, second))
		return 0;
	while (now_ns() < until && play(first, second, state, n)) {
		played++;
		n += all ? 1 : 1 + draw(n < 100 ? 60 : 600);
	}
	return played;
}

static void install(void)
{
	struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction aborted = {.sa_handler = say, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGTRAP, &trap, NULL);
	sigaction(SIGABRT, &aborted, NULL);
}

static int deed_of(intptr_t (*fn)(void *unused))
{
	int i = 0;

	while (deeds[i].fn != fn)
		i++;
	return i;
}

/*
 * Somebody who was being refused because of a canceller had the work look pending for a moment: the canceller's own
 * queueing, right after that, was refused for it, and nobody had queued it.
 */
static void cancel__then_queue_is_not_refused_for_nothing(void **state)
{
	install();
	until = now_ns() + 15000 * MS;
	assert_true(play_pair(deed_of(do_queue), deed_of(do_flush_worker), CANCELLED, true) > 0);
	signal(SIGABRT, SIG_DFL);
}

/* It went to the worker that had had it before. */
static void mod__queues_it_where_it_is_told_to(void **state)
{
	install();
	until = now_ns() + 15000 * MS;
	assert_true(play_pair(deed_of(do_mod), deed_of(do_flush_worker), PENDING, true) > 0);
	signal(SIGABRT, SIG_DFL);
}

static void pairs(bool worker)
{
	const char *given = getenv("KTHREAD_INSTANTS");
	const bool all = given && strcmp(given, "all") == 0;
	unsigned long played = 0;
	install();
	until = all ? UINT64_MAX : now_ns() + 4000 * MS;
	random_state = given && !all ? (unsigned int)strtoul(given, NULL, 10) : (unsigned int)now_ns();
	print_message("seed %u\n", random_state);
	if (all) {
		for (int first = worker ? -1 : 0; first < (worker ? 0 : DEEDS); first++)
			for (int second = 0; second < DEEDS; second++)
				for (enum state state = 0; state < STATES; state++)
					played += play_pair(first, second, state, true);
	}
	while (now_ns() < until && !all)
		played += play_pair(worker ? -1 : (int)draw(DEEDS), (int)draw(DEEDS), (enum state)draw(STATES), false);
	print_message("%lu instants\n", played);
	signal(SIGABRT, SIG_DFL);
}

static void two_calls__at_every_instant(void **state)
{
	pairs(false);
}

static void the_worker_and_a_call__at_every_instant(void **state)
{
	pairs(true);
}

static int start(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.log = say_nothing;
	config.poll_ms = 0;
	config.uevents = false;
	config.inotify = false;
	return kthread_init(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cancel__then_queue_is_not_refused_for_nothing),
	    cmocka_unit_test(mod__queues_it_where_it_is_told_to),
	    cmocka_unit_test(two_calls__at_every_instant),
	    cmocka_unit_test(the_worker_and_a_call__at_every_instant),
	};

	return cmocka_run_group_tests(tests, start, fini_finds_nothing);
}
#else
int main(void)
{
	return 77; /* the trap is the processor's, and another one for each sort; ThreadSanitizer steps itself */
}
#endif
