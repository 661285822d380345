/* SPDX-License-Identifier: MIT */
/*
 * kthread_cpuhp_*: registration, order, rollback, instances, use from inside a callback; and the steps as somebody else
 * takes CPUs away and gives them back.
 */
#include <pthread.h>

#include "probe.h"

#define PREPARE KTHREAD_CPUHP_PREPARE
#define ONLINE KTHREAD_CPUHP_ONLINE
#define ALL 0xffu

static const int sections[] = {PREPARE, ONLINE};

/* ---- registration ------------------------------------------------------------------------------------------------ */

static void kthread_cpuhp_setup__calls_startup_for_each_usable_cpu(void **state)
{
	struct probe a = {.tag = "a"};
	struct probe o = {.tag = "o"};

	sim_start(NULL);
	sim_online(0xb7);
	assert_true(probe_setup(&a, PREPARE) > 0); /* has looked at the machine itself */
	assert_trace("a+0 a+1 a+2 a+4 a+5 a+7");
	assert_int_equal(a.tid, gettid());
	assert_int_equal(probe_cpus(a.step), 0xb7);
	assert_true(probe_setup(&o, ONLINE) > 0);
	assert_trace("o+0 o+1 o+2 o+4 o+5 o+7");
	assert_int_not_equal(o.tid, gettid());
	assert_int_equal(probe_cpus(o.step), 0xb7);
	assert_int_equal(kthread_cpuhp_failures(o.step), 0);
	assert_int_equal(kthread_cpuhp_remove(o.step), 0);
	assert_trace("o-0 o-1 o-2 o-4 o-5 o-7");
	assert_int_not_equal(o.tid, gettid());
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	assert_trace("a-0 a-1 a-2 a-4 a-5 a-7");
	assert_int_equal(a.tid, gettid());
	sim_stop();
}

static void kthread_cpuhp_setup__rolled_back_from_each_cpu(void **state)
{
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		for (unsigned int failing = 0; failing < 8; failing++) {
			struct probe a = {
			    .tag = "a", .fail_up = 1u << failing, .error = failing % 2 ? EPROTO : -EPROTO};
			char wanted[128] = "";

			for (unsigned int cpu = 0; cpu <= failing; cpu++)
				sprintf(wanted + strlen(wanted), "%sa+%u", cpu ? " " : "", cpu);
			for (unsigned int cpu = 0; cpu < failing; cpu++)
				sprintf(wanted + strlen(wanted), " a-%u", cpu);
			assert_int_equal(probe_setup(&a, sections[s]), -EPROTO);
			assert_trace(wanted);
			assert_int_equal(a.on, 0);
			atomic_store(&a.fail_up, 0);
			assert_true(probe_setup(&a, sections[s]) > 0); /* the name is free */
			assert_int_equal(kthread_cpuhp_remove(a.step), 0);
			assert_int_equal(a.on, 0);
			probe_trace();
		}
	}
	sim_stop();
}

/* What was undone cannot be undone: the step is gone all the same. */
static void kthread_cpuhp_setup__teardown_fails_while_rolling_back(void **state)
{
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a", .fail_up = 8, .fail_down = 2};

		assert_int_equal(probe_setup(&a, sections[s]), -EIO);
		assert_trace("a+0 a+1 a+2 a+3 a-0 a-1 a-2");
		probe_online(0xfd);
		probe_online(ALL);
		assert_trace("");
	}
	sim_stop();
}

static void kthread_cpuhp_setup_nocalls__takes_it_for_done(void **state)
{
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a", .on = 0x7f, .fail_up = ALL};

		probe_online(0x7f);
		a.step = kthread_cpuhp_setup_nocalls(sections[s], "a", probe_up, probe_down, &a);
		assert_true(a.step > 0);
		assert_trace("");
		assert_int_equal(probe_cpus(a.step), 0x7f);
		atomic_store(&a.fail_up, 0);
		probe_online(0xfb);
		assert_trace("a-2 a+7");
		assert_int_equal(probe_cpus(a.step), 0xfb);
		assert_int_equal(kthread_cpuhp_remove_nocalls(a.step), 0);
		assert_trace("");
		probe_online(ALL);
		assert_trace("");
	}
	sim_stop();
}

static void kthread_cpuhp_setup__bad_input(void **state)
{
	struct probe a = {.tag = "a"};
	cpu_set_t set;

	sim_start(NULL);
	assert_int_equal(kthread_cpuhp_setup(PREPARE, NULL, probe_up, probe_down, &a), -EINVAL);
	assert_int_equal(kthread_cpuhp_setup(PREPARE, "", probe_up, probe_down, &a), -EINVAL);
	assert_int_equal(kthread_cpuhp_setup_multi(ONLINE, NULL, probe_up, probe_down), -EINVAL);
	for (int section = -3; section < 6; section++) {
		if (section == PREPARE || section == ONLINE)
			continue;
		assert_int_equal(kthread_cpuhp_setup(section, "a", probe_up, probe_down, &a), -EINVAL);
		assert_int_equal(kthread_cpuhp_setup_nocalls(section, "a", probe_up, probe_down, &a), -EINVAL);
		assert_int_equal(kthread_cpuhp_setup_multi(section, "a", probe_up, probe_down), -EINVAL);
	}
	assert_trace("");
	for (int step = -2; step < 9; step++) { /* there is none */
		assert_int_equal(kthread_cpuhp_remove(step), -EINVAL);
		assert_int_equal(kthread_cpuhp_remove_nocalls(step), -EINVAL);
		assert_int_equal(kthread_cpuhp_add_instance(step, &a), -EINVAL);
		assert_int_equal(kthread_cpuhp_remove_instance(step, &a), -EINVAL);
		assert_int_equal(kthread_cpuhp_cpus(step, sizeof(set), &set), -EINVAL);
		assert_int_equal(kthread_cpuhp_failures(step), -EINVAL);
	}
	assert_true(probe_setup(&a, PREPARE) > 0);
	assert_int_equal(kthread_cpuhp_cpus(a.step, kthread_setsize() - 1, &set), -EINVAL);
	assert_int_equal(kthread_cpuhp_cpus(a.step, sizeof(set), NULL), -EINVAL);
	assert_int_equal(kthread_cpuhp_add_instance(a.step, &a), -EINVAL); /* no multi step */
	assert_int_equal(kthread_cpuhp_add_instance_nocalls(a.step, &a), -EINVAL);
	assert_int_equal(kthread_cpuhp_remove_instance(a.step, &a), -EINVAL);
	assert_int_equal(kthread_cpuhp_remove_instance_nocalls(a.step, &a), -EINVAL);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	sim_stop();
}

static void kthread_cpuhp_setup__a_name_may_be_had_once(void **state)
{
	struct probe a = {.tag = "a"};
	struct probe other = {.tag = "a"};
	char name[] = "a";

	sim_start(NULL);
	a.step = kthread_cpuhp_setup(PREPARE, name, probe_up, probe_down, &a);
	assert_true(a.step > 0);
	name[0] = 'b'; /* it was copied */
	probe_trace();
	for (int s = 0; s < 2; s++) {
		assert_int_equal(probe_setup(&other, sections[s]), -EBUSY);
		assert_int_equal(kthread_cpuhp_setup_nocalls(sections[s], "a", NULL, NULL, NULL), -EBUSY);
		assert_int_equal(kthread_cpuhp_setup_multi(sections[s], "a", probe_up, probe_down), -EBUSY);
	}
	assert_trace("");
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	assert_true(probe_setup(&other, ONLINE) > 0);
	assert_int_equal(kthread_cpuhp_remove(other.step), 0);
	sim_stop();
}

static void kthread_cpuhp_setup__numbers_are_never_used_again(void **state)
{
	int last = 0;

	sim_start(NULL);
	for (int i = 0; i < 20; i++) {
		struct probe a = {.tag = "a", .fail_up = i % 3 == 2 ? 4 : 0};
		const int step = probe_setup(&a, sections[i % 2]);

		if (i % 3 == 2) {
			assert_int_equal(step, -EIO);
			continue;
		}
		assert_true(step > last);
		last = step;
		assert_int_equal(kthread_cpuhp_remove(step), 0);
		assert_int_equal(kthread_cpuhp_remove(step), -EINVAL);
	}
	sim_stop();
}

static void kthread_cpuhp_setup__functions_may_be_missing(void **state)
{
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		struct probe up = {.tag = "up"};
		struct probe down = {.tag = "down", .on = ALL};
		const int both = kthread_cpuhp_setup(sections[s], "neither", NULL, NULL, NULL);

		up.step = kthread_cpuhp_setup(sections[s], "up", probe_up, NULL, &up);
		down.step = kthread_cpuhp_setup(sections[s], "down", NULL, probe_down, &down);
		probe_trace();
		atomic_store(&up.torn, 8);
		probe_online(0xf7);
		assert_trace("down-3");
		assert_int_equal(probe_cpus(both), 0xf7);
		assert_int_equal(probe_cpus(up.step), 0xf7);
		atomic_store(&down.torn, ALL);
		probe_online(ALL);
		assert_trace("up+3");
		assert_int_equal(probe_cpus(down.step), ALL);
		assert_int_equal(kthread_cpuhp_remove(both), 0);
		assert_int_equal(kthread_cpuhp_remove(up.step), 0);
		assert_int_equal(kthread_cpuhp_remove(down.step), 0);
		assert_trace("down-0 down-1 down-2 down-3 down-4 down-5 down-6 down-7");
	}
	sim_stop();
}

static void kthread_cpuhp_remove__a_failing_teardown_keeps_nothing(void **state)
{
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a", .fail_down = 0x24};

		assert_true(probe_setup(&a, sections[s]) > 0);
		probe_trace();
		assert_int_equal(kthread_cpuhp_remove(a.step), -EIO);
		assert_trace("a-0 a-1 a-2 a-3 a-4 a-5 a-6 a-7");
		assert_logged("\"a\": teardown failed", 2 + 2 * s);
		assert_int_equal(kthread_cpuhp_failures(a.step), -EINVAL);
		probe_online(0xfe);
		probe_online(ALL);
		assert_trace("");
	}
	sim_stop();
}

/* ---- instances --------------------------------------------------------------------------------------------------- */

static void kthread_cpuhp_setup_multi__instances(void **state)
{
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a"};
		struct probe b = {.tag = "b"};
		struct probe c = {.tag = "c", .on = 0x83};
		const int step = kthread_cpuhp_setup_multi(sections[s], "multi", probe_up, probe_down);

		assert_true(step > 0);
		probe_online(0x03);
		assert_trace("");
		assert_int_equal(probe_cpus(step), 0x03);
		assert_int_equal(kthread_cpuhp_add_instance(step, NULL), -EINVAL);
		assert_int_equal(kthread_cpuhp_remove_instance(step, &a), -ENOENT);
		assert_int_equal(kthread_cpuhp_add_instance(step, &a), 0);
		assert_trace("a+0 a+1");
		assert_int_equal(kthread_cpuhp_add_instance(step, &a), -EEXIST);
		assert_int_equal(kthread_cpuhp_add_instance_nocalls(step, &a), -EEXIST);
		assert_int_equal(kthread_cpuhp_add_instance(step, &b), 0);
		assert_trace("b+0 b+1");
		probe_online(0x83);
		assert_trace("b+7 a+7"); /* newest first */
		assert_int_equal(kthread_cpuhp_add_instance_nocalls(step, &c), 0);
		assert_trace("");
		probe_online(0x81);
		assert_trace("c-1 b-1 a-1"); /* in both directions */
		assert_int_equal(probe_cpus(step), 0x81);
		assert_int_equal(kthread_cpuhp_remove(step), -EBUSY);
		assert_int_equal(kthread_cpuhp_remove_nocalls(step), -EBUSY);
		assert_int_equal(kthread_cpuhp_remove_instance(step, &b), 0);
		assert_trace("b-0 b-7");
		assert_int_equal(kthread_cpuhp_remove_instance_nocalls(step, &c), 0);
		assert_int_equal(kthread_cpuhp_remove_instance(step, &c), -ENOENT);
		assert_trace("");
		atomic_store(&a.fail_down, 1);
		assert_int_equal(kthread_cpuhp_remove_instance(step, &a), -EIO);
		assert_trace("a-0 a-7");
		assert_int_equal(kthread_cpuhp_failures(step), 1);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
		probe_online(ALL);
		assert_trace("");
	}
	sim_stop();
}

static void kthread_cpuhp_add_instance__rolled_back(void **state)
{
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a"};
		struct probe b = {.tag = "b", .fail_up = 4};
		const int step = kthread_cpuhp_setup_multi(sections[s], "multi", probe_up, probe_down);

		assert_int_equal(kthread_cpuhp_add_instance(step, &a), 0);
		probe_trace();
		assert_int_equal(kthread_cpuhp_add_instance(step, &b), -EIO);
		assert_trace("b+0 b+1 b+2 b-0 b-1");
		assert_int_equal(kthread_cpuhp_remove_instance(step, &b), -ENOENT);
		assert_int_equal(probe_cpus(step), ALL);
		assert_int_equal(kthread_cpuhp_remove_instance_nocalls(step, &a), 0);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
		probe_trace();
	}
	sim_stop();
}

/* ---- from inside a callback -------------------------------------------------------------------------------------- */

static struct kthread_percpu never;
static atomic_int asked;

static bool no(unsigned int cpu, void *arg)
{
	return false;
}

static void nothing(unsigned int cpu, void *arg)
{
}

static void asks_for_everything(struct probe *probe, char what, unsigned int cpu)
{
	cpu_set_t set;

	if (atomic_load(&asked) < 0)
		return; /* it is being removed for good */
	CHECK(kthread_cpuhp_setup(PREPARE, "inner", NULL, NULL, NULL) == -EDEADLK);
	CHECK(kthread_cpuhp_setup(ONLINE, "inner", NULL, NULL, NULL) == -EDEADLK);
	CHECK(kthread_cpuhp_setup_nocalls(PREPARE, "inner", NULL, NULL, NULL) == -EDEADLK);
	CHECK(kthread_cpuhp_setup_multi(PREPARE, "inner", NULL, NULL) == -EDEADLK);
	CHECK(kthread_cpuhp_add_instance(1, probe) == -EDEADLK);
	CHECK(kthread_cpuhp_add_instance_nocalls(1, probe) == -EDEADLK);
	CHECK(kthread_cpuhp_remove_instance(1, probe) == -EDEADLK);
	CHECK(kthread_cpuhp_remove_instance_nocalls(1, probe) == -EDEADLK);
	CHECK(kthread_cpuhp_remove(1) == -EDEADLK);
	CHECK(kthread_cpuhp_remove_nocalls(1) == -EDEADLK);
	CHECK(kthread_cpu_down(5, 0) == -EDEADLK);
	CHECK(kthread_cpu_up(5, 0) == -EDEADLK);
	CHECK(kthread_rescan() == -EDEADLK);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	CHECK(kthread_housekeeping_set(sizeof(set), &set) == -EDEADLK);
	CHECK(kthread_percpu_register(&never) == -EDEADLK && !never.state);
	CHECK(kthread_fini() != 0);
	/* What works. */
	CHECK(kthread_cpuhp_failures(12345) == -EINVAL);
	CHECK(kthread_cpuhp_cpus(12345, sizeof(set), &set) == -EINVAL);
	CHECK(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(set), &set) == 0);
	kthread_cpus_read_lock();
	CHECK(kthread_cpus_read_trylock());
	kthread_cpus_read_unlock();
	CHECK(kthread_rescan() == -EDEADLK);
	kthread_cpus_read_unlock();
	CHECK(kthread_rescan() == -EDEADLK); /* still inside */
	atomic_fetch_add(&asked, 1);
}

static void callbacks__hotplug_calls_are_refused(void **state)
{
	never = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
	never.name = "never/%u";
	never.should_run = no;
	never.run = nothing;
	sim_start(NULL);
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a", .hook = asks_for_everything};
		const uint64_t housekeeping = sim_cpus(KTHREAD_CPUS_HOUSEKEEPING);
		int count = 0;

		atomic_store(&asked, 0);
		assert_true(probe_setup(&a, sections[s]) > 0);
		assert_int_equal(atomic_load(&asked), count += 8);
		probe_online(0xf7);
		assert_int_equal(atomic_load(&asked), ++count);
		probe_online(ALL);
		assert_int_equal(atomic_load(&asked), ++count);
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(atomic_load(&asked), ++count);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_int_equal(atomic_load(&asked), ++count);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), housekeeping);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		assert_int_equal(atomic_load(&asked), count + 8);
	}
	sim_stop();
}

static void read_lock__hotplug_calls_are_refused(void **state)
{
	struct probe a = {.tag = "a"};
	cpu_set_t set;

	sim_start(NULL);
	assert_true(probe_setup(&a, ONLINE) > 0);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	probe_trace();
	for (int depth = 0; depth < 3; depth++)
		kthread_cpus_read_lock();
	for (int depth = 3; depth > 0; depth--) {
		assert_int_equal(kthread_cpuhp_setup(PREPARE, "b", NULL, NULL, NULL), -EDEADLK);
		assert_int_equal(kthread_cpuhp_remove(a.step), -EDEADLK);
		assert_int_equal(kthread_cpu_down(3, 0), -EDEADLK);
		assert_int_equal(kthread_cpu_up(3, 0), -EDEADLK);
		assert_int_equal(kthread_rescan(), -EDEADLK);
		assert_int_equal(kthread_housekeeping_set(sizeof(set), &set), -EDEADLK);
		assert_int_equal(kthread_fini(), -EDEADLK);
		kthread_cpus_read_unlock();
	}
	assert_trace("");
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	sim_stop();
}

/* ---- as others take CPUs away ------------------------------------------------------------------------------------ */

/* A CPU is in nobody's hands before its PREPARE steps are up, nor after they go down. */
static void sees_usable(struct probe *probe, char what, unsigned int cpu)
{
	cpu_set_t set;

	CHECK(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(set), &set) == 0);
	CHECK(!CPU_ISSET(cpu, &set));
}

static void observed__both_sections_in_order(void **state)
{
	struct probe c = {.tag = "c"};
	struct probe a = {.tag = "a"};
	struct probe d = {.tag = "d"};
	struct probe b = {.tag = "b"};

	sim_start(NULL);
	assert_true(probe_setup(&c, ONLINE) > 0);
	assert_true(probe_setup(&a, PREPARE) > 0);
	assert_true(probe_setup(&d, ONLINE) > 0);
	assert_true(probe_setup(&b, PREPARE) > 0);
	a.hook = b.hook = sees_usable;
	probe_trace();
	probe_online(0xf7);
	assert_trace("d-3 c-3 b-3 a-3");
	probe_online(0xd7);
	assert_trace("d-5 c-5 b-5 a-5");
	assert_int_equal(probe_cpus(b.step), 0xd7);
	assert_int_equal(kthread_rescan(), 0);
	assert_trace("");
	probe_online(ALL);
	assert_trace("a+3 b+3 c+3 d+3 a+5 b+5 c+5 d+5");
	probe_online(0x7e);
	assert_trace("d-0 c-0 b-0 a-0 d-7 c-7 b-7 a-7");
	probe_online(0xfc);
	assert_trace("d-1 c-1 b-1 a-1 a+7 b+7 c+7 d+7");
	a.hook = b.hook = NULL;
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	assert_int_equal(kthread_cpuhp_remove(c.step), 0);
	probe_trace();
	probe_online(ALL);
	assert_trace("b+0 d+0 b+1 d+1");
	assert_int_equal(kthread_cpuhp_remove(b.step), 0);
	assert_int_equal(kthread_cpuhp_remove(d.step), 0);
	probe_online(0xf0);
	probe_trace();
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xf0);
	sim_stop();
}

/* A CPU that was away when the first step came. */
static void observed__not_usable_before_its_prepare_steps(void **state)
{
	struct probe a = {.tag = "a", .hook = NULL};
	struct probe o = {.tag = "o"};

	sim_start(NULL);
	probe_online(0xf7);
	assert_true(probe_setup(&a, PREPARE) > 0);
	assert_true(probe_setup(&o, ONLINE) > 0);
	probe_trace();
	a.hook = sees_usable;
	probe_online(ALL);
	assert_trace("a+3 o+3");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
	a.hook = NULL;
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	assert_int_equal(kthread_cpuhp_remove(o.step), 0);
	sim_stop();
}

static void noticed(const struct kthread_config *config)
{
	struct probe a = {.tag = "a"};
	struct probe o = {.tag = "o"};

	sim_start(config);
	assert_true(probe_setup(&a, PREPARE) > 0);
	assert_true(probe_setup(&o, ONLINE) > 0);
	for (int i = 0; i < 20; i++) {
		const unsigned int online = i % 2 ? ALL : ALL & ~(1u << i % 8);

		sim.online = online;
		sim_replace("sys/devices/system/cpu/online", sim_list(online));
		AWAIT(probe_cpus(a.step) == online && probe_cpus(o.step) == online);
		assert_int_equal(atomic_load(&a.on), online);
		assert_int_equal(atomic_load(&o.on), online);
		assert_int_not_equal(atomic_load(&a.tid), gettid());
		assert_int_not_equal(atomic_load(&o.tid), atomic_load(&a.tid));
	}
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	assert_int_equal(kthread_cpuhp_remove(o.step), 0);
	assert_int_equal(atomic_load(&a.ups), atomic_load(&a.downs));
	sim_stop();
}

static void observed__by_the_monitor(void **state)
{
	struct kthread_config config = sim_config();

	config.poll_ms = 1;
	noticed(&config);
	config.poll_ms = 0;
	config.inotify = true;
	noticed(&config);
}

static void observed__a_failing_startup_leaves_the_cpu_unused(void **state)
{
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a"};
		struct probe b = {.tag = "b"};

		sim_start(NULL);
		assert_true(probe_setup(&a, PREPARE) > 0);
		assert_true(probe_setup(&b, sections[s]) > 0);
		probe_online(0xf7);
		probe_trace();
		atomic_store(&b.fail_up, 8);
		probe_online(ALL);
		assert_trace("a+3 b+3 a-3");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xf7);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_ONLINE), ALL);
		assert_int_equal(probe_cpus(a.step), 0xf7);
		assert_logged("CPU 3 has come, but a step fails", 1);
		atomic_store(&b.fail_up, 0);
		probe_online(0xfb); /* another event is no reason to try again */
		probe_online(ALL);
		assert_trace("b-2 a-2 a+2 b+2");
		probe_online(0xf7);
		assert_trace("");
		probe_online(ALL); /* it went, and came */
		assert_trace("a+3 b+3");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);

		probe_online(0xf7);
		atomic_store(&b.fail_up, 8);
		probe_online(ALL);
		probe_trace();
		assert_int_equal(kthread_cpu_up(3, 0), -EIO); /* somebody asks for it */
		assert_trace("a+3 b+3 a-3");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xf7);
		assert_int_equal(kthread_rescan(), 0);
		assert_trace("");
		atomic_store(&b.fail_up, 0);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_trace("a+3 b+3");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		assert_int_equal(kthread_cpuhp_remove(b.step), 0);
		probe_trace();
		sim_stop();
	}
}

static void observed__a_failing_teardown_stops_nothing(void **state)
{
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a"};
		struct probe b = {.tag = "b", .fail_down = 8};
		struct probe c = {.tag = "c"};

		sim_start(NULL);
		assert_true(probe_setup(&a, sections[s]) > 0);
		assert_true(probe_setup(&b, sections[s]) > 0);
		assert_true(probe_setup(&c, sections[s]) > 0);
		probe_trace();
		for (int i = 1; i <= 3; i++) {
			probe_online(0xf7);
			assert_trace("c-3 b-3 a-3");
			assert_int_equal(probe_cpus(b.step), 0xf7);
			assert_int_equal(kthread_cpuhp_failures(b.step), i);
			assert_int_equal(kthread_cpuhp_failures(a.step), 0);
			assert_logged("CPU 3: step \"b\": teardown failed", i);
			probe_online(ALL);
			assert_trace("a+3 b+3 c+3");
		}
		atomic_store(&b.fail_down, 0);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		assert_int_equal(kthread_cpuhp_remove(b.step), 0);
		assert_int_equal(kthread_cpuhp_remove(c.step), 0);
		probe_trace();
		sim_stop();
	}
}

/* An instance that fails: those that were done on this way are undone, and no others. */
static void observed__instances_are_undone(void **state)
{
	for (int s = 0; s < 2; s++) {
		struct probe list[] = {{.tag = "a"}, {.tag = "b"}, {.tag = "c"}};
		int step;

		sim_start(NULL);
		step = kthread_cpuhp_setup_multi(sections[s], "multi", probe_up, probe_down);
		for (int i = 0; i < 3; i++)
			assert_int_equal(kthread_cpuhp_add_instance(step, &list[i]), 0);
		probe_online(0xf7);
		probe_trace();
		atomic_store(&list[0].fail_up, 8);
		probe_online(ALL);
		assert_trace("c+3 b+3 a+3 c-3 b-3");
		atomic_store(&list[0].fail_up, 0);
		atomic_store(&list[1].fail_down, 8);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_trace("c+3 b+3 a+3");
		assert_int_equal(kthread_cpu_down(3, 0), -EIO);
		assert_trace("c-3 b-3 c+3");
		assert_int_equal(probe_cpus(step), ALL);
		for (int i = 0; i < 3; i++)
			assert_int_equal(kthread_cpuhp_remove_instance_nocalls(step, &list[i]), 0);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
		sim_stop();
	}
}

/* Anybody may look, at any time. */
static atomic_bool enough;

static void *looks_on(void *arg)
{
	const int step = *(const int *)arg;

	while (!atomic_load(&enough)) {
		const unsigned int cpus = probe_cpus(step);

		CHECK(!(cpus & ~ALL) && (cpus | 8) == ALL);
	}
	return NULL;
}

static void kthread_cpuhp_cpus__while_cpus_move(void **state)
{
	pthread_t thread;
	int step;

	sim_start(NULL);
	step = kthread_cpuhp_setup_multi(PREPARE, "multi", NULL, NULL); /* without an instance: up wherever a CPU is */
	atomic_store(&enough, false);
	assert_int_equal(pthread_create(&thread, NULL, looks_on, &step), 0);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	assert_int_equal(kthread_cpuhp_remove(step), 0);
	sim_stop();
}

/* ---- on this machine --------------------------------------------------------------------------------------------- */

static void is_there(struct probe *probe, char what, unsigned int cpu)
{
	CHECK(sched_getcpu() == (int)cpu);
}

static void online_steps__run_on_their_cpu(void **state)
{
	struct probe o = {.tag = "o", .hook = is_there};
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	if (!sim_two_cpus())
		skip();
	assert_int_equal(kthread_init(&config), 0);
	for (int i = 0; i < 20; i++) {
		assert_true(probe_setup(&o, ONLINE) > 0);
		assert_int_equal(kthread_cpu_down(1, 0), 0);
		assert_int_equal(o.on & 3, 1);
		assert_int_equal(kthread_cpu_up(1, 0), 0);
		assert_int_equal(o.on & 3, 3);
		assert_int_equal(kthread_cpuhp_remove(o.step), 0);
		assert_int_equal(o.on, 0);
	}
	probe_trace();
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_cpuhp_setup__calls_startup_for_each_usable_cpu),
	    cmocka_unit_test(kthread_cpuhp_setup__rolled_back_from_each_cpu),
	    cmocka_unit_test(kthread_cpuhp_setup__teardown_fails_while_rolling_back),
	    cmocka_unit_test(kthread_cpuhp_setup_nocalls__takes_it_for_done),
	    cmocka_unit_test(kthread_cpuhp_setup__bad_input),
	    cmocka_unit_test(kthread_cpuhp_setup__a_name_may_be_had_once),
	    cmocka_unit_test(kthread_cpuhp_setup__numbers_are_never_used_again),
	    cmocka_unit_test(kthread_cpuhp_setup__functions_may_be_missing),
	    cmocka_unit_test(kthread_cpuhp_remove__a_failing_teardown_keeps_nothing),
	    cmocka_unit_test(kthread_cpuhp_setup_multi__instances),
	    cmocka_unit_test(kthread_cpuhp_add_instance__rolled_back),
	    cmocka_unit_test(callbacks__hotplug_calls_are_refused),
	    cmocka_unit_test(read_lock__hotplug_calls_are_refused),
	    cmocka_unit_test(observed__both_sections_in_order),
	    cmocka_unit_test(observed__not_usable_before_its_prepare_steps),
	    cmocka_unit_test(observed__by_the_monitor),
	    cmocka_unit_test(observed__a_failing_startup_leaves_the_cpu_unused),
	    cmocka_unit_test(observed__a_failing_teardown_stops_nothing),
	    cmocka_unit_test(observed__instances_are_undone),
	    cmocka_unit_test(kthread_cpuhp_cpus__while_cpus_move),
	    cmocka_unit_test(online_steps__run_on_their_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
