/* SPDX-License-Identifier: MIT */
/*
 * The subcommand top: a dump now and then. A connection for each, so that the daemon holds nothing for us in between.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kthreadctl/ask.h"
#include "kthreadctl/rates.h"
#include "kthreadctl/screen.h"

static bool draw(const struct ctl *ctl, const struct ctl_dump *before, const struct ctl_dump *now)
{
	struct table_style style = {.colour = ctl->colour, .utf8 = ctl->utf8, .eol = SCREEN_EOL};
	size_t size, height;
	char *text = NULL;
	FILE *frame = open_memstream(&text, &size);
	bool done;

	if (!frame)
		return false;
	screen_size(&style.width, &height);
	fputs(SCREEN_BEGIN, frame);
	done = rates_print(before, now, &style, height > 1 ? height - 1 : 1, frame);
	fputs(SCREEN_END, frame);
	done = fclose(frame) == 0 && done;
	if (done)
		fwrite(text, 1, size, stdout);
	free(text);
	return done;
}

static enum ctl_status print(const struct ctl *ctl, const struct ctl_dump *before, const struct ctl_dump *now)
{
	const struct table_style style = {.colour = ctl->colour, .utf8 = ctl->utf8, .eol = "\n"};
	bool done;

	if (ctl->json)
		done = rates_print_json(before, now, stdout);
	else if (screen_fd() >= 0)
		done = draw(ctl, before, now);
	else
		done = (!before || fputc('\n', stdout) != EOF) && rates_print(before, now, &style, 0, stdout);
	if (!done && !ferror(stdout))
		return ctl_no_memory();
	return ctl_flush();
}

/* False: quit. A window that has changed is drawn anew at once, from what we know. */
static bool wait_until(const struct ctl *ctl, uint64_t until_ns, const struct ctl_dump *before,
                       const struct ctl_dump *now)
{
	if (screen_fd() < 0) {
		const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
		                               .tv_nsec = (long)(until_ns % 1000000000u)};

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
			;
		return true;
	}
	for (;;) {
		switch (screen_wait(until_ns)) {
		case SCREEN_TIME:
			return true;
		case SCREEN_QUIT:
			return false;
		case SCREEN_REDRAW:
			if (now && print(ctl, before, now) != CTL_DONE)
				return false;
		}
	}
}

/* Asks and prints until it has been often enough, or somebody wants to quit. */
static enum ctl_status loop(const struct ctl *ctl)
{
	struct ctl_dump *before = NULL, *now = NULL;
	enum ctl_status status = CTL_DONE;
	uint64_t blocks = 0, next_ns = 0;
	bool quit = false;

	while (status == CTL_DONE && !quit) {
		struct ctl_dump *newest;

		next_ns = clock_now_ns() + ctl->delay_ns;
		status = ask_dump(ctl, NULL, &newest);
		if (status == CTL_INTERRUPTED) {
			/* While the daemon lets us wait. What the signal was is told by waiting until now. */
			status = CTL_DONE;
			quit = screen_wait(clock_now_ns() + 1000000u) == SCREEN_QUIT;
			continue;
		}
		if (status != CTL_DONE)
			break;
		model_free(before);
		before = now;
		now = newest;
		status = print(ctl, before, now);
		blocks++;
		if (status != CTL_DONE || (ctl->count && blocks >= ctl->count))
			break;
		quit = !wait_until(ctl, next_ns, before, now);
	}
	model_free(before);
	model_free(now);
	return status;
}

enum ctl_status run_top(const struct ctl *ctl)
{
	struct ctl own = *ctl;
	enum ctl_status status;

	if (!ctl->json && screen_possible()) {
		const int error = screen_open();

		if (error)
			return ctl_fail(CTL_REFUSED, "cannot use the terminal: %s", strerror(-error));
		own.interrupt_fd = screen_fd();
	}
	status = loop(&own);
	screen_close();
	return status;
}
