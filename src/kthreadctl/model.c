/* SPDX-License-Identifier: MIT */
#include "kthreadctl/model.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <kthread/placement.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/reader.h"
#include "machine/cpulist.h"
#include "machine/cpumask.h"

/* The index of the word, or `count`. */
static unsigned int word(const char *value, const char *const *words, unsigned int count)
{
	unsigned int i = 0;

	while (i < count && (!value || strcmp(value, words[i]) != 0))
		i++;
	return i;
}

static const char *const set_names[CTL_SETS] = {"possible", "present", "online",   "allowed",
                                                "offlined", "usable",  "isolated", "housekeeping"};

const char *model_set_name(enum ctl_set set)
{
	return set < CTL_SETS ? set_names[set] : "?";
}

/* How many CPUs there can be decides how large every other set is. */
static void read_width(struct reader *r, const json_t *view)
{
	struct ctl_dump *d = r->dump;
	const char *possible = reader_text(r, view, "possible");
	cpu_set_t *set;
	int error, last;

	if (r->failed)
		return;
	d->setsize = kt_cpus_size(CTL_CPUS_MAX);
	set = reader_allocate(r, 1, d->setsize);
	if (!set)
		return;
	error = kt_cpulist_parse(possible, CTL_CPUS_MAX, d->setsize, set);
	if (error) {
		reader_fail(r, -EINVAL, "view: \"possible\": %s",
		            error == -ERANGE ? "more CPUs than this program knows" : kt_cpulist_strerror(error));
		return;
	}
	last = kt_cpus_last(d->setsize, set);
	if (last < 0)
		reader_fail(r, -EINVAL, "view: \"possible\" holds no CPU");
	d->width = (unsigned int)last + 1;
	d->setsize = kt_cpus_size(d->width);
}

static void read_view(struct reader *r, const json_t *object)
{
	struct ctl_view *v = &r->dump->view;
	const json_t *sources;
	const char *key;
	json_t *value;
	size_t i = 0;

	read_width(r, object);
	v->generation = reader_number(r, object, "generation");
	v->confined = reader_boolean(r, object, "confined");
	v->quota = reader_maybe_number(r, object, "quota");
	for (unsigned int set = 0; set < CTL_SETS; set++)
		v->set[set] = reader_cpus(r, object, set_names[set]);
	sources = reader_member(object, "sources");
	if (sources && !json_is_object(sources))
		reader_fail(r, -EINVAL, "view: \"sources\" is no object");
	if (r->failed)
		return;
	v->sources = reader_allocate(r, json_object_size(sources), sizeof(*v->sources));
	if (!v->sources)
		return;
	json_object_foreach((json_t *)sources, key, value)
	{
		if (json_is_string(value)) /* a newer library may tell other things, too */
			v->sources[i++] = (struct ctl_source){.set = key, .file = json_string_value(value)};
	}
	v->n_sources = i;
}

static void read_nodes(struct reader *r, const json_t *array)
{
	struct ctl_dump *d = r->dump;
	size_t i;

	d->nodes = reader_begin_array(r, array, sizeof(*d->nodes), &d->n_nodes);
	READER_FOR_EACH(r, array, "nodes", i)
	{
		const json_t *object = reader_element(r, array, i);

		d->nodes[i].node = reader_number(r, object, "node");
		d->nodes[i].cpus = reader_cpus(r, object, "cpus");
	}
}

static void read_caches(struct reader *r, const json_t *array)
{
	struct ctl_dump *d = r->dump;
	size_t i;

	d->caches = reader_begin_array(r, array, sizeof(*d->caches), &d->n_caches);
	READER_FOR_EACH(r, array, "caches", i)
	{
		const json_t *object = reader_element(r, array, i);

		d->caches[i].level = reader_number(r, object, "level");
		d->caches[i].cpus = reader_cpus(r, object, "cpus");
	}
}

static void read_wish(struct reader *r, const json_t *object, struct ctl_thread *t)
{
	static const char *const kinds[] = {"none", "node", "preferred", "bound", "per-cpu"};

	t->wish_name = reader_text(r, object, "kind");
	t->wish = (enum ctl_wish)word(t->wish_name, kinds, CTL_WISH_OTHER);
	t->wish_cpus = reader_maybe_cpus(r, object, "cpus");
	t->wish_node = reader_maybe_number(r, object, "node");
}

static void read_last(struct reader *r, const json_t *object, struct ctl_last *last)
{
	*last = (struct ctl_last){.time_ns = -1};
	if (!object)
		return;
	if (!json_is_object(object)) {
		reader_fail(r, -EINVAL, "\"last\" is no object");
		return;
	}
	last->time_ns = reader_number(r, object, "time_ns");
	last->reason = reader_text(r, object, "reason");
	last->from = reader_maybe_list(r, object, "from");
	last->to = reader_maybe_list(r, object, "to");
	last->error = reader_maybe_text(r, object, "errno");
}

static void read_counters(struct reader *r, const json_t *object, struct ctl_thread *t)
{
	const json_t *refusals = reader_container(r, object, "refusals", JSON_OBJECT);
	const char *key;
	json_t *value;
	size_t i = 0;

	t->wakes = reader_number(r, object, "wakes");
	t->parks = reader_number(r, object, "parks");
	t->freezes = reader_number(r, object, "freezes");
	t->reaffines = reader_number(r, object, "reaffines");
	t->works_run = reader_maybe_number(r, object, "works_run");
	t->longest_queue = reader_maybe_number(r, object, "longest_queue");
	t->ktask_chunks = reader_maybe_number(r, object, "ktask_chunks");
	if (r->failed || json_object_size(refusals) == 0)
		return;
	t->refusals = reader_allocate(r, json_object_size(refusals), sizeof(*t->refusals));
	if (!t->refusals)
		return;
	json_object_foreach((json_t *)refusals, key, value)
	{
		t->refusals[i++] = (struct ctl_refusal){.error = key, .count = reader_as_number(r, value, key)};
	}
	t->n_refusals = i;
}

static void read_thread(struct reader *r, const json_t *object, struct ctl_thread *t)
{
	static const char *const kinds[] = {"kthread", "adopted", "internal"};
	static const char *const states[] = {"created",  "running", "waiting", "parked",
	                                     "stopping", "exited",  "adopted", "frozen"};

	t->name = reader_text(r, object, "name");
	t->class = reader_text(r, object, "class");
	t->index = reader_maybe_number(r, object, "index");
	t->tid = reader_number(r, object, "tid");
	t->kind_name = reader_text(r, object, "kind");
	t->kind = (enum ctl_kind)word(t->kind_name, kinds, CTL_KIND_OTHER);
	t->state_name = reader_text(r, object, "state");
	t->state = (enum ctl_state)word(t->state_name, states, CTL_STATE_OTHER);
	read_wish(r, reader_container(r, object, "wish", JSON_OBJECT), t);
	t->effective = reader_cpus(r, object, "effective");
	t->actual = reader_maybe_cpus(r, object, "actual");
	t->cpu = reader_maybe_number(r, object, "cpu");
	if (t->cpu >= (int64_t)r->dump->width) /* of this machine, while the daemon simulates a smaller one */
		t->cpu = -1;
	t->broken = reader_boolean(r, object, "broken");
	t->broken_since_ns = reader_maybe_number(r, object, "broken_since_ns");
	t->broken_ns = reader_number(r, object, "broken_ns");
	read_last(r, reader_member(object, "last"), &t->last);
	read_counters(r, reader_container(r, object, "counters", JSON_OBJECT), t);
}

static void read_threads(struct reader *r, const json_t *array)
{
	struct ctl_dump *d = r->dump;
	size_t i;

	d->threads = reader_begin_array(r, array, sizeof(*d->threads), &d->n_threads);
	READER_FOR_EACH(r, array, "threads", i)
	{
		const json_t *object = reader_element(r, array, i);

		read_thread(r, object, &d->threads[i]);
	}
}

static void read_steps(struct reader *r, const json_t *array)
{
	struct ctl_dump *d = r->dump;
	size_t i;

	d->steps = reader_begin_array(r, array, sizeof(*d->steps), &d->n_steps);
	READER_FOR_EACH(r, array, "steps", i)
	{
		const json_t *object = reader_element(r, array, i);
		struct ctl_step *s = &d->steps[i];

		s->step = reader_number(r, object, "step");
		s->name = reader_text(r, object, "name");
		s->section = reader_text(r, object, "section");
		s->multi = reader_boolean(r, object, "multi");
		s->instances = reader_maybe_number(r, object, "instances");
		s->up = reader_cpus(r, object, "up");
		s->failures = reader_number(r, object, "failures");
	}
}

static void read_dump(struct reader *r, const json_t *root)
{
	struct ctl_dump *d = r->dump;
	const json_t *view = reader_container(r, root, "view", JSON_OBJECT);
	const json_t *nodes = reader_container(r, root, "nodes", JSON_ARRAY);
	const json_t *caches = reader_container(r, root, "caches", JSON_ARRAY);
	const json_t *threads = reader_container(r, root, "threads", JSON_ARRAY);
	const json_t *steps = reader_container(r, root, "steps", JSON_ARRAY);

	d->library = reader_text(r, root, "library");
	d->pid = reader_number(r, root, "pid");
	d->process = reader_text(r, root, "process");
	d->time_ns = reader_number(r, root, "time_ns");
	d->time = reader_text(r, root, "time");
	d->simulate = reader_boolean(r, root, "simulate");
	if (!r->failed)
		read_view(r, view);
	read_nodes(r, nodes);
	read_caches(r, caches);
	read_threads(r, threads);
	read_steps(r, steps);
}

/* The object, of the format and a version that is known; NULL and an error otherwise. */
static json_t *load(struct reader *r, const char *json, size_t length)
{
	json_error_t error;
	json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);

	if (!root) {
		if (json_error_code(&error) == json_error_out_of_memory)
			reader_fail(r, -ENOMEM, "out of memory");
		else
			reader_fail(r, -EINVAL, "no JSON, or cut off: line %d: %s", error.line, error.text);
		return NULL;
	}
	if (!json_is_object(root)) {
		reader_fail(r, -EINVAL, "no object");
		json_decref(root);
		return NULL;
	}
	return root;
}

static void check_format(struct reader *r, const json_t *root, const char *format)
{
	const char *is = reader_text(r, root, "format");
	const int64_t version = reader_number(r, root, "version");

	if (r->failed)
		return;
	if (strcmp(is, format) != 0)
		reader_fail(r, -EINVAL, "its format is \"%s\", not \"%s\"", is, format);
	else if (version < 1)
		reader_fail(r, -EINVAL, "there is no version %" PRId64, version);
	else if (version > CTL_VERSION)
		reader_fail(r, -ENOTSUP, "it is of version %" PRId64 ", this program knows %d: use a newer one",
		            version, CTL_VERSION);
}

static void begin(struct reader *r, char *error, size_t error_size)
{
	*r = (struct reader){.error = error, .error_size = error_size};
	error[0] = '\0';
}

int model_parse(const char *json, size_t length, struct ctl_dump **ret, char *error, size_t error_size)
{
	struct reader r;
	json_t *root;

	*ret = NULL;
	begin(&r, error, error_size);
	root = load(&r, json, length);
	if (!root)
		return r.failed;
	check_format(&r, root, "kthread-dump");
	r.dump = r.failed ? NULL : calloc(1, sizeof(*r.dump));
	if (!r.dump) {
		reader_fail(&r, -ENOMEM, "out of memory");
		json_decref(root);
		return r.failed;
	}
	r.dump->json = root;
	read_dump(&r, root);
	if (r.failed) {
		model_free(r.dump);
		return r.failed;
	}
	*ret = r.dump;
	return 0;
}

void model_free(struct ctl_dump *dump)
{
	if (!dump)
		return;
	reader_free_arena(dump->arena);
	json_decref(dump->json);
	free(dump);
}

static int64_t any_number(struct reader *r, const json_t *object, const char *key)
{
	const json_t *value = reader_required(r, object, key);

	if (value && !json_is_integer(value))
		reader_fail(r, -EINVAL, "\"%s\" is no whole number", key);
	return json_integer_value(value);
}

static void read_event(struct reader *r, const json_t *o, struct ctl_event *e)
{
	if (e->type >= CTL_EVENT_CREATE && e->type <= CTL_EVENT_AFFINE) {
		e->tid = reader_number(r, o, "tid");
		e->name = reader_text(r, o, "name");
	}
	switch (e->type) {
	case CTL_EVENT_WATCH:
		check_format(r, o, "kthread-events");
		e->library = reader_text(r, o, "library");
		e->pid = reader_number(r, o, "pid");
		e->process = reader_text(r, o, "process");
		e->time = reader_text(r, o, "time");
		break;
	case CTL_EVENT_EXIT:
		e->result = any_number(r, o, "result");
		break;
	case CTL_EVENT_AFFINE:
		e->from = reader_maybe_list(r, o, "from");
		e->to = reader_maybe_list(r, o, "to");
		e->reason = reader_text(r, o, "reason");
		e->error = reader_maybe_text(r, o, "errno");
		e->broken = reader_boolean(r, o, "broken");
		break;
	case CTL_EVENT_VIEW:
		e->generation = reader_number(r, o, "generation");
		e->online = reader_maybe_list(r, o, "online");
		e->usable_cpus = reader_maybe_list(r, o, "usable");
		e->housekeeping = reader_maybe_list(r, o, "housekeeping");
		break;
	case CTL_EVENT_CPU:
		e->cpu = reader_number(r, o, "cpu");
		e->usable = reader_boolean(r, o, "usable");
		e->cause = reader_text(r, o, "cause");
		break;
	case CTL_EVENT_STEP:
		e->name = reader_text(r, o, "name");
		e->cpu = reader_number(r, o, "cpu");
		e->call = reader_text(r, o, "call");
		e->result = any_number(r, o, "result");
		break;
	case CTL_EVENT_LOG:
		e->level = reader_number(r, o, "level");
		e->id = reader_maybe_number(r, o, "id"); /* -1: a message without a number */
		e->message = reader_text(r, o, "message");
		break;
	case CTL_EVENT_LOST:
		e->count = reader_number(r, o, "count");
		break;
	default:
		break;
	}
}

int model_parse_event(const char *json, size_t length, struct ctl_event **ret, char *error, size_t error_size)
{
	static const char *const types[CTL_EVENT_OTHER] = {
	    "watch",          "thread_create", "thread_start", "thread_park", "thread_unpark",
	    "thread_freeze",  "thread_thaw",   "thread_stop",  "thread_exit", "thread_adopt",
	    "thread_unadopt", "thread_affine", "view",         "cpu",         "step",
	    "freeze",         "thaw",          "log",          "lost"};
	struct ctl_event *e = NULL;
	struct reader r;
	json_t *root;

	*ret = NULL;
	begin(&r, error, error_size);
	root = load(&r, json, length);
	if (!root)
		return r.failed;
	e = malloc(sizeof(*e));
	if (!e) {
		reader_fail(&r, -ENOMEM, "out of memory");
		json_decref(root);
		return r.failed;
	}
	*e = (struct ctl_event){.tid = -1, .generation = -1, .cpu = -1, .level = -1, .id = -1, .count = -1, .pid = -1};
	e->json = root;
	e->type_name = reader_text(&r, root, "event");
	e->type = (enum ctl_event_type)word(e->type_name, types, CTL_EVENT_OTHER);
	e->time_ns = reader_number(&r, root, "time_ns");
	read_event(&r, root, e);
	if (r.failed) {
		model_event_free(e);
		return r.failed;
	}
	*ret = e;
	return 0;
}

void model_event_free(struct ctl_event *event)
{
	if (!event)
		return;
	json_decref(event->json);
	free(event);
}

int model_cpus(const struct ctl_dump *dump, const char *list, cpu_set_t *set)
{
	return kt_cpulist_read(list, dump->width, dump->setsize, set) ? -EINVAL : 0;
}

char *model_list(const struct ctl_dump *dump, const cpu_set_t *set)
{
	const int length = kthread_cpulist_format(dump->setsize, set, NULL, 0);
	char *list = length < 0 ? NULL : malloc((size_t)length + 1);

	if (list)
		kthread_cpulist_format(dump->setsize, set, list, (size_t)length + 1);
	return list;
}
