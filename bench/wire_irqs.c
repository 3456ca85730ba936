/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SET_IRQS of 2,048 eventfds, which takes nine messages, beside what it cannot do without: to
 * receive them, to look whether they are eventfds, and to close them.
 */
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire_cases.h"
#include "wire_model.h"

#define FDS 250u /* a message */

/* ---- bare ---- */

/* One message's descriptors; how many. */
static unsigned receive(int fd, int *fds)
{
	union {
		char bytes[CMSG_SPACE(FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	char buf[64];
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;
	unsigned tries = 0;

	do {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control);
		n = recvmsg(fd, &m, (tries < 20000 ? MSG_DONTWAIT : 0) | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EAGAIN && tries++ < 20000);
	if (n <= 0 || m.msg_controllen < CMSG_LEN(0))
		_exit(0);
	n = (ssize_t)(control.align.cmsg_len - CMSG_LEN(0));
	memcpy(fds, CMSG_DATA(&control.align), (size_t)n);
	return (unsigned)((size_t)n / sizeof(int));
}

static void take_and_close(int fd)
{
	struct vfio_user_header hdr = {.flags = VFIO_USER_TYPE_REPLY, .size = sizeof(hdr)};
	struct uvfio_eventfd_check check;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pair_pin(1);
	uvfio_eventfd_check_init(&check);
	for (;;) {
		int fds[FDS];
		unsigned n = receive(fd, fds);

		for (unsigned i = 0; i < n; i++)
			hdr.error += !uvfio_eventfd_check(&check, fds[i]);
		pair_give(fd, &hdr, sizeof(hdr));
		for (unsigned i = 0; i < n; i++)
			close(fds[i]);
	}
}

static int bare(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		talk_die("socketpair");
	if (!fork()) {
		close(pair[0]);
		take_and_close(pair[1]);
	}
	close(pair[1]);
	return pair[0];
}

/* ---- */

/* ms for 2,048 eventfds */
static double set_irqs(void *arg)
{
	int fd = *(int *)arg, fds[VECTORS];
	uint64_t start;

	for (unsigned i = 0; i < VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	start = bench_ns();
	for (unsigned i = 0; i < VECTORS; i += FDS) {
		unsigned n = VECTORS - i < FDS ? VECTORS - i : FDS;
		struct vfio_irq_set set = {sizeof(set),
					   VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
					   VFIO_PCI_MSIX_IRQ_INDEX, i, n};

		talk_ask(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds + i, n, 0);
		talk_answered(fd, SPIN);
	}
	start = bench_ns() - start;
	for (unsigned i = 0; i < VECTORS; i++)
		close(fds[i]);
	return (double)start / 1e6;
}

int wire_irqs(const struct place *place)
{
	int one = bare(), fd = talk_attach(place), missed;

	missed = beside(&(struct bench_case){"bare: receive, check and close 2,048 eventfds", "ms",
					     set_irqs, &one, BENCH_INFO, 0, 0},
			&(struct bench_case){"SET_IRQS of 2,048 eventfds, 250 a message", "ms",
					     set_irqs, &fd, BENCH_AT_MOST, 3, 0},
			0);
	close(one);
	close(fd);
	return missed;
}
