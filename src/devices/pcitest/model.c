/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The test device as a device model: its options, the PCI function that it is, its life.
 *
 * It has one of everything, and does nothing useful: what a client can see of a PCI function can be
 * seen here.  It is also the model to read first.
 *
 * BAR 0:    0x0000  registers     0x2000  MSI-X table
 *           0x1000  doorbells     0x3000  MSI-X pending bits
 * BAR 1:    I/O ports, a pad
 * BAR 2/3:  memory, and the buffer of the DMA engine
 * BAR 4:    a pad, smaller than a page
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <uvfio/migration.h>

#include "devices/pcitest/pcitest.h"
#include "devices/pcitest/pcitest_model.h"

#define N(array)    (sizeof(array) / sizeof((array)[0]))

#define MAX_VECTORS 256u
#define MIN_MEMORY  4096u
#define MAX_MEMORY  (1ull << 30)

static const struct uvfio_key keys[] = {
	{"interrupts", "KIND", "all, msix, msi, intx or none; default all: MSI-X, MSI and INTx"},
	{"vectors", "N", "of MSI-X, 1 to 256, and of MSI, as far as possible; default 8"},
	{"memory", "SIZE", "of BAR 2, a power of 2, 4K to 1G; default 1M"},
	{"reset", "KIND",
	 "all, flr, af, pm or none: how it can be reset alone; default all (flr, af and pm)"},
	{"pcie", "on|off", "off: conventional PCI, with 256 bytes of config space; default on"},
	{"vendor", "ID", "PCI vendor, to be bound by some driver; default 0x1234"},
	{"device", "ID", "PCI device, likewise; default 0x5054"},
	{"vfs", "N", "virtual functions that it can have (SR-IOV), 0 to 4095; default 0: none"},
	{"vf-memory", "SIZE", "of BAR 2 of a VF, a power of 2, 4K to 1G; default 64K"},
	{"vf-resize", "SIZE",
	 "up to which BAR 2 of the VFs can be resized, from a vf-memory of 1M or more; default 0: "
	 "it cannot"},
	{"vf-vectors", "N", "of MSI-X that a VF has, at most, 1 to 256; default 4"},
	{"vf-pool", "N", "of MSI-X for all VFs together, up to 65535; default 0: no pool"},
	{"vf-min-vectors", "N", "of the pool that a VF must have; default 0"},
	{"quiet-mmio", "on|off",
	 "on: its BARs must be left alone while it does not run: no p2p, and no device does DMA to "
	 "them; default off"},
};

struct options {
	uint64_t vectors, memory, vendor, device;
	bool pcie;
	const char *interrupts, *reset;
	bool quiet_mmio;
	struct pcitest_vfs vfs;
};

static bool is_one_of(const char *value, const char *const *valid, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		if (!strcmp(value, valid[i]))
			return true;
	}
	return false;
}

static int check_memory(const struct uvfio_args *args, const char *key, uint64_t value,
			struct uvfio_error *err)
{
	if (value >= MIN_MEMORY && value <= MAX_MEMORY && !(value & (value - 1)))
		return 0;
	return uvfio_error_set(err, -EINVAL, "%s=%s: must be a power of 2 from 4K to 1G", key,
			       uvfio_arg(args, key));
}

static int parse_vfs(struct pcitest_vfs *o, const struct uvfio_args *args, struct uvfio_error *err)
{
	int ret = uvfio_arg_uint(args, "vfs", 0, 4095, &o->total, err);

	if (!ret)
		ret = uvfio_arg_size(args, "vf-memory", &o->memory, err);
	if (!ret)
		ret = check_memory(args, "vf-memory", o->memory, err);
	if (!ret)
		ret = uvfio_arg_size(args, "vf-resize", &o->resize, err);
	if (!ret && o->resize)
		ret = check_memory(args, "vf-resize", o->resize, err);
	if (!ret && o->resize && (o->memory < 1 << 20 || o->resize < o->memory))
		return uvfio_error_set(err, -EINVAL,
				       "vf-resize=%s: needs a vf-memory of 1M or more, and no more "
				       "than that size",
				       uvfio_arg(args, "vf-resize"));
	if (!ret)
		ret = uvfio_arg_uint(args, "vf-vectors", 1, MAX_VECTORS, &o->vectors, err);
	if (!ret)
		ret = uvfio_arg_uint(args, "vf-pool", 0, 65535, &o->pool, err);
	if (!ret)
		ret = uvfio_arg_uint(args, "vf-min-vectors", 0, o->vectors, &o->min, err);
	return ret;
}

static int parse(struct options *o, const struct uvfio_args *args, struct uvfio_error *err)
{
	static const char *const kinds[] = {"all", "msix", "msi", "intx", "none"};
	static const char *const resets[] = {"all", "flr", "af", "pm", "none"};
	int ret;

	ret = uvfio_arg_uint(args, "vectors", 1, MAX_VECTORS, &o->vectors, err);
	if (!ret)
		ret = uvfio_arg_size(args, "memory", &o->memory, err);
	if (!ret)
		ret = uvfio_arg_bool(args, "pcie", &o->pcie, err);
	if (!ret)
		ret = uvfio_arg_uint(args, "vendor", 0, 0xfffe, &o->vendor, err);
	if (!ret)
		ret = uvfio_arg_uint(args, "device", 0, 0xfffe, &o->device, err);
	if (!ret)
		ret = check_memory(args, "memory", o->memory, err);
	if (!ret)
		ret = parse_vfs(&o->vfs, args, err);
	if (!ret)
		ret = uvfio_arg_bool(args, "quiet-mmio", &o->quiet_mmio, err);
	if (ret)
		return ret;
	if (uvfio_arg(args, "interrupts"))
		o->interrupts = uvfio_arg(args, "interrupts");
	if (!is_one_of(o->interrupts, kinds, N(kinds)))
		return uvfio_error_set(err, -EINVAL,
				       "interrupts=%s: must be all, msix, msi, intx or none",
				       o->interrupts);
	if (uvfio_arg(args, "reset"))
		o->reset = uvfio_arg(args, "reset");
	if (!is_one_of(o->reset, resets, N(resets)))
		return uvfio_error_set(err, -EINVAL, "reset=%s: must be all, flr, af, pm or none",
				       o->reset);
	if (!o->pcie && !strcmp(o->reset, "flr"))
		return uvfio_error_set(
			err, -EINVAL,
			"reset=flr needs PCI Express; give reset=af, or not pcie=off");
	if (!o->pcie && o->vfs.total)
		return uvfio_error_set(err, -EINVAL,
				       "vfs=%s needs PCI Express; give it without pcie=off",
				       uvfio_arg(args, "vfs"));
	return 0;
}

/* @kind is @wanted, or all are wanted. */
static bool has(const char *wanted, const char *kind)
{
	return !strcmp(wanted, "all") || !strcmp(wanted, kind);
}

static void add_interrupts(struct pcitest *p, const struct options *o, struct uvfio_pci_desc *desc)
{
	unsigned vectors = (unsigned)o->vectors, messages = 1;

	if (strcmp(o->interrupts, "none") != 0)
		desc->interrupt_pin = 1;
	if (has(o->interrupts, "msix"))
		desc->msix_vectors = p->nr_vectors = vectors;
	if (!has(o->interrupts, "msi"))
		return;
	while (2 * messages <= vectors && messages < 32)
		messages *= 2;
	desc->msi_vectors = messages;
	if (p->nr_vectors < messages)
		p->nr_vectors = messages;
}

static int describe(struct pcitest *p, const struct options *o, struct uvfio_error *err)
{
	/* An access is inside one area, so a register that has one of its own is written alone. */
	const unsigned poll = UVFIO_AREA_POLLABLE, poll_zero = poll | UVFIO_AREA_POLL_ZERO;
	const struct uvfio_area regs[] = {
		{0, PCITEST_IRQ, UVFIO_AREA_REGISTERS, poll},
		{PCITEST_IRQ, 4, UVFIO_AREA_REGISTERS, poll_zero},
		{PCITEST_INTX, PCITEST_DMA_COMMAND - PCITEST_INTX, UVFIO_AREA_REGISTERS, poll},
		{PCITEST_DMA_COMMAND, 4, UVFIO_AREA_REGISTERS, poll_zero},
		{PCITEST_DMA_STATUS, PCITEST_PME - PCITEST_DMA_STATUS, UVFIO_AREA_REGISTERS, poll},
		{PCITEST_PME, 4, UVFIO_AREA_REGISTERS, poll_zero},
		{PCITEST_FAIL, PCITEST_VF_COMMAND - PCITEST_FAIL, UVFIO_AREA_REGISTERS, poll},
		{PCITEST_VF_COMMAND, 4, UVFIO_AREA_REGISTERS, poll_zero},
		{PCITEST_VF_STATUS, PCITEST_COUNTS_END - PCITEST_VF_STATUS, UVFIO_AREA_REGISTERS,
		 poll},
		{PCITEST_DOORBELLS, 4 * PCITEST_NR_DOORBELLS, UVFIO_AREA_DOORBELLS, 0},
	};
	const struct uvfio_area io[] = {
		{0, PCITEST_IO_SIZE, UVFIO_AREA_REGISTERS, UVFIO_AREA_READ_EVENT},
	};
	const struct uvfio_area small[] = {
		{0, PCITEST_SMALL_SIZE, UVFIO_AREA_REGISTERS, UVFIO_AREA_READ_EVENT},
	};
	const struct uvfio_area memory[] = {{0, o->memory, UVFIO_AREA_MEMORY, 0}};
	uint8_t vpd[PCITEST_VPD_BYTES], rom[PCITEST_ROM_BYTES];
	struct pcitest_vf_room room;
	struct uvfio_pci_desc desc = {
		.vendor = (uint16_t)o->vendor,
		.device = (uint16_t)o->device,
		.subsystem_vendor = (uint16_t)o->vendor,
		.subsystem_device = (uint16_t)o->device,
		.class_code = PCITEST_CLASS,
		.revision = PCITEST_REVISION,
		.bars[PCITEST_BAR_REGS] = {PCITEST_REGS_SIZE, UVFIO_BAR_MEM32, regs, N(regs)},
		.bars[PCITEST_BAR_IO] = {PCITEST_IO_SIZE, UVFIO_BAR_IO, io, N(io)},
		.bars[PCITEST_BAR_MEMORY] = {o->memory, UVFIO_BAR_MEM64 | UVFIO_BAR_PREFETCH,
					     memory, N(memory)},
		.bars[PCITEST_BAR_SMALL] = {PCITEST_SMALL_SIZE, UVFIO_BAR_MEM32, small, N(small)},
		.rom_size = PCITEST_ROM_SIZE,
		.rom = rom,
		.rom_len = sizeof(rom),
		.msi_masking = true,
		.msix_bar = PCITEST_BAR_REGS,
		.msix_table = PCITEST_MSIX_TABLE,
		.msix_pba = PCITEST_MSIX_PBA,
		.pcie = o->pcie,
		.flr = o->pcie && has(o->reset, "flr"),
		.af = has(o->reset, "af"),
		.pm = true,
		.pm_states = UVFIO_PM_D1 | UVFIO_PM_D2,
		.no_soft_reset = !has(o->reset, "pm"),
		.serial = o->pcie ? 0x5054000012340001ull : 0,
		.vpd = vpd,
		.vpd_len = sizeof(vpd),
		.vpd_rw = PCITEST_VPD_RW,
	};
	unsigned nr_standard, nr_caps = pcitest_caps(&desc.caps, &nr_standard);

	if (o->quiet_mmio)
		uvfio_migration_can(p->dev, UVFIO_MIGRATE_PRE_COPY | UVFIO_MIGRATE_QUIET_MMIO);
	pcitest_vpd(vpd);
	pcitest_rom(rom, desc.vendor, desc.device);
	desc.nr_caps = o->pcie ? nr_caps : nr_standard;
	add_interrupts(p, o, &desc);
	if (o->vfs.total)
		pcitest_vfs_describe(&o->vfs, &desc, &room);
	return uvfio_device_init(p->dev, &desc, err);
}

static void destroy(void *priv)
{
	struct pcitest *p = priv;

	if (p->pf)
		pcitest_vf_gone(p);
	pcitest_forget(p);
	uvfio_timer_free(p->pme_timer);
	pthread_mutex_destroy(&p->lock);
	free(p->vfs);
	free(p);
}

struct pcitest *pcitest_new(struct uvfio_device *dev)
{
	struct pcitest *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	p->dev = dev;
	p->pme_timer = uvfio_timer_new(dev, pcitest_pme, p);
	if (p->pme_timer)
		return p;
	destroy(p);
	return NULL;
}

static int create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		  struct uvfio_error *err)
{
	struct options o = {
		.vectors = 8,
		.memory = 1 << 20,
		.vendor = PCITEST_VENDOR,
		.device = PCITEST_DEVICE,
		.pcie = true,
		.interrupts = "all",
		.reset = "all",
		.vfs = {.vectors = 4, .memory = 65536},
	};
	struct pcitest *p;
	int ret = parse(&o, args, err);

	if (ret)
		return ret;
	p = pcitest_new(dev);
	if (!p)
		return uvfio_error_set(err, -ENOMEM, "pcitest: out of memory");
	p->memory_size = o.memory;
	p->pads = true;
	p->total_vfs = (unsigned)o.vfs.total;
	p->vf_memory = o.vfs.memory;
	if (p->total_vfs)
		p->vfs = calloc(p->total_vfs, sizeof(struct pcitest *));
	ret = p->total_vfs && !p->vfs ? uvfio_error_set(err, -ENOMEM, "pcitest: out of memory")
				      : describe(p, &o, err);
	if (ret) {
		destroy(p);
		return ret;
	}
	p->memory = uvfio_bar_memory(dev, PCITEST_BAR_MEMORY, 0);
	*priv = p;
	return 0;
}

static void reset(void *priv, enum uvfio_reset_kind kind)
{
	struct pcitest *p = priv;

	pcitest_engine_reset(p);
	pcitest_regs_reset(p);
}

static void stats(void *priv, struct uvfio_stats *out)
{
	static const char *const ways[] = {"read", "write"};
	struct pcitest *p = priv;

	for (unsigned i = 0; i < 2; i++) {
		uvfio_stat_counter(
			out, "register_accesses", "accesses to registers that are events",
			__atomic_load_n(&p->accesses[i], __ATOMIC_RELAXED), "op=%s", ways[i]);
		uvfio_stat_counter(out, "bytes", "bytes that the DMA engine has moved",
				   __atomic_load_n(&p->bytes[i], __ATOMIC_RELAXED), "op=%s",
				   ways[i]);
	}
	uvfio_stat_counter(out, "transfers", "commands of the DMA engine that have succeeded",
			   __atomic_load_n(&p->transfers, __ATOMIC_RELAXED), NULL);
	uvfio_stat_counter(out, "transfer_failures", "commands of the DMA engine that have failed",
			   __atomic_load_n(&p->failures, __ATOMIC_RELAXED), NULL);
}

static const struct uvfio_migration_ops migration = {
	.can = UVFIO_MIGRATE_P2P | UVFIO_MIGRATE_PRE_COPY,
	.save = pcitest_save,
	.load = pcitest_load,
	.commit = pcitest_commit,
	.forget = pcitest_forget,
	.size = pcitest_size,
	.leave = pcitest_leave,
	.enter = pcitest_enter,
};

const struct uvfio_model pcitest_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "pcitest",
	.summary = "one of everything, for tests: BARs, capabilities, interrupts, a DMA engine",
	.keys = keys,
	.nr_keys = N(keys),
	.create = create,
	.destroy = destroy,
	.reg_write = pcitest_reg_write,
	.reg_read = pcitest_reg_read,
	.work = pcitest_work,
	.quiesce = pcitest_quiesce,
	.resume = pcitest_resume,
	.reset = reset,
	.config_write = pcitest_config_write,
	.stats = stats,
	.migration = &migration,
	.vf_create = pcitest_vf_create,
	.vf_vectors = pcitest_vf_vectors,
	.host_driver = pcitest_host_driver,
};
