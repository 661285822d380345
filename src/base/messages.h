/* SPDX-License-Identifier: MIT */
/*
 * The messages of the library: number, level and meaning of each stay what they are; the text around them may improve. A
 * number is never used for something else, and a message that goes takes its number with it. kthread-log(7) lists them.
 *
 * LIMITED: of what a machine may cause again and again, some and how many more there were. EACH: what is an answer to a
 * call of the application's, which the headers promise.
 */
#ifndef KT_BASE_MESSAGES_H
#define KT_BASE_MESSAGES_H

#include <syslog.h>

/* clang-format off */
#define KT_MESSAGES(X) \
	X(1, MALFORMED, LOG_ERR, EACH, "A value of the configuration or of the environment is malformed.") \
	X(2, SOURCE_UNUSABLE, LOG_WARNING, LIMITED, "A file that tells of CPUs cannot be read, or holds what cannot be.") \
	X(3, SOURCE_USABLE, LOG_NOTICE, LIMITED, "A file that could not be used can be used again.") \
	X(4, START_MASK_VOID, LOG_NOTICE, LIMITED, "The mask that the process was started with leaves no usable CPU.") \
	X(5, CPUSET_EMPTY, LOG_WARNING, LIMITED, "The cpuset, as it was read, has no online CPU.") \
	X(6, HOUSEKEEPING_SYNTAX, LOG_ERR, EACH, "The housekeeping list is not a list of CPUs.") \
	X(7, HOUSEKEEPING_IMPOSSIBLE, LOG_ERR, EACH, "The housekeeping list names a CPU that cannot be.") \
	X(8, HOUSEKEEPING_UNUSABLE, LOG_ERR, EACH, "The housekeeping list has no usable CPU.") \
	X(9, NODE_MEMORY, LOG_NOTICE, LIMITED, "Memory cannot be placed on a node.") \
	X(10, NO_TOPOLOGY, LOG_WARNING, LIMITED, "The topology of the machine cannot be read.") \
	X(11, PRIORITY_STAYS, LOG_INFO, LIMITED, "A thread cannot leave the priority of its creator.") \
	X(12, NO_FREEZE, LOG_WARNING, LIMITED, "A freeze did not begin in its time.") \
	X(13, NOT_FROZEN, LOG_WARNING, EACH, "A thread has not frozen in time.") \
	X(14, WORKS_LOST, LOG_WARNING, EACH, "Works that were queued will not run.") \
	X(15, WORKER_STAYS, LOG_ERR, EACH, "A worker cannot be destroyed by one of its works.") \
	X(16, NOT_PARKED, LOG_WARNING, LIMITED, "A thread has not parked in time, though its CPU is being given up.") \
	X(17, MASK_REFUSED, LOG_WARNING, LIMITED, "The kernel refuses the CPU mask of a thread.") \
	X(18, NOT_MOVED, LOG_ERR, LIMITED, "A thread cannot be moved off a CPU that is being given up.") \
	X(19, CPUS_LOST, LOG_NOTICE, LIMITED, "The CPUs that threads are bound to cannot be used.") \
	X(20, CPUS_BACK, LOG_NOTICE, LIMITED, "CPUs that threads are bound to can be used again.") \
	X(21, PERCPU_STAYS, LOG_ERR, EACH, "Per-CPU threads cannot be unregistered from where that was tried.") \
	X(22, STEP_FAILED, LOG_ERR, EACH, "The function of a hotplug step has failed where that can stop nothing.") \
	X(23, PLAN_BAD, LOG_ERR, LIMITED, "The plan file cannot be read, or is not a list of CPUs.") \
	X(24, PLAN_NOT_DOWN, LOG_WARNING, LIMITED, "A CPU cannot be given up as the plan asks.") \
	X(25, PLAN_NOT_UP, LOG_WARNING, LIMITED, "A CPU cannot be used again as the plan asks.") \
	X(26, PLAN_POLLED, LOG_WARNING, LIMITED, "Changes of the plan file are not notified.") \
	X(27, CPUSET_POLLED, LOG_WARNING, LIMITED, "Changes of the cpuset are not notified.") \
	X(28, NO_SOURCE, LOG_WARNING, LIMITED, "A source of events is not to be had.") \
	X(29, SYSFS_REFUSED, LOG_ERR, LIMITED, "The kernel refuses to set a CPU online or offline.") \
	X(30, NO_WAY_BACK, LOG_ERR, LIMITED, "A CPU was not given up after all, and cannot be used again, either.") \
	X(31, GIVEN_UP_USED, LOG_WARNING, LIMITED, "CPUs that were given up are used again, because no other is left.") \
	X(32, CPU_NOT_USED, LOG_ERR, LIMITED, "A CPU has come, and is not used, because a step has failed.") \
	X(33, NO_MONITOR, LOG_ERR, EACH, "The monitor, which serves the control socket, could not be started.") \
	X(34, CONTROL_DEAF, LOG_WARNING, LIMITED, "The control socket cannot accept clients for now.") \
	X(35, NO_CONTROL, LOG_ERR, EACH, "The control socket of the configuration could not be made.")
/* clang-format on */

#define KT_MESSAGE_COUNT 64u /* more than the highest number */

#define KT_MESSAGE_NAMES(number, name, level, limit, meaning) \
	KT_NUMBER_##name = (number), KT_LEVEL_##name = (level), KT_LIMIT_##name = KT_LOG_##limit,
#define KT_MESSAGE_FITS(number, name, level, limit, meaning) \
	_Static_assert((number) > 0 && (number) < KT_MESSAGE_COUNT, #name);
enum { KT_LOG_EACH, KT_LOG_LIMITED };
enum { KT_MESSAGES(KT_MESSAGE_NAMES) };
KT_MESSAGES(KT_MESSAGE_FITS)

#endif
