/* SPDX-License-Identifier: BSD-3-Clause */
/* The request interrupt (A.8), as tests of those that ask for a device need it. */
#ifndef UVFIO_TESTS_REQ_UTIL_H
#define UVFIO_TESTS_REQ_UTIL_H

#include "vfio_fixture.h"

static inline void set_req(struct fixture *f, int fd)
{
	struct {
		struct vfio_irq_set hdr;
		int32_t fd;
	} req = {{.argsz = sizeof(req),
		  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		  .index = VFIO_PCI_REQ_IRQ_INDEX,
		  .count = 1},
		 fd};

	assert_int_equal(dev_ioctl(f, VFIO_DEVICE_SET_IRQS, &req), 0);
}

/* Until it has been signalled. */
static inline void await(int fd)
{
	uint64_t value;

	assert_int_equal(read(fd, &value, 8), 8);
}

#endif
