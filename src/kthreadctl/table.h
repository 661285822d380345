/* SPDX-License-Identifier: MIT */
/*
 * Columns of text. The cells are copied, and printed by text_print(): what a daemon says may hold anything.
 */
#ifndef KTHREADCTL_TABLE_H
#define KTHREADCTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct table;

/* columns: how many; right: bits of those whose cells stand at the right. NULL: no memory. */
struct table *table_new(size_t columns, unsigned int right);
/* NULL is accepted. */
void table_free(struct table *table);

/* A row: all its cells in turn; NULL is "-". attribute: "31", as in SGR, or NULL; static. False: no memory. */
bool table_add(struct table *table, const char *attribute, const char *const *cells);

/*
 * Print it. colour: attributes are heeded, else left out. utf8: of the terminal. width: cut lines to that many columns (0: don't).
 * first, rows: of them all (0, SIZE_MAX). eol: what ends a line, "\n" on paper. Blanks at the end of lines are left out.
 */
struct table_style {
	bool colour, utf8;
	size_t width;
	const char *eol;
};
void table_print(const struct table *table, const struct table_style *style, size_t first, size_t rows, FILE *out);

/* What text_print() makes of it, to be freed. NULL: no memory. */
char *text_dup(const char *text);

#endif
