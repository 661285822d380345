/* SPDX-License-Identifier: MIT */
/*
 * kthread_cpu_down() and kthread_cpu_up(): the order, who parks and who moves, what is refused; and that after a failure
 * at any position everything is as it was before, thread by thread.
 */
#include <fcntl.h>
#include <pthread.h>

#include "probe.h"

#define PREPARE KTHREAD_CPUHP_PREPARE
#define ONLINE KTHREAD_CPUHP_ONLINE
#define ALL 0xffu
#define MINE 0x08u /* CPU 3 */

/* ---- threads of every kind --------------------------------------------------------------------------------------- */

static int busy(void *data)
{
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		sched_yield();
	}
	return 0;
}

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

static bool no(unsigned int cpu, void *arg)
{
	return false;
}

static void nothing(unsigned int cpu, void *arg)
{
}

enum {
	PER_CPU,
	PER_CPU_BUSY,
	PER_CPU_PARKED,
	PER_CPU_NEW,
	LOOKS,
	PLAIN,
	PLAIN_NEW,
	PAIR,
	PREFERS,
	NODE,
	NONE,
	FOREIGN,
	CAST
};

static const bool parks[CAST] = {[PER_CPU] = true, [PER_CPU_BUSY] = true, [PER_CPU_PARKED] = true, [LOOKS] = true};

static struct {
	struct kthread *k[CAST];
	struct kthread_percpu desc;
	pthread_t foreigner;
	pid_t tid;
	struct kthread_completion ready, go;
} cast;

static void *foreigner(void *arg)
{
	cast.tid = gettid();
	kthread_complete(&cast.ready);
	kthread_wait_for_completion(&cast.go);
	return NULL;
}

static struct kthread *per_cpu(int (*fn)(void *data), const char *name)
{
	struct kthread *k = kthread_create(fn, NULL, "%s", name);

	assert_non_null(k);
	assert_int_equal(kthread_set_per_cpu(k, 3), 0);
	return k;
}

static void cast_come(void)
{
	cast.k[PER_CPU] = per_cpu(obedient, "per_cpu");
	cast.k[PER_CPU_BUSY] = per_cpu(busy, "per_cpu_busy");
	cast.k[PER_CPU_PARKED] = per_cpu(obedient, "per_cpu_parked");
	cast.k[PER_CPU_NEW] = per_cpu(obedient, "per_cpu_new");
	cast.k[LOOKS] = kthread_run_on_cpu(looks, NULL, 3, "looks/%u");
	cast.k[PLAIN] = kthread_run_on_cpu(obedient, NULL, 3, "plain/%u");
	cast.k[PLAIN_NEW] = kthread_create_on_cpu(obedient, NULL, 3, "plain_new/%u");
	cast.k[PAIR] = kthread_create(obedient, NULL, "pair");
	cast.k[PREFERS] = kthread_create(obedient, NULL, "prefers");
	cast.k[NODE] = kthread_create_on_node(obedient, NULL, 1, "node");
	cast.k[NONE] = kthread_create(obedient, NULL, "none");
	kthread_init_completion(&cast.ready);
	kthread_init_completion(&cast.go);
	assert_int_equal(pthread_create(&cast.foreigner, NULL, foreigner, NULL), 0);
	AWAIT_DONE(&cast.ready);
	cast.k[FOREIGN] = kthread_adopt_tid(cast.tid, "foreign");
	assert_int_equal(sim_bind(cast.k[PAIR], 0x18), 0);
	assert_int_equal(sim_prefer(cast.k[PREFERS], MINE), 0);
	assert_int_equal(kthread_bind(cast.k[FOREIGN], 3), 0);
	for (int i = 0; i < CAST; i++) {
		assert_non_null(cast.k[i]);
		if (i != PER_CPU_NEW && i != PLAIN_NEW && i != FOREIGN)
			kthread_wake(cast.k[i]);
	}
	assert_int_equal(kthread_park(cast.k[PER_CPU_PARKED]), 0);
	await_waiting(cast.k[LOOKS]); /* it is known by now that it looks */
	cast.desc = (struct kthread_percpu)KTHREAD_PERCPU_INIT;
	cast.desc.name = "percpu/%u";
	cast.desc.should_run = no;
	cast.desc.run = nothing;
	assert_int_equal(kthread_percpu_register(&cast.desc), 0);
}

static void cast_leave(void)
{
	kthread_percpu_unregister(&cast.desc);
	assert_int_equal(kthread_unadopt(cast.k[FOREIGN]), 0);
	kthread_complete(&cast.go);
	pthread_join(cast.foreigner, NULL);
	for (int i = 0; i < FOREIGN; i++)
		kthread_stop(cast.k[i]);
}

/* ---- what must be as before -------------------------------------------------------------------------------------- */

enum { PROBES = 6 }; /* PREPARE p, an instance of PREPARE m; the same twice in ONLINE */

static struct probe probes[PROBES];
static int multi[2];
static const char *const tags[PROBES] = {"p", "m", "q", "o", "n", "r"};

static void steps_come(void)
{
	for (int i = 0; i < PROBES; i++) {
		const int section = i < PROBES / 2 ? PREPARE : ONLINE;

		memset(&probes[i], 0, sizeof(probes[i]));
		probes[i].tag = tags[i];
		if (i % 3 == 1) {
			probes[i].step = kthread_cpuhp_setup_multi(section, tags[i], probe_up, probe_down);
			multi[i / 3] = probes[i].step;
			assert_int_equal(kthread_cpuhp_add_instance(probes[i].step, &probes[i]), 0);
		} else {
			probe_setup(&probes[i], section);
		}
		assert_true(probes[i].step > 0);
	}
	probe_trace();
}

static void steps_leave(void)
{
	for (int i = 0; i < PROBES; i++) {
		if (i % 3 == 1)
			assert_int_equal(kthread_cpuhp_remove_instance(probes[i].step, &probes[i]), 0);
		assert_int_equal(kthread_cpuhp_remove(probes[i].step), 0);
		assert_int_equal(probes[i].ups, probes[i].downs);
	}
	probe_trace();
}

struct snapshot {
	char text[16384];
};

/* "busy" is running or asleep as it happens. */
static enum kthread_state calm_state(const struct kthread *k)
{
	const enum kthread_state now = state_of(k);

	return now == KTHREAD_WAITING ? KTHREAD_RUNNING : now;
}

static int write_down(const struct kthread *k, void *arg)
{
	const struct kthread_info info = sim_info(k);
	char *text = ((struct snapshot *)arg)->text;
	const size_t length = strlen(text);

	snprintf(text + length, sizeof(struct snapshot) - length, "%s %d %s %s %d%s%s error %d wish %x is %x is %x\n",
	         info.name, info.tid, kthread_state_name(calm_state(k)), kthread_wish_name(info.wish), info.node,
	         info.broken ? " broken" : "", info.per_cpu ? " per-CPU" : "", info.last_error,
	         sim_mask(k, KTHREAD_MASK_WISH), sim_mask(k, KTHREAD_MASK_EFFECTIVE), sim_mask(k, KTHREAD_MASK_ACTUAL));
	return 0;
}

static void take(struct snapshot *snapshot)
{
	size_t length;

	snapshot->text[0] = '\0';
	assert_int_equal(kthread_for_each(write_down, snapshot), 0);
	length = strlen(snapshot->text);
	for (int which = KTHREAD_CPUS_POSSIBLE; which <= KTHREAD_CPUS_ISOLATED; which++)
		length += (size_t)sprintf(snapshot->text + length, "%x ", sim_cpus((enum kthread_cpus)which));
	for (int i = 0; i < PROBES; i++) {
		if (probes[i].step > 0)
			length += (size_t)sprintf(snapshot->text + length, "%x %x ", probe_cpus(probes[i].step),
			                          atomic_load(&probes[i].on));
	}
}

/* Those that were unparked are about to run. */
static void assert_as_before(const struct snapshot *before)
{
	const uint64_t until = now_ns() + AWAIT_LIMIT_NS;
	static struct snapshot now;

	do {
		take(&now);
	} while (strcmp(now.text, before->text) != 0 && now_ns() < until);
	assert_string_equal(now.text, before->text);
}

/* ---- the order --------------------------------------------------------------------------------------------------- */

static atomic_int looked;

static void assert_before(struct probe *probe, char what, unsigned int cpu)
{
	CHECK(sim_cpus(KTHREAD_CPUS_USABLE) == ALL);
	for (int i = 0; i < CAST; i++) {
		CHECK(!kthread_is_broken(cast.k[i]));
		CHECK(i == PER_CPU_PARKED || state_of(cast.k[i]) != KTHREAD_PARKED);
	}
	CHECK(sim_mask(cast.k[NONE], KTHREAD_MASK_EFFECTIVE) == ALL);
	atomic_fetch_add(&looked, 1);
}

static void assert_after(struct probe *probe, char what, unsigned int cpu)
{
	CHECK(sim_cpus(KTHREAD_CPUS_USABLE) == (ALL & ~MINE));
	for (int i = 0; i < CAST; i++) {
		CHECK(!(sim_mask(cast.k[i], KTHREAD_MASK_EFFECTIVE) & MINE));
		CHECK(!parks[i] || state_of(cast.k[i]) == KTHREAD_PARKED);
	}
	CHECK(state_of(kthread_percpu_thread(&cast.desc, 3)) == KTHREAD_PARKED);
	CHECK(kthread_is_broken(cast.k[PLAIN]) && kthread_is_broken(cast.k[FOREIGN]));
	atomic_fetch_add(&looked, 1);
}

static void kthread_cpu_down__steps_then_threads_then_steps(void **state)
{
	static struct snapshot before;

	sim_start(NULL);
	cast_come();
	steps_come();
	take(&before);
	for (int round = 0; round < 5; round++) {
		atomic_store(&looked, 0);
		for (int i = 0; i < PROBES; i++)
			probes[i].hook = i < PROBES / 2 ? assert_after : assert_before;
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_trace("r-3 n-3 o-3 q-3 m-3 p-3");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_ONLINE), ALL);
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_trace("");
		assert_int_equal(kthread_rescan(), 0); /* nothing of it is undone by a look */
		assert_trace("");
		for (int i = 0; i < PROBES; i++)
			probes[i].hook = i < PROBES / 2 ? assert_after : NULL;
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_trace("p+3 m+3 q+3 o+3 n+3 r+3");
		assert_int_equal(atomic_load(&looked), 9);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_trace("");
		assert_as_before(&before);
	}
	for (int i = 0; i < PROBES; i++)
		probes[i].hook = NULL;
	steps_leave();
	cast_leave();
	sim_stop();
}

static void kthread_cpu_down__nobody_who_looks_is_broken(void **state)
{
	sim_start(NULL);
	cast_come();
	for (int round = 0; round < 20; round++) {
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_true(kthread_is_broken(cast.k[PLAIN]));
		assert_true(kthread_is_broken(cast.k[FOREIGN]));
		if (round % 2)
			probe_online(ALL & ~MINE); /* and now it goes */
		for (int i = 0; i < CAST; i++) {
			if (!parks[i])
				continue;
			assert_int_equal(state_of(cast.k[i]), KTHREAD_PARKED);
			assert_int_equal(sim_info(cast.k[i]).broken_ns, 0);
		}
		assert_int_equal(state_of(cast.k[PLAIN]), KTHREAD_WAITING);
		if (round % 2)
			probe_online(ALL);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		for (int i = 0; i < CAST; i++)
			assert_false(kthread_is_broken(cast.k[i]));
		AWAIT(state_of(cast.k[PER_CPU]) == KTHREAD_WAITING);
		AWAIT(state_of(cast.k[LOOKS]) != KTHREAD_PARKED);
		AWAIT(state_of(cast.k[PER_CPU_BUSY]) == KTHREAD_RUNNING);
	}
	for (int i = 0; i < CAST; i++) {
		if (parks[i]) {
			assert_int_equal(sim_info(cast.k[i]).broken_ns, 0);
			assert_int_equal(sim_info(cast.k[i]).broken_since_ns, 0);
		}
	}
	for (unsigned int cpu = 0; cpu < 8; cpu++)
		assert_int_equal(sim_info(kthread_percpu_thread(&cast.desc, cpu)).broken_ns, 0);
	assert_true(sim_info(cast.k[PLAIN]).broken_ns > 0);
	cast_leave();
	sim_stop();
}

/* As kthread_park() of such a thread is granted at once. */
static void kthread_cpu_down__a_thread_that_was_never_woken(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = per_cpu(obedient, "new");
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	kthread_wake(k);
	AWAIT(state_of(k) == KTHREAD_PARKED);
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	AWAIT(state_of(k) == KTHREAD_WAITING);
	assert_int_equal(kthread_stop(k), 0);
	sim_stop();
}

/* ---- refused ----------------------------------------------------------------------------------------------------- */

static void kthread_cpu_down__bad_input(void **state)
{
	static const unsigned int cpus[] = {8, 63, 64, 4096, ~0u};

	sim_start(NULL);
	for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++) {
		assert_int_equal(kthread_cpu_down(cpus[i], 0), -EINVAL);
		assert_int_equal(kthread_cpu_up(cpus[i], 0), -EINVAL);
	}
	for (unsigned int flag = 2; flag; flag <<= 1) {
		assert_int_equal(kthread_cpu_down(3, flag), -EINVAL);
		assert_int_equal(kthread_cpu_up(3, flag | KTHREAD_CPU_PHYSICAL), -EINVAL);
	}
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
	sim_stop();
}

static void kthread_cpu_down__the_last_one_stays(void **state)
{
	struct probe a = {.tag = "a"};

	sim_start(NULL);
	assert_true(probe_setup(&a, ONLINE) > 0);
	for (unsigned int cpu = 1; cpu < 8; cpu++)
		assert_int_equal(kthread_cpu_down(cpu, 0), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 1);
	probe_trace();
	assert_int_equal(kthread_cpu_down(0, 0), -EBUSY);
	assert_int_equal(kthread_cpu_down(0, KTHREAD_CPU_PHYSICAL), -EBUSY);
	assert_trace("");
	for (unsigned int cpu = 1; cpu < 8; cpu++)
		assert_int_equal(kthread_cpu_up(cpu, 0), 0);
	assert_int_equal(sim_housekeeping(0x18), 0);
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	probe_trace();
	assert_int_equal(kthread_cpu_down(4, 0), -EBUSY);
	assert_trace("");
	assert_int_equal(kthread_cpu_down(0, 0), 0); /* none of them */
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	assert_int_equal(kthread_cpu_down(4, 0), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xee);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
	sim_stop();
}

struct caller {
	unsigned int cpu;
	atomic_int down, up;
	int (*fn)(void *data);
	struct caller *other;
};

static int gives_up(void *data)
{
	struct caller *caller = data;

	kthread_bound_should_stop(); /* it looks */
	atomic_store(&caller->down, kthread_cpu_down(caller->cpu, 0));
	atomic_store(&caller->up, kthread_cpu_up(caller->cpu, 0));
	return obedient(NULL);
}

static void kthread_cpu_down__by_a_thread_of_that_cpu(void **state)
{
	sim_start(NULL);
	for (int kind = 0; kind < 3; kind++) {
		for (unsigned int cpu = 3; cpu < 5; cpu++) {
			struct caller caller = {.cpu = cpu, .down = 1, .up = 1};
			struct kthread *k = kthread_create(gives_up, &caller, "caller");

			if (kind == 0)
				assert_int_equal(kthread_set_per_cpu(k, 3), 0);
			else
				assert_int_equal(kind == 1 ? kthread_bind(k, 3) : sim_bind(k, 0x0c), 0);
			kthread_wake(k);
			AWAIT(atomic_load(&caller.up) == 0);
			assert_int_equal(atomic_load(&caller.down), cpu == 3 && kind < 2 ? -EDEADLK : 0);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
			await_waiting(k);
			assert_int_equal(kthread_stop(k), 0);
		}
	}
	sim_stop();
}

/* Each gives up the other's CPU: one of them is waited for, and cannot wait itself. */
static int gives_up_the_other(void *data)
{
	struct caller *caller = data;

	while (!kthread_should_stop()) {
		if (kthread_should_park()) {
			kthread_parkme();
		} else if (atomic_load(&caller->down) > atomic_load(&caller->other->down) + 5) {
			/* On a busy machine it would be asked to park again each time before it has run. */
			kthread_wait_for(MS);
		} else {
			const int error = kthread_cpu_down(caller->cpu, 0);

			CHECK(error == 0 || error == -EDEADLK);
			CHECK(error || kthread_cpu_up(caller->cpu, 0) == 0);
			atomic_fetch_add(&caller->down, 1);
		}
	}
	return 0;
}

static void kthread_cpu_down__two_threads_of_each_others_cpus(void **state)
{
	struct caller callers[2] = {{.cpu = 3, .other = &callers[1]}, {.cpu = 4, .other = &callers[0]}};
	struct kthread *k[2];

	sim_start(NULL);
	for (int i = 0; i < 2; i++) {
		k[i] = kthread_create(gives_up_the_other, &callers[i], "caller");
		assert_int_equal(kthread_set_per_cpu(k[i], i ? 3 : 4), 0);
	}
	kthread_wake(k[0]);
	kthread_wake(k[1]);
	AWAIT(atomic_load(&callers[0].down) > 50 && atomic_load(&callers[1].down) > 50);
	for (int i = 0; i < 2; i++)
		assert_int_equal(kthread_stop(k[i]), 0);
	sim_stop();
}

/* ---- CPUs that are away ------------------------------------------------------------------------------------------ */

static void kthread_cpu_down__of_an_offline_cpu(void **state)
{
	struct probe a = {.tag = "a"};

	for (int with_step = 0; with_step < 2; with_step++) {
		sim_start(NULL);
		if (with_step)
			assert_true(probe_setup(&a, PREPARE) > 0);
		probe_online(ALL & ~MINE);
		probe_trace();
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(kthread_cpu_down(3, KTHREAD_CPU_PHYSICAL), 0);
		probe_online(ALL);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
		probe_online(ALL & ~MINE);
		probe_online(ALL);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
		assert_trace("");
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
		assert_trace(with_step ? "a+3" : "");

		assert_int_equal(kthread_cpu_down(3, 0), 0);
		probe_online(ALL & ~MINE);
		probe_trace();
		assert_int_equal(kthread_cpu_up(3, 0), 0); /* as soon as it comes */
		assert_trace("");
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
		probe_online(ALL);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
		assert_trace(with_step ? "a+3" : "");
		if (with_step)
			assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		probe_trace();
		sim_stop();
	}
}

static void kthread_cpu_down__taken_back_when_no_other_is_left(void **state)
{
	for (int with_steps = 0; with_steps < 2; with_steps++) {
		sim_start(NULL);
		cast_come();
		memset(probes, 0, sizeof(probes));
		if (with_steps)
			steps_come();
		assert_int_equal(kthread_cpu_down(3, 0), 0);
		assert_int_equal(kthread_cpu_down(4, 0), 0);
		probe_trace();
		probe_online(MINE);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), MINE);
		assert_logged("every other CPU has gone", 1);
		AWAIT(state_of(cast.k[PER_CPU]) == KTHREAD_WAITING);
		assert_placed(cast.k[PER_CPU], KTHREAD_WISH_PER_CPU, MINE);
		assert_placed(cast.k[PLAIN], KTHREAD_WISH_BOUND, MINE);
		assert_placed(cast.k[NONE], KTHREAD_WISH_NONE, 0);
		for (int i = 0; i < PROBES && with_steps; i++)
			assert_int_equal(probe_cpus(probes[i].step), MINE);
		probe_online(ALL);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~0x10u); /* 4 was not needed */
		assert_int_equal(kthread_cpu_up(4, 0), 0);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
		if (with_steps)
			steps_leave();
		cast_leave();
		sim_stop();
	}
}

static int vanishes_in; /* the probe */
static char vanishes_at;

static void vanishes(struct probe *probe, char what, unsigned int cpu)
{
	if (probe == &probes[vanishes_in] && what == vanishes_at && cpu == 3)
		sim_online(ALL & ~MINE);
}

/* The CPU goes while it is being given up, or taken back, in each callback; and another step fails or not. */
static void kthread_cpu_down__the_cpu_vanishes_meanwhile(void **state)
{
	sim_start(NULL);
	cast_come();
	steps_come();
	for (int i = 0; i < PROBES; i++)
		probes[i].hook = vanishes;
	for (vanishes_in = 0; vanishes_in < PROBES; vanishes_in++) {
		for (int failing = -1; failing < PROBES; failing++) {
			int error;

			vanishes_at = '-';
			if (failing >= 0)
				atomic_store(&probes[failing].fail_down, MINE);
			error = kthread_cpu_down(3, 0);
			assert_int_equal(error, failing >= 0 ? -EIO : 0);
			if (failing >= 0)
				atomic_store(&probes[failing].fail_down, 0);
			assert_int_equal(kthread_rescan(), 0);
			if (sim.online != ALL) {
				for (int i = 0; i < PROBES; i++)
					assert_int_equal(probe_cpus(probes[i].step), ALL & ~MINE);
			}
			probe_online(ALL);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), error ? ALL : ALL & ~MINE);

			assert_int_equal(kthread_cpu_down(3, 0), 0);
			probe_online(ALL);
			vanishes_at = '+';
			if (failing >= 0)
				atomic_store(&probes[failing].fail_up, MINE);
			error = kthread_cpu_up(3, 0);
			/* It may have gone before that one was asked. */
			assert_true(error == 0 || (error == -EIO && failing >= 0));
			if (failing >= 0)
				atomic_store(&probes[failing].fail_up, 0);
			vanishes_at = 0;
			assert_int_equal(kthread_rescan(), 0);
			probe_online(ALL);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), error ? ALL & ~MINE : ALL);
			assert_int_equal(kthread_cpu_up(3, 0), 0);
			assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
			for (int i = 0; i < PROBES; i++)
				assert_int_equal(probe_cpus(probes[i].step), ALL);
			AWAIT(state_of(cast.k[PER_CPU]) == KTHREAD_WAITING);
			probe_trace();
		}
	}
	for (int i = 0; i < PROBES; i++)
		probes[i].hook = NULL;
	steps_leave();
	cast_leave();
	sim_stop();
}

/* ---- failures ---------------------------------------------------------------------------------------------------- */

static void kthread_cpu_down__a_failing_step_at_each_position(void **state)
{
	static const char *const traces[PROBES] = {
	    "r-3 n-3 o-3 q-3 m-3 p-3 m+3 q+3 o+3 n+3 r+3",
	    "r-3 n-3 o-3 q-3 m-3 q+3 o+3 n+3 r+3",
	    "r-3 n-3 o-3 q-3 o+3 n+3 r+3",
	    "r-3 n-3 o-3 n+3 r+3",
	    "r-3 n-3 r+3",
	    "r-3",
	};
	static struct snapshot before;

	sim_start(NULL);
	cast_come();
	steps_come();
	take(&before);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < PROBES; i++) {
			atomic_store(&probes[i].fail_down, MINE);
			probes[i].error = round == 1 ? EPROTO : -EPROTO;
			assert_int_equal(kthread_cpu_down(3, round == 2 ? KTHREAD_CPU_PHYSICAL : 0), -EPROTO);
			atomic_store(&probes[i].fail_down, 0);
			assert_trace(traces[i]);
			assert_as_before(&before);
			assert_int_equal(kthread_rescan(), 0);
			assert_trace("");
			assert_as_before(&before);
			assert_int_equal(kthread_cpuhp_failures(probes[i].step), 0);
		}
	}
	steps_leave();
	cast_leave();
	sim_stop();
}

static void kthread_cpu_up__a_failing_step_at_each_position(void **state)
{
	static const char *const traces[PROBES] = {
	    "p+3",
	    "p+3 m+3 p-3",
	    "p+3 m+3 q+3 m-3 p-3",
	    "p+3 m+3 q+3 o+3 q-3 m-3 p-3",
	    "p+3 m+3 q+3 o+3 n+3 o-3 q-3 m-3 p-3",
	    "p+3 m+3 q+3 o+3 n+3 r+3 n-3 o-3 q-3 m-3 p-3",
	};
	static struct snapshot before;

	sim_start(NULL);
	cast_come();
	steps_come();
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	probe_trace();
	take(&before);
	for (int i = 0; i < PROBES; i++) {
		atomic_store(&probes[i].fail_up, MINE);
		assert_int_equal(kthread_cpu_up(3, 0), -EIO);
		atomic_store(&probes[i].fail_up, 0);
		assert_trace(traces[i]);
		assert_as_before(&before);
		assert_int_equal(kthread_rescan(), 0);
		assert_trace("");
	}
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	steps_leave();
	cast_leave();
	sim_stop();
}

/* The way back fails, too: the CPU is not used, nothing is half done. */
static void kthread_cpu_down__going_back_fails(void **state)
{
	sim_start(NULL);
	cast_come();
	steps_come();
	for (int i = 0; i < PROBES; i++) {
		const int other = (i + 1) % PROBES;

		if (other <= i) /* it has not been asked yet, so it is not asked to come back */
			continue;
		atomic_store(&probes[i].fail_down, MINE);
		atomic_store(&probes[other].fail_up, MINE);
		assert_int_equal(kthread_cpu_down(3, 0), -EIO);
		atomic_store(&probes[i].fail_down, 0);
		atomic_store(&probes[other].fail_up, 0);
		for (int j = 0; j < PROBES; j++)
			assert_int_equal(atomic_load(&probes[j].on) & ~atomic_load(&probes[j].torn),
			                 probe_cpus(probes[j].step) & ~atomic_load(&probes[j].torn));
		assert_true(kthread_cpuhp_failures(probes[other].step) + sim_logged("going back failed") > 0);
		assert_int_equal(kthread_cpu_down(3, 0), 0); /* and from here on all is well again */
		assert_int_equal(kthread_cpu_up(3, 0), 0);
		for (int j = 0; j < PROBES; j++)
			assert_int_equal(probe_cpus(probes[j].step), ALL);
		AWAIT(state_of(cast.k[PER_CPU]) == KTHREAD_WAITING);
	}
	probe_trace();
	for (int i = 0; i < PROBES; i++) { /* where a forced teardown failed they differ */
		probes[i].ups = 8;
		probes[i].downs = 0;
	}
	steps_leave();
	cast_leave();
	sim_stop();
}

static void file_of_cpu3(const char *wanted)
{
	char path[256];
	char text[16] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/cpu3/online", sim.root);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(read(fd, text, sizeof(text) - 1) >= 0);
	close(fd);
	assert_int_equal(strncmp(text, wanted, 1), 0);
}

static void kthread_cpu_down__physical(void **state)
{
	sim_start(NULL);
	cast_come();
	steps_come();
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	sim_put("sys/devices/system/cpu/cpu3/online", "1\n");
	assert_int_equal(kthread_cpu_up(3, 0), 0);
	file_of_cpu3("1");
	assert_int_equal(kthread_cpu_down(3, KTHREAD_CPU_PHYSICAL), 0);
	file_of_cpu3("0");
	probe_online(ALL & ~MINE); /* what the kernel does */
	assert_int_equal(kthread_cpu_up(3, KTHREAD_CPU_PHYSICAL), 0);
	file_of_cpu3("1");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
	probe_online(ALL);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
	for (int i = 0; i < PROBES; i++)
		assert_int_equal(probe_cpus(probes[i].step), ALL);
	probe_trace();
	steps_leave();
	cast_leave();
	sim_stop();
}

static void kthread_cpu_down__sysfs_refuses(void **state)
{
	static struct snapshot before;

	sim_start(NULL);
	cast_come();
	steps_come();
	take(&before);
	for (int kind = 0; kind < 2; kind++) {
		sim_remove("sys/devices/system/cpu/cpu3/online");
		if (kind)
			sim_put("sys/devices/system/cpu/cpu3/online/thing", "");
		assert_int_equal(kthread_cpu_down(3, KTHREAD_CPU_PHYSICAL), kind ? -EISDIR : -EPERM);
		assert_trace("r-3 n-3 o-3 q-3 m-3 p-3 p+3 m+3 q+3 o+3 n+3 r+3");
		assert_as_before(&before);
		assert_logged("CPU 3: cannot be set offline", kind + 1);
		assert_int_equal(kthread_rescan(), 0);
		assert_as_before(&before);
		assert_trace("");
	}
	assert_int_equal(kthread_cpu_down(3, 0), 0);
	sim_replace("sys/devices/system/cpu/online", sim_list(ALL & ~MINE));
	assert_int_equal(kthread_rescan(), 0);
	probe_trace();
	take(&before);
	assert_int_equal(kthread_cpu_up(3, KTHREAD_CPU_PHYSICAL), -EISDIR);
	assert_as_before(&before);
	sim_replace("sys/devices/system/cpu/online", sim_list(ALL));
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE); /* still given up */
	assert_trace("");
	steps_leave();
	cast_leave();
	sim_stop();
}

/* ---- several at once --------------------------------------------------------------------------------------------- */

static void *up_and_down(void *arg)
{
	struct caller *caller = arg;

	for (int i = 0; i < 100; i++) {
		CHECK(kthread_cpu_down(caller->cpu, 0) == 0);
		atomic_fetch_add(&caller->down, 1);
		CHECK(kthread_cpu_up(caller->cpu, 0) == 0);
	}
	return NULL;
}

static void kthread_cpu_down__several_callers(void **state)
{
	struct caller callers[] = {{.cpu = 3}, {.cpu = 4}, {.cpu = 3}};
	static struct snapshot before;
	pthread_t threads[3];

	sim_start(NULL);
	cast_come();
	steps_come();
	take(&before);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, up_and_down, &callers[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_as_before(&before);
	probe_trace();
	steps_leave();
	cast_leave();
	sim_stop();
}

static struct {
	struct kthread_completion inside, go;
	_Atomic pid_t tid;
	atomic_int result;
} event;

static void holds_it_up(struct probe *probe, char what, unsigned int cpu)
{
	if (cpu != 5 || what != '-')
		return;
	kthread_complete(&event.inside);
	AWAIT_DONE(&event.go);
}

static void *gives_up_3(void *arg)
{
	atomic_store(&event.tid, gettid());
	atomic_store(&event.result, kthread_cpu_down(3, 0));
	return NULL;
}

static void kthread_cpu_down__during_an_observed_event(void **state)
{
	struct probe a = {.tag = "a", .hook = holds_it_up};
	struct kthread_config config = sim_config();
	pthread_t thread;

	config.inotify = true;
	sim_start(&config);
	kthread_init_completion(&event.inside);
	kthread_init_completion(&event.go);
	atomic_store(&event.tid, 0);
	atomic_store(&event.result, 1);
	assert_true(probe_setup(&a, PREPARE) > 0);
	probe_trace();
	sim_online(0xdf);
	AWAIT_DONE(&event.inside);
	assert_false(kthread_cpus_read_trylock());
	assert_int_equal(pthread_create(&thread, NULL, gives_up_3, NULL), 0);
	AWAIT(atomic_load(&event.tid) != 0);
	await_settled(atomic_load(&event.tid));
	assert_int_equal(atomic_load(&event.result), 1);
	kthread_complete(&event.go);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&event.result), 0);
	assert_trace("a-5 a-3");
	assert_int_equal(probe_cpus(a.step), 0xd7);
	assert_int_equal(kthread_cpuhp_remove(a.step), 0);
	probe_trace();
	sim_stop();
}

/* ---- the read lock ----------------------------------------------------------------------------------------------- */

static void read_lock__keeps_a_transition_waiting(void **state)
{
	pthread_t thread;

	sim_start(NULL);
	for (int i = 0; i < 20; i++) {
		uint64_t generation;

		atomic_store(&event.tid, 0);
		atomic_store(&event.result, 1);
		kthread_cpus_read_lock();
		kthread_cpus_read_lock();
		generation = kthread_generation();
		assert_int_equal(pthread_create(&thread, NULL, gives_up_3, NULL), 0);
		AWAIT(atomic_load(&event.tid) != 0);
		await_settled(atomic_load(&event.tid));
		kthread_cpus_read_unlock();
		assert_true(kthread_cpus_read_trylock()); /* it nests, whoever waits */
		kthread_cpus_read_unlock();
		await_settled(atomic_load(&event.tid));
		assert_int_equal(atomic_load(&event.result), 1);
		assert_int_equal(kthread_generation(), generation);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
		kthread_cpus_read_unlock();
		pthread_join(thread, NULL);
		assert_int_equal(atomic_load(&event.result), 0);
		assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~MINE);
		assert_int_equal(kthread_cpu_up(3, 0), 0);
	}
	sim_stop();
}

/* A callback stops, and parks, a thread that wants the lock it keeps others from. */
static struct kthread *reader;
static atomic_ulong turns;

static int reads(void *data)
{
	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		kthread_cpus_read_lock();
		kthread_cpus_read_unlock();
		atomic_fetch_add(&turns, 1);
	}
	return 7;
}

static void ends_the_reader(struct probe *probe, char what, unsigned int cpu)
{
	if (what == '-') {
		await_settled(kthread_tid(reader)); /* it waits for us */
		CHECK(kthread_park(reader) == 0);
		kthread_unpark(reader);
		await_settled(kthread_tid(reader));
		CHECK(kthread_stop(reader) == 7);
	}
}

static void read_lock__a_callback_may_stop_who_waits(void **state)
{
	sim_start(NULL);
	for (int s = PREPARE; s <= ONLINE; s++) {
		for (int i = 0; i < 10; i++) {
			struct probe a = {.tag = "a"};

			atomic_store(&turns, 0);
			reader = kthread_run(reads, NULL, "reader");
			AWAIT(atomic_load(&turns) > 0);
			assert_true(probe_setup(&a, s) > 0);
			a.hook = ends_the_reader;
			assert_int_equal(kthread_cpu_down(3, 0), 0);
			a.hook = NULL;
			assert_int_equal(kthread_cpu_up(3, 0), 0);
			assert_int_equal(kthread_cpuhp_remove(a.step), 0);
		}
	}
	probe_trace();
	sim_stop();
}

/* ---- on this machine --------------------------------------------------------------------------------------------- */

static void kthread_cpu_down__the_kernel_has_moved_them(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct kthread *k[6];

	if (!sim_two_cpus())
		skip();
	assert_int_equal(kthread_init(&config), 0);
	k[0] = kthread_run(obedient, NULL, "none");
	k[1] = kthread_run_on_cpu(obedient, NULL, 1, "plain/%u");
	k[2] = kthread_run_on_cpu(looks, NULL, 1, "looks/%u");
	k[3] = kthread_create(obedient, NULL, "per-CPU");
	k[4] = kthread_create(busy, NULL, "per-CPU, busy");
	k[5] = kthread_run(busy, NULL, "busy");
	for (int i = 3; i < 5; i++) {
		assert_int_equal(kthread_set_per_cpu(k[i], 1), 0);
		kthread_wake(k[i]);
	}
	await_waiting(k[2]);
	for (int round = 0; round < 20; round++) {
		assert_int_equal(kthread_cpu_down(1, 0), 0);
		for (int i = 0; i < 6; i++)
			assert_false(sim_kernel_mask(kthread_tid(k[i])) & 2);
		for (int i = 2; i < 5; i++) {
			assert_int_equal(state_of(k[i]), KTHREAD_PARKED);
			assert_int_equal(sim_info(k[i]).broken_ns, 0);
		}
		assert_int_equal(kthread_cpu_up(1, 0), 0);
		for (int i = 1; i < 5; i++)
			assert_int_equal(sim_kernel_mask(kthread_tid(k[i])), 2);
		AWAIT(state_of(k[3]) == KTHREAD_WAITING);
		assert_true(sim_kernel_mask(kthread_tid(k[0])) & 2);
	}
	for (int i = 0; i < 6; i++)
		assert_int_equal(kthread_stop(k[i]), 0);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_cpu_down__a_thread_that_was_never_woken),
	    cmocka_unit_test(kthread_cpu_down__steps_then_threads_then_steps),
	    cmocka_unit_test(kthread_cpu_down__nobody_who_looks_is_broken),
	    cmocka_unit_test(kthread_cpu_down__bad_input),
	    cmocka_unit_test(kthread_cpu_down__the_last_one_stays),
	    cmocka_unit_test(kthread_cpu_down__by_a_thread_of_that_cpu),
	    cmocka_unit_test(kthread_cpu_down__two_threads_of_each_others_cpus),
	    cmocka_unit_test(kthread_cpu_down__of_an_offline_cpu),
	    cmocka_unit_test(kthread_cpu_down__taken_back_when_no_other_is_left),
	    cmocka_unit_test(kthread_cpu_down__the_cpu_vanishes_meanwhile),
	    cmocka_unit_test(kthread_cpu_down__a_failing_step_at_each_position),
	    cmocka_unit_test(kthread_cpu_up__a_failing_step_at_each_position),
	    cmocka_unit_test(kthread_cpu_down__going_back_fails),
	    cmocka_unit_test(kthread_cpu_down__physical),
	    cmocka_unit_test(kthread_cpu_down__sysfs_refuses),
	    cmocka_unit_test(kthread_cpu_down__several_callers),
	    cmocka_unit_test(kthread_cpu_down__during_an_observed_event),
	    cmocka_unit_test(read_lock__keeps_a_transition_waiting),
	    cmocka_unit_test(read_lock__a_callback_may_stop_who_waits),
	    cmocka_unit_test(kthread_cpu_down__the_kernel_has_moved_them),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
