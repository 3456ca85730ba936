/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device does wrong on demand: DMA that faults, resets that do not come back, slow
 * registers, interrupt storms.  Errors of the link are inject.c's.
 *
 * Theory of operation.  Each is a number that is looked at where the thing would be done right: one
 * relaxed load there while nothing is wrong.  Counted ones are taken by whoever they happen to.  A
 * reset that is stuck sleeps with config_lock held, as a host that waits for a device to answer
 * does; whoever clears wakes it.
 */
#include <errno.h>
#include <time.h>
#include "vfio/inject.h"
#include "vfio/machine_private.h"

void mishap_init(struct vfio_device *dev)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&dev->mishap.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dev->mishap.cleared, &attr);
	pthread_condattr_destroy(&attr);
}

void mishap_fini(struct vfio_device *dev)
{
	pthread_cond_destroy(&dev->mishap.cleared);
	pthread_mutex_destroy(&dev->mishap.lock);
}

bool mishap_take(atomic_uint *count)
{
	unsigned n = atomic_load(count);

	while (n && !atomic_compare_exchange_weak(count, &n, n - 1))
		;
	return n;
}

/* ---- slow registers ---- */

void mishap_sleep(uint64_t ns)
{
	const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000),
				    .tv_nsec = (long)(ns % 1000000000)};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

/* ---- resets ---- */

/* Until the time is over, or there is nothing wrong any more. */
static void stay_stuck(struct vfio_device *dev, unsigned turn)
{
	struct mishap *m = &dev->mishap;
	struct timespec end;
	uint64_t ns;

	pthread_mutex_lock(&m->lock);
	clock_gettime(CLOCK_MONOTONIC, &end);
	ns = (uint64_t)end.tv_nsec + m->stuck_ns;
	end.tv_sec += (time_t)(ns / 1000000000);
	end.tv_nsec = (long)(ns % 1000000000);
	while (m->clears == turn && !device_is_cut(dev)) {
		if (pthread_cond_timedwait(&m->cleared, &m->lock, &end) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&m->lock);
}

bool mishap_reset(struct vfio_device *dev)
{
	unsigned turn;
	bool stuck;

	if (!atomic_load(&dev->mishap.stuck_resets))
		return false;
	pthread_mutex_lock(&dev->mishap.lock);
	turn = dev->mishap.clears;
	stuck = mishap_take(&dev->mishap.stuck_resets);
	pthread_mutex_unlock(&dev->mishap.lock);
	if (!stuck)
		return false;
	device_reset_prepare(dev);
	stay_stuck(dev, turn);
	/* It was given up: config space is as it was, and so is the device. */
	device_apply(dev);
	atomic_store(&dev->in_reset, false);
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN, "%s: the reset failed (injected)", dev->name);
	return true;
}

void mishap_clear(struct vfio_device *dev)
{
	struct mishap *m = &dev->mishap;

	atomic_store(&m->faults, 0);
	atomic_store(&m->stuck_resets, 0);
	atomic_store(&m->slow_ns, 0);
	irq_intx_storm(dev->irqs, 0);
	pthread_mutex_lock(&m->lock);
	m->clears++;
	pthread_cond_broadcast(&m->cleared);
	pthread_mutex_unlock(&m->lock);
}

/* ---- what others ask for ---- */

void vfio_device_inject_faults(struct vfio_device *dev, unsigned count)
{
	atomic_store(&dev->mishap.faults, count);
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN,
		  "%s: injected: the next %u DMA transfers fault", dev->name, count);
}

void vfio_device_inject_stuck_resets(struct vfio_device *dev, unsigned count, uint64_t ns)
{
	pthread_mutex_lock(&dev->mishap.lock);
	dev->mishap.stuck_ns = ns < VFIO_STUCK_MAX_NS ? ns : VFIO_STUCK_MAX_NS;
	pthread_mutex_unlock(&dev->mishap.lock);
	atomic_store(&dev->mishap.stuck_resets, count);
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN, "%s: injected: the next %u resets fail",
		  dev->name, count);
}

void vfio_device_inject_slow_mmio(struct vfio_device *dev, uint64_t ns)
{
	atomic_store(&dev->mishap.slow_ns, ns < VFIO_SLOW_MAX_NS ? ns : VFIO_SLOW_MAX_NS);
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN, "%s: injected: accesses to BARs are slow",
		  dev->name);
}

int vfio_device_inject_irqs(struct vfio_device *dev, unsigned count, struct uvfio_error *err)
{
	unsigned vectors;
	int mode = irq_active(dev->irqs, &vectors);

	if (mode < 0)
		return uvfio_error_set(err, -EINVAL, "%s: nobody has enabled its interrupts",
				       dev->name);
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN, "%s: injected: %u interrupts%s", dev->name,
		  count, mode == VFIO_PCI_INTX_IRQ_INDEX ? "" : " of each vector");
	if (mode == VFIO_PCI_INTX_IRQ_INDEX) {
		irq_intx_storm(dev->irqs, count);
		return 0;
	}
	for (unsigned n = 0; n < count; n++) {
		for (unsigned i = 0; i < vectors; i++)
			irq_raise(dev->irqs, i);
	}
	return 0;
}

void vfio_device_inject_irq(struct vfio_device *dev, unsigned vector)
{
	uvfio_irq_raise((struct uvfio_device *)dev, vector);
}

void vfio_device_inject_nothing(struct vfio_device *dev)
{
	mishap_clear(dev);
	uvfio_log(dev->machine->log, UVFIO_LOG_INFO, "%s: nothing is injected any more", dev->name);
}

void vfio_device_injected(struct vfio_device *dev, struct vfio_injected *out)
{
	out->faults = atomic_load(&dev->mishap.faults);
	out->stuck_resets = atomic_load(&dev->mishap.stuck_resets);
	out->slow_ns = atomic_load(&dev->mishap.slow_ns);
	out->intx = irq_intx_storm_left(dev->irqs);
}
