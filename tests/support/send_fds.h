/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes with descriptors, for tests and benchmarks. */
#ifndef TESTS_SUPPORT_SEND_FDS_H
#define TESTS_SUPPORT_SEND_FDS_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SEND_FDS_MAX 253u /* the kernel's limit for one message */

/* One sendmsg(2) of the @nr pieces, with @nr_fds descriptors: what it returns. */
static inline ssize_t sendmsg_fds(int sock, const struct iovec *iov, size_t nr, const int *fds,
				  unsigned nr_fds)
{
	union {
		char bytes[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = nr};

	if (nr_fds) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		*c = (struct cmsghdr){.cmsg_len = CMSG_LEN(nr_fds * sizeof(int)),
				      .cmsg_level = SOL_SOCKET,
				      .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(c), fds, nr_fds * sizeof(int));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL);
}

#endif
