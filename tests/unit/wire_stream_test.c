/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes to messages: any pieces, any number at once, large ones, and whose the fds are. */
#include <sys/ioctl.h>

#include "wire_util.h"
#include "wire/wire_private.h"

struct both {
	struct wire_stream stream;
	int client;
	_Atomic uint64_t in, out;
	struct uvfio_trash *trash;
};

static void up(struct both *b)
{
	int pair[2], size = 4 << 20;

	memset(b, 0, sizeof(*b));
	b->trash = uvfio_trash_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(
		wire_stream_init(&b->stream, pair[1], WIRE_MSG_MAX, b->trash, &b->in, &b->out), 0);
	b->client = pair[0];
}

static void down(struct both *b)
{
	wire_stream_fini(&b->stream);
	uvfio_trash_unref(b->trash);
	if (b->client >= 0)
		close(b->client);
}

static size_t make(uint8_t *to, unsigned id, unsigned command, uint32_t flags, size_t len)
{
	struct vfio_user_header hdr = {(uint16_t)id, (uint16_t)command,
				       (uint32_t)(sizeof(hdr) + len), flags, 0};

	memcpy(to, &hdr, sizeof(hdr));
	for (size_t i = 0; i < len; i++)
		to[sizeof(hdr) + i] = (uint8_t)(id + i);
	return hdr.size;
}

static void check(const struct wire_msg *msg, unsigned id, size_t len)
{
	assert_int_equal(msg->hdr.id, id);
	assert_int_equal(msg->len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(msg->payload[i], (uint8_t)(id + i));
}

static void byte_by_byte(void **state)
{
	struct both b;
	struct wire_msg msg;
	uint8_t bytes[512];
	size_t len = 0, got = 0;
	unsigned seen = 0;

	up(&b);
	for (unsigned id = 1; id <= 5; id++)
		len += make(bytes + len, id, VFIO_USER_REGION_READ, 0, id * 7);
	while (got < len) {
		send_fds(b.client, bytes + got++, 1, NULL, 0);
		assert_int_equal(wire_stream_receive(&b.stream), 1);
		while (wire_stream_next(&b.stream, &msg) > 0) {
			seen++;
			check(&msg, seen, seen * 7);
		}
	}
	assert_int_equal(seen, 5);
	assert_int_equal(wire_stream_receive(&b.stream), -EAGAIN);
	assert_int_equal(b.in, len);
	down(&b);
}

static void all_at_once_and_every_cut(void **state)
{
	uint8_t bytes[512];
	size_t len = 0;

	for (unsigned id = 1; id <= 5; id++)
		len += make(bytes + len, id, VFIO_USER_REGION_READ, 0, id * 7);
	for (size_t cut = 0; cut <= len; cut++) {
		struct both b;
		struct wire_msg msg;
		unsigned seen = 0;

		up(&b);
		for (int half = 0; half < 2; half++) {
			size_t from = half ? cut : 0, n = half ? len - cut : cut;

			if (!n)
				continue;
			send_fds(b.client, bytes + from, n, NULL, 0);
			assert_int_equal(wire_stream_receive(&b.stream), n);
			while (wire_stream_next(&b.stream, &msg) > 0) {
				seen++;
				check(&msg, seen, seen * 7);
			}
		}
		assert_int_equal(seen, 5);
		down(&b);
	}
}

static void large_between_small(void **state)
{
	const size_t sizes[] = {
		100, WIRE_IN_BYTES - 16, WIRE_IN_BYTES - 15, 60000, 8, WIRE_XFER_MAX + 16, 40};
	uint8_t *bytes = malloc(2 * WIRE_MSG_MAX);
	size_t len = 0, sent = 0;
	struct wire_msg msg;
	unsigned seen = 0;
	struct both b;

	up(&b);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		len += make(bytes + len, i, VFIO_USER_REGION_WRITE, 0, sizes[i]);
	while (seen < ARRAY_SIZE(sizes)) {
		ssize_t n = send(b.client, bytes + sent, len - sent < 50000 ? len - sent : 50000,
				 MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		while (wire_stream_receive(&b.stream) > 0) {
			while (wire_stream_next(&b.stream, &msg) > 0) {
				check(&msg, seen, sizes[seen]);
				seen++;
			}
		}
	}
	assert_int_equal(b.in, len);
	free(bytes);
	down(&b);
}

static void not_a_message(void **state)
{
	static const struct vfio_user_header bad[] = {
		{1, 1, 15, 0, 0},         {1, 1, 0, 0, 0},  {1, 1, WIRE_MSG_MAX + 1, 0, 0},
		{1, 1, UINT32_MAX, 0, 0}, {1, 1, 16, 2, 0}, {1, 1, 16, 15, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct wire_msg msg;
		struct both b;

		up(&b);
		send_fds(b.client, &bad[i], sizeof(bad[i]), NULL, 0);
		assert_int_equal(wire_stream_receive(&b.stream), sizeof(bad[i]));
		assert_true(wire_stream_ready(&b.stream));
		assert_int_equal(wire_stream_next(&b.stream, &msg), -EPROTO);
		down(&b);
	}
}

/* The kernel joins sends without fds, and stops behind one with. */
static void fds_go_to_their_message(void **state)
{
	uint8_t bytes[512];
	struct wire_msg msg;
	struct both b;
	int fd = eventfd(0, 0);
	size_t len;

	up(&b);
	/* Without, with, without: three sends. */
	for (unsigned id = 1; id <= 3; id++) {
		len = make(bytes, id, VFIO_USER_DMA_MAP, 0, 32);
		send_fds(b.client, bytes, len, &fd, id == 2);
	}
	assert_int_equal(wire_stream_receive(&b.stream), 2 * len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.nr_fds, 0);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.hdr.id, 2);
	assert_int_equal(msg.nr_fds, 1);
	wire_msg_close_fds(&msg, b.trash);
	assert_int_equal(wire_stream_receive(&b.stream), len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.nr_fds, 0);

	/* In one send with one that takes none: the first's. */
	len = make(bytes, 4, VFIO_USER_DMA_MAP, 0, 32);
	len += make(bytes + len, 5, VFIO_USER_REGION_READ, 0, 16);
	send_fds(b.client, bytes, len, &fd, 1);
	assert_int_equal(wire_stream_receive(&b.stream), len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.nr_fds, 1);
	wire_msg_close_fds(&msg, b.trash);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.nr_fds, 0);

	/* With the first byte of a message that comes in pieces, behind a whole one. */
	len = make(bytes, 6, VFIO_USER_REGION_READ, 0, 16);
	send_fds(b.client, bytes, len, NULL, 0);
	len = make(bytes, 7, VFIO_USER_DMA_MAP, 0, 32);
	send_fds(b.client, bytes, 1, &fd, 1);
	send_fds(b.client, bytes + 1, len - 1, NULL, 0);
	while (wire_stream_receive(&b.stream) > 0 && !wire_stream_ready(&b.stream))
		;
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.hdr.id, 6);
	assert_int_equal(msg.nr_fds, 0);
	while (wire_stream_next(&b.stream, &msg) == 0)
		assert_true(wire_stream_receive(&b.stream) > 0);
	assert_int_equal(msg.hdr.id, 7);
	assert_int_equal(msg.nr_fds, 1);
	wire_msg_close_fds(&msg, b.trash);
	close(fd);
	down(&b);
}

/* ---- looked at before they are taken ---- */

static int left_in_socket(const struct both *b)
{
	int n = -1;

	assert_int_equal(ioctl(b->stream.fd, FIONREAD, &n), 0);
	return n;
}

/* One message that wants an answer and has no fds stays in the socket until it was handled. */
static void one_message_is_looked_at(void **state)
{
	uint8_t bytes[512];
	struct wire_msg msg;
	struct both b;
	size_t len = make(bytes, 1, VFIO_USER_REGION_READ, 0, 16);

	up(&b);
	assert_int_equal(wire_stream_peek(&b.stream), -EAGAIN);
	for (unsigned i = 0; i < 3; i++) {
		send_fds(b.client, bytes, len, NULL, 0);
		assert_int_equal(wire_stream_peek(&b.stream), len);
		assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
		check(&msg, 1, 16);
		assert_int_equal(wire_stream_next(&b.stream, &msg), 0);
		assert_int_equal(left_in_socket(&b), len);
		assert_int_equal(wire_stream_take(&b.stream), 0);
		assert_int_equal(left_in_socket(&b), 0);
		assert_int_equal(wire_stream_peek(&b.stream), -EAGAIN);
	}
	/* A receive does not bring it once more; nor does it lose what came behind it. */
	send_fds(b.client, bytes, len, NULL, 0);
	assert_int_equal(wire_stream_peek(&b.stream), len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	make(bytes, 2, VFIO_USER_REGION_READ, 0, 16);
	send_fds(b.client, bytes, len, NULL, 0);
	assert_int_equal(wire_stream_receive(&b.stream), len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	check(&msg, 2, 16);
	assert_int_equal(b.in, 5 * len);
	close(b.client);
	b.client = -1;
	assert_int_equal(wire_stream_peek(&b.stream), 0);
	assert_true(b.stream.eof);
	down(&b);
}

/* All else is received: with fds, without an answer, several, a part of one, what is none. */
static void others_are_received(void **state)
{
	uint8_t bytes[512];
	struct wire_msg msg;
	struct both b;
	int fd = eventfd(0, 0);
	size_t len;

	up(&b);
	len = make(bytes, 1, VFIO_USER_REGION_READ, 0, 16);
	send_fds(b.client, bytes, len, &fd, 1);
	assert_int_equal(wire_stream_peek(&b.stream), len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.nr_fds, 1);
	wire_msg_close_fds(&msg, b.trash);
	assert_int_equal(left_in_socket(&b), 0);

	/* In two sends, of which the second has one. */
	send_fds(b.client, bytes, 20, NULL, 0);
	send_fds(b.client, bytes + 20, len - 20, &fd, 1);
	assert_int_equal(wire_stream_peek(&b.stream), len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.nr_fds, 1);
	wire_msg_close_fds(&msg, b.trash);

	send_fds(b.client, bytes, 20, NULL, 0);
	assert_int_equal(wire_stream_peek(&b.stream), 20);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 0);
	assert_int_equal(left_in_socket(&b), 0);
	send_fds(b.client, bytes + 20, len - 20, NULL, 0);
	assert_int_equal(wire_stream_peek(&b.stream), len - 20);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	check(&msg, 1, 16);

	len = make(bytes, 3, VFIO_USER_REGION_WRITE, VFIO_USER_NO_REPLY, 20);
	send_fds(b.client, bytes, len, NULL, 0);
	assert_int_equal(wire_stream_peek(&b.stream), len);
	assert_int_equal(left_in_socket(&b), 0);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	check(&msg, 3, 20);

	len = make(bytes, 4, VFIO_USER_REGION_READ, 0, 16);
	len += make(bytes + len, 5, VFIO_USER_REGION_READ, 0, 16);
	send_fds(b.client, bytes, len, NULL, 0);
	assert_int_equal(wire_stream_peek(&b.stream), len);
	assert_int_equal(left_in_socket(&b), 0);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	check(&msg, 5, 16);

	len = make(bytes, 6, VFIO_USER_REGION_READ, 0, 0);
	bytes[offsetof(struct vfio_user_header, size)] = 15;
	send_fds(b.client, bytes, len, NULL, 0);
	assert_int_equal(wire_stream_peek(&b.stream), len);
	assert_int_equal(wire_stream_next(&b.stream, &msg), -EPROTO);
	close(fd);
	down(&b);
}

static void too_many_fds(void **state)
{
	uint8_t bytes[64];
	int fds[16], pipes[2];
	struct wire_msg msg;
	struct both b;
	size_t len = make(bytes, 1, VFIO_USER_DEVICE_SET_IRQS, 0, 20);
	char c;

	assert_int_equal(pipe(pipes), 0);
	for (unsigned i = 0; i < 16; i++)
		fds[i] = pipes[1];
	up(&b);
	/* A byte at a time, each with 16; what is too much is kept, for its owner to close. */
	for (size_t i = 0; i < len; i++) {
		send_fds(b.client, bytes + i, 1, fds, 16);
		assert_int_equal(wire_stream_receive(&b.stream), 1);
		if (wire_stream_late(&b.stream))
			b.stream.late = 0;
	}
	assert_int_equal(wire_stream_next(&b.stream, &msg), 1);
	assert_int_equal(msg.nr_fds, VFIO_USER_MAX_FDS);
	assert_true(msg.bad_fds);
	wire_msg_close_fds(&msg, b.trash);
	/* To a limit. */
	for (size_t i = 0; wire_stream_receive(&b.stream) != -EPROTO; i++) {
		assert_true(i < len - 1);
		send_fds(b.client, bytes + i, 1, fds, 16);
	}
	assert_true(wire_stream_late(&b.stream));
	wire_stream_fini(&b.stream);
	assert_int_equal(wire_stream_init(&b.stream, -1, 4096, b.trash, &b.in, &b.out), 0);
	/* None is left but ours: the other end sees the end. */
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &c, 1), 0);
	close(pipes[0]);
	down(&b);
}

/* What is not taken is queued, in order and complete; DMA messages can be taken back. */
static void output_waits_for_the_client(void **state)
{
	static uint8_t big[100000];
	struct vfio_user_header hdr = {.size = sizeof(hdr) + sizeof(big), .flags = 1};
	struct iommu_peer_msg first = {0}, second = {0};
	uint8_t *got = malloc(4 << 20);
	size_t expected = 0, have = 0;
	struct both b;
	unsigned n = 0;
	ssize_t ret;

	up(&b);
	while (!wire_stream_queued(&b.stream)) {
		hdr.id = (uint16_t)n;
		memset(big, (int)n++, sizeof(big));
		assert_int_equal(
			wire_stream_reply(&b.stream, &hdr, NULL, 0, big, sizeof(big), NULL, 0), 0);
		expected += hdr.size;
	}
	assert_int_equal(wire_stream_dma(&b.stream, &first, "0123456789abcdef", 16, big, 100), 1);
	assert_int_equal(wire_stream_dma(&b.stream, &second, "fedcba9876543210", 16, NULL, 0), 1);
	assert_true(wire_stream_dma_cancel(&b.stream, &first));
	assert_false(wire_stream_dma_cancel(&b.stream, &first));
	assert_true(wire_stream_dma_queued(&b.stream, &second));
	expected += 16;
	while (have < expected) {
		ret = recv(b.client, got + have, expected - have, MSG_DONTWAIT);
		if (ret > 0)
			have += (size_t)ret;
		assert_int_equal(wire_stream_flush(&b.stream), 0);
	}
	for (unsigned i = 0; i < n; i++) {
		memcpy(&hdr, got + i * hdr.size, sizeof(hdr));
		assert_int_equal(hdr.id, i);
		assert_int_equal(got[i * (sizeof(hdr) + sizeof(big)) + sizeof(hdr) + 77777],
				 (uint8_t)i);
	}
	assert_memory_equal(got + expected - 16, "fedcba9876543210", 16);
	assert_false(wire_stream_dma_queued(&b.stream, &second));
	assert_int_equal(wire_stream_queued(&b.stream), 0);
	assert_int_equal(b.out, expected);
	free(got);
	down(&b);
}

static void client_goes_while_output_waits(void **state)
{
	static uint8_t big[100000];
	struct vfio_user_header hdr = {.size = sizeof(hdr) + sizeof(big), .flags = 1};
	struct both b;

	up(&b);
	while (!wire_stream_queued(&b.stream))
		wire_stream_reply(&b.stream, &hdr, NULL, 0, big, sizeof(big), NULL, 0);
	close(b.client);
	b.client = -1;
	assert_int_equal(wire_stream_flush(&b.stream), -EPIPE);
	assert_int_equal(wire_stream_reply(&b.stream, &hdr, NULL, 0, big, sizeof(big), NULL, 0),
			 -EPIPE);
	down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(all_at_once_and_every_cut),
		cmocka_unit_test(large_between_small),
		cmocka_unit_test(not_a_message),
		cmocka_unit_test(fds_go_to_their_message),
		cmocka_unit_test(one_message_is_looked_at),
		cmocka_unit_test(others_are_received),
		cmocka_unit_test(too_many_fds),
		cmocka_unit_test(output_waits_for_the_client),
		cmocka_unit_test(client_goes_while_output_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
