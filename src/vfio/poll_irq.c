/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * INTx from a timer, for a device that has no interrupt of its own (A.8, `poll-interrupt=`).
 *
 * A driver that must look at its device again and again is woken to do so.  To it this is an
 * ordinary INTx: count 1, a pin in config space, automasked.  A tick asserts the line until it has
 * been delivered once, as there is no register that would tell the device of it: ticks that come
 * while INTx is masked are one, which fires when it is unmasked.  So a driver is never woken more
 * often than it unmasks.
 *
 * Those of a PF's VFs are the VFs' own (`vf-poll-interrupt=`): what a VF cannot have on a bus, a
 * pin, is all that the timer needs, so a VF without vectors has one interrupt.
 *
 * The timer runs while INTx is the active mode and the device in D0.  It is switched off by a flag:
 * a tick under way sees it, at the latest the next one does, and then there are no more.
 */
#include <errno.h>
#include "vfio/machine_private.h"

static void tick(void *arg)
{
	struct vfio_device *dev = arg;

	if (!atomic_load(&dev->poll_irq_on))
		return;
	irq_intx_pulse(dev->irqs);
	device_emit(dev, VFIO_EVENT_IRQ, VFIO_PCI_INTX_IRQ_INDEX, 0, 0, 0);
	uvfio_timer_arm(dev->poll_irq_timer, dev->poll_ns);
}

static int make_timer(struct vfio_device *dev, struct uvfio_error *err)
{
	dev->poll_irq_timer = uvfio_ctx_timer_new(dev->ctx, tick, dev);
	return dev->poll_irq_timer ? 0 : uvfio_error_set(err, -ENOMEM, "out of memory");
}

int poll_irq_init_vf(struct vfio_device *vf, struct uvfio_error *err)
{
	vf->poll_ns = vf->physfn->vf_poll_ns;
	return vf->poll_ns ? make_timer(vf, err) : 0;
}

int poll_irq_init(struct vfio_device *dev, struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	if (dev->vf_poll_ns && !desc->sriov)
		return uvfio_error_set(err, -EINVAL,
				       "vf-poll-interrupt=: this device has no virtual functions; "
				       "leave vf-poll-interrupt= out");
	if (!dev->poll_ns)
		return 0;
	if (desc->interrupt_pin)
		return uvfio_error_set(err, -EINVAL,
				       "poll-interrupt=: this device has an interrupt pin of its "
				       "own; leave poll-interrupt= out");
	desc->interrupt_pin = 1;
	return make_timer(dev, err);
}

void poll_irq_fini(struct vfio_device *dev)
{
	atomic_store(&dev->poll_irq_on, false);
	uvfio_timer_free(dev->poll_irq_timer);
}

void poll_irq_apply(struct vfio_device *dev)
{
	bool on = dev->poll_irq_timer && atomic_load(&dev->power_d0) && !device_is_cut(dev) &&
		  irq_active(dev->irqs, NULL) == VFIO_PCI_INTX_IRQ_INDEX;

	if (atomic_exchange(&dev->poll_irq_on, on) != on && on)
		uvfio_timer_arm(dev->poll_irq_timer, dev->poll_ns);
}
