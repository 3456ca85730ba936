/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a server asks of its client: DMA_READ and DMA_WRITE, for memory that it was given no file
 * of.
 *
 * There are two layouts: the specification's, with a 64-bit count, and that of QEMU 10.1, with a
 * 32-bit count and the data 4 bytes earlier.  A request is answered in its own.  They are told
 * apart by the size of the message: exactly what the 64-bit count makes it, else exactly what the
 * 32-bit count makes it, else it is wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "driver/vu.h"

struct access {
	uint64_t address;
	uint64_t count;
	size_t head; /* bytes before the data */
};

static int parse(const struct vfio_user_header *h, const uint8_t *payload, size_t len,
		 struct access *a)
{
	const size_t wide = sizeof(struct vfio_user_dma_access),
		     narrow = offsetof(struct vfio_user_dma_access32, data);
	bool write = h->command == VFIO_USER_DMA_WRITE;
	uint32_t count32;

	if (len < narrow)
		return -EINVAL;
	memcpy(&a->address, payload, sizeof(a->address));
	memcpy(&count32, payload + 8, sizeof(count32));
	if (len >= wide) {
		memcpy(&a->count, payload + 8, sizeof(a->count));
		a->head = wide;
		if (a->count <= VU_XFER && len == wide + (write ? a->count : 0))
			return 0;
	}
	a->count = count32;
	a->head = narrow;
	if (a->count > VU_XFER || len != narrow + (write ? a->count : 0))
		return -EINVAL;
	return 0;
}

static int refuse(struct vu_conn *c, int fd, const struct vfio_user_header *h, int error)
{
	struct vfio_user_header reply = vfio_user_reply(h, sizeof(reply), (uint32_t)-error);
	struct iovec iov = {.iov_base = &reply, .iov_len = sizeof(reply)};

	if (h->flags & VFIO_USER_NO_REPLY)
		return 0;
	return vu_send(c, fd, &iov, 1, NULL, 0);
}

int vu_answer(struct vu_conn *c, int fd, const struct vfio_user_header *h, uint8_t *payload,
	      size_t len)
{
	struct vfio_user_header reply;
	uint8_t *data = NULL;
	struct iovec iov[3];
	struct access a;
	int ret, nr = 2;

	if (h->command != VFIO_USER_DMA_READ && h->command != VFIO_USER_DMA_WRITE)
		return refuse(c, fd, h, -EOPNOTSUPP);
	ret = parse(h, payload, len, &a);
	if (ret)
		return refuse(c, fd, h, ret);
	if (h->command == VFIO_USER_DMA_READ) {
		data = malloc(a.count ? a.count : 1);
		if (!data)
			return refuse(c, fd, h, -ENOMEM);
		ret = drv_dma_copy(c->dev->space, a.address, data, a.count, true);
	} else {
		ret = drv_dma_copy(c->dev->space, a.address, payload + a.head, a.count, false);
	}
	if (ret) {
		free(data);
		return refuse(c, fd, h, ret);
	}
	/* The fixed part of the request is that of the reply. */
	reply = vfio_user_reply(h, (uint32_t)(sizeof(reply) + a.head), 0);
	iov[0] = (struct iovec){.iov_base = &reply, .iov_len = sizeof(reply)};
	iov[1] = (struct iovec){.iov_base = payload, .iov_len = a.head};
	if (data) {
		reply.size += (uint32_t)a.count;
		iov[2] = (struct iovec){.iov_base = data, .iov_len = a.count};
		nr = 3;
	}
	ret = h->flags & VFIO_USER_NO_REPLY ? 0 : vu_send(c, fd, iov, nr, NULL, 0);
	free(data);
	return ret;
}
