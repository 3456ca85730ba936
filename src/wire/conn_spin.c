/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a connection asks its socket for more without having been told that there is some.
 */
#include <errno.h>
#include "wire/wire_private.h"

#define SPIN_ALONE_NS 500000u
#define SPIN_SKIP_MAX 64u
#define SPIN_LOOK     4u /* tries between two looks at the clock */

/*
 * A message with fds ends a receive, even of a client that has sent many in a row (QEMU does with
 * its memory).  So the next ones are looked for before the answer is sent and the socket waited
 * for; less and less often with clients that wait for each answer.
 */
bool wire_conn_more_behind_fds(struct wire_conn *conn)
{
	if (!conn->stream.cut || !wire_conn_may_go_on(conn))
		return false;
	if (conn->more_skip) {
		conn->more_skip--;
		return false;
	}
	/* Whatever else this says, the next receive will say it, too. */
	if (wire_stream_receive(&conn->stream) > 0) {
		conn->more_misses = 0;
		return wire_stream_ready(&conn->stream);
	}
	conn->more_misses = conn->more_misses ? conn->more_misses * 2 : 1;
	if (conn->more_misses > SPIN_SKIP_MAX)
		conn->more_misses = SPIN_SKIP_MAX;
	conn->more_skip = conn->more_misses;
	return false;
}

/* ---- spinning ---- */

/* Nobody else on this loop had a message lately?  @now may be a little late. */
static bool alone(struct wire_conn *conn, uint64_t now)
{
	struct wire_loop *loop = conn->loop;

	if (atomic_load_explicit(&loop->last, memory_order_relaxed) != conn) {
		atomic_store_explicit(&loop->last, conn, memory_order_relaxed);
		atomic_store_explicit(&loop->since,
				      atomic_load_explicit(&loop->when, memory_order_relaxed),
				      memory_order_relaxed);
	}
	atomic_store_explicit(&loop->when, now, memory_order_relaxed);
	return now > atomic_load_explicit(&loop->since, memory_order_relaxed) + SPIN_ALONE_NS;
}

static ssize_t try_often(struct wire_conn *conn)
{
	ssize_t n = -EAGAIN;

	for (unsigned i = 0; i < SPIN_LOOK && n == -EAGAIN; i++)
		n = conn->ping_pong ? wire_stream_peek(&conn->stream)
				    : wire_stream_receive(&conn->stream);
	return n;
}

ssize_t wire_conn_spin(struct wire_conn *conn)
{
	uint64_t spin = (uint64_t)conn->listener->options.spin_us * 1000u, start;
	ssize_t n = -EAGAIN;
	bool quiet;

	if (!spin || state_of(conn) != WIRE_READY || !wire_conn_may_go_on(conn))
		return n;
	quiet = alone(conn, conn->now);
	if (conn->spin_skip) {
		conn->spin_skip--;
		return n;
	}
	if (!quiet)
		return n;
	/* Who is quick needs no clock. */
	n = try_often(conn);
	if (n == -EAGAIN)
		start = conn->now = uvfio_now_ns();
	while (n == -EAGAIN && conn->now - start < spin) {
		n = try_often(conn);
		conn->now = uvfio_now_ns();
	}
	if (n == -EAGAIN) {
		/* Slow, or gone to sleep: ask less and less often. */
		conn->spin_misses = conn->spin_misses ? conn->spin_misses * 2 : 1;
		if (conn->spin_misses > SPIN_SKIP_MAX)
			conn->spin_misses = SPIN_SKIP_MAX;
		conn->spin_skip = conn->spin_misses;
	} else {
		conn->spin_misses = 0;
	}
	return n;
}
