/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * REGION_READ, REGION_WRITE and REGION_WRITE_MULTI: read and write on the device file (A.6, A.7).
 *
 * BARs and plain config space are done at once.  Where that would wait, for a reset that somebody
 * else has begun, a job goes on with what is left.  Config writes that may stop DMA or reset the
 * function are always a job's, and so is what takes its time: registers are read and written one
 * by one.
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
	if (a->region > VFIO_PCI_NUM_REGIONS || a->offset >= REGION_BYTES)
		return -EINVAL;
	*offset = VFIO_REGION_OFFSET(a->region) + a->offset;
	return 0;
}

/* May what it causes take long? */
static bool causes_wait(const struct vfio_user_region_access *a)
{
	/* All of the header but COMMAND and what lies beyond BIST is harmless. */
	return a->region == VFIO_PCI_CONFIG_REGION_INDEX &&
	       (a->offset < PCI_CACHE_LINE_SIZE || a->offset + a->count > PCI_STD_HEADER_SIZEOF);
}

/*
 * Read or write what is left of an access, whose first @conn->resume bytes were done on the loop.
 * @job: in a worker.  The bytes done in all, or -errno; on the loop also -EAGAIN: a worker has to
 * go on.  An access ends at the end of its region, where there is nothing to go on with.
 */
static ssize_t access_rest(struct wire_conn *conn, uint64_t offset, uint8_t *buf, size_t len,
			   bool write, bool job)
{
	size_t done = conn->resume;
	ssize_t ret;

	offset += done;
	buf += done;
	len -= done;
	if (job)
		ret = write ? vfio_device_write(conn->df, offset, buf, len)
			    : vfio_device_read(conn->df, offset, buf, len);
	else
		ret = write ? vfio_device_write_nowait(conn->df, offset, buf, len)
			    : vfio_device_read_nowait(conn->df, offset, buf, len);
	if (ret == -EINVAL && done)
		return (ssize_t)done;
	if (ret < 0)
		return ret;
	conn->resume += (size_t)ret;
	if (!job && (size_t)ret < len)
		return -EAGAIN;
	return (ssize_t)conn->resume;
}

/* False: a worker has to go on with it. */
static bool read_region(struct wire_conn *conn, struct wire_msg *msg, bool job)
{
	struct vfio_user_region_access a;
	uint64_t offset = 0;
	uint8_t *buf;
	ssize_t ret;

	memcpy(&a, msg->payload, sizeof(a));
	ret = locate(&a, &offset);
	if (!a.count) /* before anything else is looked at (A.6) */
		ret = offset = 0;
	/* What was read so far lies there. */
	buf = wire_io_buffer(conn, a.count ? a.count : 1);
	if (!ret && !buf)
		ret = -ENOMEM;
	if (!ret)
		ret = access_rest(conn, offset, buf, a.count, false, job);
	if (ret == -EAGAIN)
		return false;
	conn->resume = 0;
	if (ret < 0) {
		wire_reply_error(conn, msg, (int)-ret);
		return true;
	}
	a.count = (uint32_t)ret;
	wire_reply(conn, msg, &a, sizeof(a), buf, a.count, NULL, 0);
	return true;
}

static void job_read(struct wire_conn *conn)
{
	read_region(conn, conn->job_msg, true);
}

void wire_do_region_read(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_region_access a;

	memcpy(&a, msg->payload, sizeof(a));
	if (a.count > WIRE_XFER_MAX || a.count > conn->max_xfer)
		wire_reply_error(conn, msg, EINVAL);
	else if (a.count > AT_ONCE || !read_region(conn, msg, false))
		wire_work(conn, msg, job_read);
}

/* False: a worker has to go on with it. */
static bool write_region(struct wire_conn *conn, struct wire_msg *msg, bool job)
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
		ret = access_rest(conn, offset, msg->payload + sizeof(a), a.count, true, job);
		uvfio_defer_end();
	}
	if (ret == -EAGAIN)
		return false;
	conn->resume = 0;
	if (ret < 0) {
		wire_reply_error(conn, msg, (int)-ret);
		return true;
	}
	a.count = (uint32_t)ret;
	wire_reply(conn, msg, &a, sizeof(a), NULL, 0, NULL, 0);
	return true;
}

static void job_write(struct wire_conn *conn)
{
	write_region(conn, conn->job_msg, true);
}

void wire_do_region_write(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_region_access a;

	memcpy(&a, msg->payload, sizeof(a));
	if (a.count > WIRE_XFER_MAX || a.count != msg->len - sizeof(a))
		wire_reply_error(conn, msg, EINVAL);
	else if (a.count > AT_ONCE || causes_wait(&a) || !write_region(conn, msg, false))
		wire_work(conn, msg, job_write);
}

/* ---- REGION_WRITE_MULTI ---- */

static struct vfio_user_write write_at(const struct wire_msg *msg, uint64_t i)
{
	struct vfio_user_write w;

	memcpy(&w, msg->payload + sizeof(struct vfio_user_write_multi) + i * sizeof(w), sizeof(w));
	return w;
}

/* From the write on that is the next.  False: a worker has to go on with it. */
static bool write_multi(struct wire_conn *conn, struct wire_msg *msg, bool job)
{
	struct vfio_user_write_multi multi;
	ssize_t ret = 0;

	memcpy(&multi, msg->payload, sizeof(multi));
	uvfio_defer_begin();
	while (conn->resume_at < multi.wr_cnt) {
		struct vfio_user_write w = write_at(msg, conn->resume_at);
		struct vfio_user_region_access a = {w.offset, w.region, w.count};
		uint64_t offset = 0;

		ret = w.count > sizeof(w.data) ? -EINVAL : locate(&a, &offset);
		if (!ret && !job && causes_wait(&a))
			ret = -EAGAIN;
		if (!ret)
			ret = access_rest(conn, offset, w.data, w.count, true, job);
		if (ret < 0)
			break;
		conn->resume = 0;
		conn->resume_at++;
	}
	uvfio_defer_end();
	if (ret == -EAGAIN)
		return false;
	multi.wr_cnt = conn->resume_at;
	conn->resume = conn->resume_at = 0;
	/* Like write(2): an error shows itself when nothing was done. */
	if (ret < 0 && !multi.wr_cnt)
		wire_reply_error(conn, msg, (int)-ret);
	else
		wire_reply(conn, msg, &multi, sizeof(multi), NULL, 0, NULL, 0);
	return true;
}

static void job_write_multi(struct wire_conn *conn)
{
	write_multi(conn, conn->job_msg, true);
}

void wire_do_write_multi(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_write_multi multi;

	memcpy(&multi, msg->payload, sizeof(multi));
	if (multi.wr_cnt > (msg->len - sizeof(multi)) / sizeof(struct vfio_user_write))
		wire_reply_error(conn, msg, EINVAL);
	else if (multi.wr_cnt > MULTI || !write_multi(conn, msg, false))
		wire_work(conn, msg, job_write_multi);
}
