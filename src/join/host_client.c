/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A runner's program as the core's client: what the core asks becomes a question to the runner.
 *
 * What comes back is looked at as what any stranger hands in.  Of descriptors only that is asked
 * which does not call into somebody's file system, and they are closed in the connection's trash:
 * when the runner has gone, its devices are free, whatever becomes of its files.  Memory of
 * processes is reached by threads that may be left behind (may_block): whether a page of a program
 * is ever there, only the program decides.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "base/ctx.h"
#include "base/fd.h"
#include "base/trash.h"
#include "join/host_private.h"
#include "vfio/device_memory.h"

static struct host_client *of_client(struct vfio_client *client)
{
	return (struct host_client *)client;
}

/* Wait for what is of @kind, or another part.  0, or -EFAULT from now on. */
static int await(struct host_client *c, bool parts)
{
	struct channel *channel = c->channel;
	uint32_t kind;

	join_packet_close(&channel->in);
	if (join_receive(channel->sock, &channel->in)) {
		c->broken = true;
		return -EFAULT;
	}
	kind = channel->in.head.kind;
	if (kind == JOIN_ANSWER || (parts && kind == JOIN_MORE))
		return 0;
	c->broken = true;
	return -EFAULT;
}

/* @fd: goes along, and stays the caller's; -1: none. */
static int ask_with(struct host_client *c, const struct join_head *question, const void *data,
		    size_t len, int fd, bool parts)
{
	if (c->broken)
		return -EFAULT;
	uvfio_defer_handover(); /* the device does not wait for the runner */
	if (join_send(c->channel->sock, question, data, len, &fd, fd >= 0 ? 1 : 0)) {
		c->broken = true;
		return -EFAULT;
	}
	return await(c, parts);
}

static int ask(struct host_client *c, const struct join_head *question, const void *data,
	       size_t len, bool parts)
{
	return ask_with(c, question, data, len, -1, parts);
}

int host_ask(struct host_client *c, const struct join_head *question)
{
	return ask(c, question, NULL, 0, false);
}

/* ---- memory of the request ---- */

static int copy_from(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len)
{
	struct host_client *c = of_client(client);
	struct join_packet *in = &c->channel->in;

	for (size_t done = 0, part; done < len || !len; done += part) {
		struct join_head q = {.kind = JOIN_ASK_FROM};
		int ret;

		part = len - done < JOIN_DATA ? len - done : JOIN_DATA;
		q.arg[0] = uaddr + done;
		q.arg[1] = part;
		ret = ask(c, &q, NULL, 0, false);
		if (ret)
			return ret;
		if (in->head.value || in->head.len != part)
			return -EFAULT;
		memcpy((char *)dst + done, in->data, part);
		explicit_bzero(in->data, part); /* there may be a token in it (C) */
		if (!len)
			break;
	}
	return 0;
}

static int copy_to(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len)
{
	struct host_client *c = of_client(client);

	for (size_t done = 0, part; done < len || !len; done += part) {
		struct join_head q = {.kind = JOIN_ASK_TO, .arg = {uaddr + done}};
		int ret;

		part = len - done < JOIN_DATA ? len - done : JOIN_DATA;
		ret = ask(c, &q, (const char *)src + done, part, false);
		if (ret)
			return ret;
		if (c->channel->in.head.value)
			return -EFAULT;
		if (!len)
			break;
	}
	return 0;
}

/* ---- descriptors ---- */

/* The errno of a runner, as far as the door in its place could give it. */
static int eventfd_error(int64_t value)
{
	return value == -EINVAL || value == -EPERM || value == -ENFILE ? (int)value : -EBADF;
}

static int get_eventfd(struct vfio_client *client, int32_t fd)
{
	struct join_head q = {.kind = JOIN_ASK_EVENTFD, .arg = {(uint32_t)fd}};
	struct host_client *c = of_client(client);
	int ours;

	if (ask(c, &q, NULL, 0, false))
		return -EBADF;
	if (c->channel->in.head.value < 0)
		return eventfd_error(c->channel->in.head.value);
	ours = join_packet_take(&c->channel->in, 0);
	if (!uvfio_eventfd_check(&c->channel->connection->host->eventfds, ours)) {
		uvfio_trash_close(c->channel->connection->trash, ours);
		return -EBADF;
	}
	return ours;
}

static int get_group(struct vfio_client *client, int32_t fd)
{
	struct join_head q = {.kind = JOIN_ASK_GROUP, .arg = {(uint32_t)fd}};
	struct host_client *c = of_client(client);
	int64_t value;

	if (ask(c, &q, NULL, 0, false))
		return -EBADF;
	value = c->channel->in.head.value;
	if (value < 0)
		return value == -EINVAL ? -EINVAL : -EBADF;
	/* It owns what it has open here, whatever it says. */
	return has_group(c->channel->connection, value) ? (int)value : -EINVAL;
}

static int get_iommufd(struct vfio_client *client, int32_t fd, struct vfio_iommufd **out)
{
	struct join_head q = {.kind = JOIN_ASK_IOMMUFD, .arg = {(uint32_t)fd}};
	struct host_client *c = of_client(client);
	int64_t value;

	if (c->held || ask(c, &q, NULL, 0, false))
		return -EBADF;
	value = c->channel->in.head.value;
	if (value <= 0)
		return value == -EBADFD ? -EBADFD : -EBADF;
	/* Its own, or none. */
	c->held = object_get(c->channel->connection, (uint64_t)value, OBJECT_IOMMUFD);
	if (!c->held)
		return -EBADFD;
	*out = c->held->ptr;
	return 0;
}

static int get_path(struct vfio_client *client, int32_t fd)
{
	struct join_head q = {.kind = JOIN_ASK_PATH, .arg = {(uint32_t)fd}};
	struct host_client *c = of_client(client);
	int ours;

	if (ask(c, &q, NULL, 0, false))
		return -EBADF;
	if (c->channel->in.head.value < 0)
		return c->channel->in.head.value == -EBADF ? -EBADF : -EACCES;
	ours = join_packet_take(&c->channel->in, 0);
	if (ours < 0)
		return -EBADF;
	if (fcntl(ours, F_GETFL) & O_PATH)
		return ours;
	uvfio_trash_close(c->channel->connection->trash, ours);
	return -EBADF;
}

/* The runner has the export as a handle, for as long as its program has the file. */
static int give_export(struct vfio_client *client, int fd, uint32_t open_flags,
		       struct vfio_device_export *export)
{
	struct join_head q = {.kind = JOIN_ASK_EXPORT, .arg = {open_flags}};
	struct host_client *c = of_client(client);
	struct connection *connection = c->channel->connection;
	int ret = object_add(connection, OBJECT_EXPORT, export, 0);
	int64_t value = -EIO;

	if (ret < 0) {
		vfio_export_put(export);
		close(fd);
		return ret;
	}
	q.arg[1] = (uint64_t)ret;
	if (!ask_with(c, &q, NULL, 0, fd, false))
		value = c->channel->in.head.value;
	close(fd);
	if (!value)
		return 0;
	object_release(connection, q.arg[1]);
	return value < 0 && value >= -4095 ? (int)value : -EIO;
}

/* ---- memory for DMA ---- */

static void release(void *client, struct iommu_mem *mem, unsigned nr)
{
	struct uvfio_trash *trash = of_client(client)->channel->connection->trash;
	int process = -1; /* the pieces of a message share one; files have theirs */

	for (unsigned i = 0; i < nr; i++) {
		bool shared = mem[i].kind == IOMMU_MEM_PROCESS && !mem[i].file_id[1];

		if (mem[i].kind == IOMMU_MEM_PEER) { /* its descriptor has gone with the message */
			vfio_device_memory_put(&mem[i]);
			continue;
		}
		if (shared && mem[i].fd == process)
			continue;
		uvfio_trash_close(trash, mem[i].fd);
		if (shared)
			process = mem[i].fd;
	}
	free(mem);
}

struct import {
	struct uvfio_trash *trash;
	struct vfio_machine *machine; /* whose BARs can be mapped; NULL: none */
	struct iommu_mem *mem;
	unsigned nr, room;
};

/* A BAR of a device of @machine (NULL: that cannot be), what the program may do with it being the
 * runner's to say; a memory file, which is mapped here; or a file that is reached by calls that may
 * wait. */
static int look_at_file(struct vfio_machine *machine, const struct join_piece *piece, int fd,
			unsigned prot, struct iommu_mem *mem)
{
	int flags = fcntl(fd, F_GETFL), seals = fcntl(fd, F_GET_SEALS), ret;
	struct statfs fs;
	struct stat st;

	if (flags < 0 || flags & O_PATH || uvfio_fstat_unasked(fd, &st) || !S_ISREG(st.st_mode))
		return -EFAULT;
	if ((flags & O_ACCMODE) == O_WRONLY ||
	    (prot & IOMMU_WRITE && (flags & O_ACCMODE) != O_RDWR))
		return -EFAULT;
	ret = machine && seals >= 0
		      ? vfio_device_memory(machine, &st, piece->offset, piece->len, mem)
		      : -ENOENT;
	if (ret != -ENOENT)
		return ret;
	mem->kind = seals >= 0 ? IOMMU_MEM_FILE : IOMMU_MEM_PROCESS;
	mem->may_block = seals < 0;
	mem->file_id[0] = st.st_dev;
	/* What could only be opened for reading is mapped apart. */
	mem->file_id[1] = st.st_ino | ((flags & O_ACCMODE) == O_RDWR ? 0 : 1ull << 63);
	if (seals < 0)
		return 0;
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) && prot & IOMMU_WRITE)
		return -EFAULT;
	if (fstatfs(fd, &fs))
		return -EFAULT;
	if (fs.f_type == HUGETLBFS_MAGIC)
		mem->page = (uint32_t)fs.f_bsize;
	return 0;
}

static int look_at(struct import *im, const struct join_piece *piece, int fd, unsigned prot,
		   struct iommu_mem *mem)
{
	struct stat st;

	*mem = (struct iommu_mem){
		.kind = IOMMU_MEM_PROCESS,
		.fd = fd,
		.offset = piece->offset,
		.len = piece->len,
		.file_id = {piece->id, 0},
		.page = IOMMU_PAGE_SIZE,
		.may_block = true,
		.unpinnable = piece->unpinnable,
		.trash = im->trash,
	};
	if ((piece->offset | piece->len) & (IOMMU_PAGE_SIZE - 1) || !piece->len ||
	    piece->offset + piece->len < piece->offset || piece->offset + piece->len > INT64_MAX)
		return -EFAULT;
	if (piece->kind == IOMMU_MEM_FILE)
		return look_at_file(im->machine, piece, fd, prot, mem);
	/* /proc/PID/mem, or a file that might as well have come as one. */
	if (piece->kind != IOMMU_MEM_PROCESS || fcntl(fd, F_GETFL) & O_PATH ||
	    fcntl(fd, F_GET_SEALS) >= 0 || uvfio_fstat_unasked(fd, &st) || !S_ISREG(st.st_mode))
		return -EFAULT;
	return 0;
}

/* Take the pieces of one message. */
static int take_pieces(struct import *im, struct join_packet *in, unsigned prot)
{
	unsigned nr = (unsigned)(in->head.len / sizeof(struct join_piece));
	bool taken[JOIN_FDS] = {false};
	int process = -1;

	if (in->head.len % sizeof(struct join_piece) || nr > JOIN_PIECES ||
	    im->nr + nr > JOIN_MAX_PIECES)
		return -EFAULT;
	if (im->nr + nr > im->room) {
		unsigned room = 2 * im->room + nr;
		struct iommu_mem *mem = realloc(im->mem, room * sizeof(*mem));

		if (!mem)
			return -ENOMEM;
		im->mem = mem;
		im->room = room;
	}
	for (unsigned i = 0; i < nr; i++) {
		struct join_piece piece;
		struct iommu_mem mem;
		int ret;

		memcpy(&piece, in->data + i * sizeof(piece), sizeof(piece));
		if (piece.fd >= in->head.fds)
			return -EFAULT;
		ret = look_at(im, &piece, in->fds[piece.fd], prot, &mem);
		if (ret)
			return ret;
		/* A descriptor is a piece's own, but that of a process is all its pieces'. */
		if (taken[piece.fd] &&
		    (piece.kind != IOMMU_MEM_PROCESS || process != (int)piece.fd))
			return -EFAULT;
		if (piece.kind == IOMMU_MEM_PROCESS) {
			if (process >= 0 && process != (int)piece.fd)
				return -EFAULT;
			process = (int)piece.fd;
		}
		taken[piece.fd] = true;
		im->mem[im->nr++] = mem;
	}
	return 0;
}

/* As far as pieces have them, the message's descriptors are the import's, also after a mistake. */
static void keep_fds(const struct import *im, unsigned first, struct join_packet *in)
{
	for (unsigned i = first; i < im->nr; i++) {
		for (unsigned k = 0; k < in->head.fds; k++) {
			if (in->fds[k] == im->mem[i].fd)
				in->fds[k] = -1;
		}
	}
}

static int refusal(int64_t value, const int *refused)
{
	for (; *refused; refused++)
		if (value == *refused)
			return *refused;
	return value == -ENOMEM ? -ENOMEM : -EFAULT;
}

/* @refused: what the runner's refusal may be, besides -EFAULT and -ENOMEM. */
static int ask_pieces(struct host_client *c, const struct join_head *q, unsigned prot,
		      const int *refused, struct iommu_mem **mem, unsigned *nr)
{
	struct join_packet *in = &c->channel->in;
	struct import im = {.trash = c->channel->connection->trash};
	int ret = ask(c, q, NULL, 0, true), last;

	/* Files of BARs as such are no memory (D.3). */
	if (q->kind == JOIN_ASK_IMPORT)
		im.machine = c->channel->connection->host->machine;

	while (!ret) {
		unsigned first = im.nr;

		last = in->head.kind == JOIN_ANSWER;
		ret = take_pieces(&im, in, prot);
		keep_fds(&im, first, in);
		if (!ret && in->head.value)
			ret = refusal(in->head.value, refused);
		if (last)
			break;
		if (ret)
			c->broken = true; /* what is still to come answers nothing */
		else
			ret = await(c, true);
	}
	if (ret) {
		release(c, im.mem, im.nr);
		return ret;
	}
	*mem = im.mem;
	*nr = im.nr;
	return 0;
}

static int import(void *client, uint64_t vaddr, uint64_t size, unsigned prot,
		  struct iommu_mem **mem, unsigned *nr)
{
	const struct join_head q = {.kind = JOIN_ASK_IMPORT, .arg = {vaddr, size, prot}};
	static const int refused[] = {0};

	return ask_pieces(of_client(client), &q, prot, refused, mem, nr);
}

static int import_file(void *client, int32_t fd, uint64_t offset, uint64_t size, unsigned prot,
		       struct iommu_mem **mem, unsigned *nr)
{
	const struct join_head q = {.kind = JOIN_ASK_FILE,
				    .arg = {(uint32_t)fd, offset, size, prot}};
	static const int refused[] = {-EBADF, -EINVAL, -EPERM, 0};
	struct host_client *c = of_client(client);
	int ret = ask_pieces(c, &q, prot, refused, mem, nr);

	/* A memory file in one piece, which the door in its place would have looked at so. */
	if (!ret && (*nr != 1 || (*mem)[0].kind != IOMMU_MEM_FILE || (*mem)[0].len != size)) {
		release(client, *mem, *nr);
		ret = -EINVAL;
	}
	return ret;
}

static uint64_t lock_limit(void *client)
{
	struct join_head q = {.kind = JOIN_ASK_LIMIT};
	struct host_client *c = client;

	if (c->client.caps & VFIO_CAP_IPC_LOCK)
		return UINT64_MAX;
	if (ask(c, &q, NULL, 0, false))
		return 0;
	c->account = c->channel->in.head.arg[1];
	return c->channel->in.head.arg[0];
}

static struct iommu_account *account(void *client)
{
	struct host_client *c = client;

	return c->account ? account_get(c->channel->connection, c->account) : NULL;
}

#define EVERYWHERE                                                                                 \
	.copy_from = copy_from, .copy_to = copy_to, .get_eventfd = get_eventfd,                    \
	.get_group = get_group, .get_iommufd = get_iommufd, .get_path = get_path,                  \
	.give_export = give_export,                                                                \
	.memory = {.import = import,                                                               \
		   .import_file = import_file,                                                     \
		   .release = release,                                                             \
		   .lock_limit = lock_limit,                                                       \
		   .account = account}

static const struct vfio_client_ops host_client_ops = {EVERYWHERE};
static const struct vfio_client_ops host_migrating_ops = {
	EVERYWHERE,
	.give_migration = host_give_migration,
};

void host_client_init(struct host_client *c, struct channel *channel, uint64_t pid)
{
	const struct connection *connection = channel->connection;

	*c = (struct host_client){
		.client = {.ops = &host_client_ops,
			   .caps = vfio_machine_policy(connection->host->machine)->caller_caps,
			   .pid = (int32_t)pid,
			   .who = &connection->who},
		.channel = channel,
	};
}

void host_client_init_migrating(struct host_client *c, struct channel *channel, uint64_t pid)
{
	host_client_init(c, channel, pid);
	c->client.ops = &host_migrating_ops;
}
