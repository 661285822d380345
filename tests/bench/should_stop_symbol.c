/* SPDX-License-Identifier: MIT */
#define KTHREAD_NO_INLINE
#include <kthread/thread.h>

#include "should_stop.h"

unsigned long loop_symbol(unsigned long turns)
{
	ASK(turns, kthread_should_stop());
}
