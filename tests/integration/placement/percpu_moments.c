/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU threads that use their own description while it is being registered, and unregistered.
 */
#include <kthread/percpu.h>

#include "hotplug/transition.h"
#include "sim.h"
#include "thread/thread.h"

enum { CPUS = 8 };

static struct kthread_percpu desc;

static bool is_kicked[CPUS];

static bool should_run(unsigned int cpu, void *arg)
{
	return __atomic_load_n(&is_kicked[cpu], __ATOMIC_ACQUIRE);
}

static void start(void)
{
	const struct kthread_config config = sim_config();

	sim_tree("numa");
	sim_start(&config);
	desc = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
	desc.name = "moment/%u";
	desc.should_run = should_run;
}

/* ---- registered, but the call has not returned ------------------------------------------------------------------- */

void __real_kt_hotplug_end(void);

static atomic_uint set_up;
static atomic_bool hold_end;

/* Until every thread has been set up. */
void __wrap_kt_hotplug_end(void)
{
	if (atomic_exchange(&hold_end, false))
		AWAIT(atomic_load(&set_up) == CPUS);
	__real_kt_hotplug_end();
}

static void no_work(unsigned int cpu, void *arg)
{
}

static void finds_itself(unsigned int cpu, void *arg)
{
	CHECK(kthread_percpu_thread(&desc, cpu) == kthread_self());
	CHECK(kthread_percpu_kick(&desc, cpu));
	atomic_fetch_add(&set_up, 1);
}

static void register__its_threads_may_use_it_at_once(void **state)
{
	start();
	desc.run = no_work;
	desc.setup = finds_itself;
	atomic_store(&hold_end, true);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	assert_false(atomic_load(&hold_end));
	kthread_percpu_unregister(&desc);
	assert_null(desc.state);
	sim_stop();
}

/* ---- some have been stopped, others run --------------------------------------------------------------------------- */

bool __real_kthread_wake(struct kthread *k);
void __real_kt_thread_free(struct kthread *k);

static _Atomic(struct kthread *) kicked;
static atomic_bool is_freed;
static struct kthread_completion kicks;

/*
 * Of the first thread by the last. All are asked to stop at once, so that says nothing of the first one; but they are
 * joined in their order: when the last one's turn has come, all others have been.
 */
bool __wrap_kthread_wake(struct kthread *k)
{
	bool woken;

	if (!kthread_self() || k != atomic_load(&kicked))
		return __real_kthread_wake(k);
	kthread_complete(&kicks);
	AWAIT(kt_word(&kthread_self()->word) & W_REAPED);
	woken = !atomic_load(&is_freed) && __real_kthread_wake(k);
	CHECK(!atomic_load(&is_freed));
	CHECK(!woken); /* it has ended */
	return woken;
}

void __wrap_kt_thread_free(struct kthread *k)
{
	if (k == atomic_load(&kicked))
		atomic_store(&is_freed, true);
	__real_kt_thread_free(k);
}

static void kick_the_first(unsigned int cpu, void *arg)
{
	CHECK(cpu == CPUS - 1);
	is_kicked[cpu] = false;
	atomic_store(&kicked, kthread_percpu_thread(&desc, 0));
	CHECK(kthread_percpu_kick(&desc, 0));
	CHECK(kthread_percpu_thread(&desc, cpu) == kthread_self());
}

static void unregister__one_kicks_another_that_has_ended(void **state)
{
	start();
	desc.run = kick_the_first;
	kthread_init_completion(&kicks);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	__atomic_store_n(&is_kicked[CPUS - 1], true, __ATOMIC_RELEASE);
	kthread_percpu_kick(&desc, CPUS - 1);
	AWAIT_DONE(&kicks);
	kthread_percpu_unregister(&desc);
	assert_true(atomic_load(&is_freed));
	assert_null(desc.state);
	sim_stop();
}

/* ---- unregistered while CPUs are away ----------------------------------------------------------------------------- */

static atomic_uint cleaned_online, cleaned_away;

static void note_cleanup(unsigned int cpu, bool online, void *arg)
{
	atomic_fetch_or(online ? &cleaned_online : &cleaned_away, 1u << cpu);
}

static void count_setup(unsigned int cpu, void *arg)
{
	atomic_fetch_add(&set_up, 1);
}

static void unregister__cleanup_is_told_which_cpus_are_there(void **state)
{
	start();
	desc.run = no_work;
	desc.setup = count_setup;
	desc.cleanup = note_cleanup;
	atomic_store(&set_up, 0);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	AWAIT(atomic_load(&set_up) == CPUS);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	sim_online(0xff & ~(1u << 5));
	assert_int_equal(kthread_rescan(), 0);
	kthread_percpu_unregister(&desc);
	assert_int_equal(atomic_load(&cleaned_away), 1u << 3 | 1u << 5);
	assert_int_equal(atomic_load(&cleaned_online), 0xff & ~(1u << 3 | 1u << 5));
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(register__its_threads_may_use_it_at_once),
	    cmocka_unit_test(unregister__one_kicks_another_that_has_ended),
	    cmocka_unit_test(unregister__cleanup_is_told_which_cpus_are_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
