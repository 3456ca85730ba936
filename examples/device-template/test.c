/* SPDX-License-Identifier: BSD-3-Clause */
/* A unit test of the device: the model and who drives it in one process, under gdb or a sanitizer.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <uvfio/driver.h>
#include <uvfio/machine.h>

#include "mydev.h"

#define CHECK(what) ((what) ? (void)0 : fail(#what, err.msg))

extern const struct uvfio_model uvfio_model; /* of mydev.c */

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "not so: %s\n%s\n", what, why);
	exit(1);
}

int main(void)
{
	struct pollfd irq = {.fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN};
	char name[UVFIO_MACHINE_NAME], device[16];
	struct uvfio_error err = {""};
	struct uvfio_machine *machine;
	struct uvfio_pci_mem mem;
	struct uvfio_pci *dev;
	uint32_t *words;
	int fd;

	CHECK(!uvfio_machine_new(NULL, &machine, &err));
	CHECK(!uvfio_machine_add_model(machine, &uvfio_model, &err));
	CHECK(uvfio_machine_add(machine, "mydev,factor=0", NULL, &err)); /* refused */
	CHECK(!uvfio_machine_add(machine, "mydev,factor=3", name, &err));
	CHECK((fd = uvfio_machine_connect(machine, name, &err)) >= 0);
	snprintf(device, sizeof(device), "fd:%d", fd);
	CHECK(!uvfio_pci_open(device, NULL, &dev, &err));

	CHECK(!uvfio_pci_enable(dev, &err));
	CHECK(!uvfio_pci_dma_alloc(dev, MYDEV_WORDS * 4, UVFIO_PCI_DMA_RW, &mem, &err));
	CHECK(!uvfio_pci_irq_enable(dev, UVFIO_PCI_MSI, 0, 1, &irq.fd));
	words = mem.addr;
	words[MYDEV_WORDS - 1] = 14;
	uvfio_pci_write64(dev, MYDEV_BAR, MYDEV_ADDRESS, mem.iova);
	uvfio_pci_write32(dev, MYDEV_BAR, MYDEV_START, 1);
	CHECK(poll(&irq, 1, 30000) == 1 && uvfio_pci_irq_take(irq.fd) == 1);
	CHECK(uvfio_pci_read32(dev, MYDEV_BAR, MYDEV_STATUS) == 0);
	CHECK(words[MYDEV_WORDS - 1] == 42);

	/* A transfer that fails is told, and a reset leads out of it. */
	CHECK(!uvfio_machine_inject(machine, name, "fault", NULL, 1, 0, &err));
	uvfio_pci_write32(dev, MYDEV_BAR, MYDEV_START, 1);
	CHECK(poll(&irq, 1, 30000) == 1 && uvfio_pci_irq_take(irq.fd) == 1);
	CHECK(uvfio_pci_read32(dev, MYDEV_BAR, MYDEV_STATUS) == 14); /* EFAULT */
	CHECK(!uvfio_pci_reset(dev));
	CHECK(uvfio_pci_read32(dev, MYDEV_BAR, MYDEV_STATUS) == MYDEV_IDLE);

	uvfio_pci_close(dev);
	CHECK(!uvfio_machine_free(machine));
	puts("mydev does what it should");
	return 0;
}
