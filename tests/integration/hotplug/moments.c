/* SPDX-License-Identifier: MIT */
/*
 * Moments at which two things of hotplug meet: a thread that has lost its CPU and others that give theirs up, fork() in
 * the middle of that, the end of a thread, the start and the end of the library, a step that fails at every look.
 */
#include <fcntl.h>
#include <pthread.h>

#include "probe.h"

#define PREPARE KTHREAD_CPUHP_PREPARE
#define ONLINE KTHREAD_CPUHP_ONLINE
#define ALL 0xffu
#define MINE 0x08u /* CPU 3 */
#define LAST 0x80u /* CPU 7 */

/* ---- what would hang --------------------------------------------------------------------------------------------- */

static int body(void *arg)
{
	setenv("CMOCKA_TEST_ABORT", "1", 1); /* an assertion ends this process, and does not go on to the next test */
	(*(const CMUnitTestFunction *)arg)(NULL);
	return 0;
}

/* A transition that waits for ever would keep all other tests waiting. */
static void apart(void **state)
{
	assert_int_equal(in_child(body, *state), 0);
}

#define APART(fn) \
	{ \
		.name = #fn, .test_func = apart, .initial_state = (CMUnitTestFunction[]) \
		{ \
			fn \
		} \
	}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/* Obeys, but late: when it is asked to park it says so, and goes on until it is let go. */
struct late {
	struct kthread_completion asked, go;
	struct kthread *k;
};

static int obeys_late(void *data)
{
	struct late *late = data;

	while (!kthread_should_stop()) {
		if (!kthread_should_park()) {
			kthread_wait();
			continue;
		}
		kthread_complete(&late->asked);
		kthread_wait_for_completion(&late->go);
		kthread_parkme();
	}
	return 0;
}

static struct kthread *on_cpu(int (*fn)(void *data), void *data, unsigned int cpu)
{
	struct kthread *k = kthread_create_on_cpu(fn, data, cpu, "own/%u");

	assert_non_null(k);
	assert_int_equal(kthread_set_per_cpu(k, (int)cpu), 0);
	kthread_wake(k);
	await_waiting(k);
	return k;
}

static void late_come(struct late *late, unsigned int cpu)
{
	kthread_init_completion(&late->asked);
	kthread_init_completion(&late->go);
	late->k = on_cpu(obeys_late, late, cpu);
}

static struct {
	struct kthread_percpu desc;
	atomic_int setups[8], runs[8], parks[8], unparks[8];
	atomic_int work[8]; /* how often should_run says yes */
} crew;

static bool crew_should_run(unsigned int cpu, void *arg)
{
	return atomic_load(&crew.work[cpu]) > 0;
}

static void crew_run(unsigned int cpu, void *arg)
{
	atomic_fetch_sub(&crew.work[cpu], 1);
	atomic_fetch_add(&crew.runs[cpu], 1);
}

static void crew_setup(unsigned int cpu, void *arg)
{
	atomic_fetch_add(&crew.setups[cpu], 1);
}

static void crew_new(void)
{
	memset(&crew, 0, sizeof(crew));
	crew.desc = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
	crew.desc.name = "crew/%u";
	crew.desc.should_run = crew_should_run;
	crew.desc.run = crew_run;
	crew.desc.setup = crew_setup;
}

/* Every one has begun, and does what it is kicked for. */
static void crew_works(void)
{
	for (unsigned int cpu = 0; cpu < 8; cpu++) {
		AWAIT(atomic_load(&crew.setups[cpu]) == 1);
		atomic_store(&crew.work[cpu], 1);
		kthread_percpu_kick(&crew.desc, cpu);
		AWAIT(atomic_load(&crew.runs[cpu]) > 0);
	}
}

/* ---- a CPU that has vanished, and one that is given up ----------------------------------------------------------- */

static struct {
	struct kthread_completion go, done;
	int result;
} call;

static int gives_another_up(void *data)
{
	kthread_wait_for_completion(&call.go);
	call.result = kthread_cpu_down(3, 0);
	kthread_complete(&call.done);
	return obedient(NULL);
}

/* The call is what finds that: it asks its own caller to park. */
static void kthread_cpu_down__by_a_thread_whose_cpu_has_vanished(void **state)
{
	struct kthread *k;
	struct kthread *other;

	sim_start(NULL);
	kthread_init_completion(&call.go);
	kthread_init_completion(&call.done);
	other = on_cpu(obedient, NULL, 3);
	k = kthread_create_on_cpu(gives_another_up, NULL, 7, "own/%u");
	assert_int_equal(kthread_set_per_cpu(k, 7), 0);
	kthread_wake(k);
	sim_calm();
	sim_online(ALL & ~LAST);
	kthread_complete(&call.go);
	AWAIT_DONE(&call.done);
	assert_true(call.result == 0 || call.result == -EDEADLK);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~LAST & ~(call.result ? 0 : MINE));
	assert_true(call.result || state_of(other) == KTHREAD_PARKED);
	AWAIT(state_of(k) == KTHREAD_PARKED);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	probe_online(ALL);
	AWAIT(state_of(k) == KTHREAD_WAITING && state_of(other) == KTHREAD_WAITING);
	assert_int_equal(kthread_stop(k), 0);
	assert_int_equal(kthread_stop(other), 0);
	sim_stop();
}

static void kthread_cpu_down__a_thread_of_a_vanished_cpu_is_busy(void **state)
{
	struct late busy;
	struct kthread *k;

	sim_start(NULL);
	late_come(&busy, 7);
	k = on_cpu(obedient, NULL, 3);
	sim_calm();
	probe_online(ALL & ~LAST);
	AWAIT_DONE(&busy.asked);
	assert_int_equal(kthread_cpu_down(3, 0), 0); /* waits for k, and for nobody else */
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	assert_int_not_equal(state_of(busy.k), KTHREAD_PARKED);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	kthread_complete_all(&busy.go);
	AWAIT(state_of(busy.k) == KTHREAD_PARKED); /* it has not been forgotten */
	probe_online(ALL);
	AWAIT(state_of(busy.k) == KTHREAD_WAITING && state_of(k) == KTHREAD_WAITING);
	assert_int_equal(kthread_stop(busy.k), 0);
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

static struct kthread_config with_plan(const char *name)
{
	struct kthread_config config = sim_config();
	static char path[256];

	if (!sim.root[0])
		sim_tree("numa");
	snprintf(path, sizeof(path), "%s/%s", sim.root, name);
	config.plan_file = path;
	return config;
}

/* Only who is in the way of a CPU that is given up is complained of, once. */
static void plan__a_thread_of_a_vanished_cpu_is_busy(void **state)
{
	const struct kthread_config config = with_plan("plan");
	struct late vanished;
	struct late in_the_way;

	sim_start(&config);
	late_come(&vanished, 7);
	late_come(&in_the_way, 2);
	sim_calm();
	probe_online(ALL & ~LAST);
	AWAIT_DONE(&vanished.asked);
	sim_replace("plan", "0\n");
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 1);
	assert_logged("does not park, though CPU 2", 1);
	assert_logged("does not park", 1);
	kthread_complete_all(&vanished.go);
	kthread_complete_all(&in_the_way.go);
	AWAIT(state_of(vanished.k) == KTHREAD_PARKED && state_of(in_the_way.k) == KTHREAD_PARKED);
	sim_remove("plan");
	probe_online(ALL);
	AWAIT(state_of(vanished.k) == KTHREAD_WAITING && state_of(in_the_way.k) == KTHREAD_WAITING);
	assert_int_equal(kthread_stop(vanished.k), 0);
	assert_int_equal(kthread_stop(in_the_way.k), 0);
	sim_stop();
}

/* ---- fork() ------------------------------------------------------------------------------------------------------ */

static void *gives_mine_up(void *arg)
{
	CHECK(kthread_cpu_down(3, 0) == 0);
	return NULL;
}

/* The CPU that the parent's thread was waiting on is like any other here. */
static int child_of_a_transition(void *arg)
{
	struct kthread_config config = sim_config();

	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	EXPECT(sim_cpus(KTHREAD_CPUS_USABLE) == ALL);
#ifndef __SANITIZE_THREAD__ /* it takes a new thread of the child for one of its parent's */
	crew_new();
	EXPECT(kthread_percpu_register(&crew.desc) == 0);
	crew_works();
	EXPECT(kthread_cpu_down(3, 0) == 0);
	EXPECT(state_of(kthread_percpu_thread(&crew.desc, 3)) == KTHREAD_PARKED);
	EXPECT(kthread_cpu_up(3, 0) == 0);
	AWAIT(state_of(kthread_percpu_thread(&crew.desc, 3)) == KTHREAD_WAITING);
	kthread_percpu_unregister(&crew.desc);
#endif
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void fork__while_a_cpu_is_vacated(void **state)
{
	struct late late;
	pthread_t downer;

	sim_start(NULL);
	late_come(&late, 3);
	sim_calm();
	assert_int_equal(pthread_create(&downer, NULL, gives_mine_up, NULL), 0);
	AWAIT_DONE(&late.asked); /* and now it is waited for */
	assert_int_equal(in_child(child_of_a_transition, NULL), 0);
	kthread_complete_all(&late.go);
	pthread_join(downer, NULL);
	assert_int_equal(state_of(late.k), KTHREAD_PARKED);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	AWAIT(state_of(late.k) == KTHREAD_WAITING);
	assert_int_equal(kthread_stop(late.k), 0);
	sim_stop();
}

/* ---- a thread ends in a transition that waits for it, and reads once more ---------------------------------------- */

static pthread_key_t keys[2]; /* older, and newer than the library's own: their destructors are called in this order */
static pthread_key_t *ending; /* the one to be used */
static bool has_read;
static atomic_int in_destructor, destroyed;

static void reads_once_more(void *arg)
{
	atomic_fetch_add(&in_destructor, 1);
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	atomic_fetch_add(&destroyed, 1);
}

static void begin_to_end(void)
{
	if (has_read) {
		kthread_cpus_read_lock();
		kthread_cpus_read_unlock();
	}
	CHECK(pthread_setspecific(*ending, &in_destructor) == 0);
}

static void crew_ending_setup(unsigned int cpu, void *arg)
{
	begin_to_end();
	crew_setup(cpu, arg);
}

/* In a process in which nobody has read before. */
static void make_keys(void)
{
	assert_int_equal(pthread_key_create(&keys[0], reads_once_more), 0);
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	assert_int_equal(pthread_key_create(&keys[1], reads_once_more), 0);
}

static void arrange(int turn)
{
	ending = &keys[turn & 1];
	has_read = turn & 2;
	atomic_store(&in_destructor, 0);
	atomic_store(&destroyed, 0);
}

static void kthread_percpu_unregister__a_destructor_reads(void **state)
{
	make_keys();
	sim_start(NULL);
	for (int turn = 0; turn < 4; turn++) {
		arrange(turn);
		crew_new();
		crew.desc.setup = crew_ending_setup;
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		crew_works();
		kthread_percpu_unregister(&crew.desc);
		assert_null(crew.desc.state);
		assert_int_equal(atomic_load(&destroyed), 8);
	}
	sim_stop();
}

static int obedient_to_the_end(void *data)
{
	begin_to_end();
	return obedient(data);
}

static struct kthread *victim;

static int stops_the_victim(unsigned int cpu, void *arg)
{
	if (cpu == 3)
		CHECK(kthread_stop(victim) == 0);
	return 0;
}

static void kthread_stop__in_a_callback_a_destructor_reads(void **state)
{
	make_keys();
	sim_start(NULL);
	for (int turn = 0; turn < 8; turn++) {
		int step;

		arrange(turn);
		victim = kthread_run(obedient_to_the_end, NULL, "victim");
		await_waiting(victim);
		step = kthread_cpuhp_setup(turn & 4 ? ONLINE : PREPARE, "stops", stops_the_victim, NULL, NULL);
		assert_true(step > 0);
		assert_int_equal(atomic_load(&destroyed), 1);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
	}
	sim_stop();
}

static struct kthread_completion leave;

static int leaves(void *data)
{
	begin_to_end();
	kthread_wait_for_completion(&leave);
	return 0;
}

/* It has ended by itself, and is kept waiting in its destructor, when it is asked to stop. */
static int stops_what_has_ended(unsigned int cpu, void *arg)
{
	const pid_t tid = cpu == 3 ? kthread_tid(victim) : 0;

	if (!tid)
		return 0;
	kthread_complete(&leave);
	AWAIT(atomic_load(&in_destructor) == 1);
	AWAIT(atomic_load(&destroyed) == 1 || task_asleep(tid));
	CHECK(kthread_stop(victim) == 0);
	return 0;
}

static void kthread_stop__in_a_callback_a_destructor_reads_already(void **state)
{
	make_keys();
	sim_start(NULL);
	kthread_init_completion(&leave);
	for (int turn = 0; turn < 8; turn++) {
		int step;

		arrange(turn);
		victim = kthread_run(leaves, NULL, "victim");
		await_settled(kthread_tid(victim));
		step = kthread_cpuhp_setup(turn & 4 ? ONLINE : PREPARE, "stops", stops_what_has_ended, NULL, NULL);
		assert_true(step > 0);
		assert_int_equal(atomic_load(&destroyed), 1);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
	}
	sim_stop();
}

/* ---- the first thread, while somebody looks ---------------------------------------------------------------------- */

static atomic_uint rescans;
static atomic_bool over;

static void *rescan_on_and_on(void *arg)
{
	while (!atomic_load(&over)) {
		CHECK(kthread_rescan() == 0);
		atomic_fetch_add(&rescans, 1);
	}
	return NULL;
}

/* The start of the monitor, and with it of the plan. What they share for a moment only ThreadSanitizer sees each time. */
static void plan__first_thread_while_somebody_looks(void **state)
{
	const struct kthread_config config = with_plan("plan");

	sim_put("plan", "0-3\n");
	for (int i = 0; i < 200; i++) {
		pthread_t looker;
		struct kthread *k;

		sim_start(&config);
		atomic_store(&over, false);
		atomic_store(&rescans, 0);
		assert_int_equal(pthread_create(&looker, NULL, rescan_on_and_on, NULL), 0);
		AWAIT(atomic_load(&rescans) > 0); /* it has begun, and does not start anything itself */
		k = kthread_run(obedient, NULL, "first");
		assert_non_null(k);
		atomic_store(&over, true);
		pthread_join(looker, NULL);
		assert_int_equal(kthread_rescan(), 0);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0x0f);
		kthread_stop(k);
		assert_int_equal(kthread_fini(), 0);
	}
	sim_start(NULL);
	sim_stop();
}

/* ---- a relative plan_file ---------------------------------------------------------------------------------------- */

enum finder { BY_RESCAN, BY_POLL, BY_INOTIFY, FINDERS };

#define AWAIT_PLANNED(cpus) \
	do { \
		assert_true(by != BY_RESCAN || kthread_rescan() == 0); \
		AWAIT(sim_cpus(KTHREAD_CPUS_USABLE) == (cpus)); \
	} while (0)

/* As daemon(3) does, before or after the first thread. */
static void plan__relative_name_and_chdir(void **state)
{
	const int before = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(before >= 0);
	for (int turn = 0; turn < 2 * FINDERS; turn++) {
		const enum finder by = (enum finder)(turn / 2);
		struct kthread_config config = sim_config();
		struct kthread *k;

		sim_tree("numa");
		sim_put("plan", "0-6\n");
		config.plan_file = "plan";
		config.poll_ms = by == BY_POLL ? 1 : 0;
		config.inotify = by == BY_INOTIFY;
		assert_int_equal(chdir(sim.root), 0);
		sim_start(&config);
		if (turn % 2)
			assert_int_equal(chdir("/"), 0);
		k = kthread_run(obedient, NULL, "first");
		AWAIT_PLANNED(0x7fu);
		assert_int_equal(chdir("/"), 0);
		sim_replace("plan", "0-5\n");
		AWAIT_PLANNED(0x3fu);
		sim_replace("plan", "0-7\n");
		AWAIT_PLANNED(ALL);
		assert_int_equal(fchdir(before), 0);
		kthread_stop(k);
		sim_stop();
	}
	close(before);
}

/* ---- a startup that fails is called once ------------------------------------------------------------------------- */

static void looks_in_vain(void)
{
	for (int i = 0; i < 5; i++)
		assert_int_equal(kthread_rescan(), 0);
	assert_trace("");
}

static void plan__lists_a_cpu_whose_startup_fails(void **state)
{
	const struct kthread_config config = with_plan("plan");

	sim_put("plan", "0-2,4-7\n");
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a"};

		sim_start(&config);
		assert_true(probe_setup(&a, s ? ONLINE : PREPARE) > 0);
		sim_calm();
		assert_int_equal(kthread_rescan(), 0);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
		probe_trace();
		atomic_store(&a.fail_up, MINE);
		sim_replace("plan", "0-7\n");
		assert_int_equal(kthread_rescan(), 0);
		assert_trace("a+3");
		assert_logged("CPU 3 cannot be used again", 1);
		looks_in_vain();
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
		assert_logged("CPU 3 cannot be used again", 1);
		assert_int_equal(kthread_cpu_up(3, 0), -EIO); /* somebody asks for it */
		assert_trace("a+3");
		looks_in_vain();
		probe_online(ALL & ~MINE);
		assert_trace("");
		probe_online(ALL); /* it has been away */
		assert_trace("a+3");
		looks_in_vain();
		atomic_store(&a.fail_up, 0);
		looks_in_vain();
		if (s) {
			assert_int_equal(kthread_cpu_up(3, 0), 0);
		} else {
			probe_online(ALL & ~MINE);
			probe_online(ALL);
		}
		assert_trace("a+3");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
		sim_replace("plan", "0-2,4-7\n"); /* and the plan is followed as ever */
		assert_int_equal(kthread_rescan(), 0);
		assert_trace("a-3");
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		assert_int_equal(kthread_fini(), 0);
	}
	sim_start(NULL);
	sim_stop();
}

/* Nobody has given anything up, so nothing of that kind is said or undone. */
static void observed__the_only_cpu_left_fails(void **state)
{
	for (int s = 0; s < 2; s++) {
		struct probe a = {.tag = "a"};

		sim_start(NULL);
		sim_online(0x01);
		assert_true(probe_setup(&a, s ? ONLINE : PREPARE) > 0);
		sim_calm();
		assert_trace("a+0");
		atomic_store(&a.fail_up, 0x02);
		probe_online(0x02);
		assert_trace("a-0 a+1");
		looks_in_vain();
		assert_int_equal(sim_logged("given up"), 0);
		assert_logged("CPU 1 has come, but a step fails", 1);
		atomic_store(&a.fail_up, 0);
		looks_in_vain();
		assert_int_equal(kthread_cpu_up(1, 0), 0);
		assert_trace("a+1");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0x02);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		sim_stop();
	}
}

/* ---- failures that can stop nothing are counted ------------------------------------------------------------------ */

static void refuses_once(struct probe *probe, char what, unsigned int cpu)
{
	atomic_store(&probe->fail_down, 0);
}

static void kthread_cpuhp_failures__on_the_way_back(void **state)
{
	struct probe veto = {.tag = "v", .hook = refuses_once};
	struct probe back[2] = {{.tag = "p"}, {.tag = "o"}};

	sim_start(NULL);
	assert_true(probe_setup(&back[0], PREPARE) > 0);
	assert_true(probe_setup(&veto, PREPARE) > 0);
	assert_true(probe_setup(&back[1], ONLINE) > 0);
	sim_calm();
	probe_trace();
	/* From PREPARE back into ONLINE. */
	atomic_store(&veto.fail_down, MINE);
	atomic_store(&back[1].fail_up, MINE);
	assert_int_equal(kthread_cpu_down(3, 0), -EIO);
	assert_int_equal(kthread_cpuhp_failures(back[1].step), 1);
	assert_int_equal(kthread_cpuhp_failures(back[0].step), 0);
	assert_int_equal(kthread_cpuhp_failures(veto.step), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
	assert_logged("step \"o\"", 1);
	atomic_store(&back[1].fail_up, 0);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	assert_int_equal(kthread_cpuhp_failures(back[1].step), 1);
	/* From the machine, which refuses, back into PREPARE. */
	sim_remove("sys/devices/system/cpu/cpu3/online");
	atomic_store(&back[0].fail_up, MINE);
	assert_int_equal(kthread_cpu_down(3, KTHREAD_CPU_PHYSICAL), -EPERM);
	assert_int_equal(kthread_cpuhp_failures(back[0].step), 1);
	assert_int_equal(kthread_cpuhp_failures(back[1].step), 1);
	assert_int_equal(kthread_cpuhp_failures(veto.step), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
	/* What is asked for and answered is no such failure. */
	assert_int_equal(kthread_cpu_up(3, 0), -EIO);
	assert_int_equal(kthread_cpuhp_failures(back[0].step), 1);
	atomic_store(&back[0].fail_up, 0);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(kthread_cpuhp_remove(back[i].step), 0);
	assert_int_equal(kthread_cpuhp_remove(veto.step), 0);
	probe_trace();
	sim_stop();
}

/* ---- per-CPU threads that end themselves ------------------------------------------------------------------------- */

static bool always(unsigned int cpu, void *arg)
{
	return true;
}

static void ends(unsigned int cpu, void *arg)
{
	kthread_exit(0);
}

/* The library may end then, though their description is still registered. */
static void percpu__registered_in_a_former_life(void **state)
{
	enum when { WHILE_DOWN, BEFORE, AFTER, WHENS };

	for (enum when when = WHILE_DOWN; when < WHENS; when++) {
		struct kthread_percpu former = KTHREAD_PERCPU_INIT;

		former.name = "former/%u";
		former.should_run = always;
		former.run = ends;
		sim_start(NULL);
		assert_int_equal(kthread_percpu_register(&former), 0);
		for (unsigned int cpu = 0; cpu < 8; cpu++)
			AWAIT(state_of(kthread_percpu_thread(&former, cpu)) == KTHREAD_EXITED);
		AWAIT(kthread_fini() == 0);
		if (when == WHILE_DOWN) {
			kthread_percpu_unregister(&former);
			assert_int_equal(kthread_fini(), 0);
		}
		sim_start(NULL);
		if (when == BEFORE)
			kthread_percpu_unregister(&former);
		crew_new();
		assert_int_equal(kthread_percpu_register(&crew.desc), 0);
		if (when == AFTER)
			kthread_percpu_unregister(&former);
		assert_null(former.state);
		crew_works();
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(state_of(kthread_percpu_thread(&crew.desc, 3)), KTHREAD_PARKED);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_int_equal(kthread_percpu_register(&former), 0); /* it can be had again */
		kthread_percpu_unregister(&former);
		atomic_store(&crew.runs[3], 0);
		atomic_store(&crew.work[3], 1);
		kthread_percpu_kick(&crew.desc, 3);
		AWAIT(atomic_load(&crew.runs[3]) == 1);
		kthread_percpu_unregister(&crew.desc);
		sim_stop();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    APART(kthread_cpu_down__by_a_thread_whose_cpu_has_vanished),
	    APART(kthread_cpu_down__a_thread_of_a_vanished_cpu_is_busy),
	    cmocka_unit_test(plan__a_thread_of_a_vanished_cpu_is_busy),
	    cmocka_unit_test(fork__while_a_cpu_is_vacated),
	    APART(kthread_percpu_unregister__a_destructor_reads),
	    APART(kthread_stop__in_a_callback_a_destructor_reads),
	    APART(kthread_stop__in_a_callback_a_destructor_reads_already),
	    APART(plan__first_thread_while_somebody_looks),
	    cmocka_unit_test(plan__relative_name_and_chdir),
	    cmocka_unit_test(plan__lists_a_cpu_whose_startup_fails),
	    cmocka_unit_test(observed__the_only_cpu_left_fails),
	    cmocka_unit_test(kthread_cpuhp_failures__on_the_way_back),
	    cmocka_unit_test(percpu__registered_in_a_former_life),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
