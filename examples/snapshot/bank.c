/* SPDX-License-Identifier: MIT */
#include "bank.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct account {
	pthread_mutex_t lock;
	int64_t balance; /* plain: under its lock */
} accounts[ACCOUNTS];

#define COUNTING_TURNS 300 /* how long it takes to count money */

void bank_open(void)
{
	for (unsigned int i = 0; i < ACCOUNTS; i++) {
		pthread_mutex_init(&accounts[i].lock, NULL);
		accounts[i].balance = OPENING_BALANCE;
	}
}

static void count_money(void)
{
	for (int i = 0; i < COUNTING_TURNS; i++)
		atomic_signal_fence(memory_order_seq_cst);
}

void bank_transfer(struct teller *teller, unsigned int from, unsigned int to, int64_t amount)
{
	struct account *const first = &accounts[from < to ? from : to]; /* always in this order */
	struct account *const second = &accounts[from < to ? to : from];

	if (from == to)
		return;
	atomic_store_explicit(&teller->inside, 1, memory_order_relaxed);
	pthread_mutex_lock(&first->lock);
	pthread_mutex_lock(&second->lock);
	accounts[from].balance -= amount;
	count_money(); /* now it is nowhere */
	accounts[to].balance += amount;
	pthread_mutex_unlock(&second->lock);
	pthread_mutex_unlock(&first->lock);
	atomic_store_explicit(&teller->inside, 0, memory_order_release);
	atomic_fetch_add_explicit(&teller->transfers, 1, memory_order_relaxed);
}

void bank_transfer_any(struct teller *teller)
{
	const unsigned int from = (unsigned int)rand_r(&teller->seed) % ACCOUNTS;
	const unsigned int to = (unsigned int)rand_r(&teller->seed) % ACCOUNTS;

	bank_transfer(teller, from, to, rand_r(&teller->seed) % 100);
}

struct finding bank_look(const struct teller *tellers, unsigned int count)
{
	struct finding finding = {.missing = (int64_t)ACCOUNTS * OPENING_BALANCE};

	for (unsigned int i = 0; i < count; i++)
		finding.inside += atomic_load_explicit(&tellers[i].inside, memory_order_acquire);
	for (unsigned int i = 0; i < ACCOUNTS; i++) {
		if (pthread_mutex_trylock(&accounts[i].lock) == 0)
			pthread_mutex_unlock(&accounts[i].lock);
		else
			finding.locked++;
		finding.missing -= accounts[i].balance;
	}
	return finding;
}

static int write_all(int fd, const char *text, size_t length)
{
	while (length > 0) {
		const ssize_t written = write(fd, text, length);

		if (written < 0)
			return -errno;
		text += written;
		length -= (size_t)written;
	}
	return 0;
}

/* Under another name first: whoever reads it finds a whole one. */
int bank_write(const char *path, uint64_t number)
{
	static char text[ACCOUNTS * 24 + 64];
	char fresh[PATH_MAX];
	size_t length;
	int error;
	int fd;

	length = (size_t)snprintf(text, sizeof(text), "snapshot %llu\n", (unsigned long long)number);
	for (unsigned int i = 0; i < ACCOUNTS; i++)
		length +=
		    (size_t)snprintf(text + length, sizeof(text) - length, "%lld\n", (long long)accounts[i].balance);
	if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh))
		return -ENAMETOOLONG;
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	error = write_all(fd, text, length);
	if (close(fd) != 0 && !error)
		error = -errno;
	return !error && rename(fresh, path) != 0 ? -errno : error;
}
