/* SPDX-License-Identifier: BSD-3-Clause */
/* A machine that a server has, and the runner's end of a channel to it. */
#ifndef JOIN_FIXTURE_H
#define JOIN_FIXTURE_H

#include <sys/socket.h>
#include "vfio_fixture.h"
#include "join/channel.h"
#include "join/host.h"

/* The messages of one channel at a time; too large for a stack. */
static struct join_packet packet;

struct joined {
	struct fixture f;
	struct uvfio_log *log;
	struct join_host *host;
	int sock; /* the runner's end of the first channel */
};

static inline int connect_host(struct join_host *host)
{
	struct uvfio_error err = {""};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(join_host_connect(host, pair[1], 1000, &err), 0);
	return pair[0];
}

static inline void join_open(struct joined *j)
{
	fixture_machine(&j->f);
	fixture_add(&j->f, "probe");
	fixture_add(&j->f, "probe");
	j->log = uvfio_log_new(2, UVFIO_LOG_ERROR);
	j->host = join_host_new(j->f.machine, j->log);
	assert_non_null(j->host);
	j->sock = connect_host(j->host);
}

static inline void join_close(struct joined *j)
{
	close(j->sock);
	join_host_free(j->host);
	uvfio_log_free(j->log);
	fixture_close(&j->f);
}

static inline void post(int sock, struct join_head head, const void *data, size_t len, int fd)
{
	assert_int_equal(join_send(sock, &head, data, len, &fd, fd >= 0 ? 1 : 0), 0);
}

/* The next message, which is of @kind. */
static inline void expect(int sock, uint32_t kind)
{
	assert_int_equal(join_receive(sock, &packet), 0);
	assert_int_equal(packet.head.kind, kind);
}

static inline int64_t call(int sock, struct join_head head)
{
	post(sock, head, NULL, 0, -1);
	expect(sock, JOIN_DONE);
	join_packet_close(&packet);
	return packet.head.value;
}

/* A group in a container of type 1; the group's handle. */
static inline uint32_t open_group(int sock, unsigned number, uint32_t *container)
{
	int64_t c = call(sock, (struct join_head){.kind = JOIN_CONTAINER_OPEN}), g;

	assert_true(c > 0);
	g = call(sock, (struct join_head){.kind = JOIN_GROUP_OPEN, .arg = {number}});
	assert_true(g > 0);
	assert_int_equal(call(sock, (struct join_head){.kind = JOIN_GROUP_SET,
						       .handle = (uint32_t)g,
						       .arg = {(uint64_t)c}}),
			 0);
	assert_int_equal(
		call(sock, (struct join_head){.kind = JOIN_CONTAINER_IOCTL,
					      .handle = (uint32_t)c,
					      .arg = {1, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU}}),
		0);
	if (container)
		*container = (uint32_t)c;
	return (uint32_t)g;
}

/* The device of @group, asked for with its name at address 1. */
static inline uint32_t open_device(int sock, uint32_t group, const char *name)
{
	char text[VFIO_NAME_BYTES] = "";

	strcpy(text, name);
	post(sock,
	     (struct join_head){.kind = JOIN_GROUP_GET_DEVICE, .handle = group, .arg = {1, 1}},
	     NULL, 0, -1);
	for (;;) {
		assert_int_equal(join_receive(sock, &packet), 0);
		if (packet.head.kind == JOIN_DONE)
			break;
		assert_int_equal(packet.head.kind, JOIN_ASK_FROM);
		assert_true(packet.head.arg[0] - 1 + packet.head.arg[1] <= sizeof(text));
		post(sock, (struct join_head){.kind = JOIN_ANSWER}, text + packet.head.arg[0] - 1,
		     packet.head.arg[1], -1);
	}
	assert_true(packet.head.value > 0);
	return (uint32_t)packet.head.value;
}

static inline void expect_end(int sock)
{
	char byte;

	assert_int_equal(recv(sock, &byte, 1, 0), 0);
}

#endif
