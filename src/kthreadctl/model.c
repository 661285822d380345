/* SPDX-License-Identifier: MIT */
#include "kthreadctl/model.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <kthread/placement.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpulist.h"
#include "machine/cpumask.h"

/*
 * One parse. The first thing that is wrong is kept, and every getter after it gives nothing: who reads asks once, at the
 * end of an array's element or of the whole.
 */
struct reader {
	int failed; /* -errno */
	char *error;
	size_t error_size;
	const char *where; /* "threads", NULL at the top */
	size_t index;
	struct ctl_dump *dump; /* NULL: an event */
};

struct chunk {
	struct chunk *next;
	max_align_t data[];
};

__attribute__((format(printf, 3, 4))) static void fail(struct reader *r, int error, const char *format, ...)
{
	char place[64] = "", text[200];
	va_list args;

	if (r->failed)
		return;
	r->failed = error;
	if (r->where && error != -ENOMEM)
		snprintf(place, sizeof(place), "%s[%zu]: ", r->where, r->index);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *c = text; *c; c++) { /* it may quote the input, and goes to a terminal */
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	snprintf(r->error, r->error_size, "%s%s", place, text);
}

static void *allocate(struct reader *r, size_t count, size_t size)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk) + count * size); /* count: of a JSON array that is in memory */

	if (!chunk) {
		fail(r, -ENOMEM, "out of memory");
		return NULL;
	}
	chunk->next = r->dump->arena;
	r->dump->arena = chunk;
	return chunk->data;
}

/* NULL: not there, or null. */
static json_t *member(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

static json_t *required(struct reader *r, const json_t *object, const char *key)
{
	json_t *value = member(object, key);

	if (!value)
		fail(r, -EINVAL, "\"%s\" is missing", key);
	return value;
}

static const char *as_text(struct reader *r, const json_t *value, const char *key)
{
	if (value && !json_is_string(value))
		fail(r, -EINVAL, "\"%s\" is no string", key);
	return json_string_value(value); /* NULL for anything else */
}

static int64_t as_number(struct reader *r, const json_t *value, const char *key)
{
	if (!value)
		return -1;
	if (!json_is_integer(value) || json_integer_value(value) < 0) {
		fail(r, -EINVAL, "\"%s\" is no number of 0 or more", key);
		return -1;
	}
	return json_integer_value(value);
}

static const char *text(struct reader *r, const json_t *object, const char *key)
{
	return as_text(r, required(r, object, key), key);
}

static const char *maybe_text(struct reader *r, const json_t *object, const char *key)
{
	return as_text(r, member(object, key), key);
}

static int64_t number(struct reader *r, const json_t *object, const char *key)
{
	return as_number(r, required(r, object, key), key);
}

static int64_t maybe_number(struct reader *r, const json_t *object, const char *key)
{
	return as_number(r, member(object, key), key);
}

static bool boolean(struct reader *r, const json_t *object, const char *key)
{
	const json_t *value = required(r, object, key);

	if (value && !json_is_boolean(value))
		fail(r, -EINVAL, "\"%s\" is neither true nor false", key);
	return json_is_true(value);
}

/* What a member that is there must be an object or array of. */
static json_t *container(struct reader *r, const json_t *object, const char *key, json_type type)
{
	json_t *value = required(r, object, key);

	if (!value || json_typeof(value) == type)
		return value;
	fail(r, -EINVAL, "\"%s\" is no %s", key, type == JSON_ARRAY ? "array" : "object");
	return NULL;
}

static cpu_set_t *as_cpus(struct reader *r, const char *list, const char *key)
{
	cpu_set_t *set;
	int error;

	if (!list || r->failed)
		return NULL;
	set = allocate(r, 1, r->dump->setsize);
	if (!set)
		return NULL;
	error = kt_cpulist_read(list, r->dump->width, r->dump->setsize, set);
	if (error)
		fail(r, -EINVAL, "\"%s\" is no CPU list: %s", key, kt_cpulist_strerror(error));
	return set;
}

static cpu_set_t *cpus(struct reader *r, const json_t *object, const char *key)
{
	return as_cpus(r, text(r, object, key), key);
}

static cpu_set_t *maybe_cpus(struct reader *r, const json_t *object, const char *key)
{
	return as_cpus(r, maybe_text(r, object, key), key);
}

/* A list whose CPUs need not be known: its syntax. */
static const char *maybe_list(struct reader *r, const json_t *object, const char *key)
{
	const char *list = maybe_text(r, object, key);
	int error;

	if (!list)
		return NULL;
	error = kt_cpulist_read(list, CTL_CPUS_MAX, 0, NULL);
	if (error)
		fail(r, -EINVAL, "\"%s\" is no CPU list: %s", key, kt_cpulist_strerror(error));
	return list;
}

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

/* Element by element; each ends with a look at what has failed, so that the error names it. */
#define FOR_EACH(r, array, name, i) \
	for ((r)->where = (name), (r)->index = (i) = 0; !(r)->failed && (i) < json_array_size(array); \
	     (r)->index = ++(i))

static json_t *element(struct reader *r, const json_t *array, size_t i)
{
	json_t *object = json_array_get(array, i);

	if (!json_is_object(object))
		fail(r, -EINVAL, "it is no object");
	return object;
}

static void *begin_array(struct reader *r, const json_t *array, size_t size, size_t *ret_count)
{
	void *elements = r->failed ? NULL : allocate(r, json_array_size(array), size);

	*ret_count = elements ? json_array_size(array) : 0;
	return elements;
}

/* How many CPUs there can be decides how large every other set is. */
static void read_width(struct reader *r, const json_t *view)
{
	struct ctl_dump *d = r->dump;
	const char *possible = text(r, view, "possible");
	cpu_set_t *set;
	int error, last;

	if (r->failed)
		return;
	d->setsize = kt_cpus_size(CTL_CPUS_MAX);
	set = allocate(r, 1, d->setsize);
	if (!set)
		return;
	error = kt_cpulist_parse(possible, CTL_CPUS_MAX, d->setsize, set);
	if (error) {
		fail(r, -EINVAL, "view: \"possible\": %s",
		     error == -ERANGE ? "more CPUs than this program knows" : kt_cpulist_strerror(error));
		return;
	}
	last = kt_cpus_last(d->setsize, set);
	if (last < 0)
		fail(r, -EINVAL, "view: \"possible\" holds no CPU");
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
	v->generation = number(r, object, "generation");
	v->confined = boolean(r, object, "confined");
	v->quota = maybe_number(r, object, "quota");
	for (unsigned int set = 0; set < CTL_SETS; set++)
		v->set[set] = cpus(r, object, set_names[set]);
	sources = member(object, "sources");
	if (sources && !json_is_object(sources))
		fail(r, -EINVAL, "view: \"sources\" is no object");
	if (r->failed)
		return;
	v->sources = allocate(r, json_object_size(sources), sizeof(*v->sources));
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

	d->nodes = begin_array(r, array, sizeof(*d->nodes), &d->n_nodes);
	FOR_EACH(r, array, "nodes", i)
	{
		const json_t *object = element(r, array, i);

		d->nodes[i].node = number(r, object, "node");
		d->nodes[i].cpus = cpus(r, object, "cpus");
	}
}

static void read_caches(struct reader *r, const json_t *array)
{
	struct ctl_dump *d = r->dump;
	size_t i;

	d->caches = begin_array(r, array, sizeof(*d->caches), &d->n_caches);
	FOR_EACH(r, array, "caches", i)
	{
		const json_t *object = element(r, array, i);

		d->caches[i].level = number(r, object, "level");
		d->caches[i].cpus = cpus(r, object, "cpus");
	}
}

static void read_wish(struct reader *r, const json_t *object, struct ctl_thread *t)
{
	static const char *const kinds[] = {"none", "node", "preferred", "bound", "per-cpu"};

	t->wish_name = text(r, object, "kind");
	t->wish = (enum ctl_wish)word(t->wish_name, kinds, CTL_WISH_OTHER);
	t->wish_cpus = maybe_cpus(r, object, "cpus");
	t->wish_node = maybe_number(r, object, "node");
}

static void read_last(struct reader *r, const json_t *object, struct ctl_last *last)
{
	*last = (struct ctl_last){.time_ns = -1};
	if (!object)
		return;
	if (!json_is_object(object)) {
		fail(r, -EINVAL, "\"last\" is no object");
		return;
	}
	last->time_ns = number(r, object, "time_ns");
	last->reason = text(r, object, "reason");
	last->from = maybe_list(r, object, "from");
	last->to = maybe_list(r, object, "to");
	last->error = maybe_text(r, object, "errno");
}

static void read_counters(struct reader *r, const json_t *object, struct ctl_thread *t)
{
	const json_t *refusals = container(r, object, "refusals", JSON_OBJECT);
	const char *key;
	json_t *value;
	size_t i = 0;

	t->wakes = number(r, object, "wakes");
	t->parks = number(r, object, "parks");
	t->freezes = number(r, object, "freezes");
	t->reaffines = number(r, object, "reaffines");
	t->works_run = maybe_number(r, object, "works_run");
	t->longest_queue = maybe_number(r, object, "longest_queue");
	t->ktask_chunks = maybe_number(r, object, "ktask_chunks");
	if (r->failed || json_object_size(refusals) == 0)
		return;
	t->refusals = allocate(r, json_object_size(refusals), sizeof(*t->refusals));
	if (!t->refusals)
		return;
	json_object_foreach((json_t *)refusals, key, value)
	{
		t->refusals[i++] = (struct ctl_refusal){.error = key, .count = as_number(r, value, key)};
	}
	t->n_refusals = i;
}

static void read_thread(struct reader *r, const json_t *object, struct ctl_thread *t)
{
	static const char *const kinds[] = {"kthread", "adopted", "internal"};
	static const char *const states[] = {"created",  "running", "waiting", "parked",
	                                     "stopping", "exited",  "adopted", "frozen"};

	t->name = text(r, object, "name");
	t->class = text(r, object, "class");
	t->index = maybe_number(r, object, "index");
	t->tid = number(r, object, "tid");
	t->kind_name = text(r, object, "kind");
	t->kind = (enum ctl_kind)word(t->kind_name, kinds, CTL_KIND_OTHER);
	t->state_name = text(r, object, "state");
	t->state = (enum ctl_state)word(t->state_name, states, CTL_STATE_OTHER);
	read_wish(r, container(r, object, "wish", JSON_OBJECT), t);
	t->effective = cpus(r, object, "effective");
	t->actual = maybe_cpus(r, object, "actual");
	t->cpu = maybe_number(r, object, "cpu");
	if (t->cpu >= (int64_t)r->dump->width) /* of this machine, while the daemon simulates a smaller one */
		t->cpu = -1;
	t->broken = boolean(r, object, "broken");
	t->broken_since_ns = maybe_number(r, object, "broken_since_ns");
	t->broken_ns = number(r, object, "broken_ns");
	read_last(r, member(object, "last"), &t->last);
	read_counters(r, container(r, object, "counters", JSON_OBJECT), t);
}

static void read_threads(struct reader *r, const json_t *array)
{
	struct ctl_dump *d = r->dump;
	size_t i;

	d->threads = begin_array(r, array, sizeof(*d->threads), &d->n_threads);
	FOR_EACH(r, array, "threads", i)
	{
		const json_t *object = element(r, array, i);

		read_thread(r, object, &d->threads[i]);
	}
}

static void read_steps(struct reader *r, const json_t *array)
{
	struct ctl_dump *d = r->dump;
	size_t i;

	d->steps = begin_array(r, array, sizeof(*d->steps), &d->n_steps);
	FOR_EACH(r, array, "steps", i)
	{
		const json_t *object = element(r, array, i);
		struct ctl_step *s = &d->steps[i];

		s->step = number(r, object, "step");
		s->name = text(r, object, "name");
		s->section = text(r, object, "section");
		s->multi = boolean(r, object, "multi");
		s->instances = maybe_number(r, object, "instances");
		s->up = cpus(r, object, "up");
		s->failures = number(r, object, "failures");
	}
}

static void read_dump(struct reader *r, const json_t *root)
{
	struct ctl_dump *d = r->dump;
	const json_t *view = container(r, root, "view", JSON_OBJECT);
	const json_t *nodes = container(r, root, "nodes", JSON_ARRAY);
	const json_t *caches = container(r, root, "caches", JSON_ARRAY);
	const json_t *threads = container(r, root, "threads", JSON_ARRAY);
	const json_t *steps = container(r, root, "steps", JSON_ARRAY);

	d->library = text(r, root, "library");
	d->pid = number(r, root, "pid");
	d->process = text(r, root, "process");
	d->time_ns = number(r, root, "time_ns");
	d->time = text(r, root, "time");
	d->simulate = boolean(r, root, "simulate");
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
			fail(r, -ENOMEM, "out of memory");
		else
			fail(r, -EINVAL, "no JSON, or cut off: line %d: %s", error.line, error.text);
		return NULL;
	}
	if (!json_is_object(root)) {
		fail(r, -EINVAL, "no object");
		json_decref(root);
		return NULL;
	}
	return root;
}

static void check_format(struct reader *r, const json_t *root, const char *format)
{
	const char *is = text(r, root, "format");
	const int64_t version = number(r, root, "version");

	if (r->failed)
		return;
	if (strcmp(is, format) != 0)
		fail(r, -EINVAL, "its format is \"%s\", not \"%s\"", is, format);
	else if (version < 1)
		fail(r, -EINVAL, "there is no version %" PRId64, version);
	else if (version > CTL_VERSION)
		fail(r, -ENOTSUP, "it is of version %" PRId64 ", this program knows %d: use a newer one", version,
		     CTL_VERSION);
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
		fail(&r, -ENOMEM, "out of memory");
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
	for (struct chunk *chunk = dump->arena; chunk;) {
		struct chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	json_decref(dump->json);
	free(dump);
}

static int64_t any_number(struct reader *r, const json_t *object, const char *key)
{
	const json_t *value = required(r, object, key);

	if (value && !json_is_integer(value))
		fail(r, -EINVAL, "\"%s\" is no whole number", key);
	return json_integer_value(value);
}

static void read_event(struct reader *r, const json_t *o, struct ctl_event *e)
{
	if (e->type >= CTL_EVENT_CREATE && e->type <= CTL_EVENT_AFFINE) {
		e->tid = number(r, o, "tid");
		e->name = text(r, o, "name");
	}
	switch (e->type) {
	case CTL_EVENT_WATCH:
		check_format(r, o, "kthread-events");
		e->library = text(r, o, "library");
		e->pid = number(r, o, "pid");
		e->process = text(r, o, "process");
		e->time = text(r, o, "time");
		break;
	case CTL_EVENT_EXIT:
		e->result = any_number(r, o, "result");
		break;
	case CTL_EVENT_AFFINE:
		e->from = maybe_list(r, o, "from");
		e->to = maybe_list(r, o, "to");
		e->reason = text(r, o, "reason");
		e->error = maybe_text(r, o, "errno");
		e->broken = boolean(r, o, "broken");
		break;
	case CTL_EVENT_VIEW:
		e->generation = number(r, o, "generation");
		e->online = maybe_list(r, o, "online");
		e->usable_cpus = maybe_list(r, o, "usable");
		e->housekeeping = maybe_list(r, o, "housekeeping");
		break;
	case CTL_EVENT_CPU:
		e->cpu = number(r, o, "cpu");
		e->usable = boolean(r, o, "usable");
		e->cause = text(r, o, "cause");
		break;
	case CTL_EVENT_STEP:
		e->name = text(r, o, "name");
		e->cpu = number(r, o, "cpu");
		e->call = text(r, o, "call");
		e->result = any_number(r, o, "result");
		break;
	case CTL_EVENT_LOG:
		e->level = number(r, o, "level");
		e->id = maybe_number(r, o, "id"); /* -1: a message without a number */
		e->message = text(r, o, "message");
		break;
	case CTL_EVENT_LOST:
		e->count = number(r, o, "count");
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
		fail(&r, -ENOMEM, "out of memory");
		json_decref(root);
		return r.failed;
	}
	*e = (struct ctl_event){.tid = -1, .generation = -1, .cpu = -1, .level = -1, .id = -1, .count = -1, .pid = -1};
	e->json = root;
	e->type_name = text(&r, root, "event");
	e->type = (enum ctl_event_type)word(e->type_name, types, CTL_EVENT_OTHER);
	e->time_ns = number(&r, root, "time_ns");
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
