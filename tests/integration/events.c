/* SPDX-License-Identifier: MIT */
/*
 * What the event stream tells of whole stories: each turn once, in the order in which it came about, by whomever.
 */
#include <fcntl.h>
#include <jansson.h>
#include <kthread/freezer.h>
#include <kthread/hotplug.h>
#include <kthread/placement.h>
#include <unistd.h>

#include "base/trace.h"
#include "placement/sim.h"

/* ---- a watcher -------------------------------------------------------------------------------------------------- */

static uint64_t cursor;

static void roused(void *arg)
{
}

static void watch(void)
{
	assert_int_equal(kt_trace_attach(roused, NULL), 0);
	cursor = kt_trace_tail();
}

static bool is_text(const json_t *event, const char *key, const char *text)
{
	const char *value = json_string_value(json_object_get(event, key));

	return value && strcmp(value, text) == 0;
}

/* All that has been told since the last time, as an array. */
static json_t *told(void)
{
	json_t *events = json_array();
	char buf[KT_TRACE_LINE];
	json_int_t time = 0;
	uint64_t lost;
	size_t length;

	while ((length = kt_trace_read(&cursor, buf, sizeof(buf), &lost)) > 0) {
		assert_int_equal(lost, 0);
		for (char *line = buf, *end; line < buf + length; line = end + 1) {
			json_t *event;
			json_int_t now;

			end = memchr(line, '\n', (size_t)(buf + length - line));
			assert_non_null(end);
			event = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
			assert_non_null(event);
			now = json_integer_value(json_object_get(event, "time_ns"));
			assert_true(now >= time && now > 0);
			assert_true(json_is_string(json_object_get(event, "event")));
			time = now;
			json_array_append_new(events, event);
		}
	}
	return events;
}

/* Every thread's event has its tid and name; the name's story, without masks, as words: "create start park ...". */
static void story_of(const json_t *events, const char *name, pid_t tid, char *story, size_t size)
{
	const json_t *event;
	size_t i;

	story[0] = '\0';
	json_array_foreach(events, i, event)
	{
		const char *what = json_string_value(json_object_get(event, "event"));
		size_t have = strlen(story);

		if (!is_text(event, "name", name) || strncmp(what, "thread_", 7) != 0 ||
		    strcmp(what, "thread_affine") == 0)
			continue;
		assert_int_equal(json_integer_value(json_object_get(event, "tid")), tid);
		have += (size_t)snprintf(story + have, size - have, "%s%s", have ? " " : "", what + 7);
		if (strcmp(what, "thread_exit") == 0)
			snprintf(story + have, size - have, "=%d",
			         (int)json_integer_value(json_object_get(event, "result")));
	}
}

static void assert_story(const json_t *events, const char *name, pid_t tid, const char *expected)
{
	char story[1024];

	story_of(events, name, tid, story, sizeof(story));
	assert_string_equal(story, expected);
}

/* ---- lives ------------------------------------------------------------------------------------------------------ */

static void story__of_an_ordinary_thread(void **state)
{
	struct kthread *k;
	json_t *events;
	pid_t tid;

	watch();
	k = kthread_create(obedient, AS_DATA(7), "ordinary \"%d\"", 1);
	assert_non_null(k);
	tid = kthread_tid(k);
	kthread_wake(k);
	await_waiting(k);
	kthread_wake(k); /* a wake is not told */
	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_park(k), -EBUSY);
	kthread_unpark(k);
	kthread_unpark(k);
	await_waiting(k);
	assert_int_equal(kthread_stop(k), 7);
	events = told();
	assert_story(events, "ordinary \"1\"", tid, "create start park unpark stop exit=7");
	json_decref(events);
	kt_trace_detach();
}

static int in_place(void *data)
{
	kthread_set_freezable();
	while (!kthread_should_stop())
		kthread_wait_parkable();
	return -3;
}

/* Parked and frozen by others, while it sleeps on. */
static void story__of_one_that_is_parked_and_frozen_in_its_sleep(void **state)
{
	struct kthread *k = kthread_run(in_place, NULL, "sleeper");
	json_t *events;
	pid_t tid;

	assert_non_null(k);
	tid = kthread_tid(k);
	await_waiting(k);
	watch();
	assert_int_equal(kthread_park(k), 0);
	kthread_unpark(k);
	await_waiting(k);
	assert_int_equal(kthread_freeze_all(AWAIT_LIMIT_NS), 0);
	assert_int_equal(kthread_park(k), 0); /* frozen, and now parked */
	kthread_unpark(k);                    /* frozen again */
	kthread_thaw_all();
	await_waiting(k);
	assert_int_equal(kthread_park(k), 0);
	assert_int_equal(kthread_stop(k), -3); /* stop beats park */
	events = told();
	assert_story(events, "sleeper", tid,
	             "park unpark freeze thaw park unpark freeze thaw park unpark stop exit=-3");
	json_decref(events);
	kt_trace_detach();
}

/* Before it was ever woken. */
static void story__of_those_that_never_ran(void **state)
{
	struct kthread *parked, *stopped, *put;
	json_t *events;
	pid_t tids[3];

	watch();
	parked = kthread_create(obedient, AS_DATA(1), "parked first");
	stopped = kthread_create(obedient, AS_DATA(2), "stopped first");
	put = kthread_create(obedient, AS_DATA(3), "given up");
	assert_true(parked && stopped && put);
	tids[0] = kthread_tid(parked);
	tids[1] = kthread_tid(stopped);
	tids[2] = kthread_tid(put);
	assert_int_equal(kthread_park(parked), 0);
	kthread_unpark(parked);
	await_waiting(parked);
	assert_int_equal(kthread_stop(stopped), -EINTR);
	kthread_get(put);
	kthread_put(put);
	kthread_put(put);
	AWAIT(task_gone(tids[2]));
	assert_int_equal(kthread_stop(parked), 1);
	events = told();
	assert_story(events, "parked first", tids[0], "create park unpark start stop exit=1");
	assert_story(events, "stopped first", tids[1], "create stop exit=-4"); /* -EINTR */
	assert_story(events, "given up", tids[2], "create stop exit=-4");
	json_decref(events);
	kt_trace_detach();
}

static void story__of_one_that_ends_by_itself(void **state)
{
	struct kthread *k;
	json_t *events;
	pid_t tid;

	watch();
	k = kthread_run(result_only, AS_DATA(5), "short");
	assert_non_null(k);
	tid = kthread_tid(k);
	AWAIT(task_gone(tid));
	assert_int_equal(kthread_stop(k), 5); /* too late to be told */
	events = told();
	assert_story(events, "short", tid, "create start exit=5");
	json_decref(events);
	kt_trace_detach();
}

static void story__of_an_adopted_thread(void **state)
{
	struct kthread *k;
	json_t *events;

	watch();
	k = kthread_adopt("main");
	assert_non_null(k);
	assert_int_equal(kthread_unadopt(k), 0);
	events = told();
	assert_story(events, "main", gettid(), "adopt unadopt");
	json_decref(events);
	kt_trace_detach();
}

/* ---- many at once ----------------------------------------------------------------------------------------------- */

#define PARKERS 3
#define PARKS 300

static void *park_and_unpark(void *arg)
{
	struct kthread *k = arg;

	for (int i = 0; i < PARKS; i++) {
		kthread_park(k);
		kthread_unpark(k);
	}
	return NULL;
}

/* Whoever parks and unparks: one after the other, and as many as were counted. */
static void story__of_one_whom_many_park(void **state)
{
	struct kthread *k = kthread_run(in_place, NULL, "popular");
	struct kthread_info info = {.size = sizeof(info)};
	uint64_t before;
	uint64_t parks = 0;
	pthread_t parkers[PARKERS];
	const json_t *event;
	json_t *events;
	bool parked = false;
	size_t i;

	assert_non_null(k);
	await_waiting(k);
	watch();
	assert_int_equal(kthread_info(k, &info), 0);
	before = info.parks;
	for (int p = 0; p < PARKERS; p++)
		assert_int_equal(pthread_create(&parkers[p], NULL, park_and_unpark, k), 0);
	for (int p = 0; p < PARKERS; p++)
		pthread_join(parkers[p], NULL);
	assert_int_equal(kthread_info(k, &info), 0);
	events = told();
	json_array_foreach(events, i, event)
	{
		if (!is_text(event, "name", "popular"))
			continue;
		assert_true(is_text(event, "event", parked ? "thread_unpark" : "thread_park"));
		parked = !parked;
		parks += parked;
	}
	assert_false(parked);
	assert_true(parks > 0); /* many are taken back by another before they are granted */
	assert_int_equal(parks, info.parks - before);
	json_decref(events);
	kthread_stop(k);
	kt_trace_detach();
}

/* ---- places ----------------------------------------------------------------------------------------------------- */

static const json_t *find(const json_t *events, const char *what, const char *name, size_t *from)
{
	for (; *from < json_array_size(events); (*from)++) {
		const json_t *event = json_array_get(events, *from);

		if (is_text(event, "event", what) && (!name || is_text(event, "name", name)))
			return json_array_get(events, (*from)++);
	}
	return NULL;
}

static void assert_affine(const json_t *events, size_t *at, const char *name, const char *from, const char *to,
                          const char *reason, bool broken)
{
	const json_t *event = find(events, "thread_affine", name, at);

	assert_non_null(event);
	if (from)
		assert_string_equal(json_string_value(json_object_get(event, "from")), from);
	else
		assert_true(json_is_null(json_object_get(event, "from")));
	assert_string_equal(json_string_value(json_object_get(event, "to")), to);
	assert_string_equal(json_string_value(json_object_get(event, "reason")), reason);
	assert_true(json_is_null(json_object_get(event, "errno")));
	assert_int_equal(json_is_true(json_object_get(event, "broken")), broken);
}

static void assert_cpu(const json_t *events, size_t *at, int cpu, bool usable, const char *cause)
{
	const json_t *event = find(events, "cpu", NULL, at);

	assert_non_null(event);
	assert_int_equal(json_integer_value(json_object_get(event, "cpu")), cpu);
	assert_int_equal(json_is_true(json_object_get(event, "usable")), usable);
	assert_true(is_text(event, "cause", cause));
}

static void places__a_cpu_is_seen_to_go_and_come(void **state)
{
	struct kthread *k;
	const json_t *view;
	json_t *events;
	size_t at = 0;

	sim_start(NULL);
	watch();
	k = kthread_create(obedient, NULL, "bound");
	assert_non_null(k);
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START); /* else it starts there */
	assert_int_equal(kthread_bind(k, 3), 0);
	kthread_wake(k);
	await_waiting(k);
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	sim_online(0xff);
	assert_int_equal(kthread_rescan(), 0);
	events = told();
	assert_affine(events, &at, "bound", NULL, "0-7", "start", false);
	assert_affine(events, &at, "bound", "0-7", "3", "wish", false);
	assert_cpu(events, &at, 3, false, "observed");
	view = find(events, "view", NULL, &at);
	assert_non_null(view);
	assert_true(is_text(view, "online", "0-2,4-7") && is_text(view, "usable", "0-2,4-7") &&
	            is_text(view, "housekeeping", "0-7"));
	assert_int_equal(json_integer_value(json_object_get(view, "generation")), kthread_generation() - 1);
	assert_affine(events, &at, "bound", "3", "0-2,4-7", "cpus", true);
	assert_cpu(events, &at, 3, true, "observed");
	assert_affine(events, &at, "bound", "0-2,4-7", "3", "cpus", false);
	assert_null(find(events, "cpu", NULL, &at));
	json_decref(events);
	kthread_stop(k);
	kt_trace_detach();
	sim_stop();
}

static int refuse(unsigned int cpu, void *arg)
{
	return -EAGAIN;
}

static int agree(unsigned int cpu, void *arg)
{
	return 0;
}

static void assert_step(const json_t *events, size_t *at, const char *name, const char *call, int cpu, int result)
{
	const json_t *event = find(events, "step", NULL, at);

	assert_non_null(event);
	assert_true(is_text(event, "name", name) && is_text(event, "call", call));
	assert_int_equal(json_integer_value(json_object_get(event, "cpu")), cpu);
	assert_int_equal(json_integer_value(json_object_get(event, "result")), result);
}

static void places__a_cpu_is_given_up_and_taken_back(void **state)
{
	json_t *events;
	size_t at = 0;
	int step;
	int refuses;

	sim_start(NULL);
	step = kthread_cpuhp_setup_nocalls(KTHREAD_CPUHP_ONLINE, "cache", agree, agree, NULL);
	assert_true(step > 0);
	watch();
	assert_int_equal(kthread_cpu_down(2, 0), 0);
	refuses = kthread_cpuhp_setup_nocalls(KTHREAD_CPUHP_ONLINE, "refuses", refuse, NULL, NULL);
	assert_true(refuses > 0);
	assert_int_equal(kthread_cpu_up(2, 0), -EAGAIN);
	kthread_cpuhp_remove_nocalls(refuses);
	assert_int_equal(kthread_cpu_up(2, 0), 0);
	events = told();
	assert_step(events, &at, "cache", "teardown", 2, 0);
	assert_cpu(events, &at, 2, false, "cooperative");
	assert_cpu(events, &at, 2, true, "cooperative");
	assert_step(events, &at, "cache", "startup", 2, 0);
	assert_step(events, &at, "refuses", "startup", 2, -EAGAIN);
	assert_step(events, &at, "cache", "teardown", 2, 0);
	assert_cpu(events, &at, 2, false, "cooperative");
	assert_cpu(events, &at, 2, true, "cooperative");
	assert_step(events, &at, "cache", "startup", 2, 0);
	assert_null(find(events, "cpu", NULL, &at));
	json_decref(events);
	kthread_cpuhp_remove_nocalls(step);
	kt_trace_detach();
	sim_stop();
}

/* With a step one that comes is let in by us, but nobody has asked for it. */
static void places__a_cpu_that_comes_through_the_steps_is_observed(void **state)
{
	json_t *events;
	size_t at = 0;
	int step;

	sim_start(NULL);
	sim_online(0xfb);
	step = kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "memory", agree, agree, NULL);
	assert_true(step > 0);
	watch();
	sim_online(0xff);
	assert_int_equal(kthread_rescan(), 0);
	events = told();
	assert_step(events, &at, "memory", "startup", 2, 0);
	assert_cpu(events, &at, 2, true, "observed");
	json_decref(events);
	kthread_cpuhp_remove_nocalls(step);
	kt_trace_detach();
	sim_stop();
}

/* ---- the rest --------------------------------------------------------------------------------------------------- */

static void others__freeze_thaw_and_messages(void **state)
{
	json_t *events;
	size_t at = 0;
	const json_t *message;

	sim_start(NULL);
	watch();
	assert_int_equal(kthread_freeze_all(AWAIT_LIMIT_NS), 0);
	kthread_thaw_all();
	kthread_thaw_all(); /* nothing was frozen */
	sim_put("sys/devices/system/cpu/isolated", "rubbish");
	assert_int_equal(kthread_rescan(), 0);
	events = told();
	assert_non_null(find(events, "freeze", NULL, &at));
	assert_non_null(find(events, "thaw", NULL, &at));
	assert_null(find(events, "thaw", NULL, &at));
	at = 0;
	message = find(events, "log", NULL, &at);
	assert_non_null(message);
	assert_int_equal(json_integer_value(json_object_get(message, "level")), 4);
	assert_int_equal(json_integer_value(json_object_get(message, "id")), 2);
	assert_memory_equal(json_string_value(json_object_get(message, "message")), "KT002 ", 6);
	assert_int_equal(sim_logged(json_string_value(json_object_get(message, "message"))), 1);
	json_decref(events);
	kt_trace_detach();
	sim_stop();
}

/* Also what nobody else hears of. */
static void others__messages_without_a_log_function(void **state)
{
	struct kthread_config config = sim_config();
	json_t *events;
	size_t at = 0;

	config.log = NULL;
	sim_start(&config);
	watch();
	sim_put("sys/devices/system/cpu/isolated", "rubbish");
	assert_int_equal(kthread_rescan(), 0);
	events = told();
	assert_non_null(find(events, "log", NULL, &at));
	json_decref(events);
	kt_trace_detach();
	sim_stop();
}

/* The library's own threads appear; and a watcher stays one when the library ends and starts anew. */
static void others__the_library_ends_and_starts(void **state)
{
	json_t *events;
	size_t at = 0;

	watch();
	for (int life = 0; life < 2; life++) {
		struct kthread *k;

		sim_start(NULL);
		k = kthread_run(result_only, NULL, "any");
		assert_non_null(k);
		kthread_stop(k);
		sim_stop();
	}
	events = told();
	for (int life = 0; life < 2; life++) {
		assert_non_null(find(events, "thread_create", "kthread-monitor", &at));
		assert_non_null(find(events, "thread_exit", "kthread-monitor", &at));
	}
	json_decref(events);
	kt_trace_detach();
}

static int child(void *arg)
{
	struct kthread *k = arg;

	EXPECT(!kt_trace_is_on());
	EXPECT(kthread_park(k) == -ECHILD);
	kt_trace_detach();
	EXPECT(kt_trace_attach(roused, NULL) == 0);
	cursor = kt_trace_tail();
	EXPECT(kthread_init(NULL) == 0);
	EXPECT(kthread_freeze_all(AWAIT_LIMIT_NS) == 0);
	kthread_thaw_all();
	EXPECT(json_array_size(told()) >= 2);
	kt_trace_detach();
	return 0;
}

static void others__fork(void **state)
{
	struct kthread *k = kthread_run(in_place, NULL, "parent's");
	pthread_t parker;
	json_t *events;

	assert_non_null(k);
	await_waiting(k);
	watch();
	assert_int_equal(pthread_create(&parker, NULL, park_and_unpark, k), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(in_child(child, k), 0);
	pthread_join(parker, NULL);
	kthread_stop(k);
	events = told();
	assert_true(json_array_size(events) >= 2 * PARKS);
	json_decref(events);
	kt_trace_detach();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(story__of_an_ordinary_thread),
	    cmocka_unit_test(story__of_one_that_is_parked_and_frozen_in_its_sleep),
	    cmocka_unit_test(story__of_those_that_never_ran),
	    cmocka_unit_test(story__of_one_that_ends_by_itself),
	    cmocka_unit_test(story__of_an_adopted_thread),
	    cmocka_unit_test(story__of_one_whom_many_park),
	};
	const struct CMUnitTest on_invented_machines[] = {
	    cmocka_unit_test(places__a_cpu_is_seen_to_go_and_come),
	    cmocka_unit_test(places__a_cpu_is_given_up_and_taken_back),
	    cmocka_unit_test(places__a_cpu_that_comes_through_the_steps_is_observed),
	    cmocka_unit_test(others__freeze_thaw_and_messages),
	    cmocka_unit_test(others__messages_without_a_log_function),
	    cmocka_unit_test(others__the_library_ends_and_starts),
	};
	const struct CMUnitTest last[] = {cmocka_unit_test(others__fork)};
	int failed = cmocka_run_group_tests(tests, NULL, fini_finds_nothing);

	failed |= cmocka_run_group_tests(on_invented_machines, NULL, NULL);
	return failed | cmocka_run_group_tests(last, NULL, fini_finds_nothing);
}
