/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's DMA: bus mastering, the address space of its container, faults, and the account of
 * what is in flight.
 *
 * Theory of operation.  A transfer first counts itself in flight and then looks whether DMA is
 * allowed; dma_stop() first disallows it and then waits until nothing is in flight.  So either the
 * transfer is seen and waited for, or it is refused.
 *
 * A transfer that touches memory which somebody must answer for goes on by messages (iommu/peer.h)
 * and completes in the device's context.  Nobody waits for the answer for long: dma_stop() abandons
 * such transfers, and so do an unmap and the death of the peer.
 *
 * A refused transfer is a fault: counted, shown to the observer, and logged, at most a few times a
 * second for a device, because a client's driver can cause any number of them.
 */
#include <errno.h>
#include <string.h>
#include "vfio/machine_private.h"

/* Of a struct uvfio_dma_pin, behind what is the address space's: what to log, and how many bytes of
 * it; 0: the device reads. */
enum { PIN_IOVA = 8, PIN_WRITTEN };
#define FAULT_LOG_BURST       5
#define FAULT_LOG_INTERVAL_MS 1000

static struct vfio_device *to_dev(struct uvfio_device *dev)
{
	return (struct vfio_device *)dev;
}

static void record_fault(struct vfio_device *dev, const struct iommu_fault *refused, int ret)
{
	const struct iommu_fault *fault = refused;
	struct iommu_fault quiet = *refused;
	unsigned lost = 0;

	/* What is off then is not what the driver has switched off (E.2). */
	if (refused->reason == IOMMU_FAULT_BUS_MASTER && atomic_load(&dev->migration.quiet)) {
		quiet.reason = IOMMU_FAULT_QUIET;
		fault = &quiet;
	}
	atomic_fetch_add_explicit(&dev->stats.faults, 1, memory_order_relaxed);
	observe_fault(dev, fault, ret);
	device_emit(dev, VFIO_EVENT_FAULT, fault->iova, fault->len,
		    (uint64_t)fault->reason | (uint64_t)fault->write << 8, ret);
	if (!uvfio_log_wants(dev->machine->log, UVFIO_LOG_WARN) ||
	    !uvfio_ratelimit_ok(&dev->fault_limit, FAULT_LOG_BURST, FAULT_LOG_INTERVAL_MS, &lost))
		return;
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN,
		  "%s: DMA %s of %llu bytes at IOVA %#llx refused: %s", dev->name,
		  fault->write ? "write" : "read", (unsigned long long)fault->len,
		  (unsigned long long)fault->iova, vfio_fault_reason(fault->reason));
	if (lost)
		uvfio_log(dev->machine->log, UVFIO_LOG_WARN, "%s: %u more DMA faults not shown",
			  dev->name, lost);
}

static void leave(struct vfio_device *dev)
{
	if (atomic_fetch_sub(&dev->inflight, 1) == 1 && atomic_load(&dev->inflight_waited_for)) {
		pthread_mutex_lock(&dev->quiet_lock);
		pthread_cond_broadcast(&dev->quiet_cond);
		pthread_mutex_unlock(&dev->quiet_lock);
	}
}

/* Counts one in flight and returns the space, or NULL with a fault recorded. */
static struct iommu_space *enter(struct vfio_device *dev, uint64_t iova, size_t len, bool to_client)
{
	struct iommu_space *space;

	atomic_fetch_add(&dev->inflight, 1);
	space = atomic_load(&dev->dma_on) ? atomic_load(&dev->space) : NULL;
	if (!space) {
		leave(dev);
		record_fault(dev,
			     &(struct iommu_fault){.iova = iova,
						   .len = len,
						   .write = to_client,
						   .reason = IOMMU_FAULT_BUS_MASTER},
			     -EPERM);
	}
	return space;
}

/* The device has written [@iova, +@len): its own log (E.4), and that of its hardware page table
 * (D.3), which stays as long as the transfer is in flight. */
static void mark_written(struct vfio_device *dev, uint64_t iova, uint64_t len)
{
	struct dma_logging *hwpt = atomic_load_explicit(&dev->hwpt_dirty, memory_order_relaxed);

	dma_logging_mark(&dev->dma_logging, iova, len);
	if (__builtin_expect(hwpt != NULL, 0))
		dma_logging_mark(hwpt, iova, len);
}

/* Only the work context writes it: no locked instruction, which would also wait until all that was
 * copied has left the CPU's store buffer. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* [work context] */
static void count_transfer(struct vfio_device *dev, size_t len)
{
	add(&dev->stats.dma_ops, 1);
	add(&dev->stats.dma_bytes, len);
}

/* [work context] A transfer by messages has ended.  It is in flight until the model knows. */
static void submit_done(void *arg, int status, const struct iommu_fault *fault)
{
	struct uvfio_dma *op = arg;
	struct vfio_device *dev = op->core[0];

	/* Of one that failed, messages behind the first that did may have written, too. */
	if (op->to_client)
		mark_written(dev, op->iova, op->len);
	if (status)
		record_fault(dev, fault, status);
	else
		count_transfer(dev, op->len);
	op->status = status;
	op->done(op);
	leave(dev);
}

/* One that was asked for: recorded, true. */
static bool injected_fault(struct vfio_device *dev, struct iommu_fault *fault)
{
	if (__builtin_expect(!atomic_load_explicit(&dev->mishap.faults, memory_order_relaxed), 1) ||
	    !mishap_take(&dev->mishap.faults))
		return false;
	fault->reason = IOMMU_FAULT_INJECTED;
	record_fault(dev, fault, -EFAULT);
	return true;
}

int uvfio_dma_submit(struct uvfio_device *udev, struct uvfio_dma *op)
{
	struct vfio_device *dev = to_dev(udev);
	struct iommu_space *space;
	struct iommu_fault fault = {.iova = op->iova, .len = op->len, .write = op->to_client};
	int ret;

	if (injected_fault(dev, &fault))
		return -EFAULT;
	space = enter(dev, op->iova, op->len, op->to_client);
	if (!space)
		return -EPERM;
	op->core[0] = dev;
	ret = iommu_submit(&dev->dma_user, space, &dev->iommu_cache, op->iova, op->buf, op->len,
			   op->to_client, submit_done, op, &fault);
	if (ret == 1)
		return 1;
	/* What lies in front of a fault may have been written. */
	if (op->to_client)
		mark_written(dev, op->iova,
			     ret && ret != -ENOMEM ? fault.iova - op->iova : op->len);
	leave(dev);
	if (ret) {
		if (ret != -ENOMEM)
			record_fault(dev, &fault, ret);
		return ret;
	}
	count_transfer(dev, op->len);
	return 0;
}

int uvfio_dma_pin(struct uvfio_device *udev, uint64_t iova, size_t len, bool to_client,
		  struct iovec *iov, int max_iov, struct uvfio_dma_pin *pin)
{
	struct vfio_device *dev = to_dev(udev);
	struct iommu_space *space;
	struct iommu_fault fault = {.iova = iova, .len = len, .write = to_client};
	int ret;

	if (!len)
		return -EINVAL;
	if (injected_fault(dev, &fault))
		return -EFAULT;
	space = enter(dev, iova, len, to_client);
	if (!space)
		return -EPERM;
	ret = iommu_pin(space, &dev->iommu_cache, iova, len, to_client, iov, max_iov, pin, &fault);
	if (ret < 0) {
		leave(dev);
		if (ret != -ENOTSUP && ret != -E2BIG)
			record_fault(dev, &fault, ret);
		return ret;
	}
	count_transfer(dev, len);
	/* Marked when it is let go: what is written until then is written by then. */
	pin->core[PIN_IOVA] = (void *)(uintptr_t)iova;
	pin->core[PIN_WRITTEN] = (void *)(to_client ? len : 0);
	return ret;
}

void uvfio_dma_unpin(struct uvfio_device *udev, struct uvfio_dma_pin *pin)
{
	struct vfio_device *dev = to_dev(udev);

	mark_written(dev, (uintptr_t)pin->core[PIN_IOVA], (uintptr_t)pin->core[PIN_WRITTEN]);
	iommu_unpin(pin);
	leave(dev);
}

void dma_abandon(struct vfio_device *dev)
{
	atomic_store(&dev->dma_on, false);
	if (!atomic_load(&dev->inflight))
		return;
	/* Who submits at this moment is in the context; those who come later are refused. */
	uvfio_ctx_flush(dev->ctx);
	iommu_user_abandon(&dev->dma_user, -EPERM);
	uvfio_ctx_flush(dev->ctx);
}

void dma_stop(struct vfio_device *dev)
{
	dma_abandon(dev);
	uvfio_defer_handover();
	atomic_store(&dev->inflight_waited_for, true);
	pthread_mutex_lock(&dev->quiet_lock);
	while (atomic_load(&dev->inflight))
		pthread_cond_wait(&dev->quiet_cond, &dev->quiet_lock);
	pthread_mutex_unlock(&dev->quiet_lock);
	atomic_store(&dev->inflight_waited_for, false);
}
