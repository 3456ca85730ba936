/* SPDX-License-Identifier: BSD-3-Clause */
/* An interrupt set of a device, and descriptors to hand in. */
#ifndef UVFIO_TESTS_IRQ_FIXTURE_H
#define UVFIO_TESTS_IRQ_FIXTURE_H

#include <dirent.h>

#include <uvfio/device.h>

#include "irq_util.h"

struct fixture {
	struct device dev;
	struct uvfio_loop *loop;
	struct uvfio_ctx *ctx;
	struct irq_set *set;
	int efd[64];
	int plain; /* an fd that is not an eventfd */
	int bad;   /* a number that is no fd */
};

static inline void start(struct fixture *f, bool dynamic)
{
	struct uvfio_error err;

	memset(f, 0, sizeof(*f));
	f->dev = (struct device){.counts = {1, 8, 64}, .pcie = true, .d0 = true, .mode = -1};
	f->loop = uvfio_loop_new("test", &err);
	assert_non_null(f->loop);
	f->ctx = uvfio_ctx_new(f->loop);
	assert_non_null(f->ctx);
	f->set = irq_set_new(&dev_ops, &f->dev, f->ctx, 64, dynamic);
	assert_non_null(f->set);
	irq_set_gate(f->set, true);
	for (unsigned i = 0; i < 64; i++)
		f->efd[i] = make_eventfd();
	f->plain = open("/dev/null", O_RDWR | O_CLOEXEC);
	f->bad = 1 << 20; /* beyond what a test opens */
}

static inline void stop(struct fixture *f)
{
	irq_set_free(f->set);
	uvfio_ctx_free(f->ctx);
	uvfio_loop_free(f->loop);
	for (unsigned i = 0; i < 64; i++)
		close(f->efd[i]);
	close(f->plain);
}

static inline unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
