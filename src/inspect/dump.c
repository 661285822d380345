/* SPDX-License-Identifier: MIT */
/*
 * What a dump consists of, found out piece by piece.
 */
#include "inspect/dump.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/futex.h"
#include "base/log.h"
#include "hotplug/transition.h"
#include "inspect/head.h"
#include "inspect/record.h"
#include "inspect/state.h"
#include "machine/cpumask.h"
#include "machine/topology.h"
#include "thread/thread.h"

enum { WISH, EFFECTIVE, ACTUAL, FROM, TO, WORK, SETS };

/* HEAD, the sections with their elements, LAST. */
enum stage { HEAD = -1, LAST = KT_END };

struct kt_dump {
	const struct kt_format *format;
	struct kt_json json;
	int error;
	unsigned int epoch;
	int stage;
	bool begun;           /* the section's beginning has been put down */
	struct kt_view *view; /* the one of the head */
	cpu_set_t *set[SETS];
	int node;               /* the next one, or a higher one */
	unsigned int cache;     /* from which CPU on the next one is looked for */
	struct kthread *thread; /* the last one, with a reference */
	int section, step;      /* the last one */
};

/* ---- the head --------------------------------------------------------------------------------------------------- */

static void dump_head(struct kt_dump *dump)
{
	struct kt_view_sources *sources = malloc(sizeof(*sources));
	struct kt_head_record head = {.pid = getpid(), .ns = kt_now(), .view = dump->view, .sources = sources};

	if (!sources) {
		dump->error = -ENOMEM;
		return;
	}
	kt_view_sources(sources);
	clock_gettime(CLOCK_REALTIME, &head.time);
	kt_process_name(head.process);
	kt_hotplug_offlined(dump->set[WORK]);
	head.offlined = dump->set[WORK];
	dump->format->head(&dump->json, &head);
	free(sources);
	dump->stage++;
}

/* ---- nodes and caches ------------------------------------------------------------------------------------------- */

/* False: there are no more. */
static bool dump_node(struct kt_dump *dump)
{
	const int node = kt_topology_next_node(dump->view, dump->node, dump->set[WORK]);

	if (node == KTHREAD_NO_NODE)
		return false;
	dump->format->node(&dump->json, node, dump->view->setsize, dump->set[WORK]);
	dump->node = node + 1;
	return true;
}

static bool dump_cache(struct kt_dump *dump)
{
	const int level = kt_topology_next_cache(dump->view, dump->cache, dump->set[WORK]);

	if (level == 0)
		return false;
	dump->cache = (unsigned int)kt_cpus_next(dump->view->setsize, dump->set[WORK], 0) + 1;
	dump->format->cache(&dump->json, (unsigned int)level, dump->view->setsize, dump->set[WORK]);
	return true;
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

static const char *kind_name(enum kt_kind kind)
{
	switch (kind) {
	case KT_ADOPTED:
		return "adopted";
	case KT_INTERNAL:
		return "internal";
	default:
		return "kthread";
	}
}

/* "poll/3" is number 3 of the class "poll". A number that is written otherwise is part of the name. */
static void split_name(struct kt_thread_record *record)
{
	const char *slash = strrchr(record->name, '/');
	const char *number = slash ? slash + 1 : "";
	const size_t length = strlen(number);

	record->class_length = strlen(record->name);
	record->index = -1;
	if (slash == record->name || length == 0 || length > 9 || strspn(number, "0123456789") != length ||
	    (number[0] == '0' && length > 1))
		return;
	record->class_length = (size_t)(slash - record->name);
	record->index = strtol(number, NULL, 10);
}

/* What the kernel says. Nothing that is true of an invented machine, if it is not told of its masks. */
static void ask_kernel(struct kt_dump *dump, struct kt_thread_record *record)
{
	uint64_t cpu;

	record->cpu = -1;
	if (kt_config()->simulate && kt_config()->root[0])
		return;
	if (kt_actual_mask(record->tid, dump->view->setsize, dump->set[ACTUAL]) == 0)
		record->actual = dump->set[ACTUAL];
	if (kt_thread_last_cpu(record->tid, &cpu) == 0)
		record->cpu = (int)cpu;
}

static const cpu_set_t *if_any(const struct kt_dump *dump, int which)
{
	return kt_cpus_empty(dump->view->setsize, dump->set[which]) ? NULL : dump->set[which];
}

static void dump_one_thread(struct kt_dump *dump, const struct kthread *k)
{
	const struct kt_place_masks masks = {
	    .wish = dump->set[WISH],
	    .effective = dump->set[EFFECTIVE],
	    .from = dump->set[FROM],
	    .to = dump->set[TO],
	};
	struct kt_thread_record record = {.name = k->name, .kind = kind_name(k->kind), .tid = kt_thread_known_tid(k)};

	/* one that is being made, or could not be made; or has all but gone */
	if (record.tid == 0 || !kt_place_report(k, &record.place, &masks))
		return;
	split_name(&record);
	record.state = kt_state_of(k);
	record.wish = if_any(dump, WISH);
	record.effective = dump->set[EFFECTIVE];
	record.from = if_any(dump, FROM);
	record.to = if_any(dump, TO);
	record.wakes = atomic_load_explicit(&k->wakes, memory_order_relaxed);
	record.parks = atomic_load_explicit(&k->parks, memory_order_relaxed);
	record.freezes = atomic_load_explicit(&k->freezes, memory_order_relaxed);
	kt_work_counters(k, &record.work);
	ask_kernel(dump, &record);
	dump->format->thread(&dump->json, &record, dump->view->setsize);
}

static bool dump_thread(struct kt_dump *dump)
{
	dump->thread = kt_registry_next(dump->thread);
	if (dump->thread)
		dump_one_thread(dump, dump->thread);
	return dump->thread;
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

static bool dump_step(struct kt_dump *dump)
{
	struct kt_step_report step = {.up = dump->set[WORK]};
	const int error = kt_cpuhp_next_step(dump->section, dump->step, &step);

	if (error) {
		dump->error = error == -ENOENT ? 0 : error;
		return false;
	}
	dump->format->step(&dump->json, &step, dump->view->setsize);
	dump->section = step.section;
	dump->step = step.number;
	free(step.name);
	return true;
}

/* ---- the dump --------------------------------------------------------------------------------------------------- */

static void dump_section(struct kt_dump *dump)
{
	static bool (*const element[])(struct kt_dump *) = {
	    [KT_NODES] = dump_node, [KT_CACHES] = dump_cache, [KT_THREADS] = dump_thread, [KT_STEPS] = dump_step};

	if (!dump->begun)
		dump->format->section(&dump->json, (enum kt_section)dump->stage);
	dump->begun = true;
	if (dump->stage != LAST && element[dump->stage](dump))
		return;
	dump->begun = false;
	dump->stage++;
}

struct kt_dump *kt_dump_begin(enum kthread_format format)
{
	static const struct kt_format *const formats[] = {
	    [KTHREAD_TEXT] = &kt_format_text, [KTHREAD_JSON] = &kt_format_json};
	struct kt_view *view;
	struct kt_dump *dump;

	if ((size_t)format >= sizeof(formats) / sizeof(formats[0])) {
		errno = EINVAL;
		return NULL;
	}
	view = kt_view_get();
	dump = calloc(1, sizeof(*dump) + SETS * view->setsize);
	if (!dump) {
		kt_view_put(view);
		errno = ENOMEM;
		return NULL;
	}
	dump->format = formats[format];
	dump->epoch = atomic_load_explicit(&kt_epoch, memory_order_relaxed);
	dump->stage = HEAD;
	dump->view = view;
	dump->section = -1;
	for (int i = 0; i < SETS; i++)
		dump->set[i] = (cpu_set_t *)(void *)((char *)(dump + 1) + (size_t)i * view->setsize);
	return dump;
}

static void write_piece(struct kt_dump *dump, FILE *out)
{
	const struct kt_text *text = &dump->json.text;

	if (text->failed)
		dump->error = -ENOMEM;
	if (dump->error)
		return;
	errno = 0;
	if (fwrite(text->at, 1, text->length, out) != text->length)
		dump->error = errno ? -errno : -EIO;
}

static void make_piece(struct kt_dump *dump)
{
	while (!dump->error && dump->stage <= LAST && dump->json.text.length == 0) {
		if (dump->stage == HEAD)
			dump_head(dump);
		else
			dump_section(dump);
	}
}

bool kt_dump_next(struct kt_dump *dump, FILE *out)
{
	/* The stream may be the application's own, and have forked. */
	if (!dump->error && dump->epoch != atomic_load_explicit(&kt_epoch, memory_order_relaxed))
		dump->error = -ECHILD;
	dump->json.text.length = 0;
	kt_log_hold(); /* who is cancelled is so in the stream, with no file open */
	make_piece(dump);
	kt_log_release();
	if (dump->json.text.length > 0 || dump->json.text.failed)
		write_piece(dump, out);
	return !dump->error && dump->stage <= LAST;
}

int kt_dump_error(const struct kt_dump *dump)
{
	return dump->error;
}

void kt_dump_end(struct kt_dump *dump)
{
	if (!dump)
		return;
	kthread_put(dump->thread);
	kt_view_put(dump->view);
	kt_text_free(&dump->json.text);
	free(dump);
}

static void end_cancelled(void *arg)
{
	kt_dump_end(arg);
}

/* Wait for what the pieces do not: the topology, and threads that are being made, as the caller's own shall be there. */
static void make_ready(struct kt_dump *dump)
{
	struct kthread *k = NULL;

	dump->error = kt_topology_read(dump->view);
	while ((k = kt_registry_next(k)))
		kt_thread_tid(k);
}

int kthread_dump(FILE *out, enum kthread_format format)
{
	struct kt_dump *dump;
	int error;

	if (!out)
		return -EINVAL;
	error = kt_library_up();
	if (error)
		return error;
	dump = kt_dump_begin(format);
	if (!dump)
		return -errno;
	make_ready(dump);
	pthread_cleanup_push(end_cancelled, dump);
	while (kt_dump_next(dump, out))
		continue;
	error = kt_dump_error(dump);
	errno = 0;
	if (!error && fflush(out) != 0)
		error = errno ? -errno : -EIO;
	pthread_cleanup_pop(1);
	return error;
}
