/* SPDX-License-Identifier: MIT */
#include "look.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A set as a cpulist, to be freed; what cannot be had is "?". NULL: no memory. */
static char *list_text(int error, size_t setsize, const cpu_set_t *set)
{
	const int length = error ? error : kthread_cpulist_format(setsize, set, NULL, 0);
	char *text;

	if (length <= 0)
		return strdup(length < 0 ? "?" : "none");
	text = malloc((size_t)length + 1);
	if (text)
		kthread_cpulist_format(setsize, set, text, (size_t)length + 1);
	return text;
}

static char *cpus_text(enum kthread_cpus which)
{
	const size_t setsize = kthread_setsize();
	cpu_set_t *set = calloc(1, setsize + 1);
	char *text = NULL;

	if (set)
		text = list_text(kthread_cpus(which, setsize, set), setsize, set);
	free(set);
	return text;
}

static char *mask_text(const struct kthread *k, enum kthread_mask which)
{
	const size_t setsize = kthread_setsize();
	cpu_set_t *set = calloc(1, setsize + 1);
	char *text = NULL;

	if (set)
		text = list_text(kthread_get_mask(k, which, setsize, set), setsize, set);
	free(set);
	return text;
}

static char *wish_text(const struct kthread *k, const struct kthread_info *info)
{
	const char *kind = kthread_wish_name(info->wish);
	char *list, *text = NULL;

	if (info->wish == KTHREAD_WISH_NONE)
		return strdup(kind);
	if (info->wish == KTHREAD_WISH_NODE)
		return asprintf(&text, "%s %d", kind, info->node) < 0 ? NULL : text;
	list = mask_text(k, KTHREAD_MASK_WISH);
	if (!list || asprintf(&text, "%s %s", kind, list) < 0)
		text = NULL;
	free(list);
	return text;
}

static void row_free(struct row *row)
{
	free(row->wish);
	free(row->effective);
	free(row->actual);
}

static int add_row(const struct kthread *k, void *arg)
{
	struct look *look = arg;
	struct row row = {.info.size = sizeof(row.info)};
	struct row *rows;

	if (kthread_info(k, &row.info) != 0)
		return 0; /* it has just ended */
	row.wish = wish_text(k, &row.info);
	row.effective = mask_text(k, KTHREAD_MASK_EFFECTIVE);
	row.actual = mask_text(k, KTHREAD_MASK_ACTUAL);
	rows = realloc(look->rows, (look->count + 1) * sizeof(*rows));
	if (rows)
		look->rows = rows;
	if (!rows || !row.wish || !row.effective || !row.actual) {
		row_free(&row);
		return ENOMEM;
	}
	look->rows[look->count++] = row;
	return 0;
}

static void free_sets(struct look *look)
{
	free(look->online);
	free(look->usable);
	free(look->housekeeping);
}

/* Of one view: again, if a new one came meanwhile. */
static void read_sets(struct look *look)
{
	uint64_t generation;

	do {
		free_sets(look);
		generation = kthread_generation();
		look->online = cpus_text(KTHREAD_CPUS_ONLINE);
		look->usable = cpus_text(KTHREAD_CPUS_USABLE);
		look->housekeeping = cpus_text(KTHREAD_CPUS_HOUSEKEEPING);
	} while (kthread_generation() != generation);
}

struct look *look_take(void)
{
	struct look *look = calloc(1, sizeof(*look));

	if (!look)
		return NULL;
	look->at_ns = now_ns();
	read_sets(look);
	if (!look->online || !look->usable || !look->housekeeping || kthread_for_each(add_row, look) != 0) {
		look_free(look);
		return NULL;
	}
	return look;
}

void look_free(struct look *look)
{
	if (!look)
		return;
	for (size_t i = 0; i < look->count; i++)
		row_free(&look->rows[i]);
	free(look->rows);
	free_sets(look);
	free(look);
}

const struct row *look_find(const struct look *look, const struct row *row)
{
	for (size_t i = 0; i < look->count; i++) {
		if (look->rows[i].info.tid == row->info.tid && strcmp(look->rows[i].info.name, row->info.name) == 0)
			return &look->rows[i];
	}
	return NULL;
}
