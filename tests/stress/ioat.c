/* SPDX-License-Identifier: BSD-3-Clause */
/* The copy engine: chains of copies and fills between windows, sinks and source. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/ioat/ioat_spec.h"
#include "stress/stress.h"

#define RING          64u
#define CHANNEL       IOAT_CHANNEL(0)
#define COMPLETION_AT STRESS_PAGE

struct ioat {
	struct ioat_desc *ring;
	uint16_t count;           /* descriptors of the chain */
	unsigned nr;              /* of the batch */
	uint32_t sunk[MAX_BATCH]; /* bytes that the descriptor puts into sink n; 0: none */
};

static uint64_t reg(struct engine *e, unsigned offset, unsigned size)
{
	uint64_t value = 0;

	uvfio_pci_reg_read(e->dev, UVFIO_PCI_BAR0, offset, size, &value);
	return value;
}

static int set(struct engine *e, unsigned offset, unsigned size, uint64_t value)
{
	return uvfio_pci_reg_write(e->dev, UVFIO_PCI_BAR0, offset, size, value);
}

static int ioat_open(struct engine *e, const char *name)
{
	struct ioat *i;
	int ret = engine_open_plain(e, name, 2 * STRESS_PAGE);

	if (ret)
		return ret;
	i = e->priv = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->ring = e->ring.addr;
	for (unsigned n = 0; n < RING; n++)
		i->ring[n].next = e->ring.iova + (n + 1) % RING * sizeof(*i->ring);
	return 0;
}

static int ioat_start(struct engine *e)
{
	struct ioat *i = e->priv;

	set(e, CHANNEL + IOAT_CHANCMD, 1, IOAT_CHANCMD_RESET);
	for (unsigned n = 0; reg(e, CHANNEL + IOAT_CHANCMD, 1) & IOAT_CHANCMD_RESET; n++) {
		if (n == 3000)
			return -ETIMEDOUT;
		engine_wait_irq(e);
		engine_recover(e);
	}
	i->count = 0;
	set(e, CHANNEL + IOAT_CHANERR, 4, reg(e, CHANNEL + IOAT_CHANERR, 4));
	set(e, CHANNEL + IOAT_CHANCMP, 8, e->ring.iova + COMPLETION_AT);
	set(e, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER | IOAT_INTRCTRL_VECTORS);
	return set(e, CHANNEL + IOAT_CHAINADDR, 8, e->ring.iova);
}

static int ioat_begin(struct engine *e)
{
	struct ioat *i = e->priv;

	i->nr = 1 + stress_below(&e->seed, MAX_BATCH);
	for (unsigned n = 0; n < i->nr; n++) {
		struct ioat_desc *d = &i->ring[(i->count + n) % RING];
		uint32_t len = engine_length(e);

		i->sunk[n] = 0;
		d->size = len;
		d->control = 0;
		d->src = engine_target(e, len, 0);
		d->dst = engine_target(e, len, 0);
		switch (stress_below(&e->seed, 8)) {
		case 0 ... 3:
			d->dst = engine_sink_iova(e, n);
			i->sunk[n] = len;
			memset(engine_sink(e, n), 0, len);
			break;
		case 4:
			d->src = e->source.iova;
			break;
		case 5:
			d->control = IOAT_OP_FILL << 24;
			memset(&d->src, BYTE_DEVICE, sizeof(d->src));
			break;
		default:
			break;
		}
	}
	i->ring[(i->count + i->nr - 1) % RING].control |= IOAT_DESC_INT | IOAT_DESC_COMPLETE;
	i->count = (uint16_t)(i->count + i->nr);
	set(e, CHANNEL + IOAT_CHANCTRL, 2,
	    IOAT_CHANCTRL_INT_DISABLE | IOAT_CHANCTRL_ERR_COMPLETE | IOAT_CHANCTRL_ERR_INT);
	return set(e, CHANNEL + IOAT_DMACOUNT, 2, i->count);
}

static int ioat_wait(struct engine *e)
{
	struct ioat *i = e->priv;

	for (unsigned n = 0; n < 3000; n++) {
		switch (reg(e, CHANNEL + IOAT_CHANSTS, 8) & 7) {
		case IOAT_IDLE:
			e->good += i->nr;
			return 0;
		case IOAT_HALTED:
			e->faults++;
			return 1;
		default:
			engine_wait_irq(e);
			engine_recover(e);
		}
	}
	return -ETIMEDOUT;
}

static int ioat_stopped(struct engine *e)
{
	return 0; /* it goes on */
}

static void ioat_look(struct engine *e)
{
	const struct ioat *i = e->priv;

	for (unsigned n = 0; n < i->nr; n++)
		engine_delivered(e, engine_sink(e, n), i->sunk[n], "a copy");
}

static void ioat_close(struct engine *e)
{
	uvfio_pci_close(e->dev);
	free(e->priv);
}

const struct engine_ops ioat_ops = {
	.name = "ioat",
	.open = ioat_open,
	.start = ioat_start,
	.begin = ioat_begin,
	.wait = ioat_wait,
	.stopped = ioat_stopped,
	.look = ioat_look,
	.close = ioat_close,
};
