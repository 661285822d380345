/* SPDX-License-Identifier: MIT */
/*
 * The mask rule while CPUs go and come. The library has no poll here: what is missed stays wrong.
 */
#include <linux/mempolicy.h>
#include <sys/syscall.h>

#include "vm.h"

#define NO_POLL 0

static void *sleep_for_ever(void *data)
{
	atomic_store((atomic_int *)data, gettid());
	for (;;)
		pause();
	return NULL;
}

/* Why the library exists. Not a test of ours: it says when a kernel has learned to keep a pin. */
static void baseline(void)
{
	atomic_int tid = 0;
	pthread_t thread;
	cpu_set_t set;
	cpus_t off, on;

	CHECK(pthread_create(&thread, NULL, sleep_for_ever, &tid) == 0);
	AWAIT(atomic_load(&tid));
	CHECK(pthread_setaffinity_np(thread, sizeof(set), as_set(CPU(3), &set)) == 0);
	CHECK(task_cpus(tid) == CPU(3));
	cpu_off(3);
	off = task_cpus(tid);
	cpu_on(3);
	on = task_cpus(tid);
	printf("    pinned to 3; CPU 3 off: %s; on again: %s (asleep all the time)\n", cpus_text(off), cpus_text(on));
	_exit(0); /* with the thread */
}

static atomic_ulong spins;

static void *spin(void *data)
{
	atomic_store((atomic_int *)data, gettid());
	for (;;)
		atomic_fetch_add(&spins, 1);
	return NULL;
}

static void baseline_busy(void)
{
	atomic_int tid = 0;
	pthread_t thread;
	cpu_set_t set;
	unsigned long before;
	cpus_t off, on;

	CHECK(pthread_create(&thread, NULL, spin, &tid) == 0);
	AWAIT(atomic_load(&tid));
	CHECK(pthread_setaffinity_np(thread, sizeof(set), as_set(CPU(3), &set)) == 0);
	cpu_off(3);
	before = atomic_load(&spins);
	AWAIT(atomic_load(&spins) > before);
	off = task_cpus(tid);
	cpu_on(3);
	before = atomic_load(&spins);
	AWAIT(atomic_load(&spins) > before);
	on = task_cpus(tid);
	printf("    pinned to 3; CPU 3 off: %s; on again: %s (busy)\n", cpus_text(off), cpus_text(on));
	if (on == CPU(3))
		FAIL("this kernel keeps a plain thread's pin: the library's reason to exist has gone");
	_exit(0);
}

/* The CPUs of every wish go one by one until none is left, and come back one by one, in several orders. */
static void one_by_one(void)
{
	static const unsigned int orders[][6] = {
	    {3, 2, 5, 5, 2, 3}, {2, 3, 5, 2, 3, 5}, {5, 3, 2, 3, 5, 2}, {2, 5, 3, 3, 2, 5}};

	start_library(NO_POLL, true, false);
	crew_of_all("2-3,5");
	crew_add(KTHREAD, TICKING, KTHREAD_WISH_BOUND, "3");
	crew_add(KTHREAD, SLEEPING, KTHREAD_WISH_BOUND, "3,5");
	crew_settled("at the beginning");
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		for (int step = 0; step < 6; step++) {
			const unsigned int cpu = orders[i][step];

			cpu_set(cpu, step >= 3);
			crew_settled("order %zu: CPU %u %s", i, cpu, step >= 3 ? "on" : "off");
		}
	}
}

/* With housekeeping narrowed, unbound threads lose every CPU of theirs, too. */
static void housekeeping(void)
{
	cpu_set_t set;

	start_library(NO_POLL, true, false);
	crew_of_all("2-3,5");
	cpu_off(3);
	cpu_off(4);
	/* A mask with an offline CPU, set while it is off */
	world.housekeeping = cpus_of("2,4-5");
	CHECK0(kthread_housekeeping_set(sizeof(set), as_set(world.housekeeping, &set)));
	crew_settled("housekeeping 2,4-5 while 3 and 4 are off");
	CHECK(kthread_housekeeping_set(sizeof(set), as_set(cpus_of("3-4"), &set)) == -EINVAL);
	crew_settled("a mask without an online CPU is refused");
	cpu_off(2);
	crew_settled("2 off");
	cpu_off(5);
	crew_settled("no housekeeper is left");
	CHECK(api_cpus(KTHREAD_CPUS_HOUSEKEEPING) == cpus_of("2,4-5"));
	cpu_on(4);
	crew_settled("4 back");
	world.housekeeping = cpus_of("0-1,3");
	CHECK0(kthread_housekeeping_set(sizeof(set), as_set(world.housekeeping, &set)));
	crew_settled("housekeeping 0-1,3 while 2, 3 and 5 are off");
	cpu_on(3);
	crew_settled("3 back");
	cpu_on(5);
	cpu_on(2);
	crew_settled("all back");
	world.housekeeping = world.possible;
	CHECK0(kthread_housekeeping_set(0, NULL));
	crew_settled("housekeeping as at the beginning");
}

/* Off and on in a row, so that the CPU is back before anybody has looked: the view is the same as before. */
static void quick(void)
{
	start_library(NO_POLL, true, false);
	crew_of_all("2-3");
	crew_add(KTHREAD, BUSY, KTHREAD_WISH_BOUND, "3");
	crew_settled("at the beginning");
	for (int round = 0; round < 20; round++) {
		cpu_off(3);
		cpu_on(3);
		if (round % 3 == 0) {
			cpu_off(2);
			cpu_on(2);
		}
		if (round % 5 == 4)
			crew_settled("round %d", round);
	}
	crew_settled("at the end");
}

/* ---- with a monitor that stands still ---- */

static atomic_bool hold, held;

static void slow_log(int level, const char *message, void *arg)
{
	(void)level, (void)arg;
	if (!strstr(message, "CPU 6") || !atomic_load(&hold))
		return;
	atomic_store(&held, true);
	while (atomic_load(&hold))
		pause_ns(MS);
	atomic_store(&held, false);
}

/* The application's log function holds the monitor up, as an application may: nothing of what happens then is lost. */
static void slow_monitor(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.poll_ms = NO_POLL;
	config.inotify = false;
	config.log = slow_log;
	CHECK0(kthread_init(&config));
	crew_of_all("2-3");
	crew_add(KTHREAD, SLEEPING, KTHREAD_WISH_BOUND, "6");
	crew_settled("at the beginning");
	for (int round = 0; round < 3; round++) {
		atomic_store(&hold, true);
		cpu_off(6);
		AWAIT(atomic_load(&held));
		for (int i = 0; i <= round; i++) {
			cpu_off(3);
			cpu_off(2);
			cpu_on(2);
			cpu_on(3);
		}
		atomic_store(&hold, false);
		crew_settled("round %d: 2 and 3 have been away unseen", round);
		cpu_on(6);
		crew_settled("round %d: 6 back", round);
	}
}

/* ---- offline from the beginning ---- */

static int on_its_cpu(void *data)
{
	struct member *member = data;

	while (!kthread_should_stop()) {
		atomic_store(&member->cpu, sched_getcpu());
		atomic_fetch_add(&member->turns, 1);
		kthread_wait_for(MS);
	}
	return 42;
}

static void pending(void)
{
	struct member direct = {.cpus = 0};
	struct kthread *k;

	/* Nobody has asked for a node before: the topology is read while the whole of node 1 is off. */
	cpu_off(2);
	cpu_off(3);
	start_library(NO_POLL, true, false);
	crew_of_all("2-3");
	crew_add(KTHREAD, TICKING, KTHREAD_WISH_PER_CPU, "3");
	k = kthread_run_on_cpu(on_its_cpu, &direct, 3, "direct/%u");
	CHECK(k && strcmp(kthread_name(k), "direct/3") == 0);
	crew_settled("2 and 3 are off");
	CHECK(kthread_is_broken(k));
	for (const struct member *member = crew_first(); member; member = member->next) {
		if (member->wish == KTHREAD_WISH_PER_CPU && member->activity <= SLEEPING && atomic_load(&member->turns))
			FAIL("%s has begun without its CPU", member->name);
	}
	AWAIT(atomic_load(&direct.turns) > 0); /* broken, it runs elsewhere */
	cpu_on(3);
	crew_settled("3 is on");
	AWAIT(atomic_load(&direct.cpu) == 3);
	CHECK(!kthread_is_broken(k) && task_cpus(kthread_tid(k)) == CPU(3));
	CHECK(kthread_cpu_node(3) == 1 && kthread_cpu_node(2) == KTHREAD_NO_NODE);
	cpu_on(2);
	crew_settled("2 is on");
	CHECK(kthread_cpu_node(2) == 1);
	cpu_off(3);
	crew_settled("3 is off");
	/* Of a thread that is parked now a wish may change; an offline CPU is a wish as any other. */
	for (struct member *member = crew_first(); member; member = member->next) {
		if (member->activity >= PARKED)
			give_wish(member, KTHREAD_WISH_BOUND, CPU(3), KTHREAD_NO_NODE);
	}
	crew_settled("parked ones are bound to 3, off");
	cpu_on(3);
	crew_settled("3 is on again");
	for (struct member *member = crew_first(); member; member = member->next) {
		if (member->activity == PARKED || member->activity == REPARKED) {
			member->activity = SLEEPING;
			kthread_unpark(member->k);
		}
	}
	crew_settled("unparked");
	CHECK(kthread_stop(k) == 42);
}

/* ---- flagged ---- */

static bool parked(const struct member *member)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK0(kthread_info(member->k, &info));
	return info.state == KTHREAD_PARKED;
}

static void runs_at_home(const struct member *member)
{
	const unsigned long turns = atomic_load(&member->turns);

	AWAIT(atomic_load(&member->turns) > turns + 1 && atomic_load(&member->cpu) == 3);
	CHECK(!parked(member) && task_cpus(atomic_load(&member->tid)) == CPU(3));
}

/* The CPU's park and ours are two: the thread resumes when both have ended. */
static void per_cpu(void)
{
	struct member *member;

	start_library(NO_POLL, true, false);
	member = crew_add(KTHREAD, TICKING, KTHREAD_WISH_PER_CPU, "3");
	runs_at_home(member);
	CHECK(kthread_is_per_cpu(member->k));

	cpu_off(3);
	AWAIT(parked(member));
	/* The kernel has moved it before anybody could be told; from here on it runs at home or not at all. */
	atomic_store(&member->foreign, false);
	CHECK0(kthread_park(member->k));
	cpu_on(3);
	AWAIT(!kthread_is_broken(member->k) && task_cpus(member->tid) == CPU(3));
	CHECK(parked(member));
	kthread_unpark(member->k);
	runs_at_home(member);

	CHECK0(kthread_park(member->k));
	cpu_off(3);
	AWAIT(kthread_is_broken(member->k));
	kthread_unpark(member->k);
	CHECK(parked(member));
	cpu_on(3);
	runs_at_home(member);
	CHECK(!atomic_load(&member->foreign));

	/* Without the flag it is a bound thread as any other: it runs, elsewhere. */
	cpu_off(3);
	AWAIT(parked(member));
	CHECK(kthread_wake(member->k));
	CHECK0(kthread_set_per_cpu(member->k, -1));
	member->wish = KTHREAD_WISH_BOUND;
	AWAIT(!parked(member));
	crew_settled("the flag is cleared while 3 is off");
	CHECK(!kthread_is_per_cpu(member->k) && kthread_is_broken(member->k));
	cpu_on(3);
	crew_settled("3 back");
	runs_at_home(member);

	/* Stopped while its CPU is away: it ends. */
	crew_remove(member);
	member = crew_add(KTHREAD, TICKING, KTHREAD_WISH_PER_CPU, "3");
	runs_at_home(member);
	cpu_off(3);
	AWAIT(parked(member));
	crew_remove(member);
	/* Begun while its CPU is away: it does not. */
	member = crew_add(KTHREAD, TICKING, KTHREAD_WISH_PER_CPU, "3");
	crew_settled("created while 3 is off");
	CHECK(atomic_load(&member->turns) == 0);
	cpu_on(3);
	runs_at_home(member);
	CHECK(!atomic_load(&member->foreign));
}

/* ---- a process that was started under taskset ---- */

static void taskset(void)
{
	start_library(NO_POLL, true, false);
	world.allowed = cpus_of("1-2,5");
	crew_of_all("2-3,5");
	crew_settled("taskset 1-2,5");
	cpu_off(2);
	crew_settled("2 off");
	cpu_off(5);
	crew_settled("5 off");
	/* The last one: the kernel lets every thread run anywhere now, for good. */
	cpu_off(1);
	world.allowed = world.possible;
	crew_settled("nothing of it is left");
	cpu_on(5);
	world.allowed = cpus_of("1-2,5");
	crew_settled("5 back");
	cpu_on(1);
	crew_settled("1 back");
	cpu_on(2);
	crew_settled("2 back");
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static int node_of_page(const void *address)
{
	void *page = (void *)((uintptr_t)address & ~(uintptr_t)4095);
	int status = -1;

	CHECK(syscall(SYS_move_pages, 0, 1L, &page, NULL, &status, 0) == 0);
	return status;
}

/* Touches 64 KiB of its stack, which nobody has before, and says where they lie. */
static int stack_user(void *data)
{
	volatile char room[65536];
	const int node = (int)(intptr_t)data;
	int wrong = 0;

	for (size_t i = 0; i < sizeof(room); i += 4096) {
		room[i] = 1;
		wrong += node_of_page((const void *)(uintptr_t)&room[i]) != node;
	}
	return wrong;
}

static void check_stacks(const char *when)
{
	for (int node = 0; node < 4; node++) {
		struct kthread *k = kthread_create_on_node(stack_user, (void *)(intptr_t)node, node, "stack/%d", node);
		int wrong;

		CHECK(k && kthread_wake(k));
		/* A stop that comes first would keep it from beginning. */
		for (struct kthread_info info = {.size = sizeof(info)}; info.state != KTHREAD_EXITED; pause_ns(MS))
			CHECK0(kthread_info(k, &info));
		wrong = kthread_stop(k);
		if (wrong)
			FAIL("%s: %d of 16 stack pages of a thread of node %d lie elsewhere", when, wrong, node);
	}
}

static void memory(void)
{
	start_library(NO_POLL, true, false);
	check_stacks("every CPU is on");
	cpu_off(2);
	cpu_off(3);
	AWAIT(api_cpus(KTHREAD_CPUS_ONLINE) == atomic_load(&world.online));
	check_stacks("node 1 has no CPU");
	cpu_on(2);
	cpu_on(3);
}

/* ---- starved ---- */

static atomic_bool asks, ends;
static atomic_int askers;

/* Bound, and moved away by somebody else: it finds that out by itself, and goes home by itself. */
static int asks_where_it_is(void *data)
{
	atomic_fetch_add(&askers, 1);
	while (!atomic_load(&asks))
		pause_ns(MS);
	while (!kthread_bound_should_stop())
		kthread_wait_for(MS);
	return *(int *)data;
}

static void *binds_itself(void *data)
{
	struct kthread *self = kthread_adopt("binds-itself");

	CHECK(self);
	atomic_store((atomic_int *)data, gettid());
	CHECK0(kthread_bind(self, 3));
	while (!atomic_load(&ends))
		pause_ns(MS);
	kthread_unadopt(self);
	return NULL;
}

/* Came from CPU 3, and goes back there when it is asked to. */
static void *goes_back(void *data)
{
	struct kthread *self;
	cpu_set_t set;

	CHECK(sched_setaffinity(0, sizeof(set), as_set(CPU(3), &set)) == 0);
	self = kthread_adopt("goes-back");
	CHECK(self);
	atomic_store((atomic_int *)data, gettid());
	while (!atomic_load(&asks))
		pause_ns(MS);
	CHECK0(kthread_unadopt(self));
	return NULL;
}

/*
 * Threads that go where a real-time thread leaves them nothing, each in another way: born there, bound there by itself, back
 * from elsewhere, back in the mask of before an adoption. They wait for their CPU, and nobody waits for them.
 */
static void starved(void)
{
	int result = 7;
	atomic_int adopted = 0, returned = 0;
	pthread_t pthread, returning;
	struct kthread *born, *back, *self;
	const struct sched_param first = {.sched_priority = 1};
	struct member *member;
	cpu_set_t set;

	start_library(NO_POLL, true, false);
	back = kthread_run_on_cpu(asks_where_it_is, &result, 3, "back/%u");
	CHECK(back);
	AWAIT(task_cpus(kthread_tid(back)) == CPU(3));
	CHECK(sched_setaffinity(kthread_tid(back), sizeof(set), as_set(CPU(4), &set)) == 0);
	/* All real-time threads, as long as they are starved: newer kernels serve others a little in any case. */
	CHECK(sched_setscheduler(kthread_tid(back), SCHED_FIFO, &first) == 0);
	CHECK(sched_setscheduler(0, SCHED_FIFO, &first) == 0);
	CHECK(pthread_create(&returning, NULL, goes_back, &returned) == 0);
	AWAIT(atomic_load(&returned));
	real_time_unlimited();
	real_time_hogs(CPU(3), 2);
	/* Without the library's help: it may be what does not work. */
	atomic_store(&asks, true);
	AWAIT(task_cpus(kthread_tid(back)) == CPU(3));
	AWAIT(task_cpus(atomic_load(&returned)) == CPU(3));
	born = kthread_run_on_cpu(asks_where_it_is, &result, 3, "born/%u");
	CHECK(born);
	AWAIT(task_cpus(kthread_tid(born)) == CPU(3));
	CHECK(pthread_create(&pthread, NULL, binds_itself, &adopted) == 0);
	AWAIT(atomic_load(&adopted) && task_cpus(atomic_load(&adopted)) == CPU(3));

	CHECK0(kthread_rescan());
	self = kthread_adopt("self");
	CHECK(self);
	CHECK0(kthread_unadopt(self));
	CHECK(api_mask(born, KTHREAD_MASK_EFFECTIVE) == CPU(3) && api_mask(back, KTHREAD_MASK_LAST_TO) == CPU(3));
	member = crew_add(KTHREAD, TICKING, KTHREAD_WISH_BOUND, "2,5");
	crew_settled("four are starved on 3");
	cpu_off(5);
	crew_settled("and 5 is off");
	cpu_on(5);
	crew_settled("and back");
	CHECK(task_cpus(kthread_tid(born)) == CPU(3) && task_cpus(kthread_tid(back)) == CPU(3));
	crew_remove(member);

	atomic_store(&ends, true);
	real_time_hogs_end();
	AWAIT(atomic_load(&askers) == 2);
	CHECK(kthread_stop(born) == result && kthread_stop(back) == result);
	pthread_join(pthread, NULL);
	pthread_join(returning, NULL);
	CHECK0(kthread_fini());
}

const struct vm_case cases_places[] = {
    {"baseline", baseline, NULL},     {"baseline-busy", baseline_busy, NULL},
    {"one-by-one", one_by_one, NULL}, {"housekeeping", housekeeping, NULL},
    {"quick", quick, NULL},           {"slow-monitor", slow_monitor, NULL},
    {"pending", pending, NULL},       {"per-cpu", per_cpu, NULL},
    {"taskset", taskset, "1-2,5"},    {"memory", memory, NULL},
    {"starved", starved, NULL},       {NULL, NULL, NULL},
};
