/* SPDX-License-Identifier: MIT */
#include "kthreadctl/stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

struct follower {
	const struct ctl *ctl;
	enum ctl_status (*fn)(void *arg, const struct ctl_event *event, const char *line);
	void *arg;
	bool begun; /* the first line has come: it is no refusal */
};

static enum ctl_status take_line(struct follower *f, const char *line, size_t length)
{
	char error[CTL_ERROR_SIZE];
	struct ctl_event *event;
	enum ctl_status status = f->begun ? CTL_DONE : ask_refused(f->ctl, line, length);
	int failed;

	if (status != CTL_DONE)
		return status;
	failed = model_parse_event(line, length, &event, error, sizeof(error));
	if (failed == -ENOMEM)
		return ctl_no_memory();
	if (failed)
		return ctl_fail(CTL_LOST, "an event of the daemon's cannot be understood: %s", error);
	if (!f->begun && event->type != CTL_EVENT_WATCH)
		status = ctl_fail(CTL_LOST, "the daemon does not begin as a stream of events does");
	f->begun = true;
	if (status == CTL_DONE)
		status = f->fn(f->arg, event, line);
	model_event_free(event);
	return status;
}

static enum ctl_status take_lines(struct follower *f, struct connection *c)
{
	enum ctl_status status = CTL_DONE;
	size_t length;
	char *line;

	while (status == CTL_DONE && (line = connection_line(c, &length)))
		status = take_line(f, line, length);
	return status == CTL_DONE ? ctl_flush() : status;
}

enum ctl_status stream_follow(const struct ctl *ctl, struct connection *c, uint64_t for_ns,
                              enum ctl_status (*fn)(void *arg, const struct ctl_event *event, const char *line),
                              void *arg)
{
	struct follower f = {.ctl = ctl, .fn = fn, .arg = arg};
	const uint64_t begin_ns = clock_now_ns();
	const uint64_t end_ns = for_ns > UINT64_MAX - begin_ns ? UINT64_MAX : begin_ns + for_ns;
	enum ctl_status status = CTL_DONE;

	while (status == CTL_DONE && !c->ended) {
		struct pollfd fds[] = {{.fd = c->fd, .events = POLLIN}, {.fd = ctl->interrupt_fd, .events = POLLIN}};
		const uint64_t now_ns = clock_now_ns();
		uint64_t left_ns = end_ns == UINT64_MAX ? UINT64_MAX : end_ns - (now_ns < end_ns ? now_ns : end_ns);
		int error = 0;

		/* Events wait to happen, but the daemon's first line does not. */
		if (!f.begun && left_ns > ctl->wait_ns)
			left_ns = ctl->wait_ns;
		if (now_ns >= end_ns)
			return CTL_DONE;
		poll(fds, 2, clock_poll_ms(left_ns));
		if (fds[0].revents)
			error = connection_read(c);
		else if (!f.begun && clock_now_ns() - begin_ns >= ctl->wait_ns)
			return ctl_fail(CTL_LOST, "the daemon does not answer: is it stopped?");
		if (error)
			return ctl_fail(CTL_LOST, "the connection broke: %s", strerror(-error));
		status = take_lines(&f, c);
		if (status == CTL_DONE && fds[1].revents)
			status = CTL_INTERRUPTED;
	}
	if (status == CTL_DONE)
		status =
		    ctl_fail(CTL_LOST, f.begun ? "the daemon has ended"
		                               : "the daemon closed the connection without an answer: has it ended?");
	return status;
}
