/* SPDX-License-Identifier: MIT */
/*
 * The control socket. The monitor serves it, and never waits for a client, nor for what a client asks for: that is done
 * by a thread of this room's (command.c), or piece by piece (client.c).
 */
#ifndef KT_INSPECT_CONTROL_H
#define KT_INSPECT_CONTROL_H

#include <pthread.h>
#include <stdint.h>

#include "base/futex.h"
#include "base/library.h"
#include "inspect/request.h"

#define KT_CONTROL_PROTOCOL 1
#define KT_CONTROL_CLIENTS 16
#define KT_CONTROL_PATIENCE_NS (5 * KT_NS_PER_S)

/* All of this room's state. Held for a turn of the monitor's, so that a fork() finds it whole. The outermost of the
 * library's locks but its own: inside, no transition is waited for. */
extern pthread_mutex_t kt_control_lock;

extern const struct kt_room kt_control_room;

/* ---- control.c: what the others need of it. With the lock -------------------------------------------------------- */

int kt_control_epoll(void);
bool kt_control_read_only(void);
/* The monitor shall look at who has been answered, at watchers, and at dumps that wait to begin. From any thread, as long as
 * the service is open. */
void kt_control_ring(void);

/* ---- client.c: one connection. With the lock ---------------------------------------------------------------------- */

struct kt_client;
struct kt_json;
struct kt_text;

/* The end of an object that is a line. */
void kt_control_end_line(struct kt_json *json);

/* 16 places: to begin with, and in a child, no client is in one. */
struct kt_client *kt_client_at(unsigned int index);
/* Takes the fd. */
void kt_client_enter(int fd);
void kt_client_turn(struct kt_client *client, uint32_t events);
/* What it has asked for has been done, or not: the errno, and what to say of it. */
void kt_client_answer(struct kt_client *client, int error, const char *message);
/* There may be more to watch, or a dump may begin. */
void kt_clients_roused(void);
/* Send away whose time is up; returns when that of the next one is. */
uint64_t kt_clients_expire(void);
void kt_clients_leave(void);
/* In a forked child: the descriptors are closed at once, the rest when locks may be taken. */
void kt_clients_forked(void);
void kt_clients_forget(void);

/* ---- watch.c: the event stream. With the lock ---------------------------------------------------------------------- */

/* The first line, and the cursor of what comes next. 0 or -errno. */
int kt_watch_begin(uint64_t *ret_cursor, struct kt_text *ret_head);
/* Some more lines; false if there are none yet: kt_clients_roused() is called when there are. */
bool kt_watch_more(uint64_t *cursor, struct kt_text *lines);
void kt_watch_end(void);

/* ---- command.c: what is asked for. With the lock ------------------------------------------------------------------ */

struct kt_command;

/* Those that never wait. 0 or -errno; what to say about that is in *ret_message, which may be left as it is. */
#define KT_MESSAGE_SIZE 1024
int kt_command_now(const struct kt_request *request, char *message);
/* The others: NULL is a failure, with -errno in *ret_error. kt_client_answer() is called when it has been done. */
struct kt_command *kt_command_begin(struct kt_client *client, const struct kt_request *request, int *ret_error,
                                    char *message);
/* For a dump: have the thread read the machine's topology, if that is not known. */
void kt_command_want_topology(void);
/* What came of it: 0, also if there is none to be had, nor a thread to read it; -ENOMEM; -EINPROGRESS it has not been read
 * yet: kt_clients_roused() is called when it has. */
int kt_command_topology_error(void);
/* The client leaves: what has not begun is dropped, a park that is not granted yet is taken back. */
void kt_command_abandon(struct kt_command *job);
/* Answer those whose requests have been done. */
void kt_command_answer(void);

void kt_command_quiet(void); /* without the lock: wait for the thread to end */
void kt_command_stop(void);
void kt_command_forked(void);
void kt_command_forget(void);

#endif
