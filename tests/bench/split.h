/* SPDX-License-Identifier: MIT */
/*
 * The same work split over two CPUs by several runtimes. Each is a process of its own, as some of them bind the calling
 * thread, and spin for long after their work: it is stopped (SIGSTOP) while another is measured. All of them have the
 * same object with the work in it.
 */
#ifndef KT_BENCH_SPLIT_H
#define KT_BENCH_SPLIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum split_work {
	SPLIT_EVEN,     /* every unit takes as long */
	SPLIT_SKEWED,   /* the last ones the longest */
	SPLIT_ZERO,     /* pages of fresh memory, cleared */
	SPLIT_POPULATE, /* pages of fresh memory, by madvise(MADV_POPULATE_WRITE) */
	SPLIT_NOTHING
};

struct split_request {
	uint32_t work;
	uint32_t variant; /* of the runtime, see its split_variants */
	uint64_t count;   /* units */
	uint64_t chunk;   /* the least to be handed out */
	uint32_t repeat;
	uint32_t sleep; /* the pause before each is slept, not spun */
	uint64_t pause_ns;
};

struct split_answer {
	double ns;   /* each job */
	double cpus; /* busy meanwhile, pauses included */
};

/* The work: units [from, to). (split_work.c) */
typedef void (*split_body)(size_t from, size_t to);

/* Of each runtime: (split_ktask.c, split_omp.c, split_tbb.cpp) */
extern const char *const split_variants[];
void split_start(int threads);
void split_run(uint32_t variant, size_t count, size_t chunk, split_body body);

#ifdef __cplusplus
}
#endif

#endif
