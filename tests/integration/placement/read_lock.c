/* SPDX-License-Identifier: MIT */
/*
 * kthread_cpus_read_lock() and the transitions: who waits for whom, who never waits, and who is told so.
 *
 * --no-membarrier: on a kernel that has none.
 */
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "sim.h"
#include "thread/standstill.h"

/* ---- a kernel without membarrier(2) ------------------------------------------------------------------------------- */

static bool no_membarrier;
static atomic_int membarriers;

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_membarrier && no_membarrier) {
		errno = ENOSYS;
		return -1;
	}
	if (number == SYS_membarrier && a == MEMBARRIER_CMD_PRIVATE_EXPEDITED)
		atomic_fetch_add(&membarriers, 1);
	return __real_syscall(number, a, b, c, d, e, f);
}

/* ---- a moment before a wake -------------------------------------------------------------------------------------- */

static _Thread_local void (*before_wake)(void);

bool __real_kthread_wake(struct kthread *k);
bool __wrap_kthread_wake(struct kthread *k);

bool __wrap_kthread_wake(struct kthread *k)
{
	if (before_wake)
		before_wake();
	return __real_kthread_wake(k);
}

/* ---- another thread ------------------------------------------------------------------------------------------------ */

struct other {
	int (*fn)(void *arg);
	void *arg;
	pthread_t thread;
	atomic_int tid;
	atomic_bool done;
	int result;
};

static void *other_fn(void *arg)
{
	struct other *other = arg;

	atomic_store(&other->tid, gettid());
	other->result = other->fn(other->arg);
	atomic_store(&other->done, true);
	return NULL;
}

static void other_begin(struct other *other, int (*fn)(void *arg), void *arg)
{
	*other = (struct other){.fn = fn, .arg = arg};
	CHECK(pthread_create(&other->thread, NULL, other_fn, other) == 0);
}

static void assert_waits(struct other *other)
{
	AWAIT(atomic_load(&other->tid) != 0);
	await_settled(atomic_load(&other->tid));
	CHECK(!atomic_load(&other->done));
}

static int other_end(struct other *other)
{
	AWAIT(atomic_load(&other->done));
	CHECK(pthread_join(other->thread, NULL) == 0);
	return other->result;
}

static int reads(void *arg)
{
	(void)arg;
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	return 0;
}

static int tries(void *arg)
{
	const bool got = kthread_cpus_read_trylock();

	(void)arg;
	if (got)
		kthread_cpus_read_unlock();
	return got;
}

static int another_tries(void)
{
	struct other other;

	other_begin(&other, tries, NULL);
	return other_end(&other);
}

/* ---- transitions, as calls ----------------------------------------------------------------------------------------- */

/* Something lasts until it is let go on. */
struct stay {
	atomic_int tid; /* != 0: we are there */
	atomic_bool go_on;
};

static void stay(struct stay *here)
{
	atomic_store(&here->tid, gettid());
	AWAIT(atomic_load(&here->go_on));
}

static int stay_in_callback(unsigned int cpu, void *arg)
{
	struct stay *here = arg;

	(void)cpu;
	if (!atomic_load(&here->go_on))
		stay(here);
	return 0;
}

static int nothing(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	return 0;
}

static bool no_work(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	return false;
}

static void no_run(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
}

static struct kthread_percpu idle_threads = {
    .size = sizeof(struct kthread_percpu), .name = "idle/%u", .should_run = no_work, .run = no_run};
static int a_step;
static int a_multi;

static int call_rescan(void *arg)
{
	(void)arg;
	return kthread_rescan();
}

static int call_housekeeping(void *arg)
{
	(void)arg;
	return kthread_housekeeping_set(0, NULL);
}

static int call_setup(void *arg)
{
	const int step = kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "a", nothing, nothing, arg);

	if (step > 0)
		a_step = step;
	return step > 0 ? 0 : step;
}

static int call_setup_nocalls(void *arg)
{
	const int step = kthread_cpuhp_setup_nocalls(KTHREAD_CPUHP_PREPARE, "b", nothing, nothing, arg);

	return step > 0 ? kthread_cpuhp_remove_nocalls(step) : step;
}

static int call_remove(void *arg)
{
	(void)arg;
	return kthread_cpuhp_remove(a_step);
}

static int call_setup_multi(void *arg)
{
	const int step = kthread_cpuhp_setup_multi(KTHREAD_CPUHP_PREPARE, "m", nothing, nothing);

	(void)arg;
	if (step > 0)
		a_multi = step;
	return step > 0 ? 0 : step;
}

static int call_add(void *arg)
{
	(void)arg;
	return kthread_cpuhp_add_instance(a_multi, &a_multi);
}

static int call_remove_instance(void *arg)
{
	(void)arg;
	return kthread_cpuhp_remove_instance(a_multi, &a_multi);
}

static int call_add_nocalls(void *arg)
{
	(void)arg;
	return kthread_cpuhp_add_instance_nocalls(a_multi, &a_multi);
}

static int call_remove_instance_nocalls(void *arg)
{
	(void)arg;
	return kthread_cpuhp_remove_instance_nocalls(a_multi, &a_multi);
}

static int call_remove_multi(void *arg)
{
	(void)arg;
	return kthread_cpuhp_remove_nocalls(a_multi);
}

static int call_down(void *arg)
{
	(void)arg;
	return kthread_cpu_down(3, 0);
}

static int call_up(void *arg)
{
	(void)arg;
	return kthread_cpu_up(3, 0);
}

static int call_register(void *arg)
{
	(void)arg;
	return kthread_percpu_register(&idle_threads);
}

static int call_unregister(void *arg)
{
	(void)arg;
	kthread_percpu_unregister(&idle_threads);
	return idle_threads.state ? -EDEADLK : 0;
}

/* In an order in which each of them works. */
static int (*const transitions[])(void *arg) = {
    call_rescan,
    call_housekeeping,
    call_setup,
    call_setup_nocalls,
    call_setup_multi,
    call_add,
    call_down,
    call_up,
    call_remove_instance,
    call_add_nocalls,
    call_remove_instance_nocalls,
    call_remove,
    call_remove_multi,
    call_register,
    call_unregister,
};
#define TRANSITIONS (sizeof(transitions) / sizeof(transitions[0]))

static void start(void)
{
	sim_start(NULL);
	assert_int_equal(call_setup(NULL), 0); /* the monitor and the thread of ONLINE steps are there */
	assert_int_equal(call_remove(NULL), 0);
	sim_calm();
}

/* ---- one waits for the other --------------------------------------------------------------------------------------- */

static void read_lock__keeps_transitions_out(void **state)
{
	start();
	for (size_t i = 0; i < TRANSITIONS; i++) {
		struct other other;

		kthread_cpus_read_lock();
		assert_int_equal(another_tries(), true); /* readers share */
		kthread_cpus_read_lock();
		other_begin(&other, transitions[i], NULL);
		assert_waits(&other);
		assert_int_equal(another_tries(), false); /* new ones are kept out now */
		kthread_cpus_read_lock();                 /* but not those who are inside */
		assert_true(kthread_cpus_read_trylock());
		kthread_cpus_read_unlock();
		kthread_cpus_read_unlock();
		kthread_cpus_read_unlock();
		assert_waits(&other);
		kthread_cpus_read_unlock();
		if (other_end(&other) != 0)
			fail_msg("transition %zu: %d", i, other.result);
	}
	assert_int_equal(atomic_load(&membarriers) > 0, !no_membarrier);
	sim_stop();
}

static void read_lock__waits_for_a_callback(void **state)
{
	start();
	for (int section = KTHREAD_CPUHP_PREPARE; section <= KTHREAD_CPUHP_ONLINE; section++) {
		struct stay here = {.go_on = true};
		const int step = kthread_cpuhp_setup(section, "stays", NULL, stay_in_callback, &here);
		struct other transition;
		struct other reader;

		assert_true(step > 0);
		atomic_store(&here.go_on, false);
		other_begin(&transition, call_down, NULL);
		AWAIT(atomic_load(&here.tid) != 0);
		assert_false(kthread_cpus_read_trylock());
		other_begin(&reader, reads, NULL);
		assert_waits(&reader);
		atomic_store(&here.go_on, true);
		assert_int_equal(other_end(&reader), 0);
		assert_int_equal(other_end(&transition), 0);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
	}
	sim_stop();
}

static void read_unlock__too_often_is_nothing(void **state)
{
	start();
	kthread_cpus_read_unlock();
	kthread_cpus_read_lock();
	kthread_cpus_read_unlock();
	kthread_cpus_read_unlock();
	kthread_cpus_read_lock();
	assert_int_equal(kthread_rescan(), -EDEADLK);
	kthread_cpus_read_unlock();
	assert_int_equal(kthread_rescan(), 0);
	sim_stop();
}

/* ---- who is told that it would wait for itself ------------------------------------------------------------------------ */

static void refuses_all(void)
{
	kthread_percpu_unregister(&idle_threads);
	CHECK(idle_threads.state);
	for (size_t i = 0; i < TRANSITIONS; i++) {
		if (transitions[i] == call_register)
			continue; /* it is registered */
		if (transitions[i](NULL) != -EDEADLK) {
			fprintf(stderr, "transition %zu is not refused\n", i);
			abort();
		}
	}
	CHECK(kthread_fini() == -EDEADLK);
}

static int refuses_in_callback(unsigned int cpu, void *arg)
{
	struct kthread_percpu desc = KTHREAD_PERCPU_INIT;
	cpu_set_t set;

	desc.name = "none/%u";
	desc.should_run = no_work;
	desc.run = no_run;
	refuses_all();
	CHECK(kthread_percpu_register(&desc) == -EDEADLK);
	/* without effect */
	kthread_cpus_read_lock();
	CHECK(kthread_cpus_read_trylock());
	kthread_cpus_read_unlock();
	kthread_cpus_read_unlock();
	refuses_all();
	CHECK(kthread_cpuhp_cpus(a_multi, sizeof(set), &set) == 0);
	CHECK(kthread_cpuhp_failures(a_multi) == 0);
	CHECK(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(set), &set) == 0);
	atomic_fetch_or((atomic_uint *)arg, 1u << cpu);
	return 0;
}

static void transitions__refused_to_the_holder_and_in_callbacks(void **state)
{
	atomic_uint called = 0;

	start();
	assert_int_equal(call_register(NULL), 0);
	assert_int_equal(call_setup_multi(NULL), 0);
	assert_int_equal(call_setup(NULL), 0);
	kthread_cpus_read_lock();
	refuses_all();
	kthread_cpus_read_unlock();
	for (int section = KTHREAD_CPUHP_PREPARE; section <= KTHREAD_CPUHP_ONLINE; section++) {
		const int step =
		    kthread_cpuhp_setup(section, "asks", refuses_in_callback, refuses_in_callback, &called);

		assert_true(step > 0);
		assert_int_equal(atomic_exchange(&called, 0), 0xff);
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(atomic_exchange(&called, 0), 1u << 3);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
		assert_int_equal(atomic_exchange(&called, 0), 0xff);
	}
	assert_int_equal(call_remove(NULL), 0);
	assert_int_equal(call_remove_multi(NULL), 0);
	assert_int_equal(call_unregister(NULL), 0);
	sim_stop();
}

/* ---- kthreads that wait here, and are asked to park or to stop -------------------------------------------------------- */

struct waiter {
	int (*call)(void *arg);
	atomic_int calls; /* begun */
	atomic_int ended;
	atomic_int result;
};

/* Call once, after each wake; then the ordinary life. */
static int waiter_fn(void *data)
{
	struct waiter *waiter = data;

	atomic_fetch_add(&waiter->calls, 1);
	atomic_store(&waiter->result, waiter->call(NULL));
	atomic_fetch_add(&waiter->ended, 1);
	return obedient(NULL);
}

static struct kthread *waiter_begin(struct waiter *waiter, int (*call)(void *arg))
{
	struct kthread *k;

	*waiter = (struct waiter){.call = call};
	k = kthread_run(waiter_fn, waiter, "waiter");
	assert_non_null(k);
	AWAIT(atomic_load(&waiter->calls) == 1);
	await_settled(kthread_tid(k));
	assert_int_equal(atomic_load(&waiter->ended), 0);
	return k;
}

/* A callback that parks or stops one that waits for this very transition. */
struct demand {
	struct waiter waiter;
	struct kthread *k;
	bool park;
	int result;
};

static int demands(unsigned int cpu, void *arg)
{
	struct demand *demand = arg;

	if (cpu != 3)
		return 0;
	atomic_store(&demand->waiter.calls, 0);
	kthread_wake(demand->k);
	AWAIT(atomic_load(&demand->waiter.calls) == 1);
	await_settled(kthread_tid(demand->k));
	CHECK(atomic_load(&demand->waiter.ended) == 0);
	demand->result = demand->park ? kthread_park(demand->k) : kthread_stop(demand->k);
	return 0;
}

static void asked_in_a_callback(int section, int (*call)(void *arg), bool park, int result)
{
	struct demand demand = {.waiter = {.call = call}, .park = park};
	int step;

	demand.k = kthread_create(waiter_fn, &demand.waiter, "waiter");
	assert_non_null(demand.k);
	step = kthread_cpuhp_setup(section, "demands", demands, NULL, &demand);
	assert_true(step > 0);
	assert_int_equal(demand.result, 0);
	assert_int_equal(atomic_load(&demand.waiter.ended), 1);
	assert_int_equal(atomic_load(&demand.waiter.result), result);
	if (park) {
		assert_int_equal(state_of(demand.k), KTHREAD_PARKED);
		kthread_unpark(demand.k);
		assert_int_equal(kthread_stop(demand.k), 0);
	}
	assert_int_equal(kthread_cpuhp_remove(step), 0);
}

static void asked__while_it_waits_for_a_callback(void **state)
{
	start();
	for (int i = 0; i < 4; i++) {
		asked_in_a_callback(i & 1, reads, i & 2, 0);
		asked_in_a_callback(i & 1, call_rescan, i & 2, -EDEADLK);
		asked_in_a_callback(i & 1, call_down, i & 2, -EDEADLK);
	}
	assert_int_equal(kthread_rescan(), 0);
	sim_stop();
}

/* It began its transition, and waits for us to leave; readers who have come meanwhile wait for it. */
static void asked_before_the_readers_left(bool park, bool another)
{
	struct waiter waiter;
	struct other reader;
	struct kthread *k;

	kthread_cpus_read_lock();
	k = waiter_begin(&waiter, call_down);
	if (another) {
		other_begin(&reader, reads, NULL);
		assert_waits(&reader);
	}
	assert_int_equal(park ? kthread_park(k) : kthread_stop(k), 0);
	assert_int_equal(atomic_load(&waiter.result), -EDEADLK);
	if (another)
		assert_int_equal(other_end(&reader), 0); /* nobody is on the way any more */
	kthread_cpus_read_unlock();
	if (park)
		assert_int_equal(kthread_stop(k), 0);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xff);
}

static void asked__while_its_transition_waits_for_a_reader(void **state)
{
	start();
	for (int i = 0; i < 4; i++)
		asked_before_the_readers_left(i & 1, i & 2);
	sim_stop();
}

/* ---- per-CPU threads that read ------------------------------------------------------------------------------------------ */

static struct {
	atomic_bool wants[8];  /* its next run reads */
	atomic_int before[8];  /* the tid of a thread that goes into the read lock */
	atomic_int after[8];   /* how many have come out */
	atomic_int self_asked; /* what run got from kthread_cpu_down() */
	bool nested;
} work;

static bool wants_to_read(unsigned int cpu, void *arg)
{
	(void)arg;
	return atomic_load(&work.wants[cpu]);
}

static void run_reads(unsigned int cpu, void *arg)
{
	(void)arg;
	atomic_store(&work.wants[cpu], false);
	atomic_store(&work.before[cpu], gettid());
	kthread_cpus_read_lock();
	kthread_cpus_read_lock();
	atomic_fetch_add(&work.after[cpu], 1);
	kthread_cpus_read_unlock();
	kthread_cpus_read_unlock();
}

static void run_asks(unsigned int cpu, void *arg)
{
	(void)arg;
	atomic_store(&work.wants[cpu], false);
	atomic_store(&work.self_asked, kthread_cpu_down(cpu, 0));
	atomic_fetch_add(&work.after[cpu], 1);
}

static struct kthread_percpu readers_of(void (*run)(unsigned int cpu, void *arg))
{
	struct kthread_percpu desc = KTHREAD_PERCPU_INIT;

	memset(&work, 0, sizeof(work));
	desc.name = "reader/%u";
	desc.should_run = wants_to_read;
	desc.run = run;
	return desc;
}

/* A teardown before the threads park: the one of this CPU goes to wait for us. */
static int have_it_wait(unsigned int cpu, void *arg)
{
	atomic_store(&work.before[cpu], 0);
	atomic_store(&work.wants[cpu], true);
	kthread_percpu_kick(arg, cpu);
	AWAIT(atomic_load(&work.before[cpu]) != 0);
	await_settled(atomic_load(&work.before[cpu]));
	CHECK(atomic_load(&work.after[cpu]) == 0);
	return 0;
}

static void cpu_down__while_its_thread_waits_for_the_read_lock(void **state)
{
	struct kthread_percpu desc;
	int step;

	start();
	desc = readers_of(run_reads);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	step = kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "before", NULL, have_it_wait, &desc);
	assert_true(step > 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(atomic_exchange(&work.after[3], 0), 1);
		assert_int_equal(state_of(kthread_percpu_thread(&desc, 3)), KTHREAD_PARKED);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
	}
	assert_int_equal(kthread_cpuhp_remove_nocalls(step), 0);
	kthread_percpu_unregister(&desc);
	sim_stop();
}

/* Every run reads, all the time, while CPUs go and come and at last the threads go. */
static bool always(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	return true;
}

static void percpu_unregister__of_threads_that_read_all_the_time(void **state)
{
	start();
	for (int i = 0; i < 20; i++) {
		struct kthread_percpu desc = readers_of(run_reads);

		desc.should_run = always;
		assert_int_equal(kthread_percpu_register(&desc), 0);
		for (unsigned int cpu = 1; cpu < 4; cpu++) {
			assert_int_equal(kthread_cpu_down(cpu, 0), 0);
			assert_int_equal(kthread_cpu_up(cpu, 0), 0);
		}
		kthread_percpu_unregister(&desc);
		assert_null(desc.state);
	}
	sim_stop();
}

static void cpu_down__asked_by_the_thread_that_would_have_to_park(void **state)
{
	struct kthread_percpu desc;

	start();
	desc = readers_of(run_asks);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	atomic_store(&work.wants[3], true);
	kthread_percpu_kick(&desc, 3);
	AWAIT(atomic_load(&work.after[3]) == 1);
	assert_int_equal(atomic_load(&work.self_asked), -EDEADLK);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xff);
	kthread_percpu_unregister(&desc);
	sim_stop();
}

/* ---- threads that end ---------------------------------------------------------------------------------------------------- */

static int leaves_it_locked(void *data)
{
	kthread_cpus_read_lock();
	kthread_cpus_read_lock();
	if (data)
		stay(data);
	return 0;
}

static void thread_end__gives_the_lock_up(void **state)
{
	struct stay here = {0};
	struct other holder;
	struct other transition;
	struct kthread *k;

	start();
	other_begin(&holder, leaves_it_locked, &here);
	AWAIT(atomic_load(&here.tid) != 0);
	other_begin(&transition, call_down, NULL);
	assert_waits(&transition);
	atomic_store(&here.go_on, true);
	assert_int_equal(other_end(&transition), 0);
	assert_int_equal(other_end(&holder), 0);
	k = kthread_run(leaves_it_locked, NULL, "holder");
	assert_non_null(k);
	AWAIT(state_of(k) == KTHREAD_EXITED);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

enum { EARLY, LATE };
static pthread_key_t keys[2]; /* their destructors run before and after the library's */
enum at_end { READS, UNLOCKS, LOCKS, AT_ENDS };
static enum at_end at_end[2];

static void at_thread_end(int which)
{
	if (at_end[which] != UNLOCKS)
		kthread_cpus_read_lock();
	if (at_end[which] != LOCKS)
		kthread_cpus_read_unlock();
}

static void early(void *arg)
{
	(void)arg;
	at_thread_end(EARLY);
}

static void late(void *arg)
{
	(void)arg;
	at_thread_end(LATE);
}

static int leaves_it_to_destructors(void *arg)
{
	CHECK(pthread_setspecific(keys[EARLY], &keys) == 0);
	CHECK(pthread_setspecific(keys[LATE], &keys) == 0);
	if (arg)
		kthread_cpus_read_lock();
	return 0;
}

static int ignored;

static void destructors__that_read(void **state)
{
	start();
	reads(NULL);
	assert_int_equal(pthread_key_create(&keys[LATE], late), 0); /* glibc's come in the order of their making */
	for (int i = 0; i < AT_ENDS * AT_ENDS * 2; i++) {
		struct other other;

		at_end[EARLY] = (enum at_end)(i % AT_ENDS);
		at_end[LATE] = (enum at_end)(i / AT_ENDS % AT_ENDS);
		/* what nobody gives up after the library's destructor stays: there is nobody left to notice */
		if (at_end[LATE] == LOCKS)
			continue;
		other_begin(&other, leaves_it_to_destructors, i / AT_ENDS / AT_ENDS ? &ignored : NULL);
		assert_int_equal(other_end(&other), 0);
		other_begin(&other, call_rescan, NULL);
		assert_int_equal(other_end(&other), 0);
		kthread_cpus_read_lock();
		assert_int_equal(kthread_rescan(), -EDEADLK);
		kthread_cpus_read_unlock();
	}
	assert_int_equal(pthread_key_delete(keys[LATE]), 0);
	sim_stop();
}

/* ---- fork ------------------------------------------------------------------------------------------------------------------ */

/* ThreadSanitizer takes a new thread of a child for one of its parent's; AddressSanitizer may hang in its allocator. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NO_THREADS_AFTER_FORK 1
#elif defined(__has_feature)
#define NO_THREADS_AFTER_FORK (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define NO_THREADS_AFTER_FORK 0
#endif

static int transition_of_another(void *arg)
{
	const int error = kt_transition_try();

	(void)arg;
	if (!error)
		kt_transition_end();
	return error;
}

/* What another thread of the child finds. */
static int found_by_another(int expected)
{
	struct other other;

	if (NO_THREADS_AFTER_FORK)
		return expected;
	other_begin(&other, transition_of_another, NULL);
	return other_end(&other);
}

static int child_reads(void *arg)
{
	const bool holds = arg;
	struct kthread_config config = sim_config();

	EXPECT(kthread_rescan() == -ECHILD);
	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	if (holds) { /* as its parent does */
		EXPECT(kthread_rescan() == -EDEADLK);
		EXPECT(found_by_another(-EBUSY) == -EBUSY);
		kthread_cpus_read_unlock();
	}
	EXPECT(found_by_another(0) == 0);
	EXPECT(kthread_rescan() == 0);
	kthread_cpus_read_lock();
	EXPECT(kthread_rescan() == -EDEADLK);
	EXPECT(kthread_cpus_read_trylock());
	kthread_cpus_read_unlock();
	kthread_cpus_read_unlock();
	EXPECT(kthread_rescan() == 0);
	return 0;
}

static void fork__with_readers(void **state)
{
	struct stay here = {0};
	struct other reader;

	start();
	other_begin(&reader, leaves_it_locked, &here);
	AWAIT(atomic_load(&here.tid) != 0);
	assert_int_equal(in_child(child_reads, NULL), 0);
	kthread_cpus_read_lock();
	assert_int_equal(in_child(child_reads, &ignored), 0);
	kthread_cpus_read_unlock();
	atomic_store(&here.go_on, true);
	assert_int_equal(other_end(&reader), 0);
	assert_int_equal(kthread_rescan(), 0);
	sim_stop();
}

static void fork__during_a_transition(void **state)
{
	struct other transition;
	struct other another;

	start();
	for (int section = KTHREAD_CPUHP_PREPARE; section <= KTHREAD_CPUHP_ONLINE; section++) {
		struct stay here = {.go_on = true};
		const int step = kthread_cpuhp_setup(section, "stays", NULL, stay_in_callback, &here);

		atomic_store(&here.go_on, false);
		other_begin(&transition, call_down, NULL);
		AWAIT(atomic_load(&here.tid) != 0);
		other_begin(&another, call_rescan, NULL);
		assert_waits(&another);
		assert_int_equal(in_child(child_reads, NULL), 0);
		atomic_store(&here.go_on, true);
		assert_int_equal(other_end(&transition), 0);
		assert_int_equal(other_end(&another), 0);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_int_equal(kthread_cpuhp_remove(step), 0);
	}
	sim_stop();
}

/* A job for the thread of ONLINE steps has been put down, and it has not taken it up. */
static struct stay job_put_down;
static atomic_int jobs_called;

static void stay_before_wake(void)
{
	before_wake = NULL;
	stay(&job_put_down);
}

static int job(unsigned int cpu, void *arg)
{
	(void)cpu;
	(void)arg;
	atomic_fetch_add(&jobs_called, 1);
	return 0;
}

static int setup_a_job(void *arg)
{
	int step;

	(void)arg;
	before_wake = stay_before_wake;
	step = kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "job", job, NULL, NULL);
	return step > 0 ? kthread_cpuhp_remove(step) : step;
}

static int child_has_no_job(void *arg)
{
	struct kthread_config config = sim_config();

	(void)arg;
	config.root = sim.root;
	EXPECT(kthread_init(&config) == 0);
	EXPECT(kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "of the child", NULL, NULL, NULL) > 0);
	EXPECT(kthread_fini() == 0);
	EXPECT(atomic_load(&jobs_called) == 0);
	return 0;
}

static void fork__before_an_online_job_is_taken_up(void **state)
{
	struct other transition;

	if (NO_THREADS_AFTER_FORK)
		skip();
	start();
	other_begin(&transition, setup_a_job, NULL);
	AWAIT(atomic_load(&job_put_down.tid) != 0);
	assert_int_equal(in_child(child_has_no_job, NULL), 0);
	atomic_store(&job_put_down.go_on, true);
	assert_int_equal(other_end(&transition), 0);
	assert_int_equal(atomic_load(&jobs_called), 8);
	sim_stop();
}

/* ---- many of them ------------------------------------------------------------------------------------------------------------ */

enum { WRITERS = 2, READERS = 3 };

static struct {
	unsigned long a, b; /* not atomic: whom the lock does not keep apart is a race */
	atomic_int writing;
	unsigned int turns;
} shared;

static void look(void)
{
	const unsigned long a = *(volatile unsigned long *)&shared.a;

	for (volatile int i = 0; i < 20; i++)
		continue;
	CHECK(*(volatile unsigned long *)&shared.b == a);
}

static int writes(void *arg)
{
	unsigned int done = 0;

	(void)arg;
	while (done < shared.turns) {
		const int error = done % 4 == 0 ? kt_transition_try() : kt_transition_begin(UINT64_MAX);

		CHECK(error == 0 || (done % 4 == 0 && error == -EBUSY));
		if (error) {
			sched_yield();
			continue;
		}
		shared.a++;
		if (done % 8 == 0)
			sched_yield();
		shared.b++;
		kt_transition_end();
		done++;
	}
	atomic_fetch_sub(&shared.writing, 1);
	return 0;
}

static int reads_on(void *arg)
{
	unsigned long turn = 0;

	(void)arg;
	for (; atomic_load(&shared.writing) > 0 || turn < 100; turn++) {
		if (turn % 4 == 0) {
			if (!kthread_cpus_read_trylock())
				continue;
		} else {
			kthread_cpus_read_lock();
		}
		look();
		kthread_cpus_read_lock();
		look();
		kthread_cpus_read_unlock();
		look();
		kthread_cpus_read_unlock();
	}
	return 0;
}

static void read_lock__many_readers_and_writers(void **state)
{
	struct other others[WRITERS + READERS];

	shared.turns = 300;
	atomic_store(&shared.writing, WRITERS);
	for (int i = 0; i < WRITERS + READERS; i++)
		other_begin(&others[i], i < WRITERS ? writes : reads_on, NULL);
	for (int i = 0; i < WRITERS + READERS; i++)
		assert_int_equal(other_end(&others[i]), 0);
	assert_int_equal(shared.a, WRITERS * shared.turns);
	assert_int_equal(shared.b, shared.a);
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read_lock__keeps_transitions_out),
	    cmocka_unit_test(read_lock__waits_for_a_callback),
	    cmocka_unit_test(read_unlock__too_often_is_nothing),
	    cmocka_unit_test(transitions__refused_to_the_holder_and_in_callbacks),
	    cmocka_unit_test(asked__while_it_waits_for_a_callback),
	    cmocka_unit_test(asked__while_its_transition_waits_for_a_reader),
	    cmocka_unit_test(cpu_down__while_its_thread_waits_for_the_read_lock),
	    cmocka_unit_test(percpu_unregister__of_threads_that_read_all_the_time),
	    cmocka_unit_test(cpu_down__asked_by_the_thread_that_would_have_to_park),
	    cmocka_unit_test(thread_end__gives_the_lock_up),
	    cmocka_unit_test(destructors__that_read),
	    cmocka_unit_test(fork__with_readers),
	    cmocka_unit_test(fork__during_a_transition),
	    cmocka_unit_test(fork__before_an_online_job_is_taken_up),
	    cmocka_unit_test(read_lock__many_readers_and_writers),
	};

	no_membarrier = argc > 1 && strcmp(argv[1], "--no-membarrier") == 0;
	/* before the first look at the lock, which makes the library's key */
	if (pthread_key_create(&keys[EARLY], early) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
