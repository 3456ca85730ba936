/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Logging and tracing.  A logger is an object that hangs off a machine; there is no global one.
 * Any thread may log; lines are never mixed.  Rate limits are per call site where a client can
 * cause the message.
 */
#ifndef UVFIO_BASE_LOG_H
#define UVFIO_BASE_LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <uvfio/device.h>

struct uvfio_log;

struct uvfio_log *uvfio_log_new(int fd, enum uvfio_log_level level); /* does not own @fd */
void uvfio_log_free(struct uvfio_log *log);
bool uvfio_log_wants(const struct uvfio_log *log, enum uvfio_log_level level);
/* @log may be NULL: nothing is written. */
void uvfio_log(struct uvfio_log *log, enum uvfio_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void uvfio_vlog(struct uvfio_log *log, enum uvfio_log_level level, const char *prefix,
		const char *fmt, va_list ap);

/* At most @burst messages every @interval_ms per object; the next one says how many were lost. */
struct uvfio_ratelimit {
	_Atomic uint64_t window_start_ns;
	_Atomic uint32_t count, suppressed;
};
bool uvfio_ratelimit_ok(struct uvfio_ratelimit *rl, unsigned burst, unsigned interval_ms,
			unsigned *suppressed);

/*
 * The trace: one line an event, for people or as JSON lines.  Fields are given as a printf format
 * for people and as name/value pairs for JSON by the caller's helper in trace.h.
 */

#endif
