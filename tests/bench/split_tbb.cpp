// SPDX-License-Identifier: MIT
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include "split.h"

const char *const split_variants[] = {"auto", "simple"};

static tbb::global_control *control;
static tbb::task_arena *arena;

void split_start(int threads)
{
	control = new tbb::global_control(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads));
	arena = new tbb::task_arena(threads);
}

void split_run(uint32_t variant, size_t count, size_t chunk, split_body body)
{
	const tbb::blocked_range<size_t> range(0, count, chunk);
	const auto piece = [body](const tbb::blocked_range<size_t> &part) { body(part.begin(), part.end()); };

	arena->execute([&] {
		if (variant == 0)
			tbb::parallel_for(range, piece, tbb::auto_partitioner());
		else
			tbb::parallel_for(range, piece, tbb::simple_partitioner());
	});
}
