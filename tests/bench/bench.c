/* SPDX-License-Identifier: MIT */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define MAX_VARIANTS 16
#define MAX_ROUNDS 101
#define MAX_FIGURES 128
#define MAX_NOTES 16
#define NAME 96

struct row {
	char figure[24], what[NAME], ours_name[NAME], reference_name[NAME], unit[16];
	double ratio, low, high, target, ours, reference;
	unsigned int rounds;
};

static const char *program;
static bool quick;
static unsigned int rounds;
static FILE *json;
static cpu_set_t at_start;

static char names[MAX_VARIANTS][NAME];
static double samples[MAX_VARIANTS][BENCH_VALUES][MAX_ROUNDS];
static struct row rows[MAX_FIGURES];
static size_t row_count;
static char notes[MAX_NOTES][256];
static size_t note_count;

void bench_die(const char *format, ...)
{
	const int error = errno;
	va_list args;

	fprintf(stderr, "%s: cannot measure: ", program);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, " (errno: %s)\n", strerror(error));
	exit(1);
}

static double load_average(void)
{
	double load = 0;

	return getloadavg(&load, 1) == 1 ? load : 0;
}

void bench_open(int argc, char **argv, const char *name)
{
	static const struct option options[] = {
	    {"quick", no_argument, NULL, 'q'},
	    {"rounds", required_argument, NULL, 'r'},
	    {"json", required_argument, NULL, 'j'},
	    {NULL, 0, NULL, 0},
	};
	const char *file = NULL;
	int option;

	program = name;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'q')
			quick = true;
		else if (option == 'r')
			rounds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 'j')
			file = optarg;
		else
			exit(2);
	}
	if (rounds < 1 || rounds > MAX_ROUNDS)
		rounds = quick ? 1 : 11;
	json = file ? fopen(file, "a") : stdout;
	if (!json)
		bench_die("%s", file);
	BENCH_CHECK(sched_getaffinity(0, sizeof(at_start), &at_start) == 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (load_average() > 0.5)
		bench_note("load average %.2f at the start: the machine was not quiet", load_average());
}

static int text_of(const struct row *row, char *text, size_t size)
{
	return snprintf(text, size, "%s: %s / %s", row->what, row->ours_name, row->reference_name);
}

static void print_row(const struct row *row, int width)
{
	char text[4 * NAME];
	char target[32] = "-";
	char spread[32] = "";

	text_of(row, text, sizeof(text));
	if (row->target >= 0)
		snprintf(target, sizeof(target), "%.4g%s", row->target, row->ratio > row->target ? " !" : "");
	if (row->rounds > 1)
		snprintf(spread, sizeof(spread), "%.3g-%.3g", row->low, row->high);
	printf("%-14s %-*s %11.5g %11.5g %-8s %8.4g %15s %8s\n", row->figure, width, text, row->ours, row->reference,
	       row->unit, row->ratio, spread, target);
}

static void print_table(void)
{
	int width = 0;

	for (size_t i = 0; i < row_count; i++) {
		const int length = text_of(&rows[i], NULL, 0);

		width = length > width ? length : width;
	}
	printf("\n%s%s\n%-14s %-*s %11s %11s %-8s %8s %15s %8s\n", program, quick ? " (quick: no figure counts)" : "",
	       "figure", width, "ours / reference", "ours", "reference", "unit", "ratio", "quartiles", "target");
	for (size_t i = 0; i < row_count; i++)
		print_row(&rows[i], width);
	for (size_t i = 0; i < note_count; i++)
		printf("  note: %s\n", notes[i]);
}

int bench_close(void)
{
	if (json != stdout)
		fclose(json);
	print_table();
	return fflush(stdout) == 0 ? 0 : 1;
}

unsigned int bench_count(unsigned int full, unsigned int few)
{
	return quick ? few : full;
}

bool bench_is_quick(void)
{
	return quick;
}

void bench_rounds(const struct bench_variant *variants, size_t count)
{
	double ignored[BENCH_VALUES];

	BENCH_CHECK(count <= MAX_VARIANTS);
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], NAME, "%s", variants[i].name);
		if (!quick)
			variants[i].run(variants[i].arg, ignored);
	}
	for (unsigned int round = 0; round < rounds; round++) {
		for (size_t i = 0; i < count; i++) {
			const size_t turn = (i + round) % count;
			double values[BENCH_VALUES] = {0};

			variants[turn].run(variants[turn].arg, values);
			for (size_t j = 0; j < BENCH_VALUES; j++)
				samples[turn][j][round] = values[j];
		}
	}
}

static int ascending(const void *a, const void *b)
{
	const double x = *(const double *)a;
	const double y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_quantile(double *values, size_t count, double quantile)
{
	qsort(values, count, sizeof(*values), ascending);
	return values[(size_t)(quantile * (double)(count - 1) + 0.5)];
}

double bench_point(size_t variant, size_t value, double quantile)
{
	double copy[MAX_ROUNDS];

	memcpy(copy, samples[variant][value], sizeof(copy));
	return bench_quantile(copy, rounds, quantile);
}

double bench_median(size_t variant, size_t value)
{
	return bench_point(variant, value, 0.5);
}

/* Our own texts: nothing in them needs escaping. */
static void report(const struct row *row)
{
	char target[32] = "null";
	const char *within = "null";

	if (row->target >= 0) {
		snprintf(target, sizeof(target), "%.6g", row->target);
		within = row->ratio <= row->target ? "true" : "false";
	}
	fprintf(
	    json,
	    "{\"figure\":\"%s\",\"program\":\"%s\",\"what\":\"%s\",\"ours_name\":\"%s\",\"reference_name\":\"%s\","
	    "\"ratio\":%.6g,\"low\":%.6g,\"high\":%.6g,\"target\":%s,\"within\":%s,\"ours\":%.8g,\"reference\":%.8g,"
	    "\"unit\":\"%s\",\"rounds\":%u,\"quick\":%s,\"load\":%.2f}\n",
	    row->figure, program, row->what, row->ours_name, row->reference_name, row->ratio, row->low, row->high,
	    target, within, row->ours, row->reference, row->unit, row->rounds, quick ? "true" : "false",
	    load_average());
	fflush(json);
}

static struct row *new_row(const char *figure, const char *what, double target, const char *unit)
{
	struct row *row = &rows[row_count];

	BENCH_CHECK(row_count < MAX_FIGURES);
	row_count++;
	snprintf(row->figure, sizeof(row->figure), "%s", figure);
	snprintf(row->what, sizeof(row->what), "%s", what);
	snprintf(row->unit, sizeof(row->unit), "%s", unit);
	row->target = target;
	return row;
}

void bench_figure(const char *figure, const char *what, size_t ours, size_t reference, size_t value, double target,
                  const char *unit)
{
	struct row *row = new_row(figure, what, target, unit);
	double ratios[MAX_ROUNDS];

	for (unsigned int round = 0; round < rounds; round++)
		ratios[round] = samples[ours][value][round] / samples[reference][value][round];
	memcpy(row->ours_name, names[ours], NAME);
	memcpy(row->reference_name, names[reference], NAME);
	row->ratio = bench_quantile(ratios, rounds, 0.5);
	row->low = bench_quantile(ratios, rounds, 0.25);
	row->high = bench_quantile(ratios, rounds, 0.75);
	row->ours = bench_median(ours, value);
	row->reference = bench_median(reference, value);
	row->rounds = rounds;
	report(row);
}

void bench_number(const char *figure, const char *what, double ours, double reference, const char *reference_name,
                  double target, const char *unit)
{
	struct row *row = new_row(figure, what, target, unit);

	snprintf(row->ours_name, NAME, "found");
	snprintf(row->reference_name, NAME, "%s", reference_name);
	row->ours = ours;
	row->reference = reference;
	row->ratio = row->low = row->high = reference > 0 ? ours / reference : ours;
	row->rounds = 1;
	report(row);
}

void bench_note(const char *format, ...)
{
	va_list args;

	BENCH_CHECK(note_count < MAX_NOTES);
	va_start(args, format);
	vsnprintf(notes[note_count++], sizeof(notes[0]), format, args);
	va_end(args);
}

void bench_in_child(void (*fn)(const void *arg, double values[BENCH_VALUES]), const void *arg,
                    double values[BENCH_VALUES])
{
	const size_t size = BENCH_VALUES * sizeof(values[0]);
	int status;
	int ends[2];
	pid_t child;

	BENCH_CHECK(pipe(ends) == 0);
	fflush(NULL);
	child = fork();
	BENCH_CHECK(child >= 0);
	if (child == 0) {
		memset(values, 0, size);
		fn(arg, values);
		BENCH_CHECK(write(ends[1], values, size) == (ssize_t)size);
		_exit(0);
	}
	BENCH_CHECK(waitpid(child, &status, 0) == child && status == 0);
	BENCH_CHECK(read(ends[0], values, size) == (ssize_t)size);
	close(ends[0]);
	close(ends[1]);
}

double bench_proc(const char *path, const char *key)
{
	FILE *file = fopen(path, "r");
	char line[512];
	double value = -1;

	BENCH_CHECK(file);
	while (value < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtod(line + strlen(key), NULL);
	}
	fclose(file);
	if (value < 0)
		bench_die("%s: no %s", path, key);
	return value;
}

int bench_cpu(unsigned int index)
{
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET((size_t)cpu, &at_start) && index-- == 0)
			return cpu;
	}
	return -1;
}

void bench_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	BENCH_CHECK(sched_setaffinity(0, sizeof(set), &set) == 0);
}

void bench_unpin(void)
{
	BENCH_CHECK(sched_setaffinity(0, sizeof(at_start), &at_start) == 0);
}
