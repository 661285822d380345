/* SPDX-License-Identifier: MIT */
/*
 * Big jobs on real nodes, and while CPUs really go and come: where helpers run and where the memory lies that they touch
 * first, that no unit is lost or done twice, and the limits as the machine changes.
 */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "vm.h"

#define PAGE ((size_t)4096)
#define PIECE_PAGES ((size_t)1024)
#define MAX_NODES 8
#define MAX_THREADS 64

static unsigned int node_count;

static int node_of_cpu(void)
{
	unsigned int cpu = 0, node = 0;

	CHECK(getcpu(&cpu, &node) == 0);
	return (int)node;
}

/* Where the page lies that this address is in: the kernel's word. */
static int node_of_page(void *address)
{
	int node = -1;

	CHECK(syscall(SYS_get_mempolicy, &node, NULL, 0ul, address, 1ul | 2ul /* MPOL_F_NODE | MPOL_F_ADDR */) == 0);
	return node;
}

/* Each node's CPUs, as the library sees them. */
static unsigned int count_nodes(void)
{
	cpu_set_t set;
	unsigned int nodes = 0;

	while (nodes < MAX_NODES && kthread_node_cpus((int)nodes, sizeof(set), &set) == 0)
		nodes++;
	return nodes;
}

/* ---- who is there --------------------------------------------------------------------------------------------------- */

struct team {
	pthread_mutex_t lock;
	pid_t tids[MAX_THREADS];
	int node[MAX_THREADS]; /* of the first chunk */
	bool helper[MAX_THREADS];
	unsigned int count;
};

static void team_enter(struct team *team)
{
	const pid_t tid = gettid();
	unsigned int i = 0;

	pthread_mutex_lock(&team->lock);
	while (i < team->count && team->tids[i] != tid)
		i++;
	if (i == team->count) {
		CHECK(team->count < MAX_THREADS);
		team->tids[i] = tid;
		team->node[i] = node_of_cpu();
		team->helper[i] = kthread_self() != NULL;
		team->count++;
	}
	pthread_mutex_unlock(&team->lock);
}

static unsigned int team_count(struct team *team)
{
	unsigned int count;

	pthread_mutex_lock(&team->lock);
	count = team->count;
	pthread_mutex_unlock(&team->lock);
	return count;
}

/* 80 % of the node's CPUs, and of all. */
static unsigned int helpers_expected(void)
{
	const unsigned int cpus = (unsigned int)__builtin_popcountll(api_cpus(KTHREAD_CPUS_USABLE));
	unsigned int helpers = 0;

	for (unsigned int node = 0; node < node_count; node++) {
		cpu_set_t set;
		unsigned int here = 0;

		CHECK0(kthread_node_cpus((int)node, sizeof(set), &set));
		EACH_CPU(cpu, api_cpus(KTHREAD_CPUS_USABLE))
		here += CPU_ISSET(cpu, &set) != 0;
		helpers += here * 4 / 5;
	}
	return helpers < cpus * 4 / 5 ? helpers : cpus * 4 / 5;
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

struct clearing {
	struct team team;
	unsigned int wait_for;
	char *memory;
	atomic_int touched_on[MAX_NODES * PIECE_PAGES]; /* node + 1 of the CPU that cleared the page */
	atomic_ulong units[MAX_NODES][MAX_NODES];       /* of a node's piece, by CPUs of a node */
};

static struct clearing clearing = {.team.lock = PTHREAD_MUTEX_INITIALIZER};

static int clear(void *start, void *end, void *arg)
{
	struct clearing *c = arg;

	team_enter(&c->team);
	AWAIT(team_count(&c->team) >= c->wait_for);
	for (char *at = start; at < (char *)end; at += PAGE) {
		const size_t page = (size_t)(at - c->memory) / PAGE;
		const int before = node_of_cpu();

		memset(at, 0, PAGE);
		/* a thread that was moved in between may have touched it on either */
		CHECK(atomic_exchange(&c->touched_on[page], before == node_of_cpu() ? before + 1 : -1) == 0);
		atomic_fetch_add(&c->units[page / PIECE_PAGES][before], 1);
	}
	return 0;
}

/* Each page lies on the node of the CPU that has cleared it, and each node's helpers have worked on the node's own. */
static void memory_is_where_its_helpers_are(void)
{
	struct ktask_node pieces[MAX_NODES];
	const size_t size = PIECE_PAGES * PAGE;
	DEFINE_KTASK_CTL(ctl, clear, &clearing, 16 * PAGE);
	unsigned int expected, wrong = 0;

	start_library(0, true, false);
	node_count = count_nodes();
	CHECK(node_count > 1);
	clearing.memory = mmap(NULL, node_count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(clearing.memory != MAP_FAILED);
	CHECK(madvise(clearing.memory, node_count * size, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
	for (unsigned int node = 0; node < node_count; node++)
		pieces[node] = (struct ktask_node){clearing.memory + node * size, size, (int)node};
	expected = helpers_expected();
	clearing.wait_for = expected + 1;
	CHECK0(ktask_run_numa(pieces, node_count, &ctl));
	CHECK(clearing.team.count == expected + 1);
	for (size_t page = 0; page < node_count * PIECE_PAGES; page++) {
		const int touched = atomic_load(&clearing.touched_on[page]);

		CHECK(touched != 0);
		if (touched > 0 && node_of_page(clearing.memory + page * PAGE) != touched - 1)
			wrong++;
	}
	CHECK(wrong == 0);
	for (unsigned int node = 0; node < node_count; node++) {
		unsigned int helpers = 0;
		unsigned long stolen = 0;

		for (unsigned int i = 0; i < clearing.team.count; i++)
			helpers += clearing.team.helper[i] && clearing.team.node[i] == (int)node;
		for (unsigned int by = 0; by < node_count; by++)
			stolen += by == node ? 0 : atomic_load(&clearing.units[node][by]);
		CHECK(atomic_load(&clearing.units[node][node]) > 0);
		CHECK(helpers > 0);
		printf("figure {\"name\":\"ktask_spread\",\"cpus\":%d,\"node\":%u,\"helpers\":%u,\"pages_by_own\":%lu,"
		       "\"pages_by_others\":%lu}\n",
		       __builtin_popcountll(api_cpus(KTHREAD_CPUS_USABLE)), node, helpers,
		       atomic_load(&clearing.units[node][node]), stolen);
	}
	CHECK0(kthread_fini());
}

/* ---- a storm -------------------------------------------------------------------------------------------------------- */

#define UNITS 20000u
#define TRANSITIONS 60u

static atomic_uchar done[UNITS];
static atomic_bool storm_ends;
static atomic_uint transitions;
static atomic_ulong by_helpers;

static int once(void *start, void *end, void *arg)
{
	(void)arg;
	if (kthread_self())
		atomic_fetch_add(&by_helpers, (uintptr_t)end - (uintptr_t)start);
	for (uintptr_t i = (uintptr_t)start; i < (uintptr_t)end; i++) {
		for (int turn = 0; turn < 200; turn++)
			__asm__ volatile("");
		CHECK(atomic_fetch_add(&done[i], 1) == 0);
	}
	return 0;
}

static void *storm(void *arg)
{
	uint64_t state = first_seed();

	while (!atomic_load(&storm_ends)) {
		const unsigned int cpu = 1 + below(&state, 7);

		if (below(&state, 3) == 0) {
			CHECK0(kthread_cpu_down(cpu, KTHREAD_CPU_PHYSICAL));
			CHECK0(kthread_cpu_up(cpu, KTHREAD_CPU_PHYSICAL));
		} else {
			cpu_off(cpu);
			pause_ns(below(&state, 3) * MS);
			cpu_on(cpu);
		}
		atomic_fetch_add(&transitions, 2);
	}
	return arg;
}

static void a_storm_during_jobs(void)
{
	DEFINE_KTASK_CTL(ctl, once, NULL, 10);
	unsigned int jobs = 0;
	pthread_t thread;

	start_library(0, true, false);
	CHECK(pthread_create(&thread, NULL, storm, NULL) == 0);
	while (atomic_load(&transitions) < TRANSITIONS || jobs < 10) {
		memset(done, 0, sizeof(done));
		CHECK0(ktask_run(NULL, UNITS, &ctl));
		for (size_t i = 0; i < UNITS; i++)
			CHECK(atomic_load(&done[i]) == 1);
		jobs++;
	}
	atomic_store(&storm_ends, true);
	pthread_join(thread, NULL);
	CHECK(atomic_load(&by_helpers) > 0);
	printf("    %u jobs, %u transitions, %lu of %lu units by helpers\n", jobs, atomic_load(&transitions),
	       atomic_load(&by_helpers), (unsigned long)jobs * UNITS);
	CHECK0(kthread_fini());
}

/* ---- limits that change --------------------------------------------------------------------------------------------- */

struct gathering {
	struct team team;
	unsigned int wait_for;
	void (*begin)(void); /* by the first chunk: the machine changes */
	atomic_bool begun;
};

static int gather(void *start, void *end, void *arg)
{
	struct gathering *g = arg;

	(void)end;
	if (g->begin && !atomic_exchange(&g->begun, true)) {
		g->begin();
		return 0;
	}
	team_enter(&g->team);
	if ((uintptr_t)start >= 500 || !g->begin)
		AWAIT(team_count(&g->team) >= g->wait_for);
	return 0;
}

static unsigned int threads_of_job(unsigned int wait_for, void (*begin)(void))
{
	struct gathering g = {.wait_for = wait_for, .begin = begin};
	DEFINE_KTASK_CTL(ctl, gather, &g, 1);

	pthread_mutex_init(&g.team.lock, NULL);
	CHECK0(ktask_run(NULL, 1000, &ctl));
	return g.team.count;
}

static void all_come(void)
{
	everything_on();
	CHECK0(kthread_rescan());
}

/* CPUs 0-1 of node 0 at first: one helper. The others come in the midst of the job, and are used. */
static void cpus_that_come_are_used(void)
{
	unsigned int expected;

	for (unsigned int cpu = 2; cpu < 8; cpu++)
		cpu_off(cpu);
	start_library(0, true, false);
	node_count = count_nodes();
	CHECK(threads_of_job(2, NULL) == 2);
	CHECK0(kthread_fini());
	start_library(0, true, false); /* what a chunk costs is not known again */
	expected = 5;
	CHECK(threads_of_job(expected, all_come) == expected);
	CHECK0(kthread_fini());
}

/* cpu.max of our cgroup, and of its parent. */
static void cpu_max_is_a_limit(void)
{
	write_file(cgroup_path("", "cgroup.subtree_control"), "+cpu");
	cgroup_make("outer", NULL);
	write_file(cgroup_path("outer", "cgroup.subtree_control"), "+cpu");
	cgroup_make("outer/inner", NULL);
	cgroup_enter("outer/inner");
	write_file(cgroup_path("outer", "cpu.max"), "300000 100000");
	start_library(0, false, false);
	CHECK(threads_of_job(3, NULL) == 3);
	CHECK0(kthread_fini());
	write_file(cgroup_path("outer/inner", "cpu.max"), "150000 100000");
	start_library(0, false, false);
	CHECK(threads_of_job(2, NULL) == 2);
	CHECK0(kthread_fini());
	write_file(cgroup_path("outer/inner", "cpu.max"), "100000 100000");
	start_library(0, false, false);
	CHECK(threads_of_job(1, NULL) == 1);
	write_file(cgroup_path("outer/inner", "cpu.max"), "max 100000");
	write_file(cgroup_path("outer", "cpu.max"), "max 100000");
	CHECK0(kthread_fini());
	start_library(0, false, false);
	CHECK(threads_of_job(5, NULL) == 5);
	CHECK0(kthread_fini());
}

/* Lent its caller's priority, a helper at nice 19 on a CPU that somebody else keeps busy comes to an end. */
static atomic_bool hog_ends;

static void *hog(void *arg)
{
	cpu_set_t set;

	CHECK(sched_setaffinity(0, sizeof(set), as_set((cpus_t)(uintptr_t)arg, &set)) == 0);
	while (!atomic_load(&hog_ends))
		continue;
	return NULL;
}

static void nobody_starves_on_busy_cpus(void)
{
	DEFINE_KTASK_CTL(ctl, once, NULL, 10);
	pthread_t hogs[8];

	start_library(0, true, false);
	for (uintptr_t cpu = 1; cpu < 8; cpu++)
		CHECK(pthread_create(&hogs[cpu], NULL, hog, (void *)CPU(cpu)) == 0);
	for (int i = 0; i < 5; i++) {
		memset(done, 0, sizeof(done));
		CHECK0(ktask_run(NULL, UNITS, &ctl));
		for (size_t at = 0; at < UNITS; at++)
			CHECK(atomic_load(&done[at]) == 1);
	}
	atomic_store(&hog_ends, true);
	for (int cpu = 1; cpu < 8; cpu++)
		pthread_join(hogs[cpu], NULL);
	CHECK0(kthread_fini());
}

/*
 * Real-time threads on every CPU but the caller's: whatever priority the caller has to lend, a helper hardly ever runs
 * there (the kernel leaves it a twentieth, so one or another may). The caller's CPU is free.
 */
static struct {
	atomic_uint inside, visits;
	int hogs_priority, caller_cpu;
	bool caller_steps_down;
	atomic_bool go;
	unsigned int expected;
} starving;

static int starve(void *start, void *end, void *arg)
{
	(void)start, (void)end, (void)arg;
	if (kthread_self()) {
		atomic_fetch_add(&starving.inside, 1);
		while (!atomic_load(&starving.go))
			continue;
		if (sched_getcpu() == starving.caller_cpu)
			atomic_fetch_add(&starving.visits, 1);
	} else if (!atomic_load(&starving.go)) {
		AWAIT(atomic_load(&starving.inside) == starving.expected);
		starving.caller_cpu = sched_getcpu();
		real_time_hogs(cpus_of("0-7") & ~CPU(starving.caller_cpu), starving.hogs_priority);
		if (starving.caller_steps_down)
			CHECK(sched_setscheduler(0, SCHED_OTHER, &(struct sched_param){.sched_priority = 0}) == 0);
		atomic_store(&starving.go, true);
	}
	return 0;
}

static void run_starving(int hogs_priority, struct ktask_ctl *ctl)
{
	start_library(0, true, false);
	node_count = count_nodes();
	starving.hogs_priority = hogs_priority;
	starving.expected = helpers_expected();
	CHECK0(ktask_run(NULL, starving.expected + 1, ctl));
	real_time_hogs_end();
	CHECK(atomic_load(&starving.visits) > 0);
	/* and they go home again */
	CHECK0(kthread_rescan());
	for (unsigned int cpu = 0; cpu < 8; cpu++) {
		char name[16];
		pid_t tid;

		snprintf(name, sizeof(name), "ktask/%u", cpu);
		tid = task_named(name);
		if (tid > 0)
			AWAIT(task_cpus(tid) == CPU(cpu));
	}
	CHECK0(kthread_fini());
}

static void the_callers_cpu_is_lent(void)
{
	DEFINE_KTASK_CTL(ctl, starve, NULL, 1);

	run_starving(1, &ctl);
}

/* Helpers that keep a real-time caller's pace, which steps down itself in the meantime: who is lent its CPU drives it away
 * from there, and has to let it end the loan all the same. The kernel leaves others nothing of a CPU, now. */
static void the_callers_cpu_is_lent_to_who_is_above_it(void)
{
	DEFINE_KTASK_CTL(ctl, starve, NULL, 1);
	const struct sched_param second = {.sched_priority = 2};

	real_time_unlimited();
	ktask_ctl_set_give_way(&ctl, false);
	starving.caller_steps_down = true;
	CHECK(sched_setscheduler(0, SCHED_FIFO, &second) == 0);
	run_starving(3, &ctl);
}

const struct vm_case cases_ktask[] = {
    {"memory", memory_is_where_its_helpers_are, NULL},
    {"storm", a_storm_during_jobs, NULL},
    {"come", cpus_that_come_are_used, NULL},
    {"cpu-max", cpu_max_is_a_limit, NULL},
    {"busy", nobody_starves_on_busy_cpus, NULL},
    {"starved", the_callers_cpu_is_lent, NULL},
    {"above", the_callers_cpu_is_lent_to_who_is_above_it, NULL},
    {NULL, NULL, NULL},
};

/* For a larger guest. */
const struct vm_case cases_spread[] = {
    {"memory", memory_is_where_its_helpers_are, NULL},
    {NULL, NULL, NULL},
};
