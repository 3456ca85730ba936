/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sessions of migration data (E.3) of a program that has joined: its runner has the files, and asks
 * for what is read and written, a message each.
 */
#include <errno.h>
#include "join/host_private.h"

int host_give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd)
{
	struct join_head q = {.kind = JOIN_ASK_MIGRATION, .arg = {0, vfio_migration_saves(file)}};
	struct host_client *c = (struct host_client *)client;
	struct connection *connection = c->channel->connection;
	const struct join_head *answer = &c->channel->in.head;
	int ret = object_add(connection, OBJECT_MIGRATION, file, 0);

	if (ret < 0) {
		vfio_migration_release(file);
		return ret;
	}
	q.arg[0] = (uint64_t)ret;
	if (host_ask(c, &q))
		return -EIO; /* the connection is at its end, and releases it */
	if (!answer->arg[0])
		object_release(connection, q.arg[0]);
	else if (answer->value >= 0 && answer->value <= INT32_MAX)
		*fd = (int32_t)answer->value;
	if (answer->value < 0)
		return answer->value >= -4095 ? (int)answer->value : -EIO;
	return answer->arg[0] && answer->value <= INT32_MAX ? 0 : -EIO;
}

int64_t host_migration(struct channel *channel, const struct join_head *head,
		       struct vfio_migration_file *file, size_t *len)
{
	const struct join_packet *in = &channel->in;
	int64_t n;

	switch (head->kind) {
	case JOIN_MIG_READ:
		if (head->arg[0] > JOIN_DATA)
			return -EINVAL;
		n = vfio_migration_read(file, channel->out, head->arg[0]);
		*len = n > 0 ? (size_t)n : 0;
		return n;
	case JOIN_MIG_WRITE:
		return vfio_migration_write(file, in->data, in->head.len);
	default:
		return vfio_migration_readable(file);
	}
}
