/* SPDX-License-Identifier: MIT */
/*
 * The same for people. Of json only its text is used.
 */
#include <kthread/library.h>
#include <string.h>
#include <time.h>

#include "base/errno_name.h"
#include "base/escape.h"
#include "inspect/record.h"

/* A column of at least this width, left-aligned: what is longer pushes the rest of its line. 0: the last one. */
static void put_cpus(struct kt_text *text, int width, size_t setsize, const cpu_set_t *set)
{
	const size_t before = text->length;

	if (set)
		kt_text_cpus(text, setsize, set);
	else
		kt_text_print(text, "-");
	if (set && text->length == before)
		kt_text_print(text, "none");
	if (width > 0)
		kt_text_print(text, "%*s",
		              text->length - before < (size_t)width ? width - (int)(text->length - before) : 1, "");
}

static void put_name(struct kt_text *text, const char *name)
{
	const size_t before = text->length;

	kt_text_print(text, "%s", name);
	if (text->failed)
		return;
	kt_make_printable(text->at + before);
	text->length = before + strlen(text->at + before);
}

static void put_set(struct kt_text *text, const char *name, size_t setsize, const cpu_set_t *set, const char *source)
{
	kt_text_print(text, "  %-13s", name);
	put_cpus(text, source && source[0] ? 16 : 0, setsize, set);
	kt_text_print(text, "%s\n", source ? source : "");
}

static void put_view(struct kt_text *text, const struct kt_head_record *head)
{
	const struct kt_view_sources *sources = head->sources;
	const struct kt_view *view = head->view;
	const size_t setsize = view->setsize;

	kt_text_print(text, "view %llu%s", (unsigned long long)view->generation, view->confined ? ", in a cpuset" : "");
	if (view->quota)
		kt_text_print(text, ", time of %u CPUs", view->quota);
	kt_text_print(text, "\n");
	put_set(text, "possible", setsize, view->set[KT_POSSIBLE], sources->possible);
	put_set(text, "present", setsize, view->set[KT_PRESENT], sources->present);
	put_set(text, "online", setsize, view->set[KT_ONLINE], sources->online);
	put_set(text, "allowed", setsize, view->set[KT_ALLOWED],
	        sources->start_mask ? "cut by the mask that the process was started with" : sources->cpuset);
	put_set(text, "offlined", setsize, head->offlined, NULL);
	put_set(text, "usable", setsize, view->set[KT_USABLE], NULL);
	put_set(text, "isolated", setsize, view->set[KT_ISOLATED],
	        sources->partitions[0] ? sources->partitions : sources->isolated);
	put_set(text, "housekeeping", setsize, view->set[KT_HOUSEKEEPING], sources->housekeeping);
}

static void put_head(struct kt_json *json, const struct kt_head_record *head)
{
	struct kt_text *text = &json->text;
	char time[64];
	struct tm tm;

	gmtime_r(&head->time.tv_sec, &tm);
	strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S UTC", &tm);
	kt_text_print(text, "libkthread %s, process ", kthread_version());
	put_name(text, head->process);
	kt_text_print(text, " (pid %d), %s%s\n", (int)head->pid, time, kt_config()->simulate ? ", simulated" : "");
	if (kt_config()->root[0]) {
		kt_text_print(text, "machine below ");
		put_name(text, kt_config()->root);
		kt_text_print(text, "\n");
	}
	put_view(text, head);
}

static void put_section(struct kt_json *json, enum kt_section section)
{
	static const char *const begin[] = {
	    [KT_NODES] = "",
	    [KT_CACHES] = "",
	    [KT_THREADS] =
		"\n"
		"TID      KIND      STATE     WISH             EFFECTIVE    ACTUAL       CPU   LAST          "
		"MOVED  REFUSED  WAKES      PARKS   FREEZES WORKS      QUEUE   CHUNKS     NAME\n",
	    [KT_STEPS] = "\nSTEP  SECTION  INSTANCES  FAILURES  UP           NAME\n",
	    [KT_END] = "end\n",
	};

	kt_text_print(&json->text, "%s", begin[section]);
}

static void put_node(struct kt_json *json, int node, size_t setsize, const cpu_set_t *cpus)
{
	kt_text_print(&json->text, "  node %-8d", node);
	put_cpus(&json->text, 0, setsize, cpus);
	kt_text_print(&json->text, "\n");
}

static void put_cache(struct kt_json *json, unsigned int level, size_t setsize, const cpu_set_t *cpus)
{
	kt_text_print(&json->text, "  L%u cache     ", level);
	put_cpus(&json->text, 0, setsize, cpus);
	kt_text_print(&json->text, "\n");
}

static void put_count(struct kt_text *text, int width, bool known, uint64_t count)
{
	if (known)
		kt_text_print(text, "%-*llu ", width - 1, (unsigned long long)count);
	else
		kt_text_print(text, "%-*s ", width - 1, "-");
}

static void put_wish(struct kt_text *text, const struct kt_thread_record *thread, size_t setsize)
{
	kt_text_print(text, "%-10s", kthread_wish_name(thread->place.kind));
	if (thread->place.kind == KTHREAD_WISH_NODE)
		put_count(text, 7, true, (uint64_t)thread->place.node);
	else
		put_cpus(text, 7, setsize, thread->wish);
}

/* The last reason; the error, if it was refused. */
static const char *last(const struct kt_place_report *place, char name[KT_ERRNO_NAME])
{
	return place->last_error ? kt_errno_name(place->last_error, name) : kthread_reason_name(place->last_reason);
}

static void put_thread(struct kt_json *json, const struct kt_thread_record *thread, size_t setsize)
{
	const struct kt_work_counters *work = &thread->work;
	const struct kt_place_report *place = &thread->place;
	struct kt_text *text = &json->text;
	char name[KT_ERRNO_NAME];

	kt_text_print(text, "%-8d %-9s %-9s ", (int)thread->tid, thread->kind, kthread_state_name(thread->state));
	put_wish(text, thread, setsize);
	put_cpus(text, 13, setsize, thread->effective);
	put_cpus(text, 13, setsize, thread->actual);
	put_count(text, 6, thread->cpu >= 0, (uint64_t)thread->cpu);
	kt_text_print(text, "%-13s ", last(place, name));
	put_count(text, 7, true, place->reaffines);
	put_count(text, 9, true, place->refusals);
	put_count(text, 11, true, thread->wakes);
	put_count(text, 8, true, thread->parks);
	put_count(text, 8, true, thread->freezes);
	put_count(text, 11, work->worker, work->works_run);
	put_count(text, 8, work->worker, work->longest_queue);
	put_count(text, 11, work->ktask, work->ktask_chunks);
	put_name(text, thread->name);
	kt_text_print(text, "%s\n", place->broken ? "  BROKEN" : "");
}

static void put_step(struct kt_json *json, const struct kt_step_report *step, size_t setsize)
{
	struct kt_text *text = &json->text;

	kt_text_print(text, "%-5d %-8s ", step->number, step->section == KTHREAD_CPUHP_ONLINE ? "online" : "prepare");
	put_count(text, 11, step->multi, step->instances);
	put_count(text, 10, true, (uint64_t)step->failures);
	put_cpus(text, 13, setsize, step->up);
	put_name(text, step->name);
	kt_text_print(text, "\n");
}

const struct kt_format kt_format_text = {
    .head = put_head,
    .section = put_section,
    .node = put_node,
    .cache = put_cache,
    .thread = put_thread,
    .step = put_step,
};
