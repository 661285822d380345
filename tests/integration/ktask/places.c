/* SPDX-License-Identifier: MIT */
/*
 * Where helpers are and how many, on invented machines: recorded placement by node, the shares of machine and nodes, the
 * caller's wish, cpu.max, housekeeping; and CPUs that go and come in the midst of a job.
 */
#include "team.h"

/* What the helper that runs this was given, and where that is. */
static unsigned int my_cpus(void)
{
	return sim_mask(kthread_self(), KTHREAD_MASK_EFFECTIVE);
}

static int node_of(unsigned int cpus)
{
	return kthread_cpu_node((unsigned int)__builtin_ctz(cpus));
}

/* ---- placement -------------------------------------------------------------------------------------------------------- */

struct placed {
	struct team team;
	unsigned int wait_for;
	atomic_uint helpers;      /* on these CPUs */
	atomic_size_t done[4][4]; /* units of the piece of a node, by helpers of a node */
	size_t by_caller;
	struct ktask_node pieces[4];
};

static int see_place(void *start, void *end, void *arg)
{
	struct placed *p = arg;
	size_t piece = 0;

	team_enter(&p->team);
	AWAIT(team_count(&p->team) >= p->wait_for);
	while (NUMBER(start) >= NUMBER(p->pieces[piece].start) + p->pieces[piece].size)
		piece++;
	if (kthread_self()) {
		const unsigned int cpus = my_cpus();

		CHECK(cpus && (cpus & (cpus - 1)) == 0); /* one CPU */
		atomic_fetch_or(&p->helpers, cpus);
		atomic_fetch_add(&p->done[piece][node_of(cpus)], NUMBER(end) - NUMBER(start));
	} else {
		p->by_caller += NUMBER(end) - NUMBER(start);
	}
	team_leave(&p->team);
	return 0;
}

static void place_begin(struct placed *p, unsigned int wait_for, const size_t sizes[4])
{
	size_t at = 0;

	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->team.lock, NULL);
	p->wait_for = wait_for;
	for (int i = 0; i < 4; i++) {
		p->pieces[i] = (struct ktask_node){AT(at), sizes[i], i};
		at += sizes[i];
	}
}

/* 8 CPUs on 4 nodes: one helper a node, on one of its CPUs, and it does its own node's work before it takes another's. */
static void run_numa__a_helper_on_each_node(void **state)
{
	static const size_t sizes[] = {1000, 1000, 1000, 1000};
	static struct placed p;
	DEFINE_KTASK_CTL(ctl, see_place, &p, 50);

	sim_start(NULL);
	place_begin(&p, 5, sizes);
	assert_int_equal(ktask_run_numa(p.pieces, 4, &ctl), 0);
	assert_int_equal(__builtin_popcount(atomic_load(&p.helpers)), 4);
	for (int node = 0; node < 4; node++) {
		assert_int_equal(__builtin_popcount(atomic_load(&p.helpers) & 3u << 2 * node), 1);
		assert_true(atomic_load(&p.done[node][node]) > 0);
	}
	sim_stop();
}

/* Two helpers at most, and the data is on two nodes: there they are. */
static void run_numa__helpers_go_where_the_data_is(void **state)
{
	static const size_t sizes[] = {0, 2000, 0, 2000};
	static struct placed p;
	DEFINE_KTASK_CTL(ctl, see_place, &p, 50);

	sim_start(NULL);
	place_begin(&p, 3, sizes);
	ktask_ctl_set_max_threads(&ctl, 3);
	assert_int_equal(ktask_run_numa(p.pieces, 4, &ctl), 0);
	assert_int_equal(__builtin_popcount(atomic_load(&p.helpers)), 2);
	assert_int_equal(__builtin_popcount(atomic_load(&p.helpers) & 0xccu), 2);
	assert_int_equal(__builtin_popcount(atomic_load(&p.helpers) & 0x0cu), 1);
	sim_stop();
}

/* All the data is on one node: those of the others come and help. */
static void run_numa__helpers_steal_from_other_nodes(void **state)
{
	static const size_t sizes[] = {0, 0, 4000, 0};
	static struct placed p;
	DEFINE_KTASK_CTL(ctl, see_place, &p, 50);
	size_t others = 0;

	sim_start(NULL);
	place_begin(&p, 5, sizes);
	assert_int_equal(ktask_run_numa(p.pieces, 4, &ctl), 0);
	for (int node = 0; node < 4; node++)
		others += node == 2 ? 0 : atomic_load(&p.done[2][node]);
	assert_true(atomic_load(&p.done[2][2]) > 0);
	assert_true(others > 0);
	sim_stop();
}

/* ---- how many ------------------------------------------------------------------------------------------------------------ */

struct crowd {
	struct team team;
	pid_t caller;
	unsigned int wait_for; /* the most that there can be */
	bool looked;
};

static bool in_team(struct team *team, pid_t tid)
{
	bool is_in = false;

	pthread_mutex_lock(&team->lock);
	for (size_t i = 0; i < team->count; i++)
		is_in |= team->tids[i] == tid;
	pthread_mutex_unlock(&team->lock);
	return is_in;
}

/* Every helper that there is has come, or sleeps: nobody else is on his way. */
static void await_the_rest(struct crowd *crowd)
{
	for (int cpu = 0; cpu < 8; cpu++) {
		char name[16];
		pid_t tid;

		snprintf(name, sizeof(name), "ktask/%d", cpu);
		tid = sim_task(name);
		if (tid)
			AWAIT(in_team(&crowd->team, tid) || task_asleep(tid));
	}
	crowd->looked = true;
}

static int gather(void *start, void *end, void *arg)
{
	struct crowd *crowd = arg;

	team_enter(&crowd->team);
	AWAIT(team_count(&crowd->team) >= crowd->wait_for);
	if (gettid() == crowd->caller && !crowd->looked)
		await_the_rest(crowd); /* helpers are called before the caller's first chunk */
	team_leave(&crowd->team);
	return 0;
}

/* Exactly so many threads: they are all waited for, and no other one comes. */
static void assert_threads(unsigned int threads)
{
	struct crowd crowd = {TEAM_INIT, gettid(), threads, false};
	DEFINE_KTASK_CTL(ctl, gather, &crowd, 1);

	assert_int_equal(ktask_run(NULL, 1000, &ctl), 0);
	assert_int_equal(team_count(&crowd.team), threads);
}

static void limits__of_machines(void **state)
{
	static const struct {
		const char *machine;
		unsigned int threads;
	} cases[] = {
	    {"uni", 1},  /* one CPU: the caller alone */
	    {"numa", 5}, /* 2 of each of 4 nodes: one */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		sim_tree(cases[i].machine);
		sim_start(NULL);
		assert_threads(cases[i].threads);
		sim_stop();
	}
}

/* A flat machine of 8 CPUs. */
static void flat(void)
{
	sim_tree("numa");
	for (int node = 0; node < 4; node++) {
		char path[64];

		snprintf(path, sizeof(path), "sys/devices/system/node/node%d", node);
		sim_remove(path);
	}
}

static void limits__four_fifths_of_what_is_online(void **state)
{
	static const unsigned int online[] = {0xff, 0x7f, 0x3f, 0x1f, 0x0f, 0x07, 0x03, 0x01};
	static const unsigned int threads[] = {7, 6, 5, 5, 4, 3, 2, 1};

	for (int i = 0; i < 8; i++) {
		flat();
		sim_online(online[i]);
		sim_start(NULL);
		assert_threads(threads[i]);
		sim_stop();
	}
}

static void limits__of_housekeepers(void **state)
{
	struct kthread_config config = sim_config();

	flat();
	config.housekeeping = "2-4";
	sim_start(&config);
	assert_threads(3);
	sim_stop();
}

static void limits__cpu_max(void **state)
{
	static const struct {
		const char *text;
		unsigned int threads;
	} cases[] = {
	    {"max 100000\n", 7},    {"50000 100000\n", 1},  {"100000 100000\n", 1},
	    {"150000 100000\n", 2}, {"300000 100000\n", 3}, {"9900000 100000\n", 7},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		flat();
		sim_put("proc/self/cgroup", "0::/pod\n");
		sim_put("sys/fs/cgroup/pod/cpu.max", cases[i].text);
		sim_start(NULL);
		assert_threads(cases[i].threads);
		sim_stop();
	}
}

/* The caller's own mask, on this machine: nobody but itself on its one CPU. */
static void limits__the_callers_mask(void **state)
{
	cpu_set_t before, one;
	size_t cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	while (!CPU_ISSET(cpu, &before))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(kthread_init(NULL), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_threads(1);
	sched_setaffinity(0, sizeof(before), &before);
	assert_int_equal(kthread_fini(), 0);
}

/* A helper that looks for jobs already, and whose CPU the caller gives up just before one. */
static struct {
	pid_t caller;
	atomic_uint helped;
} narrowing;

static int take_ten_us(void *start, void *end, void *arg)
{
	const uint64_t until = now_ns() + 10000;

	while (now_ns() < until)
		continue;
	if (gettid() != narrowing.caller)
		atomic_fetch_add(&narrowing.helped, 1);
	return 0;
}

static unsigned int helped_chunks(struct ktask_ctl *ctl)
{
	atomic_store(&narrowing.helped, 0);
	assert_int_equal(ktask_run(NULL, 20, ctl), 0);
	return atomic_load(&narrowing.helped);
}

static void limits__the_callers_mask_of_this_moment(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	DEFINE_KTASK_CTL(ctl, take_ten_us, NULL, 1);
	cpu_set_t before, two, one;
	char housekeeping[48];
	size_t first = 0, second;
	unsigned int helped = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	if (CPU_COUNT(&before) < 2)
		skip();
	while (!CPU_ISSET(first, &before))
		first++;
	for (second = first + 1; !CPU_ISSET(second, &before);)
		second++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	two = one;
	CPU_SET(second, &two);
	snprintf(housekeeping, sizeof(housekeeping), "%zu,%zu", first, second);
	config.housekeeping = housekeeping;
	assert_int_equal(kthread_init(&config), 0);
	narrowing.caller = gettid();
	for (int i = 0; i < 300 || helped == 0; i++) {
		assert_true(i < 10000);
		assert_int_equal(sched_setaffinity(0, sizeof(two), &two), 0);
		helped_chunks(&ctl);
		helped += helped_chunks(&ctl); /* this time the mask has not been narrow the last time */
		assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
		assert_int_equal(helped_chunks(&ctl), 0);
	}
	sched_setaffinity(0, sizeof(before), &before);
	assert_int_equal(kthread_fini(), 0);
}

/* ---- the machine changes meanwhile ------------------------------------------------------------------------------------------ */

struct moving {
	struct team team;
	atomic_uchar seen[4000];
	atomic_int stage;
	unsigned int wait_for;
	pid_t caller;
	pid_t on_cpu[8];    /* the helper whose home that is */
	atomic_int gone_on; /* a helper of a CPU that had gone has begun a chunk */
};

static struct moving m;

static void moving_begin(unsigned int wait_for)
{
	memset(&m, 0, sizeof(m));
	pthread_mutex_init(&m.team.lock, NULL);
	m.wait_for = wait_for;
	m.caller = gettid();
}

static void cover(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		CHECK(atomic_fetch_add(&m.seen[i], 1) == 0);
}

static void assert_covered(void)
{
	for (size_t i = 0; i < sizeof(m.seen); i++)
		assert_int_equal(atomic_load(&m.seen[i]), 1);
}

/* It sleeps for good, and not for a moment on a lock; or it has begun what it should not. */
static void await_out_of_job(pid_t tid)
{
	long long before = -1;

	for (int calm = 0; calm < 3 && !atomic_load(&m.gone_on);) {
		long long now;

		AWAIT(task_asleep(tid) || atomic_load(&m.gone_on));
		now = task_sleeps(tid);
		calm = now == before ? calm + 1 : 0;
		before = now;
		sched_yield();
	}
}

/* All are there; CPUs 4-7 go, in the midst of the chunks; those who were at home there begin no other one. */
static int lose_half(void *start, void *end, void *arg)
{
	static _Thread_local bool homeless;
	const bool helper = kthread_self() != NULL;

	if (helper && atomic_load(&m.stage) == 0) { /* the caller waits for five in a chunk */
		const unsigned int cpus = my_cpus();

		homeless = cpus >= 0x10;
		if (homeless)
			m.on_cpu[__builtin_ctz(cpus)] = gettid();
	} else if (helper && homeless) {
		atomic_fetch_add(&m.gone_on, 1);
	}
	team_enter(&m.team);
	AWAIT(team_count(&m.team) >= m.wait_for);
	if (helper) {
		AWAIT(atomic_load(&m.stage) > 1);
	} else if (atomic_load(&m.stage) == 0) {
		sim_online(0x0f);
		CHECK(kthread_rescan() == 0);
		atomic_store(&m.stage, 1); /* its turn follows, in which it sends them away */
	} else if (atomic_load(&m.stage) == 1) {
		atomic_store(&m.stage, 2);
		for (int cpu = 4; cpu < 8; cpu++) {
			if (m.on_cpu[cpu])
				await_out_of_job(m.on_cpu[cpu]);
		}
	}
	cover(NUMBER(start), NUMBER(end));
	team_leave(&m.team);
	return 0;
}

static void hotplug__cpus_go_and_lose_no_chunk(void **state)
{
	DEFINE_KTASK_CTL(ctl, lose_half, NULL, 1);

	sim_start(NULL);
	moving_begin(5);
	assert_int_equal(ktask_run(NULL, sizeof(m.seen), &ctl), 0);
	assert_covered();
	assert_true(m.on_cpu[4] || m.on_cpu[5]);
	assert_true(m.on_cpu[6] || m.on_cpu[7]);
	assert_int_equal(atomic_load(&m.gone_on), 0);
	sim_stop();
}

/* One CPU at first, and nobody to help; then all of them: before the end they are there. */
static int win_cpus(void *start, void *end, void *arg)
{
	team_enter(&m.team);
	if (atomic_exchange(&m.stage, 1) == 0) {
		sim_online(0xff);
		CHECK(kthread_rescan() == 0);
	} else if (NUMBER(end) > sizeof(m.seen) / 2) {
		AWAIT(team_count(&m.team) >= m.wait_for);
	}
	cover(NUMBER(start), NUMBER(end));
	team_leave(&m.team);
	return 0;
}

static void hotplug__cpus_that_come_are_used(void **state)
{
	DEFINE_KTASK_CTL(ctl, win_cpus, NULL, 1);

	flat();
	sim_online(0x01);
	sim_start(NULL);
	moving_begin(7);
	assert_int_equal(ktask_run(NULL, sizeof(m.seen), &ctl), 0);
	assert_covered();
	sim_stop();
}

/* CPUs go and come all the time, by cooperative calls and by files. */
static atomic_bool storm_ends;

static void *storm(void *arg)
{
	unsigned int turn = 0;

	while (!atomic_load(&storm_ends)) {
		const unsigned int cpu = 1 + turn++ % 7;

		if (turn % 3) {
			CHECK(kthread_cpu_down(cpu, 0) == 0);
			CHECK(kthread_cpu_up(cpu, 0) == 0);
		} else {
			sim_online(0xffu & ~(1u << cpu));
			CHECK(kthread_rescan() == 0);
			sim_online(0xff);
			CHECK(kthread_rescan() == 0);
		}
	}
	*(unsigned int *)arg = turn;
	return NULL;
}

static int sum_up(void *start, void *end, void *arg)
{
	for (size_t i = NUMBER(start); i < NUMBER(end); i++)
		atomic_fetch_add((atomic_size_t *)arg, i);
	return 0;
}

static void hotplug__storm(void **state)
{
	const uint64_t until = now_ns() + 2000 * MS;
	unsigned int turns = 0;
	pthread_t thread;
	size_t jobs = 0;

	sim_start(NULL);
	atomic_store(&storm_ends, false);
	assert_int_equal(pthread_create(&thread, NULL, storm, &turns), 0);
	while (now_ns() < until || jobs < 100) {
		atomic_size_t sum = 0;
		const size_t size = 1 + jobs * 7919 % 50000;
		DEFINE_KTASK_CTL(ctl, sum_up, &sum, 1 + jobs % 17);

		assert_int_equal(ktask_run(NULL, size, &ctl), 0);
		assert_true(atomic_load(&sum) == size * (size - 1) / 2);
		jobs++;
	}
	atomic_store(&storm_ends, true);
	pthread_join(thread, NULL);
	assert_true(turns > 0);
	print_message("%zu jobs, %u CPUs went and came\n", jobs, turns);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(run_numa__a_helper_on_each_node),
	    cmocka_unit_test(run_numa__helpers_go_where_the_data_is),
	    cmocka_unit_test(run_numa__helpers_steal_from_other_nodes),
	    cmocka_unit_test(limits__of_machines),
	    cmocka_unit_test(limits__four_fifths_of_what_is_online),
	    cmocka_unit_test(limits__of_housekeepers),
	    cmocka_unit_test(limits__cpu_max),
	    cmocka_unit_test(limits__the_callers_mask),
	    cmocka_unit_test(limits__the_callers_mask_of_this_moment),
	    cmocka_unit_test(hotplug__cpus_go_and_lose_no_chunk),
	    cmocka_unit_test(hotplug__cpus_that_come_are_used),
	    cmocka_unit_test(hotplug__storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
