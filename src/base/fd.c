/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "base/fd.h"

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int))];
};

bool uvfio_is_eventfd(int fd)
{
	static const char name[] = "anon_inode:[eventfd]";
	char path[32], link[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link));
	return n == (ssize_t)sizeof(name) - 1 && !memcmp(link, name, sizeof(name) - 1);
}

unsigned long uvfio_eventfd_id(int fd)
{
	char path[40], line[128];
	unsigned long id = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "eventfd-id: %lu", &id) == 1) {
			id++;
			break;
		}
	}
	fclose(f);
	return id;
}

static_assert(sizeof(struct stat) == 144, "the kernel's on x86-64");

int uvfio_fstat(int fd, struct stat *st)
{
	return (int)syscall(SYS_fstat, fd, st);
}

int uvfio_fstat_unasked(int fd, struct stat *st)
{
	/* To ask for nothing in particular is what keeps FUSE from asking; all is filled in. */
	const int flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
	struct statx x;

	/* No path, since Linux 6.11: a filter can tell it from a call with one. */
	if (syscall(SYS_statx, fd, NULL, flags, 0, &x) && syscall(SYS_statx, fd, "", flags, 0, &x))
		return uvfio_fstat(fd, st);
	*st = (struct stat){
		.st_dev = makedev(x.stx_dev_major, x.stx_dev_minor),
		.st_ino = x.stx_ino,
		.st_mode = x.stx_mode,
		.st_size = (off_t)x.stx_size,
		.st_blksize = (blksize_t)x.stx_blksize,
	};
	return 0;
}

int uvfio_packet_send(int sock, const struct iovec *iov, size_t nr, int fd)
{
	struct msghdr hdr = {.msg_iov = (struct iovec *)iov, .msg_iovlen = nr};
	union control control = {0};
	ssize_t n;

	if (fd >= 0) {
		struct cmsghdr *c;

		hdr.msg_control = control.buf;
		hdr.msg_controllen = sizeof(control.buf);
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do {
		n = sendmsg(sock, &hdr, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

ssize_t uvfio_packet_receive(int sock, const struct iovec *iov, size_t nr, size_t least, int *fd)
{
	union control control;
	/* Without the padding, in which there would be room for a second descriptor. */
	struct msghdr hdr = {.msg_iov = (struct iovec *)iov,
			     .msg_iovlen = nr,
			     .msg_control = fd ? control.buf : NULL,
			     .msg_controllen = fd ? CMSG_LEN(sizeof(int)) : 0};
	struct cmsghdr *c;
	ssize_t n;

	if (fd)
		*fd = -1;
	do {
		n = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (n == 0)
		return 0;
	c = CMSG_FIRSTHDR(&hdr);
	if (fd && c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	if ((size_t)n < least) {
		if (fd && *fd >= 0)
			close(*fd);
		if (fd)
			*fd = -1;
		return -EPROTO;
	}
	return n;
}
