/* SPDX-License-Identifier: MIT */
/*
 * The control socket's requests: one line each, taken to pieces. Pure.
 */
#ifndef KT_INSPECT_REQUEST_H
#define KT_INSPECT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KT_REQUEST_MAX 1023 /* bytes, without the newline */

enum kt_verb {
	KT_ASK_VERSION,
	KT_ASK_HELP,
	KT_ASK_DUMP,
	KT_ASK_WATCH,
	KT_ASK_RESCAN,
	KT_ASK_PARK,
	KT_ASK_UNPARK,
	KT_ASK_HOUSEKEEPING,
	KT_ASK_CPU_DOWN,
	KT_ASK_CPU_UP,
	KT_ASK_FREEZE,
	KT_ASK_THAW
};

struct kt_request {
	enum kt_verb verb;
	bool text;           /* dump: for people */
	bool physical;       /* cpu */
	unsigned int number; /* cpu: which one; freeze: milliseconds; park, unpark: the tid, 0 = by name */
	const char *rest;    /* park, unpark: the name; housekeeping: the list. NULL = by tid; the default */
};

/*
 * Take `line` apart, which has `length` bytes (a '\r' at its end is not counted as one) and room for one more; it is
 * changed, and *ret points into it. 0; -EINVAL, and *ret_why says to people what is wrong.
 */
int kt_request_parse(char *line, size_t length, struct kt_request *ret, const char **ret_why);

/* Does it more than look? */
bool kt_request_changes(enum kt_verb verb);

/* What "help" answers. */
extern const char kt_request_help[];

#endif
