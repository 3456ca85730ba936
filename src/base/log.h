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

/* Does not own @fd.  It is written by a thread of the logger's own: whoever logs waits for the
 * log's reader some milliseconds at most, and not at all once it is known to stall.  What cannot be
 * kept meanwhile (64 KiB) is dropped, and their number is logged. */
struct uvfio_log *uvfio_log_new(int fd, enum uvfio_log_level level);
/* Waits at most a second for what is not yet written; then a thread may stay behind in a write to
 * @fd.  Nobody logs any more. */
void uvfio_log_free(struct uvfio_log *log);
/* Until what has been logged by now is written, however long that takes. */
void uvfio_log_flush(struct uvfio_log *log);
/* From now on every line has @mark, a literal, behind "uvfio: ".  @log may be NULL.  Any thread. */
void uvfio_log_mark(struct uvfio_log *log, const char *mark);
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
