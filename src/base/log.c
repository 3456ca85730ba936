/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The logger.
 *
 * Theory of operation.  A line is put together in a buffer on the stack and queued; a thread of the
 * logger's own, started with the first line, writes them one by one.  So nobody who logs, maybe
 * with a device's lock held, ever waits in write(2) for whoever reads the log, which may be a pipe
 * that is full.  Setting O_NONBLOCK would not do: the open file is shared with other processes.
 *
 *   uvfio_log() ─▶ ring of QUEUE_BYTES ─▶ writer thread ─▶ fd
 *       └─ waits for its line, at most PATIENCE_NS, unless the writer is known to be stuck
 *
 * The short wait is for people: a message stands before what its cause makes others print.  It is
 * given up once, and not tried again before the writer has got on.  What does not fit into the ring
 * is dropped and counted, and the count is logged as soon as there is room.
 *
 * What is logged may hold text that a client chose: control characters are written as \xNN, so that
 * a client can neither forge lines nor talk to the operator's terminal.  A line longer than the
 * buffer is cut and ends in "…".
 *
 * Locks: `lock` guards the ring and the counters, and is not held across a system call that waits.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/thread.h"

#define LINE_MAX_BYTES 1024u
#define QUEUE_BYTES    65536u
#define PATIENCE_NS    5000000ull
#define FAREWELL_NS    1000000000ull /* for what is queued when the logger is freed */

struct uvfio_log {
	int fd;
	enum uvfio_log_level level;
	_Atomic(const char *) mark;
	pthread_mutex_t lock;
	pthread_cond_t work;     /* the writer waits for lines, or the end */
	pthread_cond_t progress; /* others wait for the writer */
	pthread_t writer;
	bool started, ending, ended;
	bool abandoned;           /* freed while it was stuck: the writer frees it */
	bool stuck;               /* a line was waited for in vain, and nothing written since */
	uint64_t queued, written; /* lines */
	uint64_t dropped;         /* since the last notice */
	uint64_t head, tail;      /* bytes put in and taken out, ever */
	char ring[QUEUE_BYTES];
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
	pthread_condattr_t attr;

	if (!log)
		return NULL;
	log->fd = fd;
	log->level = level;
	pthread_mutex_init(&log->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&log->work, &attr);
	pthread_cond_init(&log->progress, &attr);
	pthread_condattr_destroy(&attr);
	return log;
}

static struct timespec after(uint64_t ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ns += (uint64_t)ts.tv_nsec;
	ts.tv_sec += (time_t)(ns / 1000000000u);
	ts.tv_nsec = (long)(ns % 1000000000u);
	return ts;
}

static void destroy(struct uvfio_log *log)
{
	pthread_cond_destroy(&log->progress);
	pthread_cond_destroy(&log->work);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

void uvfio_log_free(struct uvfio_log *log)
{
	struct timespec end;
	pthread_t writer;

	if (!log)
		return;
	if (!log->started) {
		destroy(log);
		return;
	}
	end = after(FAREWELL_NS);
	writer = log->writer;
	pthread_mutex_lock(&log->lock);
	log->ending = true;
	pthread_cond_signal(&log->work);
	while (!log->ended && !log->abandoned) {
		if (pthread_cond_timedwait(&log->progress, &log->lock, &end) == ETIMEDOUT)
			log->abandoned = !log->ended;
	}
	if (log->abandoned) { /* in write(2), maybe for ever: the rest is its own */
		pthread_detach(writer);
		pthread_mutex_unlock(&log->lock);
		return;
	}
	pthread_mutex_unlock(&log->lock);
	pthread_join(writer, NULL);
	destroy(log);
}

void uvfio_log_mark(struct uvfio_log *log, const char *mark)
{
	if (log)
		atomic_store(&log->mark, mark);
}

bool uvfio_log_wants(const struct uvfio_log *log, enum uvfio_log_level level)
{
	return log && level <= log->level;
}

/* ---- the writer ---- */

/* Locked.  False: there is no room. */
static bool put(struct uvfio_log *log, const char *line, size_t len)
{
	size_t at = log->head % QUEUE_BYTES, first = QUEUE_BYTES - at;

	if (len > QUEUE_BYTES - (log->head - log->tail))
		return false;
	if (first > len)
		first = len;
	memcpy(log->ring + at, line, first);
	memcpy(log->ring, line + first, len - first);
	log->head += len;
	log->queued++;
	return true;
}

/* Locked.  The oldest line; 0: there is none. */
static size_t take(struct uvfio_log *log, char line[LINE_MAX_BYTES])
{
	size_t len = 0;

	while (log->tail != log->head) {
		line[len] = log->ring[log->tail++ % QUEUE_BYTES];
		if (line[len++] == '\n' || len == LINE_MAX_BYTES)
			break;
	}
	return len;
}

/* Locked.  Say what was dropped, if it was and there is room now, for another line too. */
static bool own_up(struct uvfio_log *log)
{
	char line[128];
	int len;

	if (!log->dropped)
		return true;
	if (QUEUE_BYTES - (log->head - log->tail) < sizeof(line) + LINE_MAX_BYTES)
		return false;
	len = snprintf(line, sizeof(line),
		       "uvfio: warning: %llu lines were dropped here: this log was not read\n",
		       (unsigned long long)log->dropped);
	log->dropped = 0;
	return put(log, line, (size_t)len);
}

/* The only place that may wait for the log's reader. */
static void write_out(int fd, const char *line, size_t len)
{
	while (len) {
		ssize_t n = write(fd, line, len);

		if (n > 0) {
			line += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			struct pollfd pfd = {.fd = fd, .events = POLLOUT};

			poll(&pfd, 1, -1);
		} else if (errno != EINTR) {
			return; /* nobody can be told that the log cannot be written */
		}
	}
}

static void *writer_main(void *arg)
{
	struct uvfio_log *log = arg;
	char line[LINE_MAX_BYTES];
	bool abandoned;
	size_t len;

	pthread_setname_np(pthread_self(), "log");
	pthread_mutex_lock(&log->lock);
	while (!log->abandoned) {
		len = take(log, line);
		if (!len && log->dropped) {
			own_up(log);
			continue;
		}
		if (!len && log->ending)
			break;
		if (!len) {
			pthread_cond_wait(&log->work, &log->lock);
			continue;
		}
		pthread_mutex_unlock(&log->lock);
		write_out(log->fd, line, len);
		pthread_mutex_lock(&log->lock);
		log->written++;
		log->stuck = false;
		pthread_cond_broadcast(&log->progress);
	}
	log->ended = true;
	abandoned = log->abandoned;
	pthread_cond_broadcast(&log->progress);
	pthread_mutex_unlock(&log->lock);
	if (abandoned)
		destroy(log);
	return NULL;
}

/* Locked. */
static bool start_writer(struct uvfio_log *log)
{

	if (log->started)
		return true;
	log->started = !uvfio_thread_create(&log->writer, NULL, writer_main, log);
	return log->started;
}

static void write_line(struct uvfio_log *log, const char *line, size_t len)
{
	struct timespec end;
	uint64_t number;

	pthread_mutex_lock(&log->lock);
	if (!start_writer(log) || !own_up(log) || !put(log, line, len)) {
		log->dropped++;
		pthread_mutex_unlock(&log->lock);
		return;
	}
	number = log->queued;
	pthread_cond_signal(&log->work);
	if (!log->stuck) {
		end = after(PATIENCE_NS);
		while (log->written < number && !log->stuck) {
			if (pthread_cond_timedwait(&log->progress, &log->lock, &end) == ETIMEDOUT)
				log->stuck = log->written < number;
		}
	}
	pthread_mutex_unlock(&log->lock);
}

void uvfio_log_flush(struct uvfio_log *log)
{
	uint64_t number;

	if (!log)
		return;
	pthread_mutex_lock(&log->lock);
	number = log->queued;
	while (log->written < number)
		pthread_cond_wait(&log->progress, &log->lock);
	pthread_mutex_unlock(&log->lock);
}

/* ---- lines ---- */

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
	const char *mark;
	int saved = errno, n;
	size_t len = 0;
	bool whole;

	if (!uvfio_log_wants(log, level))
		return;
	mark = atomic_load(&log->mark);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	if (n < 0)
		return;
	if (n > 0 && (size_t)n < sizeof(text) && text[n - 1] == '\n')
		text[n - 1] = '\0';
	whole = append(line, &len, room, "uvfio: ");
	if (mark)
		whole = whole && append(line, &len, room, mark) && append(line, &len, room, " ");
	whole = whole && append(line, &len, room, level_names[level]) &&
		append(line, &len, room, ": ");
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
