/* SPDX-License-Identifier: BSD-3-Clause */
#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>
#include "sysfs/check.h"

/* What follows the header: so many bytes at least, then names that end with a 0, then data. */
static const struct shape {
	uint32_t opcode;
	uint16_t bytes;
	uint8_t names;
} shapes[] = {
	{FUSE_LOOKUP, 0, 1},
	{FUSE_FORGET, sizeof(struct fuse_forget_in), 0},
	{FUSE_GETATTR, sizeof(struct fuse_getattr_in), 0},
	{FUSE_SETATTR, sizeof(struct fuse_setattr_in), 0},
	{FUSE_READLINK, 0, 0},
	{FUSE_SYMLINK, 0, 2},
	{FUSE_MKNOD, sizeof(struct fuse_mknod_in), 1},
	{FUSE_MKDIR, sizeof(struct fuse_mkdir_in), 1},
	{FUSE_UNLINK, 0, 1},
	{FUSE_RMDIR, 0, 1},
	{FUSE_RENAME, sizeof(struct fuse_rename_in), 2},
	{FUSE_RENAME2, sizeof(struct fuse_rename2_in), 2},
	{FUSE_LINK, sizeof(struct fuse_link_in), 1},
	{FUSE_CREATE, sizeof(struct fuse_create_in), 1},
	{FUSE_OPEN, sizeof(struct fuse_open_in), 0},
	{FUSE_READ, sizeof(struct fuse_read_in), 0},
	{FUSE_WRITE, sizeof(struct fuse_write_in), 0},
	{FUSE_STATFS, 0, 0},
	{FUSE_RELEASE, sizeof(struct fuse_release_in), 0},
	{FUSE_FSYNC, sizeof(struct fuse_fsync_in), 0},
	{FUSE_FLUSH, sizeof(struct fuse_flush_in), 0},
	{FUSE_INIT, sizeof(struct fuse_init_in), 0},
	{FUSE_OPENDIR, sizeof(struct fuse_open_in), 0},
	{FUSE_READDIR, sizeof(struct fuse_read_in), 0},
	{FUSE_READDIRPLUS, sizeof(struct fuse_read_in), 0},
	{FUSE_RELEASEDIR, sizeof(struct fuse_release_in), 0},
	{FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), 0},
	{FUSE_ACCESS, sizeof(struct fuse_access_in), 0},
	{FUSE_INTERRUPT, sizeof(struct fuse_interrupt_in), 0},
	{FUSE_POLL, sizeof(struct fuse_poll_in), 0},
	{FUSE_BATCH_FORGET, sizeof(struct fuse_batch_forget_in), 0},
	{FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), 1},
	{FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), 0},
	{FUSE_REMOVEXATTR, 0, 1},
	{FUSE_IOCTL, sizeof(struct fuse_ioctl_in), 0},
	{FUSE_LSEEK, sizeof(struct fuse_lseek_in), 0},
	{FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), 0},
	{FUSE_DESTROY, 0, 0},
};

/* Kernels before Linux 5.18 say less at the beginning. */
#define OLD_INIT 16u

static bool data_ok(uint32_t opcode, const uint8_t *body, size_t len)
{
	struct fuse_batch_forget_in forget;
	struct fuse_write_in write;

	if (opcode == FUSE_WRITE) {
		memcpy(&write, body, sizeof(write));
		return write.size <= len - sizeof(write);
	}
	if (opcode == FUSE_BATCH_FORGET) {
		memcpy(&forget, body, sizeof(forget));
		return forget.count <= (len - sizeof(forget)) / sizeof(struct fuse_forget_one);
	}
	return true;
}

bool sysfs_request_ok(const void *request, size_t len)
{
	const uint8_t *body = (const uint8_t *)request + sizeof(struct fuse_in_header), *name, *end;
	const struct shape *shape = NULL;
	struct fuse_in_header head;
	size_t bytes;

	if (len < sizeof(head))
		return false;
	memcpy(&head, request, sizeof(head));
	if (head.len != len)
		return false;
	len -= sizeof(head);
	for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]) && !shape; i++)
		if (shapes[i].opcode == head.opcode)
			shape = &shapes[i];
	if (!shape)
		return false;
	bytes = shape->bytes;
	if (head.opcode == FUSE_INIT && len >= OLD_INIT) {
		struct fuse_init_in init = {0};

		memcpy(&init, body, OLD_INIT);
		if (!(init.flags & FUSE_INIT_EXT))
			bytes = OLD_INIT;
	}
	if (len < bytes)
		return false;
	name = body + bytes;
	for (unsigned i = 0; i < shape->names; i++) {
		end = memchr(name, 0, len - (size_t)(name - body));
		if (!end)
			return false;
		name = end + 1;
	}
	return data_ok(head.opcode, body, len);
}
