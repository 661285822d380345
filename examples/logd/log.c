/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_MAX (1u << 20)
#define BATCH_GOOD (BATCH_MAX / 4) /* not worth waiting for more */

struct log {
	struct log_options options;
	int fd;
	off_t size; /* of what is durable in the file; the worker's */
	struct kthread_worker *worker;
	struct kthread_delayed_work commit;
	atomic_uint_least64_t durable;
	atomic_int failure;

	pthread_mutex_t lock;
	char *filling; /* what was accepted and has not been taken by the worker */
	size_t filled;
	uint64_t accepted;
	struct log_totals totals;

	char *writing; /* the worker's */
};

/* ---- the worker ------------------------------------------------------------------------------------------------- */

static int write_batch(struct log *log, size_t size)
{
	for (size_t done = 0; done < size;) {
		const ssize_t n = pwrite(log->fd, log->writing + done, size - done, log->size + (off_t)done);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno != EINTR)
			return errno;
	}
	return fdatasync(log->fd) == 0 ? 0 : errno;
}

static void commit(struct kthread_work *work)
{
	struct log *log = (struct log *)((char *)work - offsetof(struct log, commit.work));
	uint64_t end;
	size_t size;
	int error;

	pthread_mutex_lock(&log->lock);
	size = log->filled;
	end = log->accepted;
	memcpy(log->writing, log->filling, size);
	log->filled = 0;
	pthread_mutex_unlock(&log->lock);
	if (size == 0 || atomic_load(&log->failure))
		return;
	error = write_batch(log, size);
	if (error) {
		atomic_store(&log->failure, error);
		if (ftruncate(log->fd, log->size) != 0) /* half of it may be there; the next batch goes over it, too */
			perror("logd: ftruncate");
	} else {
		log->size += (off_t)size;
		atomic_store_explicit(&log->durable, end, memory_order_release);
		pthread_mutex_lock(&log->lock);
		log->totals.batches++;
		log->totals.bytes += size;
		pthread_mutex_unlock(&log->lock);
	}
	log->options.settled();
}

/* ---- use -------------------------------------------------------------------------------------------------------- */

bool log_append(struct log *log, const char *line, size_t size, uint64_t *ret_end)
{
	bool good = false;

	pthread_mutex_lock(&log->lock);
	if (log->filled + size <= BATCH_MAX) {
		memcpy(log->filling + log->filled, line, size);
		log->filled += size;
		*ret_end = log->accepted += size;
		good = true;
	}
	/* the first of a batch sets the time; one that is pending already keeps it */
	if (log->filled >= BATCH_GOOD)
		kthread_mod_delayed_work(log->worker, &log->commit, 0);
	else
		kthread_queue_delayed_work(log->worker, &log->commit, log->options.delay_ns);
	pthread_mutex_unlock(&log->lock);
	return good;
}

uint64_t log_durable(struct log *log)
{
	return atomic_load_explicit(&log->durable, memory_order_acquire);
}

int log_failure(struct log *log)
{
	return atomic_load(&log->failure);
}

void log_resume(struct log *log)
{
	kthread_cancel_delayed_work_sync(&log->commit);
	pthread_mutex_lock(&log->lock);
	log->filled = 0;
	pthread_mutex_unlock(&log->lock);
	atomic_store(&log->failure, 0);
}

struct log_totals log_totals(struct log *log)
{
	struct log_totals totals;

	pthread_mutex_lock(&log->lock);
	totals = log->totals;
	pthread_mutex_unlock(&log->lock);
	return totals;
}

/* ---- start and end ---------------------------------------------------------------------------------------------- */

/* The end of the last line. */
static int find_end(int fd, off_t *ret_end)
{
	char block[4096];
	off_t end = lseek(fd, 0, SEEK_END);

	while (end > 0) {
		const size_t size = end % (off_t)sizeof(block) ? (size_t)(end % (off_t)sizeof(block)) : sizeof(block);
		const ssize_t n = pread(fd, block, size, end - (off_t)size);
		const char *newline;

		if (n != (ssize_t)size)
			return n < 0 ? -errno : -EIO;
		newline = memrchr(block, '\n', size);
		if (newline) {
			*ret_end = end - (off_t)size + (newline - block) + 1;
			return 0;
		}
		end -= (off_t)size;
	}
	*ret_end = 0;
	return end < 0 ? -errno : 0;
}

static int open_file(struct log *log)
{
	off_t there;
	int error;

	log->fd = open(log->options.path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (log->fd < 0)
		return -errno;
	error = find_end(log->fd, &log->size);
	there = lseek(log->fd, 0, SEEK_END);
	if (!error && there > log->size && ftruncate(log->fd, log->size) != 0)
		error = -errno;
	if (error)
		close(log->fd);
	else if (there > log->size)
		fprintf(stderr, "logd: %s: cut off %lld bytes of a line without an end\n", log->options.path,
		        (long long)(there - log->size));
	return error;
}

static void free_log(struct log *log)
{
	free(log->filling);
	free(log->writing);
	free(log);
}

int log_open(struct log **ret_log, const struct log_options *options)
{
	struct log *log = calloc(1, sizeof(*log));
	int error = -ENOMEM;

	if (!log)
		return error;
	log->options = *options;
	pthread_mutex_init(&log->lock, NULL);
	kthread_init_delayed_work(&log->commit, commit);
	log->filling = malloc(BATCH_MAX);
	log->writing = malloc(BATCH_MAX);
	if (log->filling && log->writing)
		error = open_file(log);
	if (error) {
		free_log(log);
		return error;
	}
	log->worker = kthread_create_worker_on_node(0, options->node, "logd/write");
	if (!log->worker) {
		error = -errno;
		close(log->fd);
		free_log(log);
		return error;
	}
	*ret_log = log;
	return 0;
}

void log_close(struct log *log)
{
	kthread_mod_delayed_work(log->worker, &log->commit, 0); /* not in a while: now */
	kthread_destroy_worker(log->worker);
	close(log->fd);
	free_log(log);
}
