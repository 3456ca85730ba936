/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pread and its relatives on a device: a region access (A.6).  VFIO's files have no vectored
 * operations, so the kernel does one read or write an iovec, and so do we.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include "uapi/request.h"
#include "uapi/task.h"

/* What is copied at once; the kernel's limit of one transfer. */
#define CHUNK_BYTES  65536u
#define MAX_RW_COUNT 0x7ffff000ull
#define MAX_IOVECS   1024u

/* One read or write of a contiguous buffer. */
static int64_t transfer(struct uapi_request *req, struct core_device *df, bool write,
			uint64_t offset, uint64_t uaddr, uint64_t count)
{
	struct uapi_core *core = req->server->core;
	uint8_t small[64], *buf = small;
	uint64_t done = 0;
	int64_t ret = 0;

	if (count > MAX_RW_COUNT)
		count = MAX_RW_COUNT;
	if (count > sizeof(small)) {
		buf = malloc(count < CHUNK_BYTES ? count : CHUNK_BYTES);
		if (!buf)
			return -ENOMEM;
	}
	do { /* also once for a count of 0 */
		size_t want = count - done < CHUNK_BYTES ? (size_t)(count - done) : CHUNK_BYTES;
		size_t have = want;
		ssize_t n;

		if (write && want) {
			n = uapi_task_read(req->tid, buf, uaddr + done, want);
			if (n <= 0 || !uapi_request_valid(req)) {
				ret = -EFAULT;
				break;
			}
			have = (size_t)n;
		} else if (!req->asks && !uapi_request_valid(req)) {
			ret = -EFAULT;
			break;
		}
		n = write ? core->ops->device_write(core, df, offset + done, buf, have)
			  : core->ops->device_read(core, df, offset + done, buf, have);
		if (n < 0) {
			/* The end of a region in front of another chunk is a short transfer. */
			ret = done && n == -EINVAL ? 0 : n;
			break;
		}
		if (!write && n && uapi_copy_to(req, uaddr + done, buf, (size_t)n)) {
			ret = -EFAULT;
			break;
		}
		done += (uint64_t)n;
		if (write && have < want && (size_t)n == have) {
			ret = -EFAULT; /* the rest of the buffer is not there */
			break;
		}
		if ((size_t)n < want)
			break;
	} while (done < count);
	if (buf != small)
		free(buf);
	return ret ? ret : (int64_t)done;
}

static bool is_config(const struct uapi_request *req)
{
	return req->args[3] >> 40 == VFIO_PCI_CONFIG_REGION_INDEX;
}

void uapi_do_rw(struct uapi_request *req, bool write)
{
	struct uapi_file *file;

	if ((int64_t)req->args[3] < 0)
		return; /* EINVAL, from the kernel */
	file = uapi_request_subject(req);
	if (!file)
		return;
	/* Config space does nothing when it is read; registers may. */
	req->asks = !write && is_config(req);
	uapi_answer(req, file->kind != UAPI_DEVICE
				 ? -EINVAL
				 : transfer(req, file->device_file, write, req->args[3],
					    req->args[1], req->args[2]));
	req->stored = write;
	if (file->kind == UAPI_DEVICE && write && is_config(req))
		req->changed = file->device;
	uapi_files_put(req->server->files, file, req->id);
}

static int64_t vectored(struct uapi_request *req, struct core_device *df, bool write)
{
	uint64_t nr = req->args[2], offset = req->args[3], total = 0;
	struct iovec *iov;
	int64_t ret = 0;

	if (nr > MAX_IOVECS)
		return -EINVAL;
	if (!nr)
		return 0;
	iov = malloc(nr * sizeof(*iov));
	if (!iov)
		return -ENOMEM;
	if (uapi_copy_from(req, iov, req->args[1], nr * sizeof(*iov))) {
		free(iov);
		return -EFAULT;
	}
	for (unsigned i = 0; i < nr && ret >= 0; i++) {
		if ((ssize_t)iov[i].iov_len < 0)
			ret = -EINVAL;
		if (iov[i].iov_len > MAX_RW_COUNT - total)
			iov[i].iov_len = MAX_RW_COUNT - total;
		total += iov[i].iov_len;
	}
	total = 0;
	for (unsigned i = 0; i < nr && ret >= 0; i++) {
		if (!iov[i].iov_len)
			continue;
		ret = transfer(req, df, write, offset, (uintptr_t)iov[i].iov_base, iov[i].iov_len);
		if (ret < 0)
			break;
		total += (uint64_t)ret;
		offset += (uint64_t)ret;
		if ((uint64_t)ret != iov[i].iov_len)
			break;
	}
	free(iov);
	return ret < 0 && !total ? ret : (int64_t)total;
}

void uapi_do_rwv(struct uapi_request *req, bool write, uint64_t flags)
{
	struct uapi_file *file;

	if ((int64_t)req->args[3] < 0)
		return; /* preadv2's current position, or EINVAL */
	file = uapi_request_subject(req);
	if (!file)
		return;
	if (file->kind != UAPI_DEVICE)
		uapi_answer(req, -EINVAL);
	else if (flags & ~(uint64_t)RWF_HIPRI)
		uapi_answer(req, -EOPNOTSUPP);
	else
		uapi_answer(req, vectored(req, file->device_file, write));
	req->stored = write;
	if (file->kind == UAPI_DEVICE && write && is_config(req))
		req->changed = file->device;
	uapi_files_put(req->server->files, file, req->id);
}
