/* SPDX-License-Identifier: MIT */
#ifndef KTHREADCTL_PROMETHEUS_H
#define KTHREADCTL_PROMETHEUS_H

#include <stdio.h>

#include "kthreadctl/model.h"

/* A dump in Prometheus' text exposition format 0.0.4. Pure. */
void prometheus_print(const struct ctl_dump *dump, FILE *out);

#endif
