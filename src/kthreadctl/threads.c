/* SPDX-License-Identifier: MIT */
#include "kthreadctl/threads.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/human.h"
#include "kthreadctl/table.h"
#include "machine/cpumask.h"

/* ---- words ------------------------------------------------------------------------------------------------------ */

int threads_compare(const struct ctl_thread *left, const struct ctl_thread *right)
{
	const int classes = strcmp(left->class, right->class);

	if (classes != 0)
		return classes;
	if (left->index != right->index)
		return left->index < right->index ? -1 : 1;
	return (left->tid > right->tid) - (left->tid < right->tid);
}

static int compare_in_list(const void *a, const void *b)
{
	return threads_compare(*(const struct ctl_thread *const *)a, *(const struct ctl_thread *const *)b);
}

const struct ctl_thread **threads_by(const struct ctl_dump *dump, int (*compare)(const void *a, const void *b))
{
	const struct ctl_thread **list = calloc(dump->n_threads + 1, sizeof(const struct ctl_thread *));

	for (size_t i = 0; list && i < dump->n_threads; i++)
		list[i] = &dump->threads[i];
	if (list)
		qsort(list, dump->n_threads, sizeof(const struct ctl_thread *), compare);
	return list;
}

const struct ctl_thread **threads_sorted(const struct ctl_dump *dump)
{
	return threads_by(dump, compare_in_list);
}

char *threads_cpus(const struct ctl_dump *dump, const cpu_set_t *set)
{
	char *list = set ? model_list(dump, set) : strdup("-");

	if (!list || *list)
		return list;
	free(list);
	return strdup("-");
}

char *threads_wish(const struct ctl_dump *dump, const struct ctl_thread *thread)
{
	char *cpus = NULL, *text = NULL;
	int length;

	if (thread->wish == CTL_WISH_NODE) {
		length = asprintf(&text, "%s %" PRId64, thread->wish_name, thread->wish_node);
	} else if (thread->wish_cpus) {
		cpus = threads_cpus(dump, thread->wish_cpus);
		length = cpus ? asprintf(&text, "%s %s", thread->wish_name, cpus) : -1;
	} else {
		length = asprintf(&text, "%s", thread->wish_name);
	}
	free(cpus);
	return length < 0 ? NULL : text;
}

const char *threads_why(const char *reason)
{
	static const struct {
		const char *reason, *text;
	} table[] = {
	    {"none", "not placed yet"},
	    {"start", "it started"},
	    {"wish", "it has a new wish"},
	    {"cpus", "CPUs or the cpuset changed"},
	    {"housekeeping", "the housekeeping CPUs changed"},
	    {"lost", "the kernel or somebody else had changed its mask"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (strcmp(table[i].reason, reason) == 0)
			return table[i].text;
	}
	return reason; /* of a newer library */
}

bool threads_astray(const struct ctl_dump *dump, const struct ctl_thread *thread)
{
	return thread->actual && !kt_cpus_equal(dump->setsize, thread->actual, thread->effective);
}

/* ---- list ------------------------------------------------------------------------------------------------------- */

enum column { NAME, TID, STATE, WISH, EFFECTIVE, ACTUAL, CPU, SINCE, COLUMNS };

/* "broken 12m 05s": how long; else how long it has had its CPUs. */
static void since(char *text, size_t size, const struct ctl_dump *dump, const struct ctl_thread *thread)
{
	char age[32];

	if (thread->broken) {
		human_age(age, sizeof(age), thread->broken_since_ns < 0 ? -1 : dump->time_ns - thread->broken_since_ns);
		snprintf(text, size, "broken %s", age);
	} else if (thread->last.time_ns < 0) {
		snprintf(text, size, "-");
	} else {
		human_age(text, size, dump->time_ns - thread->last.time_ns);
	}
}

static bool list_thread(struct table *table, const struct ctl_dump *dump, const struct ctl_thread *thread)
{
	char *wish = threads_wish(dump, thread), *effective = threads_cpus(dump, thread->effective);
	char *actual = threads_cpus(dump, thread->actual);
	const char *attribute = thread->broken ? RED : threads_astray(dump, thread) ? YELLOW : NULL;
	char tid[24], cpu[24] = "-", age[48];
	bool done = wish && effective && actual;

	snprintf(tid, sizeof(tid), "%" PRId64, thread->tid);
	if (thread->cpu >= 0)
		snprintf(cpu, sizeof(cpu), "%" PRId64, thread->cpu);
	since(age, sizeof(age), dump, thread);
	if (done) {
		const char *const cells[COLUMNS] = {thread->name, tid, thread->state_name, wish, effective, actual,
		                                    cpu,          age};

		done = table_add(table, attribute, cells);
	}
	free(wish);
	free(effective);
	free(actual);
	return done;
}

bool threads_list(const struct ctl_dump *dump, bool colour, bool utf8, FILE *out)
{
	static const char *const headings[COLUMNS] = {"NAME",      "TID",    "STATE", "WISH",
	                                              "EFFECTIVE", "ACTUAL", "CPU",   "SINCE"};
	const struct table_style style = {.colour = colour, .utf8 = utf8, .eol = "\n"};
	const struct ctl_thread **list = threads_sorted(dump);
	struct table *table = table_new(COLUMNS, 1u << TID | 1u << CPU);
	bool done = list && table && table_add(table, BOLD, headings);

	for (size_t i = 0; done && i < dump->n_threads; i++)
		done = list_thread(table, dump, list[i]);
	if (done)
		table_print(table, &style, 0, SIZE_MAX, out);
	table_free(table);
	free(list);
	return done;
}

/* ---- show ------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void line(FILE *out, const char *key, const char *format, ...)
{
	char *text = NULL, *clean = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) >= 0)
		clean = text_dup(text);
	va_end(args);
	fprintf(out, "  %-14s %s\n", key, clean ? clean : "(no memory)");
	free(text);
	if (clean)
		free(clean);
}

static void show_last(const struct ctl_dump *dump, const struct ctl_thread *thread, FILE *out)
{
	const struct ctl_last *last = &thread->last;
	const bool from = last->from && *last->from; /* none: it was its first place */
	char age[32], clock[32];

	if (last->time_ns < 0) {
		line(out, "last placed", "never");
		return;
	}
	human_age(age, sizeof(age), dump->time_ns - last->time_ns);
	human_clock(clock, sizeof(clock), human_epoch_ns(dump->time, dump->time_ns), last->time_ns);
	line(out, "last placed", "%s ago (%s): %s%s%s", age, clock, from ? last->from : "", from ? " -> " : "",
	     last->to && *last->to ? last->to : "-");
	line(out, "why", "%s", threads_why(last->reason ? last->reason : "none"));
	if (last->error)
		line(out, "refused", "by the kernel: %s; tried again at the next look", last->error);
}

/* What follows from all of it, in a sentence. */
static void show_why_there(const struct ctl_dump *dump, const struct ctl_thread *thread, const char *wish, FILE *out)
{
	const struct ctl_view *view = &dump->view;

	if (thread->wish == CTL_WISH_PER_CPU && thread->wish_cpus &&
	    !kt_cpus_intersect(dump->setsize, thread->wish_cpus, view->set[CTL_USABLE]))
		line(out, "so", "its CPU is not usable: it is parked until that is");
	else if (thread->broken)
		line(out, "so", "none of its CPUs (%s) is usable: it runs elsewhere, and goes back when one is", wish);
	else if (threads_astray(dump, thread) && !dump->simulate)
		line(out, "so",
		     "somebody else has changed its mask, or the kernel has; it is put back at the next look");
	else if (thread->wish == CTL_WISH_NONE)
		line(out, "so", "it has no wish: it may run on all usable housekeeping CPUs");
	else if (thread->wish_cpus && (thread->wish == CTL_WISH_BOUND || thread->wish == CTL_WISH_PER_CPU))
		line(out, "so", "%s",
		     kt_cpus_subset(dump->setsize, thread->wish_cpus, view->set[CTL_USABLE])
		         ? "all of its CPUs are usable"
		         : "it has those of its CPUs that are usable");
	else if (thread->wish_cpus && thread->wish == CTL_WISH_PREFERRED)
		line(out, "so", "%s",
		     kt_cpus_intersect(dump->setsize, thread->wish_cpus, thread->effective)
		         ? "it has those of its CPUs that are usable and housekeeping"
		         : "none of its CPUs is usable and housekeeping: any such CPU will do");
}

static void show_counters(const struct ctl_thread *thread, FILE *out)
{
	line(out, "wakes", "%" PRId64, thread->wakes);
	line(out, "parks", "%" PRId64, thread->parks);
	line(out, "freezes", "%" PRId64, thread->freezes);
	line(out, "re-affined", "%" PRId64 " times", thread->reaffines);
	for (size_t i = 0; i < thread->n_refusals; i++)
		line(out, "refusals", "%s: %" PRId64, thread->refusals[i].error, thread->refusals[i].count);
	if (thread->works_run >= 0)
		line(out, "works", "%" PRId64 " run", thread->works_run);
	if (thread->longest_queue >= 0)
		line(out, "longest queue", "%" PRId64, thread->longest_queue);
	if (thread->ktask_chunks >= 0)
		line(out, "ktask chunks", "%" PRId64, thread->ktask_chunks);
}

bool threads_show(const struct ctl_dump *dump, const struct ctl_thread *thread, bool colour, FILE *out)
{
	char *wish = threads_wish(dump, thread), *effective = threads_cpus(dump, thread->effective);
	char *actual = threads_cpus(dump, thread->actual), *name = text_dup(thread->name);
	const bool done = wish && effective && actual && name;
	char age[32];

	if (done) {
		fprintf(out, "%s%s%s\n", colour ? "\033[" BOLD "m" : "", name, colour ? "\033[0m" : "");
		line(out, "tid", "%" PRId64, thread->tid);
		line(out, "kind", "%s", thread->kind_name);
		line(out, "state", "%s", thread->state_name);
		line(out, "wish", "%s", wish);
		line(out, "effective", "%s", effective);
		line(out, "actual", "%s%s", thread->actual ? actual : "not known",
		     thread->actual || !dump->simulate ? "" : ": a simulation tells the kernel nothing");
		if (thread->cpu >= 0)
			line(out, "ran last on", "CPU %" PRId64, thread->cpu);
		if (thread->broken && thread->broken_since_ns >= 0) {
			human_age(age, sizeof(age), dump->time_ns - thread->broken_since_ns);
			fputs(colour ? "\033[" RED "m" : "", out);
			line(out, "broken", "for %s", age);
			fputs(colour ? "\033[0m" : "", out);
		}
		if (thread->broken_ns > 0) {
			human_age(age, sizeof(age), thread->broken_ns);
			line(out, "broken in all", "%s", age);
		}
		show_last(dump, thread, out);
		show_why_there(dump, thread, wish, out);
		show_counters(thread, out);
	}
	free(wish);
	free(effective);
	free(actual);
	free(name);
	return done;
}
