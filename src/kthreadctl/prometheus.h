/* SPDX-License-Identifier: MIT */
#ifndef KTHREADCTL_PROMETHEUS_H
#define KTHREADCTL_PROMETHEUS_H

#include <stdbool.h>
#include <stdio.h>

#include "kthreadctl/model.h"

/* A dump in Prometheus' text exposition format 0.0.4; or the same as JSON, in the form of prom2json. Pure. */
void prometheus_print(const struct ctl_dump *dump, bool json, FILE *out);

#endif
