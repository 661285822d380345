/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target is a file with this function. Linked with clang's -fsanitize=fuzzer it is a fuzzer, with replay.c a test
 * that runs every file of its corpus. It aborts where a promise is broken that no sanitizer would see.
 */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif
