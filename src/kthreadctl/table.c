/* SPDX-License-Identifier: MIT */
#include "kthreadctl/table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

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
	const unsigned char *from = (const unsigned char *)text;
	char *copy = malloc(strlen(text) + 1), *to = copy;

	if (!copy)
		return NULL;
	for (; *from; from++) {
		if (*from < ' ' || *from == 0x7f) {
			*to++ = '?';
		} else if (*from == 0xc2 && from[1] >= 0x80 && from[1] < 0xa0) { /* C1: terminals obey these, too */
			*to++ = '?';
			from++;
		} else {
			*to++ = (char)*from;
		}
	}
	*to = '\0';
	return copy;
}

/* Of the next character; *ret_width: of the terminal. A byte that is none in this locale is one column. */
static size_t next_character(const char *text, size_t *ret_width)
{
	mbstate_t state = {0};
	wchar_t wide;
	const size_t length = mbrtowc(&wide, text, MB_CUR_MAX, &state);
	int columns;

	*ret_width = 1;
	if (length == 0 || length > MB_CUR_MAX)
		return 1;
	columns = wcwidth(wide);
	*ret_width = columns < 0 ? 1 : (size_t)columns;
	return length;
}

size_t text_width(const char *text)
{
	size_t total = 0;

	while (*text) {
		size_t width;

		text += next_character(text, &width);
		total += width;
	}
	return total;
}

/* As much of it as fits, and how much that is. */
static size_t put(const char *text, size_t most, FILE *out)
{
	size_t used = 0;

	while (*text) {
		size_t width;
		const size_t length = next_character(text, &width);

		if (used + width > most)
			break;
		fwrite(text, 1, length, out);
		text += length;
		used += width;
	}
	return used;
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
		copies[c] = text_dup(cells[c] ? cells[c] : "-");
		if (!copies[c]) {
			free_cells(copies, table->columns);
			return false;
		}
	}
	if (!copies)
		return false;
	for (size_t c = 0; c < table->columns; c++) {
		const size_t width = text_width(copies[c]);

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
		const size_t width = text_width(row->cells[c]);
		const size_t pad = table->width[c] - width;
		const bool right = table->right >> c & 1;

		pending += right ? pad : 0;
		if (width) {
			if (pending >= left)
				break;
			fprintf(out, "%*s", (int)pending, "");
			left -= pending;
			left -= put(row->cells[c], left, out);
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
