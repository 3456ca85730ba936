/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller as a device model: its options, the PCI function that it is, its life.
 *
 * BAR 0:  nvme.h
 * BAR 2:  the controller memory buffer, BAR 4: the persistent memory region, if there is one
 *
 * The vendor and device numbers are of no product, unless the options say otherwise: drivers bind
 * by the class code, and none has a workaround for these, as Linux has for those of QEMU's
 * controller.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/nvme/nvme.h"
#include "devices/nvme/nvme_model.h"

#define PCI_CLASS  0x010802

#define MIN_MEMORY 4096u
#define MAX_MEMORY (1ull << 30)

static const struct uvfio_key keys[] = {
	{"file", "PATH", "raw image or block device behind namespace 1"},
	{"memory", "SIZE", "memory of this size behind namespace 1; gone afterwards"},
	{"nbd", "URI", "NBD server behind namespace 1 (nbd://host/name, nbd+unix://…)"},
	{"ns", "OPTIONS",
	 "a further namespace: file=PATH, memory=SIZE or nbd=URI, with blocksize=, readonly=, "
	 "direct=, mapped=, attach= and move=, separated by ':'",
	 .repeatable = true},
	{"blocksize", "512|4096",
	 "bytes in a block, unless a driver has formatted it; default 512, or what the storage needs"},
	{"readonly", "on|off", "refuse writes; default off"},
	{"direct", "on|off", "file: bypass the page cache (O_DIRECT); default off"},
	{"mapped", "on|off",
	 "file: read what is often read out of a mapping of the page cache; default on"},
	{"volatile", "on|off",
	 "file, for tests: lose in a crash whatever was not flushed; default off"},
	{"serial", "TEXT", "serial number, up to 20 characters; default from the address"},
	{"vendor", "ID", "PCI vendor, to look like some product; default 0x1234"},
	{"device", "ID", "PCI device, likewise; default 0x4e56"},
	{"queues", "N", "I/O queue pairs, each with a vector, 1 to 511; default 64"},
	{"cmb", "SIZE",
	 "a controller memory buffer in BAR 2, a power of 2, 4K to 1G; default none"},
	{"pmr", "PATH",
	 "a persistent memory region in BAR 4, kept in this file, whose size is a power of 2, 4K to "
	 "1G; default none"},
	{"vfs", "N", "SR-IOV: virtual functions that it can have, 1 to 4095; default none"},
	{"vq_flexible", "N",
	 "queue resources that the VFs share, an admin queue counts as one; default 9 for each VF"},
	{"vi_flexible", "N", "interrupt vectors that the VFs share; default 9 for each VF, and 18"},
	{"attach", "LIST",
	 "the controllers of namespace 1, for good: pf, vf0, vf0-3, vfs, all, none, joined by '+'; "
	 "default all, until the PF's driver attaches it otherwise"},
	{"move", "share|copy|none",
	 "when it is moved: the other side sees the storage, too; or its contents go along; or, of "
	 "memory, they are lost; default copy for memory, else share"},
	{"incoming", "yes|no",
	 "its state comes from another server, which has the storage until then; default no"},
	{"interrupts", "msix|msi|intx", "the best kind that it has, INTx always; default msix"},
};

static int parse_serial(const char *serial, struct uvfio_error *err)
{
	if (!serial)
		return 0;
	if (!*serial || strlen(serial) > 20)
		return uvfio_error_set(err, -EINVAL, "serial=%s: must have 1 to 20 characters",
				       serial);
	for (const char *p = serial; *p; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			return uvfio_error_set(err, -EINVAL,
					       "serial=%s: must be printable ASCII characters",
					       serial);
	}
	return 0;
}

/* Vectors for @kind: one a queue, as far as there are so many. */
static int parse_interrupts(struct nvme_ctrl *c, const char *kind, struct uvfio_error *err)
{
	c->nr_vectors = c->nr_queues + 1;
	if (!kind || !strcmp(kind, "msix"))
		return 0;
	if (!strcmp(kind, "msi")) {
		for (c->msi_vectors = 1; c->msi_vectors < c->nr_vectors && c->msi_vectors < 32;)
			c->msi_vectors *= 2;
		c->nr_vectors = c->msi_vectors;
		return 0;
	}
	c->intx_only = true;
	c->nr_vectors = 1;
	return strcmp(kind, "intx")
		       ? uvfio_error_set(err, -EINVAL, "interrupts=%s: must be msix, msi or intx",
					 kind)
		       : 0;
}

/* The size of a BAR with memory. */
static int parse_memory(const struct uvfio_args *args, const char *key, uint64_t *size,
			struct uvfio_error *err)
{
	int r = uvfio_arg_size(args, key, size, err);

	if (r || !uvfio_arg(args, key))
		return r;
	if (*size < MIN_MEMORY || *size > MAX_MEMORY || *size & (*size - 1))
		return uvfio_error_set(err, -EINVAL, "%s=%s: must be a power of 2 from 4K to 1G",
				       key, uvfio_arg(args, key));
	return 0;
}

void nvme_bar_areas(struct uvfio_area areas[NVME_BAR_AREAS], bool pmr)
{
	const struct uvfio_area all[NVME_BAR_AREAS] = {
		{0, NVME_REG_INTMC, UVFIO_AREA_REGISTERS, UVFIO_AREA_POLLABLE},
		{NVME_REG_INTMC, 4, UVFIO_AREA_REGISTERS,
		 UVFIO_AREA_POLLABLE | UVFIO_AREA_POLL_ZERO},
		{NVME_REG_INTMC + 4, NVME_REG_PMRSTS - NVME_REG_INTMC - 4, UVFIO_AREA_REGISTERS,
		 UVFIO_AREA_POLLABLE},
		{NVME_REG_PMRSTS, 4, UVFIO_AREA_REGISTERS,
		 pmr ? UVFIO_AREA_READ_EVENT | UVFIO_AREA_READ_LATER : UVFIO_AREA_POLLABLE},
		{NVME_REG_PMREBS, NVME_REG_DOORBELLS - NVME_REG_PMREBS, UVFIO_AREA_REGISTERS,
		 UVFIO_AREA_POLLABLE},
		{NVME_REG_DOORBELLS, 4096, UVFIO_AREA_DOORBELLS, 0},
	};

	memcpy(areas, all, sizeof(all));
}

static int describe(struct nvme_ctrl *c, struct uvfio_error *err)
{
	struct uvfio_area areas[NVME_BAR_AREAS], vf_areas[NVME_BAR_AREAS];
	struct uvfio_sriov_desc sriov;
	struct uvfio_pci_desc vf;
	const struct uvfio_area pmr = {0, c->pmr.window.size, UVFIO_AREA_MEMORY, 0};
	const struct uvfio_area cmb = {0, c->cmb.size, UVFIO_AREA_MEMORY, 0};
	const struct uvfio_pci_desc desc = {
		.vendor = c->vendor,
		.device = c->device,
		.subsystem_vendor = c->vendor,
		.subsystem_device = c->device,
		.class_code = PCI_CLASS,
		.revision = 1,
		.interrupt_pin = 1,
		.bars = {[NVME_BAR] = {NVME_BAR_SIZE, UVFIO_BAR_MEM64, areas, NVME_BAR_AREAS},
			 [NVME_BAR_CMB] = {c->cmb.size, UVFIO_BAR_MEM64 | UVFIO_BAR_PREFETCH, &cmb,
					   c->cmb.size ? 1 : 0},
			 [NVME_BAR_PMR] = {c->pmr.window.size, UVFIO_BAR_MEM64 | UVFIO_BAR_PREFETCH,
					   &pmr, c->pmr.blk ? 1 : 0}},
		.msi_vectors = c->msi_vectors,
		.msi_masking = true,
		.msix_vectors = c->msi_vectors || c->intx_only ? 0 : c->nr_vectors,
		.msix_bar = NVME_BAR,
		.msix_table = NVME_BAR_MSIX_TABLE,
		.msix_pba = NVME_BAR_MSIX_PBA,
		.pcie = true,
		.pm = true,
		.flr = true,
		.sriov = nvme_vfs_describe(c, &sriov, &vf, vf_areas),
	};

	nvme_bar_areas(areas, c->pmr.blk);
	return uvfio_device_init(c->dev, &desc, err);
}

/* LeakSanitizer looks for references in what malloc() gave, unless it is told of more. */
#ifdef __SANITIZE_ADDRESS__
#define NVME_LSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NVME_LSAN 1
#endif
#endif
#ifdef NVME_LSAN
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_register_root_region(p, bytes)   ((void)0)
#define __lsan_unregister_root_region(p, bytes) ((void)0)
#endif

/* Zeros that cost no memory until they are touched: of most controllers few queues are used, and of
 * many none.  (What calloc() returns it may have had to clear.) */
void *nvme_lazy(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	__lsan_register_root_region(p, bytes);
	return p;
}

void nvme_lazy_free(void *p, size_t bytes)
{
	if (!p)
		return;
	__lsan_unregister_root_region(p, bytes);
	munmap(p, bytes);
}

void nvme_ctrl_free(struct nvme_ctrl *c)
{
	size_t nr = c->nr_queues + 1;

	/* Others may have kicked it until now; and a VF that was pulled out had no reset. */
	if (c->secondary) {
		nvme_virt_leave(c);
		nvme_format_reset(c);
	}
	nvme_migrate_free(c);
	nvme_contents_free(c);
	nvme_ns_close_all(c);
	nvme_pmr_close(c);
	if (c->irq_timer)
		uvfio_timer_free(c->irq_timer);
	if (c->size_timer)
		uvfio_timer_free(c->size_timer);
	for (unsigned i = 0; i < c->nr_bounce; i++)
		free(c->bounce[i]);
	free(c->vectors);
	nvme_lazy_free(c->sqs, nr * sizeof(*c->sqs));
	nvme_lazy_free(c->cqs, nr * sizeof(*c->cqs));
	nvme_lazy_free(c->cids, nr * NVME_CID_BYTES);
	nvme_lazy_free(c->reqs, NVME_ALL_REQS * sizeof(*c->reqs));
	nvme_lazy_free(c->req_mem, NVME_NR_REQS * sizeof(*c->req_mem));
	if (!c->secondary)
		nvme_subsys_free(c->sub);
	nvme_lazy_free(c, sizeof(*c));
}

static bool allocate(struct nvme_ctrl *c)
{
	size_t nr = c->nr_queues + 1;

	c->sqs = nvme_lazy(nr * sizeof(*c->sqs));
	c->cqs = nvme_lazy(nr * sizeof(*c->cqs));
	c->cids = nvme_lazy(nr * NVME_CID_BYTES);
	/* The last two requests are the controller's own. */
	c->reqs = nvme_lazy(NVME_ALL_REQS * sizeof(*c->reqs));
	c->req_mem = nvme_lazy(NVME_NR_REQS * sizeof(*c->req_mem));
	c->vectors = calloc(c->nr_vectors, sizeof(*c->vectors));
	if (!c->sqs || !c->cqs || !c->cids || !c->reqs || !c->req_mem || !c->vectors)
		return false;
	c->shutdown_req = &c->reqs[NVME_NR_REQS];
	nvme_req_init(c, c->shutdown_req);
	c->size_req = &c->reqs[NVME_NR_REQS + 1];
	nvme_req_init(c, c->size_req);
	return true;
}

struct nvme_ctrl *nvme_ctrl_new(struct uvfio_device *dev)
{
	struct nvme_ctrl *c = nvme_lazy(sizeof(*c)); /* most of it are statistics and doorbells */

	if (!c)
		return NULL;
	c->dev = dev;
	c->page_bits = 12;
	c->temperature = 303;
	c->started_ns = nvme_now_ns();
	c->online = true;
	return c;
}

int nvme_ctrl_setup(struct nvme_ctrl *c, struct uvfio_error *err)
{
	if (!allocate(c))
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for %u queues",
				       c->nr_queues);
	c->irq_timer = uvfio_timer_new(c->dev, nvme_irq_timer, c);
	c->size_timer = uvfio_timer_new(c->dev, nvme_size_timer, c);
	if (!c->irq_timer || !c->size_timer)
		return uvfio_error_set(err, -ENOMEM, "nvme: cannot make a timer");
	nvme_queues_init(c);
	nvme_req_reset_all(c);
	nvme_features_reset(c);
	return 0;
}

static int create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		  struct uvfio_error *err)
{
	const char *serial = uvfio_arg(args, "serial");
	uint64_t queues = NVME_DEFAULT_QUEUES;
	uint64_t vendor = NVME_PCI_VENDOR, device = NVME_PCI_DEVICE, cmb = 0;
	struct nvme_ctrl *c;
	int r;

	r = parse_serial(serial, err);
	if (!r)
		r = uvfio_arg_uint(args, "queues", 1, NVME_MAX_QUEUES, &queues, err);
	/* All ones is what reads where there is no device. */
	if (!r)
		r = uvfio_arg_uint(args, "vendor", 1, 0xfffe, &vendor, err);
	if (!r)
		r = uvfio_arg_uint(args, "device", 0, 0xffff, &device, err);
	if (!r)
		r = parse_memory(args, "cmb", &cmb, err);
	if (r)
		return r;
	c = nvme_ctrl_new(dev);
	if (!c)
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory");
	c->vendor = (uint16_t)vendor;
	c->device = (uint16_t)device;
	c->nr_queues = c->io_queues = (unsigned)queues;
	c->cmb.size = cmb;
	r = parse_interrupts(c, uvfio_arg(args, "interrupts"), err);
	if (!r)
		r = nvme_vfs_parse(c, args, err);
	if (r)
		goto fail;
	nvme_ctrl_identity(c, serial);
	r = uvfio_arg_bool(args, "incoming", &c->sub->incoming, err);
	if (!r)
		r = nvme_pmr_open(c, args, err);
	if (!r)
		r = describe(c, err);
	if (r)
		goto fail;
	if (c->cmb.size)
		c->cmb.memory = uvfio_bar_memory(dev, NVME_BAR_CMB, 0);
	r = nvme_pmr_start(c, err);
	if (!r)
		r = nvme_ctrl_setup(c, err);
	if (!r)
		r = nvme_ns_open_all(c, args, err);
	if (r)
		goto fail;
	*priv = c;
	return 0;
fail:
	nvme_ctrl_free(c);
	return r;
}

static void destroy(void *priv)
{
	nvme_ctrl_free(priv);
}

const struct uvfio_model nvme_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "nvme",
	.summary = "NVMe 1.4 controller with namespaces on files, memory or NBD servers",
	.keys = keys,
	.nr_keys = sizeof(keys) / sizeof(keys[0]),
	.create = create,
	.destroy = destroy,
	.reg_write = nvme_reg_write,
	.reg_read = nvme_reg_read,
	.reg_read_start = nvme_pmr_read_start,
	.work = nvme_work,
	.quiesce = nvme_quiesce,
	.resume = nvme_resume,
	.reset = nvme_reset,
	.stats = nvme_stats,
	.migration = &nvme_migration_ops,
	.vf_create = nvme_vf_create,
	.vf_vectors = nvme_vf_vectors,
	.host_driver = nvme_host_driver,
};
