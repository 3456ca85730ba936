/* SPDX-License-Identifier: BSD-3-Clause */
/* Drives the device: 0 when it did what it should. */
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <uvfio/driver.h>

#include "mydev.h"

static int run(struct uvfio_pci *dev, uint32_t factor)
{
	struct uvfio_pci_mem mem;
	struct uvfio_error err;
	struct pollfd wait = {.fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN};
	uint32_t *words, status;

	if (uvfio_pci_enable(dev, &err) ||
	    uvfio_pci_dma_alloc(dev, MYDEV_WORDS * 4, UVFIO_PCI_DMA_RW, &mem, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	if (uvfio_pci_read32(dev, MYDEV_BAR, MYDEV_ID) != MYDEV_MAGIC) {
		fprintf(stderr, "this is no mydev\n");
		return 1;
	}
	if (wait.fd < 0 || uvfio_pci_irq_enable(dev, UVFIO_PCI_MSI, 0, 1, &wait.fd)) {
		fprintf(stderr, "no interrupt\n");
		return 1;
	}
	words = mem.addr;
	for (uint32_t i = 0; i < MYDEV_WORDS; i++)
		words[i] = i;
	uvfio_pci_write64(dev, MYDEV_BAR, MYDEV_ADDRESS, mem.iova);
	uvfio_pci_write32(dev, MYDEV_BAR, MYDEV_START, 1);
	if (poll(&wait, 1, 30000) != 1) {
		fprintf(stderr, "the interrupt does not come\n");
		return 1;
	}
	status = uvfio_pci_read32(dev, MYDEV_BAR, MYDEV_STATUS);
	if (status) {
		fprintf(stderr, "it failed: error %u\n", status);
		return 1;
	}
	for (uint32_t i = 0; i < MYDEV_WORDS; i++) {
		if (words[i] != i * factor) {
			fprintf(stderr, "word %u is %u\n", i, words[i]);
			return 1;
		}
	}
	printf("%u words times %u\n", MYDEV_WORDS, factor);
	return 0;
}

int main(int argc, char **argv)
{
	struct uvfio_pci *dev;
	struct uvfio_error err;
	int ret;

	if (argc != 2 || uvfio_pci_open(argv[1], NULL, &dev, &err)) {
		fprintf(stderr, "%s\n", argc == 2 ? err.msg : "usage: mydev-driver DEVICE");
		return 1;
	}
	ret = run(dev, uvfio_pci_read32(dev, MYDEV_BAR, MYDEV_FACTOR));
	uvfio_pci_close(dev);
	return ret;
}
