/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of an interrupt set, in the same process: its data, its eventfds, what it sees. */
#ifndef UVFIO_TESTS_IRQ_UTIL_H
#define UVFIO_TESTS_IRQ_UTIL_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "irq/irq.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

#define NONE     VFIO_IRQ_SET_DATA_NONE
#define BOOL     VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD  VFIO_IRQ_SET_DATA_EVENTFD
#define MASK     VFIO_IRQ_SET_ACTION_MASK
#define UNMASK   VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER  VFIO_IRQ_SET_ACTION_TRIGGER

enum { INTX, MSI, MSIX, ERR, REQ };

struct device {
	unsigned counts[3];
	bool pcie, d0;
	unsigned granted; /* 0: all */
	int mode;
	unsigned vectors, changes;
};

static unsigned dev_count(void *arg, unsigned index)
{
	return ((struct device *)arg)->counts[index];
}

static bool dev_pcie(void *arg)
{
	return ((struct device *)arg)->pcie;
}

static bool dev_d0(void *arg)
{
	return ((struct device *)arg)->d0;
}

static unsigned dev_grant(void *arg, unsigned index, unsigned wanted)
{
	struct device *dev = arg;

	return dev->granted && dev->granted < wanted ? dev->granted : wanted;
}

static void dev_mode(void *arg, int mode, unsigned vectors)
{
	struct device *dev = arg;

	dev->mode = mode;
	dev->vectors = vectors;
	dev->changes++;
}

static const struct irq_ops dev_ops = {
	.count = dev_count,
	.is_pcie = dev_pcie,
	.power_d0 = dev_d0,
	.grant = dev_grant,
	.mode_changed = dev_mode,
};

/* The data behind a request's header. */
struct data {
	const void *bytes;
	size_t len;
	unsigned copies; /* how often it was read */
};

static int copy_data(void *client, void *dst, size_t len)
{
	struct data *data = client;

	data->copies++;
	if (!data->bytes || len > data->len)
		return -EFAULT;
	memcpy(dst, data->bytes, len);
	return 0;
}

static int get_eventfd(void *client, int32_t fd)
{
	char path[64], what[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, what, sizeof(what) - 1);
	if (n < 0)
		return -EBADF;
	what[n] = 0;
	if (strcmp(what, "anon_inode:[eventfd]"))
		return -EINVAL;
	return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* SET_IRQS with as much data as the request needs. */
static inline int request(struct irq_set *set, unsigned index, unsigned start, unsigned count,
			  uint32_t flags, const void *bytes)
{
	size_t len = flags & EVENTFD ? count * 4ul : flags & BOOL ? count : 0;
	struct data data = {bytes, len, 0};
	struct vfio_irq_set hdr = {
		.argsz = (uint32_t)(20 + len),
		.flags = flags,
		.index = index,
		.start = start,
		.count = count,
	};

	return irq_set_irqs(set, &hdr, copy_data, get_eventfd, &data);
}

/* One eventfd to one vector. */
static inline int set_fd(struct irq_set *set, unsigned index, unsigned vector, int32_t fd)
{
	return request(set, index, vector, 1, EVENTFD | TRIGGER, &fd);
}

/* What was signalled since the last call; 0: nothing. */
static inline uint64_t taken(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static inline int make_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

#endif
