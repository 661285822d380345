/* SPDX-License-Identifier: MIT */
/*
 * OpenMP, as both libgomp and libomp run it: iterations are chunks, so that no runtime hands out less than another.
 */
#include <omp.h>

#include "split.h"

const char *const split_variants[] = {"static", "dynamic", "guided"};

void split_start(int threads)
{
	omp_set_dynamic(0);
	omp_set_num_threads(threads);
}

static void one(size_t block, size_t count, size_t chunk, split_body body)
{
	const size_t from = block * chunk, to = count - from > chunk ? from + chunk : count;

	body(from, to);
}

void split_run(uint32_t variant, size_t count, size_t chunk, split_body body)
{
	const size_t blocks = (count + chunk - 1) / chunk;

	if (variant == 0) {
#pragma omp parallel for schedule(static)
		for (size_t i = 0; i < blocks; i++)
			one(i, count, chunk, body);
	} else if (variant == 1) {
#pragma omp parallel for schedule(dynamic, 1)
		for (size_t i = 0; i < blocks; i++)
			one(i, count, chunk, body);
	} else {
#pragma omp parallel for schedule(guided, 1)
		for (size_t i = 0; i < blocks; i++)
			one(i, count, chunk, body);
	}
}
