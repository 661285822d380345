/* SPDX-License-Identifier: MIT */
/*
 * The terminal, taken over for a table that is redrawn in place, and given back as it was: at the end, when the job is
 * stopped, and before an error is printed.
 */
#ifndef KTHREADCTL_SCREEN_H
#define KTHREADCTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is stdout a terminal that can do this? */
bool screen_possible(void);

/* Takes SIGINT, SIGTERM, SIGHUP, SIGTSTP and SIGWINCH, too. 0 or -errno. */
int screen_open(void);
/* Also when it is not open. */
void screen_close(void);

/* Becomes readable when a signal has come; -1: not open. */
int screen_fd(void);
void screen_size(size_t *ret_width, size_t *ret_height);

enum screen_event { SCREEN_TIME, SCREEN_REDRAW, SCREEN_QUIT };
/* Until the time has come, the window has another size or was covered, or somebody wants to leave: q, Ctrl-C, a signal. */
enum screen_event screen_wait(uint64_t until_ns);

/* Starts a frame; its lines end with SCREEN_EOL; ends it. */
#define SCREEN_BEGIN "\033[H"
#define SCREEN_EOL "\033[K\n"
#define SCREEN_END "\033[J"

#endif
