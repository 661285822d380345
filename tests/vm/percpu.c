/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU threads, and bound ones that look at kthread_bound_should_stop(), while CPUs go and come under load: they work
 * at home or not at all, and nothing that was given to them is lost. The library has no poll: what it misses stays wrong.
 */
#include "vm.h"

#define CYCLES 50u
#define QUEUE 256u
#define PIECE 8u
#define MOVING "1-7" /* the CPUs that go and come */

/* ---- the work --------------------------------------------------------------------------------------------------- */

/* What was enqueued, processed, handed over: how many, and their sum. */
struct tally {
	unsigned long count;
	uint64_t sum;
};

static struct queue {
	pthread_mutex_t lock;
	uint64_t items[QUEUE];
	unsigned int first, count;
	struct tally in, out, handed;
	/* of its thread */
	unsigned int before; /* sequence, when it was asked whether to run */
	bool set_up, parked;
	unsigned int cleanups;
	atomic_uint parks, unparks;
	atomic_ulong runs, moved; /* moved: excused */
} queues[8];

static void add(struct tally *tally, uint64_t item)
{
	tally->count++;
	tally->sum += item;
}

static uint64_t take(struct queue *queue)
{
	const uint64_t item = queue->items[queue->first];

	queue->first = (queue->first + 1) % QUEUE;
	queue->count--;
	return item;
}

static bool should_run(unsigned int cpu, void *arg)
{
	struct queue *queue = &queues[cpu];
	bool any;

	(void)arg;
	queue->before = kernel_moved(cpu);
	pthread_mutex_lock(&queue->lock);
	any = queue->count > 0;
	pthread_mutex_unlock(&queue->lock);
	return any;
}

/* Long enough for a CPU to go meanwhile. */
static void work(void)
{
	const uint64_t until = now_ns() + MS / 5;

	while (now_ns() < until)
		continue;
}

static void run(unsigned int cpu, void *arg)
{
	const unsigned int begun_on = (unsigned int)sched_getcpu();
	struct queue *queue = &queues[cpu];
	unsigned int ended_on;

	(void)arg;
	CHECK(queue->set_up && !queue->parked && !queue->cleanups);
	pthread_mutex_lock(&queue->lock);
	for (unsigned int i = 0; i < PIECE && queue->count; i++)
		add(&queue->out, take(queue));
	pthread_mutex_unlock(&queue->lock);
	work();
	ended_on = (unsigned int)sched_getcpu();
	if (strays(cpu, queue->before, begun_on) || strays(cpu, queue->before, ended_on))
		FAIL("a run of CPU %u began on %u and ended on %u", cpu, begun_on, ended_on);
	atomic_fetch_add(&queue->runs, 1);
	if (begun_on != cpu || ended_on != cpu)
		atomic_fetch_add(&queue->moved, 1);
}

static void setup(unsigned int cpu, void *arg)
{
	(void)arg;
	CHECK(!queues[cpu].set_up);
	queues[cpu].set_up = true;
}

static void park(unsigned int cpu, void *arg)
{
	struct queue *queue = &queues[cpu];

	(void)arg;
	CHECK(queue->set_up && !queue->parked);
	queue->parked = true;
	pthread_mutex_lock(&queue->lock);
	while (queue->count)
		add(&queue->handed, take(queue));
	pthread_mutex_unlock(&queue->lock);
	atomic_fetch_add(&queue->parks, 1);
}

static void unpark(unsigned int cpu, void *arg)
{
	(void)arg;
	CHECK(queues[cpu].parked);
	queues[cpu].parked = false;
	atomic_fetch_add(&queues[cpu].unparks, 1);
}

static void cleanup(unsigned int cpu, bool online, void *arg)
{
	(void)arg;
	CHECK(online && queues[cpu].set_up && !queues[cpu].parked);
	queues[cpu].cleanups++;
}

static struct kthread_percpu desc;

static void start_work(void)
{
	const struct kthread_percpu given = {.size = sizeof(given),
	                                     .name = "queue/%u",
	                                     .should_run = should_run,
	                                     .run = run,
	                                     .setup = setup,
	                                     .park = park,
	                                     .unpark = unpark,
	                                     .cleanup = cleanup};

	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		pthread_mutex_init(&queues[i].lock, NULL);
	desc = given;
	CHECK0(kthread_percpu_register(&desc));
}

/* ---- the load --------------------------------------------------------------------------------------------------- */

static atomic_bool producing;

/* A queue that is full is left alone; one whose CPU is away fills. */
static void *produce(void *seed)
{
	uint64_t state = (uintptr_t)seed | 1;

	while (atomic_load(&producing)) {
		for (int i = 0; i < 24; i++) {
			const unsigned int cpu = below(&state, 8);
			struct queue *queue = &queues[cpu];
			const uint64_t item = next_random(&state);

			pthread_mutex_lock(&queue->lock);
			if (queue->count < QUEUE) {
				queue->items[(queue->first + queue->count++) % QUEUE] = item;
				add(&queue->in, item);
			}
			pthread_mutex_unlock(&queue->lock);
			kthread_percpu_kick(&desc, cpu);
		}
		pause_ns(4 * MS);
	}
	return NULL;
}

static void start_load(pthread_t producers[2], uint64_t *seed)
{
	crew_add(KTHREAD, BUSY, KTHREAD_WISH_NONE, "");
	atomic_store(&producing, true);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_create(&producers[i], NULL, produce, (void *)(uintptr_t)next_random(seed)) == 0);
}

static void end_load(pthread_t producers[2])
{
	atomic_store(&producing, false);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(producers[i], NULL) == 0);
}

static bool is_empty(struct queue *queue)
{
	bool empty;

	pthread_mutex_lock(&queue->lock);
	empty = queue->count == 0;
	pthread_mutex_unlock(&queue->lock);
	return empty;
}

/* Everybody is at home. What is left is worked off without another kick: none was lost. */
static void balance(void)
{
	unsigned long runs = 0, moved = 0, in = 0, handed = 0, parks = 0;

	for (unsigned int cpu = 0; cpu < 8; cpu++)
		AWAIT(is_empty(&queues[cpu]));
	kthread_percpu_unregister(&desc);
	for (unsigned int cpu = 0; cpu < 8; cpu++) {
		const struct queue *queue = &queues[cpu];

		if (queue->in.count != queue->out.count + queue->handed.count ||
		    queue->in.sum != queue->out.sum + queue->handed.sum)
			FAIL("CPU %u: %lu enqueued, %lu processed, %lu handed over", cpu, queue->in.count,
			     queue->out.count, queue->handed.count);
		CHECK(queue->runs && queue->cleanups == 1 && queue->parks == queue->unparks);
		runs += queue->runs;
		moved += queue->moved;
		in += queue->in.count;
		handed += queue->handed.count;
		parks += queue->parks;
	}
	printf("    %lu items, %lu of them handed over in %lu parks; %lu runs, %lu of them under a CPU that went\n", in,
	       handed, parks, runs, moved);
	CHECK(handed && parks);
}

/* ---- off and on ------------------------------------------------------------------------------------------------- */

static enum kthread_state state_of(const struct kthread *k)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK0(kthread_info(k, &info));
	return info.state;
}

static bool at_home(const struct kthread *k, unsigned int cpu)
{
	return !kthread_is_broken(k) && state_of(k) != KTHREAD_PARKED && task_cpus(kthread_tid(k)) == CPU(cpu);
}

/* Gone and back, in a row or with everybody watching. */
static void observed_off(unsigned int cpu)
{
	kernel_moves(cpu);
	cpu_off(cpu);
	kernel_moves(cpu);
}

static void observed_on(unsigned int cpu, const struct kthread *k, bool quick)
{
	if (quick)
		kernel_moves(cpu);
	cpu_on(cpu);
	AWAIT(at_home(k, cpu));
	if (quick)
		kernel_moves(cpu);
}

static void observed(void)
{
	const cpus_t moving = cpus_of(MOVING);
	uint64_t seed = first_seed();
	pthread_t producers[2];
	unsigned int cycles = 0, quick = 0;

	start_library(0, true, false);
	start_work();
	start_load(producers, &seed);
	while (cycles < CYCLES || (atomic_load(&world.online) & moving) != moving) {
		const cpus_t online = atomic_load(&world.online);
		const unsigned int cpu = random_cpu(&seed, cycles < CYCLES ? moving : moving & ~online);
		const struct kthread *k = kthread_percpu_thread(&desc, cpu);

		if (!(online & CPU(cpu))) {
			observed_on(cpu, k, false);
			continue;
		}
		observed_off(cpu);
		cycles++;
		if (below(&seed, 3) == 0) {
			observed_on(cpu, k, true);
			quick++;
		} else {
			AWAIT(kthread_is_broken(k) && state_of(k) == KTHREAD_PARKED);
		}
	}
	printf("    %u cycles, %u of them in a row\n", cycles, quick);
	end_load(producers);
	balance();
}

/* Nothing is excused here: while we ask first, no run is anywhere but at home. */
static void cooperative(void)
{
	const cpus_t moving = cpus_of(MOVING);
	cpus_t down = 0;
	uint64_t seed = first_seed();
	pthread_t producers[2];
	unsigned int cycles = 0;

	start_library(0, true, false);
	start_work();
	start_load(producers, &seed);
	while (cycles < CYCLES || down) {
		const unsigned int cpu = random_cpu(&seed, cycles < CYCLES ? moving : down);
		const struct kthread *k = kthread_percpu_thread(&desc, cpu);

		if (down & CPU(cpu)) {
			CHECK0(kthread_cpu_up(cpu, KTHREAD_CPU_PHYSICAL));
			CHECK(task_cpus(kthread_tid(k)) == CPU(cpu));
			AWAIT(at_home(k, cpu));
		} else {
			CHECK0(kthread_cpu_down(cpu, KTHREAD_CPU_PHYSICAL));
			CHECK(state_of(k) == KTHREAD_PARKED);
			cycles++;
		}
		down ^= CPU(cpu);
		CHECK(sysfs_cpus("online") == (world.possible & ~down));
		CHECK(api_cpus(KTHREAD_CPUS_USABLE) == (world.possible & ~down));
	}
	end_load(producers);
	for (unsigned int cpu = 0; cpu < 8; cpu++) {
		struct kthread_info info = {.size = sizeof(info)};

		CHECK0(kthread_info(kthread_percpu_thread(&desc, cpu), &info));
		CHECK(info.broken_ns == 0);
		CHECK(atomic_load(&queues[cpu].moved) == 0);
	}
	balance();
}

/* ---- bound threads that look ------------------------------------------------------------------------------------ */

enum pace { SPINS, PAUSES, WAITS, PACES };

static struct looker {
	struct kthread *k;
	unsigned int cpu;
	enum pace pace;
	atomic_ulong turns;
} lookers[2 * PACES];

static int look(void *data)
{
	struct looker *looker = data;

	for (;;) {
		const unsigned int before = kernel_moved(looker->cpu);
		const bool stop = kthread_bound_should_stop();
		const unsigned int seen = (unsigned int)sched_getcpu();

		if (stop)
			return 42;
		if (strays(looker->cpu, before, seen))
			FAIL("bound to CPU %u, and told to go on on %u", looker->cpu, seen);
		atomic_fetch_add(&looker->turns, 1);
		if (looker->pace == PAUSES)
			pause_ns(MS);
		else if (looker->pace == WAITS)
			kthread_wait_for(MS);
		else if (kthread_should_park()) /* the others leave it to the function itself */
			kthread_parkme();
	}
}

static void start_looker(struct looker *looker)
{
	atomic_store(&looker->turns, 0);
	looker->k = kthread_run_on_cpu(look, looker, looker->cpu, "looker/%u");
	CHECK(looker->k);
	AWAIT(atomic_load(&looker->turns) > 0);
}

static void goes_on(const struct looker *looker)
{
	const unsigned long turns = atomic_load(&looker->turns);

	AWAIT(at_home(looker->k, looker->cpu));
	AWAIT(atomic_load(&looker->turns) > turns + 1);
}

/* It is where a park is granted, and makes no turn. */
static void stands_still(struct looker *looker)
{
	unsigned long turns;

	AWAIT(kthread_is_broken(looker->k));
	CHECK0(kthread_park(looker->k));
	turns = atomic_load(&looker->turns);
	kthread_unpark(looker->k);
	CHECK0(kthread_rescan());
	CHECK0(kthread_park(looker->k));
	CHECK(atomic_load(&looker->turns) == turns);
	kthread_unpark(looker->k);
}

static void bound(void)
{
	const size_t count = sizeof(lookers) / sizeof(lookers[0]);
	uint64_t seed = first_seed();

	start_library(0, true, false);
	for (size_t i = 0; i < count; i++) {
		lookers[i].cpu = i % 2 ? 3 : 5;
		lookers[i].pace = (enum pace)(i / 2);
		start_looker(&lookers[i]);
	}
	for (int round = 0; round < 12; round++) {
		const unsigned int cpu = below(&seed, 2) ? 3 : 5;
		const bool quick = below(&seed, 3) == 0;

		observed_off(cpu);
		for (size_t i = 0; i < count && !quick; i++) {
			if (lookers[i].cpu != cpu)
				continue;
			stands_still(&lookers[i]);
			if (below(&seed, 4) == 0) {
				CHECK(kthread_stop(lookers[i].k) == 42); /* stopped there, it ends */
				lookers[i].k = NULL;
			}
		}
		if (quick)
			kernel_moves(cpu);
		cpu_on(cpu);
		for (size_t i = 0; i < count; i++) {
			if (!lookers[i].k)
				start_looker(&lookers[i]);
			goes_on(&lookers[i]);
		}
		if (quick)
			kernel_moves(cpu);
	}
	for (size_t i = 0; i < count; i++)
		CHECK(kthread_stop(lookers[i].k) == 42);
}

const struct vm_case cases_percpu[] = {
    {"observed", observed, NULL},
    {"cooperative", cooperative, NULL},
    {"bound", bound, NULL},
    {NULL, NULL, NULL},
};
