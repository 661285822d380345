/* SPDX-License-Identifier: MIT */
/*
 * A thread is class, index and tid: the class and index are what one sums over, the tid tells threads of one name apart,
 * for two samples with the same labels would make the whole page invalid.
 */
#include "kthreadctl/prometheus.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>

#define SECOND_NS 1000000000

/* ---- the page --------------------------------------------------------------------------------------------------- */

/* Written family by family, sample by sample, label by label. As JSON: an array of families, as prom2json writes it. */
struct page {
	FILE *out;
	bool json;
	const char *family; /* the present one; NULL at first */
	size_t samples;     /* that it has so far */
	size_t labels;      /* that the present sample has so far */
};

/* "VALUE", escaped as the format wants it. */
static void quoted(const struct page *page, const char *value)
{
	fputc('"', page->out);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", page->out);
		else if (*value == '\\' || *value == '"')
			fprintf(page->out, "\\%c", *value);
		else if (page->json && (unsigned char)*value < ' ')
			fprintf(page->out, "\\u%04x", (unsigned int)*value);
		else
			fputc(*value, page->out);
	}
	fputc('"', page->out);
}

static void family(struct page *page, const char *name, const char *type, const char *help)
{
	if (!page->json) {
		fprintf(page->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
	} else {
		fprintf(page->out, "%s\n{\"name\":\"%s\",\"help\":", page->family ? "]}," : "[", name);
		quoted(page, help);
		fputs(",\"type\":\"", page->out);
		for (; *type; type++)
			fputc(toupper(*type), page->out);
		fputs("\",\"metrics\":[", page->out);
	}
	page->family = name;
	page->samples = 0;
}

static void sample(struct page *page)
{
	if (page->json)
		fprintf(page->out, "%s\n{\"labels\":{", page->samples ? "," : "");
	else
		fputs(page->family, page->out);
	page->samples++;
	page->labels = 0;
}

static void label(struct page *page, const char *key, const char *value)
{
	if (page->labels)
		fputc(',', page->out);
	else if (!page->json)
		fputc('{', page->out);
	page->labels++;
	fprintf(page->out, page->json ? "\"%s\":" : "%s=", key);
	quoted(page, value);
}

__attribute__((format(printf, 3, 4))) static void label_as(struct page *page, const char *key, const char *format, ...)
{
	char text[64];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	label(page, key, text);
}

/* The sample's number, with which it ends. */
__attribute__((format(printf, 2, 3))) static void number(struct page *page, const char *format, ...)
{
	va_list args;

	if (page->json)
		fputs("},\"value\":\"", page->out);
	else
		fputs(page->labels ? "} " : " ", page->out);
	va_start(args, format);
	vfprintf(page->out, format, args);
	va_end(args);
	fputs(page->json ? "\"}" : "\n", page->out);
}

static void only(struct page *page, const char *name, const char *help, int64_t value)
{
	family(page, name, "gauge", help);
	sample(page);
	number(page, "%" PRId64, value);
}

static void sample_of(struct page *page, const struct ctl_thread *thread)
{
	sample(page);
	label(page, "class", thread->class);
	if (thread->index >= 0)
		label_as(page, "index", "%" PRId64, thread->index);
	else
		label(page, "index", "");
	label_as(page, "tid", "%" PRId64, thread->tid);
}

/* ---- numbers of a thread ---------------------------------------------------------------------------------------- */

struct metric {
	const char *name, *type, *help;
	int64_t (*of)(const struct ctl_thread *thread); /* -1: this thread has none */
	bool seconds;                                   /* it is nanoseconds, to be printed as seconds */
};

#define MEMBER(member) \
	static int64_t get_##member(const struct ctl_thread *thread) \
	{ \
		return thread->member; \
	}
MEMBER(broken)
MEMBER(broken_ns)
MEMBER(cpu)
MEMBER(wakes)
MEMBER(parks)
MEMBER(freezes)
MEMBER(reaffines)
MEMBER(works_run)
MEMBER(longest_queue)
MEMBER(ktask_chunks)

static const struct metric metrics[] = {
    {"kthread_thread_broken", "gauge", "1 while the thread is bound to CPUs none of which is usable.", get_broken,
     false},
    {"kthread_thread_broken_seconds_total", "counter", "Time for which the thread has been broken.", get_broken_ns,
     true},
    {"kthread_thread_cpu", "gauge", "The CPU that the thread ran on last.", get_cpu, false},
    {"kthread_thread_wakes_total", "counter", "Waits of the thread that a wake has ended.", get_wakes, false},
    {"kthread_thread_parks_total", "counter", "How often the thread became parked.", get_parks, false},
    {"kthread_thread_freezes_total", "counter", "How often the thread became frozen.", get_freezes, false},
    {"kthread_thread_reaffines_total", "counter", "How often the thread was given new CPUs after its start.",
     get_reaffines, false},
    {"kthread_thread_works_total", "counter", "Works that the worker has run.", get_works_run, false},
    {"kthread_thread_longest_queue", "gauge", "The most works that were queued for the worker at a time.",
     get_longest_queue, false},
    {"kthread_thread_ktask_chunks_total", "counter", "Chunks of jobs that the helper has done.", get_ktask_chunks,
     false},
};

static void print_metric(struct page *page, const struct metric *metric, const struct ctl_dump *dump)
{
	bool begun = false;

	for (size_t i = 0; i < dump->n_threads; i++) {
		const struct ctl_thread *thread = &dump->threads[i];
		const int64_t value = metric->of(thread);

		if (value < 0)
			continue;
		if (!begun)
			family(page, metric->name, metric->type, metric->help);
		begun = true;
		sample_of(page, thread);
		if (metric->seconds)
			number(page, "%" PRId64 ".%09d", value / SECOND_NS, (int)(value % SECOND_NS));
		else
			number(page, "%" PRId64, value);
	}
}

static void print_refusals(struct page *page, const struct ctl_dump *dump)
{
	family(page, "kthread_thread_refusals_total", "counter",
	       "How often the kernel refused the CPUs of the thread, by its errno.");
	for (size_t i = 0; i < dump->n_threads; i++) {
		const struct ctl_thread *thread = &dump->threads[i];

		for (size_t r = 0; r < thread->n_refusals; r++) {
			sample_of(page, thread);
			label(page, "errno", thread->refusals[r].error);
			number(page, "%" PRId64, thread->refusals[r].count);
		}
	}
}

static void print_threads(struct page *page, const struct ctl_dump *dump)
{
	int64_t broken = 0;

	family(page, "kthread_thread_info", "gauge", "1; what the thread is now is in the labels.");
	for (size_t i = 0; i < dump->n_threads; i++) {
		const struct ctl_thread *thread = &dump->threads[i];

		broken += thread->broken;
		sample_of(page, thread);
		label(page, "kind", thread->kind_name);
		label(page, "state", thread->state_name);
		label(page, "wish", thread->wish_name);
		number(page, "1");
	}
	only(page, "kthread_threads", "Threads that the library keeps.", (int64_t)dump->n_threads);
	only(page, "kthread_threads_broken", "Threads that are broken.", broken);
	for (size_t m = 0; m < sizeof(metrics) / sizeof(*metrics); m++)
		print_metric(page, &metrics[m], dump);
	print_refusals(page, dump);
}

/* ---- the machine and its steps ---------------------------------------------------------------------------------- */

static void print_view(struct page *page, const struct ctl_dump *dump)
{
	const struct ctl_view *view = &dump->view;

	family(page, "kthread_info", "gauge", "1; which daemon, and with which library.");
	sample(page);
	label(page, "process", dump->process);
	label_as(page, "pid", "%" PRId64, dump->pid);
	label(page, "library", dump->library);
	label(page, "simulate", dump->simulate ? "true" : "false");
	number(page, "1");
	only(page, "kthread_view_generation", "Number of the present view of the machine.", view->generation);
	only(page, "kthread_view_confined", "1 if the process may not use all CPUs of the machine.", view->confined);
	if (view->quota >= 0)
		only(page, "kthread_view_quota_cpus", "CPUs' worth of time that the cgroup grants.", view->quota);
	family(page, "kthread_view_cpus", "gauge", "How many CPUs are in each set.");
	for (int set = 0; set < CTL_SETS; set++) {
		sample(page);
		label(page, "set", model_set_name((enum ctl_set)set));
		number(page, "%d", view->set[set] ? CPU_COUNT_S(dump->setsize, view->set[set]) : 0);
	}
}

static void sample_of_step(struct page *page, const struct ctl_step *step)
{
	sample(page);
	label_as(page, "step", "%" PRId64, step->step);
	label(page, "name", step->name);
	label(page, "section", step->section);
}

static void print_steps(struct page *page, const struct ctl_dump *dump)
{
	if (dump->n_steps == 0)
		return;
	family(page, "kthread_step_cpus", "gauge", "On how many CPUs the hotplug step is up.");
	for (size_t i = 0; i < dump->n_steps; i++) {
		sample_of_step(page, &dump->steps[i]);
		number(page, "%d", dump->steps[i].up ? CPU_COUNT_S(dump->setsize, dump->steps[i].up) : 0);
	}
	family(page, "kthread_step_failures_total", "counter", "Callbacks of the hotplug step that failed.");
	for (size_t i = 0; i < dump->n_steps; i++) {
		sample_of_step(page, &dump->steps[i]);
		number(page, "%" PRId64, dump->steps[i].failures);
	}
}

void prometheus_print(const struct ctl_dump *dump, bool json, FILE *out)
{
	struct page page = {.out = out, .json = json};

	print_view(&page, dump);
	print_threads(&page, dump);
	print_steps(&page, dump);
	if (json)
		fputs("]}\n]\n", out);
}
