/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device: making one of a model.  What the model calls is in model_calls.c, dma.c and sriov.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/pci_regs.h>
#include "base/guard.h"
#include "pci/sriov.h"
#include "vfio/machine_private.h"
#include "vfio/sriov_private.h"
#include "vfio/uio_private.h"
#include "vfio/vectors.h"

/* ---- what the interrupt room must know ---- */

static unsigned irq_op_count(void *arg, unsigned index)
{
	struct vfio_device *dev = arg;

	return index < ARRAY_SIZE(dev->irq_counts) ? atomic_load(&dev->irq_counts[index]) : 1;
}

static bool irq_op_is_pcie(void *arg)
{
	struct vfio_device *dev = arg;

	return pci_is_pcie(dev->func);
}

static bool irq_op_power_d0(void *arg)
{
	struct vfio_device *dev = arg;

	return atomic_load(&dev->power_d0);
}

/* Called with the set's mutex held; config space follows when the request is done, by
 * device_apply(), because config_lock may be held by whoever waits for that mutex. */
static void irq_op_mode_changed(void *arg, int mode, unsigned vectors)
{
	struct vfio_device *dev = arg;

	atomic_store(&dev->irq_mode, (uint64_t)(mode + 1) << 32 | vectors);
}

static const struct irq_ops irq_ops = {
	.count = irq_op_count,
	.is_pcie = irq_op_is_pcie,
	.power_d0 = irq_op_power_d0,
	.mode_changed = irq_op_mode_changed,
};

/* ---- what config space shows live ---- */

static bool func_intx_line(void *arg)
{
	struct vfio_device *dev = arg;

	return dev->irqs && irq_intx_line(dev->irqs);
}

static bool func_intx_masked(void *arg)
{
	struct vfio_device *dev = arg;

	int mode;

	if (!dev->irqs)
		return false;
	if (pci_func_desc(dev->func)->broken_intx)
		return true;
	if (!dev->nointxmask)
		return irq_intx_masked(dev->irqs);
	/* Not a 2.3 device: its line is masked at the host, and DisINTx is touched for messages
	 * only (A.3, A.8). */
	mode = irq_active(dev->irqs, NULL);
	return mode == VFIO_PCI_MSI_IRQ_INDEX || mode == VFIO_PCI_MSIX_IRQ_INDEX;
}

static uint32_t func_msi_pending(void *arg)
{
	struct vfio_device *dev = arg;

	return dev->irqs ? irq_msi_pending(dev->irqs) : 0;
}

static unsigned func_msix_vectors(void *arg)
{
	struct vfio_device *dev = arg;

	return dev->irqs ? irq_msix_vectors(dev->irqs) : pci_func_desc(dev->func)->msix_vectors;
}

static void func_model_write(void *arg, unsigned off, unsigned size, uint32_t value)
{
	struct vfio_device *dev = arg;

	if (dev->model->config_write)
		dev->model->config_write(dev->priv, off, size, value);
}

/* Only the host writes this bit to the hardware; users' is vconfig's. */
static void func_flr(void *arg)
{
	struct vfio_device *dev = arg;

	dev->flr_requested = true;
}

/* What other config writes cause is found by device_apply(), which looks at the state. */
/* Of a PF: what its VFs may do has changed. */
static void func_sriov(void *arg)
{
	sriov_apply_vfs(arg);
}

static const struct pci_func_ops func_ops = {
	.sriov = func_sriov,
	.model_write = func_model_write,
	.intx_line = func_intx_line,
	.intx_masked = func_intx_masked,
	.msi_pending = func_msi_pending,
	.msix_vectors = func_msix_vectors,
	.flr = func_flr,
};

/* ---- making and unmaking ---- */

static void run_work(struct uvfio_work *work)
{
	struct vfio_device *dev =
		(struct vfio_device *)((char *)work - offsetof(struct vfio_device, work));

	if (!dev->ended && dev->model->work(dev->priv))
		uvfio_ctx_post(dev->ctx, &dev->work);
}

struct device_call {
	struct uvfio_work work;
	struct vfio_device *dev;
	void (*fn)(struct vfio_device *dev, void *arg);
	void *arg;
};

static void run_call(struct uvfio_work *work)
{
	struct device_call *call =
		(struct device_call *)((char *)work - offsetof(struct device_call, work));

	call->fn(call->dev, call->arg);
}

void device_call(struct vfio_device *dev, void (*fn)(struct vfio_device *dev, void *arg), void *arg)
{
	struct device_call call = {.work.fn = run_call, .dev = dev, .fn = fn, .arg = arg};

	if (uvfio_ctx_is_current(dev->ctx)) {
		fn(dev, arg);
		return;
	}
	uvfio_ctx_post(dev->ctx, &call.work);
	uvfio_ctx_flush(dev->ctx);
}

static void call_reset_power_on(struct vfio_device *dev, void *arg)
{
	dev->model->reset(dev->priv, UVFIO_RESET_POWER_ON);
}

/* A VF has its priv from now on, and what was kicked before. */
static void call_begin(struct vfio_device *dev, void *arg)
{
	dev->ended = false;
	call_reset_power_on(dev, NULL);
	uvfio_ctx_post(dev->ctx, &dev->work);
}

static void device_release_all(struct vfio_device *dev)
{
	host_maps_fini(dev);
	if (dev->ctx)
		poll_irq_fini(dev);
	device_pme_fini(dev);
	vfio_keep_drop(dev);
	device_migration_fini(dev);
	if (dev->irqs)
		irq_set_free(dev->irqs);
	if (dev->ctx) {
		uvfio_ctx_free(dev->ctx);
		iommu_user_fini(&dev->dma_user);
	}
	poll_free(dev);
	view_free(dev);
	bar_fini(dev);
	if (dev->func)
		pci_func_free(dev->func);
	free(dev->rom);
	free(dev->removal);
	vectors_fini(dev);
	sriov_fini(dev);
	mishap_fini(dev);
	vf_token_fini(dev);
	pthread_cond_destroy(&dev->quiet_cond);
	pthread_cond_destroy(&dev->mem_cond);
	pthread_mutex_destroy(&dev->poller.lock);
	pthread_mutex_destroy(&dev->faults.lock);
	dma_logging_fini(&dev->dma_logging);
	device_hold_fini(dev);
	pthread_mutex_destroy(&dev->quiet_lock);
	pthread_mutex_destroy(&dev->reg_lock);
	pthread_mutex_destroy(&dev->config_lock);
	pthread_mutex_destroy(&dev->open_lock);
	free(dev);
}

/* As the host does when it finds a function with advanced error reporting. */
static void enable_error_reports(struct vfio_device *dev)
{
	unsigned at = pci_find_cap(dev->func, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL;

	if (pci_find_ext_cap(dev->func, PCI_EXT_CAP_ID_ERR))
		pci_hw_write(dev->func, at, 2,
			     pci_hw_read(dev->func, at, 2) | PCI_EXP_DEVCTL_CERE |
				     PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE |
				     PCI_EXP_DEVCTL_URRE);
}

/* What a device has besides its function. */
static int device_init_func(struct vfio_device *dev, struct uvfio_error *err)
{
	int ret = bar_init(dev, err);

	if (ret)
		return ret;
	enable_error_reports(dev);
	device_count_irqs(dev);
	atomic_store(&dev->power_d0, true);
	ret = device_migration_init(dev, err);
	if (ret)
		return ret;
	dev->irqs =
		irq_set_new(&irq_ops, dev, dev->ctx, pci_func_desc(dev->func)->msix_vectors, true);
	return dev->irqs ? 0 : uvfio_error_set(err, -ENOMEM, "out of memory");
}

/* A device without a function.  On failure nothing is left. */
static int device_alloc(struct vfio_machine *machine, const struct uvfio_model *model,
			const struct pci_addr *addr, struct uvfio_loop *loop,
			struct vfio_device **out, struct uvfio_error *err)
{
	struct vfio_device *dev = calloc(1, sizeof(*dev));
	struct vfio_policy policy;
	pthread_condattr_t attr;
	int ret;

	if (!dev)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	dev->machine = machine;
	dev->model = model;
	dev->loop = loop;
	dev->addr = *addr;
	vfio_machine_get_policy(machine, &policy);
	dev->nointxmask = policy.nointxmask;
	dev->no_idle_d3 = policy.disable_idle_d3;
	dev->work.fn = run_work;
	dev->wakeup_fd = -1;
	dev->mem = MEM_OFF;
	atomic_init(&dev->driver, VFIO_DRIVER_VFIO);
	pci_addr_format(addr, dev->name);
	pthread_mutex_init(&dev->open_lock, NULL);
	pthread_mutex_init(&dev->config_lock, NULL);
	pthread_mutex_init(&dev->reg_lock, NULL);
	dma_logging_init(&dev->dma_logging);
	pthread_mutex_init(&dev->quiet_lock, NULL);
	device_hold_init(dev);
	pthread_mutex_init(&dev->faults.lock, NULL);
	pthread_mutex_init(&dev->poller.lock, NULL);
	pthread_cond_init(&dev->mem_cond, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->quiet_cond, &attr);
	pthread_condattr_destroy(&attr);
	mishap_init(dev);
	vf_token_init(dev);
	view_init(dev);
	device_memory_init(dev);
	if (host_maps_init(dev) || device_pme_init(dev)) {
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
		goto fail;
	}
	ret = uvfio_guard_init();
	if (ret) {
		uvfio_error_set(err, ret, "cannot install a SIGBUS handler: %s", strerror(-ret));
		goto fail;
	}
	dev->ctx = uvfio_ctx_new(loop);
	if (!dev->ctx) {
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
		goto fail;
	}
	iommu_user_init(&dev->dma_user, dev->ctx);
	*out = dev;
	return 0;
fail:
	device_release_all(dev);
	return ret;
}

int device_new(struct vfio_machine *machine, const struct uvfio_model *model,
	       const struct pci_addr *addr, const struct device_spec *spec, struct uvfio_loop *loop,
	       struct vfio_device **out, struct uvfio_error *err)
{
	const struct uvfio_args args = {spec->options, spec->nr_options};
	struct vfio_device *dev;
	int ret = device_alloc(machine, model, addr, loop, &dev, err);

	if (ret)
		return ret;
	dev->mmio = spec->keys.mmio;
	if (spec->keys.bus_reset)
		snprintf(dev->bus_reset, sizeof(dev->bus_reset), "%s", spec->keys.bus_reset);
	dev->poll_ns = spec->keys.poll_ns;
	dev->vf_poll_ns = spec->keys.vf_poll_ns;
	dev->addr_auto = !spec->keys.addr;
	dev->acs_off = spec->keys.acs_off;
	dev->migration.interface = spec->keys.migration;
	dev->migration.interface_given = spec->keys.has_migration;
	dev->migration.withheld = spec->keys.migration_cannot;
	ret = model->create((struct uvfio_device *)dev, &args, &dev->priv, err);
	if (ret)
		goto fail;
	if (!dev->func) {
		model->destroy(dev->priv);
		ret = uvfio_error_set(err, -EINVAL,
				      "model %s: create() did not call uvfio_device_init()",
				      model->name);
		goto fail;
	}
	device_call(dev, call_reset_power_on, NULL);
	*out = dev;
	return 0;
fail:
	device_release_all(dev);
	return ret;
}

int device_new_vf(struct vfio_device *pf, unsigned index, struct uvfio_loop *loop,
		  struct vfio_device **out, struct uvfio_error *err)
{
	const struct pci_addr addr = pci_sriov_vf_addr(pf->func, index);
	struct vfio_device *dev;
	int ret = device_alloc(pf->machine, pf->model, &addr, loop, &dev, err);

	if (ret)
		return ret;
	dev->physfn = pf;
	dev->vf_index = index;
	dev->mmio = pf->mmio;
	dev->migration.quiet_mmio = pf->migration.quiet_mmio;
	dev->migration.interface = pf->migration.interface;
	dev->migration.withheld = pf->migration.withheld;
	pthread_mutex_lock(&pf->config_lock); /* its BAR sizes; it may be reset now */
	ret = pci_func_new_vf(pf->func, index, &func_ops, dev, &dev->func, err);
	pthread_mutex_unlock(&pf->config_lock);
	if (!ret)
		ret = poll_irq_init_vf(dev, err);
	if (!ret)
		ret = device_init_func(dev, err);
	if (!ret && removal_new(dev))
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	if (ret)
		goto fail;
	vectors_join(dev);
	/* Its PF may kick it before there is a priv: that waits. */
	dev->ended = true;
	ret = pf->model->vf_create(pf->priv, index, (struct uvfio_device *)dev, &dev->priv, err);
	if (ret) {
		vectors_leave(dev);
		goto fail;
	}
	device_call(dev, call_begin, NULL);
	*out = dev;
	return 0;
fail:
	device_release_all(dev);
	return ret;
}

static void call_end(struct vfio_device *dev, void *arg)
{
	dev->ended = true;
}

void device_free(struct vfio_device *dev)
{
	uio_fini(dev);
	sriov_vf_settle(dev);
	/* Work that was kicked before the last close has been answered. */
	uvfio_ctx_flush(dev->ctx);
	/* One that was pulled out has had no reset at its last close. */
	device_quiesce(dev);
	device_migration_reset(dev); /* a session of the operator's may be there still */
	sriov_end(dev);
	if (dev->physfn)
		vectors_leave(dev);
	/* Its PF, and other VFs, may kick it until ->destroy() returns. */
	device_call(dev, call_end, NULL);
	dev->model->destroy(dev->priv);
	device_release_all(dev);
}

/* What the host cannot find an image in, it does not offer (A.6). */
static bool rom_readable(const struct uvfio_pci_desc *desc)
{
	const uint8_t *image = desc->rom;

	return desc->rom_len >= 2 && image[0] == 0x55 && image[1] == 0xaa;
}

static int copy_rom(struct vfio_device *dev, const struct uvfio_pci_desc *desc,
		    struct uvfio_error *err)
{
	if (!rom_readable(desc))
		return 0;
	/* A shadow's region is the next power of two. */
	for (dev->rom_size = desc->rom_size ? desc->rom_size : 1; dev->rom_size < desc->rom_len;)
		dev->rom_size *= 2;
	dev->rom_len = desc->rom_len;
	dev->rom = malloc(desc->rom_len);
	if (!dev->rom)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	memcpy(dev->rom, desc->rom, desc->rom_len);
	return 0;
}

int uvfio_device_init(struct uvfio_device *udev, const struct uvfio_pci_desc *given,
		      struct uvfio_error *err)
{
	struct vfio_device *dev = (struct vfio_device *)udev;
	struct uvfio_pci_desc copy = *given, *desc = &copy;
	int ret;

	if (dev->func)
		return uvfio_error_set(err, -EINVAL, "uvfio_device_init() is called twice");
	ret = sriov_init(dev, desc, err);
	if (!ret)
		ret = vectors_init(dev, desc, err);
	if (!ret)
		ret = poll_irq_init(dev, desc, err);
	if (!ret)
		ret = pci_func_new(desc, &dev->addr, &func_ops, dev, &dev->func, err);
	if (!ret && dev->vf_poll_ns)
		pci_sriov_give_pin(dev->func);
	if (!ret)
		ret = copy_rom(dev, desc, err);
	return ret ? ret : device_init_func(dev, err);
}

/* ---- what is there ---- */

const char *vfio_device_name(const struct vfio_device *dev)
{
	return dev->name;
}

unsigned vfio_device_group(const struct vfio_device *dev)
{
	return dev->group->number;
}

bool vfio_device_noiommu(const struct vfio_device *dev)
{
	return dev->group->noiommu;
}

const struct uvfio_model *vfio_device_model(const struct vfio_device *dev)
{
	return dev->model;
}

struct pci_func *vfio_device_func(struct vfio_device *dev)
{
	return dev->func;
}

bool vfio_device_hw_config(struct vfio_device *dev, uint8_t *bytes, bool wait)
{
	if (wait)
		pthread_mutex_lock(&dev->config_lock);
	else if (pthread_mutex_trylock(&dev->config_lock))
		return false;
	pci_hw_image(dev->func, bytes);
	pthread_mutex_unlock(&dev->config_lock);
	return true;
}

int vfio_device_mmio(const struct vfio_device *dev)
{
	return dev->mmio;
}

void vfio_device_stats(struct vfio_device *dev, struct vfio_device_stats *out)
{
	*out = (struct vfio_device_stats){
		.reads = dev->stats.reads,
		.writes = dev->stats.writes,
		.stores = dev->stats.stores,
		.dma_ops = dev->stats.dma_ops,
		.dma_bytes = dev->stats.dma_bytes,
		.faults = dev->stats.faults,
		.resets = dev->stats.resets,
	};
	out->irqs_dropped = irq_dropped(dev->irqs);
	for (unsigned index = VFIO_PCI_INTX_IRQ_INDEX; index <= VFIO_PCI_MSIX_IRQ_INDEX; index++) {
		struct irq_state state;

		irq_observe(dev->irqs, index, &state);
		out->irqs += state.delivered;
	}
}
