/* SPDX-License-Identifier: MIT */
/*
 * Foreign text on a terminal. Names come from another process: they may hold escape sequences, wide and combining
 * characters. All functions take UTF-8, which is what the model holds.
 */
#ifndef KTHREADCTL_TEXT_H
#define KTHREADCTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The character at *at, which moves on; U+FFFD for a byte that is no UTF-8. 0 at the end, where *at stays. */
uint32_t text_next(const char **at);

/* Columns that text_print() takes for all of it. */
size_t text_columns(const char *text);

/*
 * At most `columns` columns of it, the last one an ellipsis if it was cut; what could control the terminal, or what an
 * ASCII terminal (utf8 false) cannot show, becomes '?'. Returns the columns taken.
 */
size_t text_print(FILE *f, const char *text, size_t columns, bool utf8);

/* All of it, line ends included; what else could control the terminal becomes '?'. */
void text_print_lines(FILE *f, const char *text);

#endif
