/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA_MAP and DMA_UNMAP: the rules are type1v2's (D.2); here is what memory a client may hand in.
 *
 * An fd is touched only as far as it is known not to call into somebody's file system.  Memory
 * files (memfd, POSIX shared memory, hugetlbfs) answer F_GET_SEALS, which asks nothing of anyone;
 * they are mapped here, once a file.  Of any other fd a worker finds out what is known of it; a
 * regular file is reached by reads and writes that may be abandoned, and closed in the connection's
 * trash.  The rest is refused.
 *
 * The memory file that a region's fd is, of this server's devices, is not mapped: it is device
 * memory (vfio/device_memory.h), reached as the device whose it is has it.  What a client may do
 * there is what the fd was opened for; that its pages are sealed says nothing of that.  The view of
 * another server's device is a memory file like any other.
 *
 * An unmap of few pages is done on the loop, in two steps: what it removes is out of the table at
 * once, and where a transfer is still in flight, or a file would be let go, a worker waits for that
 * and answers.  Larger ones are a worker's altogether.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include "base/fd.h"
#include "vfio/device_memory.h"
#include "wire/wire_private.h"

/* Those of a memory file; -1 for any other. */
static int seals_of(int fd)
{
	return fcntl(fd, F_GET_SEALS);
}

/* 0, or -errno as the rules have it for the memory of a program. */
static int look_at(struct vfio_machine *machine, int fd, int seals, uint64_t offset, uint64_t size,
		   unsigned prot, struct iommu_mem *mem)
{
	int flags = fcntl(fd, F_GETFL);
	struct statfs fs;
	bool memory = seals >= 0;
	struct stat st;
	int ret;

	if (flags < 0 || flags & O_PATH)
		return -EINVAL;
	if (memory ? uvfio_fstat(fd, &st) : uvfio_fstat_unasked(fd, &st))
		return -EFAULT;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	/* To map a file takes the right to read it. */
	if ((flags & O_ACCMODE) == O_WRONLY ||
	    (prot & IOMMU_WRITE && (flags & O_ACCMODE) != O_RDWR))
		return -EFAULT;
	ret = memory ? vfio_device_memory(machine, &st, offset, size, mem) : -ENOENT;
	if (ret != -ENOENT)
		return ret;
	if (size > (uint64_t)st.st_size || offset > (uint64_t)st.st_size - size)
		return -EFAULT;
	*mem = (struct iommu_mem){
		.kind = memory ? IOMMU_MEM_FILE : IOMMU_MEM_PROCESS,
		.fd = fd,
		.offset = offset,
		.len = size,
		.file_id = {st.st_dev, st.st_ino},
		.page = IOMMU_PAGE_SIZE,
		.may_block = !memory,
		.keep_fd = memory,
	};
	if (!memory) {
		/* An fd a mapping: two fds on one file may differ in what they permit. */
		mem->file_id[1] |= (flags & O_ACCMODE) == O_RDWR ? 0 : 1ull << 63;
		return 0;
	}
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) && prot & IOMMU_WRITE)
		return -EFAULT;
	/* With huge pages, which tmpfs may have too without being made of them. */
	if (st.st_blksize != IOMMU_PAGE_SIZE) {
		if (fstatfs(fd, &fs))
			return -EFAULT;
		if (fs.f_type == HUGETLBFS_MAGIC)
			mem->page = (uint32_t)fs.f_bsize;
	}
	return 0;
}

int wire_import(void *client, uint64_t vaddr, uint64_t size, unsigned prot, struct iommu_mem **mem,
		unsigned *nr)
{
	struct vfio_client *vc = client;
	struct wire_client *c =
		(struct wire_client *)((char *)vc - offsetof(struct wire_client, client));
	int ret;

	if (c->fd < 0) {
		c->mem = (struct iommu_mem){
			.kind = IOMMU_MEM_PEER,
			.fd = -1,
			.offset = c->address,
			.len = size,
			.page = IOMMU_PAGE_SIZE,
			.peer = wire_peer_iommu(c->conn->peer),
		};
	} else {
		ret = look_at(c->conn->server->machine, c->fd, c->seals, vaddr, size, prot,
			      &c->mem);
		if (ret)
			return ret;
		c->mem.trash = c->conn->trash;
	}
	*mem = &c->mem;
	*nr = 1;
	return 0;
}

void wire_release(void *client, struct iommu_mem *mem, unsigned nr)
{
	struct wire_client *c =
		(struct wire_client *)((char *)client - offsetof(struct wire_client, client));

	/* The fd is the message's, and so is the client's own peer the connection's. */
	if (c->fd >= 0 && mem->kind == IOMMU_MEM_PEER)
		vfio_device_memory_put(mem);
}

/* ---- DMA_MAP ---- */

/* @seals: of the fd, if there is one. */
static void map(struct wire_conn *conn, struct wire_msg *msg, int seals)
{
	struct vfio_iommu_type1_dma_map req;
	struct vfio_user_dma_map map;
	struct wire_client c;
	int ret;

	memcpy(&map, msg->payload, sizeof(map));
	req = (struct vfio_iommu_type1_dma_map){
		.argsz = sizeof(req),
		.flags = map.flags,
		.vaddr = map.offset,
		.iova = map.address,
		.size = map.size,
	};
	wire_client_init(&c, conn, msg, &req, sizeof(req), sizeof(req));
	c.fd = msg->nr_fds ? msg->fds[0] : -1;
	c.seals = seals;
	c.address = map.address;
	ret = vfio_container_ioctl(conn->container, &c.client, VFIO_IOMMU_MAP_DMA, 0);
	if (ret)
		wire_reply_error(conn, msg, -ret);
	else
		wire_reply(conn, msg, NULL, 0, NULL, 0, NULL, 0);
}

static void job_map(struct wire_conn *conn)
{
	map(conn, conn->job_msg, -1);
}

void wire_do_dma_map(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_dma_map map_req;
	int seals = -1;

	memcpy(&map_req, msg->payload, sizeof(map_req));
	/* What the protocol leaves open, or type 1 means otherwise. */
	if (map_req.argsz < sizeof(map_req) ||
	    map_req.flags & ~(VFIO_USER_DMA_MAP_READ | VFIO_USER_DMA_MAP_WRITE) ||
	    msg->nr_fds > 1 || (!msg->nr_fds && map_req.offset)) {
		wire_reply_error(conn, msg, EINVAL);
		return;
	}
	if (msg->nr_fds)
		seals = seals_of(msg->fds[0]);
	if (msg->nr_fds && seals < 0) {
		wire_work(conn, msg, job_map);
		return;
	}
	map(conn, msg, seals);
	/* Memory files end at once, and the client need not wait for that. */
	if (msg->nr_fds)
		wire_conn_spent(conn, msg->fds[0]);
	msg->nr_fds = 0;
}

/* ---- DMA_UNMAP ---- */

/* How much may be unmapped without a worker: what lies in it is done with at once. */
#define UNMAP_AT_ONCE (512 * IOMMU_PAGE_SIZE)

struct unmap_request {
	struct vfio_iommu_type1_dma_unmap req;
	struct wire_client c;
};

static void unmap_request(struct unmap_request *r, struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_dma_unmap unmap;

	memcpy(&unmap, msg->payload, sizeof(unmap));
	r->req = (struct vfio_iommu_type1_dma_unmap){
		.argsz = sizeof(r->req),
		.flags = unmap.flags,
		.iova = unmap.address,
		.size = unmap.size,
	};
	wire_client_init(&r->c, conn, msg, &r->req, sizeof(r->req), sizeof(r->req));
}

static void unmap_reply(struct wire_conn *conn, const struct wire_msg *msg,
			const struct vfio_iommu_type1_dma_unmap *req, int ret)
{
	struct vfio_user_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = req->flags,
		.address = req->iova,
		.size = req->size,
	};

	if (ret)
		wire_reply_error(conn, msg, -ret);
	else
		wire_reply(conn, msg, &unmap, sizeof(unmap), NULL, 0, NULL, 0);
}

static void job_unmap(struct wire_conn *conn)
{
	struct wire_msg *msg = conn->job_msg;
	struct unmap_request r;
	int ret;

	unmap_request(&r, conn, msg);
	ret = vfio_container_ioctl(conn->container, &r.c.client, VFIO_IOMMU_UNMAP_DMA, 0);
	unmap_reply(conn, msg, &r.req, ret);
}

/* The second half of what unmap_at_once() began. */
static void job_unmap_finish(struct wire_conn *conn)
{
	const struct wire_msg msg = {.hdr = conn->unmap_hdr};
	int ret = vfio_unmap_finish(conn->unmap_left);

	conn->unmap_left = NULL;
	unmap_reply(conn, &msg, &conn->unmap_req, ret);
}

/* Pages of a virtual IOMMU come and go one by one: a worker only when there is DMA to wait for. */
static void unmap_at_once(struct wire_conn *conn, struct wire_msg *msg)
{
	struct unmap_request r;
	int ret;

	unmap_request(&r, conn, msg);
	ret = vfio_container_unmap(conn->container, &r.c.client, 0, &conn->unmap_left);
	if (ret != -EINPROGRESS) {
		unmap_reply(conn, msg, &r.req, ret);
		return;
	}
	conn->unmap_hdr = msg->hdr;
	conn->unmap_req = r.req;
	wire_conn_job(conn, WIRE_WORKING, job_unmap_finish);
}

void wire_do_dma_unmap(struct wire_conn *conn, struct wire_msg *msg)
{
	struct vfio_user_dma_unmap unmap;

	memcpy(&unmap, msg->payload, sizeof(unmap));
	/* Bit 2 is another thing in type 1.  There is no dirty tracking yet. */
	if (unmap.argsz < sizeof(unmap) || unmap.flags & ~VFIO_USER_DMA_UNMAP_ALL)
		wire_reply_error(conn, msg, EINVAL);
	else if (unmap.flags || unmap.size > UNMAP_AT_ONCE)
		wire_work(conn, msg, job_unmap);
	else
		unmap_at_once(conn, msg);
}
