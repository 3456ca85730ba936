/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The MSI-X table and PBA as the device's BAR shows them.
 *
 * The host owns the table: it writes an entry's message when the vector's eventfd is set, and masks
 * it when the eventfd goes.  A client that reaches the table through a mapping can do one thing
 * that counts: mask and unmask its own vectors.  Its messages are kept and shown, and mean nothing.
 * The reset value of vector control is "masked", which holds nothing back by itself: a client that
 * keeps the table to itself (QEMU's vfio-user) never writes it.
 */
#include <linux/pci_regs.h>

#include "irq/irq_private.h"

#define MESSAGE_ADDRESS 0xfee00000u

/* Of the entries whose vectors there are. */
static unsigned dwords(struct irq_set *set)
{
	return 4 * irq_msix_vectors(set);
}

uint32_t irq_msix_table_read(struct irq_set *set, unsigned off)
{
	if (off % 4 || off / 4 >= dwords(set))
		return 0;
	return atomic_load(&set->table[off / 4]);
}

void irq_msix_table_write(struct irq_set *set, unsigned off, uint32_t value)
{
	unsigned vector = off / PCI_MSIX_ENTRY_SIZE;

	if (off % 4 || off / 4 >= dwords(set))
		return;
	if (off % PCI_MSIX_ENTRY_SIZE == PCI_MSIX_ENTRY_LOWER_ADDR)
		value &= ~3u;
	if (off % PCI_MSIX_ENTRY_SIZE != PCI_MSIX_ENTRY_VECTOR_CTRL) {
		atomic_store(&set->table[off / 4], value);
		return;
	}
	value &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
	atomic_store(&set->table[off / 4], value);
	atomic_store(&set->msix.v[vector].masked, value);
	if (!value)
		irq_flush_vector(set, &set->msix, vector);
}

/* Most of a large table is as it is to be: a load costs a tenth of a store. */
static void set_entry(_Atomic uint32_t *entry, uint32_t value)
{
	if (atomic_load(entry) != value)
		atomic_store(entry, value);
}

void irq_table_host(struct irq_set *set, unsigned vector, bool set_up)
{
	_Atomic uint32_t *entry = &set->table[4 * vector];

	if (set_up) {
		set_entry(&entry[PCI_MSIX_ENTRY_LOWER_ADDR / 4], MESSAGE_ADDRESS);
		set_entry(&entry[PCI_MSIX_ENTRY_UPPER_ADDR / 4], 0);
		set_entry(&entry[PCI_MSIX_ENTRY_DATA / 4], vector);
	}
	set_entry(&entry[PCI_MSIX_ENTRY_VECTOR_CTRL / 4], set_up ? 0 : PCI_MSIX_ENTRY_CTRL_MASKBIT);
	if (atomic_load(&set->msix.v[vector].masked))
		atomic_store(&set->msix.v[vector].masked, false);
}

void irq_table_clear(struct irq_set *set, unsigned vector)
{
	_Atomic uint32_t *entry = &set->table[4 * vector];

	set_entry(&entry[PCI_MSIX_ENTRY_LOWER_ADDR / 4], 0);
	set_entry(&entry[PCI_MSIX_ENTRY_UPPER_ADDR / 4], 0);
	set_entry(&entry[PCI_MSIX_ENTRY_DATA / 4], 0);
	irq_table_host(set, vector, false);
}

uint64_t irq_msix_pba_read(struct irq_set *set, unsigned off)
{
	unsigned vectors = irq_msix_vectors(set), first = off * 8;
	uint64_t bits;

	if (off % 8 || first >= vectors)
		return 0;
	bits = atomic_load(&set->msix.pending[off / 8]);
	return vectors - first < 64 ? bits & ((1ull << (vectors - first)) - 1) : bits;
}
