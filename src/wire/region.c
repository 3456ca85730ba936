/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * REGION_READ, REGION_WRITE and REGION_WRITE_MULTI: read and write on the device file (A.6, A.7).
 *
 * BARs and plain config space are done at once: they wait for nothing but a reset that somebody
 * else has begun, in which case a job waits.  Config writes that may stop DMA or reset the function
 * are always a job's, and so is what takes its time: registers are read and written one by one.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include "wire/wire_private.h"

#define REGION_BYTES (1ull << 40)
#define AT_ONCE      65536u /* bytes of one access that others on the loop wait for; */
#define MULTI        512u   /* and writes of a WRITE_MULTI */

/* Where the core has it; -EINVAL for what is no region.  An offset that would lead into the next
 * region is beyond the end of this one. */
static int locate(const struct vfio_user_region_access *a, uint64_t *offset)
{
	if (a->region >= VFIO_PCI_NUM_REGIONS || a->offset >= REGION_BYTES)
		return -EINVAL;
	*offset = VFIO_REGION_OFFSET(a->region) + a->offset;
	return 0;
}

/* May it take long? */
static bool may_wait(struct wire_conn *conn, const struct vfio_user_region_access *a, bool write)
{
	if (a->count > AT_ONCE || vfio_device_busy(vfio_device_file_device(conn->df)))
		return true;
	/* All of the header but COMMAND and what lies beyond BIST is harmless. */
	return write && a->region == VFIO_PCI_CONFIG_REGION_INDEX &&
	       (a->offset < PCI_CACHE_LINE_SIZE || a->offset + a->count > PCI_STD_HEADER_SIZEOF);
}

static void read_region(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_region_access a;
	uint64_t offset = 0;
	uint8_t small[64], *buf = small;
	ssize_t ret;

	memcpy(&a, msg->payload, sizeof(a));
	ret = locate(&a, &offset);
	if (!a.count) /* before anything else is looked at (A.6) */
		ret = offset = 0;
	if (!ret && a.count > sizeof(small)) {
		buf = wire_io_buffer(conn, a.count);
		ret = buf ? 0 : -ENOMEM;
	}
	if (!ret)
		ret = vfio_device_read(conn->df, offset, buf, a.count);
	if (ret < 0) {
		wire_reply_error(conn, msg, (int)-ret);
		return;
	}
	a.count = (uint32_t)ret;
	wire_reply(conn, msg, &a, sizeof(a), buf, a.count, NULL, 0);
}

static void job_read(struct wire_conn *conn)
{
	read_region(conn, conn->job_msg);
}

void wire_do_region_read(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_region_access a;

	memcpy(&a, msg->payload, sizeof(a));
	if (a.count > WIRE_XFER_MAX || a.count > conn->max_xfer)
		wire_reply_error(conn, msg, EINVAL);
	else if (may_wait(conn, &a, false))
		wire_work(conn, msg, job_read);
	else
		read_region(conn, msg);
}

static void write_region(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_region_access a;
	uint64_t offset = 0;
	ssize_t ret;

	memcpy(&a, msg->payload, sizeof(a));
	ret = locate(&a, &offset);
	if (!a.count)
		ret = offset = 0;
	if (!ret) {
		/* What a store causes is done before it is answered. */
		uvfio_defer_begin();
		ret = vfio_device_write(conn->df, offset, msg->payload + sizeof(a), a.count);
		uvfio_defer_end();
	}
	if (ret < 0) {
		wire_reply_error(conn, msg, (int)-ret);
		return;
	}
	a.count = (uint32_t)ret;
	wire_reply(conn, msg, &a, sizeof(a), NULL, 0, NULL, 0);
}

static void job_write(struct wire_conn *conn)
{
	write_region(conn, conn->job_msg);
}

void wire_do_region_write(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_region_access a;

	memcpy(&a, msg->payload, sizeof(a));
	if (a.count > WIRE_XFER_MAX || a.count != msg->len - sizeof(a))
		wire_reply_error(conn, msg, EINVAL);
	else if (may_wait(conn, &a, true))
		wire_work(conn, msg, job_write);
	else
		write_region(conn, msg);
}

/* ---- REGION_WRITE_MULTI ---- */

static struct vfio_user_write write_at(const struct wire_msg *msg, uint64_t i)
{
	struct vfio_user_write w;

	memcpy(&w, msg->payload + sizeof(struct vfio_user_write_multi) + i * sizeof(w), sizeof(w));
	return w;
}

static void write_multi(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_write_multi multi;
	uint64_t done = 0;
	ssize_t ret = 0;

	memcpy(&multi, msg->payload, sizeof(multi));
	uvfio_defer_begin();
	for (; done < multi.wr_cnt; done++) {
		struct vfio_user_write w = write_at(msg, done);
		struct vfio_user_region_access a = {w.offset, w.region, w.count};
		uint64_t offset;

		ret = w.count > sizeof(w.data) ? -EINVAL : locate(&a, &offset);
		if (!ret)
			ret = vfio_device_write(conn->df, offset, w.data, w.count);
		if (ret < 0)
			break;
	}
	uvfio_defer_end();
	/* Like write(2): an error shows itself when nothing was done. */
	if (ret < 0 && !done) {
		wire_reply_error(conn, msg, (int)-ret);
		return;
	}
	multi.wr_cnt = done;
	wire_reply(conn, msg, &multi, sizeof(multi), NULL, 0, NULL, 0);
}

static void job_write_multi(struct wire_conn *conn)
{
	write_multi(conn, conn->job_msg);
}

void wire_do_write_multi(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_write_multi multi;
	bool wait;

	memcpy(&multi, msg->payload, sizeof(multi));
	if (multi.wr_cnt > (msg->len - sizeof(multi)) / sizeof(struct vfio_user_write)) {
		wire_reply_error(conn, msg, EINVAL);
		return;
	}
	wait = multi.wr_cnt > MULTI;
	for (uint64_t i = 0; i < multi.wr_cnt && !wait; i++) {
		struct vfio_user_write w = write_at(msg, i);
		struct vfio_user_region_access a = {w.offset, w.region, w.count};

		wait = may_wait(conn, &a, true);
	}
	if (wait)
		wire_work(conn, msg, job_write_multi);
	else
		write_multi(conn, msg);
}
