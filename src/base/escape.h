/* SPDX-License-Identifier: MIT */
/*
 * Text into JSON strings, and onto terminals. Pure.
 */
#ifndef KT_BASE_ESCAPE_H
#define KT_BASE_ESCAPE_H

#include <stddef.h>

/*
 * Write text, of `length` bytes, as the inside of a JSON string (no quotes, no NUL at its end) to `to`, at most `size`
 * bytes, of which six suffice for any character: it is cut at a whole one. What JSON does not take as it is gets escaped,
 * a byte that is not UTF-8 becomes U+FFFD. Returns the bytes written; *ret_rest is where text was cut, its end if it was
 * not.
 */
size_t kt_escape_json(char *to, size_t size, const char *text, size_t length, const char **ret_rest);

/* In place: what is not UTF-8, and what a terminal could take for an order, becomes '?'. Never longer than before. */
void kt_make_printable(char *text);

#endif
