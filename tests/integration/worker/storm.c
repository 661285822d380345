/* SPDX-License-Identifier: MIT */
/*
 * Everything at once: producers, cancellers, flushers, modifiers, works that queue themselves and others, two workers that
 * exchange works, works that free themselves, parks and freezes; and workers that are destroyed while others still queue.
 * KTHREAD_STORM_SECONDS in the environment makes it last.
 *
 * At the end accepted == ran + cancelled, of each work; none ever overlapped itself or another of its worker.
 */
#include "works.h"

#define ITEMS 32
#define THREADS 10

struct lane { /* a worker: one of its works at a time */
	struct kthread_worker *w;
	struct kthread *thread;
	unsigned long plain; /* unprotected: ThreadSanitizer checks that works of one worker follow each other */
	atomic_int inside;
};

static struct storm {
	struct lane lanes[2];
	struct item {
		struct kthread_delayed_work dwork;
		atomic_int inside;
		unsigned long plain; /* the same for a work and itself */
		atomic_ulong accepted, ran, cancelled;
		atomic_ulong written; /* relaxed, before queueing: at least this is seen by the run to come */
		bool restless;
	} items[ITEMS];
	atomic_bool over;
	atomic_ulong freed, allocated;
} s;

static uint64_t duration(void)
{
	const char *given = getenv("KTHREAD_STORM_SECONDS");

	return (given ? strtoull(given, NULL, 10) * 1000 : 1000) * MS;
}

static struct lane *lane_of_self(void)
{
	return kthread_self() == s.lanes[0].thread ? &s.lanes[0] : &s.lanes[1];
}

static void enter(struct lane *lane)
{
	CHECK(atomic_fetch_add(&lane->inside, 1) == 0);
	lane->plain++;
}

static void leave(struct lane *lane)
{
	CHECK(atomic_fetch_sub(&lane->inside, 1) == 1);
}

static void queue(struct item *item, struct kthread_worker *w, uint64_t delay)
{
	if (delay ? kthread_queue_delayed_work(w, &item->dwork, delay) : kthread_queue_work(w, &item->dwork.work))
		atomic_fetch_add(&item->accepted, 1);
}

static void item_fn(struct kthread_work *work)
{
	struct item *item = (struct item *)work;
	struct lane *lane = lane_of_self();
	unsigned long runs;

	enter(lane);
	CHECK(atomic_fetch_add(&item->inside, 1) == 0);
	item->plain++;
	runs = atomic_fetch_add(&item->ran, 1);
	if (item->restless && runs % 4) {
		queue(item, s.lanes[runs % 2].w, runs % 3 ? 0 : 1000);
		queue(&s.items[runs % ITEMS], s.lanes[runs % 2].w, 0);
	}
	if (runs % 64 == 0 && lane == &s.lanes[0]) /* one way only: else they wait for each other */
		kthread_flush_worker(s.lanes[1].w);
	if (runs % 32 == 0 && kthread_cancel_work_sync(work)) /* its own next instance */
		atomic_fetch_add(&item->cancelled, 1);
	CHECK(atomic_fetch_sub(&item->inside, 1) == 1);
	leave(lane);
}

struct own {
	struct kthread_work work;
	unsigned long filling[4];
};

static void own_fn(struct kthread_work *work)
{
	struct own *own = (struct own *)work;
	struct lane *lane = lane_of_self();

	enter(lane);
	CHECK(own->filling[0] == 7);
	memset(own, 0xee, sizeof(*own));
	free(own);
	atomic_fetch_add(&s.freed, 1);
	leave(lane);
}

struct actor {
	pthread_t thread;
	int number;
	unsigned int random;
};

static unsigned int draw(struct actor *actor, unsigned int below)
{
	actor->random = actor->random * 1664525u + 1013904223u;
	return (actor->random >> 8) % below;
}

static void produce(struct actor *actor, struct item *item, struct kthread_worker *w)
{
	queue(item, w, draw(actor, 4) ? 0 : draw(actor, 200000));
	if (draw(actor, 4) == 0) {
		struct own *own = malloc(sizeof(*own));

		own->filling[0] = 7;
		kthread_init_work(&own->work, own_fn);
		CHECK(kthread_queue_work(w, &own->work));
		atomic_fetch_add(&s.allocated, 1);
	}
}

static void modify(struct actor *actor, struct item *item, struct kthread_worker *w)
{
	if (!kthread_mod_delayed_work(w, &item->dwork, draw(actor, 2) ? 0 : draw(actor, 200000)))
		atomic_fetch_add(&item->accepted, 1);
}

static void disturb(struct actor *actor, struct kthread_worker *w)
{
	switch (draw(actor, 3)) {
	case 0:
		if (kthread_park(kthread_worker_thread(w)) == 0)
			kthread_unpark(kthread_worker_thread(w));
		break;
	case 1:
		if (kthread_freeze_all(5 * MS) == 0) /* a work may be waiting for one of the frozen worker's */
			kthread_thaw_all();
		break;
	default:
		kthread_wake(kthread_worker_thread(w));
		break;
	}
	usleep(200);
}

static void *act(void *data)
{
	struct actor *actor = data;

	while (!atomic_load(&s.over)) {
		struct item *item = &s.items[draw(actor, ITEMS)];
		struct kthread_worker *w = s.lanes[draw(actor, 2)].w;

		switch (actor->number) {
		case 0 ... 3:
			produce(actor, item, w);
			break;
		case 4:
		case 5:
			if (kthread_cancel_delayed_work_sync(&item->dwork))
				atomic_fetch_add(&item->cancelled, 1);
			usleep(50);
			break;
		case 6:
			kthread_flush_worker(w);
			break;
		case 7:
			kthread_flush_work(&item->dwork.work);
			break;
		case 8:
			modify(actor, item, w);
			break;
		default:
			disturb(actor, w);
		}
		sched_yield();
	}
	return NULL;
}

static void storm__every_accepted_work_runs_or_is_cancelled(void **state)
{
	struct actor actors[THREADS];
	const uint64_t until = now_ns() + duration();
	unsigned long ran = 0;

	for (int i = 0; i < 2; i++) {
		s.lanes[i] = (struct lane){.w = kthread_run_worker(KTHREAD_WORKER_FREEZABLE, "lane/%d", i)};
		s.lanes[i].thread = kthread_worker_thread(s.lanes[i].w);
	}
	for (int i = 0; i < ITEMS; i++) {
		s.items[i] = (struct item){.restless = i % 4 == 0};
		kthread_init_delayed_work(&s.items[i].dwork, item_fn);
	}
	atomic_store(&s.over, false);
	for (int i = 0; i < THREADS; i++) {
		actors[i] = (struct actor){.number = i, .random = (unsigned int)now_ns()};
		assert_int_equal(pthread_create(&actors[i].thread, NULL, act, &actors[i]), 0);
	}
	while (now_ns() < until)
		usleep(10000);
	atomic_store(&s.over, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(actors[i].thread, NULL);
	for (int i = 0; i < ITEMS; i++) {
		if (kthread_cancel_delayed_work_sync(&s.items[i].dwork))
			atomic_fetch_add(&s.items[i].cancelled, 1);
	}
	/* a restless one may have queued another after that was cancelled; delayed ones end with the worker, uncounted */
	for (int i = 0; i < ITEMS; i++)
		s.items[i].restless = false;
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < ITEMS; i++)
			if (kthread_cancel_delayed_work_sync(&s.items[i].dwork))
				atomic_fetch_add(&s.items[i].cancelled, 1);
	for (int i = 0; i < 2; i++)
		kthread_destroy_worker(s.lanes[i].w);
	for (int i = 0; i < ITEMS; i++) {
		const struct item *item = &s.items[i];

		assert_int_equal(item->accepted, item->ran + item->cancelled);
		assert_int_equal(item->plain, item->ran);
		ran += item->ran;
	}
	assert_int_equal(s.allocated, s.freed);
	print_message("%lu runs, %lu that freed themselves\n", ran, s.freed);
}

/* ---- destroyed while others still queue ---------------------------------------------------------------------------- */

/*
 * That no call begins after the destruction has returned is for the user to see to. Here the producers are waited for by
 * a work that had been accepted before.
 */
static struct last_round {
	struct kthread_worker *w;
	pthread_t producers[4];
	atomic_int begun;
	atomic_ulong accepted, ran, refused;
	struct kthread_work awaits;
} last;

struct counted {
	struct kthread_delayed_work dwork;
};

static void counted_fn(struct kthread_work *work)
{
	free(work);
	atomic_fetch_add(&last.ran, 1);
}

static void await_producers(struct kthread_work *work)
{
	for (int i = 0; i < 4; i++)
		pthread_join(last.producers[i], NULL);
}

static void *produce_to_the_end(void *unused)
{
	int refused = 0;

	atomic_fetch_add(&last.begun, 1);
	while (refused < 3) {
		struct counted *counted = malloc(sizeof(*counted));

		kthread_init_delayed_work(&counted->dwork, counted_fn);
		if (kthread_queue_work(last.w, &counted->dwork.work)) {
			atomic_fetch_add(&last.accepted, 1);
			continue;
		}
		CHECK(!kthread_queue_delayed_work(last.w, &counted->dwork, 1));
		CHECK(!kthread_mod_delayed_work(last.w, &counted->dwork, 1));
		kthread_flush_work(&counted->dwork.work);
		CHECK(!kthread_cancel_delayed_work_sync(&counted->dwork));
		free(counted);
		refused++;
		atomic_fetch_add(&last.refused, 1);
	}
	return NULL;
}

static void destroy__while_others_queue(void **state)
{
	const uint64_t until = now_ns() + duration();
	unsigned long accepted = 0;
	int rounds = 0;

	for (; now_ns() < until || rounds < 20; rounds++) {
		last = (struct last_round){.begun = 0};
		last.w = rounds % 2 ? kthread_run_worker(0, "last") : kthread_create_worker(0, "last");
		kthread_init_work(&last.awaits, await_producers);
		for (int i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&last.producers[i], NULL, produce_to_the_end, NULL), 0);
		AWAIT(last.begun == 4);
		assert_true(kthread_queue_work(last.w, &last.awaits));
		kthread_destroy_worker(last.w);
		assert_int_equal(last.accepted, last.ran);
		assert_int_equal(last.refused, 12);
		accepted += last.accepted;
	}
	print_message("%d rounds, %lu works\n", rounds, accepted);
}

/* ---- workers come and go, works stay ------------------------------------------------------------------------------- */

static struct nomad {
	struct kthread_work work;
	atomic_ulong accepted, ran;
	atomic_int inside;
} nomads[4];

static void nomad_fn(struct kthread_work *work)
{
	struct nomad *nomad = (struct nomad *)work;

	CHECK(atomic_fetch_add(&nomad->inside, 1) == 0);
	atomic_fetch_add(&nomad->ran, 1);
	CHECK(atomic_fetch_sub(&nomad->inside, 1) == 1);
}

/* Each with workers of its own, and the same works. */
static void *wander(void *data)
{
	unsigned int random = (unsigned int)(uintptr_t)data;

	while (!atomic_load(&s.over)) {
		struct kthread_worker *w = kthread_create_worker(0, "camp");

		CHECK(w);
		for (int i = 0; i < 6; i++) {
			struct nomad *nomad = &nomads[(random = random * 1664525u + 1013904223u) >> 16 & 3];

			if (kthread_queue_work(w, &nomad->work))
				atomic_fetch_add(&nomad->accepted, 1);
			if (random >> 20 & 1)
				kthread_flush_work(&nomad->work);
		}
		kthread_destroy_worker(w);
	}
	return NULL;
}

static void storm__works_outlive_their_workers(void **state)
{
	const uint64_t until = now_ns() + duration();
	unsigned long cancelled = 0;
	unsigned long accepted = 0;
	unsigned long ran = 0;
	pthread_t threads[3];

	atomic_store(&s.over, false);
	for (int i = 0; i < 4; i++)
		kthread_init_work(&nomads[i].work, nomad_fn);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, wander, (void *)(uintptr_t)(i * 977)), 0);
	while (now_ns() < until) {
		for (int i = 0; i < 4; i++)
			cancelled += kthread_cancel_work_sync(&nomads[i].work);
		usleep(100);
	}
	atomic_store(&s.over, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 4; i++) {
		assert_false(kthread_cancel_work_sync(&nomads[i].work));
		accepted += nomads[i].accepted;
		ran += nomads[i].ran;
	}
	assert_int_equal(accepted, ran + cancelled);
	print_message("%lu runs, %lu cancelled\n", ran, cancelled);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(storm__every_accepted_work_runs_or_is_cancelled),
	    cmocka_unit_test(destroy__while_others_queue),
	    cmocka_unit_test(storm__works_outlive_their_workers),
	};

	return cmocka_run_group_tests(tests, start_without_a_log, fini_finds_nothing);
}
