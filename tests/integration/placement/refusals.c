/* SPDX-License-Identifier: MIT */
/*
 * A kernel that refuses masks, on an invented machine: what is refused for a moment is tried again, and nobody goes on
 * where he must not meanwhile; what is refused for good is not tried for ever.
 */
#include <kthread/hotplug.h>
#include <pthread.h>

#include "placement/placement.h"
#include "sim.h"

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

struct task {
	pid_t tid;
	unsigned int cpus;   /* its mask */
	int told;            /* how often it was given one */
	int self_refusals;   /* how often it was refused what it asked for itself */
	int error;           /* for this one */
	int late;            /* so many masks of one CPU are refused */
	void (*asked)(void); /* called once, before the next answer */
};

static struct {
	pthread_mutex_t lock;
	int error;            /* for everybody */
	atomic_bool self_may; /* but for a thread that asks for itself */
	struct task tasks[16];
} kernel = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct task *task_locked(pid_t tid)
{
	size_t i = 0;

	while (kernel.tasks[i].tid && kernel.tasks[i].tid != tid)
		CHECK(++i < sizeof(kernel.tasks) / sizeof(kernel.tasks[0]));
	kernel.tasks[i].tid = tid;
	return &kernel.tasks[i];
}

static struct task task(pid_t tid)
{
	struct task copy;

	pthread_mutex_lock(&kernel.lock);
	copy = *task_locked(tid);
	pthread_mutex_unlock(&kernel.lock);
	return copy;
}

static void refuse(pid_t tid, int error)
{
	pthread_mutex_lock(&kernel.lock);
	if (tid)
		task_locked(tid)->error = error;
	else
		kernel.error = error;
	pthread_mutex_unlock(&kernel.lock);
}

static bool one_cpu(const cpu_set_t *set)
{
	unsigned int cpus;

	memcpy(&cpus, set, sizeof(cpus));
	return __builtin_popcount(cpus) == 1;
}

static int answer_locked(struct task *task, bool itself, const cpu_set_t *set)
{
	const int lateness = task->late > 0 && one_cpu(set) ? EINVAL : 0;
	const int error = lateness                                  ? lateness
	                  : task->error                             ? task->error
	                  : itself && atomic_load(&kernel.self_may) ? 0
	                                                            : kernel.error;

	task->late -= lateness != 0;
	if (error) {
		task->self_refusals += itself;
		CHECK(task->self_refusals < 1000); /* it asks for ever */
		errno = error;
		return -1;
	}
	task->told++;
	memcpy(&task->cpus, set, sizeof(task->cpus));
	return 0;
}

int __wrap_sched_setaffinity(pid_t tid, size_t setsize, const cpu_set_t *set)
{
	const pid_t whose = tid ? tid : gettid();
	void (*asked)(void);
	struct task *task;
	int result;

	pthread_mutex_lock(&kernel.lock);
	task = task_locked(whose);
	asked = task->asked;
	task->asked = NULL;
	pthread_mutex_unlock(&kernel.lock);
	if (asked)
		asked();
	pthread_mutex_lock(&kernel.lock);
	result = answer_locked(task, whose == gettid(), set);
	pthread_mutex_unlock(&kernel.lock);
	return result;
}

int __wrap_sched_getaffinity(pid_t tid, size_t setsize, cpu_set_t *set)
{
	const unsigned int cpus = task(tid ? tid : gettid()).cpus;

	memset(set, 0, setsize);
	memcpy(set, &cpus, sizeof(cpus));
	return 0;
}

/* ---- the library ------------------------------------------------------------------------------------------------- */

#define ALL 0xffu
#define MINE 0x08u

static void start(void)
{
	struct kthread_config config = sim_config();

	memset(kernel.tasks, 0, sizeof(kernel.tasks)); /* tids come again */
	config.simulate = false;
	sim_start(&config);
}

/* Look for what has changed, and at nobody else but those that are doubted. True if the kernel took it all. */
static bool look(void)
{
	bool settled;

	assert_int_equal(kt_placement_look(KT_DOUBT_NONE, NULL, &settled), 0);
	return settled;
}

static bool online(unsigned int cpus)
{
	sim_online(cpus);
	return look();
}

static struct kthread *monitor(void)
{
	struct kthread *k = NULL;

	while ((k = kt_registry_next(k)) && k->kind != KT_INTERNAL)
		continue;
	assert_non_null(k);
	return k;
}

static int looks(void *data)
{
	while (!kthread_bound_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		sched_yield();
	}
	return 0;
}

static int in_place(void *data)
{
	while (!kthread_should_stop())
		kthread_wait_parkable();
	return 0;
}

/* ---- refused for a moment: the CPU is there for sysfs, and not yet for the scheduler ------------------------------- */

static struct kthread *flagged(int (*fn)(void *data))
{
	struct kthread *k = kthread_create(fn, NULL, "percpu/3");

	assert_non_null(k);
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	return k;
}

static atomic_bool moved; /* threads that count their turns are where the kernel has put them: on CPU 7 */
static _Thread_local bool counts;
static atomic_ulong turns;

int __real_sched_getcpu(void);

int __wrap_sched_getcpu(void)
{
	if (!counts)
		return __real_sched_getcpu();
	return atomic_load(&moved) ? 7 : 3;
}

static int counts_turns(void *data)
{
	counts = true;
	while (!kthread_bound_should_stop())
		atomic_fetch_add(&turns, 1);
	return 0;
}

/* Its CPU goes: the scheduler does not have it any more, and sysfs does not say so yet. It is not let go elsewhere, and
 * asks until somebody says what has become of the CPU. */
static void bound_should_stop__its_cpu_is_on_its_way(void **state)
{
	struct kthread *k;
	unsigned long before;
	int asked;
	pid_t tid;

	start();
	k = kthread_run_on_cpu(counts_turns, NULL, 3, "bound/%u");
	tid = kthread_tid(k);
	AWAIT(atomic_load(&turns) > 0);
	pthread_mutex_lock(&kernel.lock);
	task_locked(tid)->error = EINVAL;
	task_locked(tid)->cpus = ALL & ~MINE;
	atomic_store(&moved, true);
	pthread_mutex_unlock(&kernel.lock);
	AWAIT(task(tid).self_refusals > 0);
	before = atomic_load(&turns);
	asked = task(tid).self_refusals;
	AWAIT(task(tid).self_refusals > asked + 20);
	assert_int_equal(atomic_load(&turns), before);
	assert_false(kthread_is_broken(k));
	sim_online(ALL & ~MINE);
	AWAIT(kthread_is_broken(k));
	AWAIT(state_of(k) == KTHREAD_WAITING);
	assert_int_equal(atomic_load(&turns), before);
	refuse(tid, 0);
	atomic_store(&moved, false);
	assert_true(online(ALL));
	AWAIT(atomic_load(&turns) > before);
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

static void per_cpu__its_cpu_is_back_and_the_mask_refused(void **state)
{
	int (*const functions[])(void *) = {obedient, in_place, looks};

	start();
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		struct kthread *k = flagged(functions[i]);
		const pid_t tid = kthread_tid(k);

		kthread_wake(k);
		AWAIT(sim_info(k).state != KTHREAD_CREATED);
		assert_true(online(ALL & ~MINE));
		AWAIT(state_of(k) == KTHREAD_PARKED);
		refuse(tid, EINVAL);
		assert_false(online(ALL));
		for (int looked = 0; looked < 3; looked++) {
			assert_int_equal(state_of(k), KTHREAD_PARKED);
			assert_true(kthread_is_broken(k));
			assert_int_equal(sim_info(k).last_error, EINVAL);
			assert_int_not_equal(sim_info(k).broken_since_ns, 0);
			assert_false(look());
		}
		refuse(tid, 0);
		assert_true(look());
		assert_int_equal(task(tid).cpus, MINE);
		assert_false(kthread_is_broken(k));
		AWAIT(state_of(k) != KTHREAD_PARKED);
		kthread_stop(k);
	}
	sim_stop();
}

static void bound__its_cpu_is_back_and_the_mask_refused(void **state)
{
	struct kthread *k;
	pid_t tid;

	start();
	k = kthread_run_on_cpu(looks, NULL, 3, "bound/%u");
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	tid = kthread_tid(k);
	assert_true(online(ALL & ~MINE));
	await_settled(tid); /* in kthread_bound_should_stop() */
	refuse(tid, EINVAL);
	assert_false(online(ALL));
	assert_true(kthread_is_broken(k));
	assert_false(look());
	assert_true(kthread_is_broken(k));
	await_settled(tid);
	refuse(tid, 0);
	assert_true(look());
	assert_int_equal(task(tid).cpus, MINE);
	assert_false(kthread_is_broken(k));
	kthread_stop(k);
	sim_stop();
}

/* It was whole when it was refused: not let go either. */
static void per_cpu__refused_before_it_was_there(void **state)
{
	struct kthread *k;
	pid_t tid;

	start();
	k = kthread_create(obedient, NULL, "percpu/3");
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	tid = kthread_tid(k);
	refuse(tid, EINVAL);
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	kthread_wake(k);
	AWAIT(state_of(k) == KTHREAD_PARKED);
	refuse(tid, 0);
	assert_true(look());
	assert_int_equal(task(tid).cpus, MINE);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	assert_int_equal(kthread_park(k), 0);
	refuse(tid, EINVAL);
	kthread_unpark(k); /* rebinds first, which is refused */
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	refuse(tid, 0);
	assert_true(look());
	AWAIT(state_of(k) == KTHREAD_WAITING);
	kthread_stop(k);
	sim_stop();
}

/* Its CPU goes, and the scheduler knows before sysfs says so: lost all the same. */
static void per_cpu__refused_before_its_cpu_is_seen_to_go(void **state)
{
	struct kthread *k;
	bool settled;
	pid_t tid;

	start();
	k = flagged(in_place);
	tid = kthread_tid(k);
	kthread_wake(k);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	pthread_mutex_lock(&kernel.lock);
	task_locked(tid)->cpus = ALL & ~MINE;
	pthread_mutex_unlock(&kernel.lock);
	refuse(tid, EINVAL);
	assert_int_equal(kt_placement_look(KT_DOUBT_ALL, NULL, &settled), 0);
	AWAIT(state_of(k) == KTHREAD_PARKED);
	refuse(tid, 0);
	assert_true(online(ALL & ~MINE));
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	assert_true(kthread_is_broken(k));
	assert_true(online(ALL));
	assert_false(kthread_is_broken(k));
	AWAIT(state_of(k) == KTHREAD_WAITING);
	kthread_stop(k);
	sim_stop();
}

static atomic_uint called_on; /* the mask of the thread that calls the step for CPU 3 */

static int startup(unsigned int cpu, void *arg)
{
	if (cpu == 3)
		atomic_store(&called_on, task(gettid()).cpus);
	return 0;
}

static struct kthread *internal(const char *name)
{
	struct kthread *k = NULL;

	while ((k = kt_registry_next(k)) && strcmp(k->name, name) != 0)
		continue;
	assert_non_null(k);
	return k;
}

/* An ONLINE step is called on its CPU, though that takes nobody at first. */
static void online_step__its_cpu_refuses_for_a_moment(void **state)
{
	struct kthread *k;
	int number;

	start();
	number = kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "step", startup, NULL, NULL);
	assert_true(number > 0);
	assert_int_equal(atomic_load(&called_on), MINE);
	k = internal("cpuhp");
	sim_online(ALL & ~MINE);
	assert_int_equal(kthread_rescan(), 0);
	atomic_store(&called_on, 0);
	pthread_mutex_lock(&kernel.lock);
	task_locked(kthread_tid(k))->late = 3;
	pthread_mutex_unlock(&kernel.lock);
	sim_online(ALL);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(atomic_load(&called_on), MINE);
	assert_int_equal(task(kthread_tid(k)).late, 0);
	kthread_put(k);
	assert_int_equal(kthread_cpuhp_remove(number), 0);
	sim_stop();
}

/* ---- refused while others are told --------------------------------------------------------------------------------- */

static struct kthread *late;

static void *bind_late(void *arg)
{
	CHECK(kthread_bind(late, 3) == 0);
	refuse(kthread_tid(late), 0);
	return NULL;
}

/* By a thread of its own: this one holds the lock of the place that it is telling about. */
static void bind_meanwhile(void)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, bind_late, NULL) == 0);
	pthread_join(thread, NULL);
}

/* A thread comes into a group whose members are just being told, and is refused: the look must not end in content. */
static void look__a_refusal_meanwhile_is_not_forgotten(void **state)
{
	struct kthread *k;
	struct task *first;
	bool settled;
	int told;

	start();
	k = kthread_run_on_cpu(obedient, NULL, 3, "first/%u");
	late = kthread_create(obedient, NULL, "late");
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START && sim_info(late).last_reason == KTHREAD_REASON_START);
	sim_calm();
	assert_true(look());
	refuse(kthread_tid(late), EINVAL);
	pthread_mutex_lock(&kernel.lock);
	first = task_locked(kthread_tid(k));
	first->cpus = 1; /* lost: it has to be told */
	first->asked = bind_meanwhile;
	pthread_mutex_unlock(&kernel.lock);
	assert_int_equal(kt_placement_look(KT_DOUBT_ALL, NULL, &settled), 0);
	assert_int_equal(task(kthread_tid(k)).cpus, MINE);
	assert_int_not_equal(task(kthread_tid(late)).cpus, MINE);
	assert_int_equal(sim_info(late).last_error, EINVAL);
	assert_false(settled);
	assert_true(look());
	assert_int_equal(task(kthread_tid(late)).cpus, MINE);
	assert_int_equal(sim_info(late).last_error, 0);
	told = task(kthread_tid(late)).told;
	assert_true(look()); /* and now it is content */
	assert_int_equal(task(kthread_tid(late)).told, told);
	kthread_stop(k);
	kthread_stop(late);
	sim_stop();
}

static struct kthread *ending;
static atomic_bool has_left; /* its group */

void __real_kt_group_leave(struct kt_place *place);

void __wrap_kt_group_leave(struct kt_place *place)
{
	const bool is_it = place->thread == ending;

	__real_kt_group_leave(place);
	if (is_it)
		atomic_store(&has_left, true);
}

static void *stop_it(void *arg)
{
	CHECK(kthread_stop(ending) == 0);
	return arg;
}

static pthread_t stopper;

static void end_meanwhile(void)
{
	CHECK(pthread_create(&stopper, NULL, stop_it, NULL) == 0);
	while (!atomic_load(&has_left))
		sched_yield();
}

/* A thread leaves its group while the kernel is told of its mask. */
static void look__a_thread_ends_meanwhile(void **state)
{
	bool settled;

	start();
	for (int i = 0; i < 2; i++) {
		ending = flagged(in_place);
		kthread_wake(ending);
		AWAIT(state_of(ending) == KTHREAD_WAITING);
		kthread_get(ending);
		atomic_store(&has_left, false);
		pthread_mutex_lock(&kernel.lock);
		task_locked(kthread_tid(ending))->cpus = 1; /* lost: it has to be told */
		task_locked(kthread_tid(ending))->asked = end_meanwhile;
		pthread_mutex_unlock(&kernel.lock);
		if (i)
			sim_online(ALL & ~MINE);
		assert_int_equal(kt_placement_look(KT_DOUBT_ALL, NULL, &settled), 0);
		pthread_join(stopper, NULL);
		kthread_put(ending);
	}
	sim_stop();
}

/* ---- refused for good ---------------------------------------------------------------------------------------------- */

/* A thread that was asked to place itself, and has tried: it is not asked again for that. */
static void refused__even_for_itself(void **state)
{
	int (*const functions[])(void *) = {obedient, in_place, obedient, looks};
	struct kthread *all[5];
	const int count = 5;
	int last[5];

	start();
	for (int i = 0; i < count - 1; i++) {
		all[i] = kthread_run(functions[i], NULL, "self/%d", i);
		assert_non_null(all[i]);
	}
	all[count - 1] = monitor();
	AWAIT(state_of(all[0]) == KTHREAD_WAITING && state_of(all[1]) == KTHREAD_WAITING);
	assert_int_equal(kthread_park(all[2]), 0);
	AWAIT(atomic_load(&all[3]->looks_at_its_cpu)); /* it has been born: that is a mask, too */
	sim_calm();
	refuse(0, EPERM);
	for (int i = 0; i < count; i++)
		last[i] = task(kthread_tid(all[i])).self_refusals;
	for (int round = 0; round < 10; round++) {
		assert_int_equal(sim_housekeeping(1u << round % 2), 0);
		for (int i = 0; i < count; i++) {
			const pid_t tid = kthread_tid(all[i]);

			AWAIT(task(tid).self_refusals > last[i]);
			if (functions[i % (count - 1)] != looks || i == count - 1)
				await_settled(tid);
			AWAIT(!(kt_word(&all[i]->word) & W_PLACE_SELF));
			assert_int_equal(task(tid).self_refusals, ++last[i]);
		}
	}
	refuse(0, 0);
	for (int i = 0; i < count - 1; i++)
		kthread_stop(all[i]);
	kthread_put(all[count - 1]);
	sim_stop();
}

/* Only by others: the monitor, which never comes by a wait, does it too. */
static void refused__the_monitor_places_itself(void **state)
{
	struct kthread *k;
	struct kthread *own;

	start();
	k = kthread_run(obedient, NULL, "other");
	own = monitor();
	sim_calm();
	atomic_store(&kernel.self_may, true);
	refuse(0, EPERM);
	for (int round = 0; round < 10; round++) {
		const unsigned int cpus = 1u << round % 2;

		assert_int_equal(sim_housekeeping(cpus), 0);
		AWAIT(task(kthread_tid(own)).cpus == cpus && task(kthread_tid(k)).cpus == cpus);
		AWAIT(!(kt_word(&own->word) & W_PLACE_SELF));
		await_settled(kthread_tid(own));
		assert_int_equal(task(kthread_tid(own)).self_refusals, 0);
	}
	refuse(0, 0);
	atomic_store(&kernel.self_may, false);
	kthread_put(own);
	kthread_stop(k);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(per_cpu__its_cpu_is_back_and_the_mask_refused),
	    cmocka_unit_test(bound__its_cpu_is_back_and_the_mask_refused),
	    cmocka_unit_test(per_cpu__refused_before_it_was_there),
	    cmocka_unit_test(per_cpu__refused_before_its_cpu_is_seen_to_go),
	    cmocka_unit_test(online_step__its_cpu_refuses_for_a_moment),
	    cmocka_unit_test(bound_should_stop__its_cpu_is_on_its_way),
	    cmocka_unit_test(look__a_refusal_meanwhile_is_not_forgotten),
	    cmocka_unit_test(look__a_thread_ends_meanwhile),
	    cmocka_unit_test(refused__even_for_itself),
	    cmocka_unit_test(refused__the_monitor_places_itself),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
