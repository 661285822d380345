/* SPDX-License-Identifier: MIT */
/*
 * A question to the daemon, from finding it to its answer. What goes wrong is said on stderr.
 */
#ifndef KTHREADCTL_ASK_H
#define KTHREADCTL_ASK_H

#include "kthreadctl/connect.h"
#include "kthreadctl/ctl.h"
#include "kthreadctl/model.h"

/* Find the daemon and send the request. */
enum ctl_status ask_open(const struct ctl *ctl, struct connection *c, const char *request);
/* The same, and read all of the reply: a text that ends with '\0'. The daemon's refusal is said; with --json it is printed. */
enum ctl_status ask(const struct ctl *ctl, struct connection *c, const char *request);
/* A dump. c, unless NULL, keeps its text, to be closed by the caller in any case. */
enum ctl_status ask_dump(const struct ctl *ctl, struct connection *c, struct ctl_dump **ret);
/* A request that changes something. With --json its reply is printed, else nothing if it is done. */
enum ctl_status ask_change(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * One line or text of the daemon's: is it {"ok":...}? CTL_DONE: ok, or no such thing; CTL_REFUSED: refused, and said.
 */
enum ctl_status ask_refused(const struct ctl *ctl, const char *text, size_t length);

#endif
