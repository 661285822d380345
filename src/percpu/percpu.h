/* SPDX-License-Identifier: MIT */
#ifndef KT_PERCPU_PERCPU_H
#define KT_PERCPU_PERCPU_H

#include "base/library.h"

extern const struct kt_room kt_percpu_room;

#endif
