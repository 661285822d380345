/* SPDX-License-Identifier: MIT */
#include "kthreadctl/rates.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/human.h"
#include "kthreadctl/threads.h"

static int compare_tids(const void *a, const void *b)
{
	const struct ctl_thread *left = *(const struct ctl_thread *const *)a;
	const struct ctl_thread *right = *(const struct ctl_thread *const *)b;

	return (left->tid > right->tid) - (left->tid < right->tid);
}

/* A tid may be another thread's by now: its name, or counters that went back, tell most of these. */
static double rate_of(int64_t before, int64_t now, double seconds)
{
	return before < 0 || now < before || seconds <= 0 ? -1 : (double)(now - before) / seconds;
}

static double activity(const struct rate *rate)
{
	return (rate->wakes > 0 ? rate->wakes : 0) + (rate->works > 0 ? rate->works : 0) +
	       (rate->chunks > 0 ? rate->chunks : 0);
}

static int compare_rates(const void *a, const void *b)
{
	const struct rate *left = a, *right = b;
	const double more = activity(right) - activity(left);

	if (left->thread->broken != right->thread->broken)
		return left->thread->broken ? -1 : 1;
	if (more > 0 || more < 0)
		return more > 0 ? 1 : -1;
	return threads_compare(left->thread, right->thread);
}

struct rate *rates(const struct ctl_dump *before, const struct ctl_dump *now)
{
	const bool comparable = before && before->pid == now->pid && before->time_ns < now->time_ns;
	const double seconds = comparable ? (double)(now->time_ns - before->time_ns) / 1e9 : 0;
	const struct ctl_thread **old = comparable ? threads_by(before, compare_tids) : NULL;
	struct rate *list = calloc(now->n_threads + 1, sizeof(*list));

	if (comparable && !old) {
		free(list);
		list = NULL;
	}
	for (size_t i = 0; list && i < now->n_threads; i++) {
		const struct ctl_thread *thread = &now->threads[i];
		const struct ctl_thread **found = comparable ? bsearch(&thread, old, before->n_threads,
		                                                       sizeof(const struct ctl_thread *), compare_tids)
		                                             : NULL;

		list[i] = (struct rate){.thread = thread, .wakes = -1, .works = -1, .chunks = -1};
		if (found && strcmp((*found)->name, thread->name) == 0) {
			list[i].wakes = rate_of((*found)->wakes, thread->wakes, seconds);
			list[i].works = rate_of((*found)->works_run, thread->works_run, seconds);
			list[i].chunks = rate_of((*found)->ktask_chunks, thread->ktask_chunks, seconds);
		}
	}
	if (list)
		qsort(list, now->n_threads, sizeof(*list), compare_rates);
	free(old);
	return list;
}

/* ---- a block ---------------------------------------------------------------------------------------------------- */

enum column { NAME, TID, STATE, CPU, EFFECTIVE, WAKES, WORKS, CHUNKS, QUEUE, REAFFINES, BROKEN, COLUMNS };

static bool add_thread(struct table *table, const struct ctl_dump *dump, const struct rate *rate)
{
	const struct ctl_thread *thread = rate->thread;
	char *effective = threads_cpus(dump, thread->effective);
	char tid[24], cpu[24] = "-", wakes[24], works[24], chunks[24], queue[24] = "-", reaffines[24], broken[32] = "-";
	bool done = effective;

	snprintf(tid, sizeof(tid), "%" PRId64, thread->tid);
	if (thread->cpu >= 0)
		snprintf(cpu, sizeof(cpu), "%" PRId64, thread->cpu);
	human_rate(wakes, sizeof(wakes), rate->wakes);
	human_rate(works, sizeof(works), rate->works);
	human_rate(chunks, sizeof(chunks), rate->chunks);
	if (thread->longest_queue >= 0)
		snprintf(queue, sizeof(queue), "%" PRId64, thread->longest_queue);
	snprintf(reaffines, sizeof(reaffines), "%" PRId64, thread->reaffines);
	if (thread->broken)
		human_age(broken, sizeof(broken),
		          thread->broken_since_ns < 0 ? -1 : dump->time_ns - thread->broken_since_ns);
	if (done) {
		const char *const cells[COLUMNS] = {
		    thread->name, tid,   thread->state_name, cpu,   effective, wakes, works,
		    chunks,       queue, reaffines,          broken};

		done = table_add(table, thread->broken ? RED : NULL, cells);
	}
	free(effective);
	return done;
}

/* One line of the head, cut as those of the table are. */
__attribute__((format(printf, 3, 4))) static bool head(const struct table_style *style, FILE *out, const char *format,
                                                       ...)
{
	struct table *table = table_new(1, 0);
	char *text = NULL;
	va_list args;
	bool done;

	va_start(args, format);
	done = vasprintf(&text, format, args) >= 0;
	va_end(args);
	if (done) {
		const char *const cells[] = {text};

		done = table && table_add(table, NULL, cells);
		free(text);
	}
	if (done)
		table_print(table, style, 0, 1, out);
	table_free(table);
	return done;
}

static bool print_head(const struct ctl_dump *dump, const struct table_style *style, FILE *out)
{
	char *online = threads_cpus(dump, dump->view.set[CTL_ONLINE]);
	char *usable = threads_cpus(dump, dump->view.set[CTL_USABLE]);
	char *housekeeping = threads_cpus(dump, dump->view.set[CTL_HOUSEKEEPING]);
	char clock[32];
	size_t broken = 0;
	bool done = online && usable && housekeeping;

	for (size_t i = 0; i < dump->n_threads; i++)
		broken += dump->threads[i].broken;
	human_clock(clock, sizeof(clock), human_epoch_ns(dump->time, dump->time_ns), dump->time_ns);
	clock[strcspn(clock, ".")] = '\0';
	done = done && head(style, out, "%s (pid %" PRId64 ")  %s  %zu threads, %zu broken%s", dump->process, dump->pid,
	                    clock, dump->n_threads, broken, dump->simulate ? "  simulated" : "");
	done = done && head(style, out, "online %s  usable %s  housekeeping %s", online, usable, housekeeping);
	free(online);
	free(usable);
	free(housekeeping);
	return done;
}

bool rates_print(const struct ctl_dump *before, const struct ctl_dump *now, const struct table_style *style,
                 size_t height, FILE *out)
{
	static const char *const headings[COLUMNS] = {"NAME",      "TID",       "STATE",   "CPU",
	                                              "EFFECTIVE", "WAKES/S",   "WORKS/S", "CHUNKS/S",
	                                              "QUEUE",     "REAFFINED", "BROKEN"};
	struct rate *list = rates(before, now);
	struct table *table = table_new(COLUMNS, 1u << TID | 1u << CPU | 1u << WAKES | 1u << WORKS | 1u << CHUNKS |
	                                             1u << QUEUE | 1u << REAFFINES);
	bool done = list && table && table_add(table, BOLD, headings) && print_head(now, style, out);
	size_t shown = now->n_threads;

	for (size_t i = 0; done && i < now->n_threads; i++)
		done = add_thread(table, now, &list[i]);
	if (height && shown + 3 > height)
		shown = height > 4 ? height - 4 : 0; /* a line for the rest */
	if (done)
		table_print(table, style, 0, shown + 1, out);
	if (done && shown < now->n_threads)
		done = head(style, out, "and %zu more", now->n_threads - shown);
	table_free(table);
	free(list);
	return done;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *real_or_null(double value)
{
	return value < 0 ? json_null() : json_real(value);
}

bool rates_print_json(const struct ctl_dump *before, const struct ctl_dump *now, FILE *out)
{
	struct rate *list = rates(before, now);
	json_t *threads = json_array();
	json_t *block = json_pack("{s:s, s:I, s:I, s:s?, s:o}", "process", now->process, "pid", (json_int_t)now->pid,
	                          "time_ns", (json_int_t)now->time_ns, "time", now->time, "threads", threads);
	bool done = list && block;

	for (size_t i = 0; done && i < now->n_threads; i++) {
		const struct ctl_thread *thread = list[i].thread;
		json_t *one = json_pack("{s:s, s:I, s:s, s:b, s:o, s:o, s:o}", "name", thread->name, "tid",
		                        (json_int_t)thread->tid, "state", thread->state_name, "broken",
		                        (int)thread->broken, "wakes_per_s", real_or_null(list[i].wakes), "works_per_s",
		                        real_or_null(list[i].works), "chunks_per_s", real_or_null(list[i].chunks));

		done = one && json_array_append_new(threads, one) == 0;
	}
	done = done && json_dumpf(block, out, JSON_COMPACT | JSON_REAL_PRECISION(6)) == 0 && fputc('\n', out) != EOF;
	json_decref(block);
	free(list);
	return done;
}
