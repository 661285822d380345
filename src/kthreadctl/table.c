/* SPDX-License-Identifier: MIT */
#include "kthreadctl/table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/text.h"

#define GAP 2u

struct row {
	const char *attribute;
	char **cells;
};

struct table {
	size_t columns, count;
	unsigned int right;
	size_t *width;
	struct row *rows;
};

/* ---- text ------------------------------------------------------------------------------------------------------- */

char *text_dup(const char *text)
{
	char *copy;
	size_t size;
	FILE *out = open_memstream(&copy, &size);

	if (!out)
		return NULL;
	text_print(out, text, SIZE_MAX, true);
	if (fclose(out) == 0)
		return copy;
	free(copy);
	return NULL;
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

struct table *table_new(size_t columns, unsigned int right)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	*table = (struct table){.columns = columns, .right = right, .width = calloc(columns, sizeof(size_t))};
	if (table->width)
		return table;
	free(table);
	return NULL;
}

static void free_cells(char **cells, size_t columns)
{
	for (size_t c = 0; cells && c < columns; c++)
		free(cells[c]);
	free(cells);
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++)
		free_cells(table->rows[i].cells, table->columns);
	free(table->rows);
	free(table->width);
	free(table);
}

bool table_add(struct table *table, const char *attribute, const char *const *cells)
{
	struct row *rows = reallocarray(table->rows, table->count + 1, sizeof(*rows));
	char **copies;

	if (!rows)
		return false;
	table->rows = rows;
	copies = calloc(table->columns, sizeof(*copies));
	for (size_t c = 0; copies && c < table->columns; c++) {
		copies[c] = strdup(cells[c] ? cells[c] : "-");
		if (!copies[c]) {
			free_cells(copies, table->columns);
			return false;
		}
	}
	if (!copies)
		return false;
	for (size_t c = 0; c < table->columns; c++) {
		const size_t width = text_columns(copies[c]);

		if (width > table->width[c])
			table->width[c] = width;
	}
	rows[table->count++] = (struct row){.attribute = attribute, .cells = copies};
	return true;
}

static void print_row(const struct table *table, const struct row *row, const struct table_style *style, FILE *out)
{
	const char *attribute = style->colour ? row->attribute : NULL;
	size_t left = style->width ? style->width : SIZE_MAX;
	size_t pending = 0; /* blanks before the next text */

	if (attribute)
		fprintf(out, "\033[%sm", attribute);
	for (size_t c = 0; c < table->columns && left; c++) {
		const size_t width = text_columns(row->cells[c]);
		const size_t pad = table->width[c] - width;
		const bool right = table->right >> c & 1;

		pending += right ? pad : 0;
		if (width) {
			if (pending >= left)
				break;
			fprintf(out, "%*s", (int)pending, "");
			left -= pending;
			left -= text_print(out, row->cells[c], left, style->utf8);
			pending = 0;
		}
		pending += (right ? 0 : pad) + GAP;
	}
	if (attribute)
		fputs("\033[0m", out);
	fputs(style->eol, out);
}

void table_print(const struct table *table, const struct table_style *style, size_t first, size_t rows, FILE *out)
{
	for (size_t i = first; i < table->count && i - first < rows; i++)
		print_row(table, &table->rows[i], style, out);
}
