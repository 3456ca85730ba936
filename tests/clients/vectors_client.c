/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile user of a VF whose vectors its PF takes away (B), over whichever way both are reached:
 *
 *	vectors_client KIND PF VF        names of uvfio_pci_open(), TAP
 *
 * KIND is "group", "cdev" or "vfio-user".  Both are pcitest's.  The user writes everything it likes
 * into the page of the table, by every way and in every width, and sets up whatever it is let; the
 *PF has the VF raise all vectors that there ever were.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "devices/pcitest/pcitest_spec.h"

#define TOKEN   "6f1b0f2e-64d5-4f3e-8d59-9c4a2f5a9d10"
#define VECTORS 8u
#define PAGE    4096u
#define CONTROL 12u

static struct uvfio_pci *pf, *vf;
static int efd[VECTORS];
static unsigned tests, failures;

static void ok(bool good, const char *what)
{
	tests++;
	failures += !good;
	printf("%s %u - %s\n", good ? "ok" : "not ok", tests, what);
	fflush(stdout);
}

static struct uvfio_pci *open_one(const char *name, const char *options)
{
	struct uvfio_error err = {""};
	struct uvfio_pci *dev;

	if (uvfio_pci_open(name, options, &dev, &err)) {
		printf("Bail out! %s: %s\n", name, err.msg);
		exit(1);
	}
	if (uvfio_pci_map_region(dev, UVFIO_PCI_BAR0, &err) || uvfio_pci_enable(dev, &err)) {
		printf("Bail out! %s: %s\n", name, err.msg);
		exit(1);
	}
	return dev;
}

/* The PF does something to its VF: 0 or an errno.  By the kernel or the server, since a store to a
 * mapped page may be found later. */
static unsigned command(unsigned what, unsigned arg)
{
	uint32_t value = 0, status = UINT32_MAX;

	uvfio_pci_write(pf, UVFIO_PCI_BAR0, PCITEST_VF_SELECT, &value, sizeof(value));
	value = what | PCITEST_VF_ARG(arg);
	uvfio_pci_write(pf, UVFIO_PCI_BAR0, PCITEST_VF_COMMAND, &value, sizeof(value));
	uvfio_pci_read(pf, UVFIO_PCI_BAR0, PCITEST_VF_STATUS, &status, sizeof(status));
	return status;
}

/* Which of all vectors, raised once each, were signalled: a bit each; 1 << 31 when one was twice.
 */
static unsigned raised(void)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < VECTORS; i++)
		uvfio_pci_irq_take(efd[i]);
	for (unsigned i = 0; i < VECTORS; i++)
		command(PCITEST_VF_RAISE, i);
	for (unsigned i = 0; i < VECTORS; i++) {
		int64_t n = uvfio_pci_irq_take(efd[i]);

		seen |= n > 1 ? 1u << 31 : n == 1 ? 1u << i : 0;
	}
	return seen;
}

static unsigned pending(void)
{
	uint64_t bits = UINT64_MAX;

	uvfio_pci_read(vf, UVFIO_PCI_BAR0, PCITEST_MSIX_PBA, &bits, sizeof(bits));
	return (unsigned)bits;
}

static unsigned table_size(void)
{
	unsigned cap = uvfio_pci_find_cap(vf, PCI_CAP_ID_MSIX, 0);
	uint32_t flags = 0;

	if (!cap || uvfio_pci_config_read(vf, cap + PCI_MSIX_FLAGS, 2, &flags))
		return 0;
	return (flags & PCI_MSIX_FLAGS_QSIZE) + 1;
}

/* ---- what the user does to the page ---- */

static void store(volatile uint8_t *p, unsigned width, uint64_t value)
{
	switch (width) {
	case 1:
		*p = (uint8_t)value;
		break;
	case 2:
		*(volatile uint16_t *)p = (uint16_t)value;
		break;
	case 4:
		*(volatile uint32_t *)p = (uint32_t)value;
		break;
	default:
		*(volatile uint64_t *)p = value;
	}
}

/* @value everywhere from entry @first on, in units of @width. */
static void scribble(unsigned first, unsigned width, uint64_t value)
{
	volatile uint8_t *page = uvfio_pci_mapping(vf, UVFIO_PCI_BAR0, PCITEST_MSIX_TABLE, PAGE);

	for (unsigned off = first * 16; off < PAGE; off += width) {
		if (page)
			store(page + off, width, value);
		uvfio_pci_write(vf, UVFIO_PCI_BAR0, PCITEST_MSIX_TABLE + off, &value, width);
	}
}

/* Entries from @first on look usable, then not, then usable. */
static void write_page(unsigned first)
{
	uint8_t whole[PAGE];

	for (unsigned width = 1; width <= 8; width *= 2) {
		scribble(first, width, UINT64_MAX);
		scribble(first, width, 0);
	}
	for (unsigned i = 0; i < PAGE; i += 4)
		memcpy(whole + i, &(uint32_t){i % 16 == CONTROL ? 0 : 0xfee00000 | i}, 4);
	uvfio_pci_write(vf, UVFIO_PCI_BAR0, PCITEST_MSIX_TABLE + first * 16, whole + first * 16,
			PAGE - first * 16);
}

/* ---- what holds ---- */

/* There are @n vectors, and nothing behind them. */
static void holds(unsigned n, const char *when)
{
	unsigned there = (1u << n) - 1, missing = 0;
	char what[128];

	snprintf(what, sizeof(what), "%u vectors, %s: these are raised", n, when);
	ok(raised() == there, what);
	snprintf(what, sizeof(what), "%u vectors, %s: nothing is pending", n, when);
	ok(pending() == 0, what);
	for (unsigned i = n; i < VECTORS; i++)
		missing += uvfio_pci_irq_enable(vf, UVFIO_PCI_MSIX, i, 1, &efd[i]) != -EINVAL;
	missing +=
		n < VECTORS && uvfio_pci_irq_enable(vf, UVFIO_PCI_MSIX, 0, VECTORS, efd) != -EINVAL;
	snprintf(what, sizeof(what), "%u vectors, %s: others cannot be set up", n, when);
	ok(!missing, what);
	snprintf(what, sizeof(what), "%u vectors, %s: Table Size", n, when);
	ok(table_size() == n, what);
}

static void attack(unsigned n)
{
	ok(command(PCITEST_VF_VECTORS, n) == 0, "the PF takes vectors");
	holds(n, "taken");
	write_page(n);
	holds(n, "the rest of the page written");
	write_page(0);
	/* Its own may be masked by that, and have got pending; they are as they were with a new
	 * eventfd. */
	ok(uvfio_pci_irq_enable(vf, UVFIO_PCI_MSIX, 0, n, efd) == 0, "its own set up anew");
	holds(n, "all of the page written");
	ok(uvfio_pci_reset(vf) == 0, "reset");
	write_page(n);
	holds(n, "reset, and written");
}

int main(int argc, char **argv)
{
	char options[100];
	bool user;

	if (argc != 4) {
		fprintf(stderr, "usage: vectors_client group|cdev|vfio-user PF VF\n");
		return 2;
	}
	user = !strcmp(argv[1], "vfio-user");
	snprintf(options, sizeof(options), "via=%s,vf_token=" TOKEN, argv[1]);
	pf = open_one(argv[2], user ? NULL : options);
	ok(command(PCITEST_VF_VECTORS, VECTORS) == 0, "the PF gives all");
	vf = open_one(argv[3], user ? NULL : options);
	for (unsigned i = 0; i < VECTORS; i++)
		efd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ok(uvfio_pci_irq_enable(vf, UVFIO_PCI_MSIX, 0, VECTORS, efd) == 0, "all are set up");
	holds(VECTORS, "given");
	attack(5);
	attack(1);
	/* What comes back is new: nothing of what was written, no eventfd. */
	ok(command(PCITEST_VF_VECTORS, VECTORS) == 0, "the PF gives all again");
	ok(raised() == 1, "those that come back have no eventfds");
	ok(pending() == 0xfe, "and are pending, as they exist");
	ok(uvfio_pci_irq_enable(vf, UVFIO_PCI_MSIX, 0, VECTORS, efd) == 0, "all are set up again");
	holds(VECTORS, "given again");
	ok(command(PCITEST_VF_VECTORS, 0) == 0, "the PF takes all");
	write_page(0);
	ok(raised() == 0 && pending() == 0, "nothing is left");
	ok(uvfio_pci_irq_enable(vf, UVFIO_PCI_MSIX, 0, 1, efd) == -EINVAL, "nothing can be set up");
	uvfio_pci_close(vf);
	uvfio_pci_close(pf);
	printf("1..%u\n", tests);
	return failures != 0;
}
