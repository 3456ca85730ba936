/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Questions asked ahead: a device that is opened is asked for all its regions and interrupt types,
 * and each answer would wait for two wake-ups.  So the questions are sent one behind the other, as
 * the protocol allows, and an answer is waited for when it is wanted.
 *
 * Only while a device is opened or connected anew, by the thread that does that.
 */
#include <stdlib.h>
#include <string.h>
#include "driver/vu.h"

/* As many as a device of the usual kind has, of either. */
#define REGIONS 16u

struct question {
	struct vu_call call;
	bool asked;
	union {
		struct vfio_region_info region;
		struct vfio_irq_info irq;
	} request;
	int fds[VFIO_USER_MAX_FDS];
	uint8_t reply[VU_AHEAD_REPLY];
};

struct vu_ahead {
	struct question regions[REGIONS], irqs[DRV_NR_IRQS];
};

static void ask(struct uvfio_pci *dev, struct question *q, uint16_t command, size_t len,
		size_t reply_len)
{
	q->call = (struct vu_call){
		.command = command,
		.head = &q->request,
		.head_len = len,
		.reply = q->reply,
		.reply_len = reply_len,
		.reply_fds = q->fds,
	};
	/* Whatever is wrong with the connection shows itself again when it is asked then. */
	q->asked = !vu_begin(vu_conn(dev), &q->call);
}

void vu_ask_ahead(struct uvfio_pci *dev)
{
	struct drv_vu *u = dev->way;
	struct vu_ahead *ahead = calloc(1, sizeof(*ahead));

	if (!ahead)
		return;
	vu_forget_ahead(dev);
	u->ahead = ahead;
	for (unsigned i = 0; i < REGIONS && i < dev->nr_regions; i++) {
		struct question *q = &ahead->regions[i];

		q->request.region = (struct vfio_region_info){.argsz = VU_AHEAD_REPLY, .index = i};
		ask(dev, q, VFIO_USER_DEVICE_GET_REGION_INFO, sizeof(q->request.region),
		    VU_AHEAD_REPLY);
	}
	for (unsigned i = 0; i < DRV_NR_IRQS && i < dev->nr_irqs; i++) {
		struct question *q = &ahead->irqs[i];

		q->request.irq =
			(struct vfio_irq_info){.argsz = sizeof(q->request.irq), .index = i};
		ask(dev, q, VFIO_USER_DEVICE_GET_IRQ_INFO, sizeof(q->request.irq),
		    sizeof(q->request.irq));
	}
}

static struct question *question_of(const struct vu_ahead *ahead, const struct vu_call *call)
{
	struct vu_ahead *a = (struct vu_ahead *)ahead;
	uint32_t index;

	if (!ahead)
		return NULL;
	if (call->command == VFIO_USER_DEVICE_GET_REGION_INFO) {
		index = ((const struct vfio_region_info *)call->head)->index;
		return index < REGIONS ? &a->regions[index] : NULL;
	}
	index = ((const struct vfio_irq_info *)call->head)->index;
	return index < DRV_NR_IRQS ? &a->irqs[index] : NULL;
}

int vu_call_ahead(struct uvfio_pci *dev, struct vu_call *call)
{
	struct question *q = question_of(((struct drv_vu *)dev->way)->ahead, call);
	int ret;

	/* It is another question when there is room for a longer answer. */
	if (!q || !q->asked || call->head_len != q->call.head_len ||
	    memcmp(call->head, &q->request, call->head_len))
		return vu_call(vu_conn(dev), call);
	q->asked = false;
	ret = vu_end(vu_conn(dev), &q->call);
	call->got = q->call.got;
	call->got_fds = 0;
	memcpy(call->reply, q->reply, call->got);
	if (call->reply_fds) {
		call->got_fds = q->call.got_fds;
		memcpy(call->reply_fds, q->fds, call->got_fds * sizeof(int));
	} else {
		vu_close_fds(q->fds, q->call.got_fds);
	}
	return ret;
}

static void drop(struct uvfio_pci *dev, struct question *q)
{
	if (!q->asked)
		return;
	(void)vu_end(vu_conn(dev), &q->call);
	vu_close_fds(q->fds, q->call.got_fds);
}

void vu_forget_ahead(struct uvfio_pci *dev)
{
	struct drv_vu *u = dev->way;
	struct vu_ahead *ahead = u->ahead;

	if (!ahead)
		return;
	for (unsigned i = 0; i < REGIONS; i++)
		drop(dev, &ahead->regions[i]);
	for (unsigned i = 0; i < DRV_NR_IRQS; i++)
		drop(dev, &ahead->irqs[i]);
	free(ahead);
	u->ahead = NULL;
}
