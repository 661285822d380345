/* SPDX-License-Identifier: MIT */
/*
 * The log: lines come in, and are durable in batches. A batch is one write and one fdatasync(), made by a worker whose
 * thread is at home on a node; a delayed work decides when.
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log;

struct log_options {
	const char *path;
	int node;          /* whose CPUs the worker prefers; -1: none */
	uint64_t delay_ns; /* the first line of a batch waits so long for others */
	/* On the worker, after each batch: log_durable() or log_failure() has changed. */
	void (*settled)(void);
};

struct log_totals {
	uint64_t batches;
	uint64_t bytes;
};

/* Opens or creates the file, and cuts off a line without an end, which nobody was told is safe. 0 or -errno. */
int log_open(struct log **ret_log, const struct log_options *options);
/* All that was accepted is durable, or has failed. */
void log_close(struct log *log);

/* Accept a line, with its newline. True: *ret_end is its end, counted in bytes accepted: it is safe once log_durable() has
 * reached that. False: the batch is full; try again after the next call of settled(). One thread. */
bool log_append(struct log *log, const char *line, size_t size, uint64_t *ret_end);
uint64_t log_durable(struct log *log);

/* A batch could not be written: errno, and it is not in the file, nor is what was accepted since. log_resume() goes on
 * behind all that. */
int log_failure(struct log *log);
void log_resume(struct log *log);

struct log_totals log_totals(struct log *log);

#endif
