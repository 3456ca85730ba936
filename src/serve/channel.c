/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include "base/fd.h"
#include "serve/channel.h"

int serve_send(int sock, const struct serve_message *msg, const char *text, int fd)
{
	struct iovec iov[2] = {
		{(void *)msg, sizeof(*msg)},
		{(void *)text, text ? strlen(text) : 0},
	};

	if (iov[1].iov_len >= SERVE_MAX_TEXT)
		return -EMSGSIZE;
	return uvfio_packet_send(sock, iov, 2, fd);
}

int serve_receive(int sock, struct serve_message *msg, char *text, int *fd)
{
	char dropped[512];
	struct iovec iov[2] = {
		{msg, sizeof(*msg)},
		{text ? text : dropped, text ? SERVE_MAX_TEXT - 1 : sizeof(dropped)},
	};
	ssize_t n = uvfio_packet_receive(sock, iov, 2, sizeof(*msg), fd);

	if (n <= 0)
		return (int)n;
	if (text)
		text[(size_t)n - sizeof(*msg)] = '\0';
	return 1;
}
