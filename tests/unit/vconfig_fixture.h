/* SPDX-License-Identifier: BSD-3-Clause */
/* A function's config space, as its user has it. */
#ifndef UVFIO_TESTS_VCONFIG_FIXTURE_H
#define UVFIO_TESTS_VCONFIG_FIXTURE_H

#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>

#include "pci/vconfig.h"
#include "pci_util.h"

struct fixture {
	struct pci_func *func;
	struct pci_vconfig *vc;
	/* What a write caused. */
	unsigned intx, withdrawn, returned, flrs, powers;
	bool intx_disabled, mem_at_withdrawal;
	unsigned power;
	/* What SET_IRQS did. */
	bool msi_active;
	unsigned msi_log2;
};

static inline void on_intx(void *arg, bool disabled)
{
	struct fixture *f = arg;

	f->intx++;
	f->intx_disabled = disabled;
}

static inline void on_memory(void *arg, bool enabled)
{
	struct fixture *f = arg;

	if (enabled) {
		f->returned++;
		return;
	}
	f->withdrawn++;
	f->mem_at_withdrawal = pci_memory_enabled(f->func);
}

static inline void on_flr(void *arg)
{
	((struct fixture *)arg)->flrs++;
}

static inline bool msi_active(void *arg, unsigned *log2)
{
	struct fixture *f = arg;

	*log2 = f->msi_log2;
	return f->msi_active;
}

static inline void on_power(void *arg, unsigned state)
{
	struct fixture *f = arg;

	f->powers++;
	f->power = state;
	pci_set_power_state(f->func, state);
}

static const struct pci_vconfig_ops ops = {
	.intx_disable = on_intx,
	.memory = on_memory,
	.flr = on_flr,
	.msi_active = msi_active,
	.power = on_power,
};

#define REAL_BAR0 0xfe000000u
#define REAL_BAR4 0xe0000000u

static inline void start(struct fixture *f, const struct uvfio_pci_desc *desc, unsigned flags)
{
	memset(f, 0, sizeof(*f));
	f->func = make_func(desc, NULL, NULL);
	pci_hw_write(f->func, PCI_BASE_ADDRESS_0, 4, REAL_BAR0);
	pci_hw_write(f->func, PCI_BASE_ADDRESS_1, 4, 0x1);
	pci_hw_write(f->func, PCI_BASE_ADDRESS_2, 4, 0xc000);
	pci_hw_write(f->func, PCI_BASE_ADDRESS_4, 4, REAL_BAR4);
	assert_int_equal(pci_vconfig_new(f->func, flags, &ops, f, &f->vc), 0);
}

static inline void stop(struct fixture *f)
{
	pci_vconfig_free(f->vc);
	pci_func_free(f->func);
}

static inline uint32_t rd(struct fixture *f, unsigned off, unsigned size)
{
	uint32_t value = 0;

	assert_int_equal(pci_vconfig_read(f->vc, off, &value, size), size);
	return value;
}

static inline void wr(struct fixture *f, unsigned off, unsigned size, uint32_t value)
{
	assert_int_equal(pci_vconfig_write(f->vc, off, &value, size), size);
}

static inline unsigned user_cap(struct fixture *f, unsigned id)
{
	unsigned pos = rd(f, PCI_CAPABILITY_LIST, 1);

	for (unsigned n = 0; pos && n < 48; n++) {
		if (rd(f, pos, 1) == id)
			return pos;
		pos = rd(f, pos + 1, 1);
	}
	return 0;
}

static inline unsigned user_ext_cap(struct fixture *f, unsigned id)
{
	unsigned pos = 0x100;

	for (unsigned n = 0; pos && n < 960; n++) {
		uint32_t header = rd(f, pos, 4);

		if (PCI_EXT_CAP_ID(header) == id)
			return pos;
		pos = PCI_EXT_CAP_NEXT(header);
	}
	return 0;
}

#endif
