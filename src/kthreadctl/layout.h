/* SPDX-License-Identifier: MIT */
/*
 * What the two maps, for a terminal and as SVG, have in common: which CPUs stand in which column, which threads in which
 * row, and what a cell says.
 */
#ifndef KTHREADCTL_LAYOUT_H
#define KTHREADCTL_LAYOUT_H

#include "kthreadctl/model.h"

/* Before a column. */
enum gap { GAP_NONE, GAP_CACHE, GAP_NODE };

struct column {
	unsigned int first, count; /* of layout->order */
	enum gap gap;
};

/* A node's columns. */
struct band {
	unsigned int first, count;
	int64_t node; /* -1: of no known node */
};

struct layout {
	unsigned int n_cpus; /* the CPUs that are present */
	unsigned int *order; /* by node, shared cache, number */
	unsigned int n_columns, n_bands, n_gaps;
	unsigned int per_column; /* 1: each CPU has a column of its own */
	struct column *columns;
	struct band *bands;
};

/*
 * At most `room` columns, those for gaps included; if there are more CPUs, a column stands for several neighbours, and at
 * last gaps go. -ENOMEM.
 */
int layout_columns(const struct ctl_dump *dump, unsigned int room, struct layout *ret);
void layout_free(struct layout *layout);

/* From the weakest to the strongest: a column of several CPUs shows the strongest. */
enum cell {
	CELL_NONE,
	CELL_UNUSABLE, /* online, but not for us: all of the column */
	CELL_OFFLINE,  /* all of the column */
	CELL_WISHED,   /* wished, not effective */
	CELL_EFFECTIVE,
	CELL_TOLD,  /* effective, but the kernel does not let it run there */
	CELL_EXTRA, /* the kernel lets it run there, though it is not effective */
	CELL_LAST,  /* it ran here last */
	CELLS
};

/* A thread, or several of a class that are placed alike. */
struct row {
	const struct ctl_thread *thread; /* the first of them */
	size_t count;
	char *name;        /* "poll/0-3,7" */
	const char *state; /* "active": some run, some wait */
	char wish[48];
	const cpu_set_t *wished, *effective;
	const cpu_set_t *actual; /* NULL: not known, or of no interest (parked) */
	const cpu_set_t *last;
	bool own; /* several, each for a CPU of its own */
	bool broken;
	int64_t broken_ns; /* since when it has been; the longest */
};

struct rows {
	size_t n_rows;
	struct row *rows;
	size_t setsize;
	void *sets;
};

/* every: a row for each thread; else threads of one class that are placed alike share one. -ENOMEM. */
int layout_rows(const struct ctl_dump *dump, bool every, struct rows *ret);
void layout_rows_free(struct rows *rows);

/* What the column says of the row; of no thread if row is NULL. */
enum cell layout_cell(const struct ctl_dump *dump, const struct layout *layout, unsigned int column,
                      const struct row *row);
/* Is any CPU of the column in the set? */
bool layout_has(const struct ctl_dump *dump, const struct layout *layout, unsigned int column, const cpu_set_t *set);

/* "8 CPUs on 4 nodes, usable 0-4,7, offline 5, ...": caller frees; NULL if there is no memory. */
char *layout_summary(const struct ctl_dump *dump);

#endif
