/* SPDX-License-Identifier: MIT */
/*
 * Plain ECMA-48 sequences, which every terminal of today knows. The last row stays free, so that a frame does not scroll.
 */
#include "kthreadctl/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "kthreadctl/connect.h"

#define ENTER "\033[?1049h\033[?25l\033[2J" /* another screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"

static struct {
	bool open;
	bool keys; /* stdin is our terminal, and gives us single keys */
	int signals;
	sigset_t mask_before;
	struct termios mode_before;
} screen = {.signals = -1};

bool screen_possible(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static void take_terminal(void)
{
	/* tcgetpgrp: as a background job we must not touch the mode. */
	screen.keys = tcgetpgrp(STDIN_FILENO) == getpgrp() && tcgetattr(STDIN_FILENO, &screen.mode_before) == 0;
	if (screen.keys) {
		struct termios mode = screen.mode_before;

		mode.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
		mode.c_cc[VMIN] = 1;
		mode.c_cc[VTIME] = 0;
		screen.keys = tcsetattr(STDIN_FILENO, TCSANOW, &mode) == 0;
	}
	fputs(ENTER, stdout);
	fflush(stdout);
}

static void give_terminal(void)
{
	fputs(LEAVE, stdout);
	fflush(stdout);
	if (screen.keys)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &screen.mode_before);
	screen.keys = false;
}

int screen_open(void)
{
	static const int taken[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(taken) / sizeof(*taken); i++)
		sigaddset(&set, taken[i]);
	screen.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (screen.signals < 0)
		return -errno;
	sigprocmask(SIG_BLOCK, &set, &screen.mask_before);
	take_terminal();
	screen.open = true;
	return 0;
}

void screen_close(void)
{
	if (!screen.open)
		return;
	screen.open = false;
	give_terminal();
	close(screen.signals);
	screen.signals = -1;
	/* What has come meanwhile and was not read acts now, on a terminal that is as it was. */
	sigprocmask(SIG_SETMASK, &screen.mask_before, NULL);
}

int screen_fd(void)
{
	return screen.signals;
}

void screen_size(size_t *ret_width, size_t *ret_height)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
		size.ws_row = 24;
		size.ws_col = 80;
	}
	*ret_width = size.ws_col;
	*ret_height = size.ws_row;
}

static enum screen_event take_signal(void)
{
	struct signalfd_siginfo info;

	if (read(screen.signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return SCREEN_TIME;
	if (info.ssi_signo == SIGWINCH)
		return SCREEN_REDRAW;
	if (info.ssi_signo != SIGTSTP)
		return SCREEN_QUIT;
	give_terminal();
	raise(SIGSTOP);
	take_terminal();
	return SCREEN_REDRAW;
}

static enum screen_event take_key(void)
{
	char keys[64];
	const ssize_t count = read(STDIN_FILENO, keys, sizeof(keys));

	for (ssize_t i = 0; i < count; i++) {
		if (keys[i] == 'q' || keys[i] == 'Q')
			return SCREEN_QUIT;
	}
	if (count <= 0) /* the terminal is gone; so will we be, by SIGHUP */
		screen.keys = false;
	return count > 0 ? SCREEN_REDRAW : SCREEN_TIME;
}

enum screen_event screen_wait(uint64_t until_ns)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = screen.signals, .events = POLLIN},
		                       {.fd = screen.keys ? STDIN_FILENO : -1, .events = POLLIN}};
		const uint64_t now = clock_now_ns();
		enum screen_event event = SCREEN_TIME;

		if (now >= until_ns)
			return SCREEN_TIME;
		if (poll(fds, 2, clock_poll_ms(until_ns - now)) <= 0)
			continue;
		if (fds[0].revents)
			event = take_signal();
		if (event == SCREEN_TIME && fds[1].revents)
			event = take_key();
		if (event != SCREEN_TIME)
			return event;
	}
}
