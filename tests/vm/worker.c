/* SPDX-License-Identifier: MIT */
/*
 * Workers on CPUs that go and come, with works and delayed works queued all the time: what was accepted runs, once; on a
 * per-CPU worker at home or not at all. The library has no poll: what it misses stays wrong.
 */
#include "vm.h"

#define CYCLES 40u
#define ITEMS 128u
#define MOVING "1-7" /* the CPUs that go and come */

struct item {
	struct kthread_delayed_work dwork;
	struct lane *lane;
	uint64_t due;
	atomic_bool queued;
};

/* A worker of a CPU, and what it has been given. */
static struct lane {
	struct kthread_worker *w;
	unsigned int cpu;
	bool per_cpu;
	struct item items[ITEMS];
	atomic_ulong accepted, ran;
	/* of its thread */
	unsigned int before; /* kernel_moved() at the former work */
	bool inside;
	atomic_ulong away; /* ran elsewhere than on its CPU */
} lanes[16];

static void run(struct kthread_work *work)
{
	struct item *item = (struct item *)work;
	struct lane *lane = item->lane;
	const unsigned int seen = (unsigned int)sched_getcpu();

	CHECK(!lane->inside);
	lane->inside = true;
	CHECK(now_ns() >= item->due);
	/* under a work that has begun the CPU may go; the next one does not begin */
	if (lane->per_cpu && strays(lane->cpu, lane->before, seen))
		FAIL("a work of CPU %u on CPU %u", lane->cpu, seen);
	lane->before = kernel_moved(lane->cpu);
	if (seen != lane->cpu)
		atomic_fetch_add(&lane->away, 1);
	for (const uint64_t until = now_ns() + MS / 20; now_ns() < until;)
		continue;
	lane->inside = false;
	atomic_store(&item->queued, false);
	atomic_fetch_add(&lane->ran, 1); /* last: nobody waits for more */
}

static void start_lanes(void)
{
	for (unsigned int i = 0; i < 16; i++) {
		struct lane *lane = &lanes[i];

		lane->cpu = i % 8;
		lane->per_cpu = i < 8;
		for (unsigned int n = 0; n < ITEMS; n++) {
			kthread_init_delayed_work(&lane->items[n].dwork, run);
			lane->items[n].lane = lane;
		}
		lane->w = kthread_run_worker_on_cpu(lane->cpu, lane->per_cpu ? KTHREAD_WORKER_PER_CPU : 0,
		                                    lane->per_cpu ? "home/%u" : "bound/%u");
		CHECK(lane->w);
	}
}

/* ---- the load --------------------------------------------------------------------------------------------------- */

static atomic_bool producing;

/* Only who has found an item idle uses it: so the time in it is its own. */
static bool give(struct lane *lane, uint64_t *state)
{
	struct item *item = &lane->items[below(state, ITEMS)];
	const uint64_t delay = below(state, 2) ? below(state, 3000) * 1000ull : 0;

	if (atomic_exchange(&item->queued, true))
		return false;
	item->due = now_ns() + delay;
	atomic_fetch_add(&lane->accepted, 1);
	CHECK(kthread_queue_delayed_work(lane->w, &item->dwork, delay));
	return true;
}

static void *produce(void *seed)
{
	uint64_t state = (uintptr_t)seed | 1;

	while (atomic_load(&producing)) {
		for (int i = 0; i < 16; i++)
			give(&lanes[below(&state, 16)], &state);
		pause_ns(4 * MS);
	}
	return NULL;
}

static void start_load(pthread_t producers[2], uint64_t *seed)
{
	atomic_store(&producing, true);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&producers[i], NULL, produce, (void *)(uintptr_t)next_random(seed)) == 0);
}

/* Everybody is at home, and works off what waits. */
static void balance(pthread_t producers[2])
{
	unsigned long ran = 0, away = 0;

	atomic_store(&producing, false);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(producers[i], NULL) == 0);
	for (size_t i = 0; i < 16; i++) {
		struct lane *lane = &lanes[i];

		AWAIT(lane->ran == lane->accepted);
		kthread_destroy_worker(lane->w);
		CHECK(lane->accepted && lane->ran == lane->accepted);
		ran += lane->ran;
		if (!lane->per_cpu)
			away += lane->away;
	}
	printf("    %lu works; those of bound workers ran elsewhere %lu times\n", ran, away);
	CHECK(away);
}

/* ---- off and on ------------------------------------------------------------------------------------------------- */

static enum kthread_state state_of(const struct lane *lane)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK0(kthread_info(kthread_worker_thread(lane->w), &info));
	return info.state;
}

static bool at_home(const struct lane *lane)
{
	const struct kthread *k = kthread_worker_thread(lane->w);

	return !kthread_is_broken(k) && state_of(lane) != KTHREAD_PARKED && task_cpus(kthread_tid(k)) == CPU(lane->cpu);
}

static void observed(void)
{
	const cpus_t moving = cpus_of(MOVING);
	uint64_t seed = first_seed();
	pthread_t producers[2];
	unsigned int cycles = 0;

	start_library(0, true, false);
	start_lanes();
	start_load(producers, &seed);
	while (cycles < CYCLES || (atomic_load(&world.online) & moving) != moving) {
		const cpus_t online = atomic_load(&world.online);
		const unsigned int cpu = random_cpu(&seed, cycles < CYCLES ? moving : moving & ~online);
		struct lane *home = &lanes[cpu];
		struct lane *bound = &lanes[cpu + 8];

		if (online & CPU(cpu)) {
			unsigned long ran;

			kernel_moves(cpu);
			cpu_off(cpu);
			kernel_moves(cpu);
			AWAIT(state_of(home) == KTHREAD_PARKED);
			ran = home->ran;
			give(home, &seed);
			give(bound, &seed);
			AWAIT(bound->ran == bound->accepted || bound->away); /* it works on */
			CHECK(home->ran == ran);                             /* its queue waits */
			cycles++;
		} else {
			cpu_on(cpu);
			AWAIT(at_home(home) && at_home(bound));
		}
	}
	balance(producers);
}

/* What is queued before the call has run, there, when it returns; what is queued afterwards waits. */
static void cooperative(void)
{
	const cpus_t moving = cpus_of(MOVING);
	cpus_t down = 0;
	uint64_t seed = first_seed();
	pthread_t producers[2];
	unsigned int cycles = 0;

	start_library(0, true, false);
	start_lanes();
	start_load(producers, &seed);
	while (cycles < CYCLES || down) {
		const unsigned int cpu = random_cpu(&seed, cycles < CYCLES ? moving : down);
		struct lane *home = &lanes[cpu];

		if (down & CPU(cpu)) {
			CHECK0(kthread_cpu_up(cpu, KTHREAD_CPU_PHYSICAL));
			AWAIT(at_home(home) && at_home(&lanes[cpu + 8]));
		} else {
			struct item last = {.lane = home};

			kthread_init_delayed_work(&last.dwork, run);
			atomic_fetch_add(&home->accepted, 1);
			atomic_store(&last.queued, true);
			CHECK(kthread_queue_work(home->w, &last.dwork.work));
			CHECK0(kthread_cpu_down(cpu, KTHREAD_CPU_PHYSICAL));
			CHECK(!atomic_load(&last.queued));
			CHECK(state_of(home) == KTHREAD_PARKED);
			cycles++;
		}
		down ^= CPU(cpu);
	}
	for (unsigned int cpu = 0; cpu < 8; cpu++)
		CHECK(atomic_load(&lanes[cpu].away) == 0);
	balance(producers);
}

const struct vm_case cases_worker[] = {
    {"observed", observed, NULL},
    {"cooperative", cooperative, NULL},
    {NULL, NULL, NULL},
};
