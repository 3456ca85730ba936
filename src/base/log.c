/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The logger.  A line is put together in a buffer on the stack and written with one call under a
 * mutex, so lines of several threads never mix.  What is logged may hold text that a client chose:
 * control characters are written as \xNN, so that a client can neither forge lines nor talk to the
 * operator's terminal.  A line longer than the buffer is cut and ends in "…".
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"

#define LINE_MAX_BYTES 1024

struct uvfio_log {
	int fd;
	enum uvfio_log_level level;
	pthread_mutex_t lock; /* one line at a time */
};

static const char *const level_names[] = {
	[UVFIO_LOG_ERROR] = "error",
	[UVFIO_LOG_WARN] = "warning",
	[UVFIO_LOG_INFO] = "info",
	[UVFIO_LOG_DEBUG] = "debug",
};

struct uvfio_log *uvfio_log_new(int fd, enum uvfio_log_level level)
{
	struct uvfio_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->fd = fd;
	log->level = level;
	pthread_mutex_init(&log->lock, NULL);
	return log;
}

void uvfio_log_free(struct uvfio_log *log)
{
	if (!log)
		return;
	pthread_mutex_destroy(&log->lock);
	free(log);
}

bool uvfio_log_wants(const struct uvfio_log *log, enum uvfio_log_level level)
{
	return log && level <= log->level;
}

static void write_line(struct uvfio_log *log, const char *line, size_t len)
{
	pthread_mutex_lock(&log->lock);
	while (len) {
		ssize_t n = write(log->fd, line, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* nobody can be told that the log cannot be written */
		line += n;
		len -= n;
	}
	pthread_mutex_unlock(&log->lock);
}

/* Append @text to @line with control characters escaped; false when it did not fit. */
static bool append(char *line, size_t *len, size_t room, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text; text++) {
		unsigned char c = *text;
		bool plain = c >= 0x20 && c != 0x7f;

		if (*len + (plain ? 1 : 4) > room)
			return false;
		if (plain) {
			line[(*len)++] = c;
		} else {
			line[(*len)++] = '\\';
			line[(*len)++] = 'x';
			line[(*len)++] = hex[c >> 4];
			line[(*len)++] = hex[c & 15];
		}
	}
	return true;
}

void uvfio_vlog(struct uvfio_log *log, enum uvfio_log_level level, const char *prefix,
		const char *fmt, va_list ap)
{
	static const char cut[] = "…\n";
	const size_t room = LINE_MAX_BYTES - sizeof(cut);
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
	int saved = errno, n;
	size_t len = 0;
	bool whole;

	if (!uvfio_log_wants(log, level))
		return;
	n = vsnprintf(text, sizeof(text), fmt, ap);
	if (n < 0)
		return;
	if (n > 0 && (size_t)n < sizeof(text) && text[n - 1] == '\n')
		text[n - 1] = '\0';
	whole = append(line, &len, room, "uvfio: ") &&
		append(line, &len, room, level_names[level]) && append(line, &len, room, ": ");
	if (whole && prefix)
		whole = append(line, &len, room, prefix) && append(line, &len, room, ": ");
	whole = whole && append(line, &len, room, text) && (size_t)n < sizeof(text);
	if (whole) {
		line[len++] = '\n';
	} else {
		memcpy(line + len, cut, sizeof(cut) - 1);
		len += sizeof(cut) - 1;
	}
	write_line(log, line, len);
	errno = saved;
}

void uvfio_log(struct uvfio_log *log, enum uvfio_log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!uvfio_log_wants(log, level))
		return;
	va_start(ap, fmt);
	uvfio_vlog(log, level, NULL, fmt, ap);
	va_end(ap);
}

/*
 * The window is opened by whoever first sees that the last one is over; a thread that loses that
 * race counts in the new window.  A count may so land in the wrong window, which a rate limit can
 * bear; what was suppressed is never lost, because it is taken by exchange.
 */
bool uvfio_ratelimit_ok(struct uvfio_ratelimit *rl, unsigned burst, unsigned interval_ms,
			unsigned *suppressed)
{
	struct timespec ts;
	uint64_t now, start;

	*suppressed = 0;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec;
	start = atomic_load(&rl->window_start_ns);
	if (!start || now - start >= (uint64_t)interval_ms * 1000000u) {
		if (atomic_compare_exchange_strong(&rl->window_start_ns, &start, now))
			atomic_store(&rl->count, 0);
	}
	if (atomic_fetch_add(&rl->count, 1) >= burst) {
		/* Keep the counter from wrapping back into the burst. */
		atomic_fetch_sub(&rl->count, 1);
		atomic_fetch_add(&rl->suppressed, 1);
		return false;
	}
	*suppressed = atomic_exchange(&rl->suppressed, 0);
	return true;
}
