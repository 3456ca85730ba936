/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/OAT DMA engine as a device model: its options, the PCI function that it is, its life.
 *
 * BAR 0:  0x0000  registers       0x0080  channel 0 … 0x0200  channel 3
 *         0x2000  MSI-X table     0x3000  MSI-X pending bits
 *
 * Since Sandy Bridge a function has one channel, and a processor 8 or more such functions.  Drivers
 * take what CHANCNT says: DPDK and SPDK use the first channel, Linux up to four.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uvfio/migration.h>

#include "devices/ioat/ioat.h"
#include "devices/ioat/ioat_model.h"

/* Time enough for a driver that has just started a channel to go on with its own work: see
 * docs/devices/ioat.md. */
#define START_DELAY_NS 1000000ull

/* What has which version, and a device that drivers know for it. */
static const struct {
	const char *name;
	uint8_t version;
	uint16_t device;
} versions[] = {
	{"3.2", 0x32, 0x3c20}, /* Sandy Bridge */
	{"3.3", 0x33, 0x6f20}, /* Broadwell */
	{"3.4", 0x34, 0x0b00}, /* Ice Lake */
};

static const struct uvfio_key keys[] = {
	{"version", "3.2|3.3|3.4", "version of the engine; default 3.4"},
	{"device", "ID", "PCI device; default 0x3c20, 0x6f20 or 0x0b00, after the version"},
	{"channels", "N", "channels of the function, 1 to 4; default 1, as in hardware"},
	{"delay", "TIME", "from a doorbell to the start of its descriptors, as in 10us; default 0"},
	{"start-delay", "TIME", "the same for the first doorbell of a chain; default 1ms"},
	{"interrupts", "msix|msi|intx", "the best kind that it has, INTx always; default msix"},
	{"vfs", "N", "virtual functions it can have, each an engine like itself; default 0"},
};

static int parse_version(struct ioat_dev *d, const struct uvfio_args *args, uint64_t *device,
			 struct uvfio_error *err)
{
	const char *wanted = uvfio_arg(args, "version");

	for (unsigned i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		if (strcmp(versions[i].name, wanted ? wanted : "3.4") != 0)
			continue;
		d->version = versions[i].version;
		*device = versions[i].device;
		return 0;
	}
	return uvfio_error_set(err, -EINVAL, "version=%s: must be 3.2, 3.3 or 3.4", wanted);
}

static int describe(struct ioat_dev *d, uint16_t device, const char *interrupts, unsigned vfs,
		    struct uvfio_error *err)
{
	struct uvfio_area areas[2 + 2 * IOAT_MAX_CHANNELS] = {
		/* INTRCTRL and ATTNSTATUS: reading changes them */
		{0, 8, UVFIO_AREA_REGISTERS, UVFIO_AREA_READ_EVENT},
		{8, IOAT_CHANNEL(0) - 8, UVFIO_AREA_REGISTERS, 0},
	};
	struct uvfio_pci_desc desc = {
		.vendor = IOAT_PCI_VENDOR,
		.device = device,
		.subsystem_vendor = IOAT_PCI_VENDOR,
		.subsystem_device = device,
		.class_code = IOAT_PCI_CLASS,
		.interrupt_pin = 1,
		.bars = {{IOAT_BAR_SIZE, UVFIO_BAR_MEM64, areas, 2 + 2 * d->nr_chans}},
		.msix_bar = IOAT_BAR,
		.msix_table = IOAT_MSIX_TABLE,
		.msix_pba = IOAT_MSIX_PBA,
		.pcie = true,
		.pm = true,
		.flr = true,
	};
	struct uvfio_pci_desc vf;
	struct uvfio_sriov_desc sriov = {.total_vfs = vfs, .vf_device = device, .vf = &vf};
	static const uint32_t errors[2] = {IOAT_ERRORS, 0}, mask[2] = {0, IOAT_ERRORS};
	const struct uvfio_config_area config = {
		.offset = IOAT_CHANERR_INT,
		.len = sizeof(errors),
		.wmask = (const uint8_t *)mask,
		.w1c = (const uint8_t *)errors,
	};

	for (unsigned i = 0; i < d->nr_chans; i++) {
		uint64_t at = IOAT_CHANNEL(i);

		/* CHANCTRL: likewise */
		areas[2 + 2 * i] =
			(struct uvfio_area){at, 8, UVFIO_AREA_REGISTERS, UVFIO_AREA_READ_EVENT};
		areas[3 + 2 * i] =
			(struct uvfio_area){at + 8, IOAT_CHANNEL_SIZE - 8, UVFIO_AREA_REGISTERS, 0};
	}
	d->config_errors = d->version < 0x33;
	if (d->config_errors) {
		desc.config = &config;
		desc.nr_config = 1;
	}
	d->nr_vectors = 1;
	if (!interrupts || !strcmp(interrupts, "msix"))
		desc.msix_vectors = d->nr_vectors = d->nr_chans;
	else if (!strcmp(interrupts, "msi"))
		desc.msi_vectors = 1;
	else if (strcmp(interrupts, "intx") != 0)
		return uvfio_error_set(err, -EINVAL, "interrupts=%s: must be msix, msi or intx",
				       interrupts);
	vf = desc;
	if (vfs)
		desc.sriov = &sriov;
	return uvfio_device_init(d->dev, &desc, err);
}

static void destroy(void *priv)
{
	struct ioat_dev *d = priv;

	for (unsigned i = 0; i < d->nr_chans; i++) {
		struct ioat_chan *ch = &d->chans[i];

		if (ch->delay.timer)
			uvfio_timer_free(ch->delay.timer);
		if (ch->int_delay.timer)
			uvfio_timer_free(ch->int_delay.timer);
		free(ch->bounce);
	}
	ioat_forget(d);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static int make_channels(struct ioat_dev *d, struct uvfio_error *err)
{
	for (unsigned i = 0; i < d->nr_chans; i++) {
		struct ioat_chan *ch = &d->chans[i];

		ch->dev = d;
		ch->index = i;
		ch->bounce = malloc(IOAT_CHUNK);
		ch->delay.timer = uvfio_timer_new(d->dev, ioat_delay_over, ch);
		ch->int_delay.timer = uvfio_timer_new(d->dev, ioat_int_delay_over, ch);
		if (!ch->bounce || !ch->delay.timer || !ch->int_delay.timer)
			return uvfio_error_set(err, -ENOMEM, "ioat: out of memory");
	}
	return 0;
}

static int create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		  struct uvfio_error *err)
{
	struct ioat_dev *d = calloc(1, sizeof(*d));
	uint64_t device = 0, channels = 1, vfs = 0;
	int r;

	if (!d)
		return uvfio_error_set(err, -ENOMEM, "ioat: out of memory");
	pthread_mutex_init(&d->lock, NULL);
	d->dev = dev;
	d->start_delay_ns = START_DELAY_NS;
	r = parse_version(d, args, &device, err);
	if (!r)
		r = uvfio_arg_uint(args, "device", 0, 0xfffe, &device, err);
	if (!r)
		r = uvfio_arg_uint(args, "channels", 1, IOAT_MAX_CHANNELS, &channels, err);
	if (!r)
		r = uvfio_arg_time(args, "delay", 0, IOAT_MAX_DELAY_NS, &d->delay_ns, err);
	if (!r)
		r = uvfio_arg_time(args, "start-delay", 0, IOAT_MAX_DELAY_NS, &d->start_delay_ns,
				   err);
	if (!r)
		r = uvfio_arg_uint(args, "vfs", 0, IOAT_MAX_VFS, &vfs, err);
	if (!r) {
		d->nr_chans = (unsigned)channels;
		r = describe(d, (uint16_t)device, uvfio_arg(args, "interrupts"), (unsigned)vfs,
			     err);
	}
	if (!r)
		r = make_channels(d, err);
	if (r)
		destroy(d);
	else
		*priv = d;
	return r;
}

/* No hardware of this kind has VFs.  These have nothing of their PF's but its options. */
static int vf_create(void *pf, unsigned index, struct uvfio_device *vf, void **priv,
		     struct uvfio_error *err)
{
	const struct ioat_dev *like = pf;
	struct ioat_dev *d = calloc(1, sizeof(*d));
	int r;

	(void)index;
	if (!d)
		return uvfio_error_set(err, -ENOMEM, "ioat: out of memory");
	pthread_mutex_init(&d->lock, NULL);
	d->dev = vf;
	d->version = like->version;
	d->config_errors = like->config_errors;
	d->delay_ns = like->delay_ns;
	d->start_delay_ns = like->start_delay_ns;
	d->nr_chans = like->nr_chans;
	d->nr_vectors = like->nr_vectors;
	r = make_channels(d, err);
	if (r)
		destroy(d);
	else
		*priv = d;
	return r;
}

/* ---- the work context ---- */

static bool work(void *priv)
{
	struct ioat_dev *d = priv;
	int budget = IOAT_BUDGET;
	bool more = false;

	ioat_irq_run(d);
	/* Each turn another channel is the first. */
	d->turn = (d->turn + 1) % d->nr_chans;
	for (unsigned i = 0; i < d->nr_chans; i++)
		more |= ioat_chan_run(&d->chans[(d->turn + i) % d->nr_chans], &budget);
	return more;
}

static void quiesce(void *priv)
{
	struct ioat_dev *d = priv;

	d->stopped = true;
	if (ioat_paused(d))
		ioat_stop_delays(d);
	if (d->in_flight)
		d->quiescing = true;
	else
		uvfio_quiesced(d->dev);
}

static void resume(void *priv)
{
	struct ioat_dev *d = priv;

	d->stopped = false;
	ioat_resume_delays(d);
	uvfio_kick(d->dev);
}

static void reset(void *priv, enum uvfio_reset_kind kind)
{
	struct ioat_dev *d = priv;

	(void)kind;
	d->stopped = d->quiescing = false;
	for (unsigned i = 0; i < d->nr_chans; i++)
		ioat_chan_reset(&d->chans[i]);
	ioat_regs_reset(d);
}

static const struct uvfio_migration_ops migration_ops = {
	.can = UVFIO_MIGRATE_P2P,
	.save = ioat_save,
	.load = ioat_load,
	.commit = ioat_commit,
	.forget = ioat_forget,
	.size = ioat_size,
};

const struct uvfio_model ioat_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "ioat",
	.summary = "Intel QuickData (I/OAT, CBDMA) copy engine",
	.keys = keys,
	.nr_keys = sizeof(keys) / sizeof(keys[0]),
	.create = create,
	.destroy = destroy,
	.reg_write = ioat_reg_write,
	.reg_read = ioat_reg_read,
	.work = work,
	.quiesce = quiesce,
	.resume = resume,
	.reset = reset,
	.stats = ioat_stats,
	.migration = &migration_ops,
	.vf_create = vf_create,
};
