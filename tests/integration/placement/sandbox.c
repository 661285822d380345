/* SPDX-License-Identifier: MIT */
/*
 * A sandbox that lets a thread set only its own affinity (sched_setaffinity with pid 0): each thread re-affines itself
 * at its next library call. The program runs itself under the filter.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sim.h"

static int forbid(bool itself_too)
{
	/* 64-bit argument 0: the low half is where the machine is little-endian, the only ones we test on */
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setaffinity, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, itself_too ? UINT32_MAX : 0, 1, 0),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int start(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.poll_ms = 0;
	config.log = sim_log;
	return kthread_init(&config);
}

static bool is_on(const struct kthread *k, unsigned int cpus)
{
	return sim_mask(k, KTHREAD_MASK_ACTUAL) == cpus && sim_mask(k, KTHREAD_MASK_EFFECTIVE) == cpus;
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

/* Threads that wait, are parked, look at kthread_bound_should_stop(): all follow housekeeping. */
static int they_place_themselves(void)
{
	int (*const functions[])(void *) = {obedient, in_place, looks, obedient, in_place, looks};
	struct kthread *all[6];

	EXPECT(start() == 0);
	for (int i = 0; i < 6; i++) {
		all[i] = kthread_run(functions[i], NULL, "self/%d", i);
		EXPECT(all[i]);
		if (i >= 3)
			EXPECT(kthread_park(all[i]) == 0);
	}
	for (int round = 0; round < 20; round++) {
		EXPECT(sim_housekeeping(1u << round % 2) == 0);
		for (int i = 0; i < 6; i++)
			AWAIT(is_on(all[i], 1u << round % 2) && sim_info(all[i]).last_error == 0);
	}
	for (int i = 0; i < 6; i++) {
		int result;

		EXPECT(sim_info(all[i]).refusals > 0);
		result = kthread_stop(all[i]);
		EXPECT(result == 0 || (i >= 3 && result == -EINTR)); /* parked before it had entered */
	}
	EXPECT(sim_logged("refuses") == 1);
	return kthread_fini();
}

/* A bind of a created or parked thread is refused to the caller's hands, and done by the thread before it runs on. */
static int a_bind_is_kept(void)
{
	struct kthread *k;

	EXPECT(start() == 0);
	k = kthread_create(obedient, NULL, "bound");
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	EXPECT(kthread_bind(k, 1) == 0);
	kthread_wake(k);
	AWAIT(is_on(k, 2));
	for (unsigned int round = 0; round < 20; round++) {
		EXPECT(kthread_park(k) == 0);
		EXPECT(kthread_bind(k, round % 2) == 0);
		kthread_unpark(k);
		AWAIT(is_on(k, 1u << round % 2));
	}
	EXPECT(kthread_park(k) == 0);
	EXPECT(kthread_set_per_cpu(k, 0) == 0);
	kthread_unpark(k);
	AWAIT(is_on(k, 1));
	EXPECT(kthread_stop(k) == 0);
	return kthread_fini();
}

static int an_adopted_one_too(void)
{
	struct kthread *k;

	EXPECT(start() == 0);
	k = kthread_adopt("me");
	EXPECT(k);
	EXPECT(kthread_bind(k, 1) == 0); /* by itself: allowed at once */
	EXPECT(is_on(k, 2));
	EXPECT(kthread_affine_reset(k) == 0);
	EXPECT(sim_housekeeping(1) == 0);
	EXPECT(is_on(k, 1));
	EXPECT(kthread_unadopt(k) == 0);
	return kthread_fini();
}

static int counts(void *data)
{
	atomic_ulong *turns = data;

	while (!kthread_bound_should_stop())
		atomic_fetch_add(turns, 1);
	return 0;
}

/* Where nothing may be set at all, a thread that is not where it should be does not look at the machine at each turn. */
static int not_even_itself(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	atomic_ulong turns = 0;
	unsigned long before;
	struct kthread *k;
	uint64_t refusals;
	cpu_set_t set;
	uint64_t then;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	config.poll_ms = 0;
	config.uevents = false; /* no looks but its own */
	config.inotify = false;
	EXPECT(kthread_init(&config) == 0);
	EXPECT(sched_setaffinity(0, sizeof(set), &set) == 0); /* what it inherits */
	if (forbid(true) != 0)
		return 77;
	k = kthread_run_on_cpu(counts, &turns, 1, "elsewhere/%u");
	EXPECT(k);
	AWAIT(atomic_load(&turns) > 0);
	sim_calm();
	EXPECT(sim_mask(k, KTHREAD_MASK_ACTUAL) == 1 && sim_mask(k, KTHREAD_MASK_EFFECTIVE) == 2);
	then = now_ns();
	refusals = sim_info(k).refusals;
	before = atomic_load(&turns);
	AWAIT(atomic_load(&turns) > before + 5000);
	refusals = sim_info(k).refusals - refusals;
	EXPECT(refusals <= (now_ns() - then) / (10 * MS) + 2); /* each look is refused once more */
	EXPECT(kthread_rescan() == 0);
	EXPECT(kthread_stop(k) == 0);
	return kthread_fini();
}

static int (*const parts[])(void) = {they_place_themselves, a_bind_is_kept, an_adopted_one_too, not_even_itself};

static int run_again(void *arg)
{
	char *const argv[] = {(char *)"sandbox", arg, NULL};

	execv("/proc/self/exe", argv);
	return 99;
}

static void part(int number)
{
	char text[] = {(char)('0' + number), '\0'};
	cpu_set_t set;
	int result;

	if (sched_getaffinity(0, sizeof(set), &set) != 0 || !CPU_ISSET(0, &set) || !CPU_ISSET(1, &set))
		skip();
	result = in_child(run_again, text);
	if (result == 77)
		skip();
	assert_int_equal(result, 0);
}

static void sandbox__threads_place_themselves(void **state)
{
	part(0);
}

static void sandbox__a_bind_is_kept(void **state)
{
	part(1);
}

static void sandbox__adopted(void **state)
{
	part(2);
}

static void sandbox__not_even_itself(void **state)
{
	part(3);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sandbox__threads_place_themselves),
	    cmocka_unit_test(sandbox__a_bind_is_kept),
	    cmocka_unit_test(sandbox__adopted),
	    cmocka_unit_test(sandbox__not_even_itself),
	};

	if (argc > 1)
		return argv[1][0] == '3' || forbid(false) == 0 ? parts[argv[1][0] - '0']()
		                                               : 77; /* it forbids by itself */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
