/* SPDX-License-Identifier: MIT */
/*
 * Steps, and CPUs that are given up before they go: on kernels that really take them. The library has no poll.
 */
#include <sys/mount.h>

#include "vm.h"

/* ---- people: threads that do not have to be broken when their CPU is given up in time ------------------------------ */

#define BOUND_TO "2-3" /* node 1 */

static struct person {
	const char *name;
	struct kthread *k;
	enum kthread_wish wish;
	cpus_t cpus;
	bool ends_by_us; /* not the crew's, nor the per-CPU threads' */
} people[64];
static size_t person_count;

static struct person *person_add(struct kthread *k, enum kthread_wish wish, cpus_t cpus)
{
	struct person *person = &people[person_count++];

	CHECK(k && person_count <= sizeof(people) / sizeof(people[0]));
	*person = (struct person){.name = kthread_name(k), .k = k, .wish = wish, .cpus = cpus};
	return person;
}

static int look_and_wait(void *data)
{
	(void)data;
	while (!kthread_bound_should_stop())
		kthread_wait_for(2 * MS);
	return 0;
}

static int look_and_sleep(void *data)
{
	(void)data;
	while (!kthread_bound_should_stop())
		kthread_wait();
	return 0;
}

static int look_and_spin(void *data)
{
	(void)data;
	while (!kthread_bound_should_stop())
		sched_yield();
	return 0;
}

static void add_looking(int (*fn)(void *data), const char *cpus)
{
	struct kthread *k = kthread_create(fn, NULL, "looks-%s", cpus);
	cpu_set_t set;

	CHECK(k);
	CHECK0(kthread_bind_mask(k, sizeof(set), as_set(cpus_of(cpus), &set)));
	CHECK(kthread_wake(k));
	person_add(k, KTHREAD_WISH_BOUND, cpus_of(cpus))->ends_by_us = true;
}

static bool never(unsigned int cpu, void *arg)
{
	(void)cpu, (void)arg;
	return false;
}

static void nothing(unsigned int cpu, void *arg)
{
	(void)cpu, (void)arg;
}

/* With and without a park of its own: in the middle of a wait, or after a turn. */
static struct kthread_percpu plain = KTHREAD_PERCPU_INIT, parking = KTHREAD_PERCPU_INIT;

static void add_per_cpu(struct kthread_percpu *desc, const char *name, cpus_t cpus)
{
	desc->name = name;
	desc->should_run = never;
	desc->run = nothing;
	CHECK0(kthread_percpu_register(desc));
	EACH_CPU(cpu, cpus)
	person_add(kthread_percpu_thread(desc, cpu), KTHREAD_WISH_PER_CPU, CPU(cpu));
}

/* Of `cpus` at present. */
static void invite(cpus_t cpus)
{
	static const enum activity lives[] = {TICKING, SLEEPING, PARKED, REPARKED, CREATED};

	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		crew_add(KTHREAD, lives[i], KTHREAD_WISH_PREFERRED, BOUND_TO);
		crew_add(KTHREAD, lives[i], KTHREAD_WISH_NODE, "1");
		crew_add(KTHREAD, lives[i], KTHREAD_WISH_NONE, "");
		if (lives[i] <= SLEEPING)
			crew_add(KTHREAD, lives[i], KTHREAD_WISH_PER_CPU, "3");
	}
	crew_add(ADOPTED_BY_TID, SLEEPING, KTHREAD_WISH_PREFERRED, BOUND_TO);
	crew_add(ADOPTS_ITSELF, TICKING, KTHREAD_WISH_NONE, "");
	for (const struct member *member = crew_first(); member; member = member->next)
		person_add(member->k, member->wish,
		           member->wish == KTHREAD_WISH_NODE ? cpus_of(BOUND_TO) : member->cpus);
	add_looking(look_and_wait, "3");
	add_looking(look_and_sleep, "3");
	add_looking(look_and_spin, "3");
	add_looking(look_and_wait, "2");
	add_looking(look_and_sleep, BOUND_TO);
	parking.park = nothing;
	add_per_cpu(&plain, "plain/%u", cpus);
	add_per_cpu(&parking, "parking/%u", cpus);
}

static void say_goodbye(void)
{
	kthread_percpu_unregister(&plain);
	kthread_percpu_unregister(&parking);
	for (size_t i = 0; i < person_count; i++) {
		if (people[i].ends_by_us)
			CHECK(kthread_stop(people[i].k) <= 0);
	}
}

/* ---- where they are ---- */

static cpus_t rule_of(const struct person *person, cpus_t usable)
{
	const cpus_t wanted = person->wish == KTHREAD_WISH_NONE ? usable : person->cpus & usable;

	return wanted ? wanted : usable;
}

static bool must_park(const struct person *person, cpus_t usable)
{
	return (person->wish == KTHREAD_WISH_BOUND || person->wish == KTHREAD_WISH_PER_CPU) && !(person->cpus & usable);
}

static struct kthread_info info_of(const struct person *person)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK0(kthread_info(person->k, &info));
	return info;
}

/* Parked; one that only looks, and whose CPU went without a word, waits as if it were. */
static bool stands_still(const struct person *person)
{
	const struct kthread_info info = info_of(person);

	return info.state == KTHREAD_PARKED ||
	       (person->wish == KTHREAD_WISH_BOUND && info.broken && info.state == KTHREAD_WAITING);
}

/* A thread that is bound, and not parked by us, stands still exactly while its CPU is away. */
static bool is_placed(const struct person *person, cpus_t usable)
{
	const cpus_t rule = rule_of(person, usable);
	const bool bound = person->wish == KTHREAD_WISH_BOUND || person->wish == KTHREAD_WISH_PER_CPU;

	return task_cpus(kthread_tid(person->k)) == rule && api_mask(person->k, KTHREAD_MASK_EFFECTIVE) == rule &&
	       (!bound || stands_still(person) == must_park(person, usable));
}

static void fail_placed(const struct person *person, cpus_t usable, const char *what)
{
	FAIL("%s: %s: rule %s, effective %s, kernel %s, %s", what, person->name, cpus_text(rule_of(person, usable)),
	     cpus_text(api_mask(person->k, KTHREAD_MASK_EFFECTIVE)), cpus_text(task_cpus(kthread_tid(person->k))),
	     kthread_state_name(info_of(person).state));
}

static void check_whole(const char *what)
{
	for (size_t i = 0; i < person_count; i++) {
		const struct kthread_info info = info_of(&people[i]);

		if (info.broken || info.broken_ns)
			FAIL("%s: %s is broken, or was for %.3f ms", what, people[i].name,
			     (double)info.broken_ns / 1e6);
	}
}

static void await_placed(cpus_t usable, const char *what)
{
	const uint64_t until = now_ns() + LIMIT_NS;

	for (size_t i = 0; i < person_count; pause_ns(MS)) {
		while (i < person_count && is_placed(&people[i], usable))
			i++;
		if (i < person_count && now_ns() > until)
			fail_placed(&people[i], usable, what);
	}
}

/* Nothing to wait for: when a call has returned the masks are right, and who must be parked is. */
static void check_placed(cpus_t usable, const char *what)
{
	CHECK(api_cpus(KTHREAD_CPUS_USABLE) == usable);
	for (size_t i = 0; i < person_count; i++) {
		const cpus_t rule = rule_of(&people[i], usable);

		if (task_cpus(kthread_tid(people[i].k)) != rule ||
		    (must_park(&people[i], usable) && !stands_still(&people[i])))
			fail_placed(&people[i], usable, what);
	}
	await_placed(usable, what);
}

/* The library has seen it. */
static void await_online(void)
{
	AWAIT(api_cpus(KTHREAD_CPUS_ONLINE) == atomic_load(&world.online));
}

/* ---- down, off, on, up ---- */

static void down_off_on_up(cpus_t set, bool up_before_on)
{
	const cpus_t all = world.possible;
	const cpus_t rest = all & ~set;

	EACH_CPU(cpu, set)
	CHECK0(kthread_cpu_down(cpu, 0));
	check_placed(rest, "down");
	EACH_CPU(cpu, set)
	cpu_off(cpu);
	await_online();
	check_placed(rest, "down, and off");
	EACH_CPU(cpu, up_before_on ? set : 0)
	CHECK0(kthread_cpu_up(cpu, 0));
	check_placed(rest, "before it is on");
	EACH_CPU(cpu, set)
	cpu_on(cpu);
	await_online();
	if (!up_before_on)
		check_placed(rest, "on, and not yet up");
	EACH_CPU(cpu, up_before_on ? 0 : set)
	CHECK0(kthread_cpu_up(cpu, 0));
	await_placed(all, "up");
	check_placed(all, "up");
	check_whole("when all is over");
}

static void in_time(void)
{
	start_library(0, true, false);
	invite(world.possible);
	await_placed(world.possible, "at the beginning");
	for (int round = 0; round < 3; round++) {
		down_off_on_up(CPU(3), false);
		down_off_on_up(CPU(3), true);
	}
	down_off_on_up(cpus_of(BOUND_TO), false);
	down_off_on_up(cpus_of(BOUND_TO), true);
	say_goodbye();
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

#define FAILURE (-ESTALE)

/* One function per step or instance; in the order of the calls of an up. */
static struct position {
	int section;
	const char *name; /* NULL: an instance of the position before it, which is called later: newest first */
	int step;
	cpus_t up; /* by our own count */
	unsigned int calls;
	bool fails; /* as often as it is called for CPU 3 */
	unsigned int failures;
} positions[] = {
    {.section = KTHREAD_CPUHP_PREPARE, .name = "prepare 1"},
    {.section = KTHREAD_CPUHP_PREPARE, .name = "prepare multi"},
    {.section = KTHREAD_CPUHP_PREPARE},
    {.section = KTHREAD_CPUHP_PREPARE, .name = "prepare 2"},
    {.section = KTHREAD_CPUHP_ONLINE, .name = "online 1"},
    {.section = KTHREAD_CPUHP_ONLINE, .name = "online multi"},
    {.section = KTHREAD_CPUHP_ONLINE},
    {.section = KTHREAD_CPUHP_ONLINE, .name = "online 2"},
};
#define POSITIONS (sizeof(positions) / sizeof(positions[0]))

static cpus_t gone; /* without a word: what is called for them is called elsewhere */

static void check_where(const struct position *position, unsigned int cpu)
{
	const int here = sched_getcpu();

	if (position->section == KTHREAD_CPUHP_ONLINE && !(gone & CPU(cpu)) && here != (int)cpu)
		FAIL("a function of an ONLINE step is called for CPU %u on CPU %d", cpu, here);
}

static int called(struct position *position, unsigned int cpu, bool up)
{
	check_where(position, cpu);
	CHECK(!(position->up & CPU(cpu)) == up);
	position->calls++;
	if (cpu == 3 && position->fails) {
		position->failures++;
		if (gone & CPU(cpu) && !up) /* it counts as torn down all the same */
			position->up &= ~CPU(cpu);
		return FAILURE;
	}
	position->up ^= CPU(cpu);
	return 0;
}

static int startup(unsigned int cpu, void *arg)
{
	return called(arg, cpu, true);
}

static int teardown(unsigned int cpu, void *arg)
{
	return called(arg, cpu, false);
}

static bool is_multi(size_t i)
{
	return !positions[i].name || (i + 1 < POSITIONS && !positions[i + 1].name);
}

static void register_steps(void)
{
	for (size_t i = 0; i < POSITIONS; i++) {
		struct position *position = &positions[i];

		position->step =
		    !position->name ? positions[i - 1].step
		    : is_multi(i)   ? kthread_cpuhp_setup_multi(position->section, position->name, startup, teardown)
				  : kthread_cpuhp_setup(position->section, position->name, startup, teardown, position);
		CHECK(position->step > 0);
		if (is_multi(i))
			CHECK0(kthread_cpuhp_add_instance(position->step, position));
		CHECK(position->up == api_cpus(KTHREAD_CPUS_USABLE));
	}
}

static void remove_steps(void)
{
	for (size_t i = POSITIONS; i-- > 0;) {
		if (is_multi(i))
			CHECK0(kthread_cpuhp_remove_instance(positions[i].step, &positions[i]));
		if (positions[i].name)
			CHECK0(kthread_cpuhp_remove(positions[i].step));
		CHECK(positions[i].up == 0);
	}
}

static cpus_t cpus_of_step(int step)
{
	cpu_set_t set;
	cpus_t cpus = 0;

	CHECK0(kthread_cpuhp_cpus(step, sizeof(set), &set));
	for (unsigned int cpu = 0; cpu < ALL_CPUS; cpu++)
		cpus |= CPU_ISSET(cpu, &set) ? CPU(cpu) : 0;
	return cpus;
}

static bool steps_are_up_on(cpus_t cpus)
{
	for (size_t i = 0; i < POSITIONS; i++) {
		if (cpus_of_step(positions[i].step) != cpus || positions[i].up != cpus)
			return false;
	}
	return true;
}

/* ---- everything back ---- */

/* What a failure must not change; the states apart, as a thread that resumes needs its time. */
static const char *dump(char *text, size_t size)
{
	size_t length =
	    (size_t)snprintf(text, size, "online %s, we think %s, usable %s\n", cpus_text(sysfs_cpus("online")),
	                     cpus_text(api_cpus(KTHREAD_CPUS_ONLINE)), cpus_text(api_cpus(KTHREAD_CPUS_USABLE)));

	for (size_t i = 0; i < POSITIONS; i++)
		length += (size_t)snprintf(text + length, size - length, "step %zu on %s (%s), %lld failures\n", i,
		                           cpus_text(cpus_of_step(positions[i].step)), cpus_text(positions[i].up),
		                           (long long)kthread_cpuhp_failures(positions[i].step));
	for (size_t i = 0; i < person_count; i++) {
		const struct kthread_info info = info_of(&people[i]);

		length += (size_t)snprintf(text + length, size - length, "%s: wish %s effective %s kernel %s%s %llu\n",
		                           people[i].name, cpus_text(api_mask(people[i].k, KTHREAD_MASK_WISH)),
		                           cpus_text(api_mask(people[i].k, KTHREAD_MASK_EFFECTIVE)),
		                           cpus_text(task_cpus(info.tid)), info.broken ? " broken" : "",
		                           (unsigned long long)info.broken_ns);
	}
	CHECK(length < size);
	return text;
}

static char before[16384], after[16384];

static void check_back(cpus_t usable, const char *what, size_t at)
{
	if (strcmp(before, dump(after, sizeof(after))) != 0)
		FAIL("%s, failure at %zu: before:\n%safter:\n%s", what, at, before, after);
	await_placed(usable, what);
}

/* A call that fails is not made again by the way back. */
static void fails_once(struct position *position)
{
	CHECK(position->failures == 1);
	position->failures = 0;
	position->fails = false;
}

static void fail_downs(unsigned int flags)
{
	const cpus_t all = world.possible;

	dump(before, sizeof(before));
	for (size_t at = 0; at < POSITIONS; at++) {
		positions[at].fails = true;
		CHECK(kthread_cpu_down(3, flags) == FAILURE);
		fails_once(&positions[at]);
		check_back(all, "down", at);
	}
	if (!(flags & KTHREAD_CPU_PHYSICAL))
		return;
	/* The last position: the kernel itself. CPU 0 has no such file, and another's is made to refuse. */
	CHECK(kthread_cpu_down(0, flags) == -EPERM);
	check_back(all, "a CPU that cannot go", POSITIONS);
	CHECK(mount("/dev/full", "/sys/devices/system/cpu/cpu3/online", NULL, MS_BIND, NULL) == 0);
	CHECK(kthread_cpu_down(3, flags) == -ENOSPC);
	check_back(all, "a refused write", POSITIONS);
	CHECK(umount("/sys/devices/system/cpu/cpu3/online") == 0);
}

static void fail_ups(unsigned int flags)
{
	const cpus_t rest = world.possible & ~CPU(3);

	CHECK0(kthread_cpu_down(3, flags));
	check_placed(rest, "down");
	CHECK(steps_are_up_on(rest));
	dump(before, sizeof(before));
	for (size_t at = 0; at < POSITIONS; at++) {
		positions[at].fails = true;
		CHECK(kthread_cpu_up(3, flags) == FAILURE);
		fails_once(&positions[at]);
		check_back(rest, "up", at);
	}
	CHECK0(kthread_cpu_up(3, flags));
	check_placed(world.possible, "up");
	CHECK(steps_are_up_on(world.possible));
}

static void failures(void)
{
	start_library(0, true, false);
	register_steps();
	invite(world.possible);
	await_placed(world.possible, "at the beginning");
	fail_downs(0);
	fail_downs(KTHREAD_CPU_PHYSICAL);
	fail_ups(0);
	fail_ups(KTHREAD_CPU_PHYSICAL);
	check_whole("when all is over");
	for (size_t i = 0; i < POSITIONS; i++)
		CHECK(kthread_cpuhp_failures(positions[i].step) == 0);
	say_goodbye();
	remove_steps();
}

/* ---- after the fact ---- */

static void off_without_a_word(void)
{
	gone = CPU(3);
	cpu_off(3);
	AWAIT(steps_are_up_on(world.possible & ~CPU(3)));
	gone = 0;
	await_placed(world.possible & ~CPU(3), "off");
}

static void on_without_a_word(void)
{
	cpu_on(3);
	AWAIT(steps_are_up_on(world.possible));
	await_placed(world.possible, "on");
}

static int64_t failures_of(int step)
{
	const int64_t failures = kthread_cpuhp_failures(step);

	CHECK(failures >= 0);
	return failures;
}

/* Nothing can stop it. */
static void failing_teardown(struct position *position)
{
	const int64_t had = failures_of(position->step);
	const unsigned int failed = position->failures;

	position->fails = true;
	off_without_a_word();
	position->fails = false;
	CHECK(position->failures == failed + 1 && failures_of(position->step) == had + 1);
	on_without_a_word();
	CHECK(failures_of(position->step) == had + 1);
}

/* The CPU is not used, until it goes and comes again or somebody asks for it. */
static void failing_startup(struct position *position, bool ask)
{
	const unsigned int failed = position->failures;

	off_without_a_word();
	position->fails = true;
	cpu_on(3);
	AWAIT(*(volatile unsigned int *)&position->failures == failed + 1);
	CHECK0(kthread_rescan()); /* it is not tried again by any look */
	CHECK(position->failures == failed + 1);
	CHECK(api_cpus(KTHREAD_CPUS_ONLINE) == world.possible);
	check_placed(world.possible & ~CPU(3), "on, and a step fails");
	CHECK(steps_are_up_on(world.possible & ~CPU(3)));
	if (ask) {
		CHECK(kthread_cpu_up(3, 0) == FAILURE);
		CHECK(position->failures == failed + 2);
		check_placed(world.possible & ~CPU(3), "asked for, and a step fails");
		position->fails = false;
		CHECK0(kthread_cpu_up(3, 0));
		check_placed(world.possible, "asked for");
		CHECK(steps_are_up_on(world.possible));
	} else {
		position->fails = false;
		gone = CPU(3); /* its steps are down: nothing is called */
		cpu_off(3);
		await_online();
		gone = 0;
		on_without_a_word();
	}
}

static void observed(void)
{
	start_library(0, true, false);
	register_steps();
	invite(world.possible);
	await_placed(world.possible, "at the beginning");
	for (size_t i = 0; i < POSITIONS; i++) {
		failing_teardown(&positions[i]);
		failing_startup(&positions[i], i % 2);
	}
	say_goodbye();
	remove_steps();
}

/* ---- somebody who always looks ---- */

static atomic_bool looking;

static void *keep_looking(void *unused)
{
	while (atomic_load(&looking))
		CHECK0(kthread_rescan());
	return unused;
}

/* sysfs calls a CPU online while the scheduler does not have it yet: a look at that moment finds one that refuses. */
static void eager(void)
{
	unsigned long long refusals = 0;
	pthread_t looker;

	start_library(0, true, false);
	register_steps();
	invite(world.possible);
	atomic_store(&looking, true);
	CHECK(pthread_create(&looker, NULL, keep_looking, NULL) == 0);
	for (int round = 0; round < 8; round++) {
		off_without_a_word();
		on_without_a_word();
	}
	atomic_store(&looking, false);
	CHECK(pthread_join(looker, NULL) == 0);
	for (size_t i = 0; i < person_count; i++)
		refusals += info_of(&people[i]).refusals;
	printf("    %llu masks refused on the way\n", refusals);
	say_goodbye();
	remove_steps();
}

/* ---- a plan ------------------------------------------------------------------------------------------------------ */

#define PLAN "/tmp/plan"

static void announce(const char *cpus)
{
	FILE *file = fopen(PLAN ".new", "we");

	CHECK(file && fputs(cpus, file) >= 0 && fclose(file) == 0);
	CHECK(rename(PLAN ".new", PLAN) == 0);
}

/* Announced, and 200 ms later so. A machine that is slower than that gets the time it takes, and it is said. */
static void plan(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	const cpus_t all = cpus_of("0-5");
	uint64_t longest = 0;

	unlink(PLAN);
	cgroup_make("box", "0-5");
	cgroup_enter("box");
	config.poll_ms = 0;
	config.plan_file = PLAN;
	CHECK0(kthread_init(&config));
	invite(all);
	await_placed(all, "at the beginning");
	for (int round = 0; round < 6; round++) {
		static const char *const lists[] = {"0-2", "0-1,4-5", "0,4"};
		const char *list = lists[round % 3];
		const cpus_t rest = cpus_of(list);
		const uint64_t begin = now_ns();

		announce(list);
		AWAIT(api_cpus(KTHREAD_CPUS_USABLE) == rest);
		await_placed(rest, "announced");
		longest = now_ns() - begin > longest ? now_ns() - begin : longest;
		while (now_ns() - begin < 200 * MS)
			pause_ns(MS);
		cgroup_cpus("box", list);
		AWAIT(cgroup_effective("box") == rest);
		AWAIT(api_cpus(KTHREAD_CPUS_ALLOWED) == rest);
		await_placed(rest, "cut");
		if (round % 2) { /* listed again before they are granted, and after */
			announce("0-5");
			cgroup_cpus("box", "0-5");
		} else {
			cgroup_cpus("box", "0-5");
			AWAIT(api_cpus(KTHREAD_CPUS_ALLOWED) == all);
			await_placed(rest, "grown, and not listed yet");
			announce("0-5");
		}
		await_placed(all, "listed again");
		check_whole("listed again");
	}
	printf("    at most %.1f ms from the announcement until everybody had left\n", (double)longest / 1e6);
	say_goodbye();
}

const struct vm_case cases_steps[] = {
    {"in-time", in_time, NULL}, {"failures", failures, NULL}, {"observed", observed, NULL},
    {"eager", eager, NULL},     {"plan", plan, NULL},         {NULL, NULL, NULL},
};
