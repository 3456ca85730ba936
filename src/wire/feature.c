/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DEVICE_FEATURE: the kernel's call, whose structure comes as the message.
 *
 * DMA logging (E.4) has another form in a message: the ranges of START and the bitmap of REPORT
 * come right behind the structure, which has no pointer to them.  So the message is made into what
 * a program would have in its memory, and the answer is made back; the rules see only the former.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/vfio_uapi.h"
#include "wire/wire_private.h"

#define HEAD   sizeof(struct vfio_device_feature)
#define START  sizeof(struct vfio_device_feature_dma_logging_control)
#define REPORT sizeof(struct vfio_device_feature_dma_logging_report)
/* Both lack the pointer at their end. */
#define SHORT sizeof(uint64_t)

static void answer(struct wire_conn *conn, struct wire_msg *msg, uint8_t *buf, size_t len)
{
	struct vfio_device_feature feature;

	memcpy(&feature, msg->payload, sizeof(feature));
	feature.argsz = (uint32_t)len;
	memcpy(buf, &feature, sizeof(feature));
	wire_reply(conn, msg, buf, len, NULL, 0, NULL, 0);
}

static int call(struct wire_conn *conn, struct wire_client *c, uint8_t *buf, size_t in, size_t size)
{
	wire_client_init(c, conn, conn->job_msg, buf, in, size);
	return vfio_device_ioctl(conn->df, &c->client, VFIO_DEVICE_FEATURE, 0);
}

static int plain(struct wire_conn *conn, struct wire_msg *msg, uint32_t argsz, bool token)
{
	struct wire_client c;
	size_t size;
	uint8_t *buf;
	int ret;

	/* Room for what the client takes, or for what it sent. */
	size = argsz < WIRE_XFER_MAX ? argsz : WIRE_XFER_MAX;
	if (size < msg->len)
		size = msg->len;
	buf = calloc(1, size);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, msg->payload, msg->len);
	ret = call(conn, &c, buf, msg->len, size);
	if (token)
		explicit_bzero(buf + HEAD, size - HEAD);
	/* PROBE and SET echo the request, but not a token (C). */
	if (ret >= 0)
		answer(conn, msg, buf, c.out > msg->len ? c.out : msg->len);
	free(buf);
	return ret;
}

/* The message with the pointer @to behind the first @len bytes of its structure, in a buffer of
 * @size bytes. */
static uint8_t *with_pointer(const struct wire_msg *msg, size_t len, uint64_t to, size_t size)
{
	uint8_t *buf = calloc(1, size);
	struct vfio_device_feature feature;
	size_t head = HEAD + len - SHORT;

	if (!buf)
		return NULL;
	memcpy(&feature, msg->payload, sizeof(feature));
	feature.argsz = (uint32_t)(HEAD + len);
	memcpy(buf, &feature, sizeof(feature));
	memcpy(buf + HEAD, msg->payload + HEAD, head - HEAD);
	memcpy(buf + head, &to, sizeof(to));
	return buf;
}

/* Without ranges a message means all of the memory: libvfio-user's clients send it so. */
static int logging_start(struct wire_conn *conn, struct wire_msg *msg, uint32_t argsz)
{
	static const struct vfio_device_feature_dma_logging_range all = {0, 1ull << 48};
	const size_t nr_at =
		HEAD + offsetof(struct vfio_device_feature_dma_logging_control, num_ranges);
	const size_t head = HEAD + START - SHORT;
	size_t len = msg->len + SHORT;
	struct wire_client c;
	uint8_t *buf;
	uint32_t nr;
	int ret;

	if (msg->len < head || argsz < head)
		return -EINVAL;
	memcpy(&nr, msg->payload + nr_at, sizeof(nr));
	if (!nr)
		len = head + SHORT + sizeof(all);
	buf = with_pointer(msg, START, head + SHORT,
			   len > msg->len + SHORT ? len : msg->len + SHORT);
	if (!buf)
		return -ENOMEM;
	if (nr) {
		memcpy(buf + head + SHORT, msg->payload + head, msg->len - head);
	} else {
		memcpy(buf + head + SHORT, &all, sizeof(all));
		memcpy(buf + nr_at, &(const uint32_t){1}, sizeof(nr));
	}
	ret = call(conn, &c, buf, len, len);
	if (ret >= 0) {
		memcpy(buf + nr_at, &nr, sizeof(nr));
		memmove(buf + head, buf + head + SHORT, msg->len - head);
		answer(conn, msg, buf, msg->len);
	}
	free(buf);
	/* Ranges that the message does not have. */
	return ret == -EFAULT ? -EINVAL : ret;
}

static int logging_report(struct wire_conn *conn, struct wire_msg *msg, uint32_t argsz)
{
	const size_t head = HEAD + REPORT - SHORT;
	struct vfio_device_feature_dma_logging_report report;
	uint64_t bytes = 0;
	struct wire_client c;
	uint8_t *buf;
	int ret;

	if (msg->len < head || argsz < head)
		return -EINVAL;
	memcpy(&report, msg->payload + HEAD, REPORT - SHORT);
	/* Where it is none, the rules say so. */
	if (report.page_size && report.length)
		bytes = ((report.length - 1) / report.page_size / 64 + 1) * 8;
	/* The answer has no room for more: who asks for it is told before anything is forgotten. */
	if (bytes > WIRE_XFER_MAX - head || argsz - head < bytes)
		bytes = 0;
	buf = with_pointer(msg, REPORT, head + SHORT, head + SHORT + bytes);
	if (!buf)
		return -ENOMEM;
	ret = call(conn, &c, buf, head + SHORT + bytes, head + SHORT + bytes);
	if (ret >= 0) {
		memmove(buf + head, buf + head + SHORT, bytes);
		answer(conn, msg, buf, head + bytes);
	}
	free(buf);
	return ret == -EFAULT ? -EINVAL : ret;
}

static void job_feature(struct wire_conn *conn)
{
	const uint32_t ops = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET |
			     VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_MASK;
	struct wire_msg *msg = conn->job_msg;
	struct vfio_device_feature feature;
	int ret;

	memcpy(&feature, msg->payload, sizeof(feature));
	switch (feature.flags & ops) {
	case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		ret = logging_start(conn, msg, feature.argsz);
		break;
	case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		ret = logging_report(conn, msg, feature.argsz);
		break;
	default:
		ret = plain(conn, msg, feature.argsz,
			    (feature.flags & VFIO_DEVICE_FEATURE_MASK) ==
				    VFIO_DEVICE_FEATURE_PCI_VF_TOKEN);
	}
	if (ret < 0)
		wire_reply_error(conn, msg, -ret);
}

void wire_do_feature(struct wire_conn *conn, struct wire_msg *msg)
{
	wire_work(conn, msg, job_feature);
}
