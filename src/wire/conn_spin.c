/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When a connection asks its socket for more without having been told that there is some.
 */
#include <errno.h>
#include "wire/wire_private.h"

#define SPIN_ALONE_NS 500000u
#define SPIN_SKIP_MAX 64u

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

/* Nobody else on this loop had a message lately? */
static bool alone(struct wire_conn *conn, uint64_t now)
{
	struct wire_loop *loop = conn->loop;

	if (atomic_load_explicit(&loop->last, memory_order_relaxed) != conn) {
		atomic_store_explicit(&loop->last, conn, memory_order_relaxed);
		atomic_store_explicit(&loop->changed, now, memory_order_relaxed);
		return false;
	}
	return now - atomic_load_explicit(&loop->changed, memory_order_relaxed) > SPIN_ALONE_NS;
}

ssize_t wire_conn_spin(struct wire_conn *conn)
{
	uint64_t spin = (uint64_t)conn->listener->options.spin_us * 1000u, start;
	ssize_t n = -EAGAIN;

	if (!spin || state_of(conn) != WIRE_READY)
		return n;
	if (conn->spin_skip) {
		conn->spin_skip--;
		return n;
	}
	start = conn->now = uvfio_now_ns();
	if (!alone(conn, start))
		return n;
	do {
		n = wire_stream_receive(&conn->stream);
	} while (n == -EAGAIN && (conn->now = uvfio_now_ns()) - start < spin);
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
