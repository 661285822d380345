/* SPDX-License-Identifier: MIT */
/*
 * Failing allocations, one after the other. Link with WRAP malloc calloc realloc strdup (kt_add_test): only calls from
 * our own objects fail, not those inside libc or CMocka.
 */
#ifndef TEST_WRAP_ALLOC_H
#define TEST_WRAP_ALLOC_H

/* The nth allocation of the calling thread from now on (1 is the next one) fails, and no other. 0: none. */
void wrap_alloc_fail_at(unsigned long n);
/* Allocations of the calling thread since then, the failed one included. */
unsigned long wrap_alloc_count(void);

#endif
