/* SPDX-License-Identifier: MIT */
/*
 * Probes for bpftrace, perf and the like (USDT, provider "kthread"): kthread-probes(7) lists them. One that nobody uses is
 * a nop; its arguments are values that the code has at hand anyway, so nothing is worked out for it.
 */
#ifndef KT_BASE_PROBE_H
#define KT_BASE_PROBE_H

#ifdef KTHREAD_HAVE_SDT

#include <sys/sdt.h>

/* No more than six arguments: that many bpftrace knows. */
#define KT_PROBE1(name, a) DTRACE_PROBE1(kthread, name, a)
#define KT_PROBE2(name, a, b) DTRACE_PROBE2(kthread, name, a, b)
#define KT_PROBE3(name, a, b, c) DTRACE_PROBE3(kthread, name, a, b, c)
#define KT_PROBE4(name, a, b, c, d) DTRACE_PROBE4(kthread, name, a, b, c, d)
#define KT_PROBE6(name, a, b, c, d, e, f) DTRACE_PROBE6(kthread, name, a, b, c, d, e, f)

#else

/* Used, and not evaluated. */
#define KT_PROBE_USE(value) ((void)sizeof(value))
#define KT_PROBE1(name, a) KT_PROBE_USE(a)
#define KT_PROBE2(name, a, b) (KT_PROBE1(name, a), KT_PROBE_USE(b))
#define KT_PROBE3(name, a, b, c) (KT_PROBE2(name, a, b), KT_PROBE_USE(c))
#define KT_PROBE4(name, a, b, c, d) (KT_PROBE3(name, a, b, c), KT_PROBE_USE(d))
#define KT_PROBE6(name, a, b, c, d, e, f) (KT_PROBE4(name, a, b, c, d), KT_PROBE2(name, e, f))

#endif

#endif
