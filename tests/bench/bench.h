/* SPDX-License-Identifier: MIT */
/*
 * Ratios in one run. Every variant of a comparison runs once per round, in an order that rotates; a ratio is the median
 * of the rounds' ratios, so that what slows the whole machine down for a while does not show. One JSON line per figure,
 * and a table at the end. Nothing here fails because something is slow.
 */
#ifndef KT_BENCH_H
#define KT_BENCH_H

#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BENCH_VALUES 3 /* results of one run of a variant */

struct bench_variant {
	const char *name;
	void (*run)(const void *arg, double values[BENCH_VALUES]);
	const void *arg;
};

/* Options: --quick --rounds N --json FILE (lines are appended there, not printed). */
void bench_open(int argc, char **argv, const char *program);
/* Print the table. The program's exit status. */
int bench_close(void);

/* How often to do something: `quick` under --quick. */
unsigned int bench_count(unsigned int full, unsigned int quick);
bool bench_is_quick(void);

/* Run all variants: once to warm up, then in rounds. */
void bench_rounds(const struct bench_variant *variants, size_t count);

#define BENCH_NO_TARGET (-1.0) /* for information */

/*
 * A figure from the last bench_rounds(): variant `ours` to variant `reference`, by their values[value].
 * target: the ratio not to be exceeded.
 */
void bench_figure(const char *figure, const char *what, size_t ours, size_t reference, size_t value, double target,
                  const char *unit);
/* A figure that was not measured in rounds: ours, to what it is compared with, which is named. If that is 0, the ratio is
 * what ours has beyond it. */
void bench_number(const char *figure, const char *what, double ours, double reference, const char *reference_name,
                  double target, const char *unit);
/* The last bench_rounds() in absolute terms: the median, or another point, of variant's values[value]. */
double bench_median(size_t variant, size_t value);
double bench_point(size_t variant, size_t value, double quantile);
/* Run fn in a child of its own, in which nothing has happened yet; its values come back here. The caller has one thread. */
void bench_in_child(void (*fn)(const void *arg, double values[BENCH_VALUES]), const void *arg,
                    double values[BENCH_VALUES]);
/* The number behind `key` in a file of /proc, which has one key a line. */
double bench_proc(const char *path, const char *key);
/* A line below the table. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Measuring is impossible: say why, exit status 1. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define BENCH_CHECK(condition) ((condition) ? (void)0 : bench_die("%s:%d: %s", __FILE__, __LINE__, #condition))

/* The CPUs this process was started on: the first two. bench_cpu(1) is -1 if there is only one. */
int bench_cpu(unsigned int index);
void bench_pin(int cpu);
void bench_unpin(void);

/* Sorts. quantile 0 .. 1. */
double bench_quantile(double *samples, size_t count, double quantile);

static inline uint64_t bench_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Nanoseconds each, of what began at start and was done count times. */
static inline double bench_each(uint64_t start, size_t count)
{
	return (double)(bench_now() - start) / (double)count;
}

static inline void bench_sleep(uint64_t ns)
{
	const struct timespec pause = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static inline long bench_futex_wait(atomic_uint *word, unsigned int expected)
{
	return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static inline long bench_futex_wake(atomic_uint *word, int count)
{
	return syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Keep the compiler from knowing what a value is. */
#define BENCH_HIDE(value) __asm__ volatile("" : "+r"(value) : : "memory")

#endif
