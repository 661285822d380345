/* SPDX-License-Identifier: MIT */
/*
 * Accounts, and money that goes from one to another. The sum of all stays what it was: but not in the middle of a
 * transfer, which is where a careless copy would be taken.
 */
#ifndef BANK_H
#define BANK_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#define ACCOUNTS 256u
#define OPENING_BALANCE 1000

/* Who makes transfers: a number of his own, and whether he is in the middle of one. */
struct teller {
	alignas(64) atomic_bool inside;
	atomic_uint_least64_t transfers;
	unsigned int seed;
};

/* What a look at the whole bank finds. All right: all 0, and the sum what it was. */
struct finding {
	unsigned int inside; /* tellers in the middle of a transfer */
	unsigned int locked; /* accounts whose mutex is held */
	int64_t missing;     /* of the sum */
};

void bank_open(void);
void bank_transfer(struct teller *teller, unsigned int from, unsigned int to, int64_t amount);
/* One between two accounts that are drawn. */
void bank_transfer_any(struct teller *teller);

/* Look at everything; correct only if nobody else runs. Allocates nothing: for a forked child. */
struct finding bank_look(const struct teller *tellers, unsigned int count);
/* Write all balances to a file, one a line: 0 or a negative errno. As above. */
int bank_write(const char *path, uint64_t number);

#endif
