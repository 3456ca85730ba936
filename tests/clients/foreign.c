// SPDX-License-Identifier: BSD-3-Clause
#include "foreign.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

void foreign_need(int ok, const char *what, const char *file, int line)
{
	if (ok)
		return;
	printf("# %s:%d: does not hold: %s (%s)\n", file, line, what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

/* ---- sockets ---- */

int foreign_connect(const char *path)
{
	const struct timeval patience = {.tv_sec = WIRE_PATIENCE / 1000};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	NEED(fd >= 0 && strlen(path) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, path);
	NEED(!connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
	NEED(!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
	return fd;
}

void foreign_send(int fd, const struct iovec *iov, int n, const int *fds, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (nfds) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	NEED(sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)len);
}

void foreign_read(int fd, void *data, size_t n)
{
	uint8_t *p = data;

	while (n) {
		ssize_t got = read(fd, p, n);

		if (got < 0 && errno == EINTR)
			continue;
		NEED(got > 0);
		p += got;
		n -= (size_t)got;
	}
}

unsigned foreign_receive(int fd, void *data, size_t n, int *fds, unsigned max, int *flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
	} control = {0};
	struct iovec iov = {data, n};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	unsigned got = 0;
	ssize_t ret;

	if (max) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(max * sizeof(int));
	}
	do
		ret = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (ret < 0 && errno == EINTR);
	NEED(ret > 0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		NEED(c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && !got);
		got = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		NEED(got <= max);
		memcpy(fds, CMSG_DATA(c), got * sizeof(int));
	}
	if (flags)
		*flags = msg.msg_flags;
	/* A small message was sent at once; should it come in pieces, its rest has no descriptors.
	 */
	if ((size_t)ret < n)
		foreign_read(fd, (uint8_t *)data + ret, n - (size_t)ret);
	return got;
}

void foreign_check(const struct wire_header *head, uint16_t id, unsigned command, size_t size)
{
	if (head->error)
		errno = (int)head->error;
	NEED(head->error == 0);
	NEED(head->flags == WIRE_REPLY);
	NEED(head->id == id);
	NEED(head->command == command);
	NEED(head->size == size);
}

bool foreign_quiet(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 0;
}

/* ---- memory ---- */

struct foreign_memory foreign_memory(uint64_t iova, uint64_t size, bool regular)
{
	struct foreign_memory m = {.fd = -1, .iova = iova, .size = size};

	if (regular) {
		char name[4096];
		const char *dir = getenv("TMPDIR");

		snprintf(name, sizeof(name), "%s/uvfio-foreign.XXXXXX", dir ? dir : "/tmp");
		m.fd = mkstemp(name);
		NEED(m.fd >= 0 && !unlink(name));
	} else {
		m.fd = memfd_create("guest memory", MFD_CLOEXEC);
	}
	NEED(m.fd >= 0 && !ftruncate(m.fd, (off_t)size));
	m.at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	NEED(m.at != MAP_FAILED);
	return m;
}

void foreign_memory_free(struct foreign_memory *m)
{
	munmap(m->at, m->size);
	close(m->fd);
}

/* ---- the program ---- */

/* Usage: foreign_clients SOCKET MAPPABLE-SOCKET */
int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(const char *path, bool mapped);
		bool mapped;
	} clients[] = {
		{"cloud-hypervisor: doorbells by messages", foreign_cloud_hypervisor, false},
		{"cloud-hypervisor: doorbells mapped", foreign_cloud_hypervisor, true},
		{"cloud-hypervisor's first client", foreign_cloud_hypervisor_first, false},
		{"SPDK", foreign_spdk, true},
		{"libvfio-user's sample", foreign_sample, false},
		{"libvfio-user's sample, what is mappable", foreign_sample, true},
	};
	const unsigned nr = sizeof(clients) / sizeof(clients[0]);
	unsigned failed = 0;

	if (argc != 3) {
		fprintf(stderr, "Usage: %s SOCKET MAPPABLE-SOCKET\n", argv[0]);
		return 2;
	}
	for (unsigned i = 0; i < nr; i++) {
		int status = -1;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (!pid) {
			clients[i].run(argv[1 + clients[i].mapped], clients[i].mapped);
			fflush(stdout);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			failed++;
		printf("%sok %u - %s\n", status ? "not " : "", i + 1, clients[i].name);
	}
	printf("1..%u\n", nr);
	return failed != 0;
}
