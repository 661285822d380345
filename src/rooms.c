/* SPDX-License-Identifier: MIT */
/*
 * The one file that knows every room: in which order they start (and, backwards, stop).
 */
#include <errno.h>
#include <kthread/library.h>
#include <string.h>

#include "base/log.h"
#include "hotplug/monitor.h"
#include "inspect/control.h"
#include "ktask/room.h"
#include "machine/view.h"
#include "percpu/percpu.h"
#include "placement/placement.h"
#include "thread/freezer.h"
#include "thread/standstill.h"
#include "thread/thread.h"
#include "worker/worker.h"

/* The freezer lies in thread/, but its lock is outside all of theirs: fork() takes the last one's first. The control
 * socket's is outside of that. */
const struct kt_room *const kt_rooms[] = {
    &kt_machine_room, &kt_thread_room, &kt_placement_room, &kt_hotplug_room, &kt_percpu_room,
    &kt_worker_room,  &kt_ktask_room,  &kt_freezer,        &kt_control_room, NULL};

int kthread_init(const struct kthread_config *config)
{
	const int error = kt_library_init(config);
	const int none = !error && kt_config()->control ? kt_library_watch() : 0;

	if (none) /* the first thread tries it again */
		kt_log(NO_MONITOR, "no monitor, and no control socket: %s", strerror(-none));
	return error;
}

int kthread_fini(void)
{
	if (kt_standstill_held())
		return -EDEADLK;
	return kt_registry_count() || kt_jobs_running() ? -EBUSY : kt_library_fini();
}
