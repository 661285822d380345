/* SPDX-License-Identifier: MIT */
/*
 * plan_file: the CPUs that it does not list are given up before they go. Replaced in every way, malformed, missing,
 * impossible; found by inotify, by the poll, and by kthread_rescan().
 */
#include "probe.h"

#define ALL 0xffu
#define LAST 0x80u /* CPU 7 */

enum finder { BY_RESCAN, BY_POLL, BY_INOTIFY, FINDERS };

static enum finder finder;
static char path[256];

/* The library on a machine with a plan_file of this name below its root, and a first thread: the monitor runs. */
static void start(enum finder by, const char *name)
{
	struct kthread_config config = sim_config();

	finder = by;
	if (!sim.root[0])
		sim_tree("numa");
	snprintf(path, sizeof(path), "%s/%s", sim.root, name);
	config.plan_file = path;
	config.poll_ms = by == BY_POLL ? 1 : 0;
	config.inotify = by == BY_INOTIFY;
	sim_start(&config);
}

/* As the plan is followed by whoever finds it. */
#define AWAIT_USABLE(cpus) \
	do { \
		assert_true(finder != BY_RESCAN || kthread_rescan() == 0); \
		AWAIT(sim_cpus(KTHREAD_CPUS_USABLE) == (cpus)); \
	} while (0)

static int looks(void *data)
{
	while (!kthread_bound_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		else
			kthread_wait_for(MS);
	}
	return 0;
}

static void plan__announced(void **state)
{
	for (enum finder by = BY_RESCAN; by < FINDERS; by++) {
		struct probe a = {.tag = "a"};
		struct kthread *k[2];

		start(by, "plan");
		k[0] = kthread_create(obedient, NULL, "per-CPU");
		assert_int_equal(kthread_set_per_cpu(k[0], 7), 0);
		kthread_wake(k[0]);
		k[1] = kthread_run_on_cpu(looks, NULL, 7, "looks/%u");
		await_waiting(k[1]);
		assert_true(probe_setup(&a, KTHREAD_CPUHP_ONLINE) > 0);
		probe_trace();
		for (int i = 0; i < 5; i++) {
			sim_replace("plan", "0-6\n");
			AWAIT_USABLE(0x7fu);
			AWAIT(probe_cpus(a.step) == 0x7f);
			assert_trace("a-7");
			AWAIT(state_of(k[0]) == KTHREAD_PARKED && state_of(k[1]) == KTHREAD_PARKED);
			sim_online(0x7f); /* and now it goes */
			assert_int_equal(kthread_rescan(), 0);
			assert_trace("");
			sim_replace("plan", "0-7\n");
			assert_int_equal(kthread_rescan(), 0);
			AWAIT_USABLE(0x7fu);
			sim_online(ALL);
			assert_int_equal(kthread_rescan(), 0);
			AWAIT_USABLE(ALL);
			assert_trace("a+7");
			AWAIT(state_of(k[0]) == KTHREAD_WAITING && state_of(k[1]) != KTHREAD_PARKED);
			assert_int_equal(sim_info(k[0]).broken_ns, 0);
			assert_int_equal(sim_info(k[1]).broken_ns, 0);
		}
		sim_replace("plan", "2,4");
		AWAIT_USABLE(0x14u);
		sim_remove("plan"); /* nothing is planned any more */
		AWAIT_USABLE(ALL);
		assert_int_equal(sim_logged("plan_file"), 0);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		for (int i = 0; i < 2; i++)
			assert_int_equal(kthread_stop(k[i]), 0);
		sim_stop();
	}
}

static void plan__written_in_place(void **state)
{
	for (enum finder by = BY_RESCAN; by < FINDERS; by++) {
		struct kthread *k;

		start(by, "plan");
		k = kthread_run(obedient, NULL, "first");
		for (int i = 0; i < 10; i++) {
			sim_put("plan", "0-2,5\n");
			AWAIT_USABLE(0x27u);
			sim_put("plan", "1-7\n");
			AWAIT_USABLE(0xfeu);
		}
		kthread_stop(k);
		sim_stop();
	}
}

static void plan__there_before_the_library(void **state)
{
	for (enum finder by = BY_RESCAN; by < FINDERS; by++) {
		struct kthread *k;

		sim_tree("numa");
		sim_put("plan", "0-3\n");
		start(by, "plan");
		k = kthread_run(obedient, NULL, "first");
		AWAIT(sim_cpus(KTHREAD_CPUS_USABLE) == 0x0f); /* the monitor's first look */
		kthread_stop(k);
		sim_stop();
	}
}

static void make_link(const char *target, const char *name)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", sim.root, name);
	assert_int_equal(symlink(target, full), 0);
}

static void move(const char *from, const char *to)
{
	char full_from[256];
	char full_to[256];

	snprintf(full_from, sizeof(full_from), "%s/%s", sim.root, from);
	snprintf(full_to, sizeof(full_to), "%s/%s", sim.root, to);
	assert_int_equal(rename(full_from, full_to), 0);
}

/* As Kubernetes writes a volume: a new directory, and one rename of the link that leads to it; then the old one goes. */
static void swap(int *turn, const char *text)
{
	char name[64];
	char data[32];

	snprintf(data, sizeof(data), "..v%d", ++*turn);
	snprintf(name, sizeof(name), "vol/%s/cpus", data);
	sim_put(name, text);
	make_link(data, "vol/..data_tmp");
	move("vol/..data_tmp", "vol/..data");
	snprintf(name, sizeof(name), "vol/..v%d", *turn - 1);
	sim_remove(name);
}

static void plan__swapped_as_a_volume_of_kubernetes(void **state)
{
	static const char *const names[] = {"vol/cpus", "vol/..data/cpus"};

	for (enum finder by = BY_RESCAN; by < FINDERS; by++) {
		for (int n = 0; n < 2; n++) {
			struct kthread *k;
			int turn = 0;

			sim_tree("numa");
			sim_put("vol/..v0/cpus", "0-7\n");
			make_link("..v0", "vol/..data");
			make_link("..data/cpus", "vol/cpus");
			start(by, names[n]);
			k = kthread_run(obedient, NULL, "first");
			sim_calm();
			for (int i = 0; i < 5; i++) {
				swap(&turn, "0-5\n");
				AWAIT_USABLE(0x3fu);
				swap(&turn, "0-3,6-7\n");
				AWAIT_USABLE(0xcfu);
			}
			kthread_stop(k);
			sim_stop();
		}
	}
}

/* The directory comes later. */
static void plan__directory_is_missing(void **state)
{
	for (enum finder by = BY_RESCAN; by < BY_INOTIFY; by++) {
		struct kthread *k;

		start(by, "etc/plan");
		k = kthread_run(obedient, NULL, "first");
		AWAIT_USABLE(ALL);
		sim_put("etc/plan", "0-6\n");
		AWAIT_USABLE(0x7fu);
		sim_remove("etc");
		AWAIT_USABLE(ALL);
		kthread_stop(k);
		sim_stop();
	}
}

/* Every one of these is logged, once, and the former plan stays. */
static void plan__malformed(void **state)
{
	static const char *const texts[] = {"", "\n", "banana\n", "0-\n", "5-3\n", "0-99\n", "8\n", "0-3;5\n"};

	for (enum finder by = BY_RESCAN; by < FINDERS; by++) {
		int logged = 0;
		struct kthread *k;

		start(by, "plan");
		k = kthread_run(obedient, NULL, "first");
		sim_replace("plan", "0-6\n");
		AWAIT_USABLE(0x7fu);
		for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
			sim_replace("plan", texts[i]);
			if (by == BY_RESCAN)
				assert_int_equal(kthread_rescan(), 0);
			logged++;
			AWAIT(sim_logged("the former plan stays") == logged);
			assert_int_equal(kthread_rescan(), 0);
			assert_int_equal(kthread_rescan(), 0);
			assert_logged("the former plan stays", logged);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0x7f);
		}
		sim_replace("plan", "all\n");
		AWAIT_USABLE(ALL);
		assert_logged("the former plan stays", logged);
		sim_remove("plan");
		sim_put("plan/not_a_file", "");
		if (by == BY_RESCAN)
			assert_int_equal(kthread_rescan(), 0);
		AWAIT(sim_logged("the former plan stays") == logged + 1);
		kthread_stop(k);
		sim_stop();
	}
}

static void plan__would_leave_nothing(void **state)
{
	for (enum finder by = BY_RESCAN; by < FINDERS; by++) {
		struct kthread *k;

		start(by, "plan");
		k = kthread_run(obedient, NULL, "first");
		sim_calm();
		sim_online(0x0f);
		assert_int_equal(kthread_rescan(), 0);
		sim_replace("plan", "4-7\n");
		AWAIT_USABLE(0x08u); /* the last one stays */
		AWAIT(sim_logged("plan_file: CPU 3 cannot be given up: nothing would be left") == 1);
		assert_int_equal(kthread_rescan(), 0);
		assert_logged("plan_file: CPU 3 cannot be given up", 1);
		sim_online(0x1f);
		assert_int_equal(kthread_rescan(), 0);
		AWAIT_USABLE(0x10u); /* now there is another */
		sim_online(0x0f);    /* and it goes: those that were given up are better than none */
		assert_int_equal(kthread_rescan(), 0);
		assert_true(sim_cpus(KTHREAD_CPUS_USABLE) != 0);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE) & ~0x0fu, 0);
		sim_online(ALL);
		sim_replace("plan", "0-7\n");
		assert_int_equal(kthread_rescan(), 0);
		AWAIT_USABLE(ALL);
		kthread_stop(k);
		sim_stop();
	}
}

static void plan__a_step_refuses(void **state)
{
	struct probe a = {.tag = "a", .fail_down = LAST};

	start(BY_RESCAN, "plan");
	assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
	sim_calm();
	probe_trace();
	sim_replace("plan", "0-5\n");
	AWAIT_USABLE(0xbfu);
	AWAIT(sim_logged("plan_file: CPU 7 cannot be given up") == 1); /* the end of the transition */
	assert_trace("a-6 a-7");
	assert_int_equal(kthread_rescan(), 0);
	assert_trace(""); /* not at every look */
	atomic_store(&a.fail_down, 0);
	sim_replace("plan", "0-4\n"); /* a new plan */
	AWAIT_USABLE(0x1fu);
	assert_int_equal(kthread_rescan(), 0); /* teardowns come after the view */
	assert_trace("a-5 a-7");
	atomic_store(&a.fail_up, LAST);
	sim_remove("plan");
	AWAIT_USABLE(0x7fu);
	AWAIT(sim_logged("plan_file: CPU 7 cannot be used again") == 1);
	assert_trace("a+5 a+6 a+7");
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
	sim_stop();
}

static void plan__and_calls(void **state)
{
	start(BY_RESCAN, "plan");
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	sim_replace("plan", "0-6\n");
	AWAIT_USABLE(0x77u);
	assert_int_equal(kthread_cpu_down(7, 0), 0);
	assert_int_equal(kthread_cpu_up(7, 0), 0);
	AWAIT_USABLE(0x77u); /* the plan holds it */
	sim_replace("plan", "0-2,4-7\n");
	AWAIT_USABLE(0xf7u);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	AWAIT_USABLE(0xf7u);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	sim_remove("plan");
	AWAIT_USABLE(0xf7u); /* the caller's */
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	AWAIT_USABLE(ALL);
	sim_stop();
}

/* The thread that finds the plan would have to wait for itself. */
static atomic_int result;

static int rescans(void *data)
{
	atomic_store(&result, kthread_rescan());
	return obedient(NULL);
}

static void plan__found_by_a_thread_of_that_cpu(void **state)
{
	struct kthread *k;

	start(BY_RESCAN, "plan");
	k = kthread_create(rescans, NULL, "rescans");
	assert_int_equal(kthread_set_per_cpu(k, 7), 0);
	sim_calm();
	sim_replace("plan", "0-6\n");
	atomic_store(&result, 1);
	kthread_wake(k);
	await_waiting(k);
	assert_int_equal(atomic_load(&result), 0);
	AWAIT_USABLE(0x7fu); /* by the next who looks */
	AWAIT(state_of(k) == KTHREAD_PARKED);
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

/* It has a second; then the CPU is given up without it, as if it had gone. */
static struct kthread_completion stuck, unstuck;

static int sticks(void *data)
{
	kthread_complete(&stuck);
	AWAIT_DONE(&unstuck);
	return obedient(NULL);
}

static void plan__a_thread_does_not_park(void **state)
{
	struct kthread *k;

	start(BY_RESCAN, "plan");
	kthread_init_completion(&stuck);
	kthread_init_completion(&unstuck);
	k = kthread_create(sticks, NULL, "sticks");
	assert_int_equal(kthread_set_per_cpu(k, 7), 0);
	kthread_wake(k);
	AWAIT_DONE(&stuck);
	sim_replace("plan", "0-6\n");
	AWAIT_USABLE(0x7fu);
	/* said at the end of the transition, in which the mask comes after the view */
	AWAIT(sim_logged("sticks: does not park") == 1);
	AWAIT(kthread_is_broken(k));
	kthread_complete(&unstuck);
	AWAIT(state_of(k) == KTHREAD_PARKED);
	sim_remove("plan");
	AWAIT_USABLE(ALL);
	AWAIT(state_of(k) == KTHREAD_WAITING && !kthread_is_broken(k));
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

static void plan__bad_name(void **state)
{
	struct kthread_config config = sim_config();
	char name[5000];

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	sim_tree("numa");
	config.root = sim.root;
	config.plan_file = "";
	assert_int_equal(kthread_init(&config), -EINVAL);
	config.plan_file = name;
	assert_int_equal(kthread_init(&config), -EINVAL);
	config.plan_file = "nowhere/to/be/found";
	sim_start(&config);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	assert_int_equal(kthread_rescan(), 0);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plan__announced),
	    cmocka_unit_test(plan__written_in_place),
	    cmocka_unit_test(plan__there_before_the_library),
	    cmocka_unit_test(plan__swapped_as_a_volume_of_kubernetes),
	    cmocka_unit_test(plan__directory_is_missing),
	    cmocka_unit_test(plan__malformed),
	    cmocka_unit_test(plan__would_leave_nothing),
	    cmocka_unit_test(plan__a_step_refuses),
	    cmocka_unit_test(plan__and_calls),
	    cmocka_unit_test(plan__found_by_a_thread_of_that_cpu),
	    cmocka_unit_test(plan__a_thread_does_not_park),
	    cmocka_unit_test(plan__bad_name),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
