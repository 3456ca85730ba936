/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SET_IRQS (A.8) with any headers and data, mixed with everything that a device and its config
 * space do.  What must hold: the errors are those of the rules, counts stay in their limits, no fd
 * is left open, and an eventfd is signalled only while it is set.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uvfio/device.h>

#include "input.h"
#include "irq/irq.h"

#define EVENTFDS 8u
#define VECTORS  70u

struct world {
	struct input in;
	struct irq_set *set;
	unsigned counts[3], granted;
	bool pcie, d0;
	int mode;
	int open; /* fds that we handed out */
};

static struct uvfio_loop *loop;
static struct uvfio_ctx *ctx;
static int efd[EVENTFDS];

static unsigned count(void *arg, unsigned index)
{
	return ((struct world *)arg)->counts[index];
}

static bool is_pcie(void *arg)
{
	return ((struct world *)arg)->pcie;
}

static bool power_d0(void *arg)
{
	return ((struct world *)arg)->d0;
}

static unsigned grant(void *arg, unsigned index, unsigned wanted)
{
	struct world *w = arg;

	return wanted < w->granted ? wanted : w->granted;
}

static void mode_changed(void *arg, int mode, unsigned vectors)
{
	((struct world *)arg)->mode = mode;
}

static const struct irq_ops ops = {
	.count = count,
	.is_pcie = is_pcie,
	.power_d0 = power_d0,
	.grant = grant,
	.mode_changed = mode_changed,
};

/* Data are the input's; small numbers so that eventfds are often hit. */
static int copy(void *client, void *dst, size_t len)
{
	struct world *w = client;
	uint8_t *bytes = dst;

	if (take(&w->in, 1) == 0xfa)
		return -EFAULT;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)take(&w->in, 1);
	for (size_t i = 3; i < len; i += 4)
		memset(bytes + i - 2, bytes[i] & 128 ? 0xff : 0, 3);
	return 0;
}

static int get_eventfd(void *client, int32_t fd)
{
	if (fd < 0)
		abort(); /* never asked for */
	if ((uint32_t)fd % 16 < EVENTFDS)
		return fcntl(efd[fd % 16], F_DUPFD_CLOEXEC, 0);
	return fd % 2 ? -EBADF : -EINVAL;
}

static void set_irqs(struct world *w)
{
	struct vfio_irq_set hdr;
	uint32_t what = take(&w->in, 1);
	int ret, before = irq_active(w->set, NULL);

	memset(&hdr, 0, sizeof(hdr));
	hdr.flags = take(&w->in, 1);
	hdr.index = what % 6;
	hdr.start = what & 128 ? take(&w->in, 4) : take(&w->in, 1) % 8;
	hdr.count = what & 64 ? take(&w->in, 4) : take(&w->in, 1) % 80;
	hdr.argsz = what & 32 ? take(&w->in, 2) : 20 + hdr.count * 4;
	ret = irq_set_irqs(w->set, &hdr, copy, get_eventfd, w);
	CHECK(ret >= 0 || ret == -EINVAL || ret == -ENOTTY || ret == -EFAULT || ret == -EBADF ||
	      ret == -EBUSY || ret == -ERANGE || ret == -ENOSPC);
	CHECK(ret <= (int)w->granted);
	CHECK(ret <= 0 || before == irq_active(w->set, NULL));
	if (hdr.index > 4 || hdr.argsz < 20 || (hdr.flags & ~0x3fu))
		CHECK(ret == -EINVAL);
	CHECK(w->mode == irq_active(w->set, NULL));
}

static void step(struct world *w)
{
	uint32_t op = take(&w->in, 1), value = take(&w->in, 1);
	uint64_t one = 1;
	unsigned vectors;

	switch (op % 16) {
	case 0:
		irq_intx_level(w->set, value & 1);
		break;
	case 1:
		irq_intx_disable(w->set, value & 1);
		break;
	case 2:
		irq_set_gate(w->set, value & 1);
		break;
	case 3:
		irq_msi_config(w->set, value & 1, value * 0x01010101u);
		break;
	case 4:
		irq_msix_table_write(w->set, value * 4, take(&w->in, 1));
		irq_msix_table_read(w->set, value * 4);
		break;
	case 5:
		irq_msix_pba_read(w->set, value);
		break;
	case 6:
		irq_reset(w->set);
		break;
	case 7:
		w->d0 = value & 1;
		w->granted = value >> 1;
		break;
	case 8:
		if (value < 16)
			irq_disable_all(w->set);
		break;
	case 9:
		CHECK(write(efd[value % EVENTFDS], &one, sizeof(one)) == sizeof(one));
		break;
	case 10:
		irq_signal_err(w->set);
		irq_signal_req(w->set);
		break;
	case 11:
	case 12:
		irq_raise(w->set, value);
		break;
	case 13:
		irq_msix_resize(w->set, value);
		CHECK(irq_msix_vectors(w->set) == (value < w->counts[2] ? value : w->counts[2]));
		break;
	default:
		set_irqs(w);
	}
	irq_active(w->set, &vectors);
	CHECK(vectors <= VECTORS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct world w = {.in = {data, len}, .d0 = true, .granted = 2048, .mode = -1};
	struct uvfio_error err;
	uint32_t shape = take(&w.in, 1);
	uint64_t value;
	int before;

	if (!loop) {
		loop = uvfio_loop_new("fuzz", &err);
		ctx = loop ? uvfio_ctx_new(loop) : NULL;
		CHECK(ctx);
		for (unsigned i = 0; i < EVENTFDS; i++)
			efd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	before = lowest_free_fd();
	w.counts[0] = shape & 1;
	w.counts[1] = shape & 2 ? 32 : 0;
	w.counts[2] = shape & 4 ? VECTORS : 0;
	w.pcie = shape & 8;
	w.set = irq_set_new(&ops, &w, ctx, w.counts[2], shape & 16);
	CHECK(w.set);
	while (w.in.left)
		step(&w);
	irq_disable_all(w.set);
	/* Nothing is set any more: nothing is signalled. */
	uvfio_ctx_flush(ctx);
	for (unsigned i = 0; i < EVENTFDS; i++)
		CHECK(read(efd[i], &value, sizeof(value)) == sizeof(value) || errno == EAGAIN);
	irq_set_gate(w.set, true);
	for (unsigned i = 0; i < VECTORS; i++)
		irq_raise(w.set, i);
	irq_signal_err(w.set);
	irq_intx_level(w.set, false);
	irq_intx_level(w.set, true);
	for (unsigned i = 0; i < EVENTFDS; i++)
		CHECK(read(efd[i], &value, sizeof(value)) < 0);
	irq_set_free(w.set);
	uvfio_ctx_flush(ctx);
	CHECK(lowest_free_fd() == before);
	return 0;
}
