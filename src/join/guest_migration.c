/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions of migration data (E.3) that the server has, for files of the runner's program. */
#include <errno.h>
#include <string.h>
#include "join/guest_private.h"

static struct handle *handle_of(const struct core_migration *migration)
{
	return (struct handle *)(uintptr_t)migration;
}

void guest_migration_release(struct uapi_core *core, struct core_migration *migration)
{
	guest_release(core, migration);
}

bool guest_migration_saves(struct uapi_core *core, const struct core_migration *migration)
{
	return handle_of(migration)->saves;
}

/* Up to JOIN_DATA bytes, as read(2). */
static ssize_t read_some(struct line *line, uint32_t id, uint8_t *buf, size_t len, bool *broken)
{
	const struct join_head head = {.kind = JOIN_MIG_READ, .handle = id, .arg = {len}};
	int64_t n;

	*broken = line_call(line, NULL, &head, NULL, 0, NULL, 0) != 0;
	n = *broken ? -EIO : line->in.head.value;
	if (n <= 0)
		return n < -4095 ? -EIO : (ssize_t)n;
	if ((uint64_t)n > len || line->in.head.len != (uint64_t)n)
		return -EIO;
	memcpy(buf, line->in.data, (size_t)n);
	return (ssize_t)n;
}

static ssize_t write_some(struct line *line, uint32_t id, const uint8_t *buf, size_t len,
			  bool *broken)
{
	const struct join_head head = {.kind = JOIN_MIG_WRITE, .handle = id};
	int64_t n;

	*broken = line_call(line, NULL, &head, buf, len, NULL, 0) != 0;
	n = *broken ? -EIO : line->in.head.value;
	return n < -4095 || n > (int64_t)len ? -EIO : (ssize_t)n;
}

/* What came before an error counts, and the next call answers it: the device may have said it once
 * only. */
static ssize_t transfer(struct uapi_core *core, struct core_migration *migration, uint8_t *in,
			const uint8_t *out, size_t len)
{
	struct handle *handle = handle_of(migration);
	const uint32_t id = handle->id;
	struct guest *guest = (struct guest *)core;
	struct line *line;
	bool broken = false;
	size_t done = 0;
	ssize_t n = handle->late;

	handle->late = 0;
	if (n)
		return n;
	line = line_take(guest);
	if (!line)
		return -EIO;
	do {
		size_t some = len - done < JOIN_DATA ? len - done : JOIN_DATA;

		n = in ? read_some(line, id, in + done, some, &broken)
		       : write_some(line, id, out + done, some, &broken);
		done += n > 0 ? (size_t)n : 0;
	} while (n > 0 && done < len);
	line_put(guest, line, broken);
	if (done && n < 0 && n != -ENOMSG)
		handle->late = (int)n;
	return done ? (ssize_t)done : n;
}

ssize_t guest_migration_read(struct uapi_core *core, struct core_migration *migration, void *buf,
			     size_t len)
{
	return transfer(core, migration, buf, NULL, len);
}

ssize_t guest_migration_write(struct uapi_core *core, struct core_migration *migration,
			      const void *buf, size_t len)
{
	return transfer(core, migration, NULL, buf, len);
}

bool guest_migration_readable(struct uapi_core *core, struct core_migration *migration)
{
	const struct join_head head = {.kind = JOIN_MIG_READABLE,
				       .handle = handle_of(migration)->id};

	/* Also when the server has gone: a read says so. */
	return handle_of(migration)->late || guest_simple(core, NULL, &head, NULL, 0, NULL) != 0;
}

int guest_migration_ioctl(struct uapi_core *core, struct core_migration *migration,
			  struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_MIG_IOCTL,
				       .handle = handle_of(migration)->id,
				       .arg = {(uint32_t)client->pid, cmd, arg}};

	return guest_result(guest_simple(core, client, &head, NULL, 0, NULL));
}

int guest_answer_migration(struct line *line, struct vfio_client *client)
{
	const uint64_t *arg = line->in.head.arg;
	struct join_head answer = {.kind = JOIN_ANSWER};
	struct handle *handle = NULL;
	int32_t fd = -1;
	int ret = -ENOSYS;

	if (client->ops->give_migration)
		ret = guest_handle_new((int64_t)arg[0], &handle);
	if (!ret) {
		handle->saves = arg[1];
		answer.arg[0] = 1; /* it is ours, whatever becomes of it */
		ret = client->ops->give_migration(
			client, (struct vfio_migration_file *)(void *)handle, &fd);
	}
	answer.value = ret ? ret : fd;
	return join_send(line->sock, &answer, NULL, 0, NULL, 0);
}
