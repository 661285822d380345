/* SPDX-License-Identifier: MIT */
/*
 * Running kthreadctl as a user does, without a terminal and on one; and a daemon's end of the control socket that says
 * what a test wants it to say.
 */
#ifndef TESTS_KTHREADCTL_CTL_H
#define TESTS_KTHREADCTL_CTL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <termios.h>

extern const char *ctl_program; /* set by main() */
extern char ctl_dir[64];        /* a directory of this test's */

/* A group's setup and teardown: the directory. */
int ctl_setup(void **state);
int ctl_teardown(void **state);

/* ---- a run without a terminal ----------------------------------------------------------------------------------- */

struct run {
	int status; /* 1000 + signal */
	char *out, *err;
};

/* line: words separated by blanks, as in a shell without quotes; '' is an empty word, and \n and \_ in a word are a line
 * end and a blank. */
struct run run(const char *format, ...) __attribute__((format(printf, 1, 2)));
void run_free(struct run *run);
/* The whole of it: the status, and a part of stdout and of stderr (NULL: there is none). */
void expect(int status, const char *out, const char *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- a run on a terminal ---------------------------------------------------------------------------------------- */

struct terminal {
	pid_t pid;
	int master, slave; /* the slave stays open: so the terminal, and what was set on it, outlive the program */
	struct termios before;
	char *text; /* all that has been written so far */
	size_t length;
};

void terminal_start(struct terminal *t, unsigned short rows, unsigned short columns, const char *term,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Until that text has come, behind what was there at *from, which moves behind it. */
void terminal_await(struct terminal *t, size_t *from, const char *text);
void terminal_type(struct terminal *t, const char *keys);
void terminal_resize(struct terminal *t, unsigned short rows, unsigned short columns);
/* Is the terminal as it was before the program? */
bool terminal_restored(const struct terminal *t);
/* Wait for the end of the program; its exit status as in struct run. Then all is freed but the text. */
int terminal_end(struct terminal *t);

/* ---- a daemon --------------------------------------------------------------------------------------------------- */

struct fake {
	char path[128];
	/* What to say to a request; *length bytes that are freed then. NULL: say nothing, and don't close. */
	char *(*reply)(const char *request, size_t *length);
	int listener;
	pthread_t thread;
};

void fake_start(struct fake *fake, char *(*reply)(const char *request, size_t *length));
/* As if it had been killed. */
void fake_stop(struct fake *fake);

#endif
