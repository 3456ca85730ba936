/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cases of the probe share.  A path that begins with '@' is in the device's directory. */
#ifndef TESTS_SYSFS_PROBE_H
#define TESTS_SYSFS_PROBE_H

#include <sys/types.h>

extern const char *device; /* its address */

/* The whole path; valid until the next call. */
const char *full(const char *path);
/* The number, or the name of errno when it is negative; valid until the next call. */
const char *result(ssize_t n);
/* A line each: what kind of file it is, what it reads, that with its digits made 0. */
void mode(const char *path);
void show(const char *path);
void form(const char *path);
/* write(2): with and without a line about it. */
void put(const char *path, const char *text);
ssize_t put_bytes(const char *path, const void *bytes, size_t len, off_t at);

/* Cases. */
void stranger(void);
void in_use(void);
void interrupted(void);

#endif
