/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "inspect/control.h"

/* There is no event stream yet. */
int kt_watch_begin(uint64_t *ret_cursor, struct kt_text *ret_head)
{
	(void)ret_cursor;
	(void)ret_head;
	return -EOPNOTSUPP;
}

bool kt_watch_more(uint64_t *cursor, struct kt_text *lines)
{
	(void)cursor;
	(void)lines;
	return false;
}

void kt_watch_end(void)
{
}
