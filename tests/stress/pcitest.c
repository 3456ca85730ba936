/* SPDX-License-Identifier: BSD-3-Clause */
/* The test device: from windows to its memory, and back into windows or a sink. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/pcitest/pcitest_spec.h"
#include "stress/stress.h"

struct pcitest_engine {
	bool reads;
	uint32_t len, buffer;
	uint8_t data[WINDOW_BYTES];
};

static int set(struct engine *e, unsigned offset, unsigned size, uint64_t value)
{
	return uvfio_pci_reg_write(e->dev, UVFIO_PCI_BAR0, offset, size, value);
}

static int pcitest_open(struct engine *e, const char *name)
{
	int ret = engine_open_plain(e, name, STRESS_PAGE);

	if (ret)
		return ret;
	e->priv = calloc(1, sizeof(struct pcitest_engine));
	return e->priv ? 0 : -ENOMEM;
}

/* It needs nothing to go on. */
static int pcitest_start(struct engine *e)
{
	return 0;
}

static int pcitest_begin(struct engine *e)
{
	struct pcitest_engine *p = e->priv;
	uint64_t address;

	p->reads = stress_below(&e->seed, 2);
	p->len = engine_length(e);
	p->buffer = stress_below(&e->seed, 8) * WINDOW_BYTES;
	address = engine_target(e, p->len, 0);
	if (!p->reads && !stress_below(&e->seed, 4))
		address = engine_sink_iova(e, 0);
	set(e, PCITEST_DMA_ADDRESS, 8, address);
	set(e, PCITEST_DMA_LENGTH, 4, p->len);
	set(e, PCITEST_DMA_BUFFER, 4, p->buffer);
	return set(e, PCITEST_DMA_COMMAND, 4,
		   (p->reads ? PCITEST_CMD_READ : PCITEST_CMD_WRITE) | PCITEST_CMD_IRQ |
			   PCITEST_CMD_VECTOR(0));
}

static int pcitest_wait(struct engine *e)
{
	uint64_t status;
	int ret;

	for (unsigned n = 0; n < 3000; n++) {
		ret = uvfio_pci_reg_read(e->dev, UVFIO_PCI_BAR0, PCITEST_DMA_STATUS, 4, &status);
		if (ret)
			return ret;
		if (status == PCITEST_DONE)
			e->good++;
		else if (status == PCITEST_FAILED ||
			 (status == PCITEST_IDLE && e == e->stress->peers.owner))
			e->faults++;
		else if (status != PCITEST_BUSY)
			return -EPROTO;
		if (status != PCITEST_BUSY)
			return 0;
		engine_wait_irq(e);
	}
	return -ETIMEDOUT;
}

/* What is left of the command fails. */
static int pcitest_stopped(struct engine *e)
{
	return 0;
}

static void pcitest_look(struct engine *e)
{
	struct pcitest_engine *p = e->priv;

	if (!p->reads)
		return;
	if (uvfio_pci_read(e->dev, PCITEST_BAR_MEMORY, p->buffer, p->data, p->len) !=
	    (ssize_t)p->len)
		stress_bad(e->stress, "%s: its memory cannot be read", e->name);
	else
		engine_delivered(e, p->data, p->len, "its memory");
}

static void pcitest_close(struct engine *e)
{
	uvfio_pci_close(e->dev);
	free(e->priv);
}

const struct engine_ops pcitest_ops = {
	.name = "pcitest",
	.open = pcitest_open,
	.start = pcitest_start,
	.begin = pcitest_begin,
	.wait = pcitest_wait,
	.stopped = pcitest_stopped,
	.look = pcitest_look,
	.close = pcitest_close,
};
