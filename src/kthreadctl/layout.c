/* SPDX-License-Identifier: MIT */
#include "kthreadctl/layout.h"

#include <errno.h>
#include <inttypes.h>
#include <kthread/placement.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpumask.h"

/* ---- columns ---- */

/* Where a CPU belongs: indices into the dump, SIZE_MAX = nowhere. */
struct place {
	unsigned int cpu;
	size_t node, cache;
};

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->node != y->node)
		return x->node < y->node ? -1 : 1;
	if (x->cache != y->cache)
		return x->cache < y->cache ? -1 : 1;
	return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

static struct place *find_places(const struct ctl_dump *d, const cpu_set_t *shown, unsigned int n_cpus)
{
	struct place *places = malloc((d->width + n_cpus) * sizeof(*places)), *result;
	unsigned int count = 0;

	if (!places)
		return NULL;
	for (unsigned int cpu = 0; cpu < d->width; cpu++)
		places[cpu] = (struct place){.cpu = cpu, .node = SIZE_MAX, .cache = SIZE_MAX};
	for (size_t i = d->n_nodes; i-- > 0;) {
		for (int cpu = kt_cpus_next(d->setsize, d->nodes[i].cpus, 0); cpu >= 0;
		     cpu = kt_cpus_next(d->setsize, d->nodes[i].cpus, (unsigned int)cpu + 1))
			places[cpu].node = i;
	}
	for (size_t i = d->n_caches; i-- > 0;) {
		for (int cpu = kt_cpus_next(d->setsize, d->caches[i].cpus, 0); cpu >= 0;
		     cpu = kt_cpus_next(d->setsize, d->caches[i].cpus, (unsigned int)cpu + 1))
			places[cpu].cache = i;
	}
	for (unsigned int cpu = 0; cpu < d->width; cpu++) {
		if (kt_cpus_test(d->setsize, shown, cpu))
			places[count++] = places[cpu];
	}
	qsort(places, count, sizeof(*places), by_place);
	result = realloc(places, (count ? count : 1) * sizeof(*places));
	return result ? result : places;
}

static enum gap gap_between(const struct place *a, const struct place *b)
{
	if (a->node != b->node)
		return GAP_NODE;
	return a->cache != b->cache ? GAP_CACHE : GAP_NONE;
}

/* Columns of at most `per` CPUs, which don't reach over a gap of this strength or a stronger one. */
static unsigned int fill_columns(const struct place *places, unsigned int n, unsigned int per, enum gap weakest,
                                 struct layout *ret)
{
	unsigned int columns = 0, gaps = 0, in = 0;

	for (unsigned int i = 0; i < n; i++) {
		enum gap gap = i > 0 ? gap_between(&places[i - 1], &places[i]) : GAP_NONE;

		if (gap < weakest)
			gap = GAP_NONE;
		if (i == 0 || gap || in == per) {
			if (ret)
				ret->columns[columns] = (struct column){.first = i, .gap = gap};
			columns++;
			gaps += gap != GAP_NONE;
			in = 0;
		}
		in++;
		if (ret)
			ret->columns[columns - 1].count = in;
	}
	if (ret) {
		ret->n_columns = columns;
		ret->n_gaps = gaps;
		ret->per_column = per;
	}
	return columns + gaps;
}

/* The fewest CPUs for a column with which it fits; more than there are CPUs if none does. */
static unsigned int fewest(const struct place *places, unsigned int n, unsigned int room, enum gap weakest)
{
	unsigned int low = 1, high = n + 1;

	while (low < high) {
		const unsigned int per = low + (high - low) / 2;

		if (fill_columns(places, n, per, weakest, NULL) <= room)
			high = per;
		else
			low = per + 1;
	}
	return low;
}

static void fill_bands(const struct ctl_dump *d, const struct place *places, struct layout *l)
{
	for (unsigned int i = 0; i < l->n_columns; i++) {
		const size_t node = places[l->columns[i].first].node;

		if (i == 0 || l->columns[i].gap == GAP_NODE)
			l->bands[l->n_bands++] =
			    (struct band){.first = i, .node = node < d->n_nodes ? d->nodes[node].node : -1};
		l->bands[l->n_bands - 1].count++;
	}
}

int layout_columns(const struct ctl_dump *d, unsigned int room, struct layout *ret)
{
	const bool any = !kt_cpus_empty(d->setsize, d->view.set[CTL_PRESENT]);
	const cpu_set_t *shown = d->view.set[any ? CTL_PRESENT : CTL_POSSIBLE];
	const unsigned int n = (unsigned int)CPU_COUNT_S(d->setsize, shown);
	struct place *places = find_places(d, shown, n);
	enum gap weakest = GAP_CACHE;
	unsigned int per;

	*ret = (struct layout){.n_cpus = n};
	ret->order = malloc(n * sizeof(*ret->order));
	ret->columns = malloc(n * sizeof(*ret->columns));
	ret->bands = calloc(n, sizeof(*ret->bands));
	if (!places || !ret->order || !ret->columns || !ret->bands) {
		free(places);
		layout_free(ret);
		return -ENOMEM;
	}
	/* Gaps as long as they cost no more than half of the columns' precision. */
	per = fewest(places, n, room, GAP_NODE + 1);
	while (weakest <= GAP_NODE && fewest(places, n, room, weakest) > 2 * per)
		weakest++;
	per = fewest(places, n, room, weakest);
	fill_columns(places, n, per <= n ? per : n, weakest, ret);
	fill_bands(d, places, ret);
	for (unsigned int i = 0; i < n; i++)
		ret->order[i] = places[i].cpu;
	free(places);
	return 0;
}

void layout_free(struct layout *l)
{
	free(l->order);
	free(l->columns);
	free(l->bands);
	*l = (struct layout){0};
}

/* ---- rows ---- */

struct sorter {
	const struct ctl_thread *thread;
	const struct ctl_dump *dump;
	bool home; /* on the one CPU that it wishes */
};

static bool is_single(const struct ctl_dump *d, const cpu_set_t *set)
{
	return set && CPU_COUNT_S(d->setsize, set) == 1;
}

static bool is_home(const struct ctl_dump *d, const struct ctl_thread *t)
{
	return is_single(d, t->wish_cpus) && !t->broken && kt_cpus_equal(d->setsize, t->wish_cpus, t->effective) &&
	       (!t->actual || kt_cpus_equal(d->setsize, t->actual, t->effective));
}

static int compare_sets(size_t setsize, const cpu_set_t *a, const cpu_set_t *b)
{
	if (!a || !b)
		return !a - !b;
	return memcmp(a, b, setsize);
}

/* Threads that run and those that wait are alike. */
static int state_of(const struct ctl_thread *t)
{
	return t->state == CTL_RUNNING ? CTL_WAITING : (int)t->state;
}

/* 0: they may share a row. */
static int compare_alike(const struct sorter *x, const struct sorter *y)
{
	const struct ctl_thread *a = x->thread, *b = y->thread;
	const size_t setsize = x->dump->setsize;
	int order = strcmp(a->class, b->class);

	if (!order)
		order = strcmp(a->kind_name, b->kind_name);
	if (!order)
		order = strcmp(a->wish_name, b->wish_name);
	if (!order)
		order = state_of(a) - state_of(b);
	if (!order && a->state == CTL_STATE_OTHER)
		order = strcmp(a->state_name, b->state_name);
	if (!order)
		order = a->broken - b->broken;
	if (!order)
		order = x->home - y->home;
	if (order || x->home)
		return order;
	order = compare_sets(setsize, a->effective, b->effective);
	if (!order)
		order = compare_sets(setsize, a->actual, b->actual);
	if (!order && is_single(x->dump, a->wish_cpus) && is_single(x->dump, b->wish_cpus))
		return 0; /* parked each for its own CPU */
	return order ? order : compare_sets(setsize, a->wish_cpus, b->wish_cpus);
}

/* A total order: those alike are neighbours only if it is transitive, so single wishes come first of all. */
static int by_likeness(const void *a, const void *b)
{
	const struct sorter *x = a, *y = b;
	const int single = is_single(x->dump, y->thread->wish_cpus) - is_single(x->dump, x->thread->wish_cpus);
	const int order = single ? single : compare_alike(x, y);

	if (order)
		return order;
	return x->thread < y->thread ? -1 : x->thread > y->thread;
}

static int by_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->thread < y->thread ? -1 : x->thread > y->thread;
}

/* One CPU, a short list, or how many. */
static void print_cpus(const struct ctl_dump *d, const char *what, const cpu_set_t *set, char *text, size_t size)
{
	char list[24];
	const int length = kthread_cpulist_format(d->setsize, set, list, sizeof(list));

	if (length >= 0 && (size_t)length < sizeof(list))
		snprintf(text, size, "%s %s", what, length > 0 ? list : "none possible");
	else
		snprintf(text, size, "%s %d CPUs", what, CPU_COUNT_S(d->setsize, set));
}

static void print_wish(const struct ctl_dump *d, const struct row *row, char *text, size_t size)
{
	const struct ctl_thread *t = row->thread;

	if (row->own)
		snprintf(text, size, "own CPU");
	else if (t->wish == CTL_WISH_NONE)
		snprintf(text, size, "any");
	else if (t->wish == CTL_WISH_NODE && t->wish_node >= 0)
		snprintf(text, size, "node %" PRId64, t->wish_node);
	else if (t->wish_cpus)
		print_cpus(d, t->wish == CTL_WISH_PER_CPU ? "CPU" : t->wish_name, t->wish_cpus, text, size);
	else
		snprintf(text, size, "%s", t->wish_name);
}

static int by_index(const void *a, const void *b)
{
	const struct sorter *x = a, *y = b;

	return x->thread->index < y->thread->index ? -1 : x->thread->index > y->thread->index;
}

/* "poll/0-3,7"; "ktask (3)" if they have no numbers, or one twice. */
static char *row_name(struct sorter *members, size_t count)
{
	bool numbered = true;
	size_t size;
	char *name;
	FILE *f = open_memstream(&name, &size);

	if (!f)
		return NULL;
	qsort(members, count, sizeof(*members), by_index);
	for (size_t i = 0; i < count; i++)
		numbered = numbered && members[i].thread->index > (i > 0 ? members[i - 1].thread->index : -1);
	if (count == 1)
		fputs(members->thread->name, f);
	else if (!numbered)
		fprintf(f, "%s (%zu)", members->thread->class, count);
	for (size_t i = 0; count > 1 && numbered && i < count; i++) {
		const int64_t from = members[i].thread->index;

		if (i == 0)
			fprintf(f, "%s/%" PRId64, members->thread->class, from);
		else
			fprintf(f, ",%" PRId64, from);
		while (i + 1 < count && members[i + 1].thread->index == members[i].thread->index + 1)
			i++;
		if (members[i].thread->index > from)
			fprintf(f, "-%" PRId64, members[i].thread->index);
	}
	if (fclose(f)) {
		free(name);
		return NULL;
	}
	return name;
}

/* sets: 4 of them, zeroed. */
static int fill_row(const struct ctl_dump *d, struct sorter *members, size_t count, char *sets, struct row *row)
{
	cpu_set_t *set[4];

	for (int i = 0; i < 4; i++)
		set[i] = (cpu_set_t *)(void *)(sets + (size_t)i * d->setsize);
	*row =
	    (struct row){.thread = members->thread, .count = count, .broken = members->thread->broken, .broken_ns = -1};
	row->own = count > 1 && is_single(d, members->thread->wish_cpus);
	row->wished = set[0];
	row->effective = set[1];
	row->last = set[3];
	row->state = members->thread->state_name;
	for (size_t i = 0; i < count; i++) {
		const struct ctl_thread *t = members[i].thread;

		if (t < row->thread)
			row->thread = t;
		if (strcmp(t->state_name, row->state) != 0)
			row->state = "active";
		if (t->wish_cpus)
			kt_cpus_or(d->setsize, set[0], set[0], t->wish_cpus);
		kt_cpus_or(d->setsize, set[1], set[1], t->effective);
		/* Who is parked gets its mask when it resumes; until then the kernel may do as it likes. */
		if (t->actual && t->state != CTL_PARKED) {
			kt_cpus_or(d->setsize, set[2], set[2], t->actual);
			row->actual = set[2];
		}
		if (t->cpu >= 0)
			kt_cpus_add(d->setsize, set[3], (unsigned int)t->cpu);
		if (t->broken && t->broken_since_ns >= 0 && d->time_ns - t->broken_since_ns > row->broken_ns)
			row->broken_ns = d->time_ns - t->broken_since_ns;
	}
	print_wish(d, row, row->wish, sizeof(row->wish));
	row->name = row_name(members, count);
	return row->name ? 0 : -ENOMEM;
}

int layout_rows(const struct ctl_dump *d, bool every, struct rows *ret)
{
	struct sorter *threads = calloc(d->n_threads + 1, sizeof(*threads));
	size_t count;

	*ret = (struct rows){.setsize = d->setsize};
	ret->rows = calloc(d->n_threads + 1, sizeof(*ret->rows));
	ret->sets = calloc(d->n_threads + 1, 4 * d->setsize);
	if (!threads || !ret->rows || !ret->sets)
		goto no_memory;
	for (size_t i = 0; i < d->n_threads; i++)
		threads[i] = (struct sorter){&d->threads[i], d, is_home(d, &d->threads[i])};
	if (!every)
		qsort(threads, d->n_threads, sizeof(*threads), by_likeness);
	for (size_t i = 0; i < d->n_threads; i += count) {
		for (count = 1; !every && i + count < d->n_threads; count++) {
			if (compare_alike(&threads[i], &threads[i + count]) != 0)
				break;
		}
		if (fill_row(d, &threads[i], count, (char *)ret->sets + ret->n_rows * 4 * d->setsize,
		             &ret->rows[ret->n_rows]))
			goto no_memory;
		ret->n_rows++;
	}
	qsort(ret->rows, ret->n_rows, sizeof(*ret->rows), by_first);
	free(threads);
	return 0;
no_memory:
	free(threads);
	layout_rows_free(ret);
	return -ENOMEM;
}

void layout_rows_free(struct rows *rows)
{
	for (size_t i = 0; rows->rows && i < rows->n_rows; i++)
		free(rows->rows[i].name);
	free(rows->rows);
	free(rows->sets);
	*rows = (struct rows){0};
}

/* ---- cells ---- */

static enum cell cell_of(const struct ctl_dump *d, unsigned int cpu, const struct row *row)
{
	const size_t size = d->setsize;

	if (row && kt_cpus_test(size, row->last, cpu))
		return CELL_LAST;
	if (row && row->actual) {
		const bool told = kt_cpus_test(size, row->effective, cpu), is = kt_cpus_test(size, row->actual, cpu);

		if (told != is)
			return told ? CELL_TOLD : CELL_EXTRA;
	}
	if (row && kt_cpus_test(size, row->effective, cpu))
		return CELL_EFFECTIVE;
	if (row && kt_cpus_test(size, row->wished, cpu))
		return CELL_WISHED;
	if (!kt_cpus_test(size, d->view.set[CTL_ONLINE], cpu))
		return CELL_OFFLINE;
	return kt_cpus_test(size, d->view.set[CTL_USABLE], cpu) ? CELL_NONE : CELL_UNUSABLE;
}

enum cell layout_cell(const struct ctl_dump *d, const struct layout *l, unsigned int column, const struct row *row)
{
	enum cell strongest = CELL_NONE, weakest = CELLS;

	for (unsigned int i = 0; i < l->columns[column].count; i++) {
		const enum cell cell = cell_of(d, l->order[l->columns[column].first + i], row);

		if (cell > strongest)
			strongest = cell;
		if (cell < weakest)
			weakest = cell;
	}
	/* Of a column that has one usable CPU, nothing is said about the others. */
	return strongest <= CELL_OFFLINE ? weakest : strongest;
}

bool layout_has(const struct ctl_dump *d, const struct layout *l, unsigned int column, const cpu_set_t *set)
{
	for (unsigned int i = 0; i < l->columns[column].count; i++) {
		if (kt_cpus_test(d->setsize, set, l->order[l->columns[column].first + i]))
			return true;
	}
	return false;
}

/* ---- words ---- */

/* ", what LIST", unless that is empty. */
static bool say(FILE *f, const struct ctl_dump *d, const char *what, const cpu_set_t *set)
{
	char *list = model_list(d, set);
	const bool said = list;

	if (said && *list)
		fprintf(f, ", %s %s", what, list);
	free(list);
	return said;
}

/* part: room for a set. */
static bool say_sets(FILE *f, const struct ctl_dump *d, cpu_set_t *part)
{
	cpu_set_t *const *set = d->view.set;
	bool said = say(f, d, "usable", set[CTL_USABLE]);

	kt_cpus_andnot(d->setsize, part, set[CTL_PRESENT], set[CTL_ONLINE]);
	said = said && say(f, d, "offline", part);
	kt_cpus_andnot(d->setsize, part, set[CTL_ONLINE], set[CTL_ALLOWED]);
	said = said && say(f, d, "not allowed", part);
	kt_cpus_and(d->setsize, part, set[CTL_OFFLINED], set[CTL_ONLINE]);
	said = said && say(f, d, "put down", part);
	said = said && say(f, d, "isolated", set[CTL_ISOLATED]);
	if (!kt_cpus_equal(d->setsize, set[CTL_HOUSEKEEPING], set[CTL_USABLE]))
		said = said && say(f, d, "housekeeping", set[CTL_HOUSEKEEPING]);
	return said;
}

char *layout_summary(const struct ctl_dump *d)
{
	const int present = CPU_COUNT_S(d->setsize, d->view.set[CTL_PRESENT]);
	const int count = present ? present : CPU_COUNT_S(d->setsize, d->view.set[CTL_POSSIBLE]);
	cpu_set_t *part = malloc(d->setsize);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	bool said = false;

	if (f && part) {
		fprintf(f, "%d CPU%s", count, count == 1 ? "" : "s");
		if (d->n_nodes > 1)
			fprintf(f, " on %zu nodes", d->n_nodes);
		said = say_sets(f, d, part);
		if (d->view.quota > 0)
			fprintf(f, ", time of %" PRId64 " CPUs", d->view.quota);
		if (d->simulate)
			fputs(", simulated", f);
	}
	free(part);
	if (f && fclose(f))
		said = false;
	if (said)
		return text;
	free(text);
	return NULL;
}
