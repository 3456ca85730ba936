/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <unistd.h>
#include "base/fd.h"
#include "uapi/message.h"

int uapi_send(int sock, enum uapi_message_kind kind, int32_t value, int fd)
{
	struct uapi_message msg = {.kind = kind, .value = value};
	struct iovec iov = {&msg, sizeof(msg)};

	return uvfio_packet_send(sock, &iov, 1, fd);
}

int uapi_receive(int sock, struct uapi_message *msg, int *fd)
{
	struct iovec iov = {msg, sizeof(*msg)};
	ssize_t n = uvfio_packet_receive(sock, &iov, 1, sizeof(*msg), fd);

	return n > 0 ? 1 : (int)n;
}

int uapi_expect(int sock, enum uapi_message_kind kind, int32_t *value, int *fd)
{
	struct uapi_message msg;
	int got = -1;
	int ret = uapi_receive(sock, &msg, &got);

	if (ret == 0)
		ret = -EPIPE;
	else if (ret == 1)
		ret = msg.kind == kind ? 0 : -EPROTO;
	if (!ret && value)
		*value = msg.value;
	if (!ret && fd) {
		*fd = got;
		return 0;
	}
	if (got >= 0)
		close(got);
	return ret;
}
