/* SPDX-License-Identifier: MIT */
/*
 * Times and amounts as people write and read them. Pure, but the time zone.
 */
#ifndef KTHREADCTL_HUMAN_H
#define KTHREADCTL_HUMAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "10" and "10s" seconds, "250ms", "2m", "1.5h". Above 0, at most 100 years. False: it is none of these. */
bool human_parse_duration(const char *text, uint64_t *ret_ns);

/* "340ms", "7.2s", "12m 05s", "3h 20m", "5d 02h". Negative: "?". */
void human_age(char *text, size_t size, int64_t ns);

/* "0", "0.4", "12.5", "1234", "12.3k", "4.5M": per second; negative: "-". */
void human_rate(char *text, size_t size, double rate);

/* What CLOCK_REALTIME was when CLOCK_MONOTONIC was 0, by a dump's or a stream's "time" and "time_ns"; 0: not known. */
int64_t human_epoch_ns(const char *time, int64_t time_ns);
/* "20:00:01.234", local time, or seconds of CLOCK_MONOTONIC if epoch_ns is 0. */
void human_clock(char *text, size_t size, int64_t epoch_ns, int64_t time_ns);

#endif
