/* SPDX-License-Identifier: MIT */
/*
 * The subcommands that draw.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "kthreadctl/ask.h"
#include "kthreadctl/human.h"
#include "kthreadctl/map.h"
#include "kthreadctl/screen.h"
#include "kthreadctl/stream.h"
#include "kthreadctl/timeline.h"

/* A file of ours, or stdout for "-". NULL: it cannot be written, which has been said. */
static FILE *open_picture(const char *path)
{
	FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

	if (!file)
		ctl_fail(CTL_REFUSED, "%s: cannot be written: %s", path, strerror(errno));
	return file;
}

static enum ctl_status close_picture(const char *path, FILE *file)
{
	const bool failed = ferror(file);

	if (file == stdout)
		return ctl_flush();
	if (fclose(file) != 0 || failed)
		return ctl_fail(CTL_REFUSED, "%s: cannot be written: %s", path, strerror(errno));
	return CTL_DONE;
}

static struct map_options map_options(const struct ctl *ctl)
{
	size_t width, height;

	screen_size(&width, &height);
	return (struct map_options){
	    .width = (unsigned int)width, .colour = ctl->colour, .utf8 = ctl->utf8, .every = ctl->every};
}

/* ---- map -------------------------------------------------------------------------------------------------------- */

static enum ctl_status print_map(const struct ctl *ctl, const struct ctl_dump *dump)
{
	const struct map_options options = map_options(ctl);
	FILE *file = ctl->svg ? open_picture(ctl->svg) : stdout;
	int error;

	if (!file)
		return CTL_REFUSED;
	error = ctl->svg ? map_svg(dump, ctl->every, file) : map_text(dump, &options, file);
	if (error)
		ctl_no_memory();
	return close_picture(ctl->svg, file) == CTL_DONE && !error ? CTL_DONE : CTL_REFUSED;
}

enum ctl_status run_map(const struct ctl *ctl)
{
	struct ctl_dump *dump = NULL;
	enum ctl_status status;

	if (ctl->json) /* all that the map is made of */
		return run_dump(ctl);
	status = ask_dump(ctl, NULL, &dump);
	if (status == CTL_DONE)
		status = print_map(ctl, dump);
	model_free(dump);
	return status;
}

/* ---- timeline --------------------------------------------------------------------------------------------------- */

struct recording {
	const struct ctl *ctl;
	struct ctl_dump *dump;
	struct timeline *timeline;
	uint64_t dump_ns; /* when we had it, by our clock */
};

/* In a line, as the events are. */
static enum ctl_status print_begin(const struct ctl_dump *dump)
{
	char *line = json_dumps(dump->json, JSON_COMPACT);

	if (!line)
		return ctl_no_memory();
	ctl_print(line);
	free(line);
	return CTL_DONE;
}

/* The dump is made when the stream has begun, so that nothing is lost between them. */
static enum ctl_status begin_recording(struct recording *recording)
{
	const enum ctl_status status = ask_dump(recording->ctl, NULL, &recording->dump);

	recording->dump_ns = clock_now_ns();
	if (status != CTL_DONE)
		return status;
	if (recording->ctl->json)
		return print_begin(recording->dump);
	if (timeline_begin(recording->dump, &recording->timeline))
		return ctl_no_memory();
	if (isatty(STDERR_FILENO)) { /* somebody waits, and sees nothing until the end */
		char length[32];

		human_age(length, sizeof(length), (int64_t)recording->ctl->for_ns);
		fprintf(stderr, "kthreadctl: watching for %s\n", length);
	}
	return CTL_DONE;
}

static enum ctl_status record(void *arg, const struct ctl_event *event, const char *line)
{
	struct recording *recording = arg;
	enum ctl_status status = CTL_DONE;

	if (!recording->dump)
		status = begin_recording(recording);
	if (recording->ctl->json) {
		/* What is older than the dump is in it. */
		if (status == CTL_DONE &&
		    (event->type == CTL_EVENT_WATCH || event->time_ns >= recording->dump->time_ns))
			ctl_print(line);
		return status;
	}
	if (status != CTL_DONE || event->type == CTL_EVENT_WATCH)
		return status;
	return timeline_add(recording->timeline, event) ? ctl_no_memory() : CTL_DONE;
}

static enum ctl_status print_recording(const struct recording *recording, FILE *file)
{
	const struct ctl *ctl = recording->ctl;
	/* A daemon in a container may have another CLOCK_MONOTONIC. */
	const int64_t passed_ns = (int64_t)(clock_now_ns() - recording->dump_ns);
	const int64_t begin_ns = recording->dump->time_ns;
	const int64_t end_ns = begin_ns > INT64_MAX - passed_ns ? INT64_MAX : begin_ns + passed_ns;
	const struct map_options options = map_options(ctl);
	const int error = ctl->svg ? timeline_svg(recording->timeline, end_ns, file)
	                           : timeline_text(recording->timeline, end_ns, &options, file);

	return error ? ctl_no_memory() : CTL_DONE;
}

/* Ctrl-C makes a descriptor readable from now on; -1: it is ignored, or none can be had, and all is as it was. */
static int begin_interrupts(sigset_t *before)
{
	struct sigaction action;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	if (sigaction(SIGINT, NULL, &action) != 0 || action.sa_handler == SIG_IGN)
		return -1;
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd >= 0)
		sigprocmask(SIG_BLOCK, &set, before);
	return fd;
}

/* One that was meant is taken: it must not act now. */
static void end_interrupts(int fd, const sigset_t *before, bool meant)
{
	const struct timespec at_once = {0};
	sigset_t set;

	if (fd < 0)
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	if (meant)
		sigtimedwait(&set, NULL, &at_once);
	close(fd);
	sigprocmask(SIG_SETMASK, before, NULL);
}

/* Until the time is over, or Ctrl-C says that it is; before there is anything to draw that ends us as it does others. */
static enum ctl_status follow(const struct ctl *ctl, struct connection *c, struct recording *recording)
{
	struct ctl own = *ctl;
	enum ctl_status status;
	sigset_t before;

	own.interrupt_fd = begin_interrupts(&before);
	recording->ctl = &own;
	status = stream_follow(&own, c, ctl->for_ns, record, recording);
	recording->ctl = ctl;
	end_interrupts(own.interrupt_fd, &before, recording->timeline);
	return status == CTL_INTERRUPTED ? CTL_DONE : status;
}

enum ctl_status run_timeline(const struct ctl *ctl)
{
	struct recording recording = {.ctl = ctl};
	struct connection c = CONNECTION_NONE;
	/* Before the time is spent. */
	FILE *file = ctl->svg ? open_picture(ctl->svg) : stdout;
	enum ctl_status status = file ? ask_open(ctl, &c, "watch") : CTL_REFUSED;

	if (status == CTL_DONE && ctl->json)
		status = stream_follow(ctl, &c, ctl->for_ns, record, &recording);
	else if (status == CTL_DONE)
		status = follow(ctl, &c, &recording);
	/* Also if the daemon has gone meanwhile: how that came is what one wants to see. */
	if (recording.timeline && print_recording(&recording, file) != CTL_DONE)
		status = CTL_REFUSED;
	if (file && close_picture(ctl->svg, file) != CTL_DONE)
		status = CTL_REFUSED;
	timeline_free(recording.timeline);
	model_free(recording.dump);
	connection_close(&c);
	return status;
}
