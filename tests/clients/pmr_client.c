/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The persistent memory region of an NVMe controller, as a driver uses it:
 *
 *	pmr_client DEVICE OPTIONS SEED [hold]
 *
 * Enables it, looks whether what SEED - 1 has left is there (SEED 0: zeros), writes what SEED
 *makes, and reads PMRSTS.  Then it is in the file: "saved".  With "hold" it waits for a line, so
 *that it can be killed.  Status 0 when all that was so.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uvfio/driver.h>

enum { BAR = UVFIO_PCI_BAR0, PMR = UVFIO_PCI_BAR4, CAP = 0x00, PMRCTL = 0xe04, PMRSTS = 0xe08 };

#define NRDY (1u << 8)

static int failed(const char *what)
{
	fprintf(stderr, "pmr_client: %s\n", what);
	return 1;
}

static uint64_t word(size_t i, unsigned seed)
{
	return seed ? (i * 0x9e3779b97f4a7c15ull) ^ seed : 0;
}

/* Through the mapping where there is one, else a piece at a time through the device's file. */
static bool each_word(struct uvfio_pci *dev, size_t size, unsigned seed, bool write)
{
	for (size_t at = 0; at < size; at += 8) {
		uint64_t value = word(at, seed);

		if (write)
			uvfio_pci_write64(dev, PMR, at, value);
		else if (uvfio_pci_read64(dev, PMR, at) != value)
			return false;
	}
	return true;
}

/* PMRSTS when NRDY has become @nrdy. */
static uint32_t await_ready(struct uvfio_pci *dev, bool nrdy)
{
	time_t end = time(NULL) + 30;
	uint32_t sts;

	do
		sts = uvfio_pci_read32(dev, BAR, PMRSTS);
	while (!!(sts & NRDY) != nrdy && time(NULL) < end);
	return sts;
}

int main(int argc, char **argv)
{
	struct uvfio_error err = {""};
	struct uvfio_pci *dev;
	unsigned seed;
	size_t size;

	if (argc < 4)
		return 2;
	seed = (unsigned)atoi(argv[3]);
	if (uvfio_pci_open(argv[1], argv[2], &dev, &err) || uvfio_pci_enable(dev, &err) ||
	    uvfio_pci_map_region(dev, BAR, &err) || uvfio_pci_map_region(dev, PMR, &err))
		return failed(err.msg);
	size = uvfio_pci_region_info(dev, PMR)->size;
	if (!(uvfio_pci_read64(dev, BAR, CAP) >> 56 & 1) || !size)
		return failed("there is no PMR");
	uvfio_pci_write32(dev, BAR, PMRCTL, 1);
	if (await_ready(dev, false))
		return failed("it does not become ready");
	if (!each_word(dev, size, seed ? seed - 1 : 0, false))
		return failed("its contents are not what was left there");
	each_word(dev, size, seed, true);
	if (uvfio_pci_read32(dev, BAR, PMRSTS))
		return failed("PMRSTS says that something went wrong");
	printf("saved\n");
	fflush(stdout);
	if (argc > 4)
		return getchar() == EOF;
	/* A reset disables it; what is written then is not kept. */
	if (uvfio_pci_reset(dev) || uvfio_pci_read32(dev, BAR, PMRCTL))
		return failed("a reset has left it enabled");
	uvfio_pci_write64(dev, PMR, 0, ~0ull);
	uvfio_pci_write32(dev, BAR, PMRCTL, 1);
	if (await_ready(dev, false) || !each_word(dev, size, seed, false))
		return failed("after a reset its contents are not what they were");
	uvfio_pci_write32(dev, BAR, PMRCTL, 0);
	if (await_ready(dev, true) != NRDY)
		return failed("it does not become disabled");
	uvfio_pci_close(dev);
	return 0;
}
