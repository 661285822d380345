/* SPDX-License-Identifier: MIT */
/*
 * The live table: the threads, and below them the latest events, redrawn in place and cut to the window.
 */
#ifndef STEADY_TABLE_H
#define STEADY_TABLE_H

#include "events.h"

/* Take the terminal over (stdout; stdin too, if it is one), and give it back as it was. Both may be called again. */
void table_open(bool colour);
void table_close(void);

/* An event for the lines below the table; an event_fn. */
void table_event(uint64_t at_ns, enum mood mood, const char *who, const char *what);

/* title: what is shown in the first line, before the time. */
void table_draw(const struct look *look, const char *title, uint64_t start_ns);

#endif
