/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One device writes into another one's memory: two of the test devices (pcitest), of which the
 *first has a DMA engine with a buffer, and the second memory.
 *
 *	peer-to-peer FROM TO       each DDDD:BB:DD.F or unix:PATH, with options behind a space
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uvfio/driver.h>

#define BYTES 4096u

/* Registers of pcitest. */
enum {
	DMA_ADDRESS = 0x20,
	DMA_LENGTH = 0x28,
	DMA_BUFFER = 0x2c,
	DMA_COMMAND = 0x30,
	DMA_STATUS = 0x34,
	TO_ADDRESS = 2,
	BUSY = 1,
	DONE = 2,
};

/* The place of TO's memory among the addresses of FROM. */
struct window {
	struct uvfio_pci *from, *to;
	int fd;           /* of TO's memory */
	uint64_t at;      /* and where it begins in that file */
	volatile void *p; /* where we have it mapped; NULL: nowhere */
	uint64_t iova;
};

static int say(const struct uvfio_error *err)
{
	fprintf(stderr, "%s\n", err->msg);
	return 1;
}

/* The same for all ways: a group takes the address, the others the file. */
static int map(struct window *w)
{
	struct uvfio_error err;

	if (uvfio_pci_dma_map(w->from, (void *)w->p, BYTES, UVFIO_PCI_DMA_RW, w->fd, w->at,
			      &w->iova, &err))
		return say(&err);
	return 0;
}

static int open_both(struct window *w, const char *from, const char *to)
{
	struct uvfio_error err;

	if (uvfio_pci_open(to, NULL, &w->to, &err) || uvfio_pci_enable(w->to, &err) ||
	    uvfio_pci_open(from, NULL, &w->from, &err) || uvfio_pci_enable(w->from, &err) ||
	    uvfio_pci_map_region(w->to, UVFIO_PCI_BAR2, &err))
		return say(&err);
	w->p = uvfio_pci_mapping(w->to, UVFIO_PCI_BAR2, 0, BYTES);
	w->fd = uvfio_pci_region_fd(w->to, UVFIO_PCI_BAR2, 0, BYTES, &w->at, &err);
	/* An older kernel has only addresses. */
	if (w->fd < 0 && !(w->fd == -ENOTTY && w->p))
		return say(&err);
	return map(w);
}

/* Have FROM send what is in its buffer; true when it arrived. */
static bool send_all(const struct window *w)
{
	time_t end = time(NULL) + 60;
	uint32_t status = BUSY;

	uvfio_pci_write64(w->from, UVFIO_PCI_BAR0, DMA_ADDRESS, w->iova);
	uvfio_pci_write32(w->from, UVFIO_PCI_BAR0, DMA_LENGTH, BYTES);
	uvfio_pci_write32(w->from, UVFIO_PCI_BAR0, DMA_BUFFER, 0);
	uvfio_pci_write32(w->from, UVFIO_PCI_BAR0, DMA_COMMAND, TO_ADDRESS);
	while (status == BUSY && time(NULL) < end)
		status = uvfio_pci_read32(w->from, UVFIO_PCI_BAR0, DMA_STATUS);
	return status == DONE;
}

static bool arrives(const struct window *w, char fill)
{
	char sent[BYTES], found[BYTES];

	memset(sent, fill, sizeof(sent));
	uvfio_pci_write(w->from, UVFIO_PCI_BAR2, 0, sent, sizeof(sent));
	if (!send_all(w))
		return false;
	uvfio_pci_read(w->to, UVFIO_PCI_BAR2, 0, found, sizeof(found));
	return !memcmp(sent, found, sizeof(sent));
}

static void set_memory(struct uvfio_pci *dev, bool on)
{
	uint32_t command = 0;

	uvfio_pci_config_read(dev, 4, 2, &command);
	uvfio_pci_config_write(dev, 4, 2, on ? command | 2 : command & ~2u);
}

int main(int argc, char **argv)
{
	struct window w = {.fd = -1};
	int ret;

	if (argc != 3) {
		fprintf(stderr, "usage: peer-to-peer FROM TO\n");
		return 2;
	}
	ret = open_both(&w, argv[1], argv[2]);
	if (!ret) {
		printf("sent: %s\n", arrives(&w, 1) ? "arrived" : "lost");
		/* Memory that is away takes nothing; and by its file it was mapped in vain. */
		set_memory(w.to, false);
		printf("its memory is off: %s\n", send_all(&w) ? "arrived" : "refused");
		uvfio_pci_dma_unmap(w.from, w.iova, BYTES);
		set_memory(w.to, true);
		ret = map(&w);
	}
	if (!ret) {
		bool good = arrives(&w, 2);

		printf("mapped anew: %s\n", good ? "arrived" : "lost");
		ret = !good;
	}
	uvfio_pci_close(w.from);
	uvfio_pci_close(w.to);
	if (w.fd >= 0)
		close(w.fd);
	return ret;
}
