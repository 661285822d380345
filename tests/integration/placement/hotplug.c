/* SPDX-License-Identifier: MIT */
/*
 * CPUs go one by one until none of the wish is left, and come back one by one: after each step every thread is where
 * the rule says. Every kind of wish, in every state of life, adopted threads too. And who notices: kthread_rescan(),
 * the poll, inotify.
 */
#include <pthread.h>

#include "sim.h"

enum life { CREATED, WAITING, PARKED, ADOPTED, LIVES };

struct subject {
	struct kthread *k;
	enum life life;
	enum kthread_wish kind;
	unsigned int wish;
	/* adopted */
	pthread_t pthread;
	struct kthread_completion ready, go;
	pid_t tid;
};

/* ---- subjects ---------------------------------------------------------------------------------------------------- */

static void *foreigner(void *arg)
{
	struct subject *subject = arg;

	subject->tid = gettid();
	kthread_complete(&subject->ready);
	kthread_wait_for_completion(&subject->go);
	return NULL;
}

static void give_wish(struct subject *subject)
{
	const unsigned int cpu = (unsigned int)__builtin_ctz(subject->wish | 1u << 31);

	switch (subject->kind) {
	case KTHREAD_WISH_NONE:
		assert_int_equal(kthread_affine_reset(subject->k), 0);
		break;
	case KTHREAD_WISH_NODE:
		assert_int_equal(kthread_affine_node(subject->k, (int)cpu / 2), 0);
		break;
	case KTHREAD_WISH_PREFERRED:
		assert_int_equal(sim_prefer(subject->k, subject->wish), 0);
		break;
	case KTHREAD_WISH_BOUND:
		if (subject->wish & (subject->wish - 1))
			assert_int_equal(sim_bind(subject->k, subject->wish), 0);
		else
			assert_int_equal(kthread_bind(subject->k, cpu), 0);
		break;
	case KTHREAD_WISH_PER_CPU:
		assert_int_equal(kthread_set_per_cpu(subject->k, (int)cpu), 0);
		break;
	}
}

static enum kthread_state wanted_state(const struct subject *subject)
{
	if (subject->kind == KTHREAD_WISH_PER_CPU && !(subject->wish & sim_usable()) && subject->life == WAITING)
		return KTHREAD_PARKED;
	switch (subject->life) {
	case CREATED:
		return KTHREAD_CREATED;
	case WAITING:
		return KTHREAD_WAITING;
	case PARKED:
		return KTHREAD_PARKED;
	default:
		return KTHREAD_ADOPTED;
	}
}

static void assert_right(const struct subject *subject)
{
	assert_placed(subject->k, subject->kind, subject->wish);
	AWAIT(state_of(subject->k) == wanted_state(subject));
}

static void come(struct subject *subject)
{
	if (subject->life == ADOPTED) {
		assert_int_equal(pthread_create(&subject->pthread, NULL, foreigner, subject), 0);
		AWAIT_DONE(&subject->ready);
		subject->k = kthread_adopt_tid(subject->tid, "adopted");
	} else {
		subject->k = kthread_create(obedient, AS_DATA(5), "subject");
	}
	assert_non_null(subject->k);
	give_wish(subject);
	if (subject->life == WAITING)
		kthread_wake(subject->k);
	if (subject->life == PARKED)
		assert_int_equal(kthread_park(subject->k), 0);
	assert_right(subject);
}

static void leave(struct subject *subject)
{
	if (subject->life == ADOPTED) {
		assert_int_equal(kthread_unadopt(subject->k), 0);
		kthread_complete(&subject->go);
		pthread_join(subject->pthread, NULL);
	} else {
		assert_int_equal(kthread_stop(subject->k), subject->life == WAITING ? 5 : -EINTR);
	}
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

static void step(struct subject *subject, unsigned int online)
{
	const uint64_t generation = kthread_generation();
	const bool same = online == sim.online;

	sim_online(online);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_generation(), generation + !same);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_ONLINE), online);
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), sim_usable());
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_generation(), generation + !same); /* nothing has changed: it does not grow */
	assert_right(subject);
}

/* The CPUs of `who`, from the lowest up, then back from the lowest up; and back from the highest down. */
static void walk(struct subject *subject, unsigned int who)
{
	const unsigned int whole = sim.online;

	sim_calm();
	for (int way = 0; way < 2; way++) {
		unsigned int gone = 0;

		for (unsigned int cpu = 0; cpu < 8; cpu++) {
			gone |= who & 1u << cpu;
			step(subject, whole & ~gone);
		}
		for (unsigned int i = 0; i < 8; i++) {
			gone &= ~(1u << (way ? 7 - i : i));
			step(subject, whole & ~gone);
		}
		assert_int_equal(gone, 0);
	}
}

static void walk_all_lives(enum kthread_wish kind, unsigned int wish, unsigned int who)
{
	static const unsigned int housekeeping[] = {0xff, 0x0f, 0x42};

	for (size_t h = 0; h < sizeof(housekeeping) / sizeof(housekeeping[0]); h++) {
		struct kthread_config config = sim_config();

		sim_tree("numa");
		config.housekeeping = sim_list(housekeeping[h]);
		sim.housekeeping = housekeeping[h];
		sim_start(&config);
		for (enum life life = CREATED; life < LIVES; life++) {
			struct subject subject = {.life = life, .kind = kind, .wish = wish};

			if (kind == KTHREAD_WISH_PER_CPU && life == ADOPTED)
				continue;
			come(&subject);
			walk(&subject, who);
			leave(&subject);
		}
		sim_stop();
	}
}

static void hotplug__bound(void **state)
{
	walk_all_lives(KTHREAD_WISH_BOUND, 0x08, 0x08);
	walk_all_lives(KTHREAD_WISH_BOUND, 0x08, 0x7e);
}

static void hotplug__bound_mask(void **state)
{
	walk_all_lives(KTHREAD_WISH_BOUND, 0x4c, 0x4c);
	walk_all_lives(KTHREAD_WISH_BOUND, 0x4c, 0xfe);
}

static void hotplug__preferred(void **state)
{
	walk_all_lives(KTHREAD_WISH_PREFERRED, 0x4c, 0x4c);
	walk_all_lives(KTHREAD_WISH_PREFERRED, 0x4c, 0x7f);
}

static void hotplug__node(void **state)
{
	walk_all_lives(KTHREAD_WISH_NODE, 0x0c, 0x0c);
	walk_all_lives(KTHREAD_WISH_NODE, 0x0c, 0x7f);
}

static void hotplug__unbound(void **state)
{
	walk_all_lives(KTHREAD_WISH_NONE, 0, 0x0f);
	walk_all_lives(KTHREAD_WISH_NONE, 0, 0x7f);
}

static void hotplug__per_cpu(void **state)
{
	walk_all_lives(KTHREAD_WISH_PER_CPU, 0x08, 0x08);
	walk_all_lives(KTHREAD_WISH_PER_CPU, 0x08, 0x7e);
}

/* ---- pending binds, and threads created while CPUs are away ------------------------------------------------------ */

static void kthread_bind__offline_cpu_is_pending(void **state)
{
	struct subject subject = {.life = WAITING, .kind = KTHREAD_WISH_BOUND, .wish = 0x20};

	sim_start(NULL);
	sim_online(0xdf);
	assert_int_equal(kthread_rescan(), 0);
	come(&subject);
	sim_calm();
	assert_true(kthread_is_broken(subject.k));
	step(&subject, 0xff);
	assert_false(kthread_is_broken(subject.k));
	assert_true(sim_info(subject.k).broken_ns > 0);
	leave(&subject);
	sim_stop();
}

static void kthread_create_on_cpu__offline_cpu_is_pending(void **state)
{
	struct subject subject = {.life = WAITING, .kind = KTHREAD_WISH_BOUND, .wish = 0x20};

	sim_start(NULL);
	sim_online(0x01);
	subject.k = kthread_run_on_cpu(obedient, AS_DATA(5), 5, "on/%u");
	assert_non_null(subject.k);
	sim_calm(); /* creation looked at nothing: the first look is the monitor's */
	assert_right(&subject);
	step(&subject, 0x03);
	step(&subject, 0x21);
	assert_false(kthread_is_broken(subject.k));
	leave(&subject);
	sim_stop();
}

static void kthread_create_on_node__whole_node_is_off(void **state)
{
	struct subject subject = {.life = CREATED, .kind = KTHREAD_WISH_NODE, .wish = 0xc0};
	cpu_set_t set;

	sim_start(NULL);
	assert_int_equal(kthread_node_cpus(3, sizeof(set), &set), 0); /* seen once: it is remembered */
	sim_online(0x3f);
	assert_int_equal(kthread_rescan(), 0);
	subject.k = kthread_create_on_node(obedient, NULL, 3, "node");
	assert_non_null(subject.k);
	assert_int_equal(sim_info(subject.k).node, 3);
	sim_calm();
	assert_right(&subject);
	step(&subject, 0xbf);
	step(&subject, 0xff);
	leave(&subject);
	sim_stop();
}

/* A new wish replaces the old one whole, whatever that was. */
static void placement__each_wish_after_each_other(void **state)
{
	static const struct subject wishes[] = {
	    {.kind = KTHREAD_WISH_NONE},
	    {.kind = KTHREAD_WISH_NODE, .wish = 0x30},
	    {.kind = KTHREAD_WISH_PREFERRED, .wish = 0x18},
	    {.kind = KTHREAD_WISH_BOUND, .wish = 0x02},
	    {.kind = KTHREAD_WISH_BOUND, .wish = 0x82},
	    {.kind = KTHREAD_WISH_PER_CPU, .wish = 0x40},
	    {.kind = KTHREAD_WISH_PER_CPU, .wish = 0x02},
	};
	const size_t count = sizeof(wishes) / sizeof(wishes[0]);

	sim_start(NULL);
	for (enum life life = CREATED; life <= PARKED; life += PARKED - CREATED) {
		struct subject subject = {.life = life};

		come(&subject);
		sim_calm();
		for (unsigned int online = 0xff; online; online = online == 0xff ? 0xbd : 0) {
			step(&subject, online);
			for (size_t i = 0; i < count * count; i++) {
				subject.kind = wishes[i % count].kind;
				subject.wish = wishes[i % count].wish;
				give_wish(&subject);
				assert_right(&subject);
				subject.kind = wishes[i / count].kind;
				subject.wish = wishes[i / count].wish;
				give_wish(&subject);
				assert_right(&subject);
			}
		}
		step(&subject, 0xff);
		leave(&subject);
	}
	sim_stop();
}

/* ---- who notices ------------------------------------------------------------------------------------------------- */

static void notices(const struct kthread_config *config, void (*write)(const char *path, const char *text))
{
	struct subject bound = {.life = WAITING, .kind = KTHREAD_WISH_BOUND, .wish = 0x08};
	struct subject per_cpu = {.life = WAITING, .kind = KTHREAD_WISH_PER_CPU, .wish = 0x08};

	sim_start(config);
	come(&bound);
	come(&per_cpu);
	for (int i = 0; i < 20; i++) {
		const unsigned int online = i % 2 ? 0xff : 0xf7 & ~(1u << (4 + i % 4));

		sim.online = online;
		write("sys/devices/system/cpu/online", sim_list(online));
		AWAIT(sim_cpus(KTHREAD_CPUS_ONLINE) == online && kthread_is_broken(bound.k) == !(online & 8) &&
		      kthread_is_broken(per_cpu.k) == !(online & 8) && state_of(per_cpu.k) == wanted_state(&per_cpu));
		assert_right(&bound);
		assert_right(&per_cpu);
	}
	leave(&bound);
	leave(&per_cpu);
	sim_stop();
}

static void monitor__poll_finds_it(void **state)
{
	struct kthread_config config = sim_config();

	config.poll_ms = 1;
	notices(&config, sim_replace);
	notices(&config, sim_put);
}

static void monitor__inotify_tells(void **state)
{
	struct kthread_config config = sim_config();

	config.inotify = true;
	notices(&config, sim_put);
	notices(&config, sim_replace);
}

static void monitor__inotify_on_the_cpuset(void **state)
{
	struct kthread_config config = sim_config();
	struct subject subject = {.life = WAITING, .kind = KTHREAD_WISH_BOUND, .wish = 0x08};

	sim_tree("numa");
	sim_put("proc/self/cgroup", "0::/up/down\n");
	sim_put("sys/fs/cgroup/up/cpuset.cpus", "0-7\n");
	sim_put("sys/fs/cgroup/up/down/cpuset.cpus", "\n");
	sim_put("sys/fs/cgroup/up/down/cpuset.cpus.effective", "0-7\n");
	config.inotify = true;
	sim_start(&config);
	come(&subject);
	for (int i = 0; i < 20; i++) {
		const char *const file = i % 3 ? "sys/fs/cgroup/up/cpuset.cpus" : "sys/fs/cgroup/up/down/cpuset.cpus";

		sim.granted = i % 2 ? 0xff : 0x33;
		/* as in the kernel: what is effective is not told of, what is configured is */
		sim_replace("sys/fs/cgroup/up/down/cpuset.cpus.effective", sim_list(sim.granted));
		sim_put(file, sim_list(sim.granted));
		AWAIT(sim_cpus(KTHREAD_CPUS_ALLOWED) == sim.granted && kthread_is_broken(subject.k) == !(i % 2));
		assert_right(&subject);
	}
	leave(&subject);
	sim_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hotplug__bound),
	    cmocka_unit_test(hotplug__bound_mask),
	    cmocka_unit_test(hotplug__preferred),
	    cmocka_unit_test(hotplug__node),
	    cmocka_unit_test(hotplug__unbound),
	    cmocka_unit_test(hotplug__per_cpu),
	    cmocka_unit_test(kthread_bind__offline_cpu_is_pending),
	    cmocka_unit_test(kthread_create_on_cpu__offline_cpu_is_pending),
	    cmocka_unit_test(kthread_create_on_node__whole_node_is_off),
	    cmocka_unit_test(placement__each_wish_after_each_other),
	    cmocka_unit_test(monitor__poll_finds_it),
	    cmocka_unit_test(monitor__inotify_tells),
	    cmocka_unit_test(monitor__inotify_on_the_cpuset),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
