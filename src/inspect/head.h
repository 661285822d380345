/* SPDX-License-Identifier: MIT */
/*
 * What a dump, the event stream and "version" tell alike, before all else.
 */
#ifndef KT_INSPECT_HEAD_H
#define KT_INSPECT_HEAD_H

#include <time.h>

#include "inspect/json.h"

#define KT_PROCESS_NAME 64

/* comm of the process, not of the calling thread. The real one, as its threads are. "": not known. */
void kt_process_name(char name[KT_PROCESS_NAME]);

/* "pid" and "process". */
void kt_head_put_process(struct kt_json *json);
/* "time". */
void kt_head_put_time(struct kt_json *json, const struct timespec *time);

#endif
