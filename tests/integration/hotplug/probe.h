/* SPDX-License-Identifier: MIT */
/*
 * Steps that tell what they were called for: a trace of words like "a+3" (startup of a for CPU 3) and "a-3" (teardown).
 * And what holds for every step in every test is checked in each call: one at a time, a startup only where it is not up, a
 * teardown only where it is.
 */
#ifndef TESTS_HOTPLUG_PROBE_H
#define TESTS_HOTPLUG_PROBE_H

#include "sim.h"

struct probe {
	const char *tag;
	int error;             /* what a failure answers; 0 = -EIO */
	atomic_uint fail_up;   /* CPUs */
	atomic_uint fail_down; /* CPUs */
	atomic_uint on;        /* CPUs on which it is up, by the calls */
	atomic_uint torn;      /* CPUs on which a teardown failed: whether it is up there is the library's to say */
	atomic_int ups, downs; /* calls that succeeded */
	_Atomic pid_t tid;     /* of the last call */
	void (*hook)(struct probe *probe, char what, unsigned int cpu); /* '+' or '-' */
	int step;
};

int probe_up(unsigned int cpu, void *probe);
int probe_down(unsigned int cpu, void *probe);

/* Register it; the step's number or the error. */
int probe_setup(struct probe *probe, int section);

/* What has been called since the last look, e.g. "a+0 a+1"; static storage. */
const char *probe_trace(void);
#define assert_trace(text) assert_string_equal(probe_trace(), (text))

/* The CPUs a step is up on, by the library's word. */
unsigned int probe_cpus(int step);

/* The machine has changed to this, and has been looked at. */
void probe_online(unsigned int cpus);

#endif
