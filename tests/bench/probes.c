/* SPDX-License-Identifier: MIT */
/*
 * What a probe costs that nobody uses: a work meets three, when it is queued, before it runs and after.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

struct child {
	const char *path;
};

static unsigned int works;

static void run_child(const void *arg, double *values)
{
	const struct child *child = arg;
	char command[512];
	FILE *output;

	BENCH_CHECK(snprintf(command, sizeof(command), "'%s' %u", child->path, works) < (int)sizeof(command));
	output = popen(command, "re");
	BENCH_CHECK(output);
	BENCH_CHECK(fscanf(output, "%lf", &values[0]) == 1);
	BENCH_CHECK(pclose(output) == 0);
}

int main(int argc, char **argv)
{
	static const struct child with = {BENCH_WITH_PROBES}, without = {BENCH_WITHOUT_PROBES};
	static const struct bench_variant variants[] = {{"with probes", run_child, &with},
	                                                {"built without", run_child, &without}};

	bench_open(argc, argv, "probes");
	works = bench_count(2000000, 2000);
	bench_rounds(variants, 2);
	bench_figure("probes", "a work queued and run, three probes that nobody uses", 0, 1, 0, 1.05, "ns");
	return bench_close();
}
