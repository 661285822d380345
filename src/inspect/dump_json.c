/* SPDX-License-Identifier: MIT */
/*
 * The format of kthread-dump(5). Version 1: members may be added, none changes its meaning or goes.
 */
#include <kthread/library.h>

#include "base/errno_name.h"
#include "inspect/record.h"

#define VERSION 1

static const char *if_set(const char *text)
{
	return text[0] ? text : NULL;
}

static void put_sources(struct kt_json *json, const struct kt_view_sources *sources)
{
	kt_json_open(json, "sources", '{');
	kt_json_string(json, "possible", sources->possible);
	kt_json_string(json, "present", sources->present);
	kt_json_string(json, "online", sources->online);
	kt_json_string(json, "allowed", if_set(sources->cpuset));
	kt_json_bool(json, "start_mask", sources->start_mask);
	kt_json_string(json, "isolated", sources->isolated);
	kt_json_string(json, "partitions", if_set(sources->partitions));
	kt_json_string(json, "housekeeping", sources->housekeeping);
	kt_json_close(json, '}');
}

static void put_view(struct kt_json *json, const struct kt_head_record *head)
{
	static const struct {
		const char *key;
		enum kt_set set;
	} sets[] = {{"possible", KT_POSSIBLE},        {"present", KT_PRESENT}, {"online", KT_ONLINE},
	            {"allowed", KT_ALLOWED},          {"usable", KT_USABLE},   {"isolated", KT_ISOLATED},
	            {"housekeeping", KT_HOUSEKEEPING}};
	const struct kt_view *view = head->view;

	kt_json_line(json);
	kt_json_open(json, "view", '{');
	kt_json_number(json, "generation", view->generation);
	kt_json_bool(json, "confined", view->confined);
	if (view->quota)
		kt_json_number(json, "quota", view->quota);
	else
		kt_json_null(json, "quota");
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		kt_json_line(json);
		kt_json_cpus(json, sets[i].key, view->setsize, view->set[sets[i].set]);
	}
	kt_json_line(json);
	kt_json_cpus(json, "offlined", view->setsize, head->offlined);
	kt_json_line(json);
	put_sources(json, head->sources);
	kt_json_close(json, '}');
}

static void put_head(struct kt_json *json, const struct kt_head_record *head)
{
	kt_json_open(json, NULL, '{');
	kt_json_string(json, "format", "kthread-dump");
	kt_json_number(json, "version", VERSION);
	kt_json_string(json, "library", kthread_version());
	kt_json_number(json, "pid", (uint64_t)head->pid);
	kt_json_string(json, "process", head->process);
	kt_json_number(json, "time_ns", head->ns);
	kt_head_put_time(json, &head->time);
	kt_json_bool(json, "simulate", kt_config()->simulate);
	kt_json_string(json, "root", if_set(kt_config()->root));
	put_view(json, head);
}

static void put_section(struct kt_json *json, enum kt_section section)
{
	static const char *const names[] = {"nodes", "caches", "threads", "steps"};

	if (section > 0) {
		kt_json_line(json);
		kt_json_close(json, ']');
	}
	kt_json_line(json);
	if (section < KT_END) {
		kt_json_open(json, names[section], '[');
	} else {
		kt_json_close(json, '}');
		kt_text_add(&json->text, "\n", 1);
	}
}

static void put_node(struct kt_json *json, int node, size_t setsize, const cpu_set_t *cpus)
{
	kt_json_line(json);
	kt_json_open(json, NULL, '{');
	kt_json_number(json, "node", (uint64_t)node);
	kt_json_cpus(json, "cpus", setsize, cpus);
	kt_json_close(json, '}');
}

static void put_cache(struct kt_json *json, unsigned int level, size_t setsize, const cpu_set_t *cpus)
{
	kt_json_line(json);
	kt_json_open(json, NULL, '{');
	kt_json_number(json, "level", level);
	kt_json_cpus(json, "cpus", setsize, cpus);
	kt_json_close(json, '}');
}

static void put_number_if(struct kt_json *json, const char *key, bool known, uint64_t value)
{
	if (known)
		kt_json_number(json, key, value);
	else
		kt_json_null(json, key);
}

static void put_wish(struct kt_json *json, const struct kt_thread_record *thread, size_t setsize)
{
	kt_json_open(json, "wish", '{');
	kt_json_string(json, "kind", kthread_wish_name(thread->place.kind));
	kt_json_cpus(json, "cpus", setsize, thread->wish);
	put_number_if(json, "node", thread->place.node >= 0, (uint64_t)thread->place.node);
	kt_json_close(json, '}');
}

static void put_last(struct kt_json *json, const struct kt_thread_record *thread, size_t setsize)
{
	char name[KT_ERRNO_NAME];

	if (thread->place.last_reason == KTHREAD_REASON_NONE) {
		kt_json_null(json, "last");
		return;
	}
	kt_json_open(json, "last", '{');
	kt_json_number(json, "time_ns", thread->place.last_ns);
	kt_json_string(json, "reason", kthread_reason_name(thread->place.last_reason));
	kt_json_cpus(json, "from", setsize, thread->from);
	kt_json_cpus(json, "to", setsize, thread->to);
	kt_json_string(json, "errno", thread->place.last_error ? kt_errno_name(thread->place.last_error, name) : NULL);
	kt_json_close(json, '}');
}

static void put_refusals(struct kt_json *json, const struct kt_place_report *place)
{
	uint64_t rest = place->refusals;
	char name[KT_ERRNO_NAME];

	kt_json_open(json, "refusals", '{');
	for (int i = 0; i < KT_REFUSALS; i++) {
		if (place->refused[i])
			kt_json_number(json, kt_errno_name(kt_refusal_errno[i], name), place->refused[i]);
		rest -= place->refused[i];
	}
	if (rest)
		kt_json_number(json, "other", rest);
	kt_json_close(json, '}');
}

static void put_counters(struct kt_json *json, const struct kt_thread_record *thread)
{
	const struct kt_work_counters *work = &thread->work;

	kt_json_open(json, "counters", '{');
	kt_json_number(json, "wakes", thread->wakes);
	kt_json_number(json, "parks", thread->parks);
	kt_json_number(json, "freezes", thread->freezes);
	kt_json_number(json, "reaffines", thread->place.reaffines);
	put_refusals(json, &thread->place);
	put_number_if(json, "works_run", work->worker, work->works_run);
	put_number_if(json, "longest_queue", work->worker, work->longest_queue);
	put_number_if(json, "ktask_chunks", work->ktask, work->ktask_chunks);
	kt_json_close(json, '}');
}

static void put_thread(struct kt_json *json, const struct kt_thread_record *thread, size_t setsize)
{
	const struct kt_place_report *place = &thread->place;

	kt_json_line(json);
	kt_json_open(json, NULL, '{');
	kt_json_string(json, "name", thread->name);
	kt_json_string_of(json, "class", thread->name, thread->class_length);
	put_number_if(json, "index", thread->index >= 0, (uint64_t)thread->index);
	kt_json_number(json, "tid", (uint64_t)thread->tid);
	kt_json_string(json, "kind", thread->kind);
	kt_json_string(json, "state", kthread_state_name(thread->state));
	put_wish(json, thread, setsize);
	kt_json_cpus(json, "effective", setsize, thread->effective);
	kt_json_cpus(json, "actual", setsize, thread->actual);
	put_number_if(json, "cpu", thread->cpu >= 0, (uint64_t)thread->cpu);
	kt_json_bool(json, "broken", place->broken);
	put_number_if(json, "broken_since_ns", place->broken, place->broken_since_ns);
	kt_json_number(json, "broken_ns", place->broken_ns);
	put_last(json, thread, setsize);
	put_counters(json, thread);
	kt_json_close(json, '}');
}

static void put_step(struct kt_json *json, const struct kt_step_report *step, size_t setsize)
{
	kt_json_line(json);
	kt_json_open(json, NULL, '{');
	kt_json_number(json, "step", (uint64_t)step->number);
	kt_json_string(json, "name", step->name);
	kt_json_string(json, "section", step->section == KTHREAD_CPUHP_ONLINE ? "online" : "prepare");
	kt_json_bool(json, "multi", step->multi);
	kt_json_number(json, "instances", step->instances);
	kt_json_cpus(json, "up", setsize, step->up);
	kt_json_number(json, "failures", (uint64_t)step->failures);
	kt_json_close(json, '}');
}

const struct kt_format kt_format_json = {
    .head = put_head,
    .section = put_section,
    .node = put_node,
    .cache = put_cache,
    .thread = put_thread,
    .step = put_step,
};
