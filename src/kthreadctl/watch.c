/* SPDX-License-Identifier: MIT */
/*
 * The subcommand watch, and the stream of events for whoever wants it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "kthreadctl/events.h"
#include "kthreadctl/human.h"
#include "kthreadctl/stream.h"

struct watch {
	const struct ctl *ctl;
	int64_t epoch_ns;
};

static enum ctl_status print_event(void *arg, const struct ctl_event *event, const char *line)
{
	struct watch *watch = arg;

	if (watch->ctl->json) {
		ctl_print(line);
		return CTL_DONE;
	}
	if (event->type == CTL_EVENT_WATCH)
		watch->epoch_ns = human_epoch_ns(event->time, event->time_ns);
	return events_print(event, watch->epoch_ns, watch->ctl->colour, stdout) ? CTL_DONE : ctl_no_memory();
}

enum ctl_status run_watch(const struct ctl *ctl)
{
	struct watch watch = {.ctl = ctl};
	struct connection c;
	enum ctl_status status = ask_open(ctl, &c, "watch");

	if (status == CTL_DONE)
		status = stream_follow(ctl, &c, ctl->for_ns, print_event, &watch);
	connection_close(&c);
	return status;
}
