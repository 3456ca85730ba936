/* SPDX-License-Identifier: BSD-3-Clause */
/* The shortest program on uvfio/driver.h: what is this device, and does it do DMA and interrupts?
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <uvfio/driver.h>

int main(int argc, char **argv)
{
	struct uvfio_pci_mem mem;
	struct uvfio_error err;
	struct uvfio_pci *dev;
	uint32_t id;
	int irq = eventfd(0, EFD_CLOEXEC);

	if (argc != 2 || uvfio_pci_open(argv[1], NULL, &dev, &err)) {
		fprintf(stderr, "%s\n", argc == 2 ? err.msg : "usage: drive DEVICE");
		return 1;
	}
	uvfio_pci_config_read(dev, 0, 4, &id);
	printf("%s is %04x:%04x\n", uvfio_pci_name(dev), id & 0xffff, id >> 16);
	for (unsigned i = UVFIO_PCI_BAR0; i <= UVFIO_PCI_BAR5; i++)
		if (uvfio_pci_region_info(dev, i)->size)
			printf("BAR %u: %llu bytes\n", i,
			       (unsigned long long)uvfio_pci_region_info(dev, i)->size);

	/* Memory decode and bus mastering on; a register; memory for the device; a vector. */
	if (uvfio_pci_enable(dev, &err) ||
	    uvfio_pci_dma_alloc(dev, 65536, UVFIO_PCI_DMA_RW, &mem, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	printf("register 8 of BAR 0: %#x\n", uvfio_pci_read32(dev, UVFIO_PCI_BAR0, 8));
	printf("64 KiB for the device at IOVA %#llx\n", (unsigned long long)mem.iova);
	if (uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 1, &irq) == 0)
		printf("vector 0 of %u signals an eventfd\n",
		       uvfio_pci_irq_count(dev, UVFIO_PCI_MSIX, NULL));
	uvfio_pci_close(dev);
	return 0;
}
