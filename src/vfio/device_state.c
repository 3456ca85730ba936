/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device may do at the moment, and bringing that in line with its config space.
 *
 * Theory of operation.  Config space says what should be (COMMAND, power state, what SET_IRQS
 * enabled); the fields running, mem, view and the interrupt gate are what is in effect.  Whoever
 * changes the former calls device_apply() before letting go of config_lock, which makes the
 * transitions that are missing: taking away first, giving last.  So a COMMAND write has taken
 * effect when it returns, and two at once leave the device in the state that config space shows.
 *
 *     running:  false ──MASTER set, D0──▶ true            DMA allowed, ->resume()
 *               true ──MASTER clear, D3, reset──▶ false   ->quiesce(), wait, DMA refused
 *     mem:      OFF ◀──MEM clear, D3──▶ ON                view withdrawn ◀──▶ given out
 *               ON ◀──hardware lost MEM, pulled out──▶ DEAF view of ones
 *               OFF, ON, DEAF ──reset begins──▶ WAIT ──reset done──▶ OFF, ON or DEAF
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <linux/pci_regs.h>
#include "pci/sriov.h"
#include "vfio/machine_private.h"

#define PCI_POWER_D0    0
#define PCI_POWER_D3HOT 3

static void call_quiesce(struct vfio_device *dev, void *arg)
{
	dev->model->quiesce(dev->priv);
}

static void call_resume(struct vfio_device *dev, void *arg)
{
	dev->model->resume(dev->priv);
}

/* How long transfers that wait for a client's answer hold up a device that is to become quiet. */
#define QUIESCE_GRACE_MS 100

/* Until uvfio_quiesced().  What the model waits for may be an answer that never comes. */
static void wait_quiesced(struct vfio_device *dev)
{
	struct timespec ts;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += QUIESCE_GRACE_MS * 1000000L;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	pthread_mutex_lock(&dev->quiet_lock);
	while (dev->quiesce_pending && !ret)
		ret = pthread_cond_timedwait(&dev->quiet_cond, &dev->quiet_lock, &ts);
	if (dev->quiesce_pending) {
		pthread_mutex_unlock(&dev->quiet_lock);
		dma_abandon(dev);
		uvfio_defer_handover();
		pthread_mutex_lock(&dev->quiet_lock);
		while (dev->quiesce_pending)
			pthread_cond_wait(&dev->quiet_cond, &dev->quiet_lock);
	}
	pthread_mutex_unlock(&dev->quiet_lock);
}

void device_quiesce(struct vfio_device *dev)
{
	if (dev->model->quiesce) {
		pthread_mutex_lock(&dev->quiet_lock);
		dev->quiesce_pending = true;
		pthread_mutex_unlock(&dev->quiet_lock);
		device_call(dev, call_quiesce, NULL);
		/* What the model waits for may be work that this thread has put off. */
		uvfio_defer_handover();
		wait_quiesced(dev);
	}
	dma_stop(dev);
	dev->running = false;
}

/* @there: what is mapped for DMA, or exported, is not revoked by it (D.4). */
static void set_memory(struct vfio_device *dev, enum mem_gate gate, bool there)
{
	const bool held = gate == MEM_WAIT && dev->migration.stopped && atomic_load(&dev->hold.on);
	enum view_state view = VIEW_OFF;

	if (gate == MEM_ON && !dev->low_power)
		view = VIEW_OUT;
	else if (gate == MEM_DEAF && !dev->low_power)
		view = VIEW_ONES;
	/* The gate shuts before the view goes and opens after it is back. */
	if (held)
		poll_hold(dev);
	if (view == VIEW_OUT) {
		view_show(dev, view);
		poll_start(dev);
	}
	device_lock_regs(dev);
	dev->mem = gate;
	device_memory_note(dev, there);
	if (gate != MEM_WAIT)
		pthread_cond_broadcast(&dev->mem_cond);
	pthread_mutex_unlock(&dev->reg_lock);
	if (view != VIEW_OUT && !held)
		poll_stop(dev);
	/* A touch during a reset waits on a kernel; here the pages stay. */
	if (view != VIEW_OUT && gate != MEM_WAIT)
		view_show(dev, view);
}

void device_memory(struct vfio_device *dev, enum mem_gate gate)
{
	set_memory(dev, gate, gate == MEM_ON && !dev->low_power);
}

void device_memory_show(struct vfio_device *dev)
{
	set_memory(dev, dev->mem, !device_memory_away(&dev->memory));
}

/* A.6.  The user's idea of it decides what is refused, and the hardware's who answers. */
static enum mem_gate memory_gate(struct vfio_device *dev)
{
	bool on = dev->vconfig ? pci_vconfig_memory_enabled(dev->vconfig)
			       : pci_memory_enabled(dev->func);

	if (!on)
		return MEM_OFF;
	if (dev->migration.stopped && atomic_load(&dev->hold.on) && !device_is_cut(dev))
		return MEM_WAIT;
	return pci_memory_decoded(dev->func) && !device_is_cut(dev) && !dev->migration.stopped
		       ? MEM_ON
		       : MEM_DEAF;
}

/* Is the memory there, as far as a mapping for DMA goes (D.4.50)?  That of a device that stands
 * still to be moved is, whatever config space says, which is in effect when it runs: nobody reaches
 * it meanwhile, and then who has mapped it does. */
static bool memory_is_there(struct vfio_device *dev, enum mem_gate gate)
{
	return !dev->low_power &&
	       (gate == MEM_ON || (dev->migration.stopped && !device_is_cut(dev)));
}

/* Shut the gate.  What config space has switched off is revoked, and then @there anew. */
static void shut_memory(struct vfio_device *dev, enum mem_gate gate, bool there)
{
	if (gate == MEM_OFF && dev->mem != MEM_OFF)
		set_memory(dev, gate, false);
	set_memory(dev, gate, there);
}

/* The enable bits follow what SET_IRQS has done, and delivery follows the enable bits. */
static void apply_irq_mode(struct vfio_device *dev)
{
	uint64_t packed = atomic_load(&dev->irq_mode);
	uint32_t mask;
	bool enabled;

	if (packed != dev->irq_mode_applied) {
		dev->irq_mode_applied = packed;
		pci_set_irq_mode(dev->func, (int)(packed >> 32) - 1, (unsigned)packed);
		view_publish_msix(dev);
	}
	poll_irq_apply(dev);
	pci_msi_state(dev->func, &enabled, &mask);
	irq_msi_config(dev->irqs, enabled, mask);
}

void device_count_irqs(struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);

	atomic_store(&dev->irq_counts[VFIO_PCI_INTX_IRQ_INDEX],
		     desc->interrupt_pin && !desc->broken_intx ? 1 : 0);
	atomic_store(&dev->irq_counts[VFIO_PCI_MSI_IRQ_INDEX], pci_msi_count(dev->func));
}

/* MSI-X may have been lost with config space; MSI's enable bit is irq_msi_config()'s. */
static bool messages_enabled(struct vfio_device *dev)
{
	return irq_active(dev->irqs, NULL) != VFIO_PCI_MSIX_IRQ_INDEX ||
	       pci_msix_enabled(dev->func);
}

void device_apply(struct vfio_device *dev)
{
	bool master = pci_bus_master(dev->func) && !device_is_cut(dev) && !dev->migration.quiet;
	enum mem_gate memory = memory_gate(dev);
	bool there = memory_is_there(dev, memory);

	atomic_store(&dev->power_d0, pci_power_state(dev->func) == PCI_POWER_D0);
	apply_irq_mode(dev);
	if (dev->migration.quiet)
		irq_intx_hold(dev->irqs, IRQ_HOLD_QUIET, true);
	if (!master)
		irq_set_gate(dev->irqs, false);
	if (memory != MEM_ON && (dev->mem != memory || device_memory_away(&dev->memory) == there))
		shut_memory(dev, memory, there);
	if (!master && dev->running)
		device_quiesce(dev);
	if (memory == MEM_ON &&
	    (dev->mem != MEM_ON || (dev->view.state == VIEW_OUT) == dev->low_power ||
	     device_memory_away(&dev->memory) == there))
		set_memory(dev, MEM_ON, there);
	if (master && !dev->running) {
		dev->running = true;
		atomic_store(&dev->dma_on, true);
		if (dev->model->resume)
			device_call(dev, call_resume, NULL);
	}
	if (master)
		irq_set_gate(dev->irqs, messages_enabled(dev));
	if (!dev->migration.quiet)
		irq_intx_hold(dev->irqs, IRQ_HOLD_QUIET, false);
}

static void call_reset_pm(struct vfio_device *dev, void *arg)
{
	dev->model->reset(dev->priv, UVFIO_RESET_PM);
}

void device_power(struct vfio_device *dev, unsigned state)
{
	bool loses = !pci_func_desc(dev->func)->no_soft_reset;
	unsigned old = pci_power_state(dev->func);

	if (state == old || !pci_func_desc(dev->func)->pm)
		return;
	if (state != PCI_POWER_D0 && pci_sriov_num_vfs(dev->func)) {
		/* It stays for its VFs (A.7), when what others have of its memory has gone. */
		if (state == PCI_POWER_D3HOT)
			device_memory(dev, MEM_WAIT);
		return;
	}
	if (state == PCI_POWER_D3HOT) {
		atomic_store(&dev->power_d0, false);
		irq_set_gate(dev->irqs, false);
		device_memory(dev, MEM_OFF);
		device_quiesce(dev);
	}
	/* Config space is saved and restored by this. */
	if (pci_set_power_state(dev->func, state))
		return;
	if (old == PCI_POWER_D3HOT && state == PCI_POWER_D0 && loses) {
		device_call(dev, call_reset_pm, NULL);
		irq_reset(dev->irqs);
		view_publish_msix(dev);
	}
}
