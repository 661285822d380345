/* SPDX-License-Identifier: MIT */
/*
 * What a dump knows (dump.c finds it out) and how it is put down (dump_json.c, dump_text.c: from a record to text, and
 * nothing else).
 */
#ifndef KT_INSPECT_RECORD_H
#define KT_INSPECT_RECORD_H

#include <kthread/inspect.h>
#include <time.h>

#include "hotplug/cpuhp.h"
#include "inspect/head.h"
#include "inspect/json.h"
#include "inspect/state.h"
#include "machine/view.h"
#include "placement/placement.h"

struct kt_head_record {
	pid_t pid;
	char process[KT_PROCESS_NAME];
	uint64_t ns;
	struct timespec time;
	const struct kt_view *view;
	const struct kt_view_sources *sources;
	const cpu_set_t *offlined;
};

struct kt_thread_record {
	const char *name;
	size_t class_length; /* of the name */
	long index;          /* -1 = none */
	pid_t tid;
	const char *kind;
	enum kthread_state state;
	int cpu; /* -1 = not known */
	struct kt_place_report place;
	/* NULL: none, or not known */
	const cpu_set_t *wish, *effective, *actual, *from, *to;
	uint64_t wakes, parks, freezes;
	struct kt_work_counters work;
};

enum kt_section { KT_NODES, KT_CACHES, KT_THREADS, KT_STEPS, KT_END };

/* A format. The text is put down in json->text; a set has setsize bytes. */
struct kt_format {
	void (*head)(struct kt_json *json, const struct kt_head_record *head);
	/* The section begins, and the one before is over. */
	void (*section)(struct kt_json *json, enum kt_section section);
	void (*node)(struct kt_json *json, int node, size_t setsize, const cpu_set_t *cpus);
	void (*cache)(struct kt_json *json, unsigned int level, size_t setsize, const cpu_set_t *cpus);
	void (*thread)(struct kt_json *json, const struct kt_thread_record *thread, size_t setsize);
	void (*step)(struct kt_json *json, const struct kt_step_report *step, size_t setsize);
};

extern const struct kt_format kt_format_json;
extern const struct kt_format kt_format_text;

#endif
