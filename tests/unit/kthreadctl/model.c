/* SPDX-License-Identifier: MIT */
/* What a daemon says is parsed whole or refused with a reason; nothing that it says crashes who reads it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dumps.h"

static const struct ctl_thread *thread(const struct ctl_dump *d, const char *name)
{
	for (size_t i = 0; i < d->n_threads; i++) {
		if (strcmp(d->threads[i].name, name) == 0)
			return &d->threads[i];
	}
	fail_msg("no thread \"%s\"", name);
	return NULL;
}

static void whole_dump(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	const struct ctl_thread *t;

	assert_string_equal(d->process, "steady");
	assert_string_equal(d->library, "0.1.0");
	assert_string_equal(d->time, "2026-11-21T20:00:00.123Z");
	assert_int_equal(d->pid, 815);
	assert_int_equal(d->time_ns, 7345000000000);
	assert_false(d->simulate);
	assert_int_equal(d->width, 8);
	assert_int_equal(d->view.generation, 9);
	assert_true(d->view.confined);
	assert_int_equal(d->view.quota, 6);
	assert_true(dump_set_is(d, d->view.set[CTL_POSSIBLE], "0-7"));
	assert_true(dump_set_is(d, d->view.set[CTL_ONLINE], "0-4,6-7"));
	assert_true(dump_set_is(d, d->view.set[CTL_USABLE], "0-4,7"));
	assert_true(dump_set_is(d, d->view.set[CTL_OFFLINED], ""));
	assert_true(dump_set_is(d, d->view.set[CTL_ISOLATED], "7"));
	assert_int_equal(d->view.n_sources, 6);
	assert_int_equal(d->n_nodes, 4);
	assert_int_equal(d->nodes[3].node, 3);
	assert_true(dump_set_is(d, d->nodes[3].cpus, "6-7"));
	assert_int_equal(d->n_caches, 4);
	assert_int_equal(d->caches[1].level, 3);
	assert_int_equal(d->n_steps, 2);
	assert_string_equal(d->steps[1].name, "poll");
	assert_string_equal(d->steps[1].section, "online");
	assert_int_equal(d->steps[1].failures, 1);
	assert_true(dump_set_is(d, d->steps[1].up, "0-4,7"));

	t = thread(d, "poll/5");
	assert_string_equal(t->class, "poll");
	assert_int_equal(t->index, 5);
	assert_int_equal(t->state, CTL_PARKED);
	assert_int_equal(t->kind, CTL_KTHREAD);
	assert_int_equal(t->wish, CTL_WISH_PER_CPU);
	assert_true(dump_set_is(d, t->wish_cpus, "5"));
	assert_int_equal(t->wish_node, -1);
	assert_false(t->broken);
	assert_int_equal(t->broken_since_ns, -1);
	assert_int_equal(t->parks, 1);
	assert_int_equal(t->works_run, -1);

	t = thread(d, "tx");
	assert_true(t->broken);
	assert_int_equal(t->broken_since_ns, 7300000000000);
	assert_int_equal(t->index, -1);
	assert_string_equal(t->last.error, "EINVAL");
	assert_string_equal(t->last.reason, "cpus");
	assert_string_equal(t->last.from, "5-6");
	assert_int_equal(t->n_refusals, 1);
	assert_string_equal(t->refusals[0].error, "EINVAL");
	assert_int_equal(t->refusals[0].count, 2);

	t = thread(d, "libfoo-resolver-thread");
	assert_int_equal(t->kind, CTL_ADOPTED);
	assert_int_equal(t->state, CTL_STATE_ADOPTED);
	assert_true(dump_set_is(d, t->effective, "0-4,7"));
	assert_true(dump_set_is(d, t->actual, "0"));
	assert_int_equal(thread(d, "node worker/2")->wish_node, 2);
	assert_int_equal(thread(d, "ktask/0")->ktask_chunks, 913);
	model_free(d);
}

static void every_sample(void **state)
{
	static const struct {
		const char *name;
		unsigned int width;
		size_t threads;
	} samples[] = {
	    {"cpus-2.json", 2, 5}, {"cpus-8.json", 8, 22}, {"cpus-64.json", 64, 95}, {"cpus-256.json", 256, 299}};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		struct ctl_dump *d = dump_load(samples[i].name);

		assert_int_equal(d->width, samples[i].width);
		assert_int_equal(d->n_threads, samples[i].threads);
		model_free(d);
	}
}

/* With `from` replaced by `to`, once. Caller frees. */
static char *edited(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *result;

	if (!at)
		fail_msg("there is no %s", from);
	assert_true(asprintf(&result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
	return result;
}

static void refused(const char *text, size_t length, int error, const char *says)
{
	struct ctl_dump *d = (struct ctl_dump *)-1;
	char message[200] = "";

	assert_int_equal(model_parse(text, length, &d, message, sizeof(message)), error);
	assert_null(d);
	if (!strstr(message, says))
		fail_msg("\"%s\" does not say \"%s\"", message, says);
}

static void malformed(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} cases[] = {
	    {"\"kthread-dump\"", "\"kthread-events\"", "its format is \"kthread-events\""},
	    {"\"kthread-dump\"", "7", "\"format\" is no string"},
	    {"\"version\":1", "\"version\":0", "no version 0"},
	    {"\"version\":1", "\"version\":\"1\"", "\"version\" is no number"},
	    {"\"version\":1,", "", "\"version\" is missing"},
	    {"\"pid\":4711", "\"pid\":-1", "\"pid\" is no number"},
	    {"\"pid\":4711", "\"pid\":4711,\"pid\":4711", "duplicate"},
	    {"\"pid\":4711", "\"pid\":99999999999999999999", "line 1"},
	    {"\"process\":\"steady\"", "\"process\":null", "\"process\" is missing"},
	    {"\"process\":\"steady\"", "\"process\":\"\xff\"", "line 1"},
	    {"\"process\":\"steady\"", "\"process\":\"a\\u0000b\"", "line 1"},
	    {"\"simulate\":false", "\"simulate\":0", "\"simulate\" is neither"},
	    {"\"view\":{", "\"view\":[],\"was\":{", "\"view\" is no object"},
	    {"\"possible\":\"0-1\"", "\"possible\":\"\"", "holds no CPU"},
	    {"\"possible\":\"0-1\"", "\"possible\":\"0-16384\"", "more CPUs than"},
	    {"\"possible\":\"0-1\"", "\"possible\":\"0-99999999999\"", "32 bits"},
	    {"\"online\":\"0-1\"", "\"online\":\"1-0\"", "\"online\" is no CPU list"},
	    {"\"online\":\"0-1\"", "\"online\":null", "\"online\" is missing"},
	    {"\"quota\":null", "\"quota\":1.5", "\"quota\" is no number"},
	    {"\"sources\":{", "\"sources\":7,\"were\":{", "\"sources\" is no object"},
	    {"\"nodes\":[", "\"nodes\":{},\"were\":[", "\"nodes\" is no array"},
	    {"\"nodes\":[", "\"nodes\":[4,", "nodes[0]: it is no object"},
	    {"\"caches\":[", "\"caches\":[{\"level\":3},", "caches[0]: \"cpus\" is missing"},
	    {"\"name\":\"poll/0\"", "\"name\":null", "threads[1]: \"name\" is missing"},
	    {"\"name\":\"poll/1\"", "\"name\":[]", "threads[2]: \"name\" is no string"},
	    {"\"index\":1", "\"index\":\"x\"", "threads[2]: \"index\" is no number"},
	    {"\"effective\":\"1\"", "\"effective\":\"one\"", "threads[2]: \"effective\" is no CPU list"},
	    {"\"wish\":{\"kind\":\"none\"", "\"wish\":{\"kind\":3", "threads[0]: \"kind\" is no string"},
	    {"\"wish\":{", "\"wish\":null,\"was\":{", "threads[0]: \"wish\" is missing"},
	    {"\"last\":{", "\"last\":[],\"was\":{", "threads[0]: \"last\" is no object"},
	    {"\"from\":null", "\"from\":\"x\"", "threads[0]: \"from\" is no CPU list"},
	    {"\"refusals\":{", "\"refusals\":{\"EINVAL\":\"two\"", "threads[0]: \"EINVAL\" is no number"},
	    {"\"counters\":{", "\"counters\":4,\"were\":{", "threads[0]: \"counters\" is no object"},
	    {"\"section\":\"online\"", "\"section\":5", "steps[1]: \"section\" is no string"},
	    {"\"section\":\"online\"", "\"section\":\"on\nline\"", "line"},
	};
	size_t length;
	char *good = dump_text("cpus-2.json", &length);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *bad = edited(good, cases[i].from, cases[i].to);

		refused(bad, strlen(bad), -EINVAL, cases[i].says);
		free(bad);
	}
	refused("", 0, -EINVAL, "cut off");
	refused("null", 4, -EINVAL, "cut off");
	refused("[]", 2, -EINVAL, "no object");
	refused("{}", 2, -EINVAL, "\"format\" is missing");
	free(good);
}

/* Whatever it quotes reaches a terminal. */
static void errors_are_printable(void **state)
{
	static const char text[] = "{\"format\":\"\\u001b[31m\\n\",\"version\":1}";

	refused(text, sizeof(text) - 1, -EINVAL, "its format is \"?[31m?\"");
}

static void newer_version(void **state)
{
	size_t length;
	char *good = dump_text("cpus-2.json", &length), *newer = edited(good, "\"version\":1", "\"version\":2");

	refused(newer, strlen(newer), -ENOTSUP, "version 2");
	free(newer);
	free(good);
}

static void truncated_anywhere(void **state)
{
	char error[200];
	struct ctl_dump *d;
	size_t length;
	char *good = dump_text("cpus-2.json", &length);

	for (size_t cut = 0; cut < length - 1; cut++) { /* its last byte is a newline */
		char *part = malloc(cut ? cut : 1);     /* so that a sanitizer sees what is read behind it */

		assert_non_null(part);
		memcpy(part, good, cut);
		if (model_parse(part, cut, &d, error, sizeof(error)) != -EINVAL)
			fail_msg("cut to %zu bytes it was taken", cut);
		free(part);
	}
	free(good);
}

/* Any byte changed: taken or refused, but never more than that. */
static void any_byte_changed(void **state)
{
	static const char changes[] = {'\0', '"', '{', ']', '9', '-', ',', 'n', (char)0x80};
	char error[200];
	struct ctl_dump *d;
	size_t length, taken = 0;
	char *text = dump_text("cpus-2.json", &length);

	for (size_t i = 0; i < length; i++) {
		const char was = text[i];

		text[i] = changes[i % sizeof(changes)];
		if (model_parse(text, length, &d, error, sizeof(error)) == 0)
			taken++;
		model_free(d);
		text[i] = was;
	}
	assert_true(taken > 0 && taken < length);
	free(text);
}

static void what_is_not_known_is_passed_over(void **state)
{
	static const char *const additions[][2] = {
	    {"\"pid\":", "\"mood\":{\"good\":[1,2.5,null]},\"pid\":"},
	    {"\"generation\":", "\"dies\":\"0-1\",\"generation\":"},
	    {"\"tid\":", "\"numa_hits\":12,\"tid\":"},
	    {"\"state\":\"waiting\"", "\"state\":\"dreaming\""},
	    {"\"kind\":\"internal\"", "\"kind\":\"borrowed\""},
	    {"\"kind\":\"none\"", "\"kind\":\"spread\""},
	    {"\"sources\":{", "\"sources\":{\"dies\":null,\"start_mask\":true,"},
	};
	char error[200];
	struct ctl_dump *d;
	size_t length;
	char *text = dump_text("cpus-2.json", &length);

	for (size_t i = 0; i < sizeof(additions) / sizeof(additions[0]); i++) {
		char *more = edited(text, additions[i][0], additions[i][1]);

		free(text);
		text = more;
	}
	if (model_parse(text, strlen(text), &d, error, sizeof(error)))
		fail_msg("%s", error);
	assert_int_equal(d->threads[0].state, CTL_STATE_OTHER);
	assert_string_equal(d->threads[0].state_name, "dreaming");
	assert_int_equal(d->threads[0].kind, CTL_KIND_OTHER);
	assert_int_equal(d->threads[0].wish, CTL_WISH_OTHER);
	assert_int_equal(d->view.n_sources, 6);
	model_free(d);
	free(text);
}

/* A wish for CPUs that this machine cannot have; a simulated machine that is smaller than the real one. */
static void cpus_beyond_the_possible(void **state)
{
	char error[200];
	struct ctl_dump *d;
	size_t length;
	char *good = dump_text("cpus-2.json", &length);
	char *wide = edited(good, "\"cpus\":\"1\",\"node\":null", "\"cpus\":\"1-1023\",\"node\":null");
	char *far = edited(wide, "\"cpu\":1", "\"cpu\":77");

	if (model_parse(far, strlen(far), &d, error, sizeof(error)))
		fail_msg("%s", error);
	assert_true(dump_set_is(d, d->threads[2].wish_cpus, "1"));
	assert_int_equal(d->threads[2].cpu, -1);
	model_free(d);
	free(far);
	free(wide);
	free(good);
}

static void huge(void **state)
{
	char error[200];
	struct ctl_dump *d;
	size_t length;
	char *text = dump_make(4096, 10000, &length);

	if (model_parse(text, length, &d, error, sizeof(error)))
		fail_msg("%s", error);
	free(text); /* nothing of the model points into it */
	assert_int_equal(d->width, 4096);
	assert_int_equal(d->setsize, 512);
	assert_int_equal(d->n_threads, 10000);
	assert_string_equal(d->threads[9999].name, "w99/99");
	assert_true(dump_set_is(d, d->threads[4095].wish_cpus, "4095"));
	assert_true(d->simulate);
	model_free(d);
}

static struct ctl_event *event(const char *line)
{
	struct ctl_event *e;
	char error[200];

	if (model_parse_event(line, strlen(line), &e, error, sizeof(error)))
		fail_msg("%s: %s", line, error);
	return e;
}

static void events(void **state)
{
	struct ctl_event *e =
	    event("{\"event\":\"watch\",\"format\":\"kthread-events\",\"version\":1,\"library\":\"0.1.0\","
	          "\"pid\":7,\"process\":\"steady\",\"time_ns\":5,\"time\":\"2026\"}\n");

	assert_int_equal(e->type, CTL_EVENT_WATCH);
	assert_int_equal(e->pid, 7);
	assert_string_equal(e->process, "steady");
	model_event_free(e);

	e = event("{\"event\":\"thread_affine\",\"time_ns\":6,\"tid\":9,\"name\":\"poll/3\",\"from\":\"3\",\"to\":null,"
	          "\"reason\":\"cpus\",\"errno\":null,\"broken\":true}");
	assert_int_equal(e->type, CTL_EVENT_AFFINE);
	assert_int_equal(e->time_ns, 6);
	assert_int_equal(e->tid, 9);
	assert_string_equal(e->name, "poll/3");
	assert_string_equal(e->from, "3");
	assert_null(e->to);
	assert_null(e->error);
	assert_true(e->broken);
	model_event_free(e);

	e = event("{\"event\":\"cpu\",\"time_ns\":6,\"cpu\":3,\"usable\":false,\"cause\":\"observed\"}");
	assert_int_equal(e->type, CTL_EVENT_CPU);
	assert_int_equal(e->cpu, 3);
	assert_false(e->usable);
	model_event_free(e);

	e = event(
	    "{\"event\":\"view\",\"time_ns\":6,\"generation\":4,\"online\":\"0-3\",\"usable\":\"0-2\",\"housekeeping\":null}");
	assert_int_equal(e->generation, 4);
	assert_string_equal(e->usable_cpus, "0-2");
	model_event_free(e);

	e = event(
	    "{\"event\":\"step\",\"time_ns\":6,\"name\":\"cache\",\"cpu\":3,\"call\":\"teardown\",\"result\":-5}");
	assert_int_equal(e->type, CTL_EVENT_STEP);
	assert_int_equal(e->result, -5);
	assert_string_equal(e->call, "teardown");
	model_event_free(e);

	e = event("{\"event\":\"thread_exit\",\"time_ns\":6,\"tid\":9,\"name\":\"a\",\"result\":-1}");
	assert_int_equal(e->type, CTL_EVENT_EXIT);
	assert_int_equal(e->result, -1);
	model_event_free(e);

	e = event("{\"event\":\"log\",\"time_ns\":6,\"level\":4,\"id\":17,\"message\":\"hm\"}");
	assert_int_equal(e->id, 17);
	assert_string_equal(e->message, "hm");
	model_event_free(e);

	e = event("{\"event\":\"log\",\"time_ns\":6,\"level\":4,\"message\":\"hm\"}");
	assert_int_equal(e->id, -1);
	model_event_free(e);

	e = event("{\"event\":\"lost\",\"time_ns\":6,\"count\":12}");
	assert_int_equal(e->count, 12);
	model_event_free(e);

	e = event("{\"event\":\"thaw\",\"time_ns\":6}");
	assert_int_equal(e->type, CTL_EVENT_THAW_ALL);
	model_event_free(e);

	e = event("{\"event\":\"thread_dreams\",\"time_ns\":6,\"of\":[1]}");
	assert_int_equal(e->type, CTL_EVENT_OTHER);
	assert_string_equal(e->type_name, "thread_dreams");
	model_event_free(e);
}

static void events_malformed(void **state)
{
	static const struct {
		const char *line, *says;
		int error;
	} cases[] = {
	    {"", "cut off", -EINVAL},
	    {"{\"event\":\"thread_park\",\"time_ns\":6,\"tid\":9,\"na", "cut off", -EINVAL},
	    {"{}", "\"event\" is missing", -EINVAL},
	    {"{\"event\":\"thaw\"}", "\"time_ns\" is missing", -EINVAL},
	    {"{\"event\":\"thread_park\",\"time_ns\":6,\"name\":\"a\"}", "\"tid\" is missing", -EINVAL},
	    {"{\"event\":\"thread_park\",\"time_ns\":6,\"tid\":\"9\",\"name\":\"a\"}", "\"tid\" is no number", -EINVAL},
	    {"{\"event\":\"view\",\"time_ns\":6,\"generation\":1,\"online\":\"3-1\"}", "\"online\" is no CPU list",
	     -EINVAL},
	    {"{\"event\":\"thread_exit\",\"time_ns\":6,\"tid\":9,\"name\":\"a\",\"result\":\"x\"}", "no whole number",
	     -EINVAL},
	    {"{\"event\":\"watch\",\"format\":\"kthread-events\",\"version\":2,\"time_ns\":6}", "version 2", -ENOTSUP},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ctl_event *e = (struct ctl_event *)-1;
		char message[200] = "";

		assert_int_equal(model_parse_event(cases[i].line, strlen(cases[i].line), &e, message, sizeof(message)),
		                 cases[i].error);
		assert_null(e);
		if (!strstr(message, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", message, cases[i].says);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(whole_dump),
	    cmocka_unit_test(every_sample),
	    cmocka_unit_test(malformed),
	    cmocka_unit_test(errors_are_printable),
	    cmocka_unit_test(newer_version),
	    cmocka_unit_test(truncated_anywhere),
	    cmocka_unit_test(any_byte_changed),
	    cmocka_unit_test(what_is_not_known_is_passed_over),
	    cmocka_unit_test(cpus_beyond_the_possible),
	    cmocka_unit_test(huge),
	    cmocka_unit_test(events),
	    cmocka_unit_test(events_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
