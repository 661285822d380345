/* SPDX-License-Identifier: MIT */
/*
 * A client of the control socket, and a library that listens at control_path.
 */
#ifndef TESTS_CONTROL_CLIENT_H
#define TESTS_CONTROL_CLIENT_H

#include "sim.h"

extern char control_path[160];

/* Open descriptors of this process, by /proc; once the monitor sleeps, who opens files to look at the machine. */
int control_fds(void);

/* The library on the machine "numa", listening. NULL: sim_config(). */
void control_start(const struct kthread_config *config);
void control_stop(void);

/* A connection; reads of it wait no longer than AWAIT_LIMIT_NS. */
int control_connect(void);
void control_send(int fd, const char *line); /* and a newline */
int control_begin(const char *line);         /* both of these */
/* All that comes until the end, which is the connection's, too; until the next one. It ends with a NUL. */
const char *control_rest(int fd);
/* The next line, of watch: without its newline; NULL at the end. Until the next one. One connection at a time. */
const char *control_line(int fd);
/* All of that. */
const char *control_ask(const char *line);

#define assert_answer(fd, text) assert_string_equal(control_rest(fd), (text))
#define assert_done(line) assert_string_equal(control_ask(line), "{\"ok\":true}\n")
/* Refused with the error of that name, and a message that has this in it. */
#define assert_refused(line, error, about) control_refused(control_ask(line), (error), (about), __FILE__, __LINE__)
#define assert_refusal(fd, error, about) control_refused(control_rest(fd), (error), (about), __FILE__, __LINE__)
void control_refused(const char *answer, const char *error, const char *about, const char *file, int line);

/* A thread that does not park until it may. Its data: */
struct stubbornness {
	atomic_bool runs, may, asked;
};
/* Start one, and see it run: before that it would be parked on its way to its function. */
struct kthread *stubborn_begin(struct stubbornness *its);

#endif
