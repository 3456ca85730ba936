/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device of one's own, to start from: it reads words from memory, multiplies them, writes them
 * back, and raises an interrupt.  docs/writing-a-device.md goes through it step by step.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <uvfio/device.h>

#include "mydev.h"

/* What the device does next; the work context's. */
enum phase { IDLE, READ, MULTIPLY, WRITE };

struct mydev {
	struct uvfio_device *dev;
	uint32_t first_factor; /* after a reset */

	pthread_mutex_t lock;
	/* Under the lock, because ->reg_write() and the work context meet here: */
	uint32_t factor;
	uint64_t address;
	bool start;

	/* The work context's: */
	enum phase phase;
	bool in_flight; /* ->op is with the core */
	bool stopped, quiescing;
	uint32_t now_factor;
	uint64_t now_address;
	uint32_t words[MYDEV_WORDS];
	struct uvfio_dma op;
};

/* What the PCI function is. */
static int describe(struct mydev *d, struct uvfio_error *err)
{
	static const struct uvfio_area areas[] = {
		{0, MYDEV_END, UVFIO_AREA_REGISTERS, 0},
	};
	const struct uvfio_pci_desc desc = {
		.vendor = MYDEV_VENDOR,
		.device = MYDEV_DEVICE,
		.class_code = 0xff0000,
		.interrupt_pin = 1,
		.bars[MYDEV_BAR] = {4096, UVFIO_BAR_MEM32, areas, 1},
		.msi_vectors = 1,
		.pcie = true,
		.flr = true,
		.pm = true,
	};

	return uvfio_device_init(d->dev, &desc, err);
}

static const struct uvfio_key keys[] = {
	{.name = "factor",
	 .arg = "N",
	 .help = "multiply by this after a reset, 1 to 1000; default 2"},
};

static void destroy(void *priv)
{
	struct mydev *d = priv;

	pthread_mutex_destroy(&d->lock);
	free(d);
}

static int create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		  struct uvfio_error *err)
{
	struct mydev *d = calloc(1, sizeof(*d));
	uint64_t factor = 2;
	int ret;

	if (!d)
		return uvfio_error_set(err, -ENOMEM, "mydev: out of memory");
	pthread_mutex_init(&d->lock, NULL);
	d->dev = dev;
	ret = uvfio_arg_uint(args, "factor", 1, 1000, &factor, err);
	if (!ret)
		ret = describe(d, err);
	if (ret) {
		destroy(d);
		return ret;
	}
	d->first_factor = (uint32_t)factor;
	*priv = d;
	return 0;
}

/* In the thread of whoever writes: record, publish, kick. */
static void reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct mydev *d = priv;

	(void)bar;
	pthread_mutex_lock(&d->lock);
	if (offset == MYDEV_FACTOR && size == 4) {
		d->factor = (uint32_t)value;
		uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_FACTOR, 4, d->factor);
	} else if (offset == MYDEV_ADDRESS && size == 8) {
		d->address = value;
		uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_ADDRESS, 8, d->address);
	} else if (offset == MYDEV_START && !d->start) {
		d->start = true;
		uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_STATUS, 4, MYDEV_BUSY);
		uvfio_kick(d->dev);
	}
	pthread_mutex_unlock(&d->lock);
}

static void end(struct mydev *d, int result)
{
	d->phase = IDLE;
	pthread_mutex_lock(&d->lock);
	d->start = false;
	uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_STATUS, 4, (uint32_t)-result);
	pthread_mutex_unlock(&d->lock);
	/* After the status: who is woken by it reads the status. */
	if (uvfio_irq_is_message(d->dev))
		uvfio_irq_raise(d->dev, 0);
}

static void done(struct uvfio_dma *op)
{
	struct mydev *d = (struct mydev *)((char *)op - offsetof(struct mydev, op));

	if (op->status)
		end(d, op->status);
	else if (d->phase == READ)
		d->phase = MULTIPLY;
	else
		end(d, 0);
	d->in_flight = false;
	if (d->quiescing) {
		d->quiescing = false;
		uvfio_quiesced(d->dev);
	}
	uvfio_kick(d->dev);
}

/* Start a transfer.  It may be complete at once, or go on: then done() is called. */
static void transfer(struct mydev *d, enum phase phase)
{
	int ret;

	d->phase = phase;
	d->op = (struct uvfio_dma){
		.iova = d->now_address,
		.buf = d->words,
		.len = sizeof(d->words),
		.to_client = phase == WRITE,
		.done = done,
	};
	ret = d->stopped ? -EPERM : uvfio_dma_submit(d->dev, &d->op);
	if (ret == 1) {
		d->in_flight = true;
		return;
	}
	d->op.status = ret;
	done(&d->op);
}

static bool work(void *priv)
{
	struct mydev *d = priv;
	bool start;

	if (d->in_flight)
		return false;
	if (d->phase == IDLE) {
		pthread_mutex_lock(&d->lock);
		start = d->start;
		d->now_factor = d->factor;
		d->now_address = d->address;
		pthread_mutex_unlock(&d->lock);
		if (start)
			transfer(d, READ);
	} else if (d->phase == MULTIPLY) {
		for (unsigned i = 0; i < MYDEV_WORDS; i++)
			d->words[i] *= d->now_factor;
		transfer(d, WRITE);
	}
	return false; /* done() has kicked, or will */
}

static void quiesce(void *priv)
{
	struct mydev *d = priv;

	d->stopped = true;
	if (d->in_flight)
		d->quiescing = true;
	else
		uvfio_quiesced(d->dev);
}

static void resume(void *priv)
{
	struct mydev *d = priv;

	d->stopped = false;
	uvfio_kick(d->dev);
}

static void reset(void *priv, enum uvfio_reset_kind kind)
{
	struct mydev *d = priv;

	(void)kind;
	d->stopped = d->quiescing = false;
	d->phase = IDLE;
	pthread_mutex_lock(&d->lock);
	d->start = false;
	d->factor = d->first_factor;
	d->address = 0;
	uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_ID, 4, MYDEV_MAGIC);
	uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_FACTOR, 4, d->factor);
	uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_ADDRESS, 8, 0);
	uvfio_reg_set(d->dev, MYDEV_BAR, MYDEV_STATUS, 4, MYDEV_IDLE);
	pthread_mutex_unlock(&d->lock);
}

UVFIO_EXPORT_MODEL = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "mydev",
	.summary = "multiplies words in memory: a template",
	.keys = keys,
	.nr_keys = sizeof(keys) / sizeof(keys[0]),
	.create = create,
	.destroy = destroy,
	.reg_write = reg_write,
	.work = work,
	.quiesce = quiesce,
	.resume = resume,
	.reset = reset,
};
