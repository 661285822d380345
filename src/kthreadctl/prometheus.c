/* SPDX-License-Identifier: MIT */
/*
 * A thread is class, index and tid: the class and index are what one sums over, the tid tells threads of one name apart,
 * for two samples with the same labels would make the whole page invalid.
 */
#include "kthreadctl/prometheus.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>

#define SECOND_NS 1000000000

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* KEY="VALUE", escaped as the format wants it. */
static void label(FILE *out, const char *key, const char *value)
{
	fprintf(out, "%s=\"", key);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", out);
		else if (*value == '\\' || *value == '"')
			fprintf(out, "\\%c", *value);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

static void sample_of(FILE *out, const char *name, const struct ctl_thread *thread)
{
	fprintf(out, "%s{", name);
	label(out, "class", thread->class);
	if (thread->index >= 0)
		fprintf(out, ",index=\"%" PRId64 "\"", thread->index);
	else
		fputs(",index=\"\"", out);
	fprintf(out, ",tid=\"%" PRId64 "\"", thread->tid);
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

static void print_metric(FILE *out, const struct metric *metric, const struct ctl_dump *dump)
{
	bool begun = false;

	for (size_t i = 0; i < dump->n_threads; i++) {
		const struct ctl_thread *thread = &dump->threads[i];
		const int64_t value = metric->of(thread);

		if (value < 0)
			continue;
		if (!begun)
			head(out, metric->name, metric->type, metric->help);
		begun = true;
		sample_of(out, metric->name, thread);
		if (metric->seconds)
			fprintf(out, "} %" PRId64 ".%09d\n", value / SECOND_NS, (int)(value % SECOND_NS));
		else
			fprintf(out, "} %" PRId64 "\n", value);
	}
}

static void print_refusals(FILE *out, const struct ctl_dump *dump)
{
	static const char name[] = "kthread_thread_refusals_total";

	head(out, name, "counter", "How often the kernel refused the CPUs of the thread, by its errno.");
	for (size_t i = 0; i < dump->n_threads; i++) {
		const struct ctl_thread *thread = &dump->threads[i];

		for (size_t r = 0; r < thread->n_refusals; r++) {
			sample_of(out, name, thread);
			fputc(',', out);
			label(out, "errno", thread->refusals[r].error);
			fprintf(out, "} %" PRId64 "\n", thread->refusals[r].count);
		}
	}
}

static void print_threads(FILE *out, const struct ctl_dump *dump)
{
	size_t broken = 0;

	head(out, "kthread_thread_info", "gauge", "1; what the thread is now is in the labels.");
	for (size_t i = 0; i < dump->n_threads; i++) {
		const struct ctl_thread *thread = &dump->threads[i];

		broken += thread->broken;
		sample_of(out, "kthread_thread_info", thread);
		fputc(',', out);
		label(out, "kind", thread->kind_name);
		fputc(',', out);
		label(out, "state", thread->state_name);
		fputc(',', out);
		label(out, "wish", thread->wish_name);
		fputs("} 1\n", out);
	}
	head(out, "kthread_threads", "gauge", "Threads that the library keeps.");
	fprintf(out, "kthread_threads %zu\n", dump->n_threads);
	head(out, "kthread_threads_broken", "gauge", "Threads that are broken.");
	fprintf(out, "kthread_threads_broken %zu\n", broken);
	for (size_t m = 0; m < sizeof(metrics) / sizeof(*metrics); m++)
		print_metric(out, &metrics[m], dump);
	print_refusals(out, dump);
}

/* ---- the machine and its steps ---------------------------------------------------------------------------------- */

static void print_view(FILE *out, const struct ctl_dump *dump)
{
	const struct ctl_view *view = &dump->view;

	head(out, "kthread_info", "gauge", "1; which daemon, and with which library.");
	fputs("kthread_info{", out);
	label(out, "process", dump->process);
	fprintf(out, ",pid=\"%" PRId64 "\",", dump->pid);
	label(out, "library", dump->library);
	fprintf(out, ",simulate=\"%s\"} 1\n", dump->simulate ? "true" : "false");
	head(out, "kthread_view_generation", "gauge", "Number of the present view of the machine.");
	fprintf(out, "kthread_view_generation %" PRId64 "\n", view->generation);
	head(out, "kthread_view_confined", "gauge", "1 if the process may not use all CPUs of the machine.");
	fprintf(out, "kthread_view_confined %d\n", view->confined);
	if (view->quota >= 0) {
		head(out, "kthread_view_quota_cpus", "gauge", "CPUs' worth of time that the cgroup grants.");
		fprintf(out, "kthread_view_quota_cpus %" PRId64 "\n", view->quota);
	}
	head(out, "kthread_view_cpus", "gauge", "How many CPUs are in each set.");
	for (int set = 0; set < CTL_SETS; set++)
		fprintf(out, "kthread_view_cpus{set=\"%s\"} %d\n", model_set_name((enum ctl_set)set),
		        view->set[set] ? CPU_COUNT_S(dump->setsize, view->set[set]) : 0);
}

static void sample_of_step(FILE *out, const char *name, const struct ctl_step *step)
{
	fprintf(out, "%s{step=\"%" PRId64 "\",", name, step->step);
	label(out, "name", step->name);
	fputc(',', out);
	label(out, "section", step->section);
	fputs("} ", out);
}

static void print_steps(FILE *out, const struct ctl_dump *dump)
{
	if (dump->n_steps == 0)
		return;
	head(out, "kthread_step_cpus", "gauge", "On how many CPUs the hotplug step is up.");
	for (size_t i = 0; i < dump->n_steps; i++) {
		sample_of_step(out, "kthread_step_cpus", &dump->steps[i]);
		fprintf(out, "%d\n", dump->steps[i].up ? CPU_COUNT_S(dump->setsize, dump->steps[i].up) : 0);
	}
	head(out, "kthread_step_failures_total", "counter", "Callbacks of the hotplug step that failed.");
	for (size_t i = 0; i < dump->n_steps; i++) {
		sample_of_step(out, "kthread_step_failures_total", &dump->steps[i]);
		fprintf(out, "%" PRId64 "\n", dump->steps[i].failures);
	}
}

void prometheus_print(const struct ctl_dump *dump, FILE *out)
{
	print_view(out, dump);
	print_threads(out, dump);
	print_steps(out, dump);
}
