/* SPDX-License-Identifier: MIT */
/*
 * Linkage of the public functions. Every header of libkthread includes this one; nothing in it is of use by itself.
 */
#ifndef KTHREAD_EXPORT_H
#define KTHREAD_EXPORT_H

#define KTHREAD_API __attribute__((__visibility__("default")))
#define KTHREAD_NORETURN __attribute__((__noreturn__))
#define KTHREAD_PRINTF(fmt, first) __attribute__((__format__(__printf__, fmt, first)))

#ifdef __cplusplus
#define KTHREAD_BEGIN_DECLS extern "C" {
#define KTHREAD_END_DECLS }
#else
#define KTHREAD_BEGIN_DECLS
#define KTHREAD_END_DECLS
#endif

#endif
