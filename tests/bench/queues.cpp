/* SPDX-License-Identifier: MIT */
/* The peers that are C++. */
#include "queues.h"

#include <thread>

namespace
{
[[maybe_unused]] void run(struct item *item)
{
	item->work.fn(&item->work);
}
} // namespace

#ifdef BENCH_MOODYCAMEL
#include <concurrentqueue/blockingconcurrentqueue.h>

namespace
{
struct moodycamel_queue {
	moodycamel::BlockingConcurrentQueue<struct item *> queue;
	std::thread thread;
};

void *moodycamel_start(int)
{
	auto *queue = new moodycamel_queue;

	queue->thread = std::thread([queue] {
		struct item *item;

		for (;;) {
			queue->queue.wait_dequeue(item);
			if (!item)
				return;
			run(item);
		}
	});
	return queue;
}

void moodycamel_push(void *queue, struct item *item)
{
	static_cast<moodycamel_queue *>(queue)->queue.enqueue(item);
}

void moodycamel_stop(void *arg)
{
	auto *queue = static_cast<moodycamel_queue *>(arg);

	queue->queue.enqueue(nullptr);
	queue->thread.join();
	delete queue;
}

const struct queue_kind moodycamel_kind = {"moodycamel", moodycamel_start, moodycamel_push,
                                           nullptr,      moodycamel_stop,  false};
} // namespace
const struct queue_kind *const queue_moodycamel = &moodycamel_kind;
#else
const struct queue_kind *const queue_moodycamel = nullptr;
#endif

#ifdef BENCH_TBB
#include <tbb/global_control.h>
#include <tbb/task_arena.h>

namespace
{
/* The caller has no slot of the arena, so one of TBB's threads runs all of it. */
struct tbb_queue {
	tbb::global_control threads{tbb::global_control::max_allowed_parallelism, 2};
	tbb::task_arena arena{1, 0};
};

void *tbb_start(int)
{
	auto *queue = new tbb_queue;

	queue->arena.initialize();
	return queue;
}

void tbb_push(void *queue, struct item *item)
{
	static_cast<tbb_queue *>(queue)->arena.enqueue([item] { run(item); });
}

void tbb_stop(void *queue)
{
	delete static_cast<tbb_queue *>(queue);
}

const struct queue_kind tbb_kind = {"oneTBB arena", tbb_start, tbb_push, nullptr, tbb_stop, false};
} // namespace
const struct queue_kind *const queue_tbb = &tbb_kind;
#else
const struct queue_kind *const queue_tbb = nullptr;
#endif

#ifdef BENCH_ASIO
#define ASIO_STANDALONE
#include <asio/post.hpp>
#include <asio/thread_pool.hpp>

namespace
{
void *asio_start(int)
{
	return new asio::thread_pool(1);
}

void asio_push(void *queue, struct item *item)
{
	asio::post(*static_cast<asio::thread_pool *>(queue), [item] { run(item); });
}

void asio_stop(void *arg)
{
	auto *queue = static_cast<asio::thread_pool *>(arg);

	queue->join();
	delete queue;
}

const struct queue_kind asio_kind = {"asio thread_pool", asio_start, asio_push, nullptr, asio_stop, false};
} // namespace
const struct queue_kind *const queue_asio = &asio_kind;
#else
const struct queue_kind *const queue_asio = nullptr;
#endif
