/* SPDX-License-Identifier: MIT */
#ifndef KTHREADCTL_STREAM_H
#define KTHREADCTL_STREAM_H

#include "kthreadctl/ask.h"

/*
 * Hand each event of a connection that has asked to watch to fn, which may return another status than CTL_DONE to end
 * it. line: as it came, without its newline. stdout is flushed whenever there is nothing more to read. Ends after for_ns
 * (CTL_DONE), with CTL_INTERRUPTED, or with CTL_LOST when the daemon goes; what goes wrong is said.
 */
enum ctl_status stream_follow(const struct ctl *ctl, struct connection *c, uint64_t for_ns,
                              enum ctl_status (*fn)(void *arg, const struct ctl_event *event, const char *line),
                              void *arg);

#endif
