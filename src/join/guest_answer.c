/* SPDX-License-Identifier: BSD-3-Clause */
/* What the server asks of the runner's program during a call, and the answers. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "iommu/account.h"
#include "join/guest_private.h"

static int answer(struct line *line, int64_t value, const void *data, size_t len, int fd)
{
	const struct join_head head = {.kind = JOIN_ANSWER, .value = value};

	return join_send(line->sock, &head, data, len, &fd, fd >= 0 ? 1 : 0);
}

static int answer_from(struct line *line, struct vfio_client *client)
{
	uint64_t addr = line->in.head.arg[0], len = line->in.head.arg[1];
	int ret;

	if (len > JOIN_DATA)
		return -EPROTO;
	ret = client->ops->copy_from(client, line->in.data, addr, len);
	ret = answer(line, ret, line->in.data, ret ? 0 : len, -1);
	explicit_bzero(line->in.data, len); /* there may be a token in it (C) */
	return ret;
}

static int answer_to(struct line *line, struct vfio_client *client)
{
	return answer(line,
		      client->ops->copy_to(client, line->in.head.arg[0], line->in.data,
					   line->in.head.len),
		      NULL, 0, -1);
}

static int answer_eventfd(struct line *line, struct vfio_client *client)
{
	int fd = client->ops->get_eventfd(client, (int32_t)line->in.head.arg[0]), ret;

	ret = answer(line, fd < 0 ? fd : 0, NULL, 0, fd);
	if (fd >= 0)
		close(fd);
	return ret;
}

static int answer_path(struct line *line, struct vfio_client *client)
{
	int fd = client->ops->get_path
			 ? client->ops->get_path(client, (int32_t)line->in.head.arg[0])
			 : -EBADF;
	int ret = answer(line, fd < 0 ? fd : 0, NULL, 0, fd);

	if (fd >= 0)
		close(fd);
	return ret;
}

/* The handle of an export is the door's from here on; when that fails, the server takes it back. */
static int answer_export(struct line *line, struct vfio_client *client)
{
	const uint64_t *arg = line->in.head.arg;
	int fd = join_packet_take(&line->in, 0), ret = -EIO;
	struct handle *handle = NULL;

	/* A memory file, whatever the server says. */
	if (fd >= 0 && fcntl(fd, F_GET_SEALS) >= 0 && client->ops->give_export)
		ret = guest_handle_new((int64_t)arg[1], &handle);
	if (ret) {
		if (fd >= 0)
			close(fd);
	} else {
		handle->pending = true;
		ret = client->ops->give_export(client, fd, (uint32_t)arg[0],
					       (struct vfio_device_export *)(void *)handle);
		if (!ret) /* else it is gone */
			handle->pending = false;
	}
	return answer(line, ret, NULL, 0, -1);
}

static int answer_group(struct line *line, struct vfio_client *client)
{
	int ret = client->ops->get_group
			  ? client->ops->get_group(client, (int32_t)line->in.head.arg[0])
			  : -EINVAL;

	return answer(line, ret, NULL, 0, -1);
}

/* Pieces [@first, …) as one message.  How many, or -errno. */
static int send_pieces(struct line *line, const struct iommu_mem *mem, unsigned first, unsigned nr)
{
	struct join_head head = {.kind = JOIN_MORE};
	struct join_piece pieces[JOIN_PIECES];
	unsigned n = 0, nr_fds = 0, process = 0;
	int fds[JOIN_FDS], ret;
	bool has_process = false;

	_Static_assert(JOIN_PIECES <= JOIN_FDS, "a descriptor for each piece");
	for (; n < JOIN_PIECES && first + n < nr; n++) {
		const struct iommu_mem *m = &mem[first + n];
		bool of_process = m->kind == IOMMU_MEM_PROCESS;

		pieces[n] = (struct join_piece){
			.kind = m->kind,
			.fd = of_process && has_process ? process : nr_fds,
			.offset = m->offset,
			.len = m->len,
			.id = m->file_id[0],
			.unpinnable = m->unpinnable,
		};
		if (of_process && has_process)
			continue;
		if (of_process) {
			process = nr_fds;
			has_process = true;
		}
		fds[nr_fds++] = m->fd;
	}
	if (first + n == nr)
		head.kind = JOIN_ANSWER;
	ret = join_send(line->sock, &head, pieces, n * sizeof(pieces[0]), fds, nr_fds);
	return ret ? ret : (int)n;
}

/* The core's handle, which stays ours for the rest of the request, is one of this file's. */
static int answer_iommufd(struct line *line, struct vfio_client *client)
{
	struct vfio_iommufd *handle = NULL;
	int ret = client->ops->get_iommufd
			  ? client->ops->get_iommufd(client, (int32_t)line->in.head.arg[0], &handle)
			  : -EBADFD;

	return answer(line, ret ? ret : (int64_t)((const struct handle *)(const void *)handle)->id,
		      NULL, 0, -1);
}

static int answer_pieces(struct line *line, struct vfio_client *client)
{
	const struct type1_memory_ops *ops = &client->ops->memory;
	const uint64_t *arg = line->in.head.arg;
	struct iommu_mem *mem = NULL;
	unsigned nr = 0, done = 0;
	int ret = -EINVAL;

	if (line->in.head.kind == JOIN_ASK_IMPORT)
		ret = ops->import(client, arg[0], arg[1], (unsigned)arg[2], &mem, &nr);
	else if (ops->import_file)
		ret = ops->import_file(client, (int32_t)arg[0], arg[1], arg[2], (unsigned)arg[3],
				       &mem, &nr);
	if (ret)
		return answer(line, ret, NULL, 0, -1);
	do { /* also of none, which the core judges */
		ret = send_pieces(line, mem, done, nr);
		if (ret > 0)
			done += (unsigned)ret;
	} while (ret >= 0 && done < nr);
	client->ops->memory.release(client, mem, nr);
	return ret < 0 ? ret : 0;
}

static int answer_limit(struct line *line, struct vfio_client *client)
{
	const struct type1_memory_ops *ops = &client->ops->memory;
	struct join_head head = {.kind = JOIN_ANSWER};
	struct iommu_account *account;

	head.arg[0] = ops->lock_limit ? ops->lock_limit(client) : UINT64_MAX;
	if (head.arg[0] != UINT64_MAX && ops->account) {
		account = ops->account(client);
		head.arg[1] = account ? iommu_account_id(account) : 0;
		iommu_account_unref(account);
	}
	return join_send(line->sock, &head, NULL, 0, NULL, 0);
}

int guest_answer(struct line *line, struct vfio_client *client)
{
	if (!client)
		return -EPROTO;
	switch (line->in.head.kind) {
	case JOIN_ASK_FROM:
		return answer_from(line, client);
	case JOIN_ASK_TO:
		return answer_to(line, client);
	case JOIN_ASK_EVENTFD:
		return answer_eventfd(line, client);
	case JOIN_ASK_GROUP:
		return answer_group(line, client);
	case JOIN_ASK_IMPORT:
	case JOIN_ASK_FILE:
		return answer_pieces(line, client);
	case JOIN_ASK_IOMMUFD:
		return answer_iommufd(line, client);
	case JOIN_ASK_PATH:
		return answer_path(line, client);
	case JOIN_ASK_EXPORT:
		return answer_export(line, client);
	case JOIN_ASK_MIGRATION:
		return guest_answer_migration(line, client);
	case JOIN_ASK_LIMIT:
		return answer_limit(line, client);
	}
	return -EPROTO;
}
