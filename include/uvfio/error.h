/* SPDX-License-Identifier: BSD-3-Clause */
/* What device.h, driver.h and machine.h share: visibility of symbols, and messages for people. */
#ifndef UVFIO_ERROR_H
#define UVFIO_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#define UVFIO_API __attribute__((visibility("default")))

/* A message for a person: what was wrong, with what, and what to do. */
struct uvfio_error {
	char msg[512];
};

/* Format a message into @err (may be NULL); always returns @code, so that
 * `return uvfio_error_set(err, -EINVAL, "…")` reads well.  [any] */
UVFIO_API int uvfio_error_set(struct uvfio_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
