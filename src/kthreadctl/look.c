/* SPDX-License-Identifier: MIT */
/*
 * The subcommands that show one dump.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kthreadctl/ask.h"
#include "kthreadctl/prometheus.h"
#include "kthreadctl/table.h"
#include "kthreadctl/threads.h"

/* Threads first, first + count of the dump as they came, a line each: one as an object, all as an array. */
static enum ctl_status print_json(const struct connection *c, size_t first, size_t count, bool array)
{
	json_t *root = json_loadb(c->text, c->length, 0, NULL);
	const json_t *threads = json_object_get(root, "threads");
	/* What a terminal would obey is no ASCII, or escaped in any case. */
	const size_t flags = JSON_COMPACT | (isatty(STDOUT_FILENO) ? JSON_ENSURE_ASCII : 0);
	bool done = root;

	if (array)
		fputs("[", stdout);
	for (size_t i = first; done && i < first + count; i++) {
		fputs(i > first ? ",\n" : array ? "\n" : "", stdout);
		done = json_dumpf(json_array_get(threads, i), stdout, flags) == 0;
	}
	fputs(array ? "\n]\n" : "\n", stdout);
	json_decref(root);
	return done ? ctl_flush() : ctl_no_memory();
}

static bool print_names(const struct ctl_dump *dump)
{
	const struct ctl_thread **list = threads_sorted(dump);

	for (size_t i = 0; list && i < dump->n_threads; i++) {
		char *name = text_dup(list[i]->name);

		puts(name ? name : "?");
		free(name);
	}
	free(list);
	return list;
}

enum ctl_status run_list(const struct ctl *ctl)
{
	struct connection c = CONNECTION_NONE;
	struct ctl_dump *dump = NULL;
	enum ctl_status status = ask_dump(ctl, &c, &dump);

	if (status == CTL_DONE && ctl->json)
		status = print_json(&c, 0, dump->n_threads, true);
	else if (status == CTL_DONE &&
	         !(ctl->names ? print_names(dump) : threads_list(dump, ctl->colour, ctl->utf8, stdout)))
		status = ctl_no_memory();
	model_free(dump);
	connection_close(&c);
	return status == CTL_DONE ? ctl_flush() : status;
}

/* By "tid=N", or by its name, which must be that of one thread. NULL: none, and why has been said. */
static const struct ctl_thread *find_thread(const struct ctl_dump *dump, const char *name)
{
	const bool by_tid = strncmp(name, "tid=", 4) == 0 && name[4] && !name[4 + strspn(name + 4, "0123456789")];
	const long long tid = by_tid ? strtoll(name + 4, NULL, 10) : 0;
	const struct ctl_thread *found = NULL;
	size_t count = 0;

	for (size_t i = 0; i < dump->n_threads; i++) {
		const struct ctl_thread *thread = &dump->threads[i];

		if (by_tid ? thread->tid == tid : strcmp(thread->name, name) == 0) {
			found = thread;
			count++;
		}
	}
	if (count == 1)
		return found;
	if (count == 0)
		ctl_fail(CTL_REFUSED, "no thread is called \"%s\": 'kthreadctl list' tells them all", name);
	else
		ctl_fail(CTL_REFUSED,
		         "%zu threads are called \"%s\": choose one with tid=NUMBER, as 'kthreadctl list' tells it",
		         count, name);
	return NULL;
}

enum ctl_status run_show(const struct ctl *ctl)
{
	struct connection c = CONNECTION_NONE;
	struct ctl_dump *dump = NULL;
	enum ctl_status status = ask_dump(ctl, &c, &dump);
	const struct ctl_thread *thread = status == CTL_DONE ? find_thread(dump, ctl->argv[0]) : NULL;

	if (status == CTL_DONE && !thread)
		status = CTL_REFUSED;
	else if (thread && ctl->json)
		status = print_json(&c, (size_t)(thread - dump->threads), 1, false);
	else if (thread && !threads_show(dump, thread, ctl->colour, stdout))
		status = ctl_no_memory();
	model_free(dump);
	connection_close(&c);
	return status == CTL_DONE ? ctl_flush() : status;
}

enum ctl_status run_prometheus(const struct ctl *ctl)
{
	struct ctl_dump *dump = NULL;
	const enum ctl_status status = ask_dump(ctl, NULL, &dump);

	if (status == CTL_DONE)
		prometheus_print(dump, ctl->json, stdout);
	model_free(dump);
	return status == CTL_DONE ? ctl_flush() : status;
}
