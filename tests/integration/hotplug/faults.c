/* SPDX-License-Identifier: MIT */
/*
 * No memory, no threads, a kernel that refuses to move a thread: what was asked for fails, and all is as before.
 */
#include "../gate.h"
#include "probe.h"
#include "thread/thread.h"

#define ALL 0xffu
#define CPUS 8

/* ---- what is wrapped --------------------------------------------------------------------------------------------- */

static pid_t faulty;            /* the thread whose calls fail */
static atomic_int left = -1;    /* calls before one fails; -1 = none does */
static _Atomic pid_t unmovable; /* the kernel lets nobody take CPU 1 from it */

static bool fails(void)
{
	return atomic_load(&left) >= 0 && gettid() == faulty && atomic_fetch_sub(&left, 1) == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
int __real_sched_setaffinity(pid_t pid, size_t setsize, const cpu_set_t *set);

void *__wrap_malloc(size_t size)
{
	if (!fails())
		return __real_malloc(size);
	errno = ENOMEM;
	return NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
	if (!fails())
		return __real_calloc(count, size);
	errno = ENOMEM;
	return NULL;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	return fails() ? EAGAIN : gate_pthread_create(thread, attr, fn, arg);
}

int __wrap_sched_setaffinity(pid_t pid, size_t setsize, const cpu_set_t *set)
{
	if ((pid ? pid : gettid()) == atomic_load(&unmovable) && !CPU_ISSET_S(1, setsize, set)) {
		errno = EPERM;
		return -1;
	}
	return __real_sched_setaffinity(pid, setsize, set);
}

/* Call it with ever more calls that succeed before one fails, until none does; `check` after an error, `undo` after a
 * success in spite of a failure. */
#define WITH_EACH_FAILURE(call, check, undo) \
	do { \
		bool failed = true; \
		int errors = 0; \
		faulty = gettid(); \
		for (int count = 0; failed; count++) { \
			int result; \
			atomic_store(&left, count); \
			result = (call); \
			failed = atomic_exchange(&left, -1) < 0; \
			if (result < 0) { \
				assert_true(failed && (result == -ENOMEM || result == -EAGAIN)); \
				check; \
				errors++; \
			} else if (failed) { \
				undo; \
			} \
		} \
		assert_true(errors > 0); \
	} while (0)

/* ---- memory and threads ------------------------------------------------------------------------------------------ */

static bool no(unsigned int cpu, void *arg)
{
	return false;
}

static atomic_int calls, creates;

static void counts(unsigned int cpu, void *arg)
{
	atomic_fetch_add(&calls, 1);
}

static void counts_cleanup(unsigned int cpu, bool online, void *arg)
{
	atomic_fetch_add(&calls, 1);
}

static int counts_create(unsigned int cpu, void *arg)
{
	atomic_fetch_add(&creates, 1);
	return 0;
}

static struct kthread_percpu description(void)
{
	struct kthread_percpu desc = KTHREAD_PERCPU_INIT;

	desc.name = "crew/%u";
	desc.should_run = no;
	desc.run = counts;
	desc.setup = counts;
	desc.cleanup = counts_cleanup;
	desc.create = counts_create;
	return desc;
}

static void assert_nobody(const struct kthread_percpu *desc)
{
	assert_null(desc->state);
	AWAIT(sim_task("crew") == 0); /* joined, and a moment later gone from /proc */
	assert_int_equal(atomic_load(&calls), 0);
}

static void kthread_percpu_register__without_memory_or_threads(void **state)
{
	struct kthread_percpu desc = description();
	struct kthread_percpu first = description();

	for (int another = 0; another < 2; another++) {
		sim_start(NULL);
		first.name = "first/%u";
		first.setup = NULL;
		first.cleanup = NULL;
		if (another)
			assert_int_equal(kthread_percpu_register(&first), 0);
		else
			kthread_stop(kthread_run(obedient, NULL, "first"));
		sim_calm();
		atomic_store(&calls, 0);
		WITH_EACH_FAILURE(kthread_percpu_register(&desc), assert_nobody(&desc),
		                  (kthread_percpu_unregister(&desc), atomic_store(&calls, 0)));
		for (unsigned int cpu = 0; cpu < CPUS; cpu++)
			AWAIT(state_of(kthread_percpu_thread(&desc, cpu)) == KTHREAD_WAITING);
		kthread_percpu_unregister(&desc);
		kthread_percpu_unregister(&first);
		sim_stop();
	}
}

static void kthread_cpuhp_setup__without_memory_or_threads(void **state)
{
	for (int s = KTHREAD_CPUHP_PREPARE; s <= KTHREAD_CPUHP_ONLINE; s++) {
		struct probe a = {.tag = "a"};
		struct probe b = {.tag = "b"};
		int step;

		sim_start(NULL);
		sim_online(0xf7);
		kthread_stop(kthread_run(obedient, NULL, "first"));
		sim_calm();
		WITH_EACH_FAILURE(probe_setup(&a, s), assert_int_equal(a.on, 0), kthread_cpuhp_remove(a.step));
		assert_int_equal(probe_cpus(a.step), 0xf7);
		WITH_EACH_FAILURE(step = kthread_cpuhp_setup_multi(s, "multi", probe_up, probe_down), (void)0,
		                  kthread_cpuhp_remove(step));
		WITH_EACH_FAILURE(kthread_cpuhp_add_instance(step, &b), assert_int_equal(b.on, 0),
		                  kthread_cpuhp_remove_instance(step, &b));
		probe_online(ALL);
		assert_int_equal(b.on, ALL);
		assert_int_equal(kthread_cpuhp_remove_instance(step, &b), 0);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
		assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		sim_stop();
	}
}

static void kthread_cpu_down__without_memory(void **state)
{
	struct kthread_percpu desc = description();
	struct probe a = {.tag = "a"};
	struct probe o = {.tag = "o"};
	struct kthread *k;

	desc.setup = NULL;
	desc.cleanup = NULL;
	sim_start(NULL);
	sim_online(0xdf);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
	assert_true(probe_setup(&o, KTHREAD_CPUHP_ONLINE) > 0);
	k = kthread_run_on_cpu(obedient, NULL, 3, "plain/%u");
	sim_calm();
	for (int round = 0; round < 3; round++) {
		faulty = gettid();
		for (int count = 0; count < 12; count++) {
			int error;

			atomic_store(&left, count);
			error = kthread_cpu_down(3, 0);
			atomic_store(&left, -1);
			assert_true(error == 0 || error == -ENOMEM);
			assert_int_equal(kthread_rescan(), 0);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), error ? 0xdf : 0xd7);
			assert_int_equal(probe_cpus(a.step), error ? 0xdf : 0xd7);
			assert_int_equal(probe_cpus(o.step), error ? 0xdf : 0xd7);
			assert_int_equal(kthread_is_broken(k), !error);
			assert_int_equal(kthread_cpu_down(3, 0), 0);
			atomic_store(&left, count);
			error = kthread_cpu_up(3, 0);
			atomic_store(&left, -1);
			assert_true(error == 0 || error == -ENOMEM);
			assert_int_equal(kthread_rescan(), 0);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), error ? 0xd7 : 0xdf);
			assert_int_equal(kthread_cpu_up(3, 0), 0);
			assert_int_equal(probe_cpus(o.step), 0xdf);
			AWAIT(state_of(kthread_percpu_thread(&desc, 3)) == KTHREAD_WAITING);
		}
	}
	kthread_stop(k);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	assert_int_equal(kthread_cpuhp_remove(o.step), 0);
	kthread_percpu_unregister(&desc);
	probe_trace();
	sim_stop();
}

/* ---- a thread that may not be moved ------------------------------------------------------------------------------ */

static void kthread_cpu_down__a_thread_may_not_be_moved(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct kthread_percpu desc = description();
	struct probe a = {.tag = "a"};
	struct probe o = {.tag = "o"};
	struct kthread *k;

	if (!sim_two_cpus())
		skip();
	config.log = sim_log;
	desc.setup = NULL;
	desc.cleanup = NULL;
	assert_int_equal(kthread_init(&config), 0);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	assert_true(probe_setup(&a, KTHREAD_CPUHP_PREPARE) > 0);
	assert_true(probe_setup(&o, KTHREAD_CPUHP_ONLINE) > 0);
	k = kthread_run_on_cpu(obedient, NULL, 1, "plain/%u");
	await_waiting(k);
	probe_trace();
	atomic_store(&unmovable, kthread_tid(k));
	assert_int_equal(kthread_cpu_down(1, 0), -EPERM);
	assert_trace("o-1 o+1");
	assert_true(sim_cpus(KTHREAD_CPUS_USABLE) & 2);
	assert_false(kthread_is_broken(k));
	assert_int_equal(sim_kernel_mask(kthread_tid(k)), 2);
	AWAIT(state_of(kthread_percpu_thread(&desc, 1)) == KTHREAD_WAITING);
	assert_int_equal(sim_kernel_mask(kthread_tid(kthread_percpu_thread(&desc, 1))), 2);
	atomic_store(&unmovable, 0);
	assert_int_equal(kthread_cpu_down(1, 0), 0);
	assert_trace("o-1 a-1");
	assert_false(sim_kernel_mask(kthread_tid(k)) & 2);
	assert_int_equal(kthread_cpu_up(1, 0), 0);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	assert_int_equal(kthread_cpuhp_remove(o.step), 0);
	kthread_percpu_unregister(&desc);
	kthread_stop(k);
	probe_trace();
	assert_int_equal(kthread_fini(), 0);
}

/* ---- a thread that is being made --------------------------------------------------------------------------------- */

struct giving_up {
	pthread_t thread;
	atomic_bool done;
	int error;
};

static void *give_up(void *arg)
{
	struct giving_up *giving_up = arg;

	giving_up->error = kthread_cpu_down(1, 0);
	atomic_store(&giving_up->done, true);
	return NULL;
}

/* It has its maker's mask still, and has to come to its place before the call returns. */
static void kthread_cpu_down__a_thread_is_being_made(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct giving_up giving_up = {.error = 1};
	struct kthread *born, *unborn;

	if (!sim_two_cpus())
		skip();
	assert_int_equal(kthread_init(&config), 0);
	born = kthread_run(obedient, NULL, "born"); /* and the monitor */
	await_waiting(born);
	atomic_store(&gate_shut, true);
	unborn = kthread_run(obedient, NULL, "unborn");
	assert_int_equal(__real_pthread_create(&giving_up.thread, NULL, give_up, &giving_up), 0);
	AWAIT(atomic_load(&unborn->tid) == KT_TID_AWAITED || atomic_load(&giving_up.done));
	assert_false(atomic_load(&giving_up.done));
	atomic_store(&gate_shut, false);
	pthread_join(giving_up.thread, NULL);
	assert_int_equal(giving_up.error, 0);
	assert_false(sim_kernel_mask(kthread_tid(unborn)) & 2);
	assert_int_equal(kthread_cpu_up(1, 0), 0);
	kthread_stop(born);
	kthread_stop(unborn);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_percpu_register__without_memory_or_threads),
	    cmocka_unit_test(kthread_cpuhp_setup__without_memory_or_threads),
	    cmocka_unit_test(kthread_cpu_down__without_memory),
	    cmocka_unit_test(kthread_cpu_down__a_thread_may_not_be_moved),
	    cmocka_unit_test(kthread_cpu_down__a_thread_is_being_made),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
