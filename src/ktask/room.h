/* SPDX-License-Identifier: MIT */
#ifndef KT_KTASK_ROOM_H
#define KT_KTASK_ROOM_H

#include <stdbool.h>

#include "base/library.h"

extern const struct kt_room kt_ktask_room;

/* Is a job under way that has asked, or may ask, for helpers? */
bool kt_jobs_running(void);

struct kthread;
bool kt_thread_is_helper(const struct kthread *k);

#endif
