/* SPDX-License-Identifier: MIT */
#ifndef KTHREADCTL_EVENTS_H
#define KTHREADCTL_EVENTS_H

#include <stdio.h>

#include "kthreadctl/model.h"

/* One event as a line for people. epoch_ns: see human_epoch_ns(). Pure, but the time zone. False: no memory. */
bool events_print(const struct ctl_event *event, int64_t epoch_ns, bool colour, FILE *out);

#endif
