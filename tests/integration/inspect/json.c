/* SPDX-License-Identifier: MIT */
/*
 * The JSON dump, member by member.
 */
#include "dumped.h"

static const char *list_of(enum kthread_cpus which)
{
	static char lists[8][1 << 16];
	static int turn;
	char *list = lists[turn++ % 8];
	cpu_set_t *set = calloc(1, kthread_setsize());

	assert_int_equal(kthread_cpus(which, kthread_setsize(), set), 0);
	assert_true(kthread_cpulist_format(kthread_setsize(), set, list, sizeof(lists[0])) < (int)sizeof(lists[0]));
	free(set);
	return list;
}

static void assert_view(json_t *whole)
{
	assert_text_of(whole, "view.possible", list_of(KTHREAD_CPUS_POSSIBLE));
	assert_text_of(whole, "view.present", list_of(KTHREAD_CPUS_PRESENT));
	assert_text_of(whole, "view.online", list_of(KTHREAD_CPUS_ONLINE));
	assert_text_of(whole, "view.allowed", list_of(KTHREAD_CPUS_ALLOWED));
	assert_text_of(whole, "view.usable", list_of(KTHREAD_CPUS_USABLE));
	assert_text_of(whole, "view.isolated", list_of(KTHREAD_CPUS_ISOLATED));
	assert_text_of(whole, "view.housekeeping", list_of(KTHREAD_CPUS_HOUSEKEEPING));
	assert_int_equal(number_of(whole, "view.generation"), kthread_generation());
}

static void this_machine(void **state)
{
	const uint64_t before = now_ns();
	struct kthread *k = kthread_run(obedient, NULL, "here/%d", 12);
	json_t *whole;
	json_t *thread;
	cpu_set_t *set;
	char comm[32];
	char list[4096];
	FILE *file;

	assert_non_null(k);
	assert_non_null(kthread_adopt("the main thread"));
	await_waiting(k);
	whole = dumped();
	assert_int_equal(number_of(whole, "pid"), getpid());
	file = fopen("/proc/self/comm", "re");
	assert_non_null(fgets(comm, sizeof(comm), file));
	fclose(file);
	comm[strcspn(comm, "\n")] = '\0';
	assert_text_of(whole, "process", comm);
	assert_text_of(whole, "library", kthread_version());
	assert_in_range(number_of(whole, "time_ns"), before, now_ns());
	assert_int_equal(strlen(text_of(whole, "time")), strlen("2026-11-21T20:00:00.123Z"));
	assert_true(is_null(whole, "root") && json_is_false(member(whole, "simulate")));
	assert_view(whole);
	assert_text_of(whole, "view.sources.online", "/sys/devices/system/cpu/online");
	assert_text_of(whole, "view.sources.housekeeping", "derived");

	thread = thread_named(whole, "here/12");
	assert_text_of(thread, "class", "here");
	assert_int_equal(number_of(thread, "index"), 12);
	assert_int_equal(number_of(thread, "tid"), kthread_tid(k));
	assert_text_of(thread, "kind", "kthread");
	assert_text_of(thread, "state", "waiting");
	assert_text_of(thread, "wish.kind", "none");
	assert_text_of(thread, "effective", list_of(KTHREAD_CPUS_HOUSEKEEPING));
	/* The kernel's own word, and a CPU of it. */
	set = calloc(1, kthread_setsize());
	assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_ACTUAL, kthread_setsize(), set), 0);
	kthread_cpulist_format(kthread_setsize(), set, list, sizeof(list));
	assert_text_of(thread, "actual", list);
	assert_true(CPU_ISSET_S((size_t)number_of(thread, "cpu"), kthread_setsize(), set));
	free(set);
	assert_text_of(thread, "last.reason", "start");
	assert_true(is_null(thread, "last.from") && is_null(thread, "last.errno"));
	assert_text_of(thread, "last.to", text_of(thread, "effective"));
	assert_in_range(number_of(thread, "last.time_ns"), before, number_of(whole, "time_ns"));
	assert_int_equal(json_object_size(member(thread, "counters.refusals")), 0);

	thread = thread_named(whole, "the main thread");
	assert_text_of(thread, "kind", "adopted");
	assert_text_of(thread, "state", "adopted");
	assert_int_equal(number_of(thread, "tid"), getpid());
	thread = thread_named(whole, "kthread-monitor");
	assert_text_of(thread, "kind", "internal");
	json_decref(whole);
	assert_int_equal(kthread_unadopt(kthread_self()), 0);
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

/* Not started by anybody: it starts the library, which has no thread then. */
static void without_threads(void **state)
{
	json_t *whole = dumped();

	assert_int_equal(json_array_size(member(whole, "threads")), 0);
	assert_int_equal(json_array_size(member(whole, "steps")), 0);
	assert_int_equal(number_of(whole, "view.generation"), 1);
	json_decref(whole);
	assert_int_equal(kthread_fini(), 0);
}

static int nothing(unsigned int cpu, void *arg)
{
	return 0;
}

static void an_invented_machine(void **state)
{
	static const char *const nodes[] = {"0-1", "2-3", "4-5", "6-7"};
	struct kthread *bound, *node;
	struct kthread_info info;
	json_t *whole, *of;
	size_t i;

	sim_start(NULL);
	bound = kthread_create(obedient, NULL, "bound");
	AWAIT(sim_info(bound).last_reason == KTHREAD_REASON_START);
	node = kthread_create_on_node(obedient, NULL, 2, "node");
	assert_int_equal(sim_bind(bound, 1 << 3), 0);
	kthread_wake(bound);
	whole = dumped();
	assert_view(whole);
	assert_true(json_is_true(member(whole, "simulate")));
	assert_text_of(whole, "root", sim.root);
	assert_text_of(whole, "view.sources.possible", "/sys/devices/system/cpu/possible");
	assert_text_of(whole, "view.sources.present", "/sys/devices/system/cpu/present");
	json_array_foreach(member(whole, "nodes"), i, of)
	{
		assert_int_equal(number_of(of, "node"), i);
		assert_text_of(of, "cpus", nodes[i]);
	}
	assert_int_equal(i, 4);
	assert_int_equal(json_array_size(member(whole, "caches")), 0);
	of = thread_named(whole, "bound");
	assert_text_of(of, "wish.kind", "bound");
	assert_text_of(of, "wish.cpus", "3");
	assert_true(is_null(of, "wish.node") && is_null(of, "actual") && is_null(of, "cpu"));
	assert_text_of(of, "last.reason", "wish");
	assert_text_of(of, "last.from", "0-7");
	assert_text_of(of, "last.to", "3");
	of = thread_named(whole, "node");
	assert_text_of(of, "wish.kind", "node");
	assert_int_equal(number_of(of, "wish.node"), 2);
	assert_true(is_null(of, "wish.cpus"));
	assert_text_of(of, "effective", "4-5");
	assert_text_of(of, "state", "created");
	json_decref(whole);

	/* Its CPU goes, and others are given up. */
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_cpu_down(7, 0), 0);
	assert_int_equal(kthread_cpu_down(6, 0), 0);
	assert_int_equal(kthread_cpu_up(6, 0), 0);
	assert_int_equal(sim_housekeeping(0x77), 0);
	whole = dumped();
	assert_view(whole);
	assert_text_of(whole, "view.online", "0-2,4-7");
	assert_text_of(whole, "view.usable", "0-2,4-6");
	assert_text_of(whole, "view.offlined", "7");
	assert_text_of(whole, "view.sources.housekeeping", "set");
	of = thread_named(whole, "bound");
	info = sim_info(bound);
	assert_true(json_is_true(member(of, "broken")));
	assert_int_equal(number_of(of, "broken_since_ns"), info.broken_since_ns);
	assert_in_range(number_of(of, "broken_ns"), 1, info.broken_ns);
	assert_text_of(of, "effective", "0-2,4-6");
	assert_text_of(of, "last.to", "0-2,4-6");
	assert_int_equal(number_of(of, "counters.reaffines"), info.reaffines);
	assert_int_equal(sim_mask(bound, KTHREAD_MASK_LAST_TO), 0x77);
	json_decref(whole);

	kthread_stop(bound);
	kthread_stop(node);
	sim_stop();
}

/* Of each of the machines; with the sources that the machine has. */
static void every_invented_machine(void **state)
{
	const struct machine *machine;

	for (size_t i = 0; (machine = machine_at(i)); i++) {
		json_t *whole, *of;
		size_t node;

		if (strcmp(machine->name, "huge") == 0) /* many_cpus() */
			continue;
		sim_tree(machine->name);
		sim_start(NULL);
		whole = dumped();
		assert_view(whole);
		assert_text_of(whole, "view.possible", machine->possible);
		assert_text_of(whole, "view.allowed", machine->allowed);
		assert_int_equal(json_is_true(member(whole, "view.confined")), machine->confined);
		json_array_foreach(member(whole, "nodes"), node, of)
		{
			if (machine->nodes[0].cpus) /* else too many to be listed there: many_cpus() */
				assert_int_equal(number_of(of, "node"), machine->nodes[node].number);
		}
		assert_true(!machine->nodes[0].cpus || !machine->nodes[node].cpus);
		if (strcmp(machine->name, "cgroup2") == 0)
			assert_non_null(strstr(text_of(whole, "view.sources.allowed"), "/cpuset.cpus.effective"));
		if (strcmp(machine->name, "cgroup1") == 0)
			assert_non_null(strstr(text_of(whole, "view.sources.allowed"), "/cpuset."));
		json_decref(whole);
		sim_stop();
	}
}

/* The longest lists there are. */
static void many_cpus(void **state)
{
	struct kthread *k;
	json_t *whole, *of;
	cpu_set_t *set;
	char *list = malloc(1 << 16);

	sim_tree("huge");
	sim_start(NULL);
	set = calloc(1, kthread_setsize());
	for (size_t cpu = 1; cpu < 4096; cpu += 2)
		CPU_SET_S(cpu, kthread_setsize(), set);
	kthread_cpulist_format(kthread_setsize(), set, list, 1 << 16);
	k = kthread_create(obedient, NULL, "comb");
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	assert_int_equal(kthread_bind_mask(k, kthread_setsize(), set), 0);
	whole = dumped();
	of = thread_named(whole, "comb");
	assert_text_of(of, "wish.cpus", list);
	assert_text_of(of, "effective", list);
	assert_text_of(of, "last.to", list);
	assert_text_of(of, "last.from", "0-4095");
	assert_int_equal(json_array_size(member(whole, "nodes")), 64);
	json_decref(whole);
	kthread_stop(k);
	free(set);
	free(list);
	sim_stop();
}

static void put_cache(unsigned int cpu, int index, int level, const char *type, unsigned int sharers)
{
	const struct {
		const char *name;
		char text[32];
	} files[] = {{"level", {(char)('0' + level), '\n'}},
	             {"size", "64K\n"},
	             {"coherency_line_size", "64\n"},
	             {"number_of_sets", "64\n"},
	             {"physical_line_partition", "1\n"}};
	char path[128];
	char text[32];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/cache/index%d/%s", cpu, index,
		         files[i].name);
		sim_put(path, files[i].text);
	}
	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/cache/index%d/type", cpu, index);
	sim_put(path, type);
	snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/cache/index%d/shared_cpu_map", cpu, index);
	snprintf(text, sizeof(text), "%08x\n", sharers);
	sim_put(path, text);
}

/* The outermost level that is shared, and not one beyond that everybody has for himself. */
static void shared_caches(void **state)
{
	static const char *const cpus[] = {"0-3", "4-7"};
	json_t *whole, *of;
	size_t i;

	sim_tree("numa");
	for (unsigned int cpu = 0; cpu < 8; cpu++) {
		put_cache(cpu, 0, 1, "Data\n", 1u << cpu);
		put_cache(cpu, 1, 2, "Unified\n", cpu < 4 ? 0x0f : 0xf0);
		put_cache(cpu, 2, 3, "Unified\n", 1u << cpu);
	}
	sim_start(NULL);
	whole = dumped();
	json_array_foreach(member(whole, "caches"), i, of)
	{
		assert_int_equal(number_of(of, "level"), 2);
		assert_text_of(of, "cpus", cpus[i]);
	}
	assert_int_equal(i, 2);
	assert_int_equal(json_array_size(member(whole, "nodes")), 4);
	json_decref(whole);
	sim_stop();
}

static void names(void **state)
{
	static const struct {
		const char *name, *read, *class;
		int index; /* -1 = null */
	} cases[] = {
	    {"poll/3", "poll/3", "poll", 3},
	    {"a/b/0", "a/b/0", "a/b", 0},
	    {"poll/999999999", "poll/999999999", "poll", 999999999},
	    {"poll/1000000000", "poll/1000000000", "poll/1000000000", -1},
	    {"poll/03", "poll/03", "poll/03", -1},
	    {"poll/", "poll/", "poll/", -1},
	    {"poll/3x", "poll/3x", "poll/3x", -1},
	    {"poll/-3", "poll/-3", "poll/-3", -1},
	    {"/7", "/7", "/7", -1},
	    {"poll3", "poll3", "poll3", -1},
	    {"say \"hi\" \\n/4", "say \"hi\" \\n/4", "say \"hi\" \\n", 4},
	    {"\x1b[31m\n\t\x7f", "\x1b[31m\n\t\x7f", "\x1b[31m\n\t\x7f", -1},
	    {"caf\xc3\xa9/1", "caf\xc3\xa9/1", "caf\xc3\xa9", 1},
	    {"\xff\xc3/2", "\xef\xbf\xbd\xef\xbf\xbd/2", "\xef\xbf\xbd\xef\xbf\xbd", 2},
	    {"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd", "cut \xef\xbf\xbd\xef\xbf\xbd", -1},
	};
	const size_t count = sizeof(cases) / sizeof(cases[0]);
	struct kthread *threads[sizeof(cases) / sizeof(cases[0]) + 1];
	char longest[2001];
	json_t *whole;

	sim_start(NULL);
	for (size_t i = 0; i < count; i++)
		threads[i] = kthread_create(obedient, NULL, "%s", cases[i].name);
	memset(longest, '"', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	threads[count] = kthread_create(obedient, NULL, "%s", longest);
	whole = dumped();
	for (size_t i = 0; i < count; i++) {
		json_t *of = thread_named(whole, cases[i].read);

		assert_non_null(of);
		assert_text_of(of, "class", cases[i].class);
		if (cases[i].index < 0)
			assert_true(is_null(of, "index"));
		else
			assert_int_equal(number_of(of, "index"), cases[i].index);
	}
	assert_non_null(thread_named(whole, longest));
	json_decref(whole);
	for (size_t i = 0; i <= count; i++)
		kthread_stop(threads[i]);
	sim_stop();
}

/* ---- counters --------------------------------------------------------------------------------------------------- */

static atomic_int runs;

static void count_run(struct kthread_work *work)
{
	atomic_fetch_add(&runs, 1);
}

struct gate {
	struct kthread_work work;
	struct kthread_completion begun, go;
};

static void pass_gate(struct kthread_work *work)
{
	struct gate *gate = (struct gate *)work;

	kthread_complete(&gate->begun);
	AWAIT_DONE(&gate->go);
}

static void a_worker(void **state)
{
	struct gate gate;
	struct kthread_work works[7];
	struct kthread_worker *w, *idle;
	struct kthread_info info;
	struct kthread *thread;
	json_t *whole, *of;

	sim_start(NULL);
	w = kthread_run_worker(0, "worker");
	thread = kthread_get(kthread_worker_thread(w));
	idle = kthread_create_worker(0, "idle");
	kthread_init_work(&gate.work, pass_gate);
	kthread_init_completion(&gate.begun);
	kthread_init_completion(&gate.go);
	assert_true(kthread_queue_work(w, &gate.work));
	AWAIT_DONE(&gate.begun);
	for (int i = 0; i < 7; i++) {
		kthread_init_work(&works[i], count_run);
		assert_true(kthread_queue_work(w, &works[i]));
	}
	/* Out of the list again: neither a part of the queue that is found, nor run. */
	assert_true(kthread_cancel_work_sync(&works[6]));
	whole = dumped();
	of = thread_named(whole, "worker");
	assert_int_equal(number_of(of, "counters.works_run"), 1);
	assert_int_equal(number_of(of, "counters.longest_queue"), 1);
	of = thread_named(whole, "idle");
	assert_int_equal(number_of(of, "counters.works_run"), 0);
	assert_int_equal(number_of(of, "counters.longest_queue"), 0);
	assert_true(is_null(thread_named(whole, "kthread-monitor"), "counters.works_run"));
	assert_true(is_null(thread_named(whole, "kthread-monitor"), "counters.longest_queue"));
	json_decref(whole);
	kthread_complete(&gate.go);
	kthread_flush_worker(w); /* its own work in the queue is none of them */
	assert_int_equal(atomic_load(&runs), 6);
	whole = dumped();
	of = thread_named(whole, "worker");
	assert_int_equal(number_of(of, "counters.works_run"), 7);
	assert_int_equal(number_of(of, "counters.longest_queue"), 6);
	info = sim_info(kthread_worker_thread(w));
	assert_int_equal(info.works_run, 7);
	assert_int_equal(info.longest_queue, 6);
	json_decref(whole);
	kthread_destroy_worker(w);

	/* The memory is used again; the counts are not. */
	w = kthread_run_worker(0, "worker");
	whole = dumped();
	of = thread_named(whole, "worker");
	assert_int_equal(number_of(of, "counters.works_run"), 0);
	assert_int_equal(number_of(of, "counters.longest_queue"), 0);
	json_decref(whole);
	kthread_destroy_worker(w);
	kthread_destroy_worker(idle);
	sim_stop();

	/* A handle outlives its worker's memory, and the library. */
	info = sim_info(thread);
	assert_int_equal(info.works_run, 7);
	assert_int_equal(info.longest_queue, 6);
	kthread_put(thread);
}

static atomic_int chunks;
static atomic_bool caller_is_in, helper_is_in;

/* The caller and a helper wait for each other: so both do at least one. */
static int meet(void *start, void *end, void *arg)
{
	const bool caller = gettid() == getpid();

	atomic_fetch_add(&chunks, 1);
	atomic_store(caller ? &caller_is_in : &helper_is_in, true);
	AWAIT(atomic_load(caller ? &helper_is_in : &caller_is_in));
	return 0;
}

static void a_job(void **state)
{
	struct ktask_ctl ctl = KTASK_CTL_INIT(meet, NULL, 1);
	json_int_t mine, helped = 0;
	json_t *whole, *of;
	size_t i;

	sim_start(NULL);
	assert_non_null(kthread_adopt("caller"));
	whole = dumped();
	assert_true(is_null(thread_named(whole, "caller"), "counters.ktask_chunks"));
	json_decref(whole);
	assert_int_equal(ktask_run(NULL, 1000, &ctl), 0);
	whole = dumped();
	mine = number_of(thread_named(whole, "caller"), "counters.ktask_chunks");
	json_array_foreach(member(whole, "threads"), i, of)
	{
		if (strcmp(text_of(of, "class"), "ktask") != 0)
			continue;
		assert_text_of(of, "kind", "internal");
		helped += number_of(of, "counters.ktask_chunks"); /* 0 of one that came too late */
	}
	assert_true(mine > 0 && helped > 0);
	assert_int_equal(mine + helped, atomic_load(&chunks));
	json_decref(whole);
	assert_int_equal(kthread_unadopt(kthread_self()), 0);
	sim_stop();
}

static void wakes_parks_and_freezes(void **state)
{
	struct kthread *k;
	json_t *whole, *of;

	sim_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	await_waiting(k);
	kthread_wake(k);
	AWAIT(sim_info(k).wakes == 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(kthread_park(k), 0);
		AWAIT(sim_info(k).parks == (unsigned int)i + 1);
		if (i < 2)
			kthread_unpark(k);
	}
	whole = dumped();
	of = thread_named(whole, "k");
	assert_text_of(of, "state", "parked");
	assert_int_equal(number_of(of, "counters.wakes"), sim_info(k).wakes);
	assert_int_equal(number_of(of, "counters.parks"), 3);
	assert_int_equal(number_of(of, "counters.freezes"), 0);
	json_decref(whole);
	kthread_stop(k);
	sim_stop();
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

static int fails_to_go(unsigned int cpu, void *arg)
{
	return -EIO;
}

static void assert_step(json_t *of, int number, const char *section, bool multi, int instances, const char *up)
{
	assert_int_equal(number_of(of, "step"), number);
	assert_text_of(of, "section", section);
	assert_int_equal(json_is_true(member(of, "multi")), multi);
	assert_int_equal(number_of(of, "instances"), instances);
	assert_text_of(of, "up", up);
}

static void steps(void **state)
{
	static int one, other;
	int online, prepare, multi;
	json_t *whole, *of;
	size_t i;

	sim_start(NULL);
	online = kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "say \"on\"", nothing, fails_to_go, NULL);
	multi = kthread_cpuhp_setup_multi(KTHREAD_CPUHP_PREPARE, "multi", nothing, nothing);
	prepare = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "prepare", nothing, nothing, NULL);
	assert_true(online > 0 && prepare > 0 && multi > 0);
	assert_int_equal(kthread_cpuhp_add_instance(multi, &one), 0);
	assert_int_equal(kthread_cpuhp_add_instance(multi, &other), 0);
	sim_online(0xfb);
	assert_int_equal(kthread_rescan(), 0);
	whole = dumped();
	assert_int_equal(json_array_size(member(whole, "steps")), 3);
	/* in the order in which they are called */
	json_array_foreach(member(whole, "steps"), i, of) assert_int_equal(number_of(of, "step"), i == 0   ? multi
	                                                                                          : i == 1 ? prepare
	                                                                                                   : online);
	assert_step(step_named(whole, "multi"), multi, "prepare", true, 2, "0-1,3-7");
	assert_step(step_named(whole, "prepare"), prepare, "prepare", false, 1, "0-1,3-7");
	assert_step(step_named(whole, "say \"on\""), online, "online", false, 1, "0-1,3-7");
	assert_int_equal(number_of(step_named(whole, "say \"on\""), "failures"), 1);
	assert_int_equal(number_of(step_named(whole, "multi"), "failures"), 0);
	json_decref(whole);
	sim_stop();
}

static bool never(unsigned int cpu, void *arg)
{
	return false;
}

static void no_run(unsigned int cpu, void *arg)
{
}

/* What the library needs for itself is not shown as a step; its threads for a client are the client's. */
static void internal_steps(void **state)
{
	struct kthread_percpu desc = KTHREAD_PERCPU_INIT;
	json_t *whole, *of;

	desc.name = "flush/%u";
	desc.should_run = never;
	desc.run = no_run;
	sim_start(NULL);
	assert_int_equal(kthread_percpu_register(&desc), 0);
	assert_true(kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "ours", nothing, nothing, NULL) > 0);
	whole = dumped();
	assert_int_equal(json_array_size(member(whole, "steps")), 1);
	assert_non_null(step_named(whole, "ours"));
	of = thread_named(whole, "flush/5");
	assert_text_of(of, "class", "flush");
	assert_text_of(of, "wish.kind", "per-cpu");
	assert_text_of(of, "wish.cpus", "5");
	json_decref(whole);
	kthread_percpu_unregister(&desc);
	sim_stop();
}

/* ---- from where ------------------------------------------------------------------------------------------------- */

static atomic_int dumps;

static int dumping_step(unsigned int cpu, void *arg)
{
	json_t *whole = dumped();

	CHECK(thread_named(whole, "kthread-monitor"));
	CHECK(step_named(whole, "first"));
	json_decref(whole);
	atomic_fetch_add(&dumps, 1);
	return 0;
}

static void from_a_step(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	atomic_store(&dumps, 0);
	assert_true(kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "first", nothing, nothing, NULL) > 0);
	assert_true(kthread_cpuhp_setup(KTHREAD_CPUHP_ONLINE, "dumps", dumping_step, dumping_step, NULL) > 0);
	assert_int_equal(atomic_load(&dumps), 8);
	assert_int_equal(kthread_cpu_down(2, 0), 0);
	assert_int_equal(atomic_load(&dumps), 9);
	kthread_stop(k);
	sim_stop();
}

static void dumping_log(int level, const char *message, void *arg)
{
	json_decref(dumped());
	atomic_fetch_add(&dumps, 1);
}

static void from_the_log(void **state)
{
	struct kthread_config config = sim_config();
	struct kthread *k;

	atomic_store(&dumps, 0);
	config.log = dumping_log;
	sim_start(&config);
	k = kthread_create(obedient, NULL, "k");
	assert_int_equal(sim_bind(k, 1 << 3), 0);
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	AWAIT(atomic_load(&dumps) > 0); /* it, or the monitor, says that CPU 3 cannot be used */
	kthread_stop(k);
	sim_stop();
}

static int in_the_child(void *arg)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	EXPECT(kthread_dump(out, KTHREAD_JSON) == -ECHILD);
	EXPECT(kthread_dump(out, KTHREAD_TEXT) == -ECHILD);
	EXPECT(kthread_dump(NULL, KTHREAD_TEXT) == -EINVAL);
	EXPECT(fclose(out) == 0 && size == 0);
	EXPECT(kthread_init(NULL) == 0);
	free(text);
	text = dump(KTHREAD_TEXT);
	EXPECT(!strstr(text, "of the parent"));
	free(text);
	EXPECT(kthread_fini() == 0);
	return 0;
}

static void in_a_forked_child(void **state)
{
	struct kthread *k;

	sim_start(NULL);
	k = kthread_run(obedient, NULL, "of the parent");
	assert_int_equal(in_child(in_the_child, NULL), 0);
	kthread_stop(k);
	sim_stop();
}

static void bad_input(void **state)
{
	assert_int_equal(kthread_dump(NULL, KTHREAD_JSON), -EINVAL);
	assert_int_equal(kthread_dump(stdout, (enum kthread_format)2), -EINVAL);
	assert_int_equal(kthread_dump(stdout, (enum kthread_format) - 1), -EINVAL);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(this_machine),
	    cmocka_unit_test(without_threads),
	    cmocka_unit_test(an_invented_machine),
	    cmocka_unit_test(every_invented_machine),
	    cmocka_unit_test(many_cpus),
	    cmocka_unit_test(shared_caches),
	    cmocka_unit_test(names),
	    cmocka_unit_test(a_worker),
	    cmocka_unit_test(a_job),
	    cmocka_unit_test(wakes_parks_and_freezes),
	    cmocka_unit_test(steps),
	    cmocka_unit_test(internal_steps),
	    cmocka_unit_test(from_a_step),
	    cmocka_unit_test(from_the_log),
	    cmocka_unit_test(in_a_forked_child),
	    cmocka_unit_test(bad_input),
	};

	return cmocka_run_group_tests_name("dump_json", tests, NULL, fini_finds_nothing);
}
