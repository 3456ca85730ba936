/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Annotations for ThreadSanitizer: an order that is really there but made by something that it
 * cannot see (a library without instrumentation, a system call).  Nothing in other builds.
 */
#ifndef UVFIO_BASE_TSAN_H
#define UVFIO_BASE_TSAN_H

#if defined(__SANITIZE_THREAD__)
#define UVFIO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UVFIO_TSAN 1
#endif
#endif

#ifdef UVFIO_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define tsan_acquire(addr) __tsan_acquire(addr)
#define tsan_release(addr) __tsan_release(addr)
/* The calling thread's accesses in between are somebody else's business. */
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define tsan_ignore_begin()                                                                        \
	(AnnotateIgnoreReadsBegin(__FILE__, __LINE__),                                             \
	 AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define tsan_ignore_end()                                                                          \
	(AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__))
#else
#define tsan_ignore_begin() ((void)0)
#define tsan_ignore_end()   ((void)0)
#define tsan_acquire(addr)  ((void)(addr))
#define tsan_release(addr)  ((void)(addr))
#endif

#endif
